//! `wsp status --watch`: the status again and again, until a run ends.
//!
//! ```text
//! listener ──a look──► Board (drawn over on a terminal, one block after another elsewhere)
//!                 └──► Follow: a run ended ──► exit code · no answer any more ──► exit code 3
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use wsp::clock::{Clock, SystemClock};
use wsp_observe::StatusPage;
use wsp_world::evidence::{End, Status as Verdict};
use wsp_world::telemetry::status::{LastRun, Status};

use super::args;
use super::screen::{drawable, size};
use super::status::{ask, ended, parsed, told};
use super::view::Style;
use super::{Exit, Failure, Outcome, block_on, note, say};

/// How long a listener that has answered is asked again when it does not: a service that is restarted is back by then.
const AWAY: Duration = Duration::from_secs(10);

pub(super) fn run(args: &args::Status, every: Duration) -> Outcome {
    block_on(async {
        tokio::select! {
            biased;
            stopped = tokio::signal::ctrl_c() => {
                stopped.map(|()| Exit::Stopped).map_err(|error| Failure::failed(format!("signals: {error}")))
            }
            outcome = watch(args, every) => outcome,
        }
    })?
}

async fn watch(args: &args::Status, every: Duration) -> Outcome {
    let clock = SystemClock::new();
    let mut board = Board::of_stdout(args.json);
    let mut follow = Follow::default();
    // Since when nobody answers.
    let mut away: Option<Duration> = None;
    loop {
        match ask(args).await {
            Ok(text) => {
                away = None;
                let page = parsed(args, &text)?;
                board.show(&text, &page)?;
                if let Some(last) = follow.look(&page.status) {
                    note(ended(last));
                    return Ok(exit_of(last));
                }
            }
            // Nobody was there: that is a wrong address, or a process that does not run.
            Err(failure) if !follow.began => return Err(failure),
            Err(failure) => {
                let since = *away.get_or_insert_with(|| {
                    note(format_args!("{}; asked again for {} s", failure.message, AWAY.as_secs()));
                    clock.now()
                });
                if clock.now().saturating_sub(since) >= AWAY {
                    let words = format!(
                        "{} has not answered since {}: its process has ended, and so has the watch; `wsp report` shows how a run ended",
                        args.address,
                        clock.utc_at(since)
                    );
                    return Err(Failure { exit: Exit::Stopped, message: words });
                }
            }
        }
        clock.sleep_until(clock.now() + every).await;
    }
}

/// What a watch has seen.
#[derive(Debug, Default)]
struct Follow {
    began: bool,
    /// When the run started that had ended last at the first look.
    before: Option<String>,
}

impl Follow {
    /// Takes in a look. Returns the run that has ended since the first one.
    fn look<'a>(&mut self, status: &'a Status) -> Option<&'a LastRun> {
        let started = status.last.as_ref().map(|last| &last.started_utc);
        if !std::mem::replace(&mut self.began, true) {
            self.before = started.cloned();
        }
        status.last.as_ref().filter(|last| self.before.as_ref() != Some(&last.started_utc))
    }
}

/// The exit code of `wsp run --once` for such an end.
fn exit_of(last: &LastRun) -> Exit {
    match (last.status, last.end) {
        (Verdict::Streamed, _) => Exit::Done,
        (_, End::Stopped) | (Verdict::DeferredDownstreamNotReady, _) => Exit::Stopped,
        _ => Exit::Failed,
    }
}

/// Where looks are shown.
struct Board {
    json: bool,
    /// A terminal, to be drawn over.
    drawn: bool,
    style: Style,
    shown: bool,
}

impl Board {
    fn of_stdout(json: bool) -> Self {
        let (drawn, style) = drawable(&std::io::stdout());
        Self { json, drawn: drawn && !json, style, shown: false }
    }

    fn show(&mut self, text: &str, page: &StatusPage) -> Result<(), Failure> {
        let first = !std::mem::replace(&mut self.shown, true);
        if self.json {
            return say(text);
        }
        if self.drawn {
            let (width, height) = size(std::io::stdout());
            return say(frame(&told(page, width, self.style), first, height));
        }
        let words = told(page, super::status::WIDTH, self.style);
        if first { say(words) } else { say(format_args!("\n{words}")) }
    }
}

/// A text in place of all that the terminal shows: cleared at first, then from the top, line by line, so that it does not flicker.
fn frame(text: &str, first: bool, height: usize) -> String {
    let mut out = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in text.lines().take(height) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{line}\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsp_world::model::Reason;

    fn last(started: &str, status: Verdict, end: End, reason: Option<Reason>) -> LastRun {
        LastRun {
            message_id: None,
            platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
            started_utc: started.to_owned(),
            ended_utc: String::new(),
            status,
            end,
            reason,
            refusal: None,
            answered: 0,
        }
    }

    fn status(last: Option<LastRun>) -> Status {
        Status {
            version: String::new(),
            started_utc: String::new(),
            now_utc: String::new(),
            run: None,
            taken_up: None,
            last,
            waits_for: None,
            lanes: None,
            deferred: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn the_first_run_that_ends_while_it_is_watched_counts() {
        let streamed = |started| status(Some(last(started, Verdict::Streamed, End::Complete, None)));
        let mut follow = Follow::default();
        assert!(follow.look(&status(None)).is_none() && follow.began);
        assert!(follow.look(&status(None)).is_none());
        assert_eq!(follow.look(&streamed("1")).unwrap().started_utc, "1");
        // One that had ended before the first look is another one's.
        let mut late = Follow::default();
        assert!(late.look(&streamed("1")).is_none() && late.look(&streamed("1")).is_none());
        assert_eq!(late.look(&streamed("2")).unwrap().started_utc, "2");
    }

    #[test]
    fn the_exit_code_is_that_of_the_run() {
        let exit = |status, end, reason| exit_of(&last("1", status, end, reason));
        assert_eq!(exit(Verdict::Streamed, End::Complete, None), Exit::Done);
        assert_eq!(exit(Verdict::Streamed, End::Capped, None), Exit::Done);
        assert_eq!(exit(Verdict::Failed, End::Failed, Some(Reason::IgPushRejected)), Exit::Failed);
        assert_eq!(exit(Verdict::Failed, End::Stopped, Some(Reason::RunStopped)), Exit::Stopped);
        assert_eq!(
            exit(Verdict::DeferredDownstreamNotReady, End::Failed, Some(Reason::CheckpointLeaseLost)),
            Exit::Stopped
        );
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before_and_no_more_than_the_screen() {
        assert_eq!(frame("a\nb\n", true, 9), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("a\nb\n", false, 1), "\x1b[Ha\x1b[K\n\x1b[J");
    }
}

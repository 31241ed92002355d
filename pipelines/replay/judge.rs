//! What an attempt means for one event, and what becomes of the event.
//!
//! ```text
//! Attempt ──Rules──► delivered · again · dropped · refused ──► Verdict ──► Delivered, or the error that names the row
//! ```

use std::sync::Arc;
use std::time::Duration;

use wsp::deliver::{Answer, Attempt, Cause, Decided, Delivery, Judge, Stray, Verdict};
use wsp::time::Micros;

use super::error::{Error, EventFault};
use super::event::{Event, Position};
use super::input::Input;
use super::rules::{Meaning, Rules};

/// How much of a receiver's own words is repeated in a message, in bytes.
const QUOTE: usize = 300;

/// An event that is done with.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) position: Position,
    pub(super) ts: Micros,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    /// How much later than due its first attempt started.
    pub(super) lag: Duration,
    /// From its first attempt to its answer.
    pub(super) latency: Duration,
    /// Its request is done with it: no later event is of the same one.
    pub(super) ends_request: bool,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The receiver took it.
    Accepted,
    /// The receiver refused it, and that was said to be no matter.
    Dropped,
    /// The receiver refused it: with this status and answer.
    Refused(Box<(Event, u16, String)>),
}

/// The judge by status.
#[derive(Debug)]
pub(super) struct StatusJudge {
    inputs: Arc<Vec<Arc<Input>>>,
    rules: Rules,
}

impl StatusJudge {
    pub(super) fn new(inputs: Arc<Vec<Arc<Input>>>, rules: Rules) -> Self {
        Self { inputs, rules }
    }
}

impl Judge<Event> for StatusJudge {
    type Delivered = Delivered;
    type Error = Error;

    fn judge(&self, _: &Event, attempt: &Attempt) -> Result<Verdict, Stray> {
        let answer = match answered(attempt) {
            Ok(answer) => answer,
            Err(again) => return Ok(again),
        };
        Ok(match self.rules.meaning(answer) {
            Meaning::Delivered if answer.is_early() => {
                return Err(Stray("the answer came before the request was all sent"));
            }
            Meaning::Delivered => Verdict::Decided(Decided::Accepted),
            Meaning::Again => Verdict::Retry { why: describe(answer), retry_after: answer.retry_after() },
            Meaning::Refused if !self.rules.dead_letters => Verdict::Rejected { why: describe(answer) },
            Meaning::Dropped => Verdict::Decided(Decided::Quarantined { why: String::new(), differs: false }),
            Meaning::Refused => Verdict::Decided(Decided::Quarantined { why: set_aside(answer), differs: false }),
        })
    }

    fn delivered(&self, event: &Event, decided: &Decided, delivery: Delivery) -> Delivered {
        let outcome = match decided {
            Decided::Accepted | Decided::Duplicate => Outcome::Accepted,
            Decided::Quarantined { why, .. } => match status_and_answer(why) {
                None => Outcome::Dropped,
                Some((status, answer)) => Outcome::Refused(Box::new((event.clone(), status, answer.to_owned()))),
            },
        };
        let Delivery { attempts, lag, latency, .. } = delivery;
        Delivered { position: event.position, ts: event.ts, outcome, attempts, lag, latency, ends_request: true }
    }

    fn failed(&self, event: &Event, cause: Cause, why: &str) -> Error {
        failed(&self.inputs, event, cause, why)
    }
}

/// The answer of an attempt; an attempt without one is made again.
pub(super) fn answered(attempt: &Attempt) -> Result<&Answer, Verdict> {
    match attempt {
        Attempt::Answered(answer) => Ok(answer),
        Attempt::ConnectFailed(cause) => Err(again(format!("no connection: {cause}"))),
        Attempt::ConnectionLost(cause) => Err(again(format!("connection lost: {cause}"))),
        Attempt::TimedOut => Err(again("no answer in time".to_owned())),
    }
}

/// The error of an event that ends the replay.
pub(super) fn failed(inputs: &[Arc<Input>], event: &Event, cause: Cause, why: &str) -> Error {
    let (file, row) = (event.position.source_in(inputs).shown.clone(), event.position.row);
    let next = match cause {
        Cause::Rejected | Cause::Differs => {
            "--dead-letter FILE keeps refused events and goes on, --drop-on leaves them out; the same command goes on \
             from here"
        }
        Cause::Exhausted => "raise --attempts, or name the status by --drop-on; the same command goes on from here",
        Cause::Unavailable => "the receiver takes nothing; when it does again, the same command goes on from here",
    };
    Error::Event(Box::new(EventFault { file, row: row + 1, id: event.id_text(), what: why.to_owned(), next }))
}

fn again(why: String) -> Verdict {
    Verdict::Retry { why, retry_after: None }
}

/// Status and answer as one text, which [`status_and_answer`] takes apart again; nothing is what was dropped.
fn set_aside(answer: &Answer) -> String {
    format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body()))
}

fn status_and_answer(why: &str) -> Option<(u16, &str)> {
    let (status, answer) = why.split_once(' ')?;
    Some((status.parse().ok()?, answer))
}

/// Status and the beginning of the answer, for a person.
pub(super) fn describe(answer: &Answer) -> String {
    let status = answer.status();
    let text = String::from_utf8_lossy(&answer.body()[..answer.body().len().min(QUOTE)]);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if answer.body().len() > QUOTE { "…" } else { "" };
    match (text.trim(), status) {
        (_, 300..=399) => format!("status {status}: redirects are not followed, --to has to name the place itself"),
        ("", _) => format!("status {status}"),
        (text, _) => format!("status {status}: {text}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Statuses;
    use super::super::testing::{event, inputs};
    use super::*;

    fn rules(drop: &str, retry: &str, accept: &str, dead_letters: bool) -> Rules {
        let read = |text: &str| if text.is_empty() { Statuses::default() } else { text.parse().unwrap() };
        Rules { drop: read(drop), retry: read(retry), accept: read(accept), dead_letters, ..Rules::default() }
    }

    fn judged(rules: Rules, status: u16) -> String {
        let attempt = Attempt::Answered(Answer::new(status, "no\nsuch").after(Some(Duration::from_secs(7))));
        let judge = StatusJudge::new(inputs(), rules);
        match judge.judge(&event(3, "{}"), &attempt).unwrap() {
            Verdict::Decided(Decided::Accepted) => "delivered".to_owned(),
            Verdict::Decided(decided) => {
                let delivery = Delivery { attempts: 1, ambiguous: false, latency: Duration::ZERO, lag: Duration::ZERO };
                match judge.delivered(&event(3, "{}"), &decided, delivery).outcome {
                    Outcome::Dropped => "dropped".to_owned(),
                    Outcome::Refused(refused) => format!("letter {} {}", refused.1, refused.2),
                    Outcome::Accepted => unreachable!(),
                }
            }
            Verdict::Retry { retry_after, .. } => format!("again in {} s", retry_after.unwrap().as_secs()),
            Verdict::Rejected { why } => why,
        }
    }

    #[test]
    fn a_status_means_what_it_usually_does_unless_something_is_said() {
        let usual = Rules::default;
        for (status, expected) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "status 301: redirects are not followed, --to has to name the place itself"),
            (400, "status 400: no such"),
            (408, "again in 7 s"),
            (425, "again in 7 s"),
            (429, "again in 7 s"),
            (503, "again in 7 s"),
        ] {
            assert_eq!(judged(usual(), status), expected);
        }
        let said = || rules("400,501", "404,200-201", "409,5xx", true);
        for (status, expected) in [
            (400, "dropped"),
            (501, "dropped"),
            (404, "again in 7 s"),
            (200, "again in 7 s"),
            (202, "delivered"),
            (409, "delivered"),
            (503, "delivered"),
            (422, "letter 422 no\nsuch"),
        ] {
            assert_eq!(judged(said(), status), expected, "{status}");
        }
    }

    #[test]
    fn no_answer_is_no_decision_and_an_early_one_is_none_either() {
        let judge = StatusJudge::new(inputs(), Rules::default());
        for attempt in [Attempt::ConnectFailed("x".into()), Attempt::ConnectionLost("x".into()), Attempt::TimedOut] {
            assert!(matches!(judge.judge(&event(0, "{}"), &attempt), Ok(Verdict::Retry { .. })), "{attempt:?}");
        }
        assert!(judge.judge(&event(0, "{}"), &Attempt::Answered(Answer::new(200, "").early())).is_err());
        let early = Attempt::Answered(Answer::new(413, "").early());
        assert!(matches!(judge.judge(&event(0, "{}"), &early), Ok(Verdict::Rejected { .. })));
    }

    #[test]
    fn a_failure_names_file_row_id_and_what_to_do() {
        let judge = StatusJudge::new(inputs(), Rules::default());
        let error = judge.failed(&event(3, "{}"), Cause::Rejected, "after 1 attempt: status 400").to_string();
        for words in ["f.jsonl, row 4, id 7", "status 400", "--dead-letter"] {
            assert!(error.contains(words), "{error}");
        }
    }
}

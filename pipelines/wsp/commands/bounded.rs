//! What a run of the program that is to end by itself (`--once`, `--max-messages`) comes to.
//!
//! ```text
//! each READY ──► Came ──► Seen ──► is it enough? ──► exit code, and the line that explains it
//! ```
//!
//! Exit 0 means that what was to be streamed was streamed: a Kubernetes Job that succeeds has streamed its run. The table is
//! in the run book, the reasons are in ADR 0801.

use wsp_world::evidence::Status;
use wsp_world::model::{Reason, Refusal};
use wsp_world::service::Taken;

use super::args::Run;
use super::bus::PUBLISH;
use super::{Exit, Failure, Outcome};

/// When the program ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Never: it is a service.
    Never,
    /// After this many runs.
    Runs(u64),
    /// When all that is there was looked at, or after this many runs.
    Once(Option<u64>),
}

impl Bound {
    pub(super) fn of(args: &Run) -> Self {
        match args.max_messages.filter(|limit| *limit > 0) {
            limit if args.once => Self::Once(limit),
            Some(limit) => Self::Runs(limit),
            None => Self::Never,
        }
    }

    pub(super) fn is_once(self) -> bool {
        matches!(self, Self::Once(_))
    }

    /// Whether `seen` is enough.
    pub(super) fn is_reached(self, seen: &Seen) -> bool {
        match self {
            Self::Never | Self::Once(None) => false,
            Self::Runs(limit) | Self::Once(Some(limit)) => seen.taken() >= limit,
        }
    }
}

/// An end that was not chosen by the bound: a stop, or a control topic that gives out nothing more.
#[derive(Debug)]
pub(super) struct NoMore<'a> {
    /// A stop was requested.
    pub(super) stopped: bool,
    /// Why the control topic can't be read, where that was its last word.
    pub(super) unread: Option<Refusal>,
    /// Messages on it that can't be read.
    pub(super) unreadable: u64,
    /// It, in words.
    pub(super) bus: &'a str,
}

impl NoMore<'_> {
    /// How the program ends.
    pub(super) fn end(self, bound: Bound, seen: &Seen) -> Outcome {
        let Self { stopped, unread, unreadable, bus } = self;
        if stopped {
            return Ok(if bound == Bound::Never { Exit::Done } else { Exit::Stopped });
        }
        if let Some(refusal) = unread {
            return Err(Failure::failed(refusal.to_string()));
        }
        if !bound.is_once() {
            return Err(Failure::failed(format!(
                "{bus} gives out nothing more, and nobody asked this service to stop"
            )));
        }
        match seen.at_end(unreadable, bus) {
            (exit, Some(message)) => Err(Failure { exit, message }),
            (exit, None) => Ok(exit),
        }
    }
}

/// What a READY came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Its run is streamed, now or before.
    Streamed,
    /// FAILED.
    Failed,
    /// Its run was stopped before its end, here: the next start goes on with it.
    Stopped,
    /// It has to wait, and comes again.
    Waits,
    /// There is no verdict, or it is not on record yet. It comes again.
    Open,
    /// It is another run's.
    NotOurs,
}

impl Came {
    /// What a look at a READY came to.
    pub(super) fn of(outcome: &Result<Taken, Refusal>) -> Self {
        let Ok(Taken { verdict, unwritten: None, standing, .. }) = outcome else { return Self::Open };
        match (verdict.status, standing) {
            (Status::Streamed, _) | (Status::SkippedDuplicate, Some(Status::Streamed)) => Self::Streamed,
            (Status::Failed, _) if verdict.reason == Some(Reason::RunStopped) => Self::Stopped,
            (Status::Failed, _) => Self::Failed,
            (Status::DeferredDownstreamNotReady, _) => Self::Waits,
            (Status::SkippedOutOfScope | Status::SkippedDuplicate, _) => Self::NotOurs,
        }
    }
}

/// What all READYs so far came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    streamed: u64,
    failed: u64,
    waiting: u64,
    open: u64,
    not_ours: u64,
    /// Verdicts that could not be printed.
    untold: u64,
}

impl Seen {
    pub(super) fn note(&mut self, came: Came) {
        match came {
            Came::Streamed => self.streamed += 1,
            Came::Failed | Came::Stopped => self.failed += 1,
            Came::Waits => self.waiting += 1,
            Came::Open => self.open += 1,
            Came::NotOurs => self.not_ours += 1,
        }
    }

    pub(super) fn note_untold(&mut self) {
        self.untold += 1;
    }

    /// READYs that count for `--max-messages`: those whose run ended here or before. One that waits, has no verdict or is
    /// another run's leaves the place to the next.
    pub(super) fn taken(&self) -> u64 {
        self.streamed + self.failed
    }

    /// The end at `--max-messages`.
    pub(super) fn at_limit(&self) -> Exit {
        if self.failed + self.untold > 0 { Exit::Failed } else { Exit::Done }
    }

    /// The end of `--once`, which has seen all of `bus` and met `unreadable` messages on it; and why, where it is not 0.
    fn at_end(&self, unreadable: u64, bus: &str) -> (Exit, Option<String>) {
        let many = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if self.failed + self.open + self.untold + unreadable > 0 {
            let why = (unreadable > 0).then(|| {
                format!(
                    "{} on {bus} can't be read, and any of them may be a READY: the log names each; remove it or have it \
                     written again",
                    many(unreadable, "message")
                )
            });
            return (Exit::Failed, why);
        }
        if self.waiting > 0 {
            let waiting = many(self.waiting, "READY");
            return (
                Exit::Stopped,
                Some(format!("{waiting} on {bus} had to wait: start again when the log's cause is over")),
            );
        }
        if self.streamed > 0 {
            return (Exit::Done, None);
        }
        let why = match self.not_ours {
            0 => format!("nothing to stream: there is no READY on {bus}"),
            n => format!("nothing to stream: {} on {bus}, none of the active run", many(n, "READY")),
        };
        let what = "and start again, or start without --once to wait for one";
        (Exit::Stopped, Some(format!("{why}; {PUBLISH} {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(came: &[Came]) -> Seen {
        let mut seen = Seen::default();
        for came in came {
            seen.note(*came);
        }
        seen
    }

    #[test]
    fn once_ends_well_only_if_all_of_the_runs_there_are_streamed() {
        use Came::{Failed, NotOurs, Open, Streamed, Waits};
        for (came, unreadable, exit) in [
            (&[][..], 0, Exit::Stopped),
            (&[Streamed], 0, Exit::Done),
            (&[Streamed, Streamed, NotOurs], 0, Exit::Done),
            (&[NotOurs], 0, Exit::Stopped),
            (&[Waits], 0, Exit::Stopped),
            (&[Streamed, Waits], 0, Exit::Stopped),
            (&[Waits, Failed], 0, Exit::Failed),
            (&[Streamed, Failed], 0, Exit::Failed),
            (&[Streamed, Open], 0, Exit::Failed),
            (&[], 1, Exit::Failed),
            (&[Streamed], 1, Exit::Failed),
            (&[Waits, NotOurs], 1, Exit::Failed),
        ] {
            let (end, why) = seen(came).at_end(unreadable, "the bus");
            assert_eq!(end, exit, "{came:?}, {unreadable} unreadable");
            assert_eq!(why.is_some(), exit == Exit::Stopped || unreadable > 0, "{came:?}: {why:?}");
            assert!(why.is_none_or(|why| why.contains("the bus")));
        }
        let mut untold = seen(&[Streamed]);
        untold.note_untold();
        assert_eq!((untold.at_end(0, "").0, untold.at_limit()), (Exit::Failed, Exit::Failed));
    }

    #[test]
    fn a_control_topic_that_is_lost_for_good_is_no_success() {
        let lost = || Refusal::new(Reason::ControlTopicUnreachable, "SASL authentication failed");
        let streamed = seen(&[Came::Streamed]);
        let end = |bound, stopped, unread: Option<Refusal>| {
            let no_more = NoMore { stopped, unread, unreadable: 0, bus: "the bus" };
            no_more.end(bound, &streamed).unwrap_or_else(|failure| failure.exit)
        };
        for bound in [Bound::Never, Bound::Runs(2), Bound::Once(None)] {
            assert_eq!(end(bound, false, Some(lost())), Exit::Failed, "{bound:?}");
        }
        // A feed that ends without a word is no better, unless that is how it was asked for.
        assert_eq!(end(Bound::Never, false, None), Exit::Failed);
        assert_eq!(end(Bound::Runs(2), false, None), Exit::Failed);
        assert_eq!(end(Bound::Once(None), false, None), Exit::Done);
        // A Job that is told to stop has not done what it was to do; a service between READYs has nothing to finish.
        assert_eq!(end(Bound::Never, true, None), Exit::Done);
        assert_eq!(end(Bound::Runs(2), true, Some(lost())), Exit::Stopped);
        assert_eq!(end(Bound::Once(None), true, None), Exit::Stopped);
    }

    #[test]
    fn a_bound_is_reached_by_runs_that_ended() {
        let two = seen(&[Came::Streamed, Came::Failed, Came::NotOurs]);
        for (bound, reached) in [
            (Bound::Never, false),
            (Bound::Once(None), false),
            (Bound::Runs(2), true),
            (Bound::Once(Some(2)), true),
            (Bound::Runs(3), false),
        ] {
            assert_eq!(bound.is_reached(&two), reached, "{bound:?}");
        }
    }

    #[test]
    fn only_runs_that_ended_count_for_the_limit() {
        use Came::{Failed, NotOurs, Open, Streamed, Waits};
        assert_eq!(seen(&[Waits, NotOurs, Open, Waits]).taken(), 0);
        assert_eq!(seen(&[Waits, Streamed, NotOurs, Failed]).taken(), 2);
        assert_eq!(seen(&[Waits, NotOurs, Open, Streamed]).at_limit(), Exit::Done);
        assert_eq!(seen(&[Streamed, Failed]).at_limit(), Exit::Failed);
    }
}

//! Watches everything that the outside can see of the producers, and says when a promise is broken.
//!
//! ```text
//! gate: sends · answers ─┐
//! store: loads · saves  ─┼──► books of lines and processes ──► the first Violation
//! process: its end      ─┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use wsp::deliver::{Attempt, PushCounts};
use wsp_world::checkpoint::{Beyond, Cursor, Kept};
use wsp_world::evidence::Tally;
use wsp_world::model::{Decision, Event, Reason, Refusal};

use super::books::{Shared, close};
use super::hub::ProcessId;
use super::line::Line;
use super::totals::Totals;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A run that streamed was answered whole, and the gate has all of it.
    NoLoss,
    /// A process sends at most as many events as the settings say that are not kept yet, and none that was kept when it
    /// started: so that is what a crash can repeat.
    BoundedRepetition,
    /// Every attempt of an event has the same bytes, and they are the world's.
    SameBytes,
    /// The gate sees the order that the delivery mode promises.
    Order,
    /// What is saved as answered is answered, and stays saved.
    HonestPosition,
    /// Runs, lanes and attempts never see each other's positions or events.
    Isolation,
    /// What a legacy producer reads of a checkpoint is whole, covers answered rows alone, and follows the saves.
    LegacyFiles,
    /// Nothing is sent at or behind a row that is in doubt, and the run says why.
    FailClosed,
    /// Who lost the checkpoint to another sends nothing new and does not end the run well.
    Fencing,
    /// Status and counts are what happened.
    TruthfulEnd,
    /// No connection rests while an event may be sent.
    NoRest,
    /// It gets to an end.
    Progress,
    /// One seed gives one trace.
    OneTrace,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.what)
    }
}

/// A violation, in the making.
pub(super) fn broken(promise: Promise, what: impl Into<String>) -> Violation {
    Violation { promise, what: what.into() }
}

/// The judge: books over the lines.
pub(super) type Judge = Shared<Vec<Line>, Seen>;

/// What was seen of a process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) line: usize,
    /// Events it sent, with the attempts of each.
    pub(super) sent: BTreeMap<usize, u32>,
    /// Events on the way.
    pub(super) open: Vec<usize>,
    /// Events that the gate decided about.
    pub(super) answered: BTreeSet<usize>,
    /// An attempt failed, an event was quarantined, or it was asked to stop: what may be sent is not only a matter of order
    /// from then on.
    pub(super) troubled: bool,
    /// Events that were kept as answered when it started.
    pub(super) kept: BTreeSet<usize>,
    /// Those among them beyond the positions.
    beyond: u64,
    /// When it loaded or saved something, and the rows of each output that were kept then.
    saves: Vec<(Duration, Vec<usize>)>,
    /// Until when it knows to hold its checkpoint; no end where it is locked.
    pub(super) held_until: Option<Duration>,
    /// A save told it that the checkpoint is another's.
    lost: bool,
    /// It was started over another world than the one that its line's positions were taken in.
    over_changed: bool,
    counts: PushCounts,
}

/// How a process ended by itself.
pub(super) struct End<'a> {
    pub(super) tally: Option<&'a Tally>,
    pub(super) pushes: PushCounts,
    pub(super) refusal: Option<&'a Refusal>,
}

impl Judge {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        Self::of(lines)
    }

    /// A process sets out on a line, over its world or a changed one.
    pub(super) fn sets_out(&self, process: ProcessId, line: usize, over_changed: bool) {
        self.lock().processes.insert(process, Seen { line, over_changed, ..Seen::default() });
    }

    /// Whether a line has positions, and whether a cursor is among them.
    pub(super) fn has_positions(&self, line: usize) -> (bool, bool) {
        self.lock().pages.get(line).map_or((false, false), Line::has_positions)
    }

    /// A process read which views the positions count in.
    pub(super) fn reads_views(&self, process: ProcessId, views: Option<&str>) {
        self.with_line(process, |line, _, _| line.read_views(views));
    }

    /// A process kept these views as those that the positions count in.
    pub(super) fn keeps_views(&self, process: ProcessId, views: &str) {
        self.with_line(process, |line, _, _| line.keep_views(views));
    }

    /// A process now knows to hold its checkpoint until then.
    pub(super) fn holds(&self, process: ProcessId, until: Duration) {
        if let Some(seen) = self.lock().processes.get_mut(&process) {
            seen.held_until = seen.held_until.max(Some(until));
        }
    }

    /// A save tells a process that the checkpoint is another's.
    pub(super) fn loses(&self, process: ProcessId) {
        if let Some(seen) = self.lock().processes.get_mut(&process) {
            seen.lost = true;
        }
    }

    /// An attempt is made; says which event it is, where that is any.
    pub(super) fn sends(&self, process: ProcessId, event: &Event, now: Duration) -> Option<usize> {
        self.with_line(process, |line, seen, totals| {
            if seen.over_changed {
                let what = format!("{:?} was sent by a start over a changed world", event.position);
                return Err(broken(Promise::FailClosed, what));
            }
            let n = line.identify(event)?;
            line.check_order(seen, n, event)?;
            line.check_repetition(seen, n)?;
            if let (Some(until), Some(due)) = (seen.held_until, event.due)
                && now >= until
                && due > until
            {
                let what = format!("event {n} came due at {due:?} and was sent, the hold had ended at {until:?}");
                return Err(broken(Promise::Fencing, what));
            }
            let attempts = seen.sent.entry(n).or_default();
            *attempts += 1;
            totals.attempts += 1;
            totals.retries += u64::from(*attempts > 1);
            totals.repeats += u64::from(*attempts == 1 && line.sent_by_another(process, n));
            line.note_sender(process, n);
            seen.open.push(n);
            Ok(n)
        })
    }

    /// An attempt came to this, as its process saw it.
    pub(super) fn answers(&self, process: ProcessId, n: usize, attempt: &Attempt, decided: Option<Decision>) {
        self.with_line(process, |line, seen, totals| {
            close(&mut seen.open, n);
            let counts = &mut seen.counts;
            counts.attempts += 1;
            counts.retries += u64::from(seen.sent.get(&n).is_some_and(|attempts| *attempts > 1));
            match attempt {
                Attempt::ConnectFailed(_) => counts.connect_failed += 1,
                Attempt::ConnectionLost(_) => counts.connection_lost += 1,
                Attempt::TimedOut => counts.timed_out += 1,
                Attempt::Answered(answer) => match answer.status() {
                    429 => counts.throttled += 1,
                    500..=599 => counts.server_errors += 1,
                    _ => {}
                },
            }
            match decided {
                Some(Decision::Admit) => counts.admitted += 1,
                Some(Decision::Duplicate) => counts.duplicates += 1,
                Some(Decision::Quarantine) => counts.quarantined += 1,
                // Of earlier ones the gate knows nothing.
                Some(Decision::Earlier) | None => {}
            }
            seen.troubled |= !matches!(decided, Some(Decision::Admit | Decision::Duplicate));
            match (decided, attempt) {
                (Some(decision), _) => {
                    totals.decisions += 1;
                    seen.answered.insert(n);
                    line.answer(n, decision);
                }
                (None, Attempt::Answered(answer)) if answer.status() == 200 => line.garble(),
                _ => {}
            }
            Ok(())
        });
    }

    /// A process is asked to stop.
    pub(super) fn stops(&self, process: ProcessId) {
        if let Some(seen) = self.lock().processes.get_mut(&process) {
            seen.troubled = true;
        }
    }

    /// A process can't move, and so many events have reached its delivery.
    pub(super) fn rests(&self, process: ProcessId, handed: u64) {
        self.with_line(process, |line, seen, _| line.check_rest(seen, handed));
    }

    /// An attempt was given up by its process.
    pub(super) fn gives_up(&self, process: ProcessId, n: usize) {
        self.with_line(process, |_, seen, _| {
            close(&mut seen.open, n);
            Ok(())
        });
    }

    /// A process asks for what is kept and gets this, which no crash undoes from now on.
    pub(super) fn loads(&self, process: ProcessId, kept: &Kept, now: Duration) {
        self.with_line(process, |line, seen, totals| {
            totals.positions_lost += u64::from(line.load(kept)?);
            seen.saves.push((now, line.saved()));
            (seen.kept, seen.beyond) = (line.kept(), line.kept_beyond());
            Ok(())
        });
    }

    /// These positions are the saved ones from now on.
    pub(super) fn saves(&self, process: ProcessId, cursors: &[Cursor]) {
        self.with_line(process, |line, _, totals| {
            totals.saves += 1;
            line.save(cursors)
        });
    }

    /// These are the rows saved beyond the positions from now on.
    pub(super) fn saves_beyond(&self, process: ProcessId, beyond: &[Beyond]) {
        self.with_line(process, |line, _, totals| {
            totals.saved_beyond += u64::from(!beyond.is_empty());
            line.save_beyond(beyond)
        });
    }

    /// What is saved now is not undone by any crash.
    pub(super) fn keeps(&self, process: ProcessId, now: Duration) {
        self.with_line(process, |line, seen, _| {
            seen.saves.push((now, line.saved()));
            line.keep()
        });
    }

    /// A process was not run for a while: nothing of it is late.
    pub(super) fn is_resumed(&self, process: ProcessId) {
        if let Some(seen) = self.lock().processes.get_mut(&process) {
            seen.saves.clear();
        }
    }

    /// The cursor files of a process's line hold these outputs, files and rows; they should hold at least what it had saved
    /// until `published`.
    pub(super) fn reads_files(
        &self,
        process: ProcessId,
        places: Result<Vec<(String, String, u64)>, String>,
        published: Option<Duration>,
    ) {
        self.with_line(process, |line, seen, _| {
            let places = places.map_err(|what| broken(Promise::LegacyFiles, what))?;
            let least = published.and_then(|until| seen.saves.iter().rev().find(|(at, _)| *at <= until));
            line.check_files(&places, least.map(|(_, rows)| rows.as_slice()))
        });
    }

    /// A process has ended by itself. `has` says whether the gate has an event.
    pub(super) fn ends(&self, process: ProcessId, end: &End<'_>, has: impl Fn(&[u8; 32]) -> bool) {
        self.with_line(process, |line, seen, totals| {
            check_counts(seen, end)?;
            totals.answered_earlier += end.tally.map_or(0, |tally| tally.totals().answered_earlier);
            match end.refusal {
                None if seen.lost => Err(broken(
                    Promise::Fencing,
                    "it ended well, though a save had told it that it lost the checkpoint",
                )),
                refusal if seen.over_changed => {
                    let foreign = refused_over_changed(refusal)?;
                    totals.foreign += u64::from(foreign);
                    Ok(())
                }
                None => {
                    line.check_streamed(has)?;
                    end.tally.map_or(Ok(()), |tally| line.check_digests(tally.digests()))
                }
                Some(refusal) => line.check_refused(refusal),
            }
        });
    }

    fn with_line<T>(
        &self,
        process: ProcessId,
        note: impl FnOnce(&mut Line, &mut Seen, &mut Totals) -> Result<T, Violation>,
    ) -> Option<T> {
        self.with(process, |lines, seen, totals| note(&mut lines[seen.line], seen, totals))
    }
}

/// A start over a changed world is refused for that, unless it did not get as far. Says which.
fn refused_over_changed(refusal: Option<&Refusal>) -> Result<bool, Violation> {
    use Reason::{
        CheckpointForeign, CheckpointLeaseLost, CheckpointSaveFailed, CheckpointScopeBusy, CheckpointUnavailable,
        CheckpointUnreadable, StoreUnavailable,
    };
    match refusal.map(|refusal| refusal.reason) {
        Some(CheckpointForeign) => Ok(true),
        Some(
            CheckpointScopeBusy
            | CheckpointLeaseLost
            | CheckpointSaveFailed
            | CheckpointUnavailable
            | CheckpointUnreadable
            | StoreUnavailable,
        ) => Ok(false),
        other => Err(broken(Promise::FailClosed, format!("a start over a changed world ended with {other:?}"))),
    }
}

/// What the process counted against what the gate told it.
fn check_counts(seen: &Seen, end: &End<'_>) -> Result<(), Violation> {
    let told = &seen.counts;
    let numbers = |counts: &PushCounts| {
        let PushCounts { attempts, retries, connect_failed, connection_lost, timed_out, throttled, .. } = *counts;
        let PushCounts { server_errors, admitted, duplicates, quarantined, .. } = *counts;
        [attempts, retries, connect_failed, connection_lost, timed_out, throttled, server_errors, admitted, duplicates]
            .into_iter()
            .chain([quarantined])
            .collect::<Vec<_>>()
    };
    if numbers(&end.pushes) != numbers(told) {
        let what = format!("the process counted {:?}, the gate told it {told:?}", end.pushes);
        return Err(broken(Promise::TruthfulEnd, what));
    }
    let Some(tally) = end.tally else { return Ok(()) };
    let totals = tally.totals();
    let (counted, told) =
        ([totals.admitted, totals.duplicates, totals.quarantined], [told.admitted, told.duplicates, told.quarantined]);
    let good = end.refusal.is_none();
    let honest = if good { counted == told } else { counted.iter().zip(&told).all(|(counted, told)| counted <= told) };
    let (earlier, known) = (totals.answered_earlier, seen.beyond);
    if if good { earlier != known } else { earlier > known } {
        let what = format!("its evidence says that {earlier} events were answered earlier, {known} were");
        return Err(broken(Promise::TruthfulEnd, what));
    }
    if honest && totals.answered == counted.iter().sum::<u64>() {
        return Ok(());
    }
    let what = format!("its evidence says {counted:?} admitted, duplicate, quarantined; the gate told it {told:?}");
    Err(broken(Promise::TruthfulEnd, what))
}

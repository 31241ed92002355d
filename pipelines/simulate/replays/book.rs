//! The book of a replay: which of its events were sent, answered and saved, and whether that is as promised.
//!
//! ```text
//! gate: sends · answers ─┐
//! disk: cursors.json    ─┼──► Book ──► the first Violation
//! process: its end      ─┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use wsp::deliver::{DeliveryMode, Item};
use wsp_replay::{Error, Event, Outcome};

use super::super::books::{Shared, close};
use super::super::hub::ProcessId;
use super::super::judge::{Promise, Violation, broken};
use super::super::totals::Totals;
use super::plan::{Refusing, ReplayPlan};

/// What the gate said of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Taken,
    Refused,
}

/// What was seen of a process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    sent: BTreeSet<usize>,
    /// Events on the way.
    open: Vec<usize>,
    answered: BTreeMap<usize, Said>,
    /// Events that were saved as answered when it started.
    kept: BTreeSet<usize>,
}

/// The book of one replay.
pub(super) type Book = Shared<Pages, Seen>;

/// What is known of the replay.
pub(super) struct Pages {
    plan: Arc<ReplayPlan>,
    by_line: BTreeMap<String, usize>,
    /// The event before, of the same key.
    before: BTreeMap<usize, usize>,
    /// What any process has heard of each event.
    answered: BTreeMap<usize, Said>,
    /// Header lines of events that were sent.
    heads: BTreeMap<usize, Bytes>,
    /// What is saved as answered now.
    kept: BTreeSet<usize>,
    /// The living process that sends.
    sender: Option<ProcessId>,
}

/// The state's file, as far as it is read here.
#[derive(Deserialize)]
struct Cursors {
    inputs: Vec<Cursor>,
}

#[derive(Deserialize)]
struct Cursor {
    file: usize,
    row: u64,
    beyond: Vec<(usize, u64, u64)>,
}

/// A dead letter, as far as it is read here.
#[derive(Deserialize)]
struct Letter {
    status: u16,
    body: Box<serde_json::value::RawValue>,
}

impl Book {
    pub(super) fn new(plan: Arc<ReplayPlan>) -> Self {
        let by_line = plan.rows.iter().enumerate().map(|(n, row)| (row.line.clone(), n)).collect();
        let (mut before, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (n, row) in plan.rows.iter().enumerate() {
            if let Some(earlier) = last.insert(row.key, n) {
                before.insert(n, earlier);
            }
        }
        let events = plan.rows.len() as u64;
        let book = Self::of(Pages {
            plan,
            by_line,
            before,
            answered: BTreeMap::new(),
            heads: BTreeMap::new(),
            kept: BTreeSet::new(),
            sender: None,
        });
        book.count(|totals| totals.events = events);
        book
    }

    /// A process starts.
    pub(super) fn sets_out(&self, process: ProcessId) {
        self.lock().processes.insert(process, Seen::default());
    }

    /// A process holds the state and goes on from what is saved now.
    pub(super) fn loads(&self, process: ProcessId) {
        self.with(process, |pages, seen, _| {
            seen.kept.clone_from(&pages.kept);
            Ok(())
        });
    }

    /// A process has ended, well or not.
    pub(super) fn is_gone(&self, process: ProcessId) {
        let mut book = self.lock();
        let sender = &mut book.pages.sender;
        *sender = sender.filter(|sender| *sender != process);
    }

    /// A process sends an event; gives its number, unless a promise is broken.
    pub(super) fn sends(&self, process: ProcessId, event: &Event) -> Option<usize> {
        self.with(process, |pages, seen, totals| {
            let n = pages.identify(event)?;
            let sender = *pages.sender.get_or_insert(process);
            if sender != process {
                let what = format!("event {n} was sent while p{sender} replays with the same state");
                return Err(broken(Promise::Isolation, what));
            }
            pages.check_order(seen, n)?;
            pages.check_repetition(seen, n)?;
            let again = !seen.sent.insert(n);
            let repeats = !again && pages.heads.contains_key(&n);
            seen.open.push(n);
            pages.heads.entry(n).or_insert_with(|| Bytes::copy_from_slice(event.head()));
            totals.attempts += 1;
            totals.retries += u64::from(again);
            totals.repeats += u64::from(repeats);
            Ok(n)
        })
    }

    /// An attempt of a process came to this; `None` is no decision.
    pub(super) fn answers(&self, process: ProcessId, n: usize, said: Option<Said>) {
        self.with(process, |pages, seen, totals| {
            close(&mut seen.open, n);
            let Some(said) = said else { return Ok(()) };
            totals.decisions += 1;
            totals.quarantined += u64::from(said == Said::Refused);
            // What ends the replay is not answered.
            if said == Said::Taken || pages.plan.refusing != Refusing::Ends {
                pages.answered.insert(n, said);
                seen.answered.insert(n, said);
            }
            Ok(())
        });
    }

    /// An attempt was given up by its process.
    pub(super) fn gives_up(&self, process: ProcessId, n: usize) {
        self.with(process, |_, seen, _| {
            close(&mut seen.open, n);
            Ok(())
        });
    }

    /// What the disk holds now.
    pub(super) fn reads(&self, process: ProcessId, cursors: Option<&[u8]>, letters: Option<&[u8]>) {
        self.with(process, |pages, _, totals| pages.read(cursors, letters, totals));
    }

    /// A process has ended by itself.
    pub(super) fn ends(&self, process: ProcessId, outcome: &Result<Outcome, Error>, has: impl Fn(&str) -> bool) {
        self.with(process, |pages, seen, _| match outcome {
            Ok(outcome) => pages.check_end(seen, outcome, has),
            Err(Error::State { .. } | Error::Held { .. }) => Ok(()),
            Err(error) => Err(broken(Promise::Progress, format!("it could not start: {error}"))),
        });
    }
}

impl Pages {
    /// Which event this is, byte for byte, with the id that it always has.
    fn identify(&self, event: &Event) -> Result<usize, Violation> {
        let body = String::from_utf8_lossy(event.body());
        let Some(n) = self.by_line.get(&*body).copied() else {
            return Err(broken(Promise::SameBytes, format!("a body was sent that no row has: {body}")));
        };
        if n >= self.plan.end() {
            return Err(broken(Promise::FailClosed, format!("event {n} was sent, which must not be")));
        }
        let row = &self.plan.rows[n];
        let head = event.head();
        let hash = head.get(17..81).filter(|hash| hash.iter().all(u8::is_ascii_hexdigit)).unwrap_or_default();
        let id = if self.plan.id_column { row.id.clone().into() } else { String::from_utf8_lossy(hash) };
        if head != format!("idempotency-key: {id}\r\nx-key: {}\r\n", row.key).as_bytes() {
            let head = String::from_utf8_lossy(head);
            return Err(broken(Promise::SameBytes, format!("event {n} has other headers than its row says: {head}")));
        }
        if self.heads.get(&n).is_some_and(|earlier| *earlier != head) {
            return Err(broken(Promise::SameBytes, format!("event {n} was sent with another id than before")));
        }
        let twin = self.heads.iter().find(|(other, earlier)| **other != n && **earlier == *head);
        if let Some((other, _)) = twin {
            return Err(broken(Promise::SameBytes, format!("events {other} and {n} have one id")));
        }
        Ok(n)
    }

    /// Whether `n` may be sent now by the process that `seen` is of.
    fn check_order(&self, seen: &Seen, n: usize) -> Result<(), Violation> {
        let (mode, in_flight) = (self.plan.mode, self.plan.mode.in_flight());
        if seen.open.len() >= in_flight {
            let what = format!("event {n} was sent while {:?} were on the way, at most {in_flight} may be", seen.open);
            return Err(broken(Promise::Order, what));
        }
        let key = |n: usize| self.plan.rows[n].key;
        let free = matches!(mode, DeliveryMode::Free(_));
        if !free && let Some(other) = seen.open.iter().find(|other| key(**other) == key(n)) {
            return Err(broken(Promise::Order, format!("events {other} and {n} of one key were on the way at once")));
        }
        if seen.sent.contains(&n) {
            return Ok(());
        }
        let is_open = |n: &usize| !seen.kept.contains(n) && !seen.answered.contains_key(n);
        let waiting = match mode {
            // Nothing overtakes anything.
            DeliveryMode::Strict => (0..n).find(is_open),
            DeliveryMode::Keyed(_) => self.before.get(&n).copied().filter(is_open),
            DeliveryMode::Free(most) => {
                let oldest = (0..n).find(is_open);
                oldest.filter(|oldest| seen.sent.range(oldest + 1..).count() + 1 > most.get() - 1)
            }
        };
        match waiting {
            Some(waiting) => Err(broken(Promise::Order, format!("event {n} was sent before {waiting} had its answer"))),
            None => Ok(()),
        }
    }

    /// Whether `n` may be sent by a process that has done `seen`: it was not saved when the process started, and no more are
    /// out with it than a crash may repeat.
    fn check_repetition(&self, seen: &Seen, n: usize) -> Result<(), Violation> {
        if seen.sent.contains(&n) {
            return Ok(());
        }
        if seen.kept.contains(&n) {
            return Err(broken(Promise::BoundedRepetition, format!("event {n} was sent, it was saved as answered")));
        }
        let out = 1 + seen.sent.difference(&self.kept).count() as u64;
        if out > self.plan.bound() {
            let what = format!("{out} events are sent and not saved, {n} the last; the bound is {}", self.plan.bound());
            return Err(broken(Promise::BoundedRepetition, what));
        }
        Ok(())
    }

    /// Takes what the state says, which has to be true, and to have its dead letters.
    fn read(&mut self, cursors: Option<&[u8]>, letters: Option<&[u8]>, totals: &mut Totals) -> Result<(), Violation> {
        let Some(cursors) = cursors else {
            self.kept.clear();
            return Ok(());
        };
        let unreadable = |error: serde_json::Error| broken(Promise::HonestPosition, format!("the state: {error}"));
        let Cursors { inputs } = serde_json::from_slice(cursors).map_err(unreadable)?;
        let is_covered = |row: &super::plan::Row| {
            // Nothing is saved of a replay that begins anew.
            let Some(Cursor { file, row: next, beyond }) = inputs.get(row.input) else { return false };
            let within = |(at, from, to): &(usize, u64, u64)| *at == row.file && (*from..*to).contains(&row.at);
            (row.file, row.at) < (*file, *next) || beyond.iter().any(within)
        };
        let rows = self.plan.rows.iter().enumerate();
        let kept: BTreeSet<usize> = rows.filter(|(_, row)| is_covered(row)).map(|(n, _)| n).collect();
        if let Some(n) = kept.iter().find(|n| !self.answered.contains_key(n)) {
            return Err(broken(Promise::HonestPosition, format!("event {n} is saved as answered and is not")));
        }
        if self.plan.refusing == Refusing::Letters {
            let written = self.written(letters.unwrap_or_default());
            let lacks = |n: &&usize| self.answered[*n] == Said::Refused && !written.contains(n);
            if let Some(n) = kept.iter().find(lacks) {
                return Err(broken(Promise::NoLoss, format!("event {n} was refused and passed without a dead letter")));
            }
        }
        totals.saves += u64::from(kept != self.kept);
        self.kept = kept;
        Ok(())
    }

    /// The events whose letters are whole.
    fn written(&self, letters: &[u8]) -> BTreeSet<usize> {
        let lines = letters.split(|byte| *byte == b'\n');
        let letters = lines.filter_map(|line| serde_json::from_slice::<Letter>(line).ok());
        letters
            .filter(|letter| letter.status == super::plan::REFUSED)
            .filter_map(|letter| self.by_line.get(letter.body.get()).copied())
            .collect()
    }

    fn check_end(&self, seen: &Seen, outcome: &Outcome, has: impl Fn(&str) -> bool) -> Result<(), Violation> {
        let Outcome { totals, before, error } = outcome;
        let count = |what: Said| seen.answered.values().filter(|said| **said == what).count() as u64;
        let told = (totals.answered, totals.accepted, totals.dropped + totals.dead_letters);
        let saw = (seen.answered.len() as u64, count(Said::Taken), count(Said::Refused));
        let is_good = match error {
            None => told == saw,
            Some(_) => told.0 <= saw.0 && told.1 <= saw.1 && told.2 <= saw.2,
        };
        if !is_good || *before != seen.kept.len() as u64 {
            let what =
                format!("it says {told:?} and {before} before; the gate told it {saw:?}, {} before", seen.kept.len());
            return Err(broken(Promise::TruthfulEnd, what));
        }
        match error {
            None => {}
            // What was answered is saved before it ends.
            Some(Error::Stopped) => {
                return match seen.answered.keys().find(|n| !self.kept.contains(n)) {
                    Some(n) => {
                        Err(broken(Promise::HonestPosition, format!("event {n} was answered, the stop lost it")))
                    }
                    None => Ok(()),
                };
            }
            Some(Error::Row(_)) => return self.check_flaw(seen, error.as_ref()),
            Some(Error::Event(_) | Error::State { .. } | Error::Flag { .. }) => return Ok(()),
            Some(other) => return Err(broken(Promise::Progress, format!("it ended with {other}"))),
        }
        if self.plan.is_flawed() {
            return Err(broken(Promise::FailClosed, "it ended well over a line that is none"));
        }
        for n in 0..self.plan.end() {
            let lost = match self.answered.get(&n) {
                None => true,
                Some(Said::Taken) => !has(&self.plan.rows[n].line),
                Some(Said::Refused) => false,
            };
            if lost || !self.kept.contains(&n) {
                return Err(broken(
                    Promise::NoLoss,
                    format!("it ended well and event {n} is not delivered, or not saved"),
                ));
            }
        }
        Ok(())
    }

    /// A replay that ends at the flaw names its place, and has answered all before it: if it read the row before the flaw. One
    /// that begins at the flaw can't know which rows of other inputs stand before it.
    fn check_flaw(&self, seen: &Seen, error: Option<&Error>) -> Result<(), Violation> {
        let flaw = self.plan.flaw.filter(|_| self.plan.is_flawed());
        let Some(flaw) = flaw else {
            return Err(broken(Promise::FailClosed, format!("sound rows are refused: {error:?}")));
        };
        let row = &self.plan.rows[flaw];
        let place = format!("in{}/{}.jsonl, row {}", row.input, row.file, row.at + 2);
        let told = error.map(ToString::to_string).unwrap_or_default();
        if !told.contains(&place) {
            return Err(broken(Promise::FailClosed, format!("the flaw is at {place}, it says {told}")));
        }
        match (0..=flaw).find(|n| !self.kept.contains(n)) {
            Some(n) if !seen.kept.contains(&flaw) => {
                Err(broken(Promise::NoLoss, format!("event {n} stands before the flaw and is not delivered")))
            }
            _ => Ok(()),
        }
    }
}

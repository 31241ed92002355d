//! One line's book: which of its events were sent, answered and saved, and whether that is as promised.
//!
//! ```text
//! numbers of its events ──sent──► answered ──► covered by the saved positions
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use wsp::deliver::DeliveryMode;
use wsp_world::checkpoint::{Beyond, Cursor, Kept};
use wsp_world::model::{Decision, Digested, Event, EventDigest, Reason, Refusal, RunDigests};
use wsp_world::prepare::Prepared;
use wsp_world::producer::Settings;

use super::hub::ProcessId;
use super::judge::{Promise, Seen, Violation, broken};
use super::output::Output;
use super::world::World;

/// The book of a line.
pub(super) struct Line {
    events: Vec<Event>,
    by_id: BTreeMap<[u8; 32], usize>,
    /// The events that are the line's, of all that may be sent.
    members: BTreeSet<usize>,
    /// The line's member before, of the same order key.
    before: BTreeMap<usize, usize>,
    /// By rank: file, row and number of each row of the world, in the output's order.
    outputs: Vec<Output>,
    /// What it has to be refused for in the end.
    refusal: Option<Reason>,
    mode: DeliveryMode,
    window: usize,
    bound: u64,
    /// So many events that may go may wait at other connections until these may send.
    held_up: usize,
    stop_on_quarantine: bool,
    unanswered: BTreeSet<usize>,
    quarantined: bool,
    garbled: bool,
    senders: BTreeMap<usize, BTreeSet<ProcessId>>,
    /// What is saved.
    cursors: BTreeMap<String, Cursor>,
    /// What was saved when the last save came to its end; a later one that did not may be found or not.
    settled: BTreeMap<String, Cursor>,
    /// The views that they count in.
    views: Option<String>,
    /// Events kept as answered whatever crashes.
    durable: BTreeSet<usize>,
}

impl Line {
    /// `events` are all that may be sent of `run`'s world, by number.
    pub(super) fn new(world: &World, run: &Prepared, events: Vec<Event>, settings: &Settings) -> Self {
        let members: BTreeSet<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, event)| run.lane.owns(&event.event_id, event.order_key))
            .map(|(n, _)| n)
            .collect();
        let (mut before, mut last) = (BTreeMap::new(), BTreeMap::new());
        for n in &members {
            if let Some(earlier) = last.insert(events[*n].order_key, *n) {
                before.insert(*n, earlier);
            }
        }
        let outputs = run.outputs.iter().enumerate().map(|(rank, output)| {
            let rows = world.rows.iter().enumerate().filter(|(_, row)| row.rank == rank);
            let mut rows: Vec<_> = rows.map(|(n, row)| (row.file, row.index, n)).collect();
            rows.sort_unstable();
            let files = output.view.parts.iter().map(|part| part.name.clone()).collect();
            Output::new(output.view.output_id.to_string(), files, rows)
        });
        let (mode, window) = (settings.mode, settings.window.max(1));
        Self {
            by_id: events.iter().enumerate().map(|(n, event)| (event.event_id, n)).collect(),
            outputs: outputs.collect(),
            events,
            unanswered: members.clone(),
            members,
            before,
            refusal: world.refusal,
            mode,
            window: if let DeliveryMode::Free(n) = mode { n.get() } else { window },
            bound: settings.bound(),
            held_up: if settings.adaptive.is_some() { mode.in_flight() - 1 } else { 0 },
            stop_on_quarantine: settings.stop_on_quarantine,
            quarantined: false,
            garbled: false,
            senders: BTreeMap::new(),
            cursors: BTreeMap::new(),
            settled: BTreeMap::new(),
            views: None,
            durable: BTreeSet::new(),
        }
    }

    /// How many events it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Which of its events this is, byte for byte.
    pub(super) fn identify(&self, event: &Event) -> Result<usize, Violation> {
        let Some(n) = self.by_id.get(&event.event_id).copied() else {
            let what = format!("{:?} was sent, which must not be", event.position);
            return Err(broken(Promise::FailClosed, what));
        };
        let known = &self.events[n];
        if !self.members.contains(&n) {
            return Err(broken(Promise::Isolation, format!("event {n} was sent, which is another line's")));
        }
        if event.body != known.body {
            return Err(broken(Promise::SameBytes, format!("event {n} was sent with other bytes than the world's")));
        }
        Ok(n)
    }

    /// Whether `n` may be sent now by the process that `seen` is of.
    pub(super) fn check_order(&self, seen: &Seen, n: usize, event: &Event) -> Result<(), Violation> {
        let in_flight = self.mode.in_flight();
        if seen.open.len() >= in_flight {
            let what = format!("event {n} was sent while {:?} were on the way, at most {in_flight} may be", seen.open);
            return Err(broken(Promise::Order, what));
        }
        let free = matches!(self.mode, DeliveryMode::Free(_));
        let key = event.order_key;
        if !free && let Some(other) = seen.open.iter().find(|other| self.events[**other].order_key == key) {
            return Err(broken(Promise::Order, format!("events {other} and {n} of one key were on the way at once")));
        }
        if seen.sent.contains_key(&n) {
            return Ok(());
        }
        let waiting = match self.mode {
            // Nothing overtakes anything.
            DeliveryMode::Strict => self.unanswered.first().copied().filter(|oldest| *oldest < n),
            DeliveryMode::Keyed(_) => self.before.get(&n).copied().filter(|before| self.unanswered.contains(before)),
            DeliveryMode::Free(_) => None,
        };
        if let Some(waiting) = waiting {
            return Err(broken(Promise::Order, format!("event {n} was sent before {waiting} had its answer")));
        }
        let later = match self.mode {
            DeliveryMode::Strict => seen.sent.keys().next_back().copied().filter(|last| *last > n),
            DeliveryMode::Keyed(_) => seen.sent.keys().copied().find(|sent| self.before.get(sent) == Some(&n)),
            DeliveryMode::Free(_) => None,
        };
        if let Some(later) = later {
            return Err(broken(Promise::Order, format!("event {n} was sent for the first time after {later}")));
        }
        // Only those are overtaken that wait for their line, and where a connection may wait for leave, one a connection.
        let may_go: Vec<_> = self.may_go(seen).take_while(|ready| *ready < n).collect();
        if may_go.len() > if self.is_calm(seen) { 0 } else { in_flight - 1 } {
            let what = format!("event {n} was sent for the first time before {may_go:?}, which might have been");
            return Err(broken(Promise::Order, what));
        }
        // The oldest one without an answer is overtaken by fewer events than the window holds.
        if let Some(oldest) = self.unanswered.first()
            && *oldest < n
        {
            let ahead = seen.sent.range(oldest + 1..).count() + 1;
            let room = NonZeroUsize::new(self.window).map_or(0, |window| window.get() - 1);
            if ahead > room {
                let what = format!("event {n} was sent while {oldest} had no answer: {ahead} overtake it, not {room}");
                return Err(broken(Promise::Order, what));
            }
        }
        Ok(())
    }

    /// Whether order alone decides what a process sends: no circuit, no backoff and no limit does.
    fn is_calm(&self, seen: &Seen) -> bool {
        !seen.troubled && self.held_up == 0
    }

    /// The events that a process has not sent and whose line has no earlier one without an answer, in order.
    fn may_go<'a>(&'a self, seen: &'a Seen) -> impl Iterator<Item = usize> + 'a {
        let mut taken = BTreeSet::new();
        let open = self.members.iter().copied().filter(|n| !seen.kept.contains(n) && !seen.answered.contains(n));
        open.filter(move |n| {
            let free = match self.mode {
                DeliveryMode::Strict => taken.insert(0),
                DeliveryMode::Keyed(_) => taken.insert(self.events[*n].order_key),
                DeliveryMode::Free(_) => true,
            };
            free && !seen.sent.contains_key(n)
        })
    }

    /// Whether a process that can't move, and has `handed` events to deliver, has them all on the way that may be.
    pub(super) fn check_rest(&self, seen: &Seen, handed: u64) -> Result<(), Violation> {
        // What is settled of the bound is not known here, so nothing is said once it may have been reached.
        let bounded = seen.sent.len() as u64 >= self.bound;
        if !self.is_calm(seen) || bounded || seen.open.len() >= self.mode.in_flight() {
            return Ok(());
        }
        let handed = self.members.iter().filter(|n| !seen.kept.contains(n)).take(handed as usize).last();
        match (self.may_go(seen).next(), handed) {
            (Some(n), Some(last)) if n <= *last => {
                let what = format!("event {n} is not sent, though a connection rests: {:?} are on the way", seen.open);
                Err(broken(Promise::NoRest, what))
            }
            _ => Ok(()),
        }
    }

    /// Whether a process that has done `seen` may send `n`: it was not kept when it started, and with it no more are out
    /// than a crash may repeat.
    pub(super) fn check_repetition(&self, seen: &Seen, n: usize) -> Result<(), Violation> {
        if seen.sent.contains_key(&n) {
            return Ok(());
        }
        if seen.kept.contains(&n) {
            return Err(broken(Promise::BoundedRepetition, format!("event {n} was sent, it was kept as answered")));
        }
        let out = 1 + seen.sent.keys().filter(|sent| !self.durable.contains(sent)).count() as u64;
        if out > self.bound {
            let what = format!("{out} events are sent and not kept, {n} the last; the bound is {}", self.bound);
            return Err(broken(Promise::BoundedRepetition, what));
        }
        Ok(())
    }

    pub(super) fn sent_by_another(&self, process: ProcessId, n: usize) -> bool {
        self.senders.get(&n).is_some_and(|senders| senders.iter().any(|sender| *sender != process))
    }

    pub(super) fn note_sender(&mut self, process: ProcessId, n: usize) {
        self.senders.entry(n).or_default().insert(process);
    }

    /// Notes what the gate said of `n`.
    pub(super) fn answer(&mut self, n: usize, decision: Decision) {
        if decision == Decision::Quarantine && self.stop_on_quarantine {
            self.quarantined = true;
        } else {
            self.unanswered.remove(&n);
        }
    }

    /// Notes that an event got an answer that no retry can mend.
    pub(super) fn garble(&mut self) {
        self.garbled = true;
    }

    /// Takes what was loaded for what is kept for good. Says whether the last save was lost, which had not come to its
    /// end.
    pub(super) fn load(&mut self, kept: &Kept) -> Result<bool, Violation> {
        let last = (self.cursors.clone(), self.kept());
        let settled = (self.settled.clone(), self.durable.clone());
        self.fall_back(kept)?;
        let loaded = (self.cursors.clone(), self.kept());
        if loaded == last {
            return Ok(false);
        }
        if loaded == settled {
            return Ok(true);
        }
        let what = format!("{kept:?} was loaded, this line had saved {:?}, and before {:?}", last.0, settled.0);
        Err(broken(Promise::Isolation, what))
    }

    /// The rows of each output that are covered by its saved position.
    pub(super) fn saved(&self) -> Vec<usize> {
        self.outputs.iter().map(|output| output.saved).collect()
    }

    /// Cursor files as they are read by somebody else: output, file and row. They cover at least these rows of each output.
    pub(super) fn check_files(
        &self,
        places: &[(String, String, u64)],
        least: Option<&[usize]>,
    ) -> Result<(), Violation> {
        for (rank, output) in self.outputs.iter().enumerate() {
            let place = places.iter().find(|(id, ..)| *id == output.id);
            let covered = place.map_or(Some(0), |(_, file, row)| output.covered(file, *row));
            let Some(covered) = covered else {
                return Err(broken(Promise::LegacyFiles, format!("the cursor file has {place:?}, which is no row")));
            };
            let rows = &output.rows[..covered];
            if let Some((.., n)) = rows.iter().find(|(.., n)| self.unanswered.contains(n) || *n >= self.events.len()) {
                let what = format!("the cursor file covers {covered} rows of {}, event {n} has no answer", output.id);
                return Err(broken(Promise::LegacyFiles, what));
            }
            let least = least.map_or(0, |least| least[rank]);
            if covered < least {
                let what = format!("the cursor file covers {covered} rows of {}, {least} were saved", output.id);
                return Err(broken(Promise::LegacyFiles, what));
            }
        }
        Ok(())
    }

    /// Whether positions are saved for good, and whether a cursor is among them.
    pub(super) fn has_positions(&self) -> (bool, bool) {
        (!self.settled.is_empty() || !self.durable.is_empty(), !self.settled.is_empty())
    }

    /// What a start reads of the views counts, also where the start that wrote them did not come to its end.
    pub(super) fn read_views(&mut self, views: Option<&str>) -> Result<(), Violation> {
        if let Some(views) = views {
            return self.keep_views(views);
        }
        self.views.as_ref().map_or(Ok(()), |known| {
            Err(broken(Promise::HonestPosition, format!("the views {known} were kept and are no more")))
        })
    }

    pub(super) fn keep_views(&mut self, views: &str) -> Result<(), Violation> {
        let other = self.views.as_deref().is_some_and(|known| known != views);
        if other && self.has_positions().0 {
            let what = format!("positions were taken in {:?}, now they count in {views}", self.views);
            return Err(broken(Promise::HonestPosition, what));
        }
        self.views = Some(views.to_owned());
        Ok(())
    }

    pub(super) fn save(&mut self, cursors: &[Cursor]) -> Result<(), Violation> {
        if self.views.is_none() {
            let what = "positions are saved, and nothing says which views they count in";
            return Err(broken(Promise::HonestPosition, what));
        }
        for cursor in cursors {
            let id = cursor.output_id.to_string();
            let stray = || broken(Promise::HonestPosition, format!("{cursor:?} is not of this line's run"));
            let output = self.outputs.iter_mut().find(|output| output.id == id).ok_or_else(stray)?;
            let covered = output.covered(&cursor.last_file, cursor.last_row_index).ok_or_else(stray)?;
            if covered < output.saved {
                let what = format!("{id} goes back from {} to {covered} rows", output.saved);
                return Err(broken(Promise::HonestPosition, what));
            }
            let rows = &output.rows[output.saved..covered];
            if let Some((.., n)) = rows.iter().find(|(.., n)| self.unanswered.contains(n) || *n >= self.events.len()) {
                let what = format!("{id} is saved up to {covered} rows, event {n} among them has no answer");
                return Err(broken(Promise::HonestPosition, what));
            }
            output.saved = covered;
            self.cursors.extend(by_output(std::slice::from_ref(cursor)));
        }
        Ok(())
    }

    /// Takes the rows beyond positions that are saved in place of those before.
    pub(super) fn save_beyond(&mut self, beyond: &[Beyond]) -> Result<(), Violation> {
        for output in &mut self.outputs {
            output.beyond.clear();
        }
        for rows in beyond {
            let stray = || broken(Promise::HonestPosition, format!("{rows:?} are not of this line's run"));
            let output =
                self.outputs.iter_mut().find(|output| output.id == rows.output_id.as_str()).ok_or_else(stray)?;
            if !output.take_beyond(rows).ok_or_else(stray)? {
                let what = format!("{rows:?} stand beside a position that is not saved");
                return Err(broken(Promise::HonestPosition, what));
            }
            // Rows of other lanes among them say nothing.
            let unanswered = |n: &&usize| self.unanswered.contains(n) || **n >= self.events.len();
            if let Some(n) = output.beyond.iter().find(unanswered) {
                let what = format!("row of event {n} is saved as answered in {}, it is not", output.id);
                return Err(broken(Promise::HonestPosition, what));
            }
        }
        Ok(())
    }

    /// What is saved now stays.
    pub(super) fn keep(&mut self) -> Result<(), Violation> {
        let kept = self.kept();
        if let Some(n) = self.durable.difference(&kept).next() {
            return Err(broken(Promise::HonestPosition, format!("event {n} was kept as answered and is no more")));
        }
        self.durable = kept;
        self.settled.clone_from(&self.cursors);
        Ok(())
    }

    /// The line's events that are saved as answered.
    pub(super) fn kept(&self) -> BTreeSet<usize> {
        self.outputs.iter().flat_map(Output::kept).filter(|n| self.members.contains(n)).collect()
    }

    /// How many of them are beyond positions.
    pub(super) fn kept_beyond(&self) -> u64 {
        let beyond = self.outputs.iter().flat_map(Output::kept_beyond);
        beyond.filter(|n| self.members.contains(n)).count() as u64
    }

    fn fall_back(&mut self, kept: &Kept) -> Result<(), Violation> {
        self.cursors = by_output(&kept.cursors);
        for output in &mut self.outputs {
            let cursor = self.cursors.get(&output.id);
            let left = cursor.and_then(|cursor| output.covered(&cursor.last_file, cursor.last_row_index));
            output.saved = left.unwrap_or(0);
        }
        self.save_beyond(&kept.beyond)?;
        self.keep()
    }

    pub(super) fn check_streamed(&self, has: impl Fn(&[u8; 32]) -> bool) -> Result<(), Violation> {
        if let Some(reason) = self.refusal {
            return Err(broken(Promise::FailClosed, format!("it streamed a world that is to be refused: {reason}")));
        }
        if let Some(n) = self.unanswered.first() {
            let what = format!("it streamed, {} events have no answer, {n} the first", self.unanswered.len());
            return Err(broken(Promise::NoLoss, what));
        }
        if let Some(n) = self.members.iter().find(|n| !has(&self.events[**n].event_id)) {
            return Err(broken(Promise::NoLoss, format!("it streamed, the gate does not have event {n}")));
        }
        for output in &self.outputs {
            let behind = output.rows[output.saved..].iter().find(|(.., n)| self.members.contains(n));
            if let Some((.., n)) = behind {
                let what =
                    format!("it streamed, but {} is saved up to {} rows, before event {n}", output.id, output.saved);
                return Err(broken(Promise::TruthfulEnd, what));
            }
        }
        Ok(())
    }

    /// The digests of a run that ended well are those of the line's events, whatever crashed before.
    pub(super) fn check_digests(&self, told: &RunDigests) -> Result<(), Violation> {
        for (rank, output) in self.outputs.iter().enumerate() {
            let told = told.of(rank).unwrap_or_default();
            let mut expected = Digested::none_from(told.from);
            for (row, (.., n)) in (0..).zip(&output.rows).skip(told.from as usize) {
                if self.members.contains(n) {
                    expected.events += 1;
                    expected.digest += EventDigest::of(&self.events[*n].event_id, row);
                }
            }
            if told != expected {
                let what = format!("its digest of {} is {told:?}, its events give {expected:?}", output.id);
                return Err(broken(Promise::TruthfulEnd, what));
            }
        }
        Ok(())
    }

    pub(super) fn check_refused(&self, refusal: &Refusal) -> Result<(), Violation> {
        match refusal.reason {
            Reason::InternalError => Err(broken(Promise::TruthfulEnd, refusal.to_string())),
            Reason::IgPushRejected if !(self.quarantined || self.garbled) => {
                Err(broken(Promise::TruthfulEnd, format!("nothing was rejected: {refusal}")))
            }
            // A start right at a row out of order has none before it that says how far the other outputs may go.
            Reason::StreamViewOrderViolation => Ok(()),
            reason if Some(reason) == self.refusal && !self.unanswered.is_empty() => {
                let what = format!("{} events before the flaw have no answer: {refusal}", self.unanswered.len());
                Err(broken(Promise::NoLoss, what))
            }
            _ => Ok(()),
        }
    }
}

/// The cursors by output, as all stores have them: some keep the event ids elsewhere.
fn by_output(cursors: &[Cursor]) -> BTreeMap<String, Cursor> {
    let plain = |cursor: &Cursor| Cursor { last_event_id: None, digested: None, ..cursor.clone() };
    cursors.iter().map(|cursor| (cursor.output_id.to_string(), plain(cursor))).collect()
}

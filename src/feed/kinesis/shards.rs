//! Decides which shard may be read now, and from where.
//!
//! ```text
//! ancestors ──read to their ends──► a shard may be read     (a shard that is no longer listed is at its end)
//! shard:  Behind ⇄ AtEnd          open, or closed with records left
//!           └──► Exhausted        closed and empty, the server still returns iterators: children are read too
//!           └──► Drained          closed, and the server reports its end
//! ```
//!
//! Plain state without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{SequenceNumber, ShardId, ShardPosition};
use super::api::{Batch, Listed, Start};

/// The wait after the `n`-th failure in a row (1, 2, …): half a second, doubled each time, 10 s at most.
pub(super) fn backoff(n: u32) -> Duration {
    Duration::from_millis(500 << n.saturating_sub(1).min(5)).min(Duration::from_secs(10))
}

/// How far a shard is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Behind,
    AtEnd,
    Exhausted,
    Drained,
}

#[derive(Debug)]
struct Shard {
    listed: Listed,
    start: Start,
    iterator: Option<String>,
    progress: Progress,
    due: Duration,
    failures: u32,
}

impl Shard {
    /// At its end while it was open, and closed since: another read finds out whether anything came in between.
    fn ends_soon(&self) -> bool {
        self.progress == Progress::AtEnd && self.listed.end.is_some()
    }

    fn lets_children_go(&self) -> bool {
        matches!(self.progress, Progress::Exhausted | Progress::Drained)
    }
}

/// What to do for a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Get an iterator.
    Iterator(ShardId, Start),
    /// Read.
    Read(ShardId, String),
}

/// All shards of a stream.
#[derive(Debug, Default)]
pub(super) struct Shards {
    known: BTreeMap<ShardId, Shard>,
}

impl Shards {
    /// Takes the stream's list. New shards begin after what is kept of them; shards that are gone are forgotten.
    pub(super) fn listed(&mut self, listed: Vec<Listed>, kept: &BTreeMap<ShardId, ShardPosition>) {
        let mut before = std::mem::take(&mut self.known);
        for listed in listed {
            let shard = match before.remove(&listed.id) {
                Some(shard) if listed.start <= shard.listed.start => Shard { listed, ..shard },
                // Also where the stream was made anew between two looks: the same name is another shard then.
                _ => Self::begin(listed, kept),
            };
            self.known.insert(shard.listed.id.clone(), shard);
        }
    }

    fn begin(listed: Listed, kept: &BTreeMap<ShardId, ShardPosition>) -> Shard {
        let (start, progress) = match kept.get(&listed.id) {
            Some(kept) if kept.sequence_number < listed.start => {
                tracing::warn!(shard = %listed.id, kept = %kept.sequence_number, begins = %listed.start,
                    "what is kept of this shard is of an earlier stream of this name; it is read from its oldest record");
                (Start::TrimHorizon, Progress::Behind)
            }
            Some(kept) if kept.drained => (Start::After(kept.sequence_number.clone()), Progress::Drained),
            Some(kept) => (Start::After(kept.sequence_number.clone()), Progress::Behind),
            None => (Start::TrimHorizon, Progress::Behind),
        };
        Shard { listed, start, iterator: None, progress, due: Duration::ZERO, failures: 0 }
    }

    /// Forgets all of them: the stream is gone.
    pub(super) fn clear(&mut self) -> Vec<ShardId> {
        std::mem::take(&mut self.known).into_keys().collect()
    }

    /// Whether all that a shard came from is read to its end. Its parents alone don't tell: an empty one may be kept as
    /// drained while a message of its own parent is still open.
    fn may_be_read(&self, shard: &Shard) -> bool {
        let mut seen = BTreeSet::new();
        let mut left: Vec<&ShardId> = shard.listed.parents.iter().collect();
        while let Some(id) = left.pop() {
            let Some(parent) = self.known.get(id).filter(|_| seen.insert(id)) else { continue };
            if !parent.lets_children_go() {
                return false;
            }
            left.extend(&parent.listed.parents);
        }
        shard.progress != Progress::Drained
    }

    /// The shard whose turn is next. With `once`, a shard that was read to its end has no further turn.
    fn turn(&self, once: bool) -> Option<&Shard> {
        let wanted = |shard: &&Shard| !once || shard.progress == Progress::Behind || shard.ends_soon();
        let readable = self.known.values().filter(|shard| self.may_be_read(shard)).filter(wanted);
        readable.min_by_key(|shard| shard.due)
    }

    /// What is due at `now`.
    pub(super) fn next(&self, now: Duration, once: bool) -> Option<Next> {
        let shard = self.turn(once).filter(|shard| shard.due <= now)?;
        let id = shard.listed.id.clone();
        Some(match &shard.iterator {
            Some(iterator) => Next::Read(id, iterator.clone()),
            None => Next::Iterator(id, shard.start.clone()),
        })
    }

    /// When something is due.
    pub(super) fn next_due(&self, once: bool) -> Option<Duration> {
        self.turn(once).map(|shard| shard.due)
    }

    /// Whether all that was listed is read.
    pub(super) fn all_read(&self) -> bool {
        let read = |shard: &Shard| shard.progress != Progress::Behind && !shard.ends_soon();
        self.known.values().all(read)
    }

    /// An iterator came.
    pub(super) fn iterator(&mut self, id: &ShardId, iterator: String) {
        if let Some(shard) = self.known.get_mut(id) {
            shard.iterator = Some(iterator);
        }
    }

    /// The iterator is of no use any more; the next one goes on where reading stopped. After a failure in a row it waits.
    pub(super) fn renew(&mut self, id: &ShardId, now: Duration) {
        if let Some(shard) = self.known.get_mut(id) {
            shard.iterator = None;
            shard.failures += 1;
            if shard.failures > 1 {
                shard.due = now + backoff(shard.failures - 1);
            }
        }
    }

    /// The kept sequence number is none of this shard's: it is read from its oldest record. `false` where it was so before.
    pub(super) fn rewind(&mut self, id: &ShardId) -> bool {
        let Some(shard) = self.known.get_mut(id) else { return true };
        shard.iterator = None;
        std::mem::replace(&mut shard.start, Start::TrimHorizon) != Start::TrimHorizon
    }

    /// The shard has to wait.
    pub(super) fn put_off(&mut self, id: &ShardId, now: Duration) {
        if let Some(shard) = self.known.get_mut(id) {
            shard.failures += 1;
            shard.due = now + backoff(shard.failures);
        }
    }

    /// Records came; the shard is read again after `pause`, or `catch_up` where there are more. `true` where it ended.
    pub(super) fn read(
        &mut self,
        id: &ShardId,
        batch: &Batch,
        now: Duration,
        pause: Duration,
        catch_up: Duration,
    ) -> bool {
        let Some(shard) = self.known.get_mut(id) else { return false };
        shard.failures = 0;
        if let Some(last) = batch.records.last() {
            shard.start = Start::After(last.sequence.clone());
        }
        shard.iterator.clone_from(&batch.next);
        let exhausted = batch.caught_up && batch.records.is_empty() && shard.listed.end.is_some();
        let let_go_before = shard.lets_children_go();
        shard.progress = match (batch.next.is_some(), batch.caught_up) {
            (false, _) => Progress::Drained,
            // It stays so: children may be under way.
            (true, true) if exhausted || shard.progress == Progress::Exhausted => Progress::Exhausted,
            (true, true) => Progress::AtEnd,
            (true, false) => Progress::Behind,
        };
        shard.due = now + if shard.progress == Progress::Behind { catch_up } else { pause };
        shard.progress == Progress::Drained || (!let_go_before && shard.lets_children_go())
    }

    /// Closed shards that were read to their end, each with the last sequence number it can have.
    pub(super) fn drained(&self) -> impl Iterator<Item = (&ShardId, Option<&SequenceNumber>)> {
        let drained = self.known.values().filter(|shard| shard.progress == Progress::Drained);
        drained.map(|shard| (&shard.listed.id, shard.listed.end.as_ref()))
    }
}

#[cfg(test)]
mod tests;

//! The READYs in hand: which is offered next, which waits, and what may be committed meanwhile.
//!
//! ```text
//! arrived ──► waiting ──► given ──verdict──► gone; its partition's ledger moves on
//!               ▲           └─deferred─► pause ─┐
//!               └───────────────────────────────┘
//! partition revoked: waiting and deferred ones are forgotten (another consumer gets them), given ones are
//! orphans, whose verdict commits nothing unless the same message arrives here again meanwhile
//! ```
//!
//! Plain state: what arrives, what is settled and what time it is are told to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::ledger::OffsetLedger;
use crate::ready::{Ready, Settlement};

/// An offer that either the taker takes or the feed withdraws, whoever is first.
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicU8);

impl Claim {
    const OPEN: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// `false` where it was withdrawn.
    pub(super) fn take(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// `false` where it was taken.
    fn withdraw(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A READY to be offered.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) id: u64,
    pub(super) ready: Ready,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) claim: Arc<Claim>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Given(Arc<Claim>),
    /// Until then.
    Deferred(Duration),
}

#[derive(Debug)]
struct Held {
    partition: i32,
    offset: i64,
    ready: Ready,
    state: State,
    /// Its partition was taken from us since it was given out.
    orphan: bool,
}

#[derive(Debug, Default)]
struct Assigned {
    ledger: OffsetLedger,
    /// The offset that was told last; at first the one where reading began, which the broker knows.
    told: Option<i64>,
}

/// All partitions' READYs.
#[derive(Debug, Default)]
pub(super) struct Hold {
    partitions: BTreeMap<i32, Assigned>,
    held: BTreeMap<u64, Held>,
    waiting: VecDeque<u64>,
    next_id: u64,
}

impl Hold {
    /// The partition is ours from now on.
    pub(super) fn assign(&mut self, partition: i32) {
        self.revoke(partition);
        self.partitions.insert(partition, Assigned::default());
    }

    /// The partition is ours no more.
    pub(super) fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.held.retain(|_, held| {
            if held.partition == partition {
                held.orphan = true;
                return matches!(&held.state, State::Given(claim) if !claim.withdraw());
            }
            true
        });
        let held = &self.held;
        self.waiting.retain(|id| held.contains_key(id));
    }

    /// A message was read; `None` where it is to be passed over. Whether a READY is new here.
    pub(super) fn arrived(&mut self, partition: i32, offset: i64, ready: Option<Ready>) -> bool {
        let Assigned { ledger, told } = self.partitions.entry(partition).or_default();
        told.get_or_insert(offset);
        let forward = if ready.is_some() { ledger.read(offset) } else { ledger.pass(offset) };
        if !forward {
            // Read from an earlier offset than before: what we know about the partition is of another past.
            self.assign(partition);
            return self.arrived(partition, offset, ready);
        }
        let Some(ready) = ready else { return false };
        let again = self.held.values_mut().find(|held| {
            held.orphan
                && (held.partition, held.offset) == (partition, offset)
                && held.ready.payload.message_id == ready.payload.message_id
        });
        if let Some(held) = again {
            held.orphan = false;
            return false;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.held.insert(id, Held { partition, offset, ready, state: State::Waiting, orphan: false });
        self.waiting.push_back(id);
        true
    }

    /// A READY was settled; a deferred one comes again at `due`, at the earliest. Whether that was a verdict that counts.
    pub(super) fn settle(&mut self, id: u64, settlement: Settlement, due: Duration) -> bool {
        let Some(held) = self.held.get_mut(&id) else { return false };
        if settlement == Settlement::Deferred && !held.orphan {
            held.state = State::Deferred(due);
            return false;
        }
        let (partition, offset, orphan) = (held.partition, held.offset, held.orphan);
        self.held.remove(&id);
        if orphan {
            return false;
        }
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.ledger.settle(offset);
        }
        true
    }

    /// Puts deferred READYs whose pause is over back into the queue.
    pub(super) fn wake(&mut self, now: Duration) {
        for (id, held) in &mut self.held {
            if matches!(held.state, State::Deferred(due) if due <= now) {
                held.state = State::Waiting;
                self.waiting.push_back(*id);
            }
        }
    }

    /// The next READY to give out.
    pub(super) fn offer(&mut self) -> Option<Offer> {
        let id = self.waiting.pop_front()?;
        let held = self.held.get_mut(&id)?;
        let claim = Arc::new(Claim::default());
        held.state = State::Given(Arc::clone(&claim));
        Some(Offer { id, ready: held.ready.clone(), partition: held.partition, offset: held.offset, claim })
    }

    /// Whether a READY waits to be given out.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// READYs in memory, given out or not.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The partitions that are ours.
    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    /// Offsets that may be committed and were not told before.
    pub(super) fn commits(&mut self) -> Vec<(i32, i64)> {
        let moved = |(partition, assigned): (&i32, &mut Assigned)| {
            let offset = assigned.ledger.committable().filter(|_| assigned.ledger.committable() != assigned.told)?;
            assigned.told = Some(offset);
            Some((*partition, offset))
        };
        self.partitions.iter_mut().filter_map(moved).collect()
    }
}

#[cfg(test)]
mod tests;

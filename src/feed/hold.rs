//! The messages that a feed holds: which is offered next, which wait, and how far each partition (or shard) is settled.
//!
//! ```text
//! arrived ──► waiting ──► given ──verdict──► gone; its partition's ledger moves on
//!               ▲           └─deferred─► pause ─┐
//!               └───────────────────────────────┘
//! partition revoked: waiting and deferred ones are dropped (another consumer gets them); given ones become
//! orphans, whose verdict settles nothing unless the same message arrives here again before it
//! ```
//!
//! Plain state without I/O: its callers report what arrives, what is settled and what time it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::Settlement;
use super::ledger::Ledger;

/// A message of a log.
pub trait Message: Clone {
    /// Whether `other`, read at the same place, is this message: a log may have been made anew.
    fn is_same(&self, other: &Self) -> bool;
}

/// An offer that either the taker takes or the feed withdraws, whoever is first.
#[derive(Debug, Default)]
pub struct Claim(AtomicU8);

impl Claim {
    const OPEN: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// `false` where it was withdrawn.
    pub fn take(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// `false` where it was taken.
    fn withdraw(&self) -> bool {
        self.0.compare_exchange(Self::OPEN, Self::WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A message to be offered.
#[derive(Debug)]
pub struct Offer<M, P, O> {
    /// What it is settled by.
    pub id: u64,
    /// The message.
    pub message: M,
    /// Where it was read.
    pub partition: P,
    /// Its place there.
    pub offset: O,
    /// Whether it is still offered.
    pub claim: Arc<Claim>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Given(Arc<Claim>),
    /// Until then.
    Deferred(Duration),
}

#[derive(Debug)]
struct Held<M, P, O> {
    partition: P,
    offset: O,
    message: M,
    state: State,
    /// Its partition was taken from us since it was given out.
    orphan: bool,
}

#[derive(Debug)]
struct Assigned<O> {
    ledger: Ledger<O>,
    /// What [`Hold::settled`] reported last.
    reported: Option<O>,
}

impl<O> Default for Assigned<O> {
    fn default() -> Self {
        Self { ledger: Ledger::default(), reported: None }
    }
}

/// The messages of all partitions. `P` names a partition, `O` a message in it.
#[derive(Debug)]
pub struct Hold<M, P, O> {
    partitions: BTreeMap<P, Assigned<O>>,
    held: BTreeMap<u64, Held<M, P, O>>,
    waiting: VecDeque<u64>,
    next_id: u64,
}

impl<M, P, O> Default for Hold<M, P, O> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), held: BTreeMap::new(), waiting: VecDeque::new(), next_id: 0 }
    }
}

impl<M: Message, P: Ord + Clone, O: Ord + Clone> Hold<M, P, O> {
    /// The partition is ours from now on.
    pub fn assign(&mut self, partition: P) {
        self.revoke(&partition);
        self.partitions.insert(partition, Assigned::default());
    }

    /// The partition is no longer ours.
    pub fn revoke(&mut self, partition: &P) {
        self.partitions.remove(partition);
        self.held.retain(|_, held| {
            if held.partition == *partition {
                held.orphan = true;
                return matches!(&held.state, State::Given(claim) if !claim.withdraw());
            }
            true
        });
        let held = &self.held;
        self.waiting.retain(|id| held.contains_key(id));
    }

    /// A message was read; `None` where it is to be passed over. Whether one is new here.
    pub fn arrived(&mut self, partition: P, offset: O, message: Option<M>) -> bool {
        let Assigned { ledger, .. } = self.partitions.entry(partition.clone()).or_default();
        let forward = if message.is_some() { ledger.read(offset.clone()) } else { ledger.pass(offset.clone()) };
        if !forward {
            // Reading went back: what we know about the partition belongs to another past.
            self.assign(partition.clone());
            return self.arrived(partition, offset, message);
        }
        let Some(message) = message else { return false };
        let again = self.held.values_mut().find(|held| {
            held.orphan && (&held.partition, &held.offset) == (&partition, &offset) && held.message.is_same(&message)
        });
        if let Some(held) = again {
            held.orphan = false;
            return false;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.held.insert(id, Held { partition, offset, message, state: State::Waiting, orphan: false });
        self.waiting.push_back(id);
        true
    }

    /// A message was settled; a deferred one comes again at `due`, at the earliest. Whether that was a verdict that counts.
    pub fn settle(&mut self, id: u64, settlement: Settlement, due: Duration) -> bool {
        let Some(held) = self.held.get_mut(&id) else { return false };
        if settlement == Settlement::Deferred && !held.orphan {
            held.state = State::Deferred(due);
            return false;
        }
        let Some(held) = self.held.remove(&id).filter(|held| !held.orphan) else { return false };
        if let Some(assigned) = self.partitions.get_mut(&held.partition) {
            assigned.ledger.settle(&held.offset);
        }
        true
    }

    /// Puts deferred messages whose pause is over back into the queue.
    pub fn wake(&mut self, now: Duration) {
        for (id, held) in &mut self.held {
            if matches!(held.state, State::Deferred(due) if due <= now) {
                held.state = State::Waiting;
                self.waiting.push_back(*id);
            }
        }
    }

    /// The next message to give out.
    pub fn offer(&mut self) -> Option<Offer<M, P, O>> {
        let id = self.waiting.pop_front()?;
        let held = self.held.get_mut(&id)?;
        let claim = Arc::new(Claim::default());
        held.state = State::Given(Arc::clone(&claim));
        let (partition, offset) = (held.partition.clone(), held.offset.clone());
        Some(Offer { id, message: held.message.clone(), partition, offset, claim })
    }

    /// Whether a message waits to be given out.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Messages in memory, given out or not.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> impl Iterator<Item = &P> {
        self.partitions.keys()
    }

    /// Whether all that was read of a partition is settled.
    pub fn is_settled(&self, partition: &P) -> bool {
        self.partitions.get(partition).is_none_or(|assigned| assigned.ledger.is_settled())
    }

    /// How far partitions are settled, where that was not reported before.
    pub fn settled(&mut self) -> Vec<(P, O)> {
        let moved = |(partition, assigned): (&P, &mut Assigned<O>)| {
            let settled = assigned.ledger.settled().filter(|settled| assigned.reported.as_ref() != Some(settled))?;
            assigned.reported = Some(settled.clone());
            Some((partition.clone(), settled.clone()))
        };
        self.partitions.iter_mut().filter_map(moved).collect()
    }

    /// When the next deferred message comes again.
    pub fn next_due(&self) -> Option<Duration> {
        let due = |held: &Held<M, P, O>| match held.state {
            State::Deferred(due) => Some(due),
            State::Waiting | State::Given(_) => None,
        };
        self.held.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests;

//! The feed without its I/O: which call is next, what an answer means, what may be saved.
//!
//! ```text
//! request ──► (the API) ──► answered ─┬─ list ───► Shards
//!                                     ├─ records ─► Hold ──offer──► message ──settle──► positions ──► unsaved
//!                                     └─ fault ──► retry later · read again · the end of the feed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::{
    Decode, FeedError, Hold, Met, Offer, Outage, Raw, SequenceNumber, Settlement, ShardId, ShardPosition,
};
use super::api::{Batch, Fault, Listed, Start};
use super::options::KinesisOptions;
use super::shards::{Next, Shards, backoff};

/// A call to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    List,
    Iterator(ShardId, Start),
    Read(ShardId, String),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    List(Result<Vec<Listed>, Fault>),
    Iterator(ShardId, Result<String, Fault>),
    Read(ShardId, Result<Batch, Fault>),
}

/// What may be refused, each by itself: a role may list a stream and not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    List,
    Iterator,
    Read,
}

/// The state of one feed.
#[derive(Debug)]
pub(super) struct Reader<M> {
    options: Arc<KinesisOptions>,
    shards: Shards,
    hold: Hold<M, ShardId, SequenceNumber>,
    met: Met,
    /// How far each shard is settled, as kept or as known since.
    positions: BTreeMap<ShardId, ShardPosition>,
    unsaved: BTreeSet<ShardId>,
    outage: Outage<Call>,
    /// Calls that have worked.
    worked: BTreeSet<Call>,
    was_there: bool,
    missing_logged: bool,
    list_due: Option<Duration>,
    /// No call before this.
    rest_until: Duration,
    failures: u32,
    /// When calls began to fail, if the last one did.
    failing_since: Option<Duration>,
}

impl<M: Decode> Reader<M> {
    pub(super) fn new(options: Arc<KinesisOptions>, kept: Vec<ShardPosition>, met: Met) -> Self {
        Self {
            options,
            shards: Shards::default(),
            hold: Hold::default(),
            met,
            positions: kept.into_iter().map(|position| (position.shard_id.clone(), position)).collect(),
            unsaved: BTreeSet::new(),
            outage: Outage::default(),
            worked: BTreeSet::new(),
            was_there: false,
            missing_logged: false,
            list_due: Some(Duration::ZERO),
            rest_until: Duration::ZERO,
            failures: 0,
            failing_since: None,
        }
    }

    /// The call to make now, if there is one.
    pub(super) fn request(&self, now: Duration) -> Option<Request> {
        if now < self.rest_until {
            return None;
        }
        if self.list_due.is_some_and(|due| due <= now) {
            return Some(Request::List);
        }
        if self.is_full() {
            return None;
        }
        self.shards.next(now, self.options.once).map(|next| match next {
            Next::Iterator(shard, start) => Request::Iterator(shard, start),
            Next::Read(shard, iterator) => Request::Read(shard, iterator),
        })
    }

    /// When there is something to do again, if time alone brings it about.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let reads = self.shards.next_due(self.options.once).filter(|_| !self.is_full());
        let call = [self.list_due, reads].into_iter().flatten().min().map(|due| due.max(self.rest_until));
        [call, self.hold.next_due()].into_iter().flatten().min()
    }

    /// Whether reading rests until messages are taken or settled.
    fn is_full(&self) -> bool {
        self.hold.waits() || self.hold.len() >= self.options.max_held.max(1)
    }

    /// With `once`: whether all that was there is given out.
    pub(super) fn all_given(&self) -> bool {
        self.options.once && self.list_due.is_none() && self.shards.all_read() && !self.hold.waits()
    }

    /// Takes an answer.
    ///
    /// # Errors
    ///
    /// Where the feed has to end.
    pub(super) fn answered(&mut self, answer: Answer, now: Duration) -> Result<(), FeedError> {
        match answer {
            Answer::List(Ok(listed)) => {
                self.works(Call::List);
                self.list(listed, now);
            }
            Answer::Iterator(shard, Ok(iterator)) => {
                self.works(Call::Iterator);
                self.shards.iterator(&shard, iterator);
            }
            Answer::Read(shard, Ok(batch)) => {
                self.works(Call::Read);
                self.take(&shard, batch, now);
            }
            Answer::List(Err(fault)) => self.failed(Call::List, None, fault, now)?,
            Answer::Iterator(shard, Err(fault)) => self.failed(Call::Iterator, Some(&shard), fault, now)?,
            Answer::Read(shard, Err(fault)) => self.failed(Call::Read, Some(&shard), fault, now)?,
        }
        Ok(())
    }

    fn works(&mut self, call: Call) {
        self.worked.insert(call);
        (self.failures, self.failing_since) = (0, None);
        self.outage.granted(&call);
        if self.outage.mended() {
            tracing::info!(stream = self.options.stream, "the stream is reachable again");
        }
    }

    fn list(&mut self, listed: Vec<Listed>, now: Duration) {
        if !std::mem::replace(&mut self.was_there, true) {
            let (stream, shards) = (&self.options.stream, listed.len());
            tracing::info!(%stream, shards, "the stream is read");
        }
        self.missing_logged = false;
        // With `once`, what is there is what was listed first.
        self.list_due = (!self.options.once).then(|| now + self.options.list_interval);
        self.shards.listed(listed, &self.positions);
    }

    fn take(&mut self, shard: &ShardId, batch: Batch, now: Duration) {
        let (pause, catch_up) = (self.options.read_interval, self.options.catch_up_interval);
        if self.shards.read(shard, &batch, now, pause, catch_up) && !self.options.once {
            // Its children may be new.
            self.list_due = Some(now);
        }
        for record in batch.records {
            let name = self.name(shard, &record.sequence);
            let key = record.key.as_deref().map(str::as_bytes);
            let raw = Raw { topic: &self.options.topic, key, payload: &record.data, name: &name };
            let decoded = self.met.decode(&raw);
            self.hold.arrived(shard.clone(), record.sequence, decoded);
        }
        self.note_settled();
    }

    fn name(&self, shard: &ShardId, sequence: &SequenceNumber) -> String {
        format!("{}/{shard}/{sequence}", self.options.stream)
    }

    fn failed(&mut self, call: Call, shard: Option<&ShardId>, fault: Fault, now: Duration) -> Result<(), FeedError> {
        self.failing_since.get_or_insert(now);
        let stream = &self.options.stream;
        match (fault, shard) {
            (Fault::Throttled(reason), Some(shard)) => {
                tracing::debug!(%stream, %shard, reason, "reading this shard is throttled");
                self.shards.put_off(shard, now);
            }
            (Fault::Expired(reason), Some(shard)) => {
                tracing::debug!(%stream, %shard, reason, "the iterator is renewed");
                self.shards.renew(shard, now);
            }
            (Fault::Position(reason), Some(shard)) if call == Call::Iterator => {
                if self.shards.rewind(shard) {
                    tracing::warn!(%stream, %shard, reason,
                        "the kept sequence number is not one of this shard's; it is read from its oldest record");
                } else {
                    self.rest(now);
                    return self.refused(call, &reason, now);
                }
            }
            (Fault::Position(reason), Some(shard)) => {
                tracing::debug!(%stream, %shard, reason, "the iterator is renewed");
                self.shards.renew(shard, now);
            }
            (Fault::Missing(reason), Some(shard)) => {
                tracing::debug!(%stream, %shard, reason, "the shard is gone, or the stream");
                self.shards.put_off(shard, now);
                if !self.options.once {
                    self.list_due = Some(now);
                }
                return self.gives_up(&reason, now);
            }
            (Fault::Missing(reason), None) => return self.missing(&reason, now),
            (Fault::Throttled(reason), None) => {
                tracing::debug!(%stream, reason, "listing the shards is throttled");
                self.rest(now);
                return self.gives_up(&reason, now);
            }
            (Fault::Passing(reason) | Fault::Expired(reason) | Fault::Position(reason), _) => {
                self.rest(now);
                if self.outage.failed() {
                    let stream = &self.options.stream;
                    tracing::warn!(%stream, reason, "the stream can't be reached; it is tried again until it can");
                }
                return self.gives_up(&reason, now);
            }
            (Fault::Refused(reason), _) => {
                self.rest(now);
                return self.refused(call, &reason, now);
            }
        }
        Ok(())
    }

    /// All calls wait.
    fn rest(&mut self, now: Duration) {
        self.failures += 1;
        self.rest_until = now + backoff(self.failures);
    }

    /// With `once`, what can't be read for too long is not waited for.
    fn gives_up(&self, reason: &str, now: Duration) -> Result<(), FeedError> {
        let failing = now.saturating_sub(self.failing_since.unwrap_or(now));
        let late = self.options.once && failing > self.options.reach_timeout;
        if late { Err(self.options.unreachable(reason)) } else { Ok(()) }
    }

    /// At first the feed ends with it: settings and stream don't fit each other. Later that may be somebody's repair.
    fn refused(&mut self, call: Call, reason: &str, now: Duration) -> Result<(), FeedError> {
        if !self.worked.contains(&call) {
            return Err(self.options.unreachable(reason));
        }
        self.outage.refused(call, now, reason);
        if self.outage.failed() {
            let stream = &self.options.stream;
            tracing::warn!(%stream, reason, "the stream is refused to us; it is tried again for a while");
        }
        if let Some(reason) = self.outage.lost(now, self.options.lost_after) {
            return Err(self.options.unreachable(format!("lost: {reason}")));
        }
        self.gives_up(reason, now)
    }

    fn missing(&mut self, reason: &str, now: Duration) -> Result<(), FeedError> {
        self.rest(now);
        if self.was_there {
            for shard in self.shards.clear() {
                self.hold.revoke(&shard);
            }
            return self.refused(Call::List, &format!("the stream is gone: {reason}"), now);
        }
        if self.options.once {
            return Err(self.options.unreachable(format!("there is no such stream: {reason}")));
        }
        if !std::mem::replace(&mut self.missing_logged, true) {
            tracing::warn!(stream = self.options.stream, reason, "the stream does not exist; it is looked for again");
        }
        Ok(())
    }

    /// A message was settled; whether that was a verdict that counts.
    pub(super) fn settle(&mut self, id: u64, settlement: Settlement, now: Duration) -> bool {
        // With `once` a deferred one is left for the next start.
        let pause = if self.options.once { Duration::MAX } else { self.options.defer_pause };
        let verdict = self.hold.settle(id, settlement, now.saturating_add(pause));
        self.note_settled();
        verdict
    }

    /// Puts deferred messages whose pause is over back into the queue.
    pub(super) fn wake(&mut self, now: Duration) {
        self.hold.wake(now);
    }

    /// Whether a message waits to be given out.
    pub(super) fn waits(&self) -> bool {
        self.hold.waits()
    }

    /// The next message to give out, and what to call it.
    pub(super) fn offer(&mut self) -> Option<(Offer<M, ShardId, SequenceNumber>, String)> {
        let offer = self.hold.offer()?;
        let name = self.name(&offer.partition, &offer.offset);
        Some((offer, name))
    }

    fn note_settled(&mut self) {
        for (shard_id, sequence_number) in self.hold.settled() {
            self.unsaved.insert(shard_id.clone());
            let position = ShardPosition { shard_id: shard_id.clone(), sequence_number, drained: false };
            self.positions.insert(shard_id, position);
        }
        for (shard, end) in self.shards.drained() {
            if !self.hold.is_settled(shard) {
                continue;
            }
            // Of an empty shard there is the end alone.
            let (position, sequence) = (self.positions.get(shard), end);
            let sequence = position.map(|position| &position.sequence_number).or(sequence);
            let known = position.is_some_and(|position| position.drained);
            if let (false, Some(sequence)) = (known, sequence) {
                let position =
                    ShardPosition { shard_id: shard.clone(), sequence_number: sequence.clone(), drained: true };
                self.positions.insert(shard.clone(), position);
                self.unsaved.insert(shard.clone());
            }
        }
    }

    /// Whether there is something to save.
    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// What is to be saved now. What then is not saved has to come back by [`Reader::not_saved`].
    pub(super) fn unsaved(&mut self) -> Vec<ShardPosition> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved.iter().filter_map(|shard| self.positions.get(shard).cloned()).collect()
    }

    /// These could not be saved; what is known of their shards by then is saved next time.
    pub(super) fn not_saved(&mut self, positions: &[ShardPosition]) {
        self.unsaved.extend(positions.iter().map(|position| position.shard_id.clone()));
    }
}

#[cfg(test)]
mod tests;

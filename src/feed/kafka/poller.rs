//! The thread that polls the consumer whatever the rest of the program does, so that work of hours keeps its group.
//!
//! ```text
//!        verdicts (desk)                      a message        rebalance, errors
//!              ▼                                  ▼                   ▼
//! loop: ── settle ── offer ── store offsets ── pause or resume ── poll 100 ms ──
//!                      ▼            ▼
//!                  one offer     commit
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use tokio::sync::mpsc;

use super::super::message::{Desk, Ticket};
use super::super::{Claim, Decode, FeedError, Hold, Incoming, Met, Outage, Raw, Source, TopicPlace};
use super::KafkaOptions;
use super::context::{Event, Trouble, Watch};
use super::topic::partitions;
use crate::clock::Clock;
use crate::io_thread::thread;

/// How long one poll waits for a message, and so how long a verdict may wait to be heard.
const POLL: Duration = Duration::from_millis(100);

/// How long the end waits for a broker that doesn't take the last offsets; what it has not taken comes again.
const COMMIT: Duration = Duration::from_secs(10);

/// How long the broker may take to say what it has.
const COMMITTED: Duration = Duration::from_secs(1);

/// How long the end then waits for the consumer to leave its group. Where no broker answers, librdkafka waits for the
/// session to end, or for longer, or for good.
const LEAVE: Duration = Duration::from_secs(5);

/// How long one question to a broker may take before the start.
const ASK: Duration = Duration::from_secs(5);

/// What goes to the stream: a message, with the right to it.
pub(super) type Offered<M> = Result<(Incoming<M>, Arc<Claim>), FeedError>;

/// The state of the thread.
pub(super) struct Poller<M, C> {
    pub(super) options: KafkaOptions,
    pub(super) clock: C,
    pub(super) consumer: Arc<BaseConsumer<Watch>>,
    pub(super) offers: mpsc::Sender<Offered<M>>,
    pub(super) met: Met,
    pub(super) desk: Desk,
    pub(super) state: State<M>,
}

/// What the thread remembers from round to round.
#[derive(Debug)]
pub(super) struct State<M> {
    hold: Hold<M, i32, i64>,
    paused: bool,
    joined: bool,
    outage: Outage<Trouble>,
    logged: Logged,
    /// What was stored last, by partition.
    stored: BTreeMap<i32, i64>,
    /// With `once`: the end of each partition as it was at the start, and the partitions read that far.
    ends: Option<BTreeMap<i32, i64>>,
    at_end: BTreeSet<i32>,
}

impl<M> Default for State<M> {
    fn default() -> Self {
        Self {
            hold: Hold::default(),
            paused: false,
            joined: false,
            outage: Outage::default(),
            logged: Logged::default(),
            stored: BTreeMap::new(),
            ends: None,
            at_end: BTreeSet::new(),
        }
    }
}

impl<M: Decode> State<M> {
    fn revoke(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.hold.revoke(partition);
            self.stored.remove(partition);
        }
    }

    /// Whether reading rests until messages are taken or settled.
    fn is_full(&self, max_held: usize) -> bool {
        self.hold.waits() || self.hold.len() >= max_held.max(1)
    }

    /// Notes how far a partition is read. Whether the message counts: with `once`, those from the time of the start do.
    fn is_wanted(&mut self, partition: i32, offset: i64) -> bool {
        let end = self.ends.as_ref().and_then(|ends| ends.get(&partition));
        let (is_last, is_wanted) = end.map_or((false, true), |end| (offset + 1 >= *end, offset < *end));
        if is_last {
            self.at_end.insert(partition);
        }
        is_wanted
    }
}

/// What was logged and need not be again.
#[derive(Debug, Default)]
struct Logged {
    no_topic: bool,
    /// What went wrong last, for the line about an outage.
    last_reason: String,
}

impl<M: Decode, C: Clock> Poller<M, C> {
    /// Runs until the stream is dropped and every message given out is settled or dropped; then leaves the group.
    pub(super) fn run(mut self) {
        if let Err(error) = self.read() {
            // Nobody may be there to hear it.
            let _ = self.offers.blocking_send(Err(error));
        }
        self.finish();
    }

    /// Reads until there is nothing more to offer, or nobody to offer it to.
    fn read(&mut self) -> Result<(), FeedError> {
        if self.options.once {
            let Some(ends) = self.ends_now()? else { return Ok(()) };
            self.state.ends = Some(ends);
        }
        self.consumer.subscribe(&[&self.options.topic]).map_err(|error| self.options.unreachable(error.to_string()))?;
        while !self.offers.is_closed() {
            self.hear_verdicts();
            self.state.hold.wake(self.clock.now());
            self.offer();
            if self.all_given() {
                break;
            }
            self.pause_or_resume();
            self.poll()?;
        }
        Ok(())
    }

    /// Polls on until the last verdict is heard, and on for a while until the broker has the offsets; then leaves the group.
    fn finish(self) {
        let Self { options, clock, consumer, offers, desk: (sender, mut verdicts), mut state, .. } = self;
        drop((sender, offers));
        pause(&consumer, &options.topic, &state.hold);
        let mut give_up = None;
        loop {
            match verdicts.try_recv() {
                Ok((id, settlement)) => {
                    let verdict = state.hold.settle(id, settlement, Duration::MAX);
                    store(&consumer, &options.topic, &mut state, verdict);
                    continue;
                }
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    let give_up = *give_up.get_or_insert_with(|| clock.now().saturating_add(COMMIT));
                    if broker_has(&consumer, &options.topic, &state.stored) || clock.now() >= give_up {
                        return leave(consumer, &options.topic);
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            // What arrives now is left to the next consumer: its offset is not stored.
            let _ = consumer.poll(POLL);
            for event in consumer.context().take() {
                if let Event::Revoked(partitions) = event {
                    state.revoke(&partitions);
                }
            }
        }
    }

    /// The ends of the topic's partitions; `None` where there is no such topic.
    fn ends_now(&self) -> Result<Option<BTreeMap<i32, i64>>, FeedError> {
        if self.options.logs_in_by_iam() {
            // There is no token before the first poll, and no answer before there is a token.
            let _ = self.consumer.poll(POLL);
        }
        let give_up = self.clock.now().saturating_add(self.options.reach_timeout);
        loop {
            let error = match self.ask_ends() {
                Ok(ends) => return Ok(ends),
                Err(error) => error,
            };
            let _ = self.consumer.poll(POLL);
            for event in self.consumer.context().take() {
                if let Event::Failed(Trouble::Login | Trouble::Rights, reason) = event {
                    return Err(self.options.unreachable(reason));
                }
            }
            if self.clock.now() >= give_up || self.offers.is_closed() {
                return Err(self.options.unreachable(error.to_string()));
            }
        }
    }

    fn ask_ends(&self) -> Result<Option<BTreeMap<i32, i64>>, KafkaError> {
        let topic = &self.options.topic;
        let Some(partitions) = partitions(self.consumer.client(), topic, ASK)? else { return Ok(None) };
        let end = |partition| self.consumer.fetch_watermarks(topic, partition, ASK).map(|(_, end)| (partition, end));
        partitions.into_iter().map(end).collect::<Result<_, _>>().map(Some)
    }

    fn hear_verdicts(&mut self) {
        // With `once` a deferred one is left for the next start.
        let pause = if self.options.once { Duration::MAX } else { self.options.defer_pause };
        let mut verdict = false;
        while let Ok((id, settlement)) = self.desk.1.try_recv() {
            let due = self.clock.now().saturating_add(pause);
            verdict |= self.state.hold.settle(id, settlement, due);
        }
        store(&self.consumer, &self.options.topic, &mut self.state, verdict);
    }

    fn offer(&mut self) {
        while self.state.hold.waits() {
            let Ok(place) = self.offers.try_reserve() else { return };
            let Some(offer) = self.state.hold.offer() else { return };
            let topic = self.options.topic.clone();
            let name = format!("{topic}/{}/{}", offer.partition, offer.offset);
            let (partition, offset) = (TopicPlace::from(i64::from(offer.partition)), TopicPlace::from(offer.offset));
            let source = Source { topic, partition: Some(partition), offset: Some(offset), name };
            let ticket = Ticket { id: offer.id, desk: self.desk.0.clone() };
            place.send(Ok((Incoming { message: offer.message, source, ticket }, offer.claim)));
            self.met.note(|counts| counts.given += 1);
        }
    }

    /// With `once`: whether each partition that is ours was read to its end, and all of it is given out.
    fn all_given(&self) -> bool {
        let State { ends, at_end, hold, joined, .. } = &self.state;
        ends.is_some() && *joined && !hold.waits() && hold.partitions().all(|partition| at_end.contains(partition))
    }

    /// Reads on where there is room; else the partitions rest while polling goes on.
    fn pause_or_resume(&mut self) {
        let rest = self.state.is_full(self.options.max_held);
        if rest && !self.state.paused {
            pause(&self.consumer, &self.options.topic, &self.state.hold);
        } else if !rest && self.state.paused {
            let list =
                list(&self.options.topic, self.state.hold.partitions().map(|partition| (*partition, Offset::Invalid)));
            if let Err(error) = self.consumer.resume(&list) {
                tracing::debug!(%error, "the partitions could not be resumed yet");
                return;
            }
        }
        self.state.paused = rest;
    }

    fn poll(&mut self) -> Result<(), FeedError> {
        let consumer = Arc::clone(&self.consumer);
        let polled = consumer.poll(POLL);
        for event in consumer.context().take() {
            self.hear(event)?;
        }
        if let Some(reason) = self.state.outage.lost(self.clock.now(), self.options.lost_after) {
            return Err(self.options.unreachable(format!("lost: {reason}")));
        }
        self.take(polled);
        Ok(())
    }

    /// Takes in what a poll returned.
    fn take(&mut self, polled: Option<KafkaResult<BorrowedMessage<'_>>>) {
        match polled {
            Some(Ok(message)) => {
                self.is_read();
                let (partition, offset) = (message.partition(), message.offset());
                if self.state.is_wanted(partition, offset) {
                    let decoded = self.decode(partition, offset, message.key(), message.payload());
                    self.state.hold.arrived(partition, offset, decoded);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.is_read();
                self.state.at_end.insert(partition);
            }
            // Every other error is an event too, with its reason.
            Some(Err(_)) | None => {}
        }
    }

    fn hear(&mut self, event: Event) -> Result<(), FeedError> {
        let topic = &self.options.topic;
        match event {
            Event::Assigned(partitions) => {
                tracing::info!(%topic, ?partitions, "partitions of the topic are assigned to us");
                self.state.joined = true;
                self.state.logged.no_topic &= partitions.is_empty();
                for partition in partitions {
                    self.state.hold.assign(partition);
                    self.state.at_end.remove(&partition);
                }
                // Decided anew for all of them in the next round.
                if self.state.paused {
                    pause(&self.consumer, topic, &self.state.hold);
                }
                self.is_reachable();
            }
            Event::Revoked(partitions) => {
                tracing::info!(%topic, ?partitions, "partitions of the topic are taken from us");
                self.state.revoke(&partitions);
            }
            Event::Reachable => self.is_reachable(),
            Event::Failed(Trouble::Login | Trouble::Rights, reason) if !self.state.joined => {
                return Err(self.options.unreachable(reason));
            }
            Event::Failed(trouble @ (Trouble::Login | Trouble::Rights), reason) => {
                self.state.outage.refused(trouble, self.clock.now(), &reason);
                if self.state.outage.failed() {
                    tracing::warn!(%topic, %reason, "the topic is refused to us; it is tried again for a while");
                }
            }
            Event::Failed(Trouble::Away, reason) => {
                if self.state.outage.failed() {
                    let last = &self.state.logged.last_reason;
                    tracing::warn!(%topic, %reason, %last, "the topic can't be reached; it is tried again until it can");
                }
            }
            Event::Failed(Trouble::NoTopic, reason) => {
                if !std::mem::replace(&mut self.state.logged.no_topic, true) {
                    tracing::warn!(%topic, %reason, "the topic does not exist; it is looked for again");
                }
            }
            Event::Failed(Trouble::Passing, reason) => {
                tracing::debug!(%topic, %reason, "a passing error");
                self.state.logged.last_reason = reason;
            }
        }
        Ok(())
    }

    /// A broker answers us: the login is accepted. Whether topic and group are open to us, reading shows.
    fn is_reachable(&mut self) {
        self.state.outage.granted(&Trouble::Login);
        if self.state.outage.mended() {
            tracing::info!(topic = %self.options.topic, "the topic is reachable again");
        }
    }

    /// A partition was read.
    fn is_read(&mut self) {
        self.state.outage.granted(&Trouble::Rights);
        self.is_reachable();
    }

    /// Reads one message. One that is passed over is counted.
    fn decode(&self, partition: i32, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<M> {
        let topic = &self.options.topic;
        let Some(payload) = value else {
            self.met.note(|counts| counts.other += 1);
            tracing::debug!(%topic, partition, offset, "a tombstone is passed over");
            return None;
        };
        let name = format!("{topic}/{partition}/{offset}");
        self.met.decode(&Raw { topic, key, payload, name: &name })
    }
}

fn list(topic: &str, partitions: impl Iterator<Item = (i32, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        // It refuses offsets that no broker gives.
        let _ = list.add_partition_offset(topic, partition, offset);
    }
    list
}

fn pause<M: Decode>(consumer: &BaseConsumer<Watch>, topic: &str, hold: &Hold<M, i32, i64>) {
    let list = list(topic, hold.partitions().map(|partition| (*partition, Offset::Invalid)));
    if let Err(error) = consumer.pause(&list) {
        tracing::debug!(%error, "the partitions could not be paused");
    }
}

/// Stores what may be committed; the consumer commits it within a second, or right away after a verdict.
fn store<M: Decode>(consumer: &BaseConsumer<Watch>, topic: &str, state: &mut State<M>, now: bool) {
    // What is committed is the message to read next.
    let settled = state.hold.settled();
    let commits: Vec<_> =
        settled.into_iter().map(|(partition, offset)| (partition, offset.saturating_add(1))).collect();
    if commits.is_empty() {
        return;
    }
    let list = list(topic, commits.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset))));
    if let Err(error) = consumer.store_offsets(&list) {
        // A partition that was just taken from us; its new owner gets the messages.
        tracing::debug!(%error, "offsets could not be stored");
        return;
    }
    state.stored.extend(commits);
    // A commit that fails is made up for by the next of the regular ones.
    if now && let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "the offsets could not be committed yet");
    }
}

/// Whether the broker has the offsets. Where it doesn't, they are offered to it once more.
fn broker_has(consumer: &BaseConsumer<Watch>, topic: &str, stored: &BTreeMap<i32, i64>) -> bool {
    if stored.is_empty() {
        return true;
    }
    let list = list(topic, stored.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset))));
    let committed = consumer.committed_offsets(list.clone(), COMMITTED);
    let has = committed.is_ok_and(|committed| covers(&committed, stored));
    if !has && let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "the offsets could not be committed yet");
    }
    has
}

/// Whether each committed offset has reached the stored one of its partition.
fn covers(committed: &TopicPartitionList, stored: &BTreeMap<i32, i64>) -> bool {
    let reached = |one: &TopicPartitionListElem<'_>| {
        let offset = one.offset().to_raw().unwrap_or(-1);
        stored.get(&one.partition()).is_none_or(|stored| offset >= *stored)
    };
    committed.elements().iter().all(reached)
}

/// Drops the consumer, which so leaves its group; on a thread that is left to itself where that takes too long. The group
/// then counts it out when its session ends.
fn leave(consumer: Arc<BaseConsumer<Watch>>, topic: &str) {
    let (leaving, left) = std::sync::mpsc::channel::<()>();
    // Dropped in this order: the consumer has left when the channel closes.
    let both = (consumer, leaving);
    let drop_it = move || drop(both);
    // Where there is no thread for it, it is dropped right here.
    if thread("feed-kafka-leave", drop_it).is_ok() && left.recv_timeout(LEAVE) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(%topic, "no broker answers, so the topic's group is left without telling it; it hands our partitions on when the session ends");
    }
}

#[cfg(test)]
mod tests;

//! READY: the permission to stream one run, taken from the control topic.
//!
//! ```text
//! file, Kafka, Kinesis ──► Incoming { ready, source, ticket } ──► a verdict ──ticket──► feed
//! ```
//!
//! READY is at-least-once. A feed offers each message until its ticket reports a verdict; a deferred message
//! comes again later and delays no other.
//!
//! A feed that has lost its topic for good (for example because its credentials are refused) yields an error and ends.
//! It logs errors that may pass and retries.

mod brokers;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
pub mod message;
mod positions;
mod probe;
pub mod publish;

#[cfg(test)]
#[cfg(all(feature = "kafka", feature = "kinesis"))]
mod contract;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

pub use brokers::{BootstrapServers, BootstrapServersError, SaslMechanism, SecurityProtocol};
pub use file::{FileFeed, FileFeedOptions, read_message};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaFeed, KafkaOptions};
#[cfg(feature = "kinesis")]
pub use kinesis::{KinesisFeed, KinesisOptions};
pub use message::{Parsed, Ready};
pub use positions::{ShardPositions, Unkept};
pub use probe::Probe;
pub use publish::{Outgoing, Published};
pub use wsp::feed::Settlement;

use crate::model::TopicPlace;

/// Where a message stood on the control topic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// Its partition, or shard; `None` on the file control bus.
    pub partition: Option<TopicPlace>,
    /// Its offset, or sequence number; `None` on the file control bus.
    pub offset: Option<TopicPlace>,
    /// How to name the message to a person: a file, or topic/partition/offset, or stream/shard/sequence number.
    pub name: String,
}

/// What a feed has met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// READYs given out, repetitions included.
    pub ready: u64,
    /// Messages of other topics or kinds.
    pub other: u64,
    /// Messages that can't be read as one.
    pub invalid: u64,
}

/// A feed's counts, readable while and after it is streamed. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Met(Arc<Mutex<FeedCounts>>);

impl Met {
    /// What was met so far.
    #[must_use]
    pub fn counts(&self) -> FeedCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, add: impl FnOnce(&mut FeedCounts)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Reads one message. Whatever is not a READY is counted, logged and passed over. `name` says where it stood.
fn look_at(bytes: &[u8], topic: &str, name: &str, met: &Met) -> Option<Ready> {
    match message::parse(bytes, topic) {
        Ok(Parsed::Ready(ready)) => return Some(*ready),
        Ok(Parsed::Other { topic, kind, why }) => {
            met.note(|met| met.other += 1);
            tracing::info!(at = name, %topic, kind, %why, "a message that is not for us is passed over");
        }
        Err(error) => {
            met.note(|met| met.invalid += 1);
            tracing::warn!(at = name, %error, "a message that can't be read is passed over");
        }
    }
    None
}

impl wsp::feed::Message for Ready {
    fn is_same(&self, other: &Self) -> bool {
        self.payload.message_id == other.payload.message_id
    }
}

/// Settlements on their way to a feed, by ticket.
type Desk = (mpsc::UnboundedSender<(u64, Settlement)>, mpsc::UnboundedReceiver<(u64, Settlement)>);

/// A READY with the way to settle it. Dropped unsettled, it comes again after a restart.
#[derive(Debug)]
pub struct Incoming {
    /// The message.
    pub ready: Ready,
    /// Where it stood.
    pub source: Source,
    ticket: Ticket,
}

#[derive(Debug)]
struct Ticket {
    id: u64,
    desk: mpsc::UnboundedSender<(u64, Settlement)>,
}

impl Incoming {
    /// A READY that no feed gave out; nobody hears of its settlement.
    #[must_use]
    pub fn by_hand(ready: Ready, source: Source) -> Self {
        let (desk, _) = mpsc::unbounded_channel();
        Self { ready, source, ticket: Ticket { id: 0, desk } }
    }

    /// Reports the settlement to the feed.
    pub fn settle(self, settlement: Settlement) {
        // A feed that is gone has nobody left to hear of it.
        let _ = self.ticket.desk.send((self.ticket.id, settlement));
    }
}

//! READY: the permission to stream one run, taken from the control topic.
//!
//! ```text
//! file feed, kafka feed ──► Incoming { ready, source, ticket } ──► a verdict ──ticket──► feed
//! ```
//!
//! READY is at-least-once. A feed gives each message out until its ticket says that there is a verdict;
//! a deferred one comes again later and holds up no other.

mod file;
mod kafka;
pub mod message;

#[cfg(test)]
mod contract;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

pub use file::{FileFeed, FileFeedOptions, read_message};
pub use kafka::{KafkaFeed, KafkaOptions, Probe, SaslMechanism, SecurityProtocol};
pub use message::{Parsed, Ready};

/// Where a message stood on the control topic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// Its partition; `None` on the file control bus.
    pub partition: Option<i32>,
    /// Its offset; `None` on the file control bus.
    pub offset: Option<i64>,
    /// How to name the message to a person: a file, or topic/partition/offset.
    pub name: String,
}

/// How a READY was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// There is a verdict; the message need not come again.
    Verdict,
    /// It could not be looked at yet; it comes again later.
    Deferred,
    /// There is a verdict, FAILED for a reason that may pass without a new READY
    /// ([`Reason::may_pass`](crate::model::Reason::may_pass)). A bus that keeps its messages gives the READY out again, a
    /// bounded number of times; any other takes it for a [`Settlement::Verdict`].
    MayPass,
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
    /// A READY that no feed gave out; nobody is told when it is settled.
    #[must_use]
    pub fn by_hand(ready: Ready, source: Source) -> Self {
        let (desk, _) = mpsc::unbounded_channel();
        Self { ready, source, ticket: Ticket { id: 0, desk } }
    }

    /// Tells the feed.
    pub fn settle(self, settlement: Settlement) {
        // A feed that is gone has nobody left who wants to know.
        let _ = self.ticket.desk.send((self.ticket.id, settlement));
    }
}

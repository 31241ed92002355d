//! Messages on their way from a log to whoever takes them, and the way back of what became of them.
//!
//! ```text
//! Raw { topic, key, payload } ──Decode──► a message ──► Incoming { message, source, ticket } ──► the taker
//!                                 └► passed over, counted in Met          feed ◄──Settlement──ticket──┘
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::hold::Message;
use super::{Settlement, TopicPlace};

/// A message as it lies in a log.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// The topic that it was read from.
    pub topic: &'a str,
    /// Its key, where it has one.
    pub key: Option<&'a [u8]>,
    /// Its content.
    pub payload: &'a [u8],
    /// How to name it to a person; as [`Source::name`].
    pub name: &'a str,
}

/// What a message of a log turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<M> {
    /// One to give out.
    Message(M),
    /// Well-formed, and meant for somebody else. It is passed over.
    Other,
    /// Not readable. It is passed over.
    Invalid,
}

/// A message that a feed gives out: what a log's bytes mean to whoever reads it.
pub trait Decode: Message + Send + 'static {
    /// Bytes that a message has at most. Of a longer file, one byte beyond this is read.
    const MAX_BYTES: usize = 1 << 20;

    /// Reads a message. One that is passed over counts as settled; why it is, is to be logged here.
    fn decode(raw: &Raw<'_>) -> Decoded<Self>;
}

/// A message as it is, for a producer that reads its content itself. None is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Its key, where it has one.
    pub key: Option<Bytes>,
    /// Its content.
    pub payload: Bytes,
}

impl Message for Plain {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Decode for Plain {
    fn decode(raw: &Raw<'_>) -> Decoded<Self> {
        let payload = Bytes::copy_from_slice(raw.payload);
        Decoded::Message(Self { key: raw.key.map(Bytes::copy_from_slice), payload })
    }
}

/// Where a message was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// Its partition, or shard; `None` for a file.
    pub partition: Option<TopicPlace>,
    /// Its offset, or sequence number; `None` for a file.
    pub offset: Option<TopicPlace>,
    /// How to name the message to a person: a file, or topic/partition/offset, or stream/shard/sequence number.
    pub name: String,
}

/// What a feed has met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Messages given out, repetitions included.
    pub given: u64,
    /// Messages for others; see [`Decoded::Other`].
    pub other: u64,
    /// Messages that can't be read; see [`Decoded::Invalid`].
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

    pub(super) fn note(&self, add: impl FnOnce(&mut FeedCounts)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads one message; `None`, and counted, where it is passed over.
    pub(super) fn decode<M: Decode>(&self, raw: &Raw<'_>) -> Option<M> {
        match M::decode(raw) {
            Decoded::Message(message) => return Some(message),
            Decoded::Other => self.note(|counts| counts.other += 1),
            Decoded::Invalid => self.note(|counts| counts.invalid += 1),
        }
        None
    }
}

/// Settlements on their way to a feed, by ticket.
pub(super) type Desk = (mpsc::UnboundedSender<(u64, Settlement)>, mpsc::UnboundedReceiver<(u64, Settlement)>);

/// A message with the way to settle it. Dropped unsettled, it comes again after a restart.
#[derive(Debug)]
pub struct Incoming<M> {
    /// The message.
    pub message: M,
    /// Where it was read.
    pub source: Source,
    pub(super) ticket: Ticket,
}

/// The way back to the feed.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) desk: mpsc::UnboundedSender<(u64, Settlement)>,
}

impl<M> Incoming<M> {
    /// A message that no feed gave out; its settlement is dropped.
    #[must_use]
    pub fn by_hand(message: M, source: Source) -> Self {
        let (desk, _) = mpsc::unbounded_channel();
        Self { message, source, ticket: Ticket { id: 0, desk } }
    }

    /// Reports the settlement to the feed.
    pub fn settle(self, settlement: Settlement) {
        // A feed that is gone has nobody left to hear of it.
        let _ = self.ticket.desk.send((self.ticket.id, settlement));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_message_is_key_and_content_and_both_tell_it_apart() {
        let plain = |key: Option<&[u8]>, payload: &[u8]| {
            let met = Met::default();
            let raw = Raw { topic: "t", key, payload, name: "t/0/0" };
            (met.decode::<Plain>(&raw).unwrap(), met.counts())
        };
        let (message, counts) = plain(Some(b"k"), b"\xff");
        assert_eq!((message.key.as_deref(), &message.payload[..]), (Some(&b"k"[..]), &b"\xff"[..]));
        assert_eq!(counts, FeedCounts::default(), "it is counted when it is given out");
        assert!(message.is_same(&plain(Some(b"k"), b"\xff").0));
        assert!(!message.is_same(&plain(None, b"\xff").0) && !message.is_same(&plain(Some(b"k"), b"").0));
    }
}

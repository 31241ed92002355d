//! The three calls of the Kinesis API that the feed needs, with their answers.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::super::{SequenceNumber, ShardId};

/// A shard as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: ShardId,
    /// The shards it came from: one after a split, two after a merge, none from the beginning.
    pub(super) parents: Vec<ShardId>,
    /// Where its records begin. A shard of a stream that was made anew begins later than all records of the old one.
    pub(super) start: SequenceNumber,
    /// Where they end; `None` while the shard is open.
    pub(super) end: Option<SequenceNumber>,
}

/// Where reading a shard begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// At the oldest record that is kept.
    TrimHorizon,
    /// After this one.
    After(SequenceNumber),
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) sequence: SequenceNumber,
    /// Its partition key.
    pub(super) key: Option<String>,
    pub(super) data: Bytes,
}

/// The answer to one read of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// Where to read on; `None` at the end of a closed shard.
    pub(super) next: Option<String>,
    /// Whether there is nothing more to read now.
    pub(super) caught_up: bool,
}

/// Why a call failed, as far as that decides what to do next. The text holds no keys and no signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Too many calls, or too many bytes: wait.
    Throttled(String),
    /// The iterator is too old, or not known: get another.
    Expired(String),
    /// There is no such stream, or no such shard.
    Missing(String),
    /// The sequence number is not one of this shard's.
    Position(String),
    /// The service can't be reached, or has trouble of its own.
    Passing(String),
    /// Time does not mend it: credentials, rights, keys, names.
    Refused(String),
}

impl Fault {
    /// What happened.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Throttled(reason)
            | Self::Expired(reason)
            | Self::Missing(reason)
            | Self::Position(reason)
            | Self::Passing(reason)
            | Self::Refused(reason) => reason,
        }
    }
}

/// A stream. Each call is one attempt.
pub(super) trait Api: Clone + Send + 'static {
    /// All shards, closed ones included.
    fn list(&self) -> BoxFuture<'static, Result<Vec<Listed>, Fault>>;

    /// An iterator.
    fn iterator(&self, shard: ShardId, start: Start) -> BoxFuture<'static, Result<String, Fault>>;

    /// The records at an iterator.
    fn read(&self, iterator: String) -> BoxFuture<'static, Result<Batch, Fault>>;
}

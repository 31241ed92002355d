//! What a producer tells the checkpoint stage: what its positions are, what is kept of them, and who makes it durable.

use super::error::CheckpointError;
use super::mark::Mark;
use super::watermark::Watermark;

/// Why a save is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Enough items or enough time since the last save, or a milestone.
    Due,
    /// The stream has ended without an error.
    End,
    /// The stream has ended with an error.
    Failure,
}

/// How answers become positions, and these what is kept. The stage decides when.
pub trait Layout {
    /// An answered item.
    type Delivered;
    /// What is remembered of it.
    type Mark: Mark;
    /// What a save keeps.
    type Kept: Send + Sync + 'static;
    /// The stream's error.
    type Error: From<CheckpointError> + std::fmt::Display;

    /// The [`Place::seq`](super::Place::seq) of each source's first item in this run.
    fn starts(&self) -> Vec<u64>;

    /// What is remembered of an answered item.
    ///
    /// # Errors
    ///
    /// The item is not of this run. What was answered before it is saved, and the stream ends.
    fn mark(&mut self, delivered: &Self::Delivered) -> Result<Self::Mark, Self::Error>;

    /// Whether credit was spent on the item. None was where an earlier start saw it answered, or where another item of the
    /// same request stands for it.
    fn is_sent(&self, _delivered: &Self::Delivered) -> bool {
        true
    }

    /// Whether to save now that a source is answered up to `now`, and was up to `before`.
    fn is_milestone(&self, _before: Option<&Self::Mark>, _now: &Self::Mark) -> bool {
        false
    }

    /// What is kept of all that is `answered`.
    fn kept(&mut self, answered: &Watermark<Self::Mark>, cause: Cause) -> Self::Kept;

    /// Whether the end of the stream is worth a save of its own, where all that was answered is saved already.
    fn keeps_end(&self, _cause: Cause) -> bool {
        false
    }

    /// `kept` is durable. It is called on the stream's own path and must not block.
    fn saved(&mut self, _kept: Self::Kept) {}

    /// The stream is dropped, however it ended: nothing is answered any more.
    fn over(&mut self, _answered: &Watermark<Self::Mark>) {}

    /// The error of a stream that ended with `first`, and whose last save failed with `second`.
    fn and_then(&self, first: Self::Error, _second: &Self::Error) -> Self::Error {
        first
    }
}

/// Makes what is kept durable.
pub trait Save<K, E>: Send + 'static {
    /// Saves `kept`; durable when it returns.
    fn save(&mut self, kept: &K) -> impl Future<Output = Result<(), E>> + Send;

    /// The run is over, good or bad: does what was put off.
    fn finish(&mut self) -> impl Future<Output = Result<(), E>> + Send {
        async { Ok(()) }
    }
}

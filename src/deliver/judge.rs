//! What an attempt means, as defined by the code that knows the receiver.
//!
//! ```text
//! Attempt ──judge──► Decided · Retry · Rejected, or Stray
//! ```

use std::io;
use std::time::Duration;

use super::gate::Attempt;

/// Knows the receiver: what its answers mean, and what becomes of an item that it has answered.
pub trait Judge<T>: Send + Sync + 'static {
    /// What a delivered item goes on as.
    type Delivered: Send + 'static;
    /// What ends the stage.
    type Error: From<PushError> + Send + 'static;

    /// Judges an attempt to deliver `item`.
    ///
    /// # Errors
    ///
    /// If the answer is not to this request. The attempt counts as one whose connection was lost then, and the connection is
    /// closed.
    fn judge(&self, item: &T, attempt: &Attempt) -> Result<Verdict, Stray>;

    /// Called before an item waits for another attempt: one of several parts may leave out those that are decided. Nothing unless
    /// told.
    fn again(&self, item: &mut T) {
        let _ = item;
    }

    /// The item that the receiver has decided about.
    fn delivered(&self, item: &T, decided: &Decided, delivery: Delivery) -> Self::Delivered;

    /// What ends the stage at `item`; `why` is for a person and tells the attempts.
    fn failed(&self, item: &T, cause: Cause, why: &str) -> Self::Error;
}

/// What becomes of an item after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver decided.
    Decided(Decided),
    /// The same bytes may be sent again.
    Retry {
        /// What happened, for a person.
        why: String,
        /// The receiver's `Retry-After`, not clamped.
        retry_after: Option<Duration>,
    },
    /// No further attempt can help.
    Rejected {
        /// What happened, for a person.
        why: String,
    },
}

/// An answer to another request, and what shows it, for a person: something in between mixes answers up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray(pub &'static str);

/// What the receiver decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It took the item.
    Accepted,
    /// It had the item already.
    Duplicate,
    /// It set the item aside, and takes others.
    Quarantined {
        /// What it says, for a person.
        why: String,
        /// It holds another body under the item's id.
        differs: bool,
    },
}

/// How a delivery went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Attempts it took, at least 1.
    pub attempts: u32,
    /// Some attempt before the last ended without an answer, so the receiver may have taken the item by that one.
    pub ambiguous: bool,
    /// From the first attempt's start to the answer.
    pub latency: Duration,
    /// How much later than due its first attempt started; zero without pacing.
    pub lag: Duration,
}

/// Why an item ends the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The receiver refused it for good, or set it aside where that ends the run.
    Rejected,
    /// The receiver holds another body under its id.
    Differs,
    /// It was tried as often and as long as allowed.
    Exhausted,
    /// The receiver took nothing for as long as allowed.
    Unavailable,
}

/// Why the stage itself ended.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A stop was asked for before everything was answered.
    #[error("{0} events were handed over, not all are answered or sent")]
    Stopped(u64),
    /// The system gave no thread.
    #[error("no thread for the push stage: {0}")]
    Thread(#[source] io::Error),
    /// A connection's task panicked.
    #[error("a push connection's task panicked: {0}")]
    Panicked(String),
    /// The connections ended early.
    #[error("the push connections ended before the events did")]
    Ended,
}

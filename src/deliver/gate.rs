//! The port to the Ingestion Gate.
//!
//! ```text
//! push ──body──► GateChannel ──► http (one connection) · memory (tests) ──Attempt──► taxonomy
//! ```

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::model::Event;

/// What one attempt to push an event came to, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The gate answered.
    Answered(Answer),
    /// No connection could be made: the gate never saw the event.
    ConnectFailed(String),
    /// The connection ended before a whole answer: the gate may have admitted the event.
    ConnectionLost(String),
    /// No answer within the attempt's time: the gate may have admitted the event.
    TimedOut,
}

/// An HTTP answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, read against the wall clock where it was a date; not clamped.
    pub retry_after: Option<Duration>,
    /// The body, cut at a bound where the gate sent more (then it is no JSON either).
    pub body: Bytes,
}

/// Where events are pushed to.
pub trait Gate: Send + Sync + 'static {
    /// One ordered way to it.
    type Channel: GateChannel;

    /// A new channel; it connects when it is first used.
    fn channel(&self) -> Self::Channel;
}

/// One way to the gate with at most one request on it: its own connection, kept open between events.
pub trait GateChannel: Send + 'static {
    /// Makes one attempt, within the gate's attempt timeout.
    fn push(&mut self, event: &Event) -> impl Future<Output = Attempt> + Send;

    /// Asks a gate that seemed down whether events may be tried again, in bounded time: no if it answers nothing or
    /// says itself that it takes none. A gate that can't be asked is tried with an event at once.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    fn ask(&mut self) -> impl Future<Output = Result<(), String>> + Send {
        async { Ok(()) }
    }
}

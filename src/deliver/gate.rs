//! The port to the Ingestion Gate.
//!
//! ```text
//! push ──body──► GateConnection ──► http (one connection) · memory (tests) ──Attempt──► taxonomy
//! ```

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::said::Said;
use crate::model::{Decision, Event};

/// What one attempt to push an event came to, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The gate answered.
    Answered(Answer),
    /// No connection could be made: the gate never saw the event.
    ConnectFailed(String),
    /// The connection ended before a whole answer to this event: the gate may have admitted the event.
    ConnectionLost(String),
    /// No answer within the attempt's time: the gate may have admitted the event.
    TimedOut,
}

/// An HTTP answer. Its body is read once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Bytes,
    whole: bool,
    said: Said,
}

impl Answer {
    /// An answer with a status and its whole body, which is cut at a bound where the gate sent more (then it is not JSON
    /// either).
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let said = Said::read(&body);
        Self { status, retry_after: None, body, whole: true, said }
    }

    /// The same with `Retry-After`, read against the wall clock where it is a date; not clamped.
    #[must_use]
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same with a body of which nothing says that it came to its end.
    #[must_use]
    pub fn perhaps_cut(mut self) -> Self {
        self.whole = false;
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// When to try again, as the gate wishes it.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether the body certainly came to its end. One that ends with its connection may have been cut short.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The decision in the body, whatever the status.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        self.said.decision
    }

    /// Whether it can be the answer to this event: it names this one (`event_id`, `receipt.event_id`), or none.
    #[must_use]
    pub fn is_about(&self, event_id: &[u8; 32]) -> bool {
        self.said.is_about(event_id)
    }
}

/// Where events are pushed to.
pub trait Gate: Send + Sync + 'static {
    /// One way to it.
    type Connection: GateConnection;

    /// A new one, which connects when it is first used.
    fn connection(&self) -> Self::Connection;
}

/// One way to the gate with at most one request on it: its own connection, kept open between events.
pub trait GateConnection: Send + 'static {
    /// Makes one attempt, within the gate's attempt timeout. Who keeps the body longer than that copies it: its memory
    /// may be counted against a [`ByteBudget`](crate::byte_budget::ByteBudget) that framing waits for.
    fn push(&mut self, event: &Event) -> impl Future<Output = Attempt> + Send;

    /// Looks after the connection while there is nothing to send: closes it when it has been idle for too long, or its peer
    /// has ended it. Dropped when there is something to send.
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether the last attempt sent the event a second time, because the connection that it used had been closed by
    /// then. The gate may have the event from the first time.
    fn sent_again(&self) -> bool {
        false
    }

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

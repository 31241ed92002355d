//! The port to the receiver.
//!
//! ```text
//! push ──item──► Takes, GateConnection ──► http (one connection) · in memory (tests) ──Attempt──► judge
//! ```

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::item::Item;

/// What one attempt to push an item came to, before anybody judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The gate answered.
    Answered(Answer),
    /// No connection could be made: the gate never saw the item.
    ConnectFailed(String),
    /// The connection ended before a whole answer: the gate may have taken the item.
    ConnectionLost(String),
    /// No answer within the attempt's time: the gate may have taken the item.
    TimedOut,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Bytes,
    whole: bool,
    early: bool,
}

impl Answer {
    /// An answer with a status and its whole body, which is cut at a bound where the gate sent more (then it is not JSON
    /// either).
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, retry_after: None, body: body.into(), whole: true, early: false }
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

    /// The same, come before the request was all sent.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
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

    /// Whether it came before the request was all sent: it can't decide about what its sender had not read.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early
    }
}

impl Attempt {
    /// Whether the gate may have taken the item although the attempt brought no decision: there was no answer, it may have
    /// been cut short, or it is of a middle box that had none from the gate.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::ConnectionLost(_) | Self::TimedOut => true,
            Self::Answered(answer) => matches!(answer.status(), 502 | 504) || !answer.is_whole(),
            Self::ConnectFailed(_) => false,
        }
    }

    /// Whether the gate, or what is before it, says or shows that it has too much to do.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        match self {
            Self::Answered(answer) => matches!(answer.status(), 408 | 429 | 503),
            Self::TimedOut => true,
            Self::ConnectFailed(_) | Self::ConnectionLost(_) => false,
        }
    }
}

/// Where items are pushed to.
pub trait Gate: Send + Sync + 'static {
    /// One way to it.
    type Connection: GateConnection;

    /// A new one, which connects when it is first used.
    fn connection(&self) -> Self::Connection;
}

/// One way to the gate with at most one request on it: its own connection, kept open between items.
pub trait GateConnection: Send + 'static {
    /// Looks after the connection while there is nothing to send: closes it when it has been idle for too long, or its peer
    /// has ended it. Dropped when there is something to send.
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether the last attempt sent the item a second time, because the connection that it used had been closed by
    /// then. The gate may have the item from the first time.
    fn sent_again(&self) -> bool {
        false
    }

    /// Ends the connection, if there is one: what came over it was not the answer to its request.
    fn close(&mut self) {}

    /// Asks a gate that seemed down whether items may be tried again, in bounded time: no if it answers nothing or
    /// says itself that it takes none. A gate that can't be asked is tried with an item at once.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    fn ask(&mut self) -> impl Future<Output = Result<(), String>> + Send {
        async { Ok(()) }
    }
}

/// A connection that takes items of a kind.
pub trait Takes<T: Item>: GateConnection {
    /// Makes one attempt, within the gate's attempt timeout. A gate that keeps the body longer copies it: its memory
    /// may be counted against a [`ByteBudget`](crate::byte_budget::ByteBudget) that framing waits for.
    fn push(&mut self, item: &T) -> impl Future<Output = Attempt> + Send;
}

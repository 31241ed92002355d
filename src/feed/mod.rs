//! A log of messages that is read by one consumer of several: which message is offered next, which wait, and how far each partition
//! is settled, though messages are settled in any order.
//!
//! ```text
//! read ──► Hold ──offer──► taker ──Settlement──► Hold ──► Ledger: settled up to here, per partition
//! refused, failed ──► Outage: what is logged once, and when the feed gives up
//! ```
//!
//! Plain state without I/O, for any log: partitions and offsets, shards and sequence numbers.

mod hold;
mod ledger;
mod outage;

pub use hold::{Claim, Hold, Message, Offer};
pub use ledger::Ledger;
pub use outage::Outage;

/// How a message was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// There is a verdict; the message need not come again.
    Verdict,
    /// It could not be looked at yet; it comes again later.
    Deferred,
    /// There is a verdict for a reason that may pass without a new message. A log that keeps its messages gives it out
    /// again, a bounded number of times; any other takes it for a [`Settlement::Verdict`].
    MayPass,
}

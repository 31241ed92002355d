//! Messages of a log (a folder, a topic of Kafka, a stream of Kinesis), read by one consumer of several and settled in any order.
//!
//! ```text
//! folder, Kafka, Kinesis ──Decode──► Hold ──► Incoming { message, source, ticket } ──► the taker ──Settlement──ticket──► feed
//!                                     └► Ledger: settled up to here, per partition ──► offset or position, committed
//! refused, failed ──► Outage: what is logged once, and when the feed gives up with a FeedError
//! ```
//!
//! A log is read at least once. A feed offers each message until its ticket reports a verdict; a deferred message comes again later
//! and delays no other. What the messages mean is said by [`Decode`]; [`Plain`] gives them out as they are.
//!
//! A feed that has lost its log for good (for example because its credentials are refused) yields an error and ends. It logs
//! errors that may pass and retries.
//!
//! ```
//! use futures::StreamExt;
//! use wsp::{clock::SystemClock, feed::{FileFeed, FileFeedOptions, Plain, Settlement}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::fs::create_dir(folder.path().join("orders"))?;
//! # std::fs::write(folder.path().join("orders/1.json"), "{}")?;
//! let options = FileFeedOptions { once: true, ..FileFeedOptions::new(folder.path().to_owned(), "orders") };
//! let mut orders = std::pin::pin!(FileFeed::<Plain, _>::new(options, SystemClock::new()).stream());
//! while let Some(order) = orders.next().await {
//!     let order = order?;
//!     println!("{}: {} bytes", order.source.name, order.message.payload.len());
//!     order.settle(Settlement::Verdict); // now it need not come again
//! }
//! # Ok(())
//! # }
//! ```

mod brokers;
mod error;
mod file;
mod hold;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
mod ledger;
mod message;
mod outage;
mod positions;
mod probe;
mod shard;
mod topic_place;

#[cfg(test)]
#[cfg(all(feature = "kafka", feature = "kinesis"))]
mod contract;
#[cfg(test)]
mod letter;

pub use brokers::{BootstrapServers, BootstrapServersError, SaslMechanism, SecurityProtocol};
pub use error::{Access, Fate, FeedError, Setting};
pub use file::{FileFeed, FileFeedOptions, read_file};
pub use hold::{Claim, Hold, Message, Offer};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaFeed, KafkaOptions};
#[cfg(feature = "kinesis")]
pub use kinesis::{KinesisFeed, KinesisOptions};
pub use ledger::Ledger;
pub use message::{Decode, Decoded, FeedCounts, Incoming, Met, Plain, Raw, Source};
pub use outage::Outage;
pub use positions::{ShardPositions, Unkept};
pub use probe::Probe;
pub use shard::{SequenceNumber, ShardError, ShardId, ShardPosition};
pub use topic_place::TopicPlace;

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

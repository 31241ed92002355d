//! Messages of a Kafka topic: one consumer of a group, which commits a message when it has a verdict.
//!
//! ```text
//! topic ══group══► poller (a thread) ──one offer──► stream ──► Incoming ──► the taker ──► verdict
//!                     ▲   polls on, partitions paused, however long that lasts              │
//!                     └──────────── offset stored and committed ◄──── desk ─────────────────┘
//! ```
//!
//! An offset is committed when every earlier message of its partition is settled too. So a crash brings back messages
//! without a verdict, and perhaps some that had one: the taker has to recognise those. A message that is passed over counts
//! as settled.

mod context;
mod iam;
mod options;
mod poller;
mod publish;
mod topic;

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{self, Stream};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, watch};

use self::context::{Tokens, Watch};
use self::poller::{Offered, Poller, State};
use self::topic::{partitions, without_value};
use super::{Decode, FeedCounts, FeedError, Incoming, Met, Probe};
use crate::clock::Clock;
use crate::io_thread::thread;

pub use options::KafkaOptions;

/// The feed of messages `M`. [`KafkaFeed::stream`] turns it into a stream.
///
/// Dropped, it reads no more; it leaves the group when the last message it gave out is settled or dropped
/// ([`KafkaFeed::closed`] tells when). Where no broker answers, that is given up after some fifteen seconds: what could not
/// be committed by then comes again.
#[derive(Debug)]
pub struct KafkaFeed<M> {
    offers: mpsc::Receiver<Offered<M>>,
    met: Met,
    probe: KafkaProbe,
    closed: watch::Receiver<()>,
}

impl<M: Decode> KafkaFeed<M> {
    /// A feed that begins to join its group. Neither topic nor broker need be there yet.
    ///
    /// # Errors
    ///
    /// Where settings are missing or librdkafka takes them for wrong, and where no thread can be started.
    pub fn open<C: Clock>(options: KafkaOptions, clock: C) -> Result<Self, FeedError> {
        let wall = clock.clone();
        let tokens = options.iam().map(|iam| Box::new(move || iam.token(wall.utc())) as Tokens);
        let consumer: BaseConsumer<Watch> = options
            .client_config()?
            .create_with_context(Watch::with(tokens))
            .map_err(|error| options.unreachable(without_value(&error)))?;
        let consumer = Arc::new(consumer);
        let met = Met::default();
        let (offered, offers) = mpsc::channel(1);
        let (open, closed) = watch::channel(());
        let probe = KafkaProbe { consumer: Arc::downgrade(&consumer), options: Arc::new(options.clone()) };
        let poller = Poller::<M, C> {
            options,
            clock,
            consumer,
            offers: offered,
            met: met.clone(),
            desk: mpsc::unbounded_channel(),
            state: State::default(),
        };
        let run = move || {
            poller.run();
            drop(open);
        };
        thread("feed-kafka", run).map_err(FeedError::Thread)?;
        Ok(Self { offers, met, probe, closed })
    }

    /// The messages, in the order of each partition. Ends with [`KafkaOptions::once`] when all that was on the topic
    /// at the start was given out, and after an error: settings and broker don't fit each other.
    pub fn stream(self) -> impl Stream<Item = Result<Incoming<M>, FeedError>> + Send {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    /// The next message; `None` when there is nothing more to take. Nothing is lost where the wait is given up.
    pub async fn next(&mut self) -> Option<Result<Incoming<M>, FeedError>> {
        loop {
            match self.offers.recv().await? {
                // Its partition was taken from us while the offer lay here; another consumer gets it.
                Ok((_, claim)) if !claim.take() => {}
                Ok((incoming, _)) => return Some(Ok(incoming)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// What was met so far.
    #[must_use]
    pub fn counts(&self) -> FeedCounts {
        self.met.counts()
    }

    /// The same, for whoever turns the feed into a stream.
    #[must_use]
    pub fn met(&self) -> Met {
        self.met.clone()
    }

    /// Looks at the topic, for readiness; works as long as the feed does.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let probe = self.probe.clone();
        Probe::new("partitions", move |timeout| {
            let probe = probe.clone();
            async move { probe.look(timeout).await }
        })
    }

    /// Resolves when the feed, once dropped, has committed and left its group, or has given that up.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }
}

/// A look at the topic.
#[derive(Debug, Clone)]
pub(super) struct KafkaProbe {
    consumer: Weak<BaseConsumer<Watch>>,
    options: Arc<KafkaOptions>,
}

impl KafkaProbe {
    /// The number of the topic's partitions; 0 where it does not exist yet.
    ///
    /// # Errors
    ///
    /// Where no broker answers within `timeout`, or the feed is closed.
    pub(super) async fn look(&self, timeout: Duration) -> Result<usize, FeedError> {
        let Self { consumer, options } = self.clone();
        let ask = move || {
            let consumer = consumer.upgrade().ok_or_else(|| options.unreachable("the feed is closed"))?;
            let partitions = partitions(consumer.client(), &options.topic, timeout);
            partitions.map_or_else(
                |error| Err(options.unreachable(error.to_string())),
                |partitions| Ok(partitions.map_or(0, |partitions| partitions.len())),
            )
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        asked.unwrap_or_else(|error| Err(FeedError::Thread(error.into())))
    }
}

#[cfg(test)]
pub(super) mod tests;

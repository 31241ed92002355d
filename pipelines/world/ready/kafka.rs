//! READY from Kafka: one consumer of a group, which commits a message when it has a verdict.
//!
//! ```text
//! topic ══group══► poller (a thread) ──one offer──► stream ──► Incoming ──► run ──► verdict
//!                     ▲   polls on, partitions paused, however long a run lasts      │
//!                     └──────────── offset stored and committed ◄──── desk ──────────┘
//! ```
//!
//! An offset is committed when every earlier message of its partition is settled too. So a crash brings back messages
//! without a verdict, and perhaps some that had one: their records identify those as duplicates. A message that is no
//! READY counts as settled.

mod context;
mod iam;
mod options;
mod poller;
mod publish;

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{self, Stream};
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{mpsc, watch};
use wsp::clock::Clock;
use wsp::io_thread::thread;

use self::context::{Tokens, Trouble, Watch};
use self::poller::{Offered, Poller, State};
use super::{FeedCounts, Incoming, Met, Probe};
use crate::model::{Reason, Refusal};

pub use options::KafkaOptions;

/// The feed. [`KafkaFeed::stream`] turns it into a stream.
///
/// Dropped, it reads no more; it leaves the group when the last READY it gave out is settled or dropped
/// ([`KafkaFeed::closed`] tells when). Where no broker answers, that is given up after some fifteen seconds: what could not
/// be committed by then comes again.
#[derive(Debug)]
pub struct KafkaFeed {
    offers: mpsc::Receiver<Offered>,
    met: Met,
    probe: KafkaProbe,
    closed: watch::Receiver<()>,
}

impl KafkaFeed {
    /// A feed that begins to join its group. Neither topic nor broker need be there yet.
    ///
    /// # Errors
    ///
    /// `CONTROL_TOPIC_UNREACHABLE` where settings are missing or librdkafka takes them for wrong, `INTERNAL_ERROR`
    /// where no thread can be started.
    pub fn open<C: Clock>(options: KafkaOptions, clock: C) -> Result<Self, Refusal> {
        let wall = clock.clone();
        let tokens = options.iam().map(|iam| Box::new(move || iam.token(wall.utc())) as Tokens);
        let consumer: BaseConsumer<Watch> = options
            .client_config()?
            .create_with_context(Watch::with(tokens))
            .map_err(|error| unreachable(&options, &without_value(&error)))?;
        let consumer = Arc::new(consumer);
        let met = Met::default();
        let (offered, offers) = mpsc::channel(1);
        let (open, closed) = watch::channel(());
        let probe = KafkaProbe { consumer: Arc::downgrade(&consumer), options: Arc::new(options.clone()) };
        let poller = Poller {
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
        thread("ready-kafka", run).map_err(|error| {
            Refusal::new(Reason::InternalError, format!("no thread for the control topic: {error}"))
        })?;
        Ok(Self { offers, met, probe, closed })
    }

    /// The READYs, in the order of each partition. Ends with [`KafkaOptions::once`] when all that was on the topic
    /// at the start was given out, and after an error: settings and broker don't fit each other.
    pub fn stream(self) -> impl Stream<Item = Result<Incoming, Refusal>> + Send {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    /// The next READY; `None` when there is nothing more to take. Nothing is lost where the wait is given up.
    pub async fn next(&mut self) -> Option<Result<Incoming, Refusal>> {
        loop {
            match self.offers.recv().await? {
                // Its partition was taken from us while the offer lay here; another consumer gets it.
                Ok((_, claim)) if !claim.take() => {}
                Ok((incoming, _)) => return Some(Ok(incoming)),
                Err(refusal) => return Some(Err(refusal)),
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
    /// `CONTROL_TOPIC_UNREACHABLE` where no broker answers within `timeout`, or the feed is closed.
    pub(super) async fn look(&self, timeout: Duration) -> Result<usize, Refusal> {
        let Self { consumer, options } = self.clone();
        let ask = move || {
            let consumer = consumer.upgrade().ok_or_else(|| unreachable(&options, "the feed is closed"))?;
            let partitions = partitions(consumer.client(), &options.topic, timeout);
            partitions.map_or_else(
                |error| Err(unreachable(&options, &error.to_string())),
                |partitions| Ok(partitions.map_or(0, |partitions| partitions.len())),
            )
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        asked.unwrap_or_else(|error| Err(Refusal::new(Reason::InternalError, error.to_string())))
    }
}

/// The topic's partitions; `None` where it does not exist.
fn partitions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Vec<i32>>, KafkaError> {
    let missing = |code| Trouble::of(code) == Trouble::NoTopic;
    let metadata = match client.fetch_metadata(Some(topic), timeout) {
        Err(error) if error.rdkafka_error_code().is_some_and(missing) => return Ok(None),
        answered => answered?,
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        Some(code) if missing(code) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => Ok(Some(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())),
    }
}

/// The refusal of a topic that settings or broker keep from us.
fn unreachable(options: &KafkaOptions, reason: &str) -> Refusal {
    let detail = format!("{reason}; {}", options.what_to_check());
    Refusal::new(Reason::ControlTopicUnreachable, detail).file(options.topic.clone())
}

/// A configuration error's own text would repeat the value, which may be the password.
fn without_value(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka does not take the setting {key}"),
        error => error.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests;

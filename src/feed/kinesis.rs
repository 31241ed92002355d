//! Messages of a Kinesis stream: all its shards, parents before children, each after the last record that is settled.
//!
//! ```text
//! shards ──► poller (a thread with a runtime) ──one offer──► stream ──► Incoming ──► the taker ──► verdict
//!                │  ▲                                                                            │
//!                │  └─────────────────────────────── desk ───────────────────────────────────────┘
//!                └──► ShardPositions: how far each shard is settled
//! ```
//!
//! A position moves when every earlier message of its shard is settled too. So a crash brings back messages without a
//! verdict, and perhaps some that had one: the taker has to recognise those. A message that is passed over counts as
//! settled.
//!
//! There is no group: each consumer reads the whole stream. Two consumers that share their positions never lose a
//! message, because a verdict holds whoever reached it.

mod api;
mod client;
mod options;
mod poller;
mod publish;
mod reader;
mod shards;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};

use self::api::Api;
use self::client::Service;
use self::poller::{Offered, Poller};
use super::{Decode, FeedCounts, FeedError, Incoming, Met, Probe, Setting, ShardPositions};
use crate::clock::Clock;
use crate::io_thread::thread;

pub use options::KinesisOptions;

/// The feed of messages `M`, whose store of positions fails with `E`. [`KinesisFeed::stream`] turns it into a stream.
///
/// Dropped, it reads no more; it ends when the last message it gave out is settled or dropped and the positions are kept
/// ([`KinesisFeed::closed`] resolves then). Where they can't be kept, that is given up after ten seconds: what is not kept
/// comes again.
#[derive(Debug)]
pub struct KinesisFeed<M, E = Infallible> {
    offers: mpsc::Receiver<Offered<M, E>>,
    met: Met,
    probe: KinesisProbe,
    closed: watch::Receiver<()>,
}

impl<M: Decode, E: fmt::Display + Send + 'static> KinesisFeed<M, E> {
    /// A feed that begins to read. Neither stream nor service need be there yet.
    ///
    /// # Errors
    ///
    /// Where no stream is named, and where no thread can be started.
    pub fn open<C: Clock>(
        options: KinesisOptions,
        positions: Arc<dyn ShardPositions<Error = E>>,
        clock: C,
    ) -> Result<Self, FeedError> {
        if options.stream.is_empty() {
            return Err(FeedError::Missing(vec![Setting::Stream]));
        }
        let options = Arc::new(options);
        let service = Service::new(Arc::clone(&options));
        let probed = service.clone();
        let list: Look = Arc::new(move || probed.list());
        Self::on(service, list, options, positions, clock)
    }

    fn on<A: Api, C: Clock>(
        api: A,
        list: Look,
        options: Arc<KinesisOptions>,
        positions: Arc<dyn ShardPositions<Error = E>>,
        clock: C,
    ) -> Result<Self, FeedError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(FeedError::Thread)?;
        let met = Met::default();
        let (offered, offers) = mpsc::channel(1);
        let (open, closed) = watch::channel(());
        let probe = KinesisProbe { runtime: runtime.handle().clone(), list, options: Arc::clone(&options) };
        let poller = Poller::<M, E, A, C>::new(api, options, positions, clock, offered, met.clone());
        let run = move || {
            runtime.block_on(poller.run());
            drop((runtime, open));
        };
        thread("feed-kinesis", run).map_err(FeedError::Thread)?;
        Ok(Self { offers, met, probe, closed })
    }

    /// The messages, in the order of each shard. Ends with [`KinesisOptions::once`] when all that was on the stream was
    /// given out, and after an error: the stream is lost.
    ///
    /// "All that was on the stream" is every shard listed at the start, read until the service says that nothing is left.
    pub fn stream(self) -> impl Stream<Item = Result<Incoming<M>, FeedError<E>>> + Send {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    /// The next message; `None` when there is nothing more to take. Nothing is lost where the wait is given up.
    pub async fn next(&mut self) -> Option<Result<Incoming<M>, FeedError<E>>> {
        self.offers.recv().await
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

    /// Looks at the stream, for readiness; works as long as the feed does.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let probe = self.probe.clone();
        Probe::new("shards", move |timeout| {
            let probe = probe.clone();
            async move { probe.look(timeout).await }
        })
    }

    /// Resolves when the feed, once dropped, has kept its positions and ended, or has given that up.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }
}

/// Lists the shards.
type Look = Arc<dyn Fn() -> futures::future::BoxFuture<'static, Result<Vec<api::Listed>, api::Fault>> + Send + Sync>;

/// A look at the stream, made by the feed's own thread.
#[derive(Clone)]
pub(super) struct KinesisProbe {
    runtime: Handle,
    list: Look,
    options: Arc<KinesisOptions>,
}

impl KinesisProbe {
    /// The number of the stream's open shards; 0 where there is no such stream.
    pub(super) async fn look(&self, timeout: Duration) -> Result<usize, FeedError> {
        let asked = self.runtime.spawn((self.list)());
        // A feed that has ended has no runtime; its tasks are cancelled.
        let Ok(asked) = tokio::time::timeout(timeout, asked).await else {
            return Err(self.options.unreachable(format!("no answer within {} s", timeout.as_secs_f64())));
        };
        match asked {
            Ok(Ok(listed)) => Ok(listed.iter().filter(|shard| shard.end.is_none()).count()),
            Ok(Err(api::Fault::Missing(_))) => Ok(0),
            Ok(Err(fault)) => Err(self.options.unreachable(fault.reason())),
            Err(_) => Err(self.options.unreachable("the feed is closed")),
        }
    }
}

impl fmt::Debug for KinesisProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisProbe").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod double;
#[cfg(test)]
pub(super) mod tests;

//! Probes a remote log, for readiness.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::FeedError;

type Look = dyn Fn(Duration) -> BoxFuture<'static, Result<usize, FeedError>> + Send + Sync;

/// Looks at a log as long as its feed works.
#[derive(Clone)]
pub struct Probe {
    look: Arc<Look>,
    counted: &'static str,
}

impl Probe {
    /// A probe that counts `counted` by `look`, which gets the time it may take.
    pub fn new<F>(counted: &'static str, look: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<usize, FeedError>> + Send + 'static,
    {
        Self { look: Arc::new(move |timeout| Box::pin(look(timeout))), counted }
    }

    /// The number of the topic's partitions, or of the stream's shards; 0 where it does not exist yet.
    ///
    /// # Errors
    ///
    /// [`FeedError::Unreachable`] where there is no answer within `timeout`, or the feed is closed.
    pub async fn look(&self, timeout: Duration) -> Result<usize, FeedError> {
        (self.look)(timeout).await
    }

    /// What [`Probe::look`] counts.
    #[must_use]
    pub fn counted(&self) -> &'static str {
        self.counted
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.counted)
    }
}

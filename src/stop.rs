//! The wish to stop, shared by all who have to hear of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

/// A request to stop that any number of stages watch. Clones share it; once requested it stays.
#[derive(Debug, Clone)]
pub struct Stop {
    sender: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Nothing requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }

    /// Asks everybody to stop.
    pub fn request(&self) {
        self.sender.send_replace(true);
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.sender.borrow()
    }

    /// Resolves once a stop is requested.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.sender.subscribe();
        let sender = self.sender.clone();
        async move {
            // The sender lives as long as this future, so the only end is the request itself.
            let _ = receiver.wait_for(|requested| *requested).await;
            drop(sender);
        }
    }
}

impl Stop {
    /// Resolves once `limit` has passed since a stop was requested, or since now if it was requested before.
    pub fn overdue<C: Clock>(&self, clock: C, limit: Duration) -> impl Future<Output = ()> + Send + 'static {
        let requested = self.wait();
        async move {
            requested.await;
            clock.sleep_until(clock.now() + limit).await;
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_those_who_wait_and_those_who_come_later() {
        let stop = Stop::new();
        let early = tokio::spawn(stop.wait());
        stop.request();
        early.await.unwrap();
        stop.wait().await;
        assert!(stop.requested());
    }
}

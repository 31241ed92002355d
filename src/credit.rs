//! How far sending may run ahead of what is saved.
//!
//! ```text
//! push ──spend one an event──► Credit ◄──settle up to n── checkpoint
//! ```

use std::sync::Arc;

use tokio::sync::watch;

/// A bound on the events sent but not yet covered by a durable checkpoint: what a crash can repeat.
/// Clones share the account. The sender waits in [`Credit::spend`]; the saver reports with [`Credit::settle`].
#[derive(Debug, Clone)]
pub struct Credit {
    limit: u64,
    settled: Arc<watch::Sender<u64>>,
}

impl Credit {
    /// At most `limit` events (at least 1) beyond the durable ones.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit: limit.max(1), settled: Arc::new(watch::Sender::new(0)) }
    }

    /// Whether the `n`-th event of the run (1, 2, …) may be sent now.
    #[must_use]
    pub fn covers(&self, n: u64) -> bool {
        n <= self.settled.borrow().saturating_add(self.limit)
    }

    /// Resolves when the `n`-th event of the run may be sent.
    pub fn spend(&self, n: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.settled.subscribe();
        let (limit, sender) = (self.limit, self.settled.clone());
        async move {
            let _ = receiver.wait_for(|settled| n <= settled.saturating_add(limit)).await;
            drop(sender);
        }
    }

    /// Says that `total` events of the run are durably saved. It never goes back.
    pub fn settle(&self, total: u64) {
        self.settled.send_if_modified(|settled| {
            let forward = total > *settled;
            *settled = total.max(*settled);
            forward
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spender_waits_for_the_saver() {
        let credit = Credit::new(2);
        assert!(credit.covers(2) && !credit.covers(3));
        let third = tokio::spawn(credit.spend(3));
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        credit.settle(1);
        third.await.unwrap();
        credit.settle(0);
        assert!(credit.covers(3), "settling never goes back");
    }
}

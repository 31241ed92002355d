//! How far sending may run ahead of what is saved.
//!
//! ```text
//! channel ──spend one before an event's first attempt──► Credit ◄──settle what is saved── checkpoint
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

/// A bound on the events sent but not yet kept by a durable checkpoint: what a crash can repeat. Which events these are
/// doesn't matter, only how many. Clones share the account. Who sends an event spends first, whatever becomes
/// of it; the saver reports with [`Credit::settle`].
#[derive(Debug, Clone)]
pub struct Credit {
    left: Arc<Semaphore>,
    settled: Arc<AtomicU64>,
}

impl Credit {
    /// At most `limit` events (at least 1) beyond the durable ones.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit.max(1)).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(limit)), settled: Arc::default() }
    }

    /// Spends for one event if the bound allows it now; says whether it did.
    #[must_use]
    pub fn try_spend(&self) -> bool {
        self.left.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Spends for one event as soon as the bound allows it. Who asked first comes first; dropped before its end, nothing
    /// is spent.
    pub async fn spend(&self) {
        // The account is never closed.
        if let Ok(permit) = self.left.acquire().await {
            permit.forget();
        }
    }

    /// For how many more events the bound allows spending now.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.available_permits() as u64
    }

    /// Says that `total` of the events spent for are durably saved. It never goes back.
    pub fn settle(&self, total: u64) {
        let before = self.settled.fetch_max(total, Ordering::Relaxed);
        // No more than were spent, so they fit.
        self.left.add_permits(total.saturating_sub(before) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spender_waits_for_the_saver() {
        let credit = Credit::new(2);
        assert_eq!(credit.left(), 2);
        assert!(credit.try_spend() && credit.try_spend() && !credit.try_spend());
        assert_eq!(credit.left(), 0);
        let third = tokio::spawn({
            let credit = credit.clone();
            async move { credit.spend().await }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        credit.settle(1);
        third.await.unwrap();
        credit.settle(0);
        credit.settle(1);
        assert!(!credit.try_spend(), "what is settled already is not settled again");
        credit.settle(3);
        assert!(credit.try_spend() && credit.try_spend() && !credit.try_spend());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_has_spent_nothing() {
        let credit = Credit::new(1);
        credit.spend().await;
        {
            let mut waiting = Box::pin(credit.spend());
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        credit.settle(1);
        assert!(credit.try_spend() && !credit.try_spend());
    }
}

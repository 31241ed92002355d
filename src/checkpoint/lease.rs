//! Whether this process still holds its scope, for all who have to stop when it doesn't.
//!
//! ```text
//! renewals ──until──► Keeper ──watch──► Lease: Held ──time──► Lapsed ──renewed──► Held
//!                                                  └───────────┴──taken by another──► Lost
//! ```
//!
//! The holder goes by its own monotonic clock, counted from before each renewal was asked for, so it gives up
//! before the database does: no other producer can be in while this one believes to be.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How a hold stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState<E> {
    /// This process holds the scope.
    Held,
    /// It could not renew in time: another producer may be in by now, so nothing may be sent. It becomes
    /// [`LeaseState::Held`] again if a renewal finds that nobody was.
    Lapsed,
    /// The scope is another's, for good.
    Lost(E),
}

/// What is known of a hold.
#[derive(Debug, Clone)]
pub struct Hold<E> {
    /// In the terms of the clock that the store was given.
    until: Duration,
    lost: Option<E>,
}

/// A view of a hold. Clones see the same.
#[derive(Debug, Clone)]
pub struct Lease<E> {
    hold: watch::Receiver<Hold<E>>,
    epoch: Option<u64>,
}

impl<E: Clone + Send + Sync + 'static> Lease<E> {
    /// A hold that ends with the process alone, as a file lock.
    #[must_use]
    pub fn unlimited() -> Self {
        let (_, hold) = watch::channel(Hold { until: Duration::MAX, lost: None });
        Self { hold, epoch: None }
    }

    /// The same hold, known as the scope's `epoch`-th.
    #[must_use]
    pub fn of_epoch(self, epoch: u64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// Which of the scope's holds it is, where the store counts them.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// How the hold stands at `now`, in the terms of the clock that the store was given.
    #[must_use]
    pub fn state(&self, now: Duration) -> LeaseState<E> {
        let hold = self.hold.borrow();
        match &hold.lost {
            Some(error) => LeaseState::Lost(error.clone()),
            None if now < hold.until => LeaseState::Held,
            None => LeaseState::Lapsed,
        }
    }

    /// Resolves when the scope is another's, with the error that says whose. It stays pending
    /// where that doesn't come to pass before the scope is let go of.
    pub fn lost(&self) -> impl Future<Output = E> + Send + 'static {
        let mut hold = self.hold.clone();
        async move {
            let lost = hold.wait_for(|hold| hold.lost.is_some()).await.ok().and_then(|hold| hold.lost.clone());
            match lost {
                Some(error) => error,
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Hold<E>> {
        self.hold.clone()
    }
}

/// The side that renews. Clones share the hold.
#[derive(Debug, Clone)]
pub struct Keeper<E> {
    hold: Arc<watch::Sender<Hold<E>>>,
}

impl<E: Clone + Send + Sync + 'static> Keeper<E> {
    /// A hold until `until`, on the clock that the store was given.
    #[must_use]
    pub fn new(until: Duration) -> Self {
        Self { hold: Arc::new(watch::Sender::new(Hold { until, lost: None })) }
    }

    /// A view of the hold.
    #[must_use]
    pub fn lease(&self) -> Lease<E> {
        Lease { hold: self.hold.subscribe(), epoch: None }
    }

    /// Notes a renewal that holds until `until`. It never shortens the hold and doesn't bring back a lost one.
    pub fn renewed(&self, until: Duration) {
        self.hold.send_if_modified(|hold| {
            let longer = hold.lost.is_none() && until > hold.until;
            hold.until = hold.until.max(until);
            longer
        });
    }

    /// Notes that the scope is another's. The first word stays.
    pub fn lose(&self, error: E) {
        self.hold.send_if_modified(|hold| {
            let first = hold.lost.is_none();
            hold.lost.get_or_insert(error);
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hold_lapses_by_time_and_comes_back_by_a_renewal() {
        let keeper: Keeper<&str> = Keeper::new(at(15));
        let lease = keeper.lease();
        assert_eq!(lease.state(at(14)), LeaseState::Held);
        assert_eq!(lease.state(at(15)), LeaseState::Lapsed);
        keeper.renewed(at(40));
        keeper.renewed(at(20));
        assert_eq!(lease.state(at(39)), LeaseState::Held, "an answer that comes late doesn't shorten the hold");
    }

    #[tokio::test]
    async fn a_lost_hold_stays_lost() {
        let keeper = Keeper::new(at(15));
        let lease = keeper.lease();
        let told = tokio::spawn(lease.lost());
        keeper.lose("first");
        keeper.lose("second");
        keeper.renewed(at(100));
        assert_eq!(lease.state(at(1)), LeaseState::Lost("first"));
        assert_eq!(told.await.unwrap(), "first");
    }

    #[test]
    fn a_lock_never_lapses() {
        let lease: Lease<&str> = Lease::unlimited();
        assert_eq!((lease.state(at(u32::MAX.into())), lease.epoch()), (LeaseState::Held, None));
        assert_eq!(lease.of_epoch(3).epoch(), Some(3));
    }
}

//! Lets a stream flow only while this process holds its scope.
//!
//! ```text
//! events ──► WhileHeld ──► events
//!               └─ Lapsed: waits · Lost: ends with CHECKPOINT_LEASE_LOST
//! ```
//!
//! It stands in front of what sends. What was handed on before the hold ended is bounded by the credit.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project_lite::pin_project;
use tokio_stream::wrappers::WatchStream;
use wsp::clock::Clock;

use super::lease::{Hold, Lease, LeaseState};
use crate::model::Refusal;

/// Stopping when the scope is another's, on any stream.
pub trait HeldExt<T>: Stream<Item = Result<T, Refusal>> + Sized {
    /// Passes items on while `lease` is held, waits while it has lapsed, and ends with `CHECKPOINT_LEASE_LOST`
    /// once it is lost. `clock` is the one that the checkpoint store was given.
    fn while_held<C: Clock>(self, lease: Lease, clock: C) -> WhileHeld<Self, C> {
        let changes = WatchStream::new(lease.watch());
        WhileHeld { stream: self, lease, changes, clock, done: false }
    }
}

impl<T, S: Stream<Item = Result<T, Refusal>>> HeldExt<T> for S {}

pin_project! {
    /// The stream of [`HeldExt::while_held`].
    #[derive(Debug)]
    pub struct WhileHeld<S, C> {
        #[pin]
        stream: S,
        lease: Lease,
        changes: WatchStream<Hold>,
        clock: C,
        done: bool,
    }
}

impl<T, S: Stream<Item = Result<T, Refusal>>, C: Clock> Stream for WhileHeld<S, C> {
    type Item = Result<T, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        // Polled until pending, so that the next renewal or loss wakes this task whatever the stream does.
        while let Poll::Ready(Some(_)) = Pin::new(&mut *this.changes).poll_next(cx) {}
        match this.lease.state(this.clock.now()) {
            LeaseState::Held => this.stream.poll_next(cx),
            LeaseState::Lapsed => Poll::Pending,
            LeaseState::Lost(refusal) => {
                *this.done = true;
                Poll::Ready(Some(Err(refusal)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt, poll, stream};
    use wsp::clock::SystemClock;

    use super::super::lease::Keeper;
    use super::*;
    use crate::model::Reason;

    fn numbers() -> impl Stream<Item = Result<u64, Refusal>> {
        stream::iter((0..).map(Ok))
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_between_lapse_and_renewal() {
        let clock = SystemClock::new();
        let keeper = Keeper::new(Duration::from_secs(15));
        let mut held = numbers().while_held(keeper.lease(), clock);
        assert_eq!(held.next().await, Some(Ok(0)));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(poll!(held.next()).is_pending());
        let next = tokio::spawn(async move { (held.next().await, held) });
        tokio::task::yield_now().await;
        keeper.renewed(Duration::from_secs(40));
        assert_eq!(next.await.unwrap().0, Some(Ok(1)), "the renewal wakes the stream, and nothing was skipped");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_ends_a_stream_that_waits() {
        let keeper = Keeper::new(Duration::MAX);
        let mut held = stream::pending::<Result<u64, Refusal>>().while_held(keeper.lease(), SystemClock::new());
        let ended = tokio::spawn(async move { (held.next().await, held.next().await) });
        tokio::task::yield_now().await;
        let refusal = Refusal::new(Reason::CheckpointLeaseLost, "taken");
        keeper.lose(refusal.clone());
        assert_eq!(ended.await.unwrap(), (Some(Err(refusal)), None));
    }

    #[tokio::test]
    async fn a_lock_lets_all_pass() {
        let held = numbers().take(3).while_held(Lease::unlimited(), SystemClock::new());
        assert_eq!(held.collect::<Vec<_>>().await, [Ok(0), Ok(1), Ok(2)]);
    }
}

//! Lets a stream flow only while this process holds its scope.
//!
//! ```text
//! events ──► WhileHeld ──► events
//!               └─ Lapsed: waits · Lost: ends with the error that says whose
//! ```
//!
//! It stands in front of what sends. What was handed on before the hold ended is bounded by the credit.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use pin_project_lite::pin_project;
use tokio::sync::watch;

use super::lease::{Hold, Lease, LeaseState};
use crate::clock::Clock;

/// Stopping when the scope is another's, on any stream.
pub trait HeldExt<T, E: Clone + Send + Sync + 'static>: Stream<Item = Result<T, E>> + Sized {
    /// Passes items on while `lease` is held, waits while it has lapsed, and ends with its error once it is lost. `clock` is
    /// the one that the checkpoint store was given.
    fn while_held<C: Clock>(self, lease: Lease<E>, clock: C) -> WhileHeld<Self, E, C> {
        let change = Some(change(lease.watch()));
        WhileHeld { stream: self, lease, change, clock, done: false }
    }
}

impl<T, E: Clone + Send + Sync + 'static, S: Stream<Item = Result<T, E>>> HeldExt<T, E> for S {}

/// The next renewal or loss; it comes to `None` where there won't be any.
type Change<E> = BoxFuture<'static, Option<watch::Receiver<Hold<E>>>>;

fn change<E: Send + Sync + 'static>(mut hold: watch::Receiver<Hold<E>>) -> Change<E> {
    async move { hold.changed().await.is_ok().then_some(hold) }.boxed()
}

pin_project! {
    /// The stream of [`HeldExt::while_held`].
    pub struct WhileHeld<S, E, C> {
        #[pin]
        stream: S,
        lease: Lease<E>,
        change: Option<Change<E>>,
        clock: C,
        done: bool,
    }
}

impl<S, E, C> std::fmt::Debug for WhileHeld<S, E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WhileHeld").field("done", &self.done).finish_non_exhaustive()
    }
}

impl<T, E: Clone + Send + Sync + 'static, S: Stream<Item = Result<T, E>>, C: Clock> Stream for WhileHeld<S, E, C> {
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.done {
            return Poll::Ready(None);
        }
        // Polled until pending, so that the next renewal or loss wakes this task whatever the stream does.
        while let Some(next) = this.change.as_mut()
            && let Poll::Ready(hold) = next.poll_unpin(cx)
        {
            *this.change = hold.map(change);
        }
        match this.lease.state(this.clock.now()) {
            LeaseState::Held => this.stream.poll_next(cx),
            LeaseState::Lapsed => Poll::Pending,
            LeaseState::Lost(error) => {
                *this.done = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::lease::Keeper;
    use super::*;
    use crate::clock::SystemClock;
    use futures::{StreamExt, poll, stream};

    fn numbers() -> impl Stream<Item = Result<u64, &'static str>> {
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
        let mut held = stream::pending::<Result<u64, &str>>().while_held(keeper.lease(), SystemClock::new());
        let ended = tokio::spawn(async move { (held.next().await, held.next().await) });
        tokio::task::yield_now().await;
        keeper.lose("taken");
        assert_eq!(ended.await.unwrap(), (Some(Err("taken")), None));
    }

    #[tokio::test]
    async fn a_lock_lets_all_pass() {
        let held = numbers().take(3).while_held(Lease::unlimited(), SystemClock::new());
        assert_eq!(held.collect::<Vec<_>>().await, [Ok(0), Ok(1), Ok(2)]);
    }
}

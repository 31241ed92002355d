//! Holds a lane back while it is too far ahead of the others in event time.
//!
//! ```text
//! events ──► Within ──► events up to the horizon; the first beyond it waits until the horizon moves
//! ```
//!
//! The horizon is the event time that the slowest lane has reached, and the allowed skew. The slowest lane is never beyond it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::model::{Event, Micros, Refusal};

/// The event time up to which lanes may go. Clones share it.
#[derive(Debug, Clone)]
pub struct Horizon {
    /// Looked at for each event.
    limit: Arc<AtomicI64>,
    /// Wakes those who wait.
    moved: Arc<watch::Sender<()>>,
    waiting: Arc<AtomicUsize>,
}

impl Horizon {
    /// One that holds nobody back.
    #[must_use]
    pub fn open() -> Self {
        let limit = Arc::new(AtomicI64::new(i64::MAX));
        Self { limit, moved: Arc::new(watch::Sender::new(())), waiting: Arc::default() }
    }

    /// Moves it, in either direction.
    pub fn set(&self, limit: Micros) {
        self.limit.store(limit.0, Ordering::Release);
        self.moved.send_replace(());
    }

    fn is_before(&self, at: Micros) -> bool {
        at.0 > self.limit.load(Ordering::Acquire)
    }

    /// Lanes that wait for it now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Default for Horizon {
    fn default() -> Self {
        Self::open()
    }
}

/// The event time that one lane has reached: that of its last event, sent or held back. Clones share it.
#[derive(Debug, Clone)]
pub struct Reached(Arc<AtomicI64>);

impl Reached {
    /// The event time; none before the first event.
    #[must_use]
    pub fn get(&self) -> Option<Micros> {
        Some(Micros(self.0.load(Ordering::Relaxed))).filter(|at| at.0 != i64::MIN)
    }

    fn note(&self, at: Micros) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}

impl Default for Reached {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }
}

/// Holding events back, on any stream of them.
pub trait WithinExt: Stream<Item = Result<Event, Refusal>> + Sized {
    /// Passes events up to `horizon` on; refusals always pass. One event is held, and none is read ahead of it. `reached` has
    /// the time of the last one.
    fn within(self, horizon: &Horizon, reached: &Reached) -> Within<Self> {
        let changes = WatchStream::new(horizon.moved.subscribe());
        let waiting = Waiting { lanes: horizon.waiting.clone(), counted: false };
        Within { stream: self, horizon: horizon.clone(), reached: reached.clone(), changes, held: None, waiting }
    }
}

impl<S: Stream<Item = Result<Event, Refusal>>> WithinExt for S {}

/// A lane among those that wait, until it goes on or is dropped.
#[derive(Debug)]
struct Waiting {
    lanes: Arc<AtomicUsize>,
    counted: bool,
}

impl Waiting {
    fn set(&mut self, waits: bool) {
        match (self.counted, waits) {
            (false, true) => drop(self.lanes.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.lanes.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.counted = waits;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(false);
    }
}

pin_project! {
    /// The stream of [`WithinExt::within`].
    #[must_use = "streams do nothing unless polled"]
    pub struct Within<S> {
        #[pin]
        stream: S,
        horizon: Horizon,
        reached: Reached,
        changes: WatchStream<()>,
        held: Option<Event>,
        waiting: Waiting,
    }
}

impl<S: Stream<Item = Result<Event, Refusal>>> Stream for Within<S> {
    type Item = Result<Event, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if this.held.is_none() {
            match ready!(this.stream.poll_next(cx)) {
                Some(Ok(event)) => {
                    this.reached.note(event.ts);
                    if !this.horizon.is_before(event.ts) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                    *this.held = Some(event);
                }
                other => return Poll::Ready(other),
            }
        }
        // Polled until pending, so that the next move wakes this task; then the horizon is looked at.
        while let Poll::Ready(Some(())) = Pin::new(&mut *this.changes).poll_next(cx) {}
        let waits = this.held.as_ref().is_some_and(|event| this.horizon.is_before(event.ts));
        this.waiting.set(waits);
        if waits { Poll::Pending } else { Poll::Ready(this.held.take().map(Ok)) }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::model::{Position, Reason};

    fn event(ts: i64) -> Event {
        let position = Position { rank: 0, file: 0, row: 0, seq: 0 };
        Event { position, ts: Micros(ts), order_key: 0, event_id: [0; 32], body: "".into(), due: None }
    }

    #[tokio::test]
    async fn an_event_beyond_the_horizon_waits_until_it_moves() {
        let horizon = Horizon::open();
        horizon.set(Micros(10));
        let refusal = Refusal::new(Reason::TsUtcInvalid, "");
        let events = [Ok(event(10)), Ok(event(11)), Err(refusal.clone())];
        let reached = Reached::default();
        let mut within = stream::iter(events).within(&horizon, &reached);
        assert_eq!(reached.get(), None);
        assert_eq!(within.next().await.unwrap().unwrap().ts, Micros(10));
        assert!(within.next().now_or_never().is_none());
        assert_eq!((horizon.waiting(), reached.get()), (1, Some(Micros(11))));
        let moved = horizon.clone();
        let (next, ()) = tokio::join!(within.next(), async move {
            tokio::task::yield_now().await;
            moved.set(Micros(11));
        });
        assert_eq!((next.unwrap().unwrap().ts, horizon.waiting()), (Micros(11), 0));
        // Moved back, it holds events and not refusals.
        horizon.set(Micros(0));
        assert_eq!(within.next().await.unwrap().unwrap_err(), refusal);
    }

    #[tokio::test]
    async fn a_lane_that_ends_waits_no_longer() {
        let horizon = Horizon::open();
        horizon.set(Micros(0));
        let mut within = stream::iter([Ok(event(1))]).within(&horizon, &Reached::default());
        assert!(within.next().now_or_never().is_none());
        assert_eq!(horizon.waiting(), 1);
        drop(within);
        assert_eq!(horizon.waiting(), 0);
    }
}

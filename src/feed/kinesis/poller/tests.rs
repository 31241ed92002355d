//! How long the poller asks a store that is away, on tokio's paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::ready as now;

use super::super::super::Settlement;
use super::super::super::letter::{Letter, TOPIC};
use super::super::double::Double;
use super::*;
use crate::clock::SystemClock;

/// Counts calls, the first of which fail.
#[derive(Default)]
struct Away {
    failing_loads: usize,
    loads: AtomicUsize,
    failing_saves: usize,
    saves: AtomicUsize,
}

fn call(calls: &AtomicUsize, failing: usize) -> Result<(), &'static str> {
    let before = calls.fetch_add(1, Ordering::Relaxed);
    assert!(before < 100, "calls without a pause");
    if before < failing { Err("away") } else { Ok(()) }
}

impl ShardPositions for Away {
    type Error = &'static str;

    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Self::Error>> {
        now(call(&self.loads, self.failing_loads).map(|()| Vec::new())).boxed()
    }

    fn save<'a>(&'a self, _: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Self::Error>> {
        now(call(&self.saves, self.failing_saves)).boxed()
    }
}

type Offers = mpsc::Receiver<Offered<Letter, &'static str>>;

/// A poller of a stream with one message.
fn poller(store: &Arc<Away>, clock: SystemClock) -> (Poller<Letter, &'static str, Double, SystemClock>, Offers) {
    let stream = Double::default();
    stream.create(1);
    stream.put(0, b"a");
    let (offered, offers) = mpsc::channel(1);
    let options = Arc::new(KinesisOptions::new("control", TOPIC));
    (Poller::new(stream, options, store.clone(), clock, offered, Met::default()), offers)
}

#[tokio::test(start_paused = true)]
async fn positions_that_can_not_be_read_are_asked_for_with_growing_pauses() {
    let store = Arc::new(Away { failing_loads: usize::MAX, ..Away::default() });
    let clock = SystemClock::new();
    let (poller, mut offers) = poller(&store, clock);
    let ((), error) = tokio::join!(poller.run(), async { offers.recv().await.unwrap().unwrap_err() });
    assert!(matches!(error, FeedError::Positions("away")));
    // After 0, 0.5, 1.5, 3.5, 7.5 and 15.5 s, and every 10 s then, for two minutes.
    assert_eq!((store.loads.load(Ordering::Relaxed), clock.now().as_millis()), (16, 115_500));
}

#[tokio::test(start_paused = true)]
async fn the_last_positions_are_tried_for_ten_seconds_with_growing_pauses() {
    let late = (LAST_SAVE + Duration::from_millis(1)).as_millis();
    // The first two attempts follow one another: one was on its way when the end came.
    for (failing_saves, saves, ended) in [(0, 1, 0), (3, 4, 3_000), (usize::MAX, 5, late)] {
        let store = Arc::new(Away { failing_saves, ..Away::default() });
        let clock = SystemClock::new();
        let (poller, mut offers) = poller(&store, clock);
        let settle = async move {
            let incoming = offers.recv().await.unwrap().unwrap();
            drop(offers);
            incoming.settle(Settlement::Verdict);
        };
        tokio::join!(poller.run(), settle);
        assert_eq!((store.saves.load(Ordering::Relaxed), clock.now().as_millis()), (saves, ended));
    }
}

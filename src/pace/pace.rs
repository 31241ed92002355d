//! The pace stage: holds each item until its event time is due on the wall clock.
//!
//! ```text
//! items ──► Schedule (due time, moved after a delay) ──► wait ──► items with their due time
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;

use super::first_wait::FirstWait;
use super::schedule::{Pacing, Schedule};
use crate::clock::{Alarm, Clock};
use crate::time::Micros;

/// An item with an event time.
pub trait Timed {
    /// Its event time.
    fn ts(&self) -> Micros;

    /// Told when the schedule wants it sent, on the clock of the stage.
    fn set_due(&mut self, due: Duration);
}

/// Streams that can be played back on time.
pub trait PaceExt<T: Timed, E>: Stream<Item = Result<T, E>> + Sized {
    /// Holds each item until it is due by `pacing`, as exactly as the clock's alarm goes and never less, and tells it when
    /// that was. Items that are late go on at once and may move those behind them ([`Late`](super::Late)); errors go on at
    /// once. Nothing is read ahead of the item that is held.
    fn pace<C: Clock>(self, clock: C, pacing: Pacing) -> Pace<Self, T, C> {
        let alarm = clock.alarm();
        Pace {
            upstream: self,
            clock,
            alarm,
            off: pacing.is_off(),
            schedule: Schedule::new(pacing),
            held: None,
            first_wait: FirstWait::default(),
        }
    }
}

impl<T: Timed, E, S: Stream<Item = Result<T, E>> + Sized> PaceExt<T, E> for S {}

pin_project! {
    /// The stage that [`PaceExt::pace`] makes.
    #[must_use = "streams do nothing unless polled"]
    pub struct Pace<S, T, C> {
        #[pin]
        upstream: S,
        clock: C,
        alarm: Alarm<C>,
        off: bool,
        schedule: Schedule,
        held: Option<Held<T>>,
        first_wait: FirstWait,
    }
}

/// An item that waits for its time.
struct Held<T> {
    item: T,
    due: Duration,
    release: Duration,
}

impl<S, T, E, C> Stream for Pace<S, T, C>
where
    S: Stream<Item = Result<T, E>>,
    T: Timed,
    C: Clock,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.off {
            return this.upstream.poll_next(cx);
        }
        if this.held.is_none() {
            let mut item = match ready!(this.upstream.poll_next(cx)) {
                Some(Ok(item)) => item,
                other => return Poll::Ready(other),
            };
            let Some(due) = this.schedule.due(item.ts(), || (this.clock.now(), this.clock.utc())) else {
                return Poll::Ready(Some(Ok(item)));
            };
            item.set_due(due);
            let now = this.clock.now();
            let release = this.schedule.release(due, now);
            if release <= now {
                this.first_wait.pass();
                return Poll::Ready(Some(Ok(item)));
            }
            this.first_wait.log(this.clock, release, "its event time has not come");
            *this.held = Some(Held { item, due, release });
        }
        if let Some(Held { due, release, .. }) = this.held {
            ready!(this.alarm.poll(cx, *release));
            // Nobody may have asked for it when its time came.
            this.schedule.release(*due, this.clock.now());
            this.first_wait.pass();
        }
        Poll::Ready(this.held.take().map(|held| Ok(held.item)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.held.is_some());
        let (low, high) = self.upstream.size_hint();
        (low.saturating_add(held), high.and_then(|high| high.checked_add(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::pace::Late;
    use futures::{StreamExt, stream};

    #[derive(Debug, Clone, PartialEq)]
    struct Tick(i64, Option<Duration>);

    impl Timed for Tick {
        fn ts(&self) -> Micros {
            Micros(self.0)
        }
        fn set_due(&mut self, due: Duration) {
            self.1 = Some(due);
        }
    }

    fn ticks(times: &[i64]) -> impl Stream<Item = Result<Tick, &'static str>> + Unpin {
        stream::iter(times.iter().map(|ts| Ok(Tick(*ts, None))).collect::<Vec<_>>())
    }

    #[tokio::test(start_paused = true)]
    async fn items_leave_when_they_are_due() {
        let clock = SystemClock::new();
        let mut paced = ticks(&[0, 10_000, 10_000, 60_000_000]).pace(clock, Pacing::new(2.0).unwrap());
        for due in [0, 5, 5, 30_000] {
            let due = Duration::from_millis(due);
            let Tick(_, told) = paced.next().await.unwrap().unwrap();
            assert_eq!(told, Some(due));
            assert_eq!(clock.now(), due);
        }
        assert!(paced.next().await.is_none());
    }

    #[tokio::test]
    async fn nothing_leaves_early_by_the_kernels_timer_either() {
        let clock = SystemClock::new().fine();
        // Closer together than it wakes anybody, some at one instant.
        let times: Vec<i64> = (0..500).map(|n| n / 3 * 70).collect();
        let mut paced = ticks(&times).pace(clock, Pacing::new(1.0).unwrap());
        for ts in &times {
            let Tick(at, told) = paced.next().await.unwrap().unwrap();
            assert!(at == *ts && told.unwrap() <= clock.now(), "{:?} for {told:?}", clock.now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_moves_what_comes_after_it_and_nothing_else() {
        let clock = SystemClock::new();
        let mut paced = ticks(&[0, 1_000_000, 2_000_000, 2_500_000]).pace(clock, Pacing::new(1.0).unwrap());
        paced.next().await;
        // The second item is waited for already when its time comes and nobody asks.
        assert!(tokio::time::timeout(Duration::from_millis(10), paced.next()).await.is_err());
        assert_eq!(paced.size_hint(), (3, Some(3)), "the one that waits is counted");
        clock.sleep_until(Duration::from_secs(5)).await;
        for (goes, due) in [(5000, 1000), (6000, 2000), (6500, 2500)] {
            let Tick(_, told) = paced.next().await.unwrap().unwrap();
            assert_eq!(told, Some(Duration::from_millis(due)), "lag counts from the time first meant");
            assert_eq!(clock.now(), Duration::from_millis(goes));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_catches_up_meets_the_schedule_again() {
        let clock = SystemClock::new();
        let pacing = Pacing::new(1.0).unwrap().late(Late::CatchUp(Duration::from_mins(1)));
        let mut paced = ticks(&[0, 1_000_000, 2_000_000, 10_000_000]).pace(clock, pacing);
        paced.next().await;
        clock.sleep_until(Duration::from_secs(5)).await;
        for _ in 0..2 {
            paced.next().await;
            assert_eq!(clock.now(), Duration::from_secs(5), "late items wait for nothing");
        }
        let Tick(_, due) = paced.next().await.unwrap().unwrap();
        assert_eq!(due, Some(Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_pacing_nothing_waits_and_errors_pass() {
        let clock = SystemClock::new();
        let items = ticks(&[0, i64::MAX / 2]).chain(stream::iter([Err("broken")]));
        let all: Vec<_> = items.pace(clock, Pacing::off()).collect().await;
        assert_eq!(all[1], Ok(Tick(i64::MAX / 2, None)));
        assert_eq!(all[2], Err("broken"));
        assert_eq!(clock.now(), Duration::ZERO);
    }
}

//! The throttle stage: passes items at a rate, or by a plan of rates.
//!
//! ```text
//! items ──► held ──Governor──► items, at most burst + rate × t of them in any t
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;

use super::first_wait::FirstWait;
use super::plan::RatePlan;
use super::rate::{Admission, Governor, RateShare};
use crate::clock::{Alarm, Clock};
use crate::time::Micros;

/// Streams that can be throttled.
pub trait ThrottleExt<T, E>: Stream<Item = Result<T, E>> + Sized {
    /// Lets items through by `plan`, which starts at wall time `start` (`WSP_RATE_PLAN_START_UTC`), or with
    /// the first item where there is none. Without a plan everything passes, and errors always do. One item is held while it waits, and none
    /// is read ahead of it; no item leaves early.
    fn throttle<C: Clock>(self, clock: C, plan: Option<RatePlan>, start: Option<Micros>) -> Throttle<Self, T, C> {
        self.throttle_shared(clock, plan, start, RateShare::whole())
    }

    /// As [`ThrottleExt::throttle`], for one of the producers that share the plan's rates.
    fn throttle_shared<C: Clock>(
        self,
        clock: C,
        plan: Option<RatePlan>,
        start: Option<Micros>,
        share: RateShare,
    ) -> Throttle<Self, T, C> {
        let alarm = clock.alarm();
        Throttle {
            upstream: self,
            clock,
            alarm,
            plan,
            start,
            share,
            governor: None,
            held: None,
            until: None,
            first_wait: FirstWait::default(),
        }
    }
}

impl<T, E, S: Stream<Item = Result<T, E>> + Sized> ThrottleExt<T, E> for S {}

pin_project! {
    /// The stage that [`ThrottleExt::throttle`] makes.
    #[must_use = "streams do nothing unless polled"]
    pub struct Throttle<S, T, C> {
        #[pin]
        upstream: S,
        clock: C,
        alarm: Alarm<C>,
        plan: Option<RatePlan>,
        start: Option<Micros>,
        share: RateShare,
        governor: Option<Governor>,
        held: Option<T>,
        until: Option<Duration>,
        first_wait: FirstWait,
    }
}

impl<S, T, E, C> Stream for Throttle<S, T, C>
where
    S: Stream<Item = Result<T, E>>,
    C: Clock,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(plan) = this.plan else { return this.upstream.poll_next(cx) };
        if this.held.is_none() {
            match ready!(this.upstream.poll_next(cx)) {
                Some(Ok(item)) => *this.held = Some(item),
                other => return Poll::Ready(other),
            }
        }
        let governor = this.governor.get_or_insert_with(|| {
            let now = i64::try_from(this.clock.now().as_nanos()).unwrap_or(i64::MAX);
            let ago = this.start.map_or(0, |start| this.clock.utc().0.saturating_sub(start.0).saturating_mul(1000));
            Governor::new(plan.clone(), now.saturating_sub(ago)).shared(this.share.clone())
        });
        loop {
            if let Some(until) = *this.until {
                ready!(this.alarm.poll(cx, until));
                *this.until = None;
            }
            match governor.admit(this.clock.now()) {
                Admission::Now => {
                    this.first_wait.pass();
                    return Poll::Ready(this.held.take().map(Ok));
                }
                Admission::At(at) => {
                    this.first_wait.log(this.clock, at, "its rate does not allow it yet");
                    *this.until = Some(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::pace::limit::RateLimit;
    use futures::{StreamExt, stream};

    fn numbers(n: u64) -> impl Stream<Item = Result<u64, &'static str>> + Unpin {
        stream::iter((0..n).map(Ok))
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_over_minutes() {
        let clock = SystemClock::new();
        let plan = RatePlan::steady(RateLimit::new(3030.0, None, None).unwrap());
        let sent =
            numbers(u64::MAX).throttle(clock, Some(plan), None).take_until(clock.sleep_until(Duration::from_mins(2)));
        let count = sent.count().await as f64;
        // A timer fires at the whole millisecond after the token, so the last few may still wait.
        assert!((count - 3030.0 * 120.0).abs() <= 4.0, "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_rates_hold_items_for_seconds() {
        let clock = SystemClock::new();
        let plan = RatePlan::steady(RateLimit::new(0.5, None, None).unwrap());
        let mut sent = numbers(3).throttle(clock, Some(plan), None);
        for expected in [0, 2, 4] {
            sent.next().await.unwrap().unwrap();
            assert_eq!(clock.now(), Duration::from_secs(expected));
        }
        assert!(sent.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_may_start_on_the_wall_later_than_the_stream() {
        let clock = SystemClock::new();
        let plan = RatePlan::from_json(r#"[{"start_offset_seconds":10,"target_eps":1000}]"#).unwrap();
        let start = Micros(clock.utc().0 + 6_000_000_000);
        let mut sent = numbers(1).throttle(clock, Some(plan), Some(start));
        sent.next().await.unwrap().unwrap();
        let waited = clock.now().as_secs_f64();
        assert!((6_009.0..=6_010.1).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn errors_need_no_token() {
        let clock = SystemClock::new();
        let plan = RatePlan::steady(RateLimit::new(0.001, None, None).unwrap());
        let items = numbers(1).chain(stream::iter([Err("broken")]));
        let all: Vec<_> = items.throttle(clock, Some(plan), None).collect().await;
        assert_eq!((all.len(), clock.now()), (2, Duration::ZERO));
    }
}

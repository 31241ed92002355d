//! Decides how many items may pass: a rate, its burst, and a plan of rates.
//!
//! ```text
//! now ──► segment of the plan ──► bucket of tokens (governor) ──► Now · At(instant)
//! ```
//!
//! Pure: time is an argument. In any interval of length t within a segment at most burst + rate × t items
//! pass.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::limit::RateLimit;
use super::plan::RatePlan;

/// How many producers share a rate, which may change while it is used. Clones share the number.
#[derive(Debug, Clone)]
pub struct RateShare(Arc<AtomicU32>);

impl RateShare {
    /// The whole rate is this producer's.
    #[must_use]
    pub fn whole() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }

    /// From now on the rate is shared among `n`.
    pub fn among(&self, n: NonZeroU32) {
        self.0.store(n.get(), Ordering::Relaxed);
    }

    /// Among how many it is shared.
    #[must_use]
    pub fn producers(&self) -> NonZeroU32 {
        NonZeroU32::new(self.0.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }
}

impl Default for RateShare {
    fn default() -> Self {
        Self::whole()
    }
}

/// What the governor says to the next item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may go, and its token is taken.
    Now,
    /// Ask again at this instant, not before.
    At(Duration),
}

/// Lets items through by a plan.
#[derive(Debug)]
pub struct Governor {
    plan: RatePlan,
    /// Nanoseconds on the caller's clock, negative where the plan began before its origin.
    start: i64,
    share: RateShare,
    opened: Option<i64>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    /// Among how many the rate was shared when the bucket was set up.
    producers: NonZeroU32,
    /// When the bucket was set up, and when another segment takes over.
    since: i64,
    until: i64,
    /// `None` where nothing may go.
    bucket: Option<Bucket>,
}

impl Governor {
    /// `start` is when the plan starts, in nanoseconds on the clock of [`Governor::admit`];
    /// negative if that was before the clock's origin.
    #[must_use]
    pub fn new(plan: RatePlan, start: i64) -> Self {
        Self { plan, start, share: RateShare::whole(), opened: None, current: None }
    }

    /// The same for one of the producers that share the plan's rates.
    #[must_use]
    pub fn shared(mut self, share: RateShare) -> Self {
        self.share = share;
        self
    }

    /// Whether an item may go at `now`, which never goes back from call to call.
    ///
    /// A segment's bucket begins with its initial tokens when the segment begins, or at the first call if
    /// that comes later: a plan that is resumed midway grants no burst for the time before. When the share changes, an
    /// empty bucket takes over.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let now = nanos(now);
        let opened = *self.opened.get_or_insert(now);
        let producers = self.share.producers();
        let current = match &mut self.current {
            Some(current) if now < current.until && current.producers == producers => current,
            stale => {
                let same_segment = stale.as_ref().is_some_and(|current| now < current.until);
                let (segment, until) = self.plan.at(now.saturating_sub(self.start));
                let until = until.map_or(i64::MAX, |until| self.start.saturating_add(until));
                let begin = segment.map_or(i64::MIN, |segment| self.start.saturating_add(nanos(segment.start_offset)));
                let since = if same_segment { now } else { begin.max(opened) };
                let limit = segment.and_then(|segment| segment.limit).map(|limit| limit.one_of(producers));
                let limit = limit.map(|limit| if same_segment { RateLimit { initial: 0, ..limit } } else { limit });
                stale.insert(Current { producers, since, until, bucket: limit.map(Bucket::new) })
            }
        };
        match current.bucket.as_ref().map(|bucket| bucket.take((now - current.since).max(0).unsigned_abs())) {
            Some(Ok(())) => Admission::Now,
            Some(Err(wait)) => {
                let at = current.since.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX));
                Admission::At(instant(at.min(current.until)))
            }
            None => Admission::At(instant(current.until)),
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn instant(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.max(0).unsigned_abs())
}

/// The limiter counts time in ticks, this many of which bring one token. So the period is exact whatever
/// the rate, where a whole number of nanoseconds would drift (70,000 a second by 50 items in 10^6).
const TICKS: u64 = 1 << 20;

/// Millionths of an item a second times nanoseconds make this many a token.
const MICRO_NANOS: u128 = 1_000_000_000_000_000;

/// A governor limiter whose clock the caller sets.
#[derive(Debug)]
struct Bucket {
    micro_eps: u64,
    clock: Ticking,
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticking, NoOpMiddleware<Ticks>>,
}

impl Bucket {
    fn new(limit: RateLimit) -> Self {
        let clock = Ticking::default();
        // The period is not zero, so the quota is always there.
        let quota = Quota::with_period(Duration::from_nanos(TICKS))
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(limit.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        if let Some(missing) = NonZeroU32::new(limit.burst.get() - limit.initial) {
            // A new limiter is full; it never refuses up to its burst.
            let _ = limiter.check_n(missing);
        }
        Self { micro_eps: limit.micro_eps, clock, limiter }
    }

    /// Takes a token `elapsed` nanoseconds after the start, or says after how many there will be one.
    fn take(&self, elapsed: u64) -> Result<(), u64> {
        let rate = u128::from(self.micro_eps) * u128::from(TICKS);
        let ticks = u128::from(elapsed) * rate / MICRO_NANOS;
        // Half the range leaves the limiter room to add to it; at a million a second it lasts 100 days.
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2);
        self.clock.0.store(ticks, Ordering::Relaxed);
        self.limiter.check().map_err(|not_yet| {
            let Ticks(at) = not_yet.earliest_possible();
            u64::try_from((u128::from(at) * MICRO_NANOS).div_ceil(rate)).unwrap_or(u64::MAX)
        })
    }
}

#[derive(Debug, Clone, Default)]
struct Ticking(Arc<AtomicU64>);

impl GovernorClock for Ticking {
    type Instant = Ticks;

    fn now(&self) -> Ticks {
        Ticks(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ticks(u64);

impl Add<Nanos> for Ticks {
    type Output = Self;

    fn add(self, ticks: Nanos) -> Self {
        Self(self.0.saturating_add(ticks.as_u64()))
    }
}

impl Reference for Ticks {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::from(self.0.saturating_sub(earlier.0))
    }

    fn saturating_sub(&self, ticks: Nanos) -> Self {
        Self(self.0.checked_sub(ticks.as_u64()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::plan::Segment;
    use proptest::prelude::*;

    /// Sends as soon as allowed until `end`; the instants at which items went.
    fn sent(governor: &mut Governor, end: Duration) -> Vec<Duration> {
        let (mut now, mut sent) = (Duration::ZERO, Vec::new());
        while now < end {
            match governor.admit(now) {
                Admission::Now => sent.push(now),
                Admission::At(at) => {
                    assert!(at > now, "a wait has to lead somewhere: {at:?} at {now:?}");
                    now = at;
                }
            }
        }
        sent
    }

    fn steady(limit: RateLimit) -> Governor {
        Governor::new(RatePlan::steady(limit), 0)
    }

    #[test]
    fn a_shared_rate_is_divided_and_divided_anew() {
        let share = RateShare::whole();
        share.among(NonZeroU32::new(4).unwrap());
        let plan = RatePlan::steady(RateLimit::new(100.0, Some(1.0), None).unwrap());
        let mut governor = Governor::new(plan, 0).shared(share.clone());
        let quarter = sent(&mut governor, Duration::from_secs(10)).len();
        assert!((250..=251).contains(&quarter), "{quarter}");
        // Three of four have ended: from here on all of it is ours, without a burst for the time before.
        share.among(NonZeroU32::MIN);
        let mut now = Duration::from_secs(10);
        let mut whole = 0;
        while now < Duration::from_secs(20) {
            match governor.admit(now) {
                Admission::Now => whole += 1,
                Admission::At(at) => now = at,
            }
        }
        assert!((998..=1000).contains(&whole), "{whole}");
        let one = RateLimit::new(1.0, None, None).unwrap().one_of(NonZeroU32::new(64).unwrap());
        assert_eq!((one.burst(), one.eps()), (1, 0.015_625));
    }

    #[test]
    fn an_hour_is_exact_at_any_rate() {
        for eps in [0.5, 3.3, 3030.0] {
            let mut governor = steady(RateLimit::new(eps, None, None).unwrap());
            let hour = Duration::from_hours(1);
            let count = sent(&mut governor, hour).len() as f64;
            assert!((count - eps * 3600.0).abs() <= 1.0, "{count} at {eps}");
        }
    }

    #[test]
    fn fast_rates_do_not_drift_by_rounded_periods() {
        let limit = RateLimit::new(70_000.0, Some(0.0), None).unwrap();
        let bucket = Bucket::new(limit);
        bucket.take(0).unwrap();
        // The next token is due at 1/70,000 s; over many of them nothing is lost.
        assert_eq!(bucket.take(0).unwrap_err(), 14_286);
        let bucket = Bucket::new(RateLimit::new(70_000.0, Some(3600.0), Some(0.0)).unwrap());
        let span = 20 * 1_000_000_000;
        let mut count = 0_u64;
        while bucket.take(span).is_ok() {
            count += 1;
        }
        assert_eq!(count, 70_000 * 20);
    }

    #[test]
    fn there_is_no_burst_at_the_start_unless_asked_for() {
        let limit = |initial| RateLimit::new(100.0, None, initial).unwrap();
        for (initial, expected) in [(None, 1), (Some(0.0), 0), (Some(7.0), 7), (Some(1e9), 25)] {
            let mut governor = steady(limit(initial));
            let at_once =
                std::iter::from_fn(|| (governor.admit(Duration::ZERO) == Admission::Now).then_some(())).count();
            assert_eq!(at_once, expected, "{initial:?}");
        }
        assert_eq!(limit(None).burst(), 25);
        assert_eq!(RateLimit::new(3.0, None, None).unwrap().burst(), 1);
    }

    #[test]
    fn a_plan_is_followed_segment_by_segment() {
        let segment = |start, eps: f64, initial| Segment {
            start_offset: Duration::from_secs(start),
            limit: (eps > 0.0).then(|| RateLimit::new(eps, Some(0.5), Some(initial)).unwrap()),
        };
        let plan = RatePlan::new(vec![segment(2, 10.0, 0.0), segment(4, 0.0, 0.0), segment(6, 100.0, 50.0)]).unwrap();
        let sent = sent(&mut Governor::new(plan, 1_000_000_000), Duration::from_secs(8));
        let within = |from: u64, to: u64| {
            sent.iter().filter(|at| (Duration::from_secs(from)..Duration::from_secs(to)).contains(*at)).count()
        };
        assert_eq!(within(0, 3), 0, "nothing before the first segment, which counts from the plan's start");
        assert_eq!(within(3, 5), 19);
        assert_eq!(within(5, 7), 0, "nothing in a segment of rate 0");
        assert_eq!(sent.iter().filter(|at| **at == Duration::from_secs(7)).count(), 50);
        assert_eq!(within(7, 8), 149);
    }

    #[test]
    fn a_plan_resumed_midway_grants_nothing_for_the_past() {
        let limit = RateLimit::new(100.0, Some(1.0), Some(3.0)).unwrap();
        let mut governor = Governor::new(RatePlan::steady(limit), -3_600_000_000_000);
        let now = Duration::from_secs(5);
        let at_once = std::iter::from_fn(|| (governor.admit(now) == Admission::Now).then_some(())).count();
        assert_eq!(at_once, 3);
    }

    #[test]
    fn rates_out_of_bounds_are_refused() {
        for eps in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e6, 1e-9] {
            assert!(RateLimit::new(eps, None, None).is_err(), "{eps}");
        }
        assert!(RateLimit::new(1.0, Some(-0.1), None).is_err());
        assert!(RateLimit::new(1.0, None, Some(f64::NAN)).is_err());
    }

    #[test]
    fn the_bounds_of_a_rate_are_in_it() {
        for eps in [1e-6, 2e-6, 0.5, 3030.0, 1e6] {
            let limit = RateLimit::new(eps, None, None).unwrap();
            assert!((limit.eps() - eps).abs() < 1e-12, "{eps}");
        }
        for eps in [0.0, -1.0, 9e-7, 1e6 + 1.0, f64::NAN, f64::INFINITY] {
            assert!(RateLimit::new(eps, None, None).is_err(), "{eps}");
        }
        for (burst, fits) in [(0.0, true), (3600.0, true), (-0.1, false), (3600.1, false), (f64::NAN, false)] {
            assert_eq!(RateLimit::new(1.0, Some(burst), None).is_ok(), fits, "{burst}");
        }
        for (initial, fits) in [(0.0, true), (f64::INFINITY, true), (-0.1, false), (f64::NAN, false)] {
            assert_eq!(RateLimit::new(1.0, None, Some(initial)).is_ok(), fits, "{initial}");
        }
        let burst = |eps, seconds| RateLimit::new(eps, Some(seconds), None).unwrap().burst();
        assert_eq!((burst(10.0, 2.0), burst(10.0, 0.0), burst(0.5, 1.0)), (20, 1, 1));
    }

    proptest! {
        #[test]
        fn no_interval_holds_more_than_burst_and_rate(
            eps in 0.1_f64..5000.0,
            burst_seconds in 0.0_f64..2.0,
            initial in proptest::option::of(0.0_f64..100.0),
            pauses in proptest::collection::vec((0_u64..3_000_000_000, 0_usize..60), 1..40),
        ) {
            let limit = RateLimit::new(eps, Some(burst_seconds), initial).unwrap();
            let mut governor = steady(limit);
            let (mut now, mut sent) = (Duration::ZERO, Vec::new());
            for (pause, wanted) in pauses {
                now += Duration::from_nanos(pause);
                for _ in 0..wanted {
                    while let Admission::At(at) = governor.admit(now) {
                        now = at;
                    }
                    sent.push(now);
                }
            }
            for (i, from) in sent.iter().enumerate() {
                for (j, to) in sent.iter().enumerate().skip(i) {
                    let span = Duration::saturating_sub(*to, *from);
                    let allowed = f64::from(limit.burst()) + limit.eps() * span.as_secs_f64();
                    prop_assert!((j - i + 1) as f64 <= allowed + 1e-5, "{} in {span:?}", j - i + 1);
                }
            }
        }
    }
}

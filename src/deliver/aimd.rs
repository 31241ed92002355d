//! How many requests the gate can take at a time, found out by asking for a little more until it slows down.
//!
//! ```text
//! good and quick ──► + 1 a round (doubling at first) ─┐
//! slow, 429, 503, no answer ──► × 0.7, once a round ──┴─► limit, between `min` and the number of connections
//! ```

use std::time::Duration;

/// What is left of the limit when the gate is overloaded.
const KEPT: f64 = 0.7;

/// Requests in flight that follow what the gate can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// Requests in flight at the start, and at least.
    pub min: u32,
    /// An answer that took longer than this counts as a sign of overload.
    pub slow: Duration,
}

/// The limit at work.
#[derive(Debug)]
pub(super) struct Aimd {
    policy: Adaptive,
    max: f64,
    limit: f64,
    /// No overload was seen yet.
    first_climb: bool,
    /// Attempts that began before this had the old limit, and say nothing about the new one.
    since: Duration,
}

impl Aimd {
    pub(super) fn new(policy: Adaptive, connections: u32) -> Self {
        let max = f64::from(connections.max(1));
        let limit = f64::from(policy.min.max(1)).min(max);
        Self { policy, max, limit, first_climb: true, since: Duration::ZERO }
    }

    /// How many requests may be on the way.
    pub(super) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// An attempt that began at `started`, with `on_the_way` requests beside it, was answered for good at `now`.
    pub(super) fn good(&mut self, started: Duration, now: Duration, on_the_way: u32) {
        if now.saturating_sub(started) > self.policy.slow {
            return self.overload(started, now);
        }
        // A limit that nobody comes near is not shown to be bearable.
        if on_the_way * 2 >= self.limit() {
            let step = if self.first_climb { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + step).min(self.max);
        }
    }

    /// An attempt that began at `started` ended at `now` with a sign of overload.
    pub(super) fn overload(&mut self, started: Duration, now: Duration) {
        if started < self.since {
            return;
        }
        self.limit = (self.limit * KEPT).max(f64::from(self.policy.min.max(1)).min(self.max));
        self.first_climb = false;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn aimd(min: u32, connections: u32) -> Aimd {
        Aimd::new(Adaptive { min, slow: MS * 100 }, connections)
    }

    /// Rounds of as many requests as are allowed at a gate that takes `room` at a time and refuses the rest.
    fn rounds(aimd: &mut Aimd, n: u32, room: u32) -> Vec<u32> {
        let mut now = MS;
        (0..n)
            .map(|_| {
                let limit = aimd.limit();
                (0..limit).for_each(|i| {
                    if i < room { aimd.good(now, now + MS, limit) } else { aimd.overload(now, now + MS) }
                });
                now += MS * 2;
                limit
            })
            .collect()
    }

    #[test]
    fn it_doubles_to_the_first_overload_and_then_climbs_by_one() {
        let limits = rounds(&mut aimd(1, 64), 40, 20);
        assert_eq!(limits[..6], [1, 2, 4, 8, 16, 32]);
        assert!(limits[10..].iter().all(|limit| (13..=22).contains(limit)), "{limits:?}");
        assert!(limits[10..].windows(2).all(|pair| pair[1] <= pair[0] + 1), "{limits:?}");
    }

    #[test]
    fn one_round_costs_one_step_down() {
        let mut aimd = aimd(1, 64);
        rounds(&mut aimd, 7, 64);
        let before = aimd.limit();
        (0..before).for_each(|_| aimd.overload(MS * 100, MS * 101));
        assert_eq!(aimd.limit(), (f64::from(before) * KEPT) as u32);
    }

    #[test]
    fn half_of_the_limit_on_the_way_shows_that_it_is_bearable() {
        for (min, on_the_way, then) in [(4, 2, 5), (4, 1, 4), (3, 1, 3), (3, 2, 4)] {
            let mut aimd = aimd(min, 64);
            aimd.good(MS, MS * 3, on_the_way);
            assert_eq!(aimd.limit(), then, "{on_the_way} of {min}");
        }
    }

    #[test]
    fn slow_answers_are_overload_and_idle_time_is_no_proof() {
        let mut aimd = aimd(4, 64);
        aimd.good(MS, MS * 3, 1);
        assert_eq!(aimd.limit(), 4, "nobody came near it");
        rounds(&mut aimd, 6, 64);
        let before = aimd.limit();
        aimd.good(MS * 200, MS * 301, before);
        assert!(aimd.limit() < before);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            min in 0_u32..80, connections in 1_u32..80, steps in proptest::collection::vec((any::<bool>(), 0_u32..300), 0..300)
        ) {
            let mut aimd = aimd(min, connections);
            let mut now = MS;
            for (good, millis) in steps {
                let limit = aimd.limit();
                if good { aimd.good(now, now + MS * millis, limit) } else { aimd.overload(now, now + MS * millis) }
                now += MS * millis;
                prop_assert!(aimd.limit() >= min.clamp(1, connections) && aimd.limit() <= connections);
            }
        }
    }
}

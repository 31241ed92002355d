//! How many retries the gate as a whole is given: a share of what is sent for the first time, and a few a second.
//!
//! ```text
//! first attempts × share ─┐
//! seconds × floor ────────┴─► tokens (up to a bound) ──withdraw──► one retry, or the time to ask again
//! ```
//!
//! An empty budget delays a retry and never fails its event: an outage is no storm, and costs no attempts either.

use std::time::Duration;

/// The floor of this many seconds may be saved up.
const SAVED_SECONDS: f64 = 10.0;

/// How many retries there may be next to the first attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries a first attempt: 0.5 lets the gate refuse every third attempt without a retry being delayed.
    pub share: f64,
    /// Retries a second that are there in any case; below 1 counts as 1.
    pub floor: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: 0.5, floor: 100.0 }
    }
}

/// A budget in use. It starts with all that can be saved up.
#[derive(Debug)]
pub(super) struct Purse {
    share: f64,
    floor: f64,
    tokens: f64,
    /// First attempts and time that were paid in already.
    firsts: u64,
    at: Duration,
}

impl Purse {
    pub(super) fn new(budget: RetryBudget) -> Self {
        let floor = budget.floor.max(1.0);
        Self { share: budget.share.max(0.0), floor, tokens: floor * SAVED_SECONDS, firsts: 0, at: Duration::ZERO }
    }

    /// Pays for a retry at `now`, when there were `firsts` first attempts in all. If there is not enough, says when
    /// there will be without any further first attempt.
    pub(super) fn withdraw(&mut self, now: Duration, firsts: u64) -> Result<(), Duration> {
        let earned = firsts.saturating_sub(self.firsts) as f64 * self.share
            + now.saturating_sub(self.at).as_secs_f64() * self.floor;
        self.tokens = (self.tokens + earned).min(self.floor * SAVED_SECONDS);
        (self.firsts, self.at) = (firsts.max(self.firsts), now.max(self.at));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A microsecond more than it takes, so that rounding does not ask twice.
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.floor) + Duration::from_micros(1);
        Err(now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_outage_is_met_with_the_floor_alone() {
        let mut purse = Purse::new(RetryBudget { share: 0.5, floor: 20.0 });
        let (mut now, mut retries) = (Duration::ZERO, 0);
        while now < Duration::from_mins(1) {
            match purse.withdraw(now, 0) {
                Ok(()) => retries += 1,
                Err(until) => now = until,
            }
        }
        // What was saved up, and 20 a second.
        assert!((1398..=1401).contains(&retries), "{retries}");
    }

    #[test]
    fn who_has_too_little_is_told_when_there_is_enough() {
        let mut purse = Purse::new(RetryBudget { share: 0.0, floor: 2.0 });
        while purse.withdraw(Duration::ZERO, 0).is_ok() {}
        let micros = Duration::from_micros;
        assert_eq!(purse.withdraw(Duration::ZERO, 0), Err(micros(500_001)));
        assert_eq!(purse.withdraw(micros(125_000), 0), Err(micros(500_001)), "a quarter of it is there");
        assert_eq!(purse.withdraw(micros(500_001), 0), Ok(()));
    }

    #[test]
    fn a_share_of_failures_below_its_own_is_not_delayed() {
        let mut purse = Purse::new(RetryBudget { share: 0.1, floor: 1.0 });
        (1..100_000_u64).filter(|firsts| firsts % 11 == 0).for_each(|firsts| {
            assert_eq!(purse.withdraw(Duration::ZERO, firsts), Ok(()), "{firsts}");
        });
    }

    proptest! {
        #[test]
        fn retries_stay_within_the_share_and_the_floor(
            share in 0.0_f64..2.0, floor in 1.0_f64..50.0, steps in proptest::collection::vec((0_u64..40, 0_u64..30), 1..200)
        ) {
            let mut purse = Purse::new(RetryBudget { share, floor });
            let (mut now, mut firsts, mut retries) = (Duration::ZERO, 0, 0_u64);
            for (sent, millis) in steps {
                firsts += sent;
                now += Duration::from_millis(millis);
                match purse.withdraw(now, firsts) {
                    Ok(()) => retries += 1,
                    Err(until) => {
                        prop_assert!(until > now && until <= now + Duration::from_secs(1) + Duration::from_micros(1));
                        now = until;
                        prop_assert_eq!(purse.withdraw(now, firsts), Ok(()), "it is there when it was said to be");
                        retries += 1;
                    }
                }
                let most = floor * (SAVED_SECONDS + now.as_secs_f64()) + share * firsts as f64;
                prop_assert!(retries as f64 <= most + 1e-6, "{retries} of {most}");
            }
        }
    }
}

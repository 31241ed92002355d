//! How long to wait before an event is tried again.
//!
//! ```text
//! (policy, event_id, attempt, Retry-After) ──► delay
//! ```

use std::time::Duration;

use crate::random::{GAMMA, mix};

/// When to try again, and how often (contract, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts an event gets in all, 1 or more (0 counts as 1).
    pub max_attempts: u32,
    /// The delay after the first attempt, before jitter.
    pub base_delay: Duration,
    /// The longest delay before jitter.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one counts as this.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The wait between attempt `attempt` (1, 2, …) of an event and the next one:
    /// `min(max_delay, base_delay × 2^(attempt-1))` plus jitter between nothing and as much again, and no
    /// less than the gate's `Retry-After` within its bound. The jitter depends on the event and the attempt
    /// alone, so a run that is repeated waits the same.
    #[must_use]
    pub fn delay(&self, event_id: &[u8; 32], attempt: u32, retry_after: Option<Duration>) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let delay = self.base_delay.saturating_mul(1 << doublings).min(self.max_delay);
        let jittered = delay.saturating_add(jitter(event_id, attempt, delay));
        jittered.max(retry_after.unwrap_or_default().min(self.max_retry_after))
    }

    /// Whether an event that was tried `attempts` times may be tried again.
    #[must_use]
    pub fn allows_another(&self, attempts: u32) -> bool {
        attempts < self.max_attempts
    }
}

/// A share of `delay` in `[0, delay]`.
fn jitter(event_id: &[u8; 32], attempt: u32, delay: Duration) -> Duration {
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *event_id;
    let id = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let random = mix(id ^ u64::from(attempt).wrapping_mul(GAMMA));
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    let share = (u128::from(random) * (u128::from(nanos) + 1)) >> 64;
    Duration::from_nanos(share as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_up_to_the_bound() {
        let policy = RetryPolicy::default();
        let bases: Vec<u128> = (1..=7)
            .map(|attempt| {
                let delay = policy.delay(&[7; 32], attempt, None);
                (delay.as_nanos() - jitter(&[7; 32], attempt, delay_base(&policy, attempt)).as_nanos()) / 1_000_000
            })
            .collect();
        assert_eq!(bases, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    }

    fn delay_base(policy: &RetryPolicy, attempt: u32) -> Duration {
        (policy.base_delay * 2_u32.pow(attempt - 1)).min(policy.max_delay)
    }

    #[test]
    fn retry_after_is_obeyed_within_its_bound() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(&[1; 32], 1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(policy.delay(&[1; 32], 1, Some(Duration::from_hours(1))), Duration::from_secs(30));
        assert_eq!(policy.delay(&[1; 32], 1, Some(Duration::ZERO)), policy.delay(&[1; 32], 1, None));
    }

    #[test]
    fn jitter_spreads_events_that_failed_together() {
        let policy = RetryPolicy::default();
        let mut delays: Vec<_> = (0..=255_u8).map(|i| policy.delay(&[i; 32], 1, None)).collect();
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 250, "{} distinct delays", delays.len());
        assert!(delays[10] < Duration::from_millis(300) && delays[delays.len() - 10] > Duration::from_millis(450));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_bounds_and_repeatable(
            id in any::<[u8; 32]>(), attempt in 1_u32.., base in 0_u64..10_000, max in 0_u64..100_000
        ) {
            let policy = RetryPolicy {
                base_delay: Duration::from_millis(base), max_delay: Duration::from_millis(max), ..RetryPolicy::default()
            };
            let delay = policy.delay(&id, attempt, None);
            prop_assert_eq!(delay, policy.delay(&id, attempt, None));
            prop_assert!(delay <= policy.max_delay * 2);
            prop_assert!(delay >= policy.base_delay.min(policy.max_delay));
        }
    }
}

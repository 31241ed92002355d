//! How often a request to the database is made again.

use std::fmt;
use std::time::Duration;

use crate::checkpoint::{CheckpointError, CheckpointFault};
use crate::clock::Clock;

/// Why a request failed. It never holds the DSN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The database is away or busy: the same request may well pass later.
    Away(String),
    /// The database said no: the same request would hear the same.
    Refused(String),
}

impl Fault {
    /// The same fault, with `place` in front of its message.
    #[cfg(feature = "postgres")]
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Fault::Away(text) => Fault::Away(format!("{place}{text}")),
            Fault::Refused(text) => Fault::Refused(format!("{place}{text}")),
        }
    }

    /// What it means for a scope: unavailable where time may mend it, else `refused`.
    #[must_use]
    pub fn error(self, refused: CheckpointFault) -> CheckpointError {
        let (fault, text) = match self {
            Fault::Away(text) => (CheckpointFault::Unavailable, text),
            Fault::Refused(text) => (refused, text),
        };
        CheckpointError::new(fault, format!("the checkpoint database: {text}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Away(text) | Fault::Refused(text) => f.write_str(text),
        }
    }
}

/// The wait after the `n`-th failure in a row (1, 2, …): 100 ms, doubled each time, 2 s at most.
pub(super) fn delay(n: u32) -> Duration {
    Duration::from_millis(100 << n.saturating_sub(1).min(5)).min(Duration::from_secs(2))
}

/// Makes the request until it gets an answer, as long as no further try would start later than `limit` after now.
///
/// # Errors
///
/// The last fault.
pub async fn persist<C, T, F>(clock: &C, limit: Duration, mut request: impl FnMut() -> F) -> Result<T, Fault>
where
    C: Clock,
    F: Future<Output = Result<T, Fault>>,
{
    let end = clock.now() + limit;
    let mut failures = 0;
    loop {
        let text = match request().await {
            Err(Fault::Away(text)) => text,
            answered => return answered,
        };
        failures += 1;
        let next = clock.now() + delay(failures);
        if next > end {
            return Err(Fault::Away(format!("{text} ({failures} tries in {} s)", limit.as_secs())));
        }
        tracing::warn!(failures, error = %text, "the checkpoint database did not answer; trying again");
        clock.sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn delays_double_to_a_bound() {
        let millis: Vec<_> = (1..=8).map(|n| delay(n).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(delay(u32::MAX), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_until_the_limit_and_no_longer() {
        let clock = SystemClock::new();
        let mut tries = 0;
        let request = || {
            tries += 1;
            std::future::ready(Err::<(), _>(Fault::Away("away".into())))
        };
        let fault = persist(&clock, Duration::from_secs(10), request).await.unwrap_err();
        // 0, 0.1, 0.3, 0.7, 1.5, 3.1, 5.1, 7.1 and 9.1 s.
        assert_eq!((tries, fault), (9, Fault::Away("away (9 tries in 10 s)".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_may_start_when_the_time_is_up_and_none_after() {
        let tries = async |millis| {
            let mut tries = 0;
            let request = || {
                tries += 1;
                std::future::ready(Err::<(), _>(Fault::Away("away".into())))
            };
            persist(&SystemClock::new(), Duration::from_millis(millis), request).await.unwrap_err();
            tries
        };
        assert_eq!((tries(99).await, tries(100).await, tries(299).await, tries(300).await), (1, 2, 2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_an_answer() {
        let mut tries = 0;
        let request = || {
            tries += 1;
            std::future::ready(Err::<(), _>(Fault::Refused("no".into())))
        };
        let fault = persist(&SystemClock::new(), Duration::from_secs(10), request).await.unwrap_err();
        assert_eq!((tries, fault), (1, Fault::Refused("no".into())));
    }
}

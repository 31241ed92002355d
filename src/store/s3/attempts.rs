//! One attempt at a time: a place among the requests at once, a limit for each, a wait before the next.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::failure::{Failure, Kind};
use super::options::Backoff;

/// Bounds every request of a store.
#[derive(Debug)]
pub(super) struct Bounds {
    places: Semaphore,
    attempt_timeout: Duration,
}

impl Bounds {
    pub(super) fn new(concurrency: usize, attempt_timeout: Duration) -> Self {
        Self { places: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)), attempt_timeout }
    }

    /// Makes one attempt, its answer's body included, within the timeout and once a place is free.
    pub(super) async fn once<T>(&self, attempt: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        // The semaphore is never closed, so there is always a place in the end.
        let _place = self.places.acquire().await.ok();
        match timeout(self.attempt_timeout, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Kind::Passing, format!("no whole answer within {:?}", self.attempt_timeout))),
        }
    }
}

/// The attempts at one thing.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    made: u32,
}

impl Attempts {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, made: 0 }
    }

    /// Waits until the next attempt is due, or gives the failure back if there is to be none.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        self.made += 1;
        if !failure.is_worth_another() {
            return Err(failure);
        }
        let Some(wait) = self.backoff.wait(self.made, random(self.made)) else {
            let Failure { kind, text } = failure;
            return Err(Failure { kind, text: format!("{text} (attempt {} of {0})", self.made) });
        };
        tracing::debug!(attempt = self.made, ?wait, failure = failure.text, "s3 request is tried again");
        sleep(wait).await;
        Ok(())
    }
}

/// A number below 1 and at least 0, another one in each process: what jitter needs, and no more.
fn random(salt: u32) -> f64 {
    (RandomState::new().hash_one(salt) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing() -> Failure {
        Failure::new(Kind::Passing, "the server answered 500")
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end() {
        let backoff = Backoff { attempts: 3, base: Duration::from_secs(1), max: Duration::from_secs(9) };
        let mut attempts = Attempts::new(backoff);
        let clock = crate::clock::SystemClock::new();
        attempts.after(passing()).await.unwrap();
        attempts.after(passing()).await.unwrap();
        let waited = crate::clock::Clock::now(&clock);
        assert!(waited >= Duration::from_millis(1500) && waited < Duration::from_secs(4), "{waited:?}");
        let last = attempts.after(passing()).await.unwrap_err();
        assert_eq!(last.text, "the server answered 500 (attempt 3 of 3)");

        let lasting = Attempts::new(backoff).after(Failure::new(Kind::Lasting, "no")).await.unwrap_err();
        assert_eq!(lasting.text, "no");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_cut_off_and_gives_its_place_back() {
        let bounds = Bounds::new(1, Duration::from_secs(2));
        let stuck = bounds.once(std::future::pending::<Result<(), Failure>>());
        let next = bounds.once(async { Ok(7) });
        let (stuck, next) = tokio::join!(stuck, next);
        assert_eq!(stuck.unwrap_err().kind, Kind::Passing);
        assert_eq!(next.unwrap(), 7);
    }

    #[test]
    fn jitter_is_a_fraction_and_differs() {
        let drawn: Vec<f64> = (0..100).map(random).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.iter().any(|number| (number - drawn[0]).abs() > 0.01));
    }
}

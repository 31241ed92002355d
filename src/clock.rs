//! Time as the stages see it. The real clock is the one place that asks the operating system;
//! under tokio's paused time it moves with the test.

use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::model::Micros;

/// A monotonic clock and the wall clock beside it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Time since some fixed instant in the past; never goes back.
    fn now(&self) -> Duration;

    /// The wall clock, UTC. It may jump; nothing is scheduled by it.
    fn utc(&self) -> Micros;

    /// Resolves when [`Clock::now`] has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose `now` starts at zero.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the real clock is where the machine is asked")]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "the real clock is where the machine is asked")]
    fn utc(&self) -> Micros {
        let micros = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Micros::checked(micros).unwrap_or_default()
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep_until(self.origin + deadline)
    }
}

//! Time as the stages see it. The real clock alone asks the operating system for the time;
//! under tokio's paused time it follows the test.
//!
//! ```text
//! stage ──► Clock ─┬─ now, utc
//!                  ├─ sleep_until    one instant, by the runtime's timers: timeouts, retries
//!                  └─ alarm          one instant after another, as fine as the clock has it: pacing
//! ```

mod alarm;
#[cfg(target_os = "linux")]
mod kernel;
mod timer;

pub use alarm::Alarm;
pub use timer::Timer;

use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::time::Micros;

/// A monotonic clock and the wall clock beside it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Time since some fixed instant in the past; never goes back.
    fn now(&self) -> Duration;

    /// The wall clock, UTC. It may jump; nothing is scheduled by it.
    fn utc(&self) -> Micros;

    /// What the wall clock shows, as far as is known now, when [`Clock::now`] is `instant`, past or to come.
    fn utc_at(&self, instant: Duration) -> Micros {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let ahead = micros(instant).saturating_sub(micros(self.now()));
        Micros(self.utc().0.saturating_add(ahead))
    }

    /// Resolves when [`Clock::now`] has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// A timer for who waits for one instant after another. It sleeps by [`Clock::sleep_until`] where a clock has nothing finer.
    fn alarm(&self) -> Alarm<Self> {
        Alarm::sleeping(self.clone())
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: tokio::time::Instant,
    fine: bool,
}

impl SystemClock {
    /// A clock whose `now` starts at zero.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the real clock is where the machine is asked")]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now(), fine: false }
    }

    /// The same clock, whose alarms are timers of the kernel (Linux's `timerfd`) in place of the runtime's, which tick in
    /// milliseconds. Where there are none they are the runtime's. Not for paused time, which the kernel knows nothing of.
    #[must_use]
    pub fn fine(self) -> Self {
        Self { fine: true, ..self }
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

    #[allow(clippy::disallowed_methods, reason = "the real clock is where the machine is asked")]
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep_until(self.origin + deadline)
    }

    fn alarm(&self) -> Alarm<Self> {
        if self.fine { Alarm::fine(*self) } else { Alarm::sleeping(*self) }
    }
}

//! A rate with its burst, as it is configured.

use std::num::NonZeroU32;

/// A rate with its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Millionths of an item a second.
    pub(super) micro_eps: u64,
    pub(super) burst: NonZeroU32,
    pub(super) initial: u32,
}

/// A rate that can't be held.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RateError {
    /// Outside 0.000001 to 1,000,000 items a second.
    #[error("target_eps has to be between 0.000001 and 1000000, not {0}")]
    Eps(f64),
    /// Outside 0 to 3,600 seconds.
    #[error("burst_seconds has to be between 0 and 3600, not {0}")]
    Burst(f64),
    /// Negative or no number.
    #[error("initial_tokens has to be 0 or more, not {0}")]
    Initial(f64),
}

/// The burst where none is given, in seconds of the rate (`WSP_TARGET_BURST_SECONDS`).
const BURST_SECONDS: f64 = 0.25;

impl RateLimit {
    /// `target_eps` items a second, to a millionth; fractions are fine (0.5 is one every two seconds).
    ///
    /// `burst_seconds` of the rate, rounded down and at least one item, is what may go at once after idling;
    /// 0.25 where not given. A burst below a few milliseconds' worth keeps the rate from being reached: a
    /// busy machine wakes the sender that late, and what is lost by it can't be made up for then.
    ///
    /// `initial_tokens` is how many of the burst are there at the start, cut to the burst; 1 where not
    /// given, so that the first item goes at once and the rate holds from it on. A burst at the start has to be asked for.
    ///
    /// # Errors
    ///
    /// If a number is out of its bounds.
    pub fn new(target_eps: f64, burst_seconds: Option<f64>, initial_tokens: Option<f64>) -> Result<Self, RateError> {
        if !(1e-6..=1e6).contains(&target_eps) {
            return Err(RateError::Eps(target_eps));
        }
        let burst_seconds = burst_seconds.unwrap_or(BURST_SECONDS);
        if !(0.0..=3600.0).contains(&burst_seconds) {
            return Err(RateError::Burst(burst_seconds));
        }
        let initial = initial_tokens.unwrap_or(1.0);
        if initial.is_nan() || initial < 0.0 {
            return Err(RateError::Initial(initial));
        }
        let burst = NonZeroU32::new((target_eps * burst_seconds) as u32).unwrap_or(NonZeroU32::MIN);
        let micro_eps = ((target_eps * 1e6).round() as u64).max(1);
        Ok(Self { micro_eps, burst, initial: (initial as u32).min(burst.get()) })
    }

    /// Items that may go at once after idling.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.get()
    }

    /// Items a second.
    #[must_use]
    pub fn eps(&self) -> f64 {
        self.micro_eps as f64 / 1e6
    }

    /// The part of this rate that each of `n` producers has. Each of them may send one item at a time, however small
    /// its part of the burst.
    #[must_use]
    pub fn one_of(self, n: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(self.burst.get() / n).unwrap_or(NonZeroU32::MIN);
        Self { micro_eps: (self.micro_eps / u64::from(n.get())).max(1), burst, initial: self.initial.min(burst.get()) }
    }
}

//! Decides when an item may pass: by its event time, and by a rate.
//!
//! ```text
//! items ──► pace (schedule: event time ÷ speed-up) ──► throttle (rate: tokens, plan) ──► items, on time
//! ```

mod first_wait;
mod late;
mod limit;
#[allow(clippy::module_inception, reason = "the stage is called what it does")]
mod pace;
mod plan;
mod rate;
mod schedule;
mod throttle;

pub use late::{Late, SLACK};
pub use limit::{RateError, RateLimit};
pub use pace::{Pace, PaceExt, Timed};
pub use plan::{PlanError, RatePlan, Segment};
pub use rate::{Admission, Governor, RateShare};
pub use schedule::{Anchor, Pacing, PacingError, Schedule};
pub use throttle::{Throttle, ThrottleExt};

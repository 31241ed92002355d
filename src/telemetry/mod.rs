//! What a process tells of itself while it works: the list of its metrics, their text, and the mark on its requests.
//!
//! ```text
//! counts ──read when asked──► Family (one of catalogue::ALL) ──► prometheus text · OTLP
//! a run's trace ──► TraceMark ──► `traceparent` on each request
//! ```
//!
//! Nothing here is looked up by name while events flow: stages count in atomics of their own, and whoever asks gets
//! the figures of that moment.

pub mod catalogue;
mod counter;
mod family;
mod histogram;
pub mod prometheus;
pub mod trace_mark;

pub use counter::Counter;
pub use family::{Family, Kind, Metric, Sample, Value};
pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use trace_mark::TraceMark;

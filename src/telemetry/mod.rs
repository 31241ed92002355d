//! What a process reports of itself while it works: counters, histograms, their text, and the mark on its requests.
//!
//! ```text
//! counts ──read when asked──► Family (of one Metric) ──► prometheus text · OTLP
//! a run's trace ──► TraceMark ──► `traceparent` on each request
//! ```
//!
//! Nothing here is looked up by name while events flow: stages count in atomics of their own, and whoever asks gets
//! the figures of that moment.

mod counter;
mod family;
mod histogram;
pub mod prometheus;
pub mod trace_mark;

pub use counter::Counter;
pub use family::{Family, Kind, Metric, Sample, Value};
pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use trace_mark::TraceMark;

//! The producer's other ends, for demos, tests and benches: an Ingestion Gate and generated worlds.
//!
//! ```text
//! world (seed) ──► engine run root ──► the producer ──POST──► gate (faults) ──► journal ──► audit
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

pub mod gate;
mod local;
pub mod world;

pub use local::LocalRun;

//! The other ends of the producer, for demos and tests: an Ingestion Gate and sealed worlds.
//!
//! ```text
//! world (seed) ──► engine run root ──► the producer ──POST──► gate (faults) ──► journal ──► audit
//! ```

pub mod gate;
mod local;
pub mod run_documents;
pub mod world;

pub use local::LocalRun;

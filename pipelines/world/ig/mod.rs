//! The Ingestion Gate as the push stage meets it: what its answers mean (contract, section 6), and one in memory.
//!
//! ```text
//! deliver ──Attempt──► judge (said) ──► Decided · Retry · Rejected
//! ```

pub mod judge;
pub mod memory;
mod said;

pub use judge::IgJudge;

#[cfg(test)]
mod push_tests;

//! The Ingestion Gate as the push stage meets it: where it is, how it is asked, what its answers mean (contract, section 6), and one in memory.
//!
//! ```text
//! deliver ──Attempt──► judge (said) ──► Decided · Retry · Rejected
//! ```

pub mod endpoint;
pub mod health;
pub mod judge;
pub mod memory;
mod routes;
mod said;

pub use endpoint::{ig_endpoint, parse_ig_endpoint};
pub use health::{Health, IgProbe, Lookup, ProbeError};
pub use judge::IgJudge;

#[cfg(test)]
mod push_tests;

//! What puts stages together. [`producer`] is the whole chain on one screen; [`prepare`] makes all checks before
//! the first event; [`service`] takes READYs to their verdicts. [`replay`] is the second producer: any files into any intake.
//!
//! ```text
//! service: READY ──► prepare: checks ──► producer: the chain ──► evidence
//! ```

pub mod account;
pub mod announce;
pub mod deferral;
pub mod evidence;
mod first_rows;
pub mod matrix;
mod parts;
pub mod plan;
pub mod positions;
pub mod preflight;
pub mod prepare;
pub mod producer;
mod progress;
pub mod replay;
pub mod resuming;
pub mod service;
mod settings;
pub mod sim;
pub mod stopping;
pub mod telemetry;
pub mod verify;

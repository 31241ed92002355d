//! The producer of the fraud platform: sealed worlds into the Ingestion Gate, started by READY messages. [`producer`] is
//! the whole chain on one screen; [`prepare`] makes all checks before the first event; [`service`] takes READYs to
//! their verdicts.
//!
//! ```text
//! service: READY ──► prepare: checks ──► producer: the chain ──► evidence
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

pub mod account;
pub mod admission;
pub mod announce;
pub mod checkpoint;
pub mod deferral;
pub mod envelope;
pub mod evidence;
mod first_rows;
pub mod ig;
pub mod lanes;
pub mod model;
pub mod oracle;
mod parts;
pub mod plan;
pub mod positions;
pub mod preflight;
pub mod prepare;
pub mod producer;
pub mod profile;
mod progress;
pub mod ready;
mod rereading;
pub mod resuming;
pub mod run;
pub mod run_evidence;
pub mod service;
mod settings;
pub mod stopping;
pub mod telemetry;
pub mod verify;

//! What a running producer shows: metrics, probes, status and the live page on one listener, and traces and metrics over
//! OTLP. What is measured, and how a process stands, is `wsp_world::telemetry`.
//!
//! ```text
//! Telemetry ──families, status──┬─► listener ──► /metrics, /status, / (page)
//!                               └─► otlp ──────► collector
//! Readiness (control topic, store, gate, lease) ──► /readyz
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

pub mod listener;
pub mod otlp;
mod page;
mod peers;
pub mod readiness;
mod status;

pub use hyper::StatusCode;
pub use status::StatusPage;

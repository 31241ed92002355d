//! What a producer measures, and how it stands at any moment.
//!
//! ```text
//! service ──verdicts──────────────► Telemetry ──► families ──► Prometheus, OTLP
//!    └─ run ──answers, saves──► RunMeter ──┘ └──► status ────► JSON, the terminal, the live page
//! ```
//!
//! Counting an answer costs a few additions. Everything else is computed when somebody asks; the package `wsp-observe`
//! serves and sends it.

pub mod catalogue;
mod families;
mod process;
mod rates;
mod run;
pub(crate) mod spans;
pub mod status;

pub use process::{Shown, Telemetry};
pub use run::{GateState, GateWait, RunMeter, RunOutput, RunParts};

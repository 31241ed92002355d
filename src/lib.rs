//! Replays a sealed world of recorded events, in canonical order and at a chosen pace, into a live
//! HTTP intake. See `README.md` for the program and `pipelines/` for how the stages fit together.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

pub mod ahead;
#[cfg(feature = "aws")]
mod aws;
pub mod byte_budget;
pub mod checkpoint;
pub mod clock;
pub mod credit;
pub mod deliver;
pub mod disk;
pub mod envelope;
pub mod evidence;
pub mod ig;
mod io_thread;
pub mod merge;
pub mod model;
pub mod oracle;
pub mod pace;
mod parquet_types;
#[path = "../pipelines/mod.rs"]
pub mod pipelines;
pub mod profile;
pub mod ready;
pub mod reference;
pub mod run;
pub mod stop;
pub mod store;
pub mod telemetry;

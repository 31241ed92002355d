//! `wsp` as its users run it: its commands, whole runs and what they leave, metrics and traces, and what `deploy/` and the
//! platform's profiles say of it.
//!
//! The tests start the program as a process of its own on folders, ports and gates of their own, so they share one binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up fails")]

mod both_producers;
mod cli;
mod crash;
mod day;
mod deploy;
mod evidence;
mod golden_run;
mod kept_rate;
#[path = "../kit/mod.rs"]
mod kit;
mod lane_processes;
mod matrix;
mod operate;
mod order;
mod otlp;
mod page;
mod profiles;
mod ready;
mod refusals;
mod replay;
mod required_packs;
mod said;
mod shared_lanes;
mod soak;
mod stopping;
mod telemetry;
mod watching;

//! What needs real servers: started here on loopback with free ports and temporary folders, and stopped again.
//! `cargo test --test live -- --ignored` runs them; each server can be replaced by an address in the environment.

#![allow(clippy::disallowed_methods, reason = "tests wait for real servers")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod evidence;
mod identities;
mod kafka;
mod kinesis;
#[path = "../kit/mod.rs"]
mod kit;
mod matrix;
mod outages;
mod parts;
mod postgres_checkpoints;
mod reading;
mod ready;
mod replay;
mod replay_state;
mod s3;
mod servers;
mod shared_lanes;
mod two_producers;
mod whole_run;

//! What needs real servers: started here on loopback with free ports and temporary folders, and stopped again.
//! `cargo test --test live -- --ignored` runs them; each server can be replaced by an address in the environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

#[path = "../checkpoint/contract.rs"]
mod checkpoint_contract;
#[path = "../common/mod.rs"]
mod common;
mod evidence;
mod identities;
mod kafka;
mod kinesis;
mod matrix;
#[path = "../common/matrix_rows.rs"]
mod matrix_rows;
mod outages;
mod parts;
mod postgres_checkpoints;
mod reading;
mod s3;
mod servers;
#[path = "../store/contract.rs"]
mod store_contract;
mod two_producers;
mod whole_run;

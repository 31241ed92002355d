//! What every gate, store and checkpoint store owes its callers, checked on each that needs no server (`tests/live` checks
//! the others); and a producer of another trade that is made of the library's stages.

#![allow(clippy::disallowed_methods, reason = "tests wait for real servers")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects")]

mod another_trade;
mod checkpoint;
mod gate;
#[path = "../kit/mod.rs"]
mod kit;
mod store;

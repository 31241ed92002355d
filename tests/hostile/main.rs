//! `wsp` among things that are wrong: READYs, worlds, rows, gates and checkpoints that are not as they should be, and
//! connections, gates and machines that fail in the middle of a run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up fails")]

mod checkpoint;
mod faults;
mod gate;
mod instants;
#[path = "../kit/mod.rs"]
mod kit;
mod ready;
mod rows;
mod world;

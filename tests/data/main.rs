//! From Parquet to request bodies, everything that parses what others wrote, and READYs that are made for a world. No
//! process, no server.

#![allow(clippy::disallowed_methods, reason = "tests wait for real servers")]
#![allow(clippy::cast_possible_wrap, reason = "small numbers")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up fails")]

mod announce;
mod corpora;
mod framing;
mod golden_bodies;
#[path = "../kit/mod.rs"]
mod kit;
mod lane_reading;
mod lane_settings;
mod lanes;
mod reading;
mod reading_ahead;

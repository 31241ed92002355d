//! Profiles and their environment, as the program takes or refuses them.
//!
//! ```text
//! a profile, one thing in it or in the environment ──► validate, run ──► in order, or exit 2 with the place by name
//! ```

#![allow(clippy::type_complexity, reason = "a table of cases")]

mod explain;
mod init;
mod platform;
mod schema;
mod settings;
mod strict;

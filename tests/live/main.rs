//! What needs real servers: started here on loopback with free ports and temporary folders, and stopped again.
//! `cargo test --test live -- --ignored` runs them; each server can be replaced by an address in the environment.

mod kafka;
mod servers;

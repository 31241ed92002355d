//! READY, the permission to start streaming one run: where it comes from and what it says (contract, section 1).
//!
//! ```text
//! control topic: file · kafka (later) ──bytes──► message ──Ready──► run
//! ```

pub mod message;

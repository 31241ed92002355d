//! HTTP/1.1 as a gate's client needs it: one request on a connection, one answer, and whether the connection may be
//! used again.
//!
//! ```text
//! RequestHead (a template) ─┐                                ┌──► AnswerReader ──► Received
//! body ─────────────────────┴──► Link: one write ··· reads ──┘     (chunks)          status, body, keep
//! ```
//!
//! The rules are those of RFC 9112. What reads is plain code over a buffer; the connection around it does the I/O.

mod answer;
mod bad;
mod chunks;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(not(feature = "gzip"))]
#[path = "no_gzip.rs"]
mod gzip;
mod link;
mod request;

pub use answer::{AnswerReader, Later, Received};
pub use bad::{BODY_LIMIT, BadAnswer};
pub(super) use link::{Exchanged, Link};
pub(super) use request::RequestHead;

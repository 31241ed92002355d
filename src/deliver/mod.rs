//! Delivery of events to a gate: in order per key, retried in place, answered one by one.
//!
//! ```text
//! Event ──► push ──► channel (queue, one request) ──► gate: http · memory
//!             ▲          │ taxonomy, backoff
//!   Delivered ┴──────────┘
//! ```

mod backoff;
mod channel;
mod endpoint;
pub mod gate;
mod health;
mod http;
pub mod memory;
mod options;
mod push;
mod stats;
pub mod taxonomy;
mod timer;
mod window;
mod wire;

pub use backoff::RetryPolicy;
pub use endpoint::{Endpoint, EndpointError};
pub use gate::{Answer, Attempt, Gate, GateChannel};
pub use health::{Health, Probe, ProbeError};
pub use http::{HttpChannel, HttpGate};
pub use options::{DeliveryMode, PushOptions};
pub use push::{Push, PushExt};
pub use stats::{PushCounts, PushStats};
pub use window::Window;
pub use wire::{platform_tls, unused_tls};

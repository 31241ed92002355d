//! Delivery of items to a gate: in order per key, retried, answered one by one. What an answer means, a [`Judge`] says.
//!
//! ```text
//!             window    lines     admission: circuit, adaptive limit
//!  Item ──► push ──► dispatch ──► connection (one request) ──► gate: http (http1, wire)
//!             ▲                     │ Judge, backoff, budget
//!   Delivered ┴─────────────────────┘
//! ```

mod admission;
mod aimd;
mod authorize;
mod backoff;
mod budget;
mod circuit;
mod connection;
mod dispatch;
mod endpoint;
pub mod gate;
pub mod headers;
mod health;
mod hot_key;
mod http;
pub mod http1;
mod item;
mod judge;
mod lines;
mod options;
mod proxy;
mod push;
mod regulator;
mod retry_after;
mod retry_log;
mod stats;
#[cfg(test)]
mod testing;
mod threads;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;
mod window;
mod wire;

pub use aimd::Adaptive;
pub use authorize::{Authorize, Unsigned};
pub use backoff::RetryPolicy;
pub use budget::RetryBudget;
pub use circuit::CircuitPolicy;
pub use endpoint::{ApiKey, ApiKeyError, Endpoint, EndpointError, KeyHeader, KeyHeaderError, SettingNames};
pub use gate::{Answer, Attempt, Gate, GateConnection, Takes};
pub use health::{Probe, ProbeError, Said};
pub use hot_key::{Bottleneck, HotKey};
pub use http::{HttpConnection, HttpGate};
pub use item::Item;
pub use judge::{Cause, Decided, Delivery, Judge, PushError, Stray, Verdict};
pub use options::{DeliveryMode, PushOptions};
pub use proxy::HttpProxy;
pub use push::{Push, PushExt};
pub use stats::{OnTheWay, PushCounts, PushStats};
pub use tls::TlsError;
#[cfg(feature = "tls")]
pub use tls::{ClientFiles, TlsFiles, unused_tls};
pub use window::Window;

//! The reference Ingestion Gate: the HTTP contract of section 6, a journal of what it admitted, and faults on request.
//!
//! ```text
//! POST ──► server (hyper, one thread) ──► envelope, scan ──► desk ──► ledger ──► journal, audit
//!                                                             └── faults
//! ```
//!
//! It reads each body once, hashes the payload meanwhile, and keeps 40 bytes per event, so that it costs about as much as
//! the HTTP around it. It differs from the real gate in two ways: it checks no payload schema beyond order keys, and it
//! rejects `NaN` in a body as not JSON.

mod answer;
pub mod audit;
mod class;
mod desk;
mod envelope;
pub mod faults;
mod journal;
pub mod ledger;
mod scan;
mod server;
mod stats;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use wsp_world::model::Secret;

pub use class::EventClass;
pub use envelope::Flaw;
pub use faults::{FaultError, FaultSpec};
pub use server::{GateHandle, GateServer};
pub use stats::{FaultStats, GateStats};

/// Which of IG's two fronts answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GateStyle {
    /// The service: 200 for every decision.
    #[default]
    Service,
    /// The managed edge: 202, and 400 for QUARANTINE; a `status` for its health, no lookup, 404 for routes it lacks.
    Edge,
}

impl FromStr for GateStyle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "service" => Ok(Self::Service),
            "edge" => Ok(Self::Edge),
            _ => Err(format!("{text:?} is neither service nor edge")),
        }
    }
}

/// The settings of a gate. [`GateOptions::new`] gives a faultless one on a free loopback port.
#[derive(Debug, Clone)]
pub struct GateOptions {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The API key that senders need.
    pub api_key: Secret,
    /// The header that carries it.
    pub api_key_header: String,
    /// File of the journal; the gate knows the admissions that it already holds.
    pub journal: Option<PathBuf>,
    /// Flush the journal before each answer instead of once a second, so that a killed gate forgets no answer.
    pub journal_before_answer: bool,
    /// The faults to inject.
    pub faults: FaultSpec,
    /// Seed of the faults.
    pub seed: u64,
    /// Service or managed edge.
    pub style: GateStyle,
    /// Close the connection after each answer, as the service wrapper does.
    pub close_after_answer: bool,
    /// PEM files of a certificate and its key: the gate speaks TLS then.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Admit event types other than the six outputs.
    pub any_event_type: bool,
}

impl GateOptions {
    /// A faultless service on a free loopback port that requires this key in `X-IG-Api-Key`.
    #[must_use]
    pub fn new(api_key: Secret) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            api_key,
            api_key_header: "X-IG-Api-Key".to_owned(),
            journal: None,
            journal_before_answer: false,
            faults: FaultSpec::default(),
            seed: 0,
            style: GateStyle::default(),
            close_after_answer: false,
            tls: None,
            any_event_type: false,
        }
    }
}

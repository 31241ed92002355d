//! Asking the gate how it is, and what became of an event: rare questions, off the delivery's path.
//!
//! ```text
//! HttpGate ──probe──► GET /v1/ops/health ──► Health · GET /v1/ops/lookup ──► record
//! circuit ──ask──────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http1::{Link, Received, RequestHead};
use super::wire::Dialer;
use crate::clock::Clock;

/// How long an answer may take that somebody waits for to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where a gate is asked whether it may be tried again.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// What the gate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// `GREEN` if it takes events; other words mean trouble.
    pub state: String,
    /// Why it is not green.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl Health {
    /// Whether the gate takes events.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.state == "GREEN"
    }
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The question can't be put into a request.
    #[error("it can't be asked for")]
    Question,
    /// No connection, or none that lasted until the answer.
    #[error("{0}")]
    NoAnswer(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// An answer that is no 2xx.
    #[error("status {0}")]
    Status(u16),
    /// An answer that is not what was asked for.
    #[error("the answer can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Asks a gate, each question over a connection of its own.
#[derive(Debug, Clone)]
pub struct Probe<C> {
    dialer: Arc<Dialer<C>>,
}

impl<C: Clock> Probe<C> {
    /// A probe of the gate that is dialled; see [`HttpGate::probe`](super::HttpGate::probe).
    pub(super) fn new(dialer: Arc<Dialer<C>>) -> Self {
        Self { dialer }
    }

    /// `GET <base>/v1/ops/health` (contract, section 6).
    ///
    /// # Errors
    ///
    /// If the gate gives no 2xx with a state in it within 10 s.
    pub async fn health(&self) -> Result<Health, ProbeError> {
        self.get(&self.dialer.endpoint.health).await
    }

    /// The gate's record of the event with this id (64 hex digits), as it stands.
    ///
    /// # Errors
    ///
    /// If the gate gives no 2xx with JSON in it within 10 s; it does not know the event, then.
    pub async fn lookup(&self, event_id: &str) -> Result<serde_json::Value, ProbeError> {
        self.get(&self.dialer.endpoint.lookup(event_id).ok_or(ProbeError::Question)?).await
    }

    /// Whether the gate may be tried with an event, asked within 5 s: not if nobody answers, not on an answer that asks
    /// for another try, and not if it says itself that it is `RED`. A gate without this question, or with other words,
    /// is tried.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let received = self.receive(&self.dialer.endpoint.health, ASK_PATIENCE).await;
        let Received { status, body, .. } = received.map_err(|error| format!("health: {error}"))?;
        match serde_json::from_slice::<Health>(&body) {
            _ if matches!(status, 408 | 429 | 500..=599) => Err(format!("health: status {status}")),
            Ok(health) if health.state == "RED" => Err(format!("health: RED {}", health.reasons.join(", "))),
            _ => Ok(()),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &PathAndQuery) -> Result<T, ProbeError> {
        let received = self.receive(path, PATIENCE).await?;
        if !(200..300).contains(&received.status) {
            return Err(ProbeError::Status(received.status));
        }
        Ok(serde_json::from_slice(&received.body)?)
    }

    async fn receive(&self, path: &PathAndQuery, patience: Duration) -> Result<Received, ProbeError> {
        let Dialer { clock, endpoint, .. } = &*self.dialer;
        let deadline = clock.now() + patience;
        let exchange = async {
            let wire = self.dialer.connect(deadline).await.map_err(|error| ProbeError::NoAnswer(error.to_string()))?;
            let mut head = RequestHead::new("GET", path, &endpoint.headers);
            let received = Link::new(wire).exchange(head.alone(), &[]).await;
            received.map_err(|lost| ProbeError::NoAnswer(lost.to_string()))
        };
        tokio::select! {
            biased;
            received = exchange => received,
            () = clock.sleep_until(deadline) => Err(ProbeError::TimedOut),
        }
    }
}

//! Asking a gate, off the delivery's path: rare questions, each over a connection of its own.
//!
//! ```text
//! HttpGate ──probe──► GET path ──► Said: status, body
//! circuit ──ask──► the endpoint's question for its health ──► up, or what is wrong
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;

use super::endpoint::HealthQuestion;
use super::http1::{Link, Received, RequestHead};
use super::wire::Dialer;
use crate::clock::Clock;
use crate::http_url::HttpUrl;

/// How long an answer may take that somebody waits for to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where a gate is asked whether it may be tried again.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// An answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection, or none that lasted until the answer.
    #[error("{0}")]
    NoAnswer(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
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

    /// The address that the gate's endpoint was made of.
    #[must_use]
    pub fn base(&self) -> &HttpUrl {
        self.dialer.endpoint.base()
    }

    /// `GET` of `path`, with the endpoint's headers.
    ///
    /// # Errors
    ///
    /// If there is no answer within 10 s.
    pub async fn get(&self, path: &PathAndQuery) -> Result<Said, ProbeError> {
        self.receive(path, PATIENCE).await
    }

    /// Whether the gate may be tried with an item, asked within 5 s: not if nobody answers, else as the endpoint reads the
    /// answer. A gate that can't be asked is tried.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let Some(HealthQuestion { path, read }) = &self.dialer.endpoint.health else { return Ok(()) };
        let said = self.receive(path, ASK_PATIENCE).await.map_err(|error| error.to_string());
        let read = said.and_then(|Said { status, body }| read(status, &body));
        read.map_err(|error| format!("health: {error}"))
    }

    async fn receive(&self, path: &PathAndQuery, patience: Duration) -> Result<Said, ProbeError> {
        let Dialer { clock, endpoint, .. } = &*self.dialer;
        let deadline = clock.now() + patience;
        let exchange = async {
            let wire = self.dialer.connect(deadline).await.map_err(ProbeError::NoAnswer)?;
            let mut head = RequestHead::new("GET", &endpoint.request_target(path), &endpoint.headers);
            let exchanged = Link::new(wire).exchange(head.alone(), &[]).await;
            let Received { status, body, .. } =
                exchanged.map_err(|lost| ProbeError::NoAnswer(lost.words(&endpoint.names)))?.received;
            Ok(Said { status, body })
        };
        tokio::select! {
            biased;
            received = exchange => received,
            () = clock.sleep_until(deadline) => Err(ProbeError::TimedOut),
        }
    }
}

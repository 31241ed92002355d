//! Asking the gate how it is, and what became of an event: rare questions, off the delivery's path.
//!
//! ```text
//! HttpGate ──probe──► GET /v1/ops/health ──► Health · GET /v1/ops/lookup ──► record
//! ```

use std::time::Duration;

use reqwest::{Client, Url};
use rustls::ClientConfig;
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::wire;

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
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer, or none that can be read.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// An answer that is no 2xx.
    #[error("status {0}")]
    Status(u16),
}

/// Asks a gate.
#[derive(Debug, Clone)]
pub struct Probe {
    client: Client,
    endpoint: Endpoint,
}

impl Probe {
    /// A probe of the gate at `endpoint`, with its TLS configuration if its URL is https; see
    /// [`HttpGate::probe`](super::HttpGate::probe).
    pub(super) fn new(endpoint: Endpoint, tls: Option<&ClientConfig>) -> Result<Self, ProbeError> {
        // Given even where the URL is plain: reqwest would look for a configuration of its own otherwise.
        let tls = match tls {
            Some(tls) => tls.clone(),
            None => wire::unused_tls()?,
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { client, endpoint })
    }

    /// `GET <base>/v1/ops/health` (contract, section 6).
    ///
    /// # Errors
    ///
    /// If the gate gives no 2xx with a state in it within 10 s.
    pub async fn health(&self) -> Result<Health, ProbeError> {
        self.get(self.endpoint.health_url()).await
    }

    /// The gate's record of the event with this id (64 hex digits), as it stands.
    ///
    /// # Errors
    ///
    /// If the gate gives no 2xx with JSON in it within 10 s; it does not know the event, then.
    pub async fn lookup(&self, event_id: &str) -> Result<serde_json::Value, ProbeError> {
        let mut url = self.endpoint.lookup_url();
        url.query_pairs_mut().append_pair("event_id", event_id);
        self.get(url).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<T, ProbeError> {
        let mut headers = self.endpoint.headers.clone();
        headers.remove(hyper::header::HOST);
        let response = self.client.get(url).headers(headers).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if !status.is_success() {
            return Err(ProbeError::Status(status.as_u16()));
        }
        Ok(response.json().await.map_err(reqwest::Error::without_url)?)
    }
}

//! Asking IG how it is, and what became of an event: rare questions, off the delivery's path.
//!
//! ```text
//! IgProbe ──► GET /v1/ops/health ──► Health · GET /v1/ops/lookup ──► Lookup
//! circuit ──asks──┘ is_up
//! ```
//!
//! IG has two fronts. The service tells a `state`; the managed edge has a `status` and no lookup (contract, section 6).

use serde_json::{Map, Value};
use wsp::clock::Clock;
use wsp::deliver::{HttpGate, Probe, Said};

use super::routes::Routes;

/// How much of a gate's own words is repeated, in characters.
const QUOTE: usize = 80;

/// What the gate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The service's `state`: `GREEN`, `AMBER`, or a word that means trouble.
    pub state: Option<String>,
    /// The managed edge's `status`: `ok`, or a word that means trouble.
    pub status: Option<String>,
    /// Why it is not green.
    pub reasons: Vec<String>,
}

impl Health {
    /// Reads an answer's body; `None` for one that is not a JSON object.
    fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let members: Map<String, Value> = serde_json::from_slice(body)?;
        // A value that is not a text stands for itself: a word that means trouble.
        let word = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(shortened(text)),
            other => Some(shortened(&other.to_string())),
        };
        let reasons = members.get("reasons").and_then(Value::as_array);
        Ok(Self {
            state: members.get("state").and_then(word),
            status: members.get("status").and_then(word),
            reasons: reasons.into_iter().flatten().filter_map(word).collect(),
        })
    }

    /// Whether the gate takes events: its `state` is `GREEN` or `AMBER`, or it has none and its `status` is `ok`.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match &self.state {
            Some(state) => matches!(state.as_str(), "GREEN" | "AMBER"),
            None => self.status.as_deref() == Some("ok"),
        }
    }

    /// The gate's own words: its state, else its status, and the reasons for it.
    #[must_use]
    pub fn words(&self) -> String {
        let word = self.state.as_ref().or(self.status.as_ref()).map_or("neither state nor status", String::as_str);
        if self.reasons.is_empty() { word.to_owned() } else { format!("{word} {}", self.reasons.join(", ")) }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(QUOTE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether the gate may be tried with an event: not on an answer that asks for another try, and not if it says itself that
/// it is `RED`. A gate without this question, or with other words, is tried.
pub(super) fn is_up(status: u16, body: &[u8]) -> Result<(), String> {
    match Health::read(body) {
        _ if matches!(status, 408 | 429 | 500..=599) => Err(format!("status {status}")),
        Ok(health) if health.state.as_deref() == Some("RED") => Err(health.words()),
        _ => Ok(()),
    }
}

/// What the gate says about one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// Its record.
    Record(Value),
    /// It has no record of it.
    Unknown,
    /// It can't be asked: the managed edge has no lookup. That proves nothing, for or against.
    Unsupported,
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The question can't be put into a request.
    #[error("it can't be asked for")]
    Question,
    /// No answer.
    #[error(transparent)]
    NoAnswer(#[from] wsp::deliver::ProbeError),
    /// An answer that is no 2xx.
    #[error("status {0}")]
    Status(u16),
    /// An answer that is not what was asked for.
    #[error("the answer can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Asks IG, each question over a connection of its own.
#[derive(Debug, Clone)]
pub struct IgProbe<C>(Probe<C>);

impl<C: Clock> IgProbe<C> {
    /// Asks the IG that `gate` delivers to.
    #[must_use]
    pub fn of(gate: &HttpGate<C>) -> Self {
        Self(gate.probe())
    }

    /// `GET <base>/v1/ops/health` (contract, section 6).
    ///
    /// # Errors
    ///
    /// If the gate gives no 2xx with a JSON object in it within 10 s.
    pub async fn health(&self) -> Result<Health, ProbeError> {
        let path = Routes::of(self.0.base()).health().ok_or(ProbeError::Question)?;
        let Said { status, body } = self.0.get(&path).await?;
        if !(200..300).contains(&status) {
            return Err(ProbeError::Status(status));
        }
        Ok(Health::read(&body)?)
    }

    /// What the gate knows about the event with this id (64 hex digits).
    ///
    /// # Errors
    ///
    /// If within 10 s the gate neither gives a record, nor says that it has none or can't be asked.
    pub async fn lookup(&self, event_id: &str) -> Result<Lookup, ProbeError> {
        let path = Routes::of(self.0.base()).lookup(event_id).ok_or(ProbeError::Question)?;
        let Said { status, body } = self.0.get(&path).await?;
        match status {
            200..300 => Ok(Lookup::Record(Value::Object(serde_json::from_slice(&body)?))),
            // A gate that has the route says in JSON that it does not know the event.
            404 => match serde_json::from_slice::<Map<String, Value>>(&body) {
                Ok(members) if members.get("error").is_none_or(|error| error != "route_not_found") => {
                    Ok(Lookup::Unknown)
                }
                _ => Ok(Lookup::Unsupported),
            },
            405 | 501 => Ok(Lookup::Unsupported),
            _ => Err(ProbeError::Status(status)),
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;

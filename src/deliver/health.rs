//! Asking the gate how it is, and what became of an event: rare questions, off the delivery's path.
//!
//! ```text
//! HttpGate ──probe──► GET /v1/ops/health ──► Health · GET /v1/ops/lookup ──► Lookup
//! circuit ──ask──────────┘
//! ```
//!
//! IG has two fronts. The service tells a `state`; the managed edge has a `status` and no lookup (contract, section 6).

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use serde_json::{Map, Value};

use super::http1::{Link, Received, RequestHead};
use super::wire::Dialer;
use crate::clock::Clock;

/// How long an answer may take that somebody waits for to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where a gate is asked whether it may be tried again.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

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
    /// If the gate gives no 2xx with a JSON object in it within 10 s.
    pub async fn health(&self) -> Result<Health, ProbeError> {
        let Received { status, body, .. } =
            self.receive(self.dialer.endpoint.health.as_ref().ok_or(ProbeError::Question)?, PATIENCE).await?;
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
        let path = self.dialer.endpoint.lookup(event_id).ok_or(ProbeError::Question)?;
        let Received { status, body, .. } = self.receive(&path, PATIENCE).await?;
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

    /// Whether the gate may be tried with an event, asked within 5 s: not if nobody answers, not on an answer that asks
    /// for another try, and not if it says itself that it is `RED`. A gate without this question, or with other words,
    /// is tried.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for a person.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let Some(path) = &self.dialer.endpoint.health else { return Ok(()) };
        let received = self.receive(path, ASK_PATIENCE).await;
        let Received { status, body, .. } = received.map_err(|error| format!("health: {error}"))?;
        match Health::read(&body) {
            _ if matches!(status, 408 | 429 | 500..=599) => Err(format!("health: status {status}")),
            Ok(health) if health.state.as_deref() == Some("RED") => Err(format!("health: {}", health.words())),
            _ => Ok(()),
        }
    }

    async fn receive(&self, path: &PathAndQuery, patience: Duration) -> Result<Received, ProbeError> {
        let Dialer { clock, endpoint, .. } = &*self.dialer;
        let deadline = clock.now() + patience;
        let exchange = async {
            let wire = self.dialer.connect(deadline).await.map_err(ProbeError::NoAnswer)?;
            let mut head = RequestHead::new("GET", &endpoint.request_target(path), &endpoint.headers);
            let exchanged = Link::new(wire).exchange(head.alone(), &[]).await;
            exchanged.map(|exchanged| exchanged.received).map_err(|lost| ProbeError::NoAnswer(lost.to_string()))
        };
        tokio::select! {
            biased;
            received = exchange => received,
            () = clock.sleep_until(deadline) => Err(ProbeError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fronts_say_in_their_own_words_that_they_take_events() {
        for (body, good, words) in [
            (r#"{"state":"GREEN","reasons":[]}"#, true, "GREEN"),
            (r#"{"state":"AMBER","reasons":["LAG"]}"#, true, "AMBER LAG"),
            (r#"{"status":"ok","service":"ig","mode":"edge"}"#, true, "ok"),
            (r#"{"state":null,"status":"ok"}"#, true, "ok"),
            (r#"{"state":"GREEN","status":"down"}"#, true, "GREEN"),
            (r#"{"state":"RED","status":"ok","reasons":["BUS","DB"]}"#, false, "RED BUS, DB"),
            (r#"{"state":"","status":"ok"}"#, false, ""),
            (r#"{"state":"green"}"#, false, "green"),
            (r#"{"state":1,"status":"ok"}"#, false, "1"),
            (r#"{"state":["GREEN"]}"#, false, r#"["GREEN"]"#),
            (r#"{"status":"degraded","reasons":7}"#, false, "degraded"),
            (r#"{"status":"OK"}"#, false, "OK"),
            ("{}", false, "neither state nor status"),
        ] {
            let health = Health::read(body.as_bytes()).unwrap();
            assert_eq!((health.is_good(), health.words().as_str()), (good, words), "{body}");
        }
        for body in ["", "ok", r#"["GREEN"]"#, r#"["GREEN",[]]"#, r#"{"state":"GREEN""#] {
            assert!(Health::read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_gates_words_are_bounded_and_printable() {
        let body = serde_json::json!({"state": "x\n".repeat(500), "reasons": ["y\u{7}".repeat(500)]});
        let words = Health::read(body.to_string().as_bytes()).unwrap().words();
        assert!(words.len() < 200 && !words.contains(char::is_control), "{words}");
    }
}

//! One message of the control bus, read strictly.
//!
//! ```text
//! bytes ──topic, kind──► for another component: skipped
//!                  └────► READY: closed envelope, closed payload, typed identities ──► Ready
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use wsp::strict::{self, Limits, StrictError};

use crate::model::{Hex32, Hex64, Micros, OutputId, PlatformRunId, ScenarioId};

/// Bytes of a message at most.
pub const MAX_BYTES: usize = 256 * 1024;

/// Characters of a reference or a descriptive text at most.
const MAX_TEXT: usize = 1024;

/// What a message on the control bus turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Permission to stream a run.
    Ready(Box<Ready>),
    /// Well-formed, and not for us.
    Other {
        /// Its topic, cut to a bounded length.
        topic: String,
        /// Its `attributes.kind`, where it has one, cut likewise.
        kind: Option<String>,
        /// Why it is passed over.
        why: &'static str,
    },
}

/// Why a message is no READY that could be acted on. It is counted, logged and passed over, never fatal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not the closed, typed JSON object it has to be.
    #[error(transparent)]
    Json(#[from] StrictError),
    /// Envelope and payload carry different message ids.
    #[error("the envelope's message_id is {envelope}, the payload's {payload}")]
    MessageIdMismatch {
        /// On the envelope.
        envelope: Hex64,
        /// In the payload.
        payload: Hex64,
    },
}

/// A READY with what its envelope adds. As JSON it reads back as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// When it was put on the bus, where the envelope says so.
    #[serde(
        default,
        rename = "published_at_utc",
        skip_serializing_if = "Option::is_none",
        serialize_with = "time_text",
        deserialize_with = "instant"
    )]
    pub published_at: Option<Micros>,
    /// What SR says.
    pub payload: Payload,
}

impl Ready {
    /// `scenario_run_id`, for which `run_id` stands in where READY lacks it (contract, section 2).
    #[must_use]
    pub fn scenario_run_id(&self) -> &Hex32 {
        self.payload.scenario_run_id.as_ref().unwrap_or(&self.payload.run_id)
    }

    /// When SR emitted it: `emitted_at_utc`, else the time it was put on the bus.
    #[must_use]
    pub fn emitted_at(&self) -> Option<Micros> {
        self.payload.emitted_at_utc.or(self.published_at)
    }
}

/// READY's payload: closed, every identity typed. What has a refusal reason of its own when it is missing is an
/// `Option` here, so that the run gets that reason and its record, rather than a line in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// SR's run.
    pub run_id: Hex32,
    /// The platform run; missing is `PLATFORM_RUN_ID_MISSING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_run_id: Option<PlatformRunId>,
    /// The scenario run; see [`Ready::scenario_run_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario_run_id: Option<Hex32>,
    /// Object key or `s3://` URI of the facts, not yet checked against any root.
    #[serde(deserialize_with = "text")]
    pub facts_view_ref: String,
    /// Digest of SR's bundle.
    pub bundle_hash: Hex64,
    /// The message's identity, whatever the number of times it is emitted.
    pub message_id: Hex64,
    /// Digest of SR's configuration.
    pub run_config_digest: Hex64,
    /// Part of the world's identity.
    pub manifest_fingerprint: Hex64,
    /// Part of the world's identity.
    pub parameter_hash: Hex64,
    /// Part of the world's identity; missing is `SCENARIO_ID_MISSING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario_id: Option<ScenarioId>,
    /// Digest of SR's plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<Hex64>,
    /// SR's release.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub service_release_id: Option<String>,
    /// The environment it runs in.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whatever SR says about its own making.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Map<String, Value>>,
    /// When SR emitted it, RFC 3339.
    #[serde(
        default,
        deserialize_with = "rfc3339",
        skip_serializing_if = "Option::is_none",
        serialize_with = "time_text"
    )]
    pub emitted_at_utc: Option<Micros>,
    /// Where the world is.
    #[serde(default, deserialize_with = "pack_ref", skip_serializing_if = "Option::is_none")]
    pub oracle_pack_ref: Option<OraclePackRef>,
}

/// Where the world is and what it is called, as far as SR says: closed, and never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OraclePackRef {
    /// The sealed pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle_pack_id: Option<Hex64>,
    /// Its manifest.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub manifest_ref: Option<String>,
    /// The engine run root, path or URI.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub engine_run_root: Option<String>,
    /// The scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario_id: Option<ScenarioId>,
    /// Where the stream views lie, path or URI.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub stream_view_root: Option<String>,
    /// Where single stream views lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_view_output_refs: Option<BTreeMap<OutputId, String>>,
    /// What relative roots are joined to.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub oracle_root: Option<String>,
    /// The engine's release.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub engine_release: Option<String>,
}

/// For `#[serde(default, deserialize_with)]`: an [`OraclePackRef`] that names something, or nothing.
pub(crate) fn pack_ref<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OraclePackRef>, D::Error> {
    match strict::optional_object(deserializer)? {
        Some(pack) if pack == OraclePackRef::default() => {
            Err(serde::de::Error::custom("oracle_pack_ref has to name something"))
        }
        pack => Ok(pack),
    }
}

/// What tells whose message it is, before anything else of it is held against READY's shape.
#[derive(Deserialize)]
struct Addressed {
    topic: String,
    attributes: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "topic")]
    _topic: String,
    message_id: Hex64,
    #[serde(default, deserialize_with = "instant")]
    published_at_utc: Option<Micros>,
    #[serde(rename = "attributes")]
    _attributes: Option<Map<String, Value>>,
    #[serde(rename = "partition_key")]
    _partition_key: Option<String>,
    #[serde(deserialize_with = "strict::object")]
    payload: Payload,
}

/// Reads one message that came over `topic`.
///
/// A message of another topic, or with an `attributes.kind` other than `READY`, is passed over whatever else it
/// holds, as long as it is bounded, strict JSON.
///
/// # Errors
///
/// [`MessageError`] for what is no such JSON, and for a READY that is not the closed object of the contract.
pub fn parse(bytes: &[u8], topic: &str) -> Result<Parsed, MessageError> {
    let limits = Limits::bytes(MAX_BYTES);
    let addressed: Addressed = strict::parse(bytes, limits)?;
    let kind = addressed.attributes.as_ref().and_then(|attributes| attributes.get("kind"));
    let other = |why| {
        let kind = kind.map(|kind| kind.as_str().map_or_else(|| kind.to_string(), str::to_owned));
        Parsed::Other { topic: brief(&addressed.topic), kind: kind.as_deref().map(brief), why }
    };
    if addressed.topic != topic {
        return Ok(other("it is on another topic"));
    }
    if kind.is_some_and(|kind| kind.as_str() != Some("READY")) {
        return Ok(other("it is of another kind"));
    }
    let Envelope { message_id, published_at_utc, payload, .. } = strict::parse(bytes, limits)?;
    if message_id != payload.message_id {
        return Err(MessageError::MessageIdMismatch { envelope: message_id, payload: payload.message_id });
    }
    Ok(Parsed::Ready(Box::new(Ready { published_at: published_at_utc, payload })))
}

fn brief(text: &str) -> String {
    strict::excerpt(text, 80).into_owned()
}

/// A text of 1 to 1,024 characters, none of them a control character: a reference, a name, a release.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(serde::de::Error::custom("not a text of 1 to 1024 printable characters"));
        }
        Ok(Self(text))
    }
}

/// For `#[serde(deserialize_with)]`: 1 to 1,024 printable characters.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0)
}

/// For `#[serde(default, deserialize_with)]`: 1 to 1,024 printable characters, or nothing.
pub(crate) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
}

/// Every form that event times have; the envelope is the bus's, and the contract leaves its form open.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Micros>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    Micros::parse(text.as_bytes()).map(Some).ok_or_else(|| serde::de::Error::custom("not a time"))
}

/// A time in the canonical form, which both readers below take.
#[expect(clippy::ref_option, reason = "serde calls it with this type")]
fn time_text<S: Serializer>(at: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// RFC 3339 proper: `T` and an offset are there.
fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Micros>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let bytes = text.as_bytes();
    let has_offset = bytes.last().is_some_and(|last| matches!(last, b'Z' | b'z'))
        || bytes.len().checked_sub(6).is_some_and(|at| at >= 19 && matches!(bytes[at], b'+' | b'-'));
    let has_t = bytes.get(10).is_some_and(|t| matches!(t, b'T' | b't'));
    Micros::parse(bytes)
        .filter(|_| has_offset && has_t)
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("not a time as RFC 3339 has it"))
}

#[cfg(test)]
mod tests;

//! What a run sets out to do: the content of `wsp_start.json`, and of the first half of `wsp_summary.json`.
//!
//! ```text
//! Start    checks, outputs, where they resume, how it delivers, its limits, the starts before it
//! ```
//!
//! The JSON Schema is `docs/schema/wsp_start.v3.schema.json`; a key more is a version more. The report and `wsp verify` read the
//! type back, in the version before too.

use serde::{Deserialize, Serialize};

use super::digest::ToldDigest;
use super::utc;
use crate::model::{Check, Hex32, Hex64, Lane, Micros, OutputId, PlatformRunId, ScenarioId, TopicPlace, WorldKey};

/// The version of `wsp_start.json`.
pub const START_SCHEMA: &str = "wsp_start.v3";
/// The version of `wsp_start.json` before, which is read as well.
pub const START_SCHEMA_BEFORE: &str = "wsp_start.v2";

/// Where READY came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySource {
    /// The control topic.
    pub topic: String,
    /// Its partition or shard; none for a file.
    pub partition: Option<TopicPlace>,
    /// Its offset or sequence number there; none for a file.
    pub offset: Option<TopicPlace>,
}

/// Who streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// The `producer` of its events.
    pub producer_id: String,
    /// The profile it runs on.
    pub profile_id: String,
    /// The release, as it is configured.
    pub service_release_id: String,
    /// Where it runs, as it is configured.
    pub environment: String,
    /// The version of this program.
    pub version: String,
}

/// Limits that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Events over all outputs.
    pub max_events: Option<u64>,
    /// Events of each output.
    pub max_events_per_output: Option<u64>,
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIds {
    /// The READY; none where a person started the run without one.
    pub message_id: Option<Hex64>,
    /// SR's run; none likewise.
    pub run_id: Option<Hex32>,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// SR's scenario run.
    pub scenario_run_id: Hex32,
    /// The world's scenario.
    pub scenario_id: ScenarioId,
    /// The world as it was resolved.
    pub engine_run_root: String,
    /// Where its stream views are.
    pub stream_view_root: String,
    /// The world's identity.
    pub world_key: WorldKey,
    /// The engine's own run.
    pub engine_run_id: Hex32,
    /// The world as envelopes and the checkpoint's scope name it: its pack's id, else the sha256 of its root.
    pub pack_key: Hex64,
    /// The checkpoint's scope.
    pub checkpoint_scope: Hex64,
    /// The share of the run that this is about; absent where it is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
}

/// How events are delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliverySettings {
    /// `strict`, `keyed` or `free`.
    pub mode: String,
    /// Requests at a time.
    pub in_flight: u32,
    /// Event seconds a second; 0 is without pacing.
    pub speedup: f64,
    /// Events a second at most, over the whole run; none is without a limit.
    pub rate: Option<f64>,
    /// Events that sending may be ahead of the durable checkpoint.
    pub window: u64,
}

/// One output before the first event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOutput {
    /// The output.
    pub output_id: OutputId,
    /// Files of its view.
    pub files: u64,
    /// Rows of its view.
    pub rows: u64,
    /// Event time of the view's first row, as its receipt has it.
    pub view_first_ts_utc: Option<String>,
    /// Event time of the view's last row.
    pub view_last_ts_utc: Option<String>,
    /// What identifies the view's content: see [`OutputFiles::content`](crate::checkpoint::OutputFiles::content).
    pub content: Hex64,
    /// Rows of its view before the place where this start resumes: with lanes, those of others are among them.
    pub resumed_at: u64,
    /// The row that the cursor stood at; none where the output had no cursor.
    pub resumed_after: Option<ResumedAfter>,
}

/// The row that an output's cursor stood at when a start resumed, as the view has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedAfter {
    /// Its event time.
    pub ts_utc: String,
    /// Its event id.
    pub event_id: Hex64,
    /// The checkpoint held this event id too. Where not, another producer or a person had moved the cursor.
    pub kept: bool,
}

/// What a run sets out to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The version, [`START_SCHEMA`].
    pub schema: String,
    /// Where READY came from; none where the run was started without one.
    pub ready: Option<ReadySource>,
    /// Which run it is.
    #[serde(flatten)]
    pub run: RunIds,
    /// Who streams it.
    pub producer: Producer,
    /// How it delivers.
    pub delivery: DeliverySettings,
    /// How far it shall go.
    pub limits: Limits,
    /// Its outputs in the order of ranks.
    pub outputs: Vec<StartOutput>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// The starts that answered what lies before the places where this one resumes, oldest first.
    pub earlier: Vec<EarlierStart>,
    /// When it started.
    #[serde(rename = "started_at_utc", with = "utc")]
    pub started: Micros,
}

/// A start before this one, as far as this one builds on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierStart {
    /// When it started.
    #[serde(rename = "started_at_utc", with = "utc")]
    pub started: Micros,
    /// Its outputs in the order of ranks.
    pub outputs: Vec<EarlierOutput>,
}

/// One output of an earlier start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierOutput {
    /// The output before that start's first event.
    #[serde(flatten)]
    pub start: StartOutput,
    /// See [`OutputSummary::event_id_digest`](super::OutputSummary::event_id_digest); none where that start left no summary: it was cut off.
    pub event_id_digest: Option<Hex64>,
    /// Events that the digest covers.
    pub event_id_digest_events: Option<u64>,
    /// Rows of the view before the first one that counts; absent in the version before.
    #[serde(default)]
    pub event_id_digest_from: Option<u64>,
}

impl EarlierOutput {
    /// What it says of its events; nothing where that start was cut off.
    #[must_use]
    pub fn told(&self) -> Option<ToldDigest> {
        let (digest, events) = (self.event_id_digest.clone()?, self.event_id_digest_events?);
        Some(ToldDigest::new(digest, events, self.event_id_digest_from, self.start.resumed_at))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::model::Verdict;

    /// A start of a run of two outputs.
    pub(crate) fn start() -> Start {
        let hex = |text: &str| Hex64::sha256(text);
        let output = |name: &str, resumed_at| StartOutput {
            output_id: name.parse().unwrap(),
            files: 2,
            rows: 50,
            view_first_ts_utc: Some(Micros(0).to_string()),
            view_last_ts_utc: None,
            content: hex(name),
            resumed_at,
            resumed_after: None,
        };
        Start {
            schema: START_SCHEMA.to_owned(),
            ready: Some(ReadySource { topic: "fp.bus.control.v1".to_owned(), partition: None, offset: None }),
            run: RunIds {
                message_id: Some(hex("message")),
                run_id: Some("0".repeat(32).parse().unwrap()),
                platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
                scenario_run_id: "1".repeat(32).parse().unwrap(),
                scenario_id: "baseline_v1".parse().unwrap(),
                engine_run_root: "world".to_owned(),
                stream_view_root: "world/stream_view/ts_utc".to_owned(),
                world_key: WorldKey {
                    manifest_fingerprint: hex("fingerprint"),
                    parameter_hash: hex("parameters"),
                    scenario_id: "baseline_v1".parse().unwrap(),
                    seed: u64::MAX,
                },
                engine_run_id: "2".repeat(32).parse().unwrap(),
                pack_key: hex("pack"),
                checkpoint_scope: hex("scope"),
                lane: None,
            },
            producer: Producer {
                producer_id: "svc:world_stream_producer".to_owned(),
                profile_id: "local".to_owned(),
                service_release_id: "dev-local".to_owned(),
                environment: "unknown".to_owned(),
                version: "0.1.0".to_owned(),
            },
            limits: Limits { max_events: None, max_events_per_output: Some(7) },
            delivery: DeliverySettings {
                mode: "keyed".to_owned(),
                in_flight: 8,
                speedup: 600.0,
                rate: None,
                window: 1024,
            },
            outputs: vec![output("context", 50), output("traffic", 48)],
            checks: vec![Check { name: "seal".to_owned(), verdict: Verdict::Passed, detail: "SEALED_OK".to_owned() }],
            earlier: Vec::new(),
            started: Micros(0),
        }
    }
}

//! What a run set out to do, and how it ended: the content of `wsp_start.json` and `wsp_summary.json`.
//!
//! ```text
//! Start    checks, outputs, where they resume, how it delivers, its limits, the starts before it
//! Summary  all that, and counts, times, digests, the end, and the run over time
//! ```
//!
//! The JSON Schemas are `docs/schema/wsp_start.v3.schema.json` and `wsp_summary.v4.schema.json`; a key more is a
//! version more. The types are read back by the report and by `wsp verify`, those of the version before too: it differs in
//! its digests alone ([`ToldDigest`]).

use serde::{Deserialize, Serialize};
use wsp::deliver::{Bottleneck, PushCounts};

use super::earlier::EarlierStart;
use super::merged::LanesSummary;
use super::record::Status;
use super::series::RunSeries;
use super::tally::{Counts, OutputTally, Spread, Tally};
use super::utc;
use crate::model::{
    Check, Digested, EventDigest, Hex32, Hex64, Lane, Micros, OutputId, PlatformRunId, Reason, Refusal, ScenarioId,
    TopicPlace, WorldKey,
};

/// The version of `wsp_start.json`.
pub const START_SCHEMA: &str = "wsp_start.v3";
/// The version of `wsp_start.json` before, which is read as well.
pub const START_SCHEMA_BEFORE: &str = "wsp_start.v2";
/// The version of `wsp_summary.json`.
pub const SUMMARY_SCHEMA: &str = "wsp_summary.v4";
/// The version of `wsp_summary.json` before, which is read as well.
pub const SUMMARY_SCHEMA_BEFORE: &str = "wsp_summary.v3";

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

/// Where a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At the last event of every output.
    Complete,
    /// At a limit on events that the command or the environment set.
    Capped,
    /// At a request to stop.
    Stopped,
    /// At a refusal.
    Failed,
}

/// One output after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSummary {
    /// The output before the first event.
    #[serde(flatten)]
    pub start: StartOutput,
    /// What IG answered.
    #[serde(flatten)]
    pub counts: Counts,
    /// Event time of the earliest answered event.
    pub first_ts_utc: Option<String>,
    /// Event time of the latest one.
    pub last_ts_utc: Option<String>,
    /// Of the answered events without a hole: see [`ToldDigest`].
    pub event_id_digest: Hex64,
    /// Events that the digest covers.
    pub event_id_digest_events: u64,
    /// Rows of the view before the first one that counts; absent in the version before, whose digests count from
    /// `resumed_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id_digest_from: Option<u64>,
}

impl OutputSummary {
    fn new(start: StartOutput, tally: &OutputTally, digested: Digested) -> Self {
        let (first, last) = tally.times().unzip();
        Self {
            start,
            counts: tally.counts(),
            first_ts_utc: first.map(|ts| ts.to_string()),
            last_ts_utc: last.map(|ts| ts.to_string()),
            event_id_digest: digested.digest.to_hex(),
            event_id_digest_events: digested.events,
            event_id_digest_from: Some(digested.from),
        }
    }

    /// What it says of its events.
    #[must_use]
    pub fn told(&self) -> ToldDigest {
        let (digest, events) = (self.event_id_digest.clone(), self.event_id_digest_events);
        ToldDigest::new(digest, events, self.event_id_digest_from, self.start.resumed_at)
    }
}

/// What evidence says of the answered events of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldDigest {
    /// Rows of the view before the first one that counts.
    pub from: u64,
    /// How many events it covers.
    pub events: u64,
    /// The digest.
    pub digest: Hex64,
    /// How it was made.
    pub kind: DigestKind,
}

/// How evidence digests event ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestKind {
    /// sha256 over the ids in the view's order, from the row on where a start resumed: the version before.
    Chain,
    /// [`EventDigest`].
    Sum,
}

impl ToldDigest {
    /// `from` is absent in the version before.
    pub(super) fn new(digest: Hex64, events: u64, from: Option<u64>, resumed_at: u64) -> Self {
        let kind = if from.is_some() { DigestKind::Sum } else { DigestKind::Chain };
        Self { from: from.unwrap_or(resumed_at), events, digest, kind }
    }

    /// Rows of the view up to the last one that counts, where the run is not parted into lanes.
    #[must_use]
    pub fn reaches(&self) -> u64 {
        self.from.saturating_add(self.events)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version, [`SUMMARY_SCHEMA`].
    pub schema: String,
    /// Where READY came from; none where the run was started without one.
    pub ready: Option<ReadySource>,
    /// Which run it is.
    #[serde(flatten)]
    pub run: RunIds,
    /// Who streamed it.
    pub producer: Producer,
    /// How it delivered.
    pub delivery: DeliverySettings,
    /// How far it was to go.
    pub limits: Limits,
    /// What was checked.
    pub checks: Vec<Check>,
    /// The verdict.
    pub status: Status,
    /// Where it ended.
    pub end: End,
    /// Why, unless it streamed.
    pub reason: Option<Reason>,
    /// The refusal in words.
    pub refusal: Option<String>,
    /// Events that ended without a decision: those that the run was refused for.
    pub failures: u64,
    /// Its outputs in the order of ranks.
    pub outputs: Vec<OutputSummary>,
    /// Over all outputs.
    pub totals: Counts,
    /// Every attempt of this start, those of events that were never answered too.
    pub pushes: PushCounts,
    /// The order key that bounded this start, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
    /// Events that IG has from this start.
    pub emitted: u64,
    /// The sum of those of the outputs; in the version before, the sha256 over them as hex text, by rank.
    pub event_id_digest: Hex64,
    /// From an event's first attempt to its answer.
    pub latency: Spread,
    /// From when an event was due to its first attempt.
    pub lag: Spread,
    /// All of it over time.
    pub series: RunSeries,
    /// The lanes, where workers shared the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LanesSummary>,
    /// When it started.
    #[serde(rename = "started_at_utc", with = "utc")]
    pub started: Micros,
    /// When it ended.
    #[serde(rename = "ended_at_utc", with = "utc")]
    pub ended: Micros,
}

impl Summary {
    /// The summary of what set out as `start` and was answered as `tally`.
    #[must_use]
    pub fn new(
        start: Start,
        tally: &Tally,
        pushes: PushCounts,
        status: Status,
        end: End,
        refusal: Option<&Refusal>,
        ended: Micros,
    ) -> Self {
        let failed_push = |refusal: &Refusal| {
            use Reason::{IgPayloadMismatch, IgPushRejected, IgPushRetryExhausted};
            matches!(refusal.reason, IgPushRejected | IgPushRetryExhausted | IgPayloadMismatch)
        };
        let Start { schema: _, ready, run, producer, delivery, limits, outputs, checks, earlier: _, started } = start;
        let digested = |rank: usize, start: &StartOutput| {
            tally.digests().of(rank).unwrap_or_else(|| Digested::none_from(start.resumed_at))
        };
        let outputs = outputs.into_iter().zip(tally.outputs()).enumerate().map(|(rank, (start, tally))| {
            let digested = digested(rank, &start);
            OutputSummary::new(start, tally, digested)
        });
        let outputs: Vec<OutputSummary> = outputs.collect();
        let digest: EventDigest = outputs.iter().map(|output| output.event_id_digest.clone().into()).sum();
        Self {
            outputs,
            schema: SUMMARY_SCHEMA.to_owned(),
            ready,
            run,
            producer,
            delivery,
            limits,
            checks,
            status,
            end,
            reason: refusal.map(|refusal| refusal.reason),
            refusal: refusal.map(ToString::to_string),
            failures: u64::from(refusal.is_some_and(failed_push)),
            totals: tally.totals(),
            pushes,
            bottleneck: None,
            emitted: tally.totals().emitted(),
            event_id_digest: digest.to_hex(),
            latency: tally.latency(),
            lag: tally.lag(),
            series: tally.series(),
            lanes: None,
            started,
            ended,
        }
    }

    /// The same, with the order key that bounded it.
    #[must_use]
    pub fn bounded_by(self, bottleneck: Option<Bottleneck>) -> Self {
        Self { bottleneck, ..self }
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

#[cfg(test)]
mod tests {
    use super::testing::start;
    use super::*;
    use crate::evidence::Summaries;
    use crate::model::{Decision, Delivered, Position};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;
    use wsp::store::MemoryStore;

    async fn written(summary: &Summary) -> Value {
        let store = MemoryStore::new("s3://bucket");
        let summaries = Summaries::new(Arc::new(store.clone()), &summary.run.platform_run_id).unwrap();
        summaries.put_start(&start()).await.unwrap();
        let name = summaries.put_summary(summary).await.unwrap();
        assert_eq!(summaries.start().await.unwrap().as_ref(), Some(&start()), "what is written reads back");
        assert_eq!(summaries.summary().await.unwrap().as_ref(), Some(summary));
        assert_eq!(name, "s3://bucket/platform_20260101T000000Z/wsp/wsp_summary.json");
        let contents = store.contents();
        assert!(contents.contains_key("platform_20260101T000000Z/wsp/wsp_start.json"));
        let text = &contents["platform_20260101T000000Z/wsp/wsp_summary.json"];
        assert!(text.starts_with(b"{\"checkpoint_scope\":\"") && text.ends_with(b"}\n"));
        serde_json::from_slice(text).unwrap()
    }

    #[tokio::test]
    async fn a_failed_run_says_how_far_it_got() {
        let mut tally = Tally::new(2).unwrap();
        tally.count(
            &Delivered {
                position: Position { rank: 1, file: 1, row: 23, seq: 0 },
                ts: Micros(1),
                event_id: [7; 32],
                decision: Decision::Admit,
                attempts: 2,
                ambiguous: false,
                latency: Duration::from_millis(3),
                lag: Duration::ZERO,
            },
            Duration::ZERO,
        );
        let digested = Digested { from: 3, events: 1, digest: EventDigest::of(&[7; 32], 48) };
        tally.digests().set(vec![Digested::none_from(50), digested]);
        let refusal = Refusal::new(Reason::IgPushRejected, "status 413");
        let summary = Summary::new(
            start(),
            &tally,
            PushCounts::default(),
            Status::Failed,
            End::Failed,
            Some(&refusal),
            Micros(5),
        );
        let value = written(&summary).await;
        assert_eq!((&value["status"], &value["end"]), (&json!("FAILED"), &json!("failed")));
        assert_eq!(value["refusal"], "IG_PUSH_REJECTED: status 413");
        assert_eq!((&value["emitted"], &value["failures"]), (&json!(1), &json!(1)));
        assert_eq!((&value["totals"]["attempts"], &value["totals"]["retries"]), (&json!(2), &json!(1)));
        let traffic = &value["outputs"][1];
        assert_eq!(
            (&traffic["rows"], &traffic["resumed_at"], &traffic["admitted"]),
            (&json!(50), &json!(48), &json!(1))
        );
        assert_eq!(traffic["last_ts_utc"], "1970-01-01T00:00:00.000001Z");
        let of_event = EventDigest::of(&[7; 32], 48).to_hex();
        assert_eq!((&traffic["event_id_digest"], &traffic["event_id_digest_from"]), (&json!(of_event), &json!(3)));
        assert_eq!(
            value["outputs"][0]["event_id_digest_from"], 50,
            "nobody digested it: it begins where the start resumed"
        );
        assert_eq!(value["event_id_digest"], json!(of_event), "the sum over the outputs");
        assert!(value["outputs"][0]["first_ts_utc"].is_null() && value["ready"]["offset"].is_null());
        assert_eq!(value["world_key"]["seed"], u64::MAX);
    }

    /// The version before has no row to count from: its digests are chains from where the start resumed.
    #[test]
    fn documents_of_the_version_before_are_read() {
        let summary = Summary::new(
            start(),
            &Tally::new(2).unwrap(),
            PushCounts::default(),
            Status::Streamed,
            End::Complete,
            None,
            Micros(5),
        );
        let mut value = serde_json::to_value(&summary).unwrap();
        value["schema"] = json!(SUMMARY_SCHEMA_BEFORE);
        for output in value["outputs"].as_array_mut().unwrap() {
            output.as_object_mut().unwrap().remove("event_id_digest_from").unwrap();
        }
        let before: Summary = serde_json::from_value(value).unwrap();
        let kinds =
            |summary: &Summary| summary.outputs.iter().map(|o| (o.told().kind, o.told().from)).collect::<Vec<_>>();
        assert_eq!(kinds(&before), [(DigestKind::Chain, 50), (DigestKind::Chain, 48)]);
        assert_eq!(kinds(&summary), [(DigestKind::Sum, 50), (DigestKind::Sum, 48)]);
    }

    #[tokio::test]
    async fn stop_and_cap_are_told_apart() {
        let tally = Tally::new(2).unwrap();
        let mut ends = Vec::new();
        for end in [End::Stopped, End::Capped, End::Complete] {
            let summary = Summary::new(start(), &tally, PushCounts::default(), Status::Failed, end, None, Micros(5));
            ends.push(written(&summary).await["end"].as_str().unwrap().to_owned());
        }
        assert_eq!(ends, ["stopped", "capped", "complete"]);
    }
}

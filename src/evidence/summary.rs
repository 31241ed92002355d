//! The two objects that the run book asks for: what a run set out to do, and how it ended.
//!
//! ```text
//! <prefix>/wsp/wsp_start.json      checks, outputs, where they resume, how it delivers
//! <prefix>/wsp/wsp_summary.json    all that, and counts, times, digests, the end
//! ```
//!
//! Both tell of the platform run's last start; records and facts keep the earlier ones. Each lane of a run that is
//! spread over several has its own two, `wsp_start.<lane>.json` and `wsp_summary.<lane>.json`.

use std::sync::Arc;

use serde::Serialize;

use super::record::Status;
use super::tally::{Counts, OutputTally, Spread, Tally};
use super::{key, run_prefix, unavailable};
use crate::deliver::PushCounts;
use crate::model::{
    Check, Hex32, Hex64, Lane, Micros, OutputId, PlatformRunId, Reason, Refusal, ScenarioId, WorldKey, json,
};
use crate::store::{Key, ObjectStore};

/// Where READY came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadySource {
    /// The control topic.
    pub topic: String,
    /// Its partition; none for a file.
    pub partition: Option<i32>,
    /// Its offset there; none for a file.
    pub offset: Option<i64>,
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunIds {
    /// The READY.
    pub message_id: Hex64,
    /// SR's run.
    pub run_id: Hex32,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// SR's scenario run.
    pub scenario_run_id: Hex32,
    /// The world's scenario.
    pub scenario_id: ScenarioId,
    /// The world as it was resolved.
    pub engine_run_root: String,
    /// The world's identity.
    pub world_key: WorldKey,
    /// The engine's own run.
    pub engine_run_id: Hex32,
    /// The checkpoint's scope.
    pub checkpoint_scope: Hex64,
    /// The share of the run that this is about; absent where it is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
}

/// How events are delivered.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartOutput {
    /// The output.
    pub output_id: OutputId,
    /// Files of its view.
    pub files: u64,
    /// Rows of its view.
    pub rows: u64,
    /// Rows of its view before the place where this start resumes: with lanes, those of others are among them.
    pub resumed_at: u64,
}

/// What a run sets out to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Start {
    /// Where READY came from.
    pub ready: ReadySource,
    /// Which run it is.
    #[serde(flatten)]
    pub run: RunIds,
    /// How it delivers.
    pub delivery: DeliverySettings,
    /// Its outputs in the order of ranks.
    pub outputs: Vec<StartOutput>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// When it started.
    #[serde(rename = "started_at_utc", serialize_with = "as_text")]
    pub started: Micros,
}

/// Where a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// See [`OutputTally::digest`].
    pub event_id_digest: Hex64,
    /// Events that the digest covers.
    pub event_id_digest_events: u64,
}

impl OutputSummary {
    fn new(start: StartOutput, tally: &OutputTally) -> Self {
        let (first, last) = tally.times().unzip();
        Self {
            start,
            counts: tally.counts(),
            first_ts_utc: first.map(|ts| ts.to_string()),
            last_ts_utc: last.map(|ts| ts.to_string()),
            event_id_digest: tally.digest(),
            event_id_digest_events: tally.digested(),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Where READY came from.
    pub ready: ReadySource,
    /// Which run it is.
    #[serde(flatten)]
    pub run: RunIds,
    /// How it delivered.
    pub delivery: DeliverySettings,
    /// What was checked.
    pub checks: Vec<Check>,
    /// The verdict.
    #[serde(serialize_with = "as_text")]
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
    /// Events that IG has from this start.
    pub emitted: u64,
    /// See [`Tally::digest`].
    pub event_id_digest: Hex64,
    /// From an event's first attempt to its answer.
    pub latency: Spread,
    /// From when an event was due to its first attempt.
    pub lag: Spread,
    /// When it started.
    #[serde(rename = "started_at_utc", serialize_with = "as_text")]
    pub started: Micros,
    /// When it ended.
    #[serde(rename = "ended_at_utc", serialize_with = "as_text")]
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
        let Start { ready, run, delivery, outputs, checks, started } = start;
        let outputs = outputs.into_iter().zip(tally.outputs());
        Self {
            outputs: outputs.map(|(start, tally)| OutputSummary::new(start, tally)).collect(),
            ready,
            run,
            delivery,
            checks,
            status,
            end,
            reason: refusal.map(|refusal| refusal.reason),
            refusal: refusal.map(ToString::to_string),
            failures: u64::from(refusal.is_some_and(failed_push)),
            totals: tally.totals(),
            pushes,
            emitted: tally.totals().emitted(),
            event_id_digest: tally.digest(),
            latency: tally.latency(),
            lag: tally.lag(),
            started,
            ended,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Where the two objects of a platform run are kept.
#[derive(Debug, Clone)]
pub struct Summaries {
    store: Arc<dyn ObjectStore>,
    folder: Key,
}

impl Summaries {
    /// Those of `platform_run_id` in `store`.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, platform_run_id: &PlatformRunId) -> Result<Self, Refusal> {
        let folder = run_prefix(store.root(), platform_run_id)?.join("wsp");
        let folder = folder.map_err(|error| Refusal::new(Reason::InternalError, error.to_string()))?;
        Ok(Self { store, folder })
    }

    /// Writes `wsp_start.json` and says its full name.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn put_start(&self, start: &Start) -> Result<String, Refusal> {
        self.put("wsp_start", start.run.lane, start).await
    }

    /// Writes `wsp_summary.json` and says its full name.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn put_summary(&self, summary: &Summary) -> Result<String, Refusal> {
        self.put("wsp_summary", summary.run.lane, summary).await
    }

    async fn put(&self, name: &str, lane: Option<Lane>, body: &impl Serialize) -> Result<String, Refusal> {
        let lane = lane.and_then(Lane::label).map(|lane| format!(".{lane}")).unwrap_or_default();
        let key = key(&format!("{}/{name}{lane}.json", self.folder))?;
        let value =
            serde_json::to_value(body).map_err(|error| Refusal::new(Reason::InternalError, error.to_string()))?;
        self.store.put(&key, (json::compact(&value) + "\n").into()).await.map_err(unavailable)?;
        Ok(self.store.full_name(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Decision, Delivered, Position, Verdict};
    use crate::store::MemoryStore;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn start() -> Start {
        let hex = |text: &str| Hex64::sha256(text);
        let output =
            |name: &str, resumed_at| StartOutput { output_id: name.parse().unwrap(), files: 2, rows: 50, resumed_at };
        Start {
            ready: ReadySource { topic: "fp.bus.control.v1".to_owned(), partition: None, offset: None },
            run: RunIds {
                message_id: hex("message"),
                run_id: "0".repeat(32).parse().unwrap(),
                platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
                scenario_run_id: "1".repeat(32).parse().unwrap(),
                scenario_id: "baseline_v1".parse().unwrap(),
                engine_run_root: "world".to_owned(),
                world_key: WorldKey {
                    manifest_fingerprint: hex("fingerprint"),
                    parameter_hash: hex("parameters"),
                    scenario_id: "baseline_v1".parse().unwrap(),
                    seed: u64::MAX,
                },
                engine_run_id: "2".repeat(32).parse().unwrap(),
                checkpoint_scope: hex("scope"),
                lane: None,
            },
            delivery: DeliverySettings {
                mode: "keyed".to_owned(),
                in_flight: 8,
                speedup: 600.0,
                rate: None,
                window: 1024,
            },
            outputs: vec![output("context", 50), output("traffic", 48)],
            checks: vec![Check { name: "seal".to_owned(), verdict: Verdict::Passed, detail: "SEALED_OK".to_owned() }],
            started: Micros(0),
        }
    }

    async fn written(summary: &Summary) -> Value {
        let store = MemoryStore::new("s3://bucket");
        let summaries = Summaries::new(Arc::new(store.clone()), &summary.run.platform_run_id).unwrap();
        summaries.put_start(&start()).await.unwrap();
        let name = summaries.put_summary(summary).await.unwrap();
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
        tally.count(&Delivered {
            position: Position { rank: 1, file: 1, row: 23, seq: 0 },
            ts: Micros(1),
            event_id: [7; 32],
            decision: Decision::Admit,
            attempts: 2,
            ambiguous: false,
            latency: Duration::from_millis(3),
            lag: Duration::ZERO,
        });
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
        assert_eq!(traffic["event_id_digest"], Hex64::sha256([7; 32]).as_str());
        assert!(value["outputs"][0]["first_ts_utc"].is_null() && value["ready"]["offset"].is_null());
        assert_eq!(value["world_key"]["seed"], u64::MAX);
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

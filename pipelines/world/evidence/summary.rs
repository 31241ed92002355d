//! How a run ended: the content of `wsp_summary.json`, which has all of `wsp_start.json` ([`Start`]) in it.
//!
//! ```text
//! Summary  Start, and counts, times, digests, the end, and the run over time
//! ```
//!
//! The JSON Schema is `docs/schema/wsp_summary.v4.schema.json`; a key more is a version more. The report and `wsp verify` read
//! the type back, in the version before too: it differs in its digests alone ([`ToldDigest`]).

use serde::{Deserialize, Serialize};
use wsp::deliver::{Bottleneck, PushCounts};

use super::digest::ToldDigest;
use super::lane_note::Takeover;
use super::series::RunSeries;
use super::start::{DeliverySettings, Limits, Producer, ReadySource, RunIds, Start, StartOutput};
use super::status::{End, Status};
use super::tally::{Counts, OutputTally, Spread, Tally};
use super::utc;
use crate::model::{Check, Digested, EventDigest, Hex64, LaneKey, Lanes, Micros, Reason, Refusal};

/// The version of `wsp_summary.json`.
pub const SUMMARY_SCHEMA: &str = "wsp_summary.v4";
/// The version of `wsp_summary.json` before, which is read as well.
pub const SUMMARY_SCHEMA_BEFORE: &str = "wsp_summary.v3";

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

/// The digest of a run: the sum of those of its outputs.
pub(super) fn digest_of(outputs: &[OutputSummary]) -> Hex64 {
    outputs.iter().map(|output| EventDigest::from(output.event_id_digest.clone())).sum::<EventDigest>().to_hex()
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

/// The lanes of a run in its summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanesSummary {
    /// How many.
    pub count: u32,
    /// What decided on an event's lane.
    pub by: LaneKey,
    /// Each of them, by index.
    pub ends: Vec<LaneSummary>,
}

/// One lane in the summary of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSummary {
    /// Which.
    pub index: u32,
    /// Its verdict.
    pub status: Status,
    /// Why, unless it streamed.
    pub reason: Option<Reason>,
    /// Events that IG answered to its last start.
    pub answered: u64,
    /// Events of the lane that are answered, over all its starts, as far as they are known.
    pub events: u64,
    /// Whether its last start resumed what another one had begun.
    pub resumed: bool,
    /// The worker that ended it, where that one held the lane.
    pub worker: Option<String>,
    /// Which of the holds on its checkpoint that worker had.
    pub epoch: Option<u64>,
    /// When that worker took it.
    #[serde(rename = "held_at_utc", with = "utc::optional")]
    pub held: Option<Micros>,
    /// The times that it changed its worker in this attempt at the run; the last ones, where there were very many.
    pub takeovers: Vec<Takeover>,
    /// When it ended.
    #[serde(rename = "ended_at_utc", with = "utc")]
    pub ended: Micros,
}

impl LanesSummary {
    /// The lanes as facts name them.
    #[must_use]
    pub fn lanes(&self) -> Option<Lanes> {
        Some(Lanes { count: self.count.try_into().ok()?, by: self.by })
    }
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
        let event_id_digest = digest_of(&outputs);
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
            event_id_digest,
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
mod tests {
    use super::super::digest::DigestKind;
    use super::super::start::testing::start;
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

//! A run's evidence, read back: what the report shows and `wsp verify` holds together.
//!
//! ```text
//! wsp_start.json ─► message ─► record, deferrals, facts of it ─┐
//! wsp_summary.json ────────────────────────────────────────────┴─► Told
//! ```

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use wsp::store::{Key, ObjectStore};

use super::{
    Deferral, Deferrals, LanesStatus, RecordLine, Records, Start, Summaries, Summary, key, run_prefix, unavailable,
};
use crate::model::{Hex64, Lane, PlatformRunId, Reason, Refusal};

/// What is read of the list of all facts, in bytes.
const LIST_LIMIT: u64 = 64 << 20;
/// What is read of one fact or marker.
const FACT_LIMIT: u64 = 1 << 20;

/// What is told about the last start of a platform run, or of a lane of it.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it set out to do.
    pub start: Start,
    /// How it ended; none while it goes on, or after a crash.
    pub summary: Option<Summary>,
    /// Its READY's verdicts, oldest first.
    pub record: Vec<RecordLine>,
    /// What its READY had to wait for, where it had to.
    pub deferral: Option<Deferral>,
    /// Every line of the list of facts that is about its READY, in the list's order.
    pub facts: Vec<Fact>,
    /// How its lanes stand that workers share, where it has not ended and somebody looked.
    pub under_way: Option<LanesStatus>,
}

/// A governance fact as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fact {
    /// Its id.
    pub event_id: String,
    /// What kind.
    pub event_family: String,
    /// When.
    pub ts_utc: String,
    /// More.
    pub details: Value,
}

impl Fact {
    /// A text of its details; empty where there is none.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.details[field].as_str().unwrap_or_default()
    }
}

impl Told {
    /// Reads what `store` holds about the last start of `home`, or of its `lane`.
    ///
    /// # Errors
    ///
    /// `EVIDENCE_MISSING` where nothing started, `EVIDENCE_UNREADABLE`, or `STORE_UNAVAILABLE`.
    pub async fn read(store: &Arc<dyn ObjectStore>, home: &PlatformRunId, lane: Lane) -> Result<Self, Refusal> {
        let summaries = Summaries::new(store.clone(), home)?.of_lane(lane);
        let missing =
            || Refusal::new(Reason::EvidenceMissing, format!("{home} has no wsp_start.json: no run was started"));
        let start = summaries.start().await?.ok_or_else(missing)?;
        let Some(message_id) = &start.run.message_id else {
            return Err(Refusal::new(Reason::EvidenceUnreadable, format!("wsp_start.json of {home} names no READY")));
        };
        Ok(Self {
            summary: summaries.summary().await?,
            record: Records::new(store.clone(), home)?.of_lane(lane).read(message_id).await?,
            deferral: Deferrals::new(store.clone(), home, lane)?.read(message_id).await?,
            facts: listed(&**store, home, message_id, lane).await?,
            start,
            under_way: None,
        })
    }

    /// The lanes that workers share: as they stand, where the run is under way, else as the summary has them.
    #[must_use]
    pub fn lanes(&self) -> Option<LanesStatus> {
        let of_summary = |summary: &Summary| Some(LanesStatus::of_summary(summary, summary.lanes.as_ref()?));
        self.under_way.clone().or_else(|| self.summary.as_ref().and_then(of_summary))
    }
}

/// The lines about one READY, or about one lane's share of it; lines that are no facts are passed over.
pub(super) async fn listed(
    store: &dyn ObjectStore,
    home: &PlatformRunId,
    message_id: &Hex64,
    lane: Lane,
) -> Result<Vec<Fact>, Refusal> {
    let list = key(&format!("{}/obs/governance/events.jsonl", run_prefix(store.root(), home)?))?;
    let list = store.get(&list, LIST_LIMIT).await.map_err(unavailable)?.unwrap_or_default();
    let facts = list.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Fact>(line).ok());
    let label = lane.label().unwrap_or_default();
    let is_ours = |fact: &Fact| {
        let of_no_lane =
            fact.details["lane"].is_null() && matches!(&*fact.event_family, "RUN_READY_SEEN" | "RUN_CANCELLED");
        fact.text("message_id") == message_id.as_str() && (of_no_lane || fact.text("lane") == label)
    };
    Ok(facts.filter(is_ours).collect())
}

/// The body and the marker of a fact, as far as they are there.
pub(super) async fn parts_of(
    store: &dyn ObjectStore,
    home: &PlatformRunId,
    event_id: &str,
) -> Result<(Option<Fact>, bool), Refusal> {
    let folder = format!("{}/obs/governance", run_prefix(store.root(), home)?);
    let object = |kind: &str| key(&format!("{folder}/{kind}/{event_id}.json"));
    let read = async |key: Key| store.get(&key, FACT_LIMIT).await.map_err(unavailable);
    let body = read(object("events")?).await?.and_then(|body| serde_json::from_slice(&body).ok());
    Ok((body, read(object("markers")?).await?.is_some()))
}

//! The record of a READY: one line a verdict, kept under its `message_id`.
//!
//! ```text
//! whole run ──verdict──────────────────────────────► ready_runs/<message_id>.jsonl
//! lane ──verdict──► ready_lanes/<message_id>.<lane>.jsonl       ▲
//!           ├─ FAILED, SKIPPED_OUT_OF_SCOPE ────────────────────┤
//!           └─ STREAMED, as every other lane is: the sum of all ┘
//! ```
//!
//! Others read `ready_runs`, where they look for a READY's last verdict or for what was emitted under it. So that folder
//! speaks of whole runs alone, and each lane of a run that is spread over several has a record of its own beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wsp::store::{Key, ObjectStore};

use super::start::Limits;
use super::status::{End, Status};
use super::{key, run_prefix, unavailable, utc};
use crate::model::{Hex32, Hex64, Lane, Micros, PlatformRunId, Reason, Refusal, ScenarioId, json};

/// Reasons of a wait that an answer lists.
const REASONS: usize = 4;
/// What a record may hold at most, in bytes: some 40,000 verdicts.
const LIMIT: u64 = 16 << 20;

/// A verdict, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The READY.
    pub message_id: Hex64,
    /// SR's run.
    pub run_id: Hex32,
    /// What became of it.
    pub status: Status,
    /// Why, unless it streamed.
    pub reason: Option<Reason>,
    /// Events that IG answered with ADMIT or DUPLICATE, whatever the status.
    pub emitted: u64,
    /// The world, as far as it was resolved.
    pub engine_run_root: Option<String>,
    /// The scenario, as far as it is known.
    pub scenario_id: Option<ScenarioId>,
    /// What it waits for, each as `REASON:detail` (contract, section 9); empty unless required packs are not up.
    #[serde(default)]
    pub waits_for: Vec<String>,
    /// What its fact says about an end that was not simply the last event; the record has no place for it.
    pub ending: Option<Ending>,
    /// When.
    #[serde(with = "utc")]
    pub ts: Micros,
}

/// How a start ended that was not the whole run: it ended before the last event, or began behind the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Where.
    pub end: End,
    /// The limits it ran under.
    pub limits: Limits,
    /// Events that IG has from this start, by output.
    pub emitted_by_output: BTreeMap<String, u64>,
    /// Rows that were delivered before it, all outputs together; told where there are any.
    #[serde(default)]
    pub resumed_rows: u64,
}

impl Verdict {
    /// The line, with its newline, as it stands in the record. Where required packs are not up its reason is the first
    /// four of what is missing.
    #[must_use]
    pub fn line(&self) -> String {
        let reason = reason_words(self.reason, &self.waits_for);
        let line = json!({
            "message_id": self.message_id,
            "run_id": self.run_id,
            "status": self.status.as_str(),
            "reason": reason,
            "emitted": self.emitted,
            "engine_run_root": self.engine_run_root,
            "scenario_id": self.scenario_id,
            "ts_utc": self.ts.offset_text(),
        });
        json::compact(&line) + "\n"
    }
}

/// A reason as it is answered: the first of what is waited for, else the code.
#[must_use]
pub fn reason_words(reason: Option<Reason>, waits_for: &[String]) -> Value {
    match waits_for {
        [] => json!(reason),
        waits_for => waits_for[..waits_for.len().min(REASONS)].join(";").into(),
    }
}

/// A verdict read back. Lines of other producers may hold less, and other words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecordLine {
    /// The status as it stands there.
    pub status: String,
    /// SR's run.
    #[serde(default)]
    pub run_id: Option<String>,
    /// The reason as it stands there.
    #[serde(default)]
    pub reason: Option<String>,
    /// Events emitted.
    #[serde(default)]
    pub emitted: Option<u64>,
    /// When, as it stands there.
    #[serde(default)]
    pub ts_utc: Option<String>,
}

impl RecordLine {
    /// Whether it is this very verdict.
    #[must_use]
    pub fn tells(&self, verdict: &Verdict) -> bool {
        self.is(verdict.status) && self.ts_utc.as_deref() == Some(&verdict.ts.offset_text())
    }

    /// Whether it holds this status.
    #[must_use]
    pub fn is(&self, status: Status) -> bool {
        self.status == status.as_str()
    }

    /// The status, where it is one that stands.
    fn standing(&self) -> Option<Status> {
        [Status::Streamed, Status::SkippedOutOfScope].into_iter().find(|status| self.is(*status))
    }

    /// Whether it is a refusal of a start that sent nothing.
    #[must_use]
    pub fn sent_nothing(&self) -> bool {
        self.is(Status::Failed) && self.emitted.unwrap_or(0) == 0
    }
}

/// The records of one platform run.
#[derive(Debug, Clone)]
pub struct Records {
    store: Arc<dyn ObjectStore>,
    /// Of whole runs.
    folder: Key,
    /// Of lanes.
    lanes: Key,
    lane: Lane,
}

/// A message whose record says that its run was streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed {
    /// The message.
    pub message_id: Hex64,
    /// SR's run, where it stands there.
    pub run_id: Option<String>,
    /// How much of the run that record is about: our lane, or all of it.
    pub lane: Lane,
}

impl Records {
    /// The records of `platform_run_id` in `store`.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, platform_run_id: &PlatformRunId) -> Result<Self, Refusal> {
        let prefix = run_prefix(store.root(), platform_run_id)?;
        let folder = |name: &str| key(&format!("{prefix}/wsp/{name}"));
        Ok(Self { folder: folder("ready_runs")?, lanes: folder("ready_lanes")?, store, lane: Lane::WHOLE })
    }

    /// Those of one lane, so that one lane's verdict ends no other's.
    #[must_use]
    pub fn of_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// The full name of a message's record.
    ///
    /// # Errors
    ///
    /// None in practice: a message id is always a name.
    pub fn name(&self, message_id: &Hex64) -> Result<String, Refusal> {
        Ok(self.store.full_name(&self.key(message_id, self.lane)?))
    }

    fn key(&self, message_id: &Hex64, lane: Lane) -> Result<Key, Refusal> {
        key(&format!("{}/{message_id}{}", self.folder_of(lane), suffix(lane)))
    }

    fn folder_of(&self, lane: Lane) -> &Key {
        if lane.is_whole() { &self.folder } else { &self.lanes }
    }

    /// Whose verdicts are ours too: what became of the whole run became of each lane.
    fn covering(&self) -> impl Iterator<Item = Lane> + use<> {
        std::iter::once(self.lane).chain((!self.lane.is_whole()).then_some(Lane::WHOLE))
    }

    /// A message's verdicts so far, oldest first. Lines that are no verdict, such as one that a crash left half,
    /// are passed over.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn read(&self, message_id: &Hex64) -> Result<Vec<RecordLine>, Refusal> {
        self.read_of(message_id, self.lane).await
    }

    async fn read_of<T: DeserializeOwned>(&self, message_id: &Hex64, lane: Lane) -> Result<Vec<T>, Refusal> {
        let key = self.key(message_id, lane)?;
        let bytes = self.store.get(&key, LIMIT).await.map_err(unavailable)?.unwrap_or_default();
        let mut lines = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(verdict) => lines.push(verdict),
                Err(error) => tracing::warn!(record = %self.store.full_name(&key), %error, "not a verdict"),
            }
        }
        Ok(lines)
    }

    /// The verdict of the message that stands, for this lane or for the whole run: STREAMED or `SKIPPED_OUT_OF_SCOPE`. A
    /// message that has one is a duplicate.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn standing(&self, message_id: &Hex64) -> Result<Option<Status>, Refusal> {
        for lane in self.covering() {
            let lines: Vec<RecordLine> = self.read_of(message_id, lane).await?;
            if let Some(status) = lines.iter().find_map(RecordLine::standing) {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Writes a verdict down. One that is answered only writes nothing, and so does a final one where a final one
    /// stands: it is the second try of a write whose first answer was lost.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn append(&self, verdict: &Verdict) -> Result<(), Refusal> {
        let Verdict { message_id, status, .. } = verdict;
        if !status.is_recorded() || (status.is_final() && self.standing(message_id).await?.is_some()) {
            return Ok(());
        }
        let (own, whole) = (self.key(message_id, self.lane)?, self.key(message_id, Lane::WHOLE)?);
        let line = Bytes::from(verdict.line());
        let told = line.clone();
        let held = Arc::new(move |record: &[u8]| lines_of(record).any(|line| line == told.trim_ascii_end()));
        if self.lane.is_whole() && *status == Status::Failed {
            // Workers that share a run's lanes may write its one verdict at once.
            return self.store.append_unless(&own, line, held).await.map(drop).map_err(unavailable);
        }
        match status {
            Status::Streamed => {
                self.append_final(&own, line).await?;
                self.complete(message_id).await
            }
            // A READY of another run is so for each lane.
            Status::SkippedOutOfScope => self.append_final(&whole, line).await,
            // The lane's own line comes last: it is what makes the verdict stand.
            _ => {
                self.store.append_unless(&whole, line.clone(), held).await.map_err(unavailable)?;
                self.store.append(&own, line).await.map_err(unavailable)
            }
        }
    }

    /// Adds a verdict that stands, unless one does: another producer may be at the same point.
    async fn append_final(&self, key: &Key, line: Bytes) -> Result<(), Refusal> {
        let held = Arc::new(|record: &[u8]| {
            let mut lines = lines_of(record).map(serde_json::from_slice::<RecordLine>);
            lines.any(|line| line.is_ok_and(|line| line.standing().is_some()))
        });
        self.store.append_unless(key, line, held).await.map_err(unavailable)?;
        Ok(())
    }

    /// Once every lane of a run is streamed the run is, and its record says so: the line of the lane that ended last, with
    /// what all of them emitted. Whichever lane comes last writes it, and a later look makes up for one that did not get to.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn complete(&self, message_id: &Hex64) -> Result<(), Refusal> {
        if self.lane.is_whole() {
            return Ok(());
        }
        let mut streamed: Vec<Value> = Vec::new();
        for lane in self.lane.all() {
            let lines: Vec<Value> = self.read_of(message_id, lane).await?;
            let Some(line) = lines.into_iter().find(|line| line["status"] == Status::Streamed.as_str()) else {
                return Ok(());
            };
            streamed.push(line);
        }
        let emitted: u64 = streamed.iter().filter_map(|line| line["emitted"].as_u64()).sum();
        let text = |line: &Value| line["ts_utc"].as_str().map(str::to_owned);
        let Some(mut last) = streamed.into_iter().max_by_key(text) else { return Ok(()) };
        last["emitted"] = emitted.into();
        let line = Bytes::from(json::compact(&last) + "\n");
        self.append_final(&self.key(message_id, Lane::WHOLE)?, line).await
    }

    /// The message whose verdict is the newest, with all of its verdicts.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub(super) async fn newest(&self) -> Result<Option<(Hex64, Vec<RecordLine>)>, Refusal> {
        let mut newest: Option<(Hex64, Vec<RecordLine>)> = None;
        for (key, _) in self.store.list(self.folder_of(self.lane)).await.map_err(unavailable)? {
            let message_id = key.name().strip_suffix(&suffix(self.lane)).and_then(|name| name.parse().ok());
            let Some(message_id) = message_id else { continue };
            let lines = self.read(&message_id).await?;
            // Times have one form, so that as texts they are in order.
            let time = |lines: &[RecordLine]| lines.last().and_then(|line| line.ts_utc.clone());
            if !lines.is_empty() && newest.as_ref().is_none_or(|(_, other)| time(other) < time(&lines)) {
                newest = Some((message_id, lines));
            }
        }
        Ok(newest)
    }

    /// The messages of this platform run other than `message_id` that were streamed, as this lane or as a whole.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn streamed_beside(&self, message_id: &Hex64) -> Result<Vec<Streamed>, Refusal> {
        let mut streamed = Vec::new();
        for lane in self.covering() {
            for (key, _) in self.store.list(self.folder_of(lane)).await.map_err(unavailable)? {
                let id = key.name().strip_suffix(&suffix(lane)).and_then(|id| id.parse::<Hex64>().ok());
                let Some(other) = id.filter(|other| other != message_id) else { continue };
                let lines: Vec<RecordLine> = self.read_of(&other, lane).await?;
                if let Some(line) = lines.into_iter().find(|line| line.is(Status::Streamed)) {
                    streamed.push(Streamed { message_id: other, run_id: line.run_id, lane });
                }
            }
        }
        Ok(streamed)
    }
}

fn lines_of(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    record.split(|byte| *byte == b'\n')
}

/// What follows the message id in a record's name.
fn suffix(lane: Lane) -> String {
    lane.label().map_or_else(|| ".jsonl".to_owned(), |lane| format!(".{lane}.jsonl"))
}

#[cfg(test)]
mod tests;

//! The record of a READY: one line a verdict, kept under its `message_id`; each lane of a run that is spread over
//! several has its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::summary::{End, Limits};
use super::{key, run_prefix, unavailable, utc};
use crate::model::{Hex32, Hex64, Lane, Micros, PlatformRunId, Reason, Refusal, ScenarioId, json};
use crate::store::{Key, ObjectStore};

/// What a record may hold at most, in bytes: some 40,000 verdicts.
const LIMIT: u64 = 16 << 20;

/// What became of a READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Every event of the run was answered.
    Streamed,
    /// Refused, or ended before the last event.
    Failed,
    /// Of another platform run.
    SkippedOutOfScope,
    /// Its record holds a verdict that stands.
    SkippedDuplicate,
    /// A required pack is not up; the READY is looked at again.
    DeferredDownstreamNotReady,
}

impl Status {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Streamed => "STREAMED",
            Status::Failed => "FAILED",
            Status::SkippedOutOfScope => "SKIPPED_OUT_OF_SCOPE",
            Status::SkippedDuplicate => "SKIPPED_DUPLICATE",
            Status::DeferredDownstreamNotReady => "DEFERRED_DOWNSTREAM_NOT_READY",
        }
    }

    /// Whether it is written down; the others are answered only.
    #[must_use]
    pub fn is_recorded(self) -> bool {
        !matches!(self, Status::SkippedDuplicate | Status::DeferredDownstreamNotReady)
    }

    /// Whether a message with this verdict is a duplicate when it comes again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Streamed | Status::SkippedOutOfScope)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    /// The line, with its newline, as it stands in the record.
    #[must_use]
    pub fn line(&self) -> String {
        let line = json!({
            "message_id": self.message_id,
            "run_id": self.run_id,
            "status": self.status.as_str(),
            "reason": self.reason,
            "emitted": self.emitted,
            "engine_run_root": self.engine_run_root,
            "scenario_id": self.scenario_id,
            "ts_utc": self.ts.offset_text(),
        });
        json::compact(&line) + "\n"
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

    /// Whether it is a refusal of a start that sent nothing.
    #[must_use]
    pub fn sent_nothing(&self) -> bool {
        self.is(Status::Failed) && self.emitted.unwrap_or(0) == 0
    }

    fn is_final(&self) -> bool {
        self.is(Status::Streamed) || self.is(Status::SkippedOutOfScope)
    }
}

/// The records of one platform run.
#[derive(Debug, Clone)]
pub struct Records {
    store: Arc<dyn ObjectStore>,
    folder: Key,
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
        let folder = key(&format!("{}/wsp/ready_runs", run_prefix(store.root(), platform_run_id)?))?;
        Ok(Self { store, folder, lane: Lane::WHOLE })
    }

    /// Those of one lane: `<message_id>.<lane>.jsonl`, so that one lane's verdict ends no other's.
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
        key(&format!("{}/{message_id}{}", self.folder, suffix(lane)))
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

    async fn read_of(&self, message_id: &Hex64, lane: Lane) -> Result<Vec<RecordLine>, Refusal> {
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

    /// Whether the message has a verdict that stands, for this lane or for the whole run: STREAMED or
    /// `SKIPPED_OUT_OF_SCOPE`.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn is_duplicate(&self, message_id: &Hex64) -> Result<bool, Refusal> {
        for lane in self.covering() {
            if self.read_of(message_id, lane).await?.iter().any(RecordLine::is_final) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a verdict down. One that is answered only writes nothing, and so does a final one where a final one
    /// stands: it is the second try of a write whose first answer was lost.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn append(&self, verdict: &Verdict) -> Result<(), Refusal> {
        let status = verdict.status;
        if !status.is_recorded() || (status.is_final() && self.is_duplicate(&verdict.message_id).await?) {
            return Ok(());
        }
        let key = self.key(&verdict.message_id, self.lane)?;
        if !status.is_final() {
            return self.store.append(&key, verdict.line().into()).await.map_err(unavailable);
        }
        // Another producer may be at the same point.
        let held = Arc::new(|record: &[u8]| {
            let mut lines = record.split(|byte| *byte == b'\n').map(serde_json::from_slice::<RecordLine>);
            lines.any(|line| line.is_ok_and(|line| line.is_final()))
        });
        self.store.append_unless(&key, verdict.line().into(), held).await.map_err(unavailable)?;
        Ok(())
    }

    /// The message whose verdict is the newest, with all of its verdicts.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub(super) async fn newest(&self) -> Result<Option<(Hex64, Vec<RecordLine>)>, Refusal> {
        let mut newest: Option<(Hex64, Vec<RecordLine>)> = None;
        for (key, _) in self.store.list(&self.folder).await.map_err(unavailable)? {
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
        for (key, _) in self.store.list(&self.folder).await.map_err(unavailable)? {
            let found =
                self.covering().find_map(|lane| Some((key.name().strip_suffix(&suffix(lane))?.parse().ok()?, lane)));
            let Some((other, lane)) = found else { continue };
            if other != *message_id
                && let Some(line) = self.read_of(&other, lane).await?.into_iter().find(|line| line.is(Status::Streamed))
            {
                streamed.push(Streamed { message_id: other, run_id: line.run_id, lane });
            }
        }
        Ok(streamed)
    }
}

/// What follows the message id in a record's name.
fn suffix(lane: Lane) -> String {
    lane.label().map_or_else(|| ".jsonl".to_owned(), |lane| format!(".{lane}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LaneKey;
    use crate::store::MemoryStore;

    const GOLDEN: &str = include_str!("../../tests/golden/ready/ready_record.jsonl");

    fn verdict(status: Status) -> Verdict {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        let text = |key: &str| golden[key].as_str().unwrap();
        Verdict {
            message_id: text("message_id").parse().unwrap(),
            run_id: text("run_id").parse().unwrap(),
            status,
            reason: None,
            emitted: 250,
            engine_run_root: Some("world".to_owned()),
            scenario_id: Some("baseline_v1".parse().unwrap()),
            ending: None,
            ts: Micros::parse(text("ts_utc").as_bytes()).unwrap(),
        }
    }

    fn records() -> (MemoryStore, Records) {
        let store = MemoryStore::new("runs");
        let records = Records::new(Arc::new(store.clone()), &"platform_20260101T000000Z".parse().unwrap()).unwrap();
        (store, records)
    }

    #[tokio::test]
    async fn a_line_is_the_golden_one_byte_for_byte() {
        let (store, records) = records();
        let verdict = verdict(Status::Streamed);
        records.append(&verdict).await.unwrap();
        let name = format!("fraud-platform/platform_20260101T000000Z/wsp/ready_runs/{}.jsonl", verdict.message_id);
        assert_eq!(store.contents()[&name], GOLDEN);
        assert_eq!(records.name(&verdict.message_id).unwrap(), format!("runs/{name}"));
    }

    #[tokio::test]
    async fn only_final_verdicts_make_a_duplicate() {
        let (store, records) = records();
        let message_id = verdict(Status::Failed).message_id;
        let failed = Verdict { reason: Some(Reason::IgPushRejected), ..verdict(Status::Failed) };
        records.append(&failed).await.unwrap();
        records.append(&verdict(Status::DeferredDownstreamNotReady)).await.unwrap();
        records.append(&verdict(Status::SkippedDuplicate)).await.unwrap();
        assert_eq!(records.read(&message_id).await.unwrap().len(), 1);
        assert!(!records.is_duplicate(&message_id).await.unwrap());
        for _ in 0..2 {
            records.append(&verdict(Status::SkippedOutOfScope)).await.unwrap();
        }
        assert!(records.is_duplicate(&message_id).await.unwrap());
        let lines = records.read(&message_id).await.unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].reason.as_deref(), Some("IG_PUSH_REJECTED"));
        store.fail_next(1);
        assert_eq!(records.is_duplicate(&message_id).await.unwrap_err().reason, Reason::StoreUnavailable);
    }

    #[tokio::test]
    async fn torn_and_strange_lines_are_passed_over() {
        let (store, records) = records();
        let message_id = verdict(Status::Streamed).message_id;
        let text = format!("{{\"status\":\"NEW_WORD\",\"more\":[1]}}\n\u{1}garbage\n{GOLDEN}{{\"status\":\"STREA");
        store.put(&records.key(&message_id, Lane::WHOLE).unwrap(), text.into()).await.unwrap();
        let lines = records.read(&message_id).await.unwrap();
        assert_eq!(lines.iter().map(|line| line.status.as_str()).collect::<Vec<_>>(), ["NEW_WORD", "STREAMED"]);
        assert_eq!(lines[1].emitted, Some(250));
    }

    #[tokio::test]
    async fn others_that_streamed_are_found() {
        let (store, records) = records();
        let own = verdict(Status::Streamed);
        let [streamed, failed] = ["1", "2"].map(Hex64::sha256);
        records.append(&own).await.unwrap();
        records.append(&Verdict { message_id: failed, ..verdict(Status::Failed) }).await.unwrap();
        records.append(&Verdict { message_id: streamed.clone(), ..own.clone() }).await.unwrap();
        store.put(&key(&format!("{}/readme.txt", records.folder)).unwrap(), "x".into()).await.unwrap();
        let found = records.streamed_beside(&own.message_id).await.unwrap();
        let run_id = Some(own.run_id.to_string());
        assert_eq!(found, [Streamed { message_id: streamed, run_id, lane: Lane::WHOLE }]);
    }

    #[tokio::test]
    async fn a_lanes_verdict_is_its_own_and_the_wholes_is_everyones() {
        let (store, records) = records();
        let lane = |index, by| records.clone().of_lane(Lane::new(3.try_into().unwrap(), index, by).unwrap());
        let (first, second) = (lane(0, LaneKey::EventId), lane(1, LaneKey::EventId));
        let by_key = lane(0, LaneKey::OrderKey);
        let streamed = verdict(Status::Streamed);
        let message_id = &streamed.message_id;
        first.append(&streamed).await.unwrap();
        let name = format!("fraud-platform/platform_20260101T000000Z/wsp/ready_runs/{message_id}.lane-0-of-3.jsonl");
        assert_eq!(store.contents()[&name], GOLDEN);
        for (records, duplicate) in [(&first, true), (&second, false), (&by_key, false), (&records, false)] {
            assert_eq!(records.is_duplicate(message_id).await.unwrap(), duplicate, "{:?}", records.lane);
        }
        let other = Hex64::sha256("other");
        let lanes = async |records: &Records| {
            let found = records.streamed_beside(&other).await.unwrap();
            found.into_iter().map(|streamed| streamed.lane.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(lanes(&first).await, ["lane-0-of-3"]);
        assert_eq!((lanes(&second).await.len(), lanes(&by_key).await.len(), lanes(&records).await.len()), (0, 0, 0));
        records.append(&streamed).await.unwrap();
        assert!(second.is_duplicate(message_id).await.unwrap());
        assert_eq!(lanes(&second).await, ["lane-0-of-1"]);
    }
}

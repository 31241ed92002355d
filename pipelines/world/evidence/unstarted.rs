//! What is left of a READY that was refused before anything was streamed: verdicts and facts, and nothing else.
//!
//! ```text
//! ready_runs/*.jsonl ──the newest verdict──► record · facts of that READY ──► do they agree?
//! ```

use std::sync::Arc;

use wsp::store::ObjectStore;

use super::agree::{ends, mismatch, whole};
use super::record::{RecordLine, Records};
use super::status::Status;
use super::told::{Fact, listed};
use super::{Family, Summaries};
use crate::model::{CheckList, Hex64, Lane, PlatformRunId, Reason, Refusal};

/// A READY whose run was never started.
#[derive(Debug, Clone)]
pub struct Unstarted {
    /// The READY.
    pub message_id: Hex64,
    /// Its verdicts, oldest first; at least one.
    pub record: Vec<RecordLine>,
    /// Every line of the list of facts that is about it.
    pub facts: Vec<Fact>,
}

impl Unstarted {
    /// The READY of `home`, or of its `lane`, with the newest verdict. `None` where a run has started, or no READY has a
    /// verdict.
    ///
    /// # Errors
    ///
    /// `EVIDENCE_UNREADABLE`, or `STORE_UNAVAILABLE`.
    pub async fn read(store: &Arc<dyn ObjectStore>, home: &PlatformRunId, lane: Lane) -> Result<Option<Self>, Refusal> {
        if Summaries::new(store.clone(), home)?.of_lane(lane).start().await?.is_some() {
            return Ok(None);
        }
        let newest = Records::new(store.clone(), home)?.of_lane(lane).newest().await?;
        let Some((message_id, record)) = newest else { return Ok(None) };
        let facts = listed(&**store, home, &message_id, lane).await?;
        Ok(Some(Self { message_id, record, facts }))
    }

    /// Checks what is there, and says in `list` what is not.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`; all else is a check of the list.
    pub async fn holds_together(
        &self,
        store: &Arc<dyn ObjectStore>,
        home: &PlatformRunId,
        list: &mut CheckList,
    ) -> Result<(), Refusal> {
        let record = self.check_record();
        if record.is_ok() {
            list.waive("start", format!("READY {} was refused before a start; no wsp_start.json", self.message_id));
            list.waive("summary", "nothing was streamed; no wsp_summary.json");
        }
        list.note("record", record, |line| {
            format!("{} lines, the last {} {}", self.record.len(), line.status, line.reason.as_deref().unwrap_or(""))
        });
        let facts = self.check_facts(store, home).await;
        if let Err(refusal) = &facts
            && refusal.reason == Reason::StoreUnavailable
        {
            return Err(refusal.clone());
        }
        list.note("facts", facts, |n| format!("{n}, each with its body, its line and its marker"));
        Ok(())
    }

    /// A run that never started has no verdict but refusals, and sent nothing.
    fn check_record(&self) -> Result<&RecordLine, Refusal> {
        let without_start = |line: &RecordLine| line.is(Status::SkippedOutOfScope) || line.sent_nothing();
        if let Some(line) = self.record.iter().find(|line| !without_start(line)) {
            let (id, status, emitted) = (&self.message_id, &line.status, line.emitted.unwrap_or(0));
            let detail =
                format!("the record of READY {id} says {status} with {emitted} events: wsp_start.json is lost");
            return Err(Refusal::new(Reason::EvidenceMissing, detail));
        }
        self.record.last().ok_or_else(|| Refusal::new(Reason::EvidenceMissing, "the record has no line"))
    }

    /// Each fact is there once and whole, a run that was started has ended, and each end has its verdict.
    async fn check_facts(&self, store: &Arc<dyn ObjectStore>, home: &PlatformRunId) -> Result<usize, Refusal> {
        for (i, fact) in self.facts.iter().enumerate() {
            let Fact { event_id, event_family: family, .. } = fact;
            if self.facts[..i].iter().any(|other| other.event_id == *event_id) {
                return Err(mismatch(format!("{family} {event_id} is listed twice")));
            }
            whole(&**store, home, fact).await?;
        }
        let count = |family: Family| self.facts.iter().filter(|fact| fact.event_family == family.as_str()).count();
        if count(Family::RunStarted) > 0 && count(Family::RunEnded) == 0 {
            return Err(mismatch("RUN_STARTED is listed, and no RUN_ENDED".to_owned()));
        }
        ends(&self.facts, &self.record)?;
        Ok(self.facts.len())
    }
}

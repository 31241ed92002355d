//! The lane tasks of a READY: what every worker has to agree on.
//!
//! ```text
//! READY · digest of its facts · lanes · anchor · wsp_start.json ──► TaskSet ──► canonical JSON ──► every worker
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::evidence::{Start, document, utc};
use crate::model::{Hex64, Lanes, Micros, OutputId, Reason, Refusal};
use crate::ready::Ready;

/// The version of `tasks.json`.
pub const TASKS_SCHEMA: &str = "wsp_lanes.v1";

/// Event time `ts` is due at wall time `utc`, in every lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneAnchor {
    /// The wall's side.
    #[serde(rename = "wall_utc", with = "utc")]
    pub utc: Micros,
    /// The world's side.
    #[serde(rename = "event_ts_utc", with = "utc")]
    pub ts: Micros,
}

/// All lane tasks of a READY, for one attempt at its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSet {
    /// The version, [`TASKS_SCHEMA`].
    pub schema: String,
    /// Which attempt, from 0.
    pub round: u32,
    /// The lanes.
    pub lanes: Lanes,
    /// sha256 of the run facts' object.
    pub facts_digest: Hex64,
    /// What event time counts from; none in a world without a row.
    pub anchor: Option<LaneAnchor>,
    /// The READY.
    pub ready: Ready,
    /// The run's `wsp_start.json`.
    pub start: Start,
}

impl TaskSet {
    /// The object's content: sorted keys, no spaces, so that equal tasks are equal bytes.
    ///
    /// # Errors
    ///
    /// None in practice: all of it has a JSON form.
    pub fn encode(&self) -> Result<Bytes, Refusal> {
        document(self)
    }

    /// Refuses tasks that were made for something else than this worker has: its lanes, READY, facts and views.
    ///
    /// # Errors
    ///
    /// `LANE_TASKS_FOREIGN`, naming what differs.
    pub fn fit(&self, own: &Self) -> Result<(), Refusal> {
        let foreign = |what: &str, theirs: String, ours: String| {
            let detail =
                format!("the lane tasks of READY {} were made for {what} {theirs}, here are {ours}", self.message_id());
            Err(Refusal::new(Reason::LaneTasksForeign, detail))
        };
        let lanes = |set: &Self| format!("{} by {}", set.lanes.count, set.lanes.by.as_str());
        if self.lanes != own.lanes {
            return foreign("lanes", lanes(self), lanes(own));
        }
        if self.message_id() != own.message_id() {
            return foreign("READY", self.message_id().to_string(), own.message_id().to_string());
        }
        if self.facts_digest != own.facts_digest {
            return foreign("facts", self.facts_digest.to_string(), own.facts_digest.to_string());
        }
        if self.start.run.checkpoint_scope != own.start.run.checkpoint_scope {
            let scope = |set: &Self| set.start.run.checkpoint_scope.to_string();
            return foreign("the checkpoint scope", scope(self), scope(own));
        }
        if self.views() != own.views() {
            let views = |set: &Self| {
                set.views().iter().map(|(id, content)| format!("{id} {content}")).collect::<Vec<_>>().join(", ")
            };
            return foreign("the views", views(self), views(own));
        }
        Ok(())
    }

    /// The time at `now` until the last event is due, where the run is paced by event time.
    #[must_use]
    pub fn paced_left(&self, now: Micros) -> Option<Duration> {
        let speedup = Some(self.start.delivery.speedup).filter(|speedup| *speedup > 0.0)?;
        let last = self.start.outputs.iter().filter_map(|output| output.view_last_ts_utc.as_ref()).max()?;
        let (anchor, last) = (self.anchor?, Micros::parse(last.as_bytes())?);
        let due = anchor.utc.0 as f64 + (last.0 - anchor.ts.0) as f64 / speedup;
        Some(Duration::try_from_secs_f64((due - now.0 as f64) / 1e6).unwrap_or_default())
    }

    /// READY's id.
    #[must_use]
    pub fn message_id(&self) -> &Hex64 {
        &self.ready.payload.message_id
    }

    /// The content of each view, by rank.
    fn views(&self) -> Vec<(&OutputId, &Hex64)> {
        self.start.outputs.iter().map(|output| (&output.output_id, &output.content)).collect()
    }
}

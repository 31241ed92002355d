//! What a run leaves behind for others to read: verdicts, governance facts, counts (contract, section 8).
//!
//! ```text
//!              ┌─► Records   wsp/ready_runs/<message_id>.jsonl   a line a verdict
//! verdict ──► RunEvidence
//!              └─► Facts     obs/governance/…                    body, line, marker: each once
//! Delivered ─► Tally ──────► Summary  wsp/wsp_summary.json, and wsp_report.html made of all of it
//! waiting ───► Deferrals              wsp/deferrals/<message_id>.json
//! stages ────► SessionLog             session.jsonl, best effort
//! ```
//!
//! What a run leaves at its end is its [`LastWords`]; a [`Spool`] keeps them while the store is away.
//! Everything but the session log goes through an [`ObjectStore`](wsp::store::ObjectStore). A write that was cut
//! off by a crash is completed by the next try of the same write, and never made twice.

mod agree;
mod deferral;
mod digest;
mod earlier;
mod governance;
mod lane_note;
mod lanes;
mod live;
mod merged;
mod newest;
mod prefix;
mod record;
pub mod report;
mod run;
mod series;
mod session;
mod session_file;
mod spool;
mod start;
mod status;
mod summaries;
mod summary;
mod tally;
mod times;
mod told;
mod unstarted;
pub(crate) mod utc;
pub mod verify;

pub use deferral::{Deferral, Deferrals, Stretch};
pub use digest::{DigestKind, ToldDigest};
pub use governance::{Cancelled, Facts, Family, Pins, Provenance, Started};
#[cfg(test)]
pub(crate) use lane_note::tests as lane_tests;
pub use lane_note::{LaneNote, Takeover};
pub use lanes::{LaneState, LaneStatus, LanesStatus};
pub use live::LiveTally;
pub use merged::LaneEnd;
pub use newest::newest_run;
pub use prefix::run_prefix;
pub use record::{Ending, RecordLine, Records, Streamed, Verdict, reason_words};
pub use run::RunEvidence;
pub use series::{EventTimeSeries, RunSeries, WallSeries};
pub use session::{CheckpointSaved, SessionEvent, WorldOutputs};
pub use session_file::SessionLog;
pub use spool::{LastWords, Spool};
#[cfg(test)]
pub(crate) use start::testing;
pub use start::{
    DeliverySettings, EarlierOutput, EarlierStart, Limits, Producer, ReadySource, ResumedAfter, RunIds, START_SCHEMA,
    START_SCHEMA_BEFORE, Start, StartOutput,
};
pub use status::{End, Status};
pub use summaries::Summaries;
pub use summary::{LaneSummary, LanesSummary, OutputSummary, SUMMARY_SCHEMA, SUMMARY_SCHEMA_BEFORE, Summary};
pub use tally::{Counts, OutputTally, Spread, Tally};
pub use told::{Fact, Told};
pub use unstarted::Unstarted;

use bytes::Bytes;
use serde::Serialize;
use wsp::store::{Key, StoreError};

use crate::model::{Reason, Refusal, json};

/// A key made of identities; they always make a valid one.
///
/// # Errors
///
/// `INTERNAL_ERROR`.
pub fn key(text: &str) -> Result<Key, Refusal> {
    text.parse().map_err(|error| Refusal::new(Reason::InternalError, format!("evidence: {error}")))
}

/// The bytes of an object of evidence: sorted keys, no spaces, a newline at the end (contract, section 8).
///
/// # Errors
///
/// `INTERNAL_ERROR` where `body` has no JSON form.
pub fn document(body: &impl Serialize) -> Result<Bytes, Refusal> {
    let value = serde_json::to_value(body).map_err(|error| Refusal::new(Reason::InternalError, error.to_string()))?;
    Ok((json::compact(&value) + "\n").into())
}

/// The refusal for a store that is unreachable.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
pub fn unavailable(error: StoreError) -> Refusal {
    Refusal::new(Reason::StoreUnavailable, error.to_string())
}

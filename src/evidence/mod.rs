//! What a run leaves behind for others to read: verdicts, governance facts, counts (contract, section 8).
//!
//! ```text
//!              ┌─► Records   wsp/ready_runs/<message_id>.jsonl   a line a verdict
//! verdict ──► RunEvidence
//!              └─► Facts     obs/governance/…                    body, line, marker: each once
//! Delivered ─► Tally ──────► Summary  wsp/wsp_summary.json
//! waiting ───► Deferrals  wsp/deferrals/<message_id>.json
//! stages ────► SessionLog             session.jsonl, best effort
//! ```
//!
//! Everything but the session log goes through an [`ObjectStore`](crate::store::ObjectStore). A write that was cut
//! off by a crash is completed by the next try of the same write, and never made twice.

mod deferral;
mod governance;
mod prefix;
mod record;
mod run;
mod session;
mod session_file;
mod summary;
mod tally;

pub use deferral::{Deferral, Deferrals, Stretch};
pub use governance::{Cancelled, Facts, Family, Pins, Provenance};
pub use prefix::run_prefix;
pub use record::{RecordLine, Records, Status, Streamed, Verdict};
pub use run::RunEvidence;
pub use session::{CheckpointSaved, SessionEvent, WorldOutputs};
pub use session_file::SessionLog;
pub use summary::{DeliverySettings, End, OutputSummary, ReadySource, RunIds, Start, StartOutput, Summaries, Summary};
pub use tally::{Counts, OutputTally, Spread, Tally};

use crate::model::{Reason, Refusal};
use crate::store::{Key, StoreError};

/// A key made of parts that are identities, and so always one.
fn key(text: &str) -> Result<Key, Refusal> {
    text.parse().map_err(|error| Refusal::new(Reason::InternalError, format!("evidence: {error}")))
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn unavailable(error: StoreError) -> Refusal {
    Refusal::new(Reason::StoreUnavailable, error.to_string())
}

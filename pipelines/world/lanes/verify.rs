//! `wsp verify` on a run that was spread over lanes: where their checkpoints stand.

use crate::checkpoint::{CheckpointStore, RowCursors};
use crate::evidence::Status;
use crate::model::{Lanes, Reason, Refusal};
use crate::prepare::Prepared;
use crate::resuming;

/// Where the lanes' checkpoints stand: behind the last row of each lane once the run is streamed. Behind it may lie rows of other
/// lanes.
///
/// # Errors
///
/// `EVIDENCE_MISMATCH`, naming the lane; what looking at a checkpoint refuses.
pub async fn standing(
    run: &Prepared,
    lanes: Lanes,
    store: &dyn CheckpointStore<RowCursors>,
    attempt_id: &str,
    status: Status,
) -> Result<String, Refusal> {
    let mut open = 0;
    for lane in lanes.lanes() {
        let of_lane = run.of_lane(lane);
        let (resumed, _) = resuming::look(&of_lane, store, &of_lane.scope(attempt_id)).await?;
        if of_lane.has_more(&resumed.from).await {
            if status == Status::Streamed {
                let detail = format!("{lane}: rows of it lie behind the place where its checkpoint stands");
                return Err(Refusal::new(Reason::EvidenceMismatch, detail));
            }
            open += 1;
        }
    }
    let count = lanes.count;
    Ok(match open {
        0 => format!("{count} lanes, each behind its last row"),
        open => format!("{count} lanes, {open} of them before their last row"),
    })
}

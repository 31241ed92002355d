//! How far a lane has come in event time, by its checkpoint.

use crate::checkpoint::{CheckpointStore, RowCursors};
use crate::model::{Micros, Refusal};
use crate::prepare::Prepared;

/// The event time that the saved positions of `lane` have reached; none where nothing is saved of it.
///
/// Outputs are merged by time, so the latest cursor says how far the lane is.
///
/// # Errors
///
/// As [`CheckpointStore::peek`].
pub async fn reached(
    lane: &Prepared,
    store: &dyn CheckpointStore<RowCursors>,
    attempt_id: &str,
) -> Result<Option<Micros>, Refusal> {
    let kept = store.peek(&lane.scope(attempt_id), &lane.output_ids()).await?;
    let times = kept.cursors.iter().filter_map(|cursor| Micros::parse(cursor.last_ts_utc.as_ref()?.as_bytes()));
    Ok(times.max())
}

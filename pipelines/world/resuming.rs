//! Resumes a run at its checkpoint, if the checkpoint was made in the same views.
//!
//! ```text
//! saved positions, saved views ──► this run's views? ──► the rows at the cursors? ──► Resumed: where outputs resume
//!        │ none saved                    │ no                  │ no
//!        ▼                               ▼                     ▼
//!  from the first row            CHECKPOINT_FOREIGN    CHECKPOINT_FOREIGN
//! ```
//!
//! A start without positions saves its views before its first event, so no position is ever saved without them.
//! Positions without views come from the legacy producer or an earlier version of this program: then only the rows at
//! the cursors can be compared, and the views are saved from that start on.

use std::pin::pin;

use futures::TryStreamExt;
use futures::future::try_join_all;

use super::prepare::{Prepared, PreparedOutput};
use crate::checkpoint::{CheckpointScope, CheckpointStore, Cursor, Earlier, Kept, RowCursors, Views};
use crate::envelope::RowKeys;
use crate::model::{Hex64, Micros, OutputId, Reason, Refusal};
use crate::oracle::{Resume, Scan};

/// Where a run goes on.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// The first row that is read of each output, by rank.
    pub from: Vec<Resume>,
    /// Rows beyond that are not sent again.
    pub earlier: Earlier,
    /// The row of each output's cursor, as it stands in the view; none where an output begins with its first row.
    pub after: Vec<Option<CursorRow>>,
}

/// The row that a cursor stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorRow {
    /// Its event time.
    pub ts: Micros,
    /// Its event id.
    pub event_id: Hex64,
    /// The checkpoint holds this event id too. It doesn't where another producer or a person moved the cursor.
    pub kept: bool,
}

/// Takes `run` up in the scope that this process holds, and keeps its views there where none are kept.
///
/// # Errors
///
/// `CHECKPOINT_FOREIGN` where the positions were taken in other views, or don't fit into these; what the scope and the
/// reading of the views refuse.
pub async fn take_up(run: &Prepared, scope: &mut dyn CheckpointScope<RowCursors>) -> Result<Resumed, Refusal> {
    let (now, kept_views) = (Views(run.output_files()), scope.views().await?);
    let kept = scope.load(&outputs_of(&now, kept_views.as_ref())).await?;
    let resumed = resumed(run, &now, &kept, kept_views.as_ref()).await?;
    // Views that no position counts in hold nobody.
    if kept_views.as_ref() != Some(&now) {
        scope.keep_views(&now).await?;
    }
    Ok(resumed)
}

/// Where `run` would go on by what `store` keeps of `scope`, and the cursors. The scope is looked at, not held: another
/// producer may be at work on it.
///
/// # Errors
///
/// As [`take_up`].
pub async fn look(
    run: &Prepared,
    store: &dyn CheckpointStore<RowCursors>,
    scope: &Hex64,
) -> Result<(Resumed, Vec<Cursor>), Refusal> {
    let (now, views) = (Views(run.output_files()), store.peek_views(scope).await?);
    let kept = store.peek(scope, &outputs_of(&now, views.as_ref())).await?;
    let resumed = resumed(run, &now, &kept, views.as_ref()).await?;
    Ok((resumed, kept.cursors))
}

/// The run's outputs, and those that the checkpoint has besides: whose cursors would be overlooked otherwise.
fn outputs_of(now: &Views, kept: Option<&Views>) -> Vec<OutputId> {
    let mut outputs = now.output_ids();
    let more = kept.map(Views::output_ids).unwrap_or_default();
    outputs.extend(more.into_iter().filter(|output| now.0.iter().all(|known| known.output_id != *output)));
    outputs
}

async fn resumed(run: &Prepared, now: &Views, kept: &Kept, kept_views: Option<&Views>) -> Result<Resumed, Refusal> {
    if let Some(views) = kept_views.filter(|_| !kept.is_empty()) {
        views.are(now)?;
    }
    let earlier = Earlier::new(&now.0, kept)?;
    let places = run.outputs.iter().zip(earlier.from());
    let found = try_join_all(places.map(|(output, at)| async move {
        let cursor = kept.cursors.iter().find(|cursor| cursor.output_id == output.view.output_id);
        let after = match cursor {
            Some(cursor) => Some(cursor_row(run, output, cursor).await?),
            None => None,
        };
        let from = Resume { file: at.file as usize, row: at.row, after: after.as_ref().map(|row| row.ts) };
        Ok::<_, Refusal>((from, after))
    }));
    let (from, after) = found.await?.into_iter().unzip();
    Ok(Resumed { from, earlier, after })
}

/// The row at `cursor`, if it is the one that the cursor was saved at.
async fn cursor_row(run: &Prepared, output: &PreparedOutput, cursor: &Cursor) -> Result<CursorRow, Refusal> {
    let (ts, event_id) = row_at(run, output, cursor).await?;
    let foreign = |field: &str, found: &str, kept: &str| {
        let detail = format!(
            "the row at the cursor of {} has {found} in the view, and had {kept} when the cursor was saved",
            cursor.output_id
        );
        Err(Refusal::new(Reason::CheckpointForeign, detail)
            .file(&cursor.last_file)
            .row(cursor.last_row_index)
            .field(field))
    };
    // A time that another producer spelt in its own way is no reason to refuse the run.
    let kept_ts = cursor.last_ts_utc.as_ref().and_then(|text| Micros::parse(text.as_bytes()));
    if let Some(kept) = kept_ts.filter(|kept| *kept != ts) {
        return foreign("ts_utc", &ts.to_string(), &kept.to_string());
    }
    if let Some(kept) = cursor.last_event_id.as_ref().filter(|kept| **kept != event_id) {
        return foreign("event_id", event_id.as_str(), kept.as_str());
    }
    Ok(CursorRow { ts, event_id, kept: cursor.last_event_id.is_some() })
}

/// Event time and event id of the row at `cursor`, which is in the view.
async fn row_at(run: &Prepared, output: &PreparedOutput, cursor: &Cursor) -> Result<(Micros, Hex64), Refusal> {
    let view = &output.view;
    let at = |refusal: Refusal| refusal.file(&cursor.last_file).row(cursor.last_row_index);
    let gone = || at(Refusal::new(Reason::CheckpointForeign, "the row at the cursor is not in the view"));
    let file = view.parts.iter().position(|part| part.name == cursor.last_file).ok_or_else(gone)?;
    let keys = RowKeys::new(&output.frame(), &run.pins.world, &view.schema);
    // Nothing but the key columns is read, and one row decoded.
    let scan = Scan::new().resume(Resume::at(file, cursor.last_row_index)).limit(1).times_and(&keys.columns());
    let mut batches = pin!(view.batches(scan));
    let batch = batches.try_next().await?.ok_or_else(gone)?;
    let mut event_id = None;
    keys.each(batch.rows(), |id, _| event_id = Some(Hex64::of_digest(id))).map_err(at)?;
    batch.times().first().copied().zip(event_id).ok_or_else(gone)
}

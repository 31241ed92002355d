//! Reads the few rows of a view that are needed before a run may start: enough to check its receipt and its world.
//!
//! ```text
//! first and last row ──time──= the sort receipt's span?
//! footers ──another world?──► refused   ──undecided──► the first row of those parts ──= the run's world?
//! ```
//!
//! Every row is compared with the run's world when it is framed. This module refuses a replaced view before the
//! first event, in plan, run and verification alike.

use futures::{StreamExt, TryStreamExt, stream};

use crate::envelope::WorldPins;
use crate::model::{Micros, Reason, Refusal, RowBatch, WorldKey};
use crate::oracle::view::SealedView;
use crate::oracle::{Resume, Scan, View};

/// Parts read at once.
const PARTS_IN_FLIGHT: usize = 8;

/// Compares the outermost rows of `view` with its receipt, and its parts with `world`.
///
/// # Errors
///
/// `STREAM_VIEW_RECEIPT_BAD` naming the receipt's field and the row; `WORLD_KEY_MISMATCH` naming part, row, column and
/// both values; what a row that can't be read is refused for.
pub(super) async fn check(view: &View, sealed: &SealedView, world: &WorldKey) -> Result<(), Refusal> {
    let mut open = view.open_parts(world)?;
    if WorldPins::reads_json(&view.schema) {
        // A row group holds far more payload than pins, so JSON payloads are looked into once a view.
        open = with_rows(view).take(1).collect();
    }
    check_span(view, sealed).await?;
    let pins = WorldPins::new(world);
    stream::iter(open).map(|part| check_first_row(view, part, &pins)).buffered(PARTS_IN_FLIGHT).try_collect().await
}

async fn check_span(view: &View, sealed: &SealedView) -> Result<(), Refusal> {
    let Some((first, last)) = sealed.span else { return Ok(()) };
    let (Some(first_part), Some(last_part)) = (with_rows(view).next(), with_rows(view).next_back()) else {
        return Ok(());
    };
    let last_row = view.parts[last_part].rows - 1;
    for (field, told, part, row) in [("min_ts_utc", first, first_part, 0), ("max_ts_utc", last, last_part, last_row)] {
        let found = row_at(view, part, row, &[]).await?.and_then(|batch| batch.times().first().copied());
        if found != Some(told) {
            return Err(off_span(view, sealed, (field, told), (part, row), found));
        }
    }
    Ok(())
}

fn off_span(
    view: &View,
    sealed: &SealedView,
    (field, told): (&str, Micros),
    (part, row): (usize, u64),
    found: Option<Micros>,
) -> Refusal {
    let which = if field.starts_with("min") { "first" } else { "last" };
    let found = found.map_or_else(|| "missing".to_owned(), |ts| format!("at {ts}"));
    let detail = format!("it says {told}; the view's {which} row, row {row} of {}, is {found}", view.parts[part].name);
    Refusal::new(Reason::StreamViewReceiptBad, detail).file(&sealed.receipt).field(format!("sorted_stats.{field}"))
}

async fn check_first_row(view: &View, part: usize, pins: &WorldPins) -> Result<(), Refusal> {
    match row_at(view, part, 0, &WorldPins::columns(&view.schema)).await? {
        Some(batch) => check_batch(&batch, view, pins),
        None => Ok(()),
    }
}

/// Refuses `batch` of `view` for the first of its rows that names another world.
pub(super) fn check_batch(batch: &RowBatch, view: &View, pins: &WorldPins) -> Result<(), Refusal> {
    let at = |refusal: Refusal, i| {
        let position = batch.position(i);
        let part = view.parts.get(position.file as usize).map(|part| part.name.clone());
        refusal.file(part.unwrap_or_default()).row(position.row)
    };
    match pins.check(batch.rows()).map_err(|refusal| at(refusal, 0))? {
        Some(foreign) => Err(at(foreign.refusal, foreign.row)),
        None => Ok(()),
    }
}

/// Row `row` of that part, with its time and `columns` alone; `None` where it holds none.
async fn row_at(view: &View, part: usize, row: u64, columns: &[String]) -> Result<Option<RowBatch>, Refusal> {
    let scan = Scan::new().times_and(columns).resume(Resume::at(part, row)).limit(1);
    std::pin::pin!(view.batches(scan)).try_next().await
}

/// The parts that hold rows, by index.
fn with_rows(view: &View) -> impl DoubleEndedIterator<Item = usize> {
    view.parts.iter().enumerate().filter(|(_, part)| part.rows > 0).map(|(i, _)| i)
}

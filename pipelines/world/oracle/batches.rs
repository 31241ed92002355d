//! A view's rows as batches with their event times, from any row on.
//!
//! ```text
//! View ──one slice of a row group at a time──► decode ──► times and their order ──► RowBatch
//!              └─ the next one, fetched while the last rows are read
//! ```

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{Stream, stream};
use wsp::parquet_read::times;

use super::decoding::Open;
use super::filter::{RowFilter, Sieve};
use super::loading::{Loaded, Loading, Place, Room};
use super::part::Part;
use super::share::Prefetch;
use super::view_files::{TIME_COLUMN, View};
use crate::model::{Micros, Reason, Refusal, RowBatch};

/// Memory that reading one output may take where nothing else is said, in bytes.
const DEFAULT_MEMORY: u64 = 64 << 20;

/// Rows of a slice that are left when the next one is fetched. At 100,000 rows/s it has a third of a second to come, and
/// two row groups of `DuckDB`'s size are held for a quarter of the time.
const AHEAD_ROWS: u64 = 32_768;

/// The first row to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resume {
    /// Index into the view's parts.
    pub file: usize,
    /// 0-based row in that part; the part's row count means the next part's first row.
    pub row: u64,
    /// The event time of the row before it, where that is known: an earlier row is out of order there too.
    pub after: Option<Micros>,
}

impl Resume {
    /// From this row on, whatever stands before it.
    #[must_use]
    pub fn at(file: usize, row: u64) -> Self {
        Self { file, row, after: None }
    }
}

/// Which rows of a view to read, and how.
#[derive(Debug, Clone)]
pub struct Scan {
    from: Resume,
    pub(super) limit: u64,
    pub(super) batch_rows: usize,
    /// The columns to read beside the time, where not all of them.
    pub(super) columns: Option<Arc<[String]>>,
    pub(super) memory: u64,
    prefetch: Prefetch,
}

impl Scan {
    /// All rows, 4,096 a batch, or fewer where they are large.
    #[must_use]
    pub fn new() -> Self {
        Self {
            from: Resume::default(),
            limit: u64::MAX,
            batch_rows: 4096,
            columns: None,
            memory: DEFAULT_MEMORY,
            prefetch: Prefetch::new(usize::MAX),
        }
    }

    /// From this row on.
    #[must_use]
    pub fn resume(mut self, from: Resume) -> Self {
        self.from = from;
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = rows;
        self
    }

    /// Event times alone: no other column is read.
    #[must_use]
    pub fn times_only(self) -> Self {
        self.times_and(&[])
    }

    /// Event times and those of `columns` that the view has: no other column is read.
    #[must_use]
    pub fn times_and(mut self, columns: &[String]) -> Self {
        self.columns = Some(columns.into());
        self
    }

    /// At most so many rows a batch (at least 1); fewer where they would take more than some 4 MiB by the footer. A batch
    /// never spans row groups.
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = rows.max(1);
        self
    }

    /// Bytes that reading may take, 64 MiB where not set: rows being decoded, stored and decompressed, and the next
    /// ones, fetched ahead. A row group that takes more than half of it is read in slices, page by page, if each page
    /// begins with a row; else it is read whole, whatever it takes, and the next one is fetched ahead only if it fits.
    /// A batch of more than an eighth of it, or of 4 MiB, has fewer rows.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// The next rows are fetched ahead only with a permit of `prefetch`; where not set, always.
    #[must_use]
    pub fn prefetch(mut self, prefetch: Prefetch) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// See [`Scan::memory`].
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory
    }

    /// What one slice may take, so that there is room for the next one.
    pub(super) fn slice_bytes(&self) -> u64 {
        self.memory / 2
    }
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// The rows that `scan` asks for, in order; [`RowBatch::position`] counts `seq` from the first of
    /// them. Skipped row groups are not fetched, skipped rows not decoded. While the last 32,768 rows of a row group are
    /// decoded and delivered the next one is fetched, within [`Scan::memory`] and [`Scan::prefetch`].
    ///
    /// The stream ends with its first error; every good row before the one that refuses comes first.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_FOREIGN` for a resume beyond the view; `TS_UTC_INVALID` and
    /// `STREAM_VIEW_ORDER_VIOLATION` with file and row; `STREAM_VIEW_UNREADABLE`,
    /// `STREAM_VIEW_CHANGED`, `STORE_UNAVAILABLE` with the file.
    pub fn batches(&self, scan: Scan) -> impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<> {
        self.batches_where(scan, None)
    }

    /// Of the rows that `scan` asks for those that `filter` picks, all of them where there is none. A limit counts picked
    /// rows, and so does `seq`. The filter's columns are decoded for all rows, the others for picked ones; of a row
    /// group without a picked row nothing else is fetched, and ahead only the filter's columns are.
    ///
    /// # Errors
    ///
    /// As [`View::batches`], for every row whether picked or not: a view that one lane refuses is refused by all
    /// of them, though a fault in a column that the filter doesn't see is found by the row's own lane. And what the
    /// filter refuses a row for.
    pub fn batches_where(
        &self,
        scan: Scan,
        filter: Option<RowFilter>,
    ) -> impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<> {
        let Resume { file, row, after } = scan.from;
        let reader = Reader {
            view: Arc::new(self.clone()),
            scan,
            filter,
            file,
            row,
            delivered: 0,
            last: after,
            open: None,
            ahead: None,
            refused: None,
        };
        stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(batch)) => Some((Ok(batch), Some(reader))),
                Ok(None) => None,
                Err(refusal) => Some((Err(refusal), None)),
            }
        })
    }
}

struct Reader {
    view: Arc<View>,
    scan: Scan,
    filter: Option<RowFilter>,
    file: usize,
    /// The next row of that file.
    row: u64,
    delivered: u64,
    last: Option<Micros>,
    open: Option<Open>,
    /// What comes after it.
    ahead: Option<Loading>,
    /// What the row after the rows handed out last was refused for.
    refused: Option<Refusal>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<RowBatch>, Refusal> {
        if let Some(refusal) = self.refused.take() {
            return Err(refusal);
        }
        loop {
            if self.delivered == self.scan.limit {
                return Ok(None);
            }
            let open = match &mut self.open {
                Some(open) => open,
                None => match self.open_next().await? {
                    Some(open) => self.open.insert(open),
                    None => return Ok(None),
                },
            };
            let rows = open.next().await?;
            self.look_ahead().await;
            let batch = match (rows, self.open.as_ref().and_then(|open| open.sieve.clone())) {
                (rows, Some(sieve)) => self.accept_picked(rows, &sieve)?,
                (Some(rows), None) => self.accept(rows)?,
                (None, None) => {
                    self.end_slice(self.row)?;
                    None
                }
            };
            if batch.is_some() {
                return Ok(batch);
            }
        }
    }

    /// The slice with the next row, as it was fetched ahead or from the start; `None` behind the last row.
    async fn open_next(&mut self) -> Result<Option<Open>, Refusal> {
        let Some((file, row)) = self.view.place(self.file, self.row)? else { return Ok(None) };
        (self.file, self.row) = (file, row);
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead.done().await,
            None => None,
        };
        let mut loaded = match ahead {
            Some(loaded) => loaded,
            None => self.place(file, row, None).load().await?,
        };
        loaded.permit = None;
        let left = self.scan.limit - self.delivered;
        let name = self.view.parts[file].name.clone();
        let sieve = self.filter.as_ref().map(|_| Sieve::new(name, row, self.last));
        Open::new(loaded, left, self.filter.as_ref(), sieve).map(Some)
    }

    /// Fetches the slice after the one at hand once this one comes to its end, as far as the memory goes that it leaves and
    /// if there is a permit.
    async fn look_ahead(&mut self) {
        let Some(Open { loaded: Loaded { part, slice, .. }, .. }) = &self.open else { return };
        if self.ahead.is_none() {
            let left = slice.end().saturating_sub(self.row);
            // Rows before the limit may all come from the slice at hand.
            if left > AHEAD_ROWS || self.scan.limit - self.delivered <= left {
                return;
            }
            let Some(permit) = self.scan.prefetch.permit() else { return };
            let Ok(Some((file, row))) = self.view.place(self.file, slice.end()) else { return };
            let part = (file == self.file).then(|| part.clone());
            let room = Room { bytes: self.scan.memory.saturating_sub(slice.cost.all()), permit };
            self.ahead = Some(Loading::new(self.place(file, row, part), room));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.nudge().await;
        }
    }

    fn place(&self, file: usize, row: u64, part: Option<Arc<Part>>) -> Place {
        let (view, filter) = (self.view.clone(), self.filter.clone());
        Place { view, scan: self.scan.clone(), filter, file, row, part }
    }

    /// Leaves the slice at hand, if `next` is the row behind it.
    fn end_slice(&mut self, next: u64) -> Result<(), Refusal> {
        let Some(Open { loaded: Loaded { part, slice, .. }, .. }) = self.open.take() else { return Ok(()) };
        if next == slice.end() {
            self.row = next;
            return Ok(());
        }
        let rows = self.view.parts[self.file].rows;
        Err(part.source.unreadable(format!("{next} rows could be read, its footer says {rows}")))
    }

    /// Takes in the rows up to the first that has no time or stands before its predecessor.
    fn accept(&mut self, rows: RecordBatch) -> Result<Option<RowBatch>, Refusal> {
        let part = &self.view.parts[self.file];
        let refusal =
            |reason, row: u64, detail| Refusal::new(reason, detail).file(part.name.clone()).row(row).field(TIME_COLUMN);
        let Some(column) = rows.column_by_name(TIME_COLUMN) else {
            return Err(refusal(Reason::TsUtcInvalid, self.row, "no such column".to_owned()));
        };
        let times::Times { mut good, bad } = times::read(column);
        self.refused = bad.map(|detail| refusal(Reason::TsUtcInvalid, self.row + good.len() as u64, detail));
        let mut last = self.last;
        for (i, time) in good.iter().enumerate() {
            if let Some(before) = last.filter(|last| time < last) {
                let detail = format!("{time} comes after {before}");
                self.refused = Some(refusal(Reason::StreamViewOrderViolation, self.row + i as u64, detail));
                good.truncate(i);
                break;
            }
            last = Some(*time);
        }
        self.last = last;
        if good.is_empty() {
            return self.refused.take().map_or(Ok(None), Err);
        }
        let rows = if good.len() < rows.num_rows() { rows.slice(0, good.len()) } else { rows };
        let count = good.len() as u64;
        let batch = RowBatch::new(self.view.rank, self.file as u32, self.row, self.delivered, good, rows);
        self.row += count;
        self.delivered += count;
        Ok(Some(batch))
    }
}

impl Reader {
    /// Takes in the next picked rows, or the end of the part.
    fn accept_picked(&mut self, rows: Option<RecordBatch>, sieve: &Sieve) -> Result<Option<RowBatch>, Refusal> {
        let mut seen = sieve.lock();
        let part = &self.view.parts[self.file];
        let Some(rows) = rows else {
            if let Some(refusal) = seen.refusal() {
                return Err(refusal);
            }
            // The end of the rows, unless the limit ended them.
            if self.delivered < self.scan.limit {
                self.last = seen.last;
                self.end_slice(seen.next)?;
            }
            return Ok(None);
        };
        let Some((places, times)) = seen.take(rows.num_rows()) else {
            let detail = format!("{} rows came of {} picked", rows.num_rows(), part.name);
            return Err(Refusal::new(Reason::InternalError, detail));
        };
        let Some(last) = places.last() else { return Ok(None) };
        self.row = last + 1;
        let count = places.len() as u64;
        let batch = RowBatch::picked(self.view.rank, self.file as u32, places, self.delivered, times, rows);
        self.delivered += count;
        Ok(Some(batch))
    }
}

impl View {
    /// This place, or where the row after it stands: what lies behind a part's last row is the next part's first. `None`
    /// behind the last part.
    fn place(&self, mut file: usize, mut row: u64) -> Result<Option<(usize, u64)>, Refusal> {
        while let Some(part) = self.parts.get(file) {
            if row < part.rows {
                return Ok(Some((file, row)));
            }
            if row > part.rows {
                let detail = format!("the part has {} rows", part.rows);
                return Err(Refusal::new(Reason::CheckpointForeign, detail).file(part.name.clone()).row(row));
            }
            (file, row) = (file + 1, 0);
        }
        // Only the place just after the last row is an end; a resume may name anything.
        if (file, row) == (self.parts.len(), 0) {
            return Ok(None);
        }
        let detail =
            format!("row {row} of part {file} is asked for; {} has {} parts", self.output_id, self.parts.len());
        Err(Refusal::new(Reason::CheckpointForeign, detail))
    }
}

#[cfg(test)]
mod tests;

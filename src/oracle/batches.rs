//! A view's rows as batches with their event times, from any row on.
//!
//! ```text
//! View ──one file, one row group at a time──► decode ──► times and their order ──► RowBatch
//! ```

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use futures::{Stream, stream};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};

use super::filter::{RowFilter, Sieve};
use super::footer::{self, Footer};
use super::source::Source;
use super::times;
use super::view_files::{TIME_COLUMN, View, ViewPart};
use crate::model::{Micros, Reason, Refusal, RowBatch};

/// Decoded values of a filter's columns kept until the picked rows are decoded, in bytes a part; beyond it they are
/// decoded twice.
const FILTER_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// The first row to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resume {
    /// Index into the view's parts.
    pub file: usize,
    /// 0-based row in that part; the part's row count means the next part's first row.
    pub row: u64,
}

/// Which rows of a view to read, and how.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    from: Resume,
    limit: u64,
    batch_rows: usize,
    times_only: bool,
}

impl Scan {
    /// All rows, 4,096 a batch.
    #[must_use]
    pub fn new() -> Self {
        Self { from: Resume::default(), limit: u64::MAX, batch_rows: 4096, times_only: false }
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
    pub fn times_only(mut self) -> Self {
        self.times_only = true;
        self
    }

    /// At most so many rows a batch (at least 1). A batch never spans row groups.
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = rows.max(1);
        self
    }
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// The rows that `scan` asks for, in order; [`RowBatch::position`] counts `seq` from the first of
    /// them. Skipped row groups are not fetched, skipped rows not decoded. Memory is one
    /// row group and one batch.
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
    /// group without a picked row nothing else is fetched.
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
        let reader = Reader {
            view: self.clone(),
            scan,
            filter,
            file: scan.from.file,
            row: scan.from.row,
            delivered: 0,
            last: None,
            open: None,
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
    view: View,
    scan: Scan,
    filter: Option<RowFilter>,
    file: usize,
    /// The next row of that file.
    row: u64,
    delivered: u64,
    last: Option<Micros>,
    open: Option<Part>,
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
            let Some(part) = self.view.parts.get(self.file) else {
                return self.at_the_end();
            };
            let open = match &mut self.open {
                Some(open) => open,
                closed => {
                    if self.row > part.rows {
                        return Err(beyond(part, self.row));
                    }
                    if self.row == part.rows {
                        self.file += 1;
                        self.row = 0;
                        continue;
                    }
                    let left = self.scan.limit - self.delivered;
                    let filter =
                        self.filter.as_ref().map(|filter| (filter, Sieve::new(part.name.clone(), self.row, self.last)));
                    closed.insert(Part::open(&self.view, part, self.row, self.scan.limit(left), filter).await?)
                }
            };
            let rows = open.next().await?;
            if let Some(sieve) = open.sieve.clone() {
                if let Some(batch) = self.accept_picked(rows, &sieve)? {
                    return Ok(Some(batch));
                }
                continue;
            }
            match rows {
                Some(rows) => {
                    if let Some(batch) = self.accept(rows)? {
                        return Ok(Some(batch));
                    }
                }
                None if self.row == part.rows => self.open = None,
                None => {
                    let detail = format!("{} rows could be read, its footer says {}", self.row, part.rows);
                    return Err(open.source.unreadable(detail));
                }
            }
        }
    }

    /// Only the place just after the last row is an end; a resume may name anything.
    fn at_the_end(&self) -> Result<Option<RowBatch>, Refusal> {
        if self.file == self.view.parts.len() && self.row == 0 {
            return Ok(None);
        }
        let detail = format!("part {} of {}", self.file, self.view.parts.len());
        Err(Refusal::new(Reason::CheckpointForeign, detail))
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
            if self.delivered < self.scan.limit && seen.next != part.rows {
                let detail = format!("{} rows could be read, its footer says {}", seen.next, part.rows);
                return Err(Refusal::new(Reason::StreamViewUnreadable, detail).file(part.name.clone()));
            }
            (self.last, self.row, self.open) = (seen.last, part.rows, None);
            return Ok(None);
        };
        let Some((places, times)) = seen.take(rows.num_rows()) else {
            let detail = format!("{} rows came of {} picked", rows.num_rows(), part.name);
            return Err(Refusal::new(Reason::InternalError, detail));
        };
        if places.is_empty() {
            return Ok(None);
        }
        let count = places.len() as u64;
        let batch = RowBatch::picked(self.view.rank, self.file as u32, places, self.delivered, times, rows);
        self.delivered += count;
        Ok(Some(batch))
    }
}

fn beyond(part: &ViewPart, row: u64) -> Refusal {
    let detail = format!("the part has {} rows", part.rows);
    Refusal::new(Reason::CheckpointForeign, detail).file(part.name.clone()).row(row)
}

/// A part being read.
struct Part {
    source: Source,
    decoder: ParquetPushDecoder,
    unchecked_text: bool,
    /// What its filter has seen, where it has one.
    sieve: Option<Sieve>,
}

impl Part {
    /// Starts reading at `row`, for what is left of `scan`.
    async fn open(
        view: &View,
        part: &ViewPart,
        row: u64,
        scan: Scan,
        filter: Option<(&RowFilter, Sieve)>,
    ) -> Result<Self, Refusal> {
        let source = Source::new(view.store.clone(), part.file.clone());
        // The footer is read anew rather than kept: a view may have thousands of parts, and planning looks at all.
        let Footer { metadata, projection, unchecked_text, .. } = footer::read(&source).await?;
        let (mut first, mut skipped) = (0, 0);
        while let Some(group) = part.row_groups.get(first).filter(|group| skipped + group.rows <= row) {
            skipped += group.rows;
            first += 1;
        }
        let projection = if scan.times_only { time_column(&metadata) } else { projection };
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let sieve = filter.as_ref().map(|(_, sieve)| sieve.clone());
        let decoder = source.decode(|| {
            let filter = filter.map(|(filter, sieve)| filter.decoder(&metadata, unchecked_text, sieve));
            let decoder = ParquetPushDecoderBuilder::new_with_metadata(metadata)
                .with_batch_size(scan.batch_rows)
                .with_projection(projection)
                .with_row_groups((first..part.row_groups.len()).collect())
                .with_limit(count(scan.limit));
            match filter {
                None => decoder.with_offset(count(row - skipped)),
                // An offset would count picked rows.
                Some(filter) => decoder
                    .with_row_selection(RowSelection::from(vec![
                        RowSelector::skip(count(row - skipped)),
                        RowSelector::select(count(part.rows - row)),
                    ]))
                    .with_row_filter(filter)
                    .with_max_predicate_cache_size(FILTER_CACHE_BYTES),
            }
            .build()
        })?;
        Ok(Self { source, decoder, unchecked_text, sieve })
    }

    /// The next rows, or `None` after the last.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Refusal> {
        loop {
            let decoder = &mut self.decoder;
            match self.source.decode(|| decoder.try_decode())? {
                DecodeResult::NeedsData(ranges) => {
                    // No row behind a refused one is needed.
                    if let Some(refusal) = self.sieve.as_ref().and_then(|sieve| sieve.lock().refusal()) {
                        return Err(refusal);
                    }
                    let chunks = self.source.ranges(&ranges).await?;
                    self.source.decode(|| decoder.push_ranges(ranges, chunks))?;
                }
                DecodeResult::Data(rows) => {
                    if self.unchecked_text && !rows.columns().iter().all(is_utf8) {
                        return Err(self.source.unreadable("a text column holds bytes that are not UTF-8"));
                    }
                    return Ok(Some(rows));
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }
}

fn time_column(metadata: &ArrowReaderMetadata) -> ProjectionMask {
    let index = metadata.schema().index_of(TIME_COLUMN).ok();
    ProjectionMask::roots(metadata.parquet_schema(), index)
}

/// Whether every text in `array` is UTF-8, which the decoder only checks for columns annotated so.
pub(super) fn is_utf8(array: &Arc<dyn Array>) -> bool {
    fn all<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> bool {
        values.all(|text| text.is_none_or(|text| std::str::from_utf8(text.as_bytes()).is_ok()))
    }
    match array.data_type() {
        DataType::Utf8 => all(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => all(array.as_string::<i64>().iter()),
        DataType::Utf8View => all(array.as_string_view().iter()),
        DataType::List(_) => is_utf8(array.as_list::<i32>().values()),
        DataType::LargeList(_) => is_utf8(array.as_list::<i64>().values()),
        DataType::ListView(_) => is_utf8(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => is_utf8(array.as_list_view::<i64>().values()),
        DataType::FixedSizeList(..) => is_utf8(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().all(is_utf8),
        DataType::Map(..) => array.as_map().entries().columns().iter().all(is_utf8),
        DataType::Dictionary(..) => is_utf8(array.as_any_dictionary().values()),
        _ => true,
    }
}

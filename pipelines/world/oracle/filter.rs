//! Rows picked by some of their columns: these are decoded for all rows, the other columns for the picked ones.
//!
//! ```text
//! ts_utc, the filter's columns ──► Sieve: time, order, keep? ──► places and times of the picked rows
//!                                      │ mask
//! all columns ─────────────────────────┴─► rows, picked
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{BooleanArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderMetadata, RowFilter as DecoderFilter};
use wsp::parquet_read::times;

use super::decoding::is_utf8;
use super::view_files::TIME_COLUMN;
use crate::model::{Micros, Reason, Refusal};

type Keep = dyn Fn(&RecordBatch, &mut Vec<bool>) -> Result<(), Refusal> + Send + Sync;

/// Picks rows of one output by the values of some columns. Clones share it.
#[derive(Clone)]
pub struct RowFilter {
    columns: Vec<String>,
    keep: Arc<Keep>,
}

impl RowFilter {
    /// Rows for which `keep`, which looks at these columns alone, appends `true`. It gets rows in file order and appends
    /// one answer a row; an error refuses the row behind the last answer, and file and row are added to it.
    pub fn new(
        columns: Vec<String>,
        keep: impl Fn(&RecordBatch, &mut Vec<bool>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self { columns, keep: Arc::new(keep) }
    }

    /// The columns that it looks at, and the time.
    pub(super) fn projection(&self, metadata: &ArrowReaderMetadata) -> ProjectionMask {
        let fields = metadata.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| field.name() == TIME_COLUMN || self.columns.contains(field.name()));
        let columns: Vec<usize> = wanted.map(|(i, _)| i).collect();
        ProjectionMask::roots(metadata.parquet_schema(), columns)
    }

    /// The filter as the decoder of one part takes it, telling `sieve` of each row.
    pub(super) fn decoder(&self, metadata: &ArrowReaderMetadata, sieve: Sieve) -> DecoderFilter {
        let projection = self.projection(metadata);
        let filter = self.clone();
        let judge = move |rows: RecordBatch| Ok(sieve.lock().judge(&filter, &rows));
        DecoderFilter::new(vec![Box::new(ArrowPredicateFn::new(projection, judge))])
    }
}

impl fmt::Debug for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFilter").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// What the filter of one part has seen. Clones share it: the decoder fills it, the reader takes from it.
#[derive(Debug, Clone)]
pub(super) struct Sieve(Arc<Mutex<Seen>>);

impl Sieve {
    /// From row `next` of the part called `name`, behind a row at `last`.
    pub(super) fn new(name: String, next: u64, last: Option<Micros>) -> Self {
        let checks_texts = false;
        Self(Arc::new(Mutex::new(Seen { name, next, last, picked: VecDeque::new(), refused: None, checks_texts })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Sieve`].
#[derive(Debug)]
pub(super) struct Seen {
    name: String,
    /// The first row not looked at yet.
    pub(super) next: u64,
    /// The time of the row before it.
    pub(super) last: Option<Micros>,
    /// Rows picked and not yet handed out.
    picked: VecDeque<(u64, Micros)>,
    /// What row `next` is refused for. No row is picked from then on.
    refused: Option<Refusal>,
    /// The decoder has not checked each text by itself.
    pub(super) checks_texts: bool,
}

impl Seen {
    /// Judges the next rows: all have to have a time, in order, whether they are picked or not.
    fn judge(&mut self, filter: &RowFilter, rows: &RecordBatch) -> BooleanArray {
        let mut keep = Vec::with_capacity(rows.num_rows());
        if self.refused.is_none() {
            self.refused = self.judge_until_refused(filter, rows, &mut keep).err();
        }
        keep.resize(rows.num_rows(), false);
        BooleanArray::from(keep)
    }

    fn judge_until_refused(
        &mut self,
        filter: &RowFilter,
        rows: &RecordBatch,
        keep: &mut Vec<bool>,
    ) -> Result<(), Refusal> {
        if self.checks_texts && !rows.columns().iter().all(is_utf8) {
            let detail = "a text column holds bytes that are not UTF-8";
            return Err(Refusal::new(Reason::StreamViewUnreadable, detail).file(self.name.clone()));
        }
        let no_column = || Refusal::new(Reason::TsUtcInvalid, "no such column").field(TIME_COLUMN);
        let column = rows.column_by_name(TIME_COLUMN).ok_or_else(|| self.at(no_column()))?;
        let times::Times { good, bad } = times::read(column);
        let unkeyed = (filter.keep)(rows, keep).err();
        keep.truncate(good.len());
        for i in 0..keep.len() {
            let time = good[i];
            if let Some(before) = self.last.filter(|last| time < *last) {
                keep.truncate(i);
                let detail = format!("{time} comes after {before}");
                return Err(self.at(Refusal::new(Reason::StreamViewOrderViolation, detail).field(TIME_COLUMN)));
            }
            if keep[i] {
                self.picked.push_back((self.next, time));
            }
            self.last = Some(time);
            self.next += 1;
        }
        if keep.len() == rows.num_rows() {
            return Ok(());
        }
        let no_answer = || Refusal::new(Reason::InternalError, "a row filter gave too few answers");
        // The row behind the last good one lacks its time, or else its keys.
        let refusal = match bad {
            Some(detail) if keep.len() == good.len() => Refusal::new(Reason::TsUtcInvalid, detail).field(TIME_COLUMN),
            _ => unkeyed.unwrap_or_else(no_answer),
        };
        Err(self.at(refusal))
    }

    /// Places and times of the next `count` picked rows; `None` where fewer were picked.
    pub(super) fn take(&mut self, count: usize) -> Option<(Vec<u64>, Vec<Micros>)> {
        (self.picked.len() >= count).then(|| self.picked.drain(..count).unzip())
    }

    /// What to refuse now that all rows picked before it are handed out.
    pub(super) fn refusal(&mut self) -> Option<Refusal> {
        if self.picked.is_empty() { self.refused.take() } else { None }
    }

    fn at(&self, refusal: Refusal) -> Refusal {
        refusal.file(self.name.clone()).row(self.next)
    }
}

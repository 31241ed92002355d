//! Rows picked by some of their columns: these are decoded for all rows, the other columns for the picked ones.
//!
//! ```text
//! the time, the filter's columns ──► Sieve: time, order, keep? ──► places and times of the picked rows
//!                                        │ mask
//! all columns ───────────────────────────┴─► rows, picked
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{BooleanArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderMetadata, RowFilter as DecoderFilter};

use super::error::{ReadError, ReadFault, RowsError};
use super::texts::{NO_UTF8, is_utf8};
use super::times;
use crate::time::Micros;

type Keep<E> = dyn Fn(&RecordBatch, &mut Vec<bool>) -> Result<(), E> + Send + Sync;

/// Picks rows by the values of some columns; it fails with `E`. Clones share it.
pub struct RowFilter<E> {
    columns: Arc<[String]>,
    keep: Arc<Keep<E>>,
}

impl<E> Clone for RowFilter<E> {
    fn clone(&self) -> Self {
        Self { columns: self.columns.clone(), keep: self.keep.clone() }
    }
}

impl<E> RowFilter<E> {
    /// Rows for which `keep`, which looks at these columns alone, appends `true`. It gets rows in file order and appends
    /// one answer a row; an error refuses the row behind the last answer, and object and row are added to it.
    pub fn new(
        columns: Vec<String>,
        keep: impl Fn(&RecordBatch, &mut Vec<bool>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        Self { columns: columns.into(), keep: Arc::new(keep) }
    }

    /// The columns that it looks at.
    pub(super) fn columns(&self) -> &Arc<[String]> {
        &self.columns
    }
}

/// The places of `columns` and of the time in the schema.
pub(super) fn roots(metadata: &ArrowReaderMetadata, columns: &[String], time_column: &str) -> Vec<usize> {
    let fields = metadata.schema().fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| field.name() == time_column || columns.contains(field.name()));
    wanted.map(|(i, _)| i).collect()
}

/// The same as the decoder takes it.
pub(super) fn projection(metadata: &ArrowReaderMetadata, columns: &[String], time_column: &str) -> ProjectionMask {
    ProjectionMask::roots(metadata.parquet_schema(), roots(metadata, columns, time_column))
}

impl<E: Send + 'static> RowFilter<E> {
    /// The filter as the decoder of one part takes it, telling `sieve` of each row.
    pub(super) fn decoder(&self, metadata: &ArrowReaderMetadata, sieve: Sieve<E>) -> DecoderFilter {
        let projection = projection(metadata, &self.columns, &sieve.lock().time_column);
        let filter = self.clone();
        let judge = move |rows: RecordBatch| Ok(sieve.lock().judge(&filter, &rows));
        DecoderFilter::new(vec![Box::new(ArrowPredicateFn::new(projection, judge))])
    }
}

impl<E> fmt::Debug for RowFilter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFilter").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// What the filter of one part has seen. Clones share it: the decoder fills it, the reader takes from it.
#[derive(Debug)]
pub(super) struct Sieve<E>(Arc<Mutex<Seen<E>>>);

impl<E> Clone for Sieve<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Sieve<E> {
    /// From row `next` of the part called `name`, behind a row at `last`.
    pub(super) fn new(name: String, time_column: Arc<str>, next: u64, last: Option<Micros>) -> Self {
        let (picked, refused, checks_texts) = (VecDeque::new(), None, false);
        Self(Arc::new(Mutex::new(Seen { name, time_column, next, last, picked, refused, checks_texts })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Sieve`].
#[derive(Debug)]
pub(super) struct Seen<E> {
    name: String,
    time_column: Arc<str>,
    /// The first row not looked at yet.
    pub(super) next: u64,
    /// The time of the row before it.
    pub(super) last: Option<Micros>,
    /// Rows picked and not yet handed out.
    picked: VecDeque<(u64, Micros)>,
    /// What row `next` is refused for. No row is picked from then on.
    refused: Option<RowsError<E>>,
    /// The decoder has not checked each text by itself.
    pub(super) checks_texts: bool,
}

impl<E> Seen<E> {
    /// Judges the next rows: all have to have a time, in order, whether they are picked or not.
    fn judge(&mut self, filter: &RowFilter<E>, rows: &RecordBatch) -> BooleanArray {
        let mut keep = Vec::with_capacity(rows.num_rows());
        if self.refused.is_none() {
            self.refused = self.judge_until_refused(filter, rows, &mut keep).err();
        }
        keep.resize(rows.num_rows(), false);
        BooleanArray::from(keep)
    }

    fn judge_until_refused(
        &mut self,
        filter: &RowFilter<E>,
        rows: &RecordBatch,
        keep: &mut Vec<bool>,
    ) -> Result<(), RowsError<E>> {
        if self.checks_texts && !rows.columns().iter().all(is_utf8) {
            return Err(ReadError::new(ReadFault::Unreadable, NO_UTF8).object(self.name.clone()).into());
        }
        let no_column = || self.bad_time(ReadFault::NoTime, "no such column");
        let column = rows.column_by_name(&self.time_column).ok_or_else(no_column)?;
        let times::Times { good, bad } = times::read(column);
        let unkeyed = (filter.keep)(rows, keep).err();
        keep.truncate(good.len());
        for i in 0..keep.len() {
            let time = good[i];
            if let Some(before) = self.last.filter(|last| time < *last) {
                keep.truncate(i);
                let detail = format!("{time} comes after {before}");
                return Err(self.bad_time(ReadFault::OutOfOrder, detail));
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
        // The row behind the last good one lacks its time, or else its keys.
        Err(match (bad, unkeyed) {
            (Some(detail), _) if keep.len() == good.len() => self.bad_time(ReadFault::NoTime, detail),
            (_, Some(error)) => RowsError::Filter { object: self.name.clone(), row: self.next, error },
            (_, None) => {
                let error = ReadError::new(ReadFault::Internal, "a row filter gave too few answers");
                error.object(self.name.clone()).row(self.next).into()
            }
        })
    }

    /// Places and times of the next `count` picked rows; `None` where fewer were picked.
    pub(super) fn take(&mut self, count: usize) -> Option<(Vec<u64>, Vec<Micros>)> {
        (self.picked.len() >= count).then(|| self.picked.drain(..count).unzip())
    }

    /// What to refuse now that all rows picked before it are handed out.
    pub(super) fn refused(&mut self) -> Option<RowsError<E>> {
        if self.picked.is_empty() { self.refused.take() } else { None }
    }

    /// The error of row `next`, whose time is none or earlier than the one before.
    fn bad_time(&self, fault: ReadFault, detail: impl Into<String>) -> RowsError<E> {
        let error = ReadError::new(fault, detail).object(self.name.clone()).row(self.next);
        error.column(&*self.time_column).into()
    }
}

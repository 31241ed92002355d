//! The rows of Parquet objects as batches with their event times, from any row on.
//!
//! ```text
//! Parts ──one slice of a row group at a time──► decode ──► times and their order ──► Rows
//!              └─ the next one, fetched while the last rows are read
//! ```

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{Stream, stream};

use super::decoding::Open;
use super::error::{ReadError, ReadFault, RowsError};
use super::filter::{RowFilter, Sieve};
use super::loading::{Loaded, Loading, Place, Room};
use super::part::Part;
use super::rows::Rows;
use super::scan::{Parts, Resume, Scan};
use super::times;
use crate::time::Micros;

/// Rows of a slice that are left when the next one is fetched. At 100,000 rows/s it has a third of a second to come, and
/// two row groups of `DuckDB`'s size are held for a quarter of the time.
const AHEAD_ROWS: u64 = 32_768;

impl Parts {
    /// The rows that `scan` asks for, in order; of these the ones that `filter` picks, where there is one. [`Rows::seq`] counts from
    /// the first of them, and so does a limit. Skipped row groups are not fetched, skipped rows not decoded. While the last
    /// 32,768 rows of a row group are decoded and delivered the next one is fetched, within [`Scan::memory`] and
    /// [`Scan::prefetch`].
    ///
    /// A filter's columns are decoded for all rows, the others for picked ones; of a row group without a picked row nothing
    /// else is fetched, and ahead only the filter's columns are.
    ///
    /// The stream ends with its first error; every good row before the one that is refused comes first.
    ///
    /// # Errors
    ///
    /// A resume beyond the last row; a row without a time or out of order, whether picked or not, with object and row; what the
    /// filter refuses a row for; an object that can't be read. A fault in a column that the filter doesn't see is found where
    /// its row is picked.
    pub fn batches<E: Send + 'static>(
        self: Arc<Self>,
        scan: Scan,
        filter: Option<RowFilter<E>>,
    ) -> impl Stream<Item = Result<Rows, RowsError<E>>> + Send {
        let Resume { file, row, after } = scan.from;
        let reader = Reader {
            parts: self,
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
                Ok(Some(rows)) => Some((Ok(rows), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Reader<E> {
    parts: Arc<Parts>,
    scan: Scan,
    filter: Option<RowFilter<E>>,
    file: usize,
    /// The next row of that file.
    row: u64,
    delivered: u64,
    last: Option<Micros>,
    open: Option<Open<E>>,
    /// What comes after it.
    ahead: Option<Loading>,
    /// What the row after the rows handed out last was refused for.
    refused: Option<ReadError>,
}

impl<E: Send + 'static> Reader<E> {
    async fn next(&mut self) -> Result<Option<Rows>, RowsError<E>> {
        if let Some(error) = self.refused.take() {
            return Err(error.into());
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
    async fn open_next(&mut self) -> Result<Option<Open<E>>, ReadError> {
        let Some((file, row)) = self.parts.place(self.file, self.row)? else { return Ok(None) };
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
        let sieve = self.filter.as_ref().map(|_| {
            let (name, time_column) = (self.parts.name(file), self.parts.time_column.clone());
            Sieve::new(name, time_column, row, self.last)
        });
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
            let Ok(Some((file, row))) = self.parts.place(self.file, slice.end()) else { return };
            let part = (file == self.file).then(|| part.clone());
            let room = Room { bytes: self.scan.memory.saturating_sub(slice.cost.all()), permit };
            self.ahead = Some(Loading::new(self.place(file, row, part), room));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.nudge().await;
        }
    }

    fn place(&self, file: usize, row: u64, part: Option<Arc<Part>>) -> Place {
        let (parts, scan) = (self.parts.clone(), self.scan.clone());
        let filtered = self.filter.as_ref().map(|filter| filter.columns().clone());
        Place { parts, scan, filtered, at: file, row, part }
    }

    /// Leaves the slice at hand, if `next` is the row behind it.
    fn end_slice(&mut self, next: u64) -> Result<(), ReadError> {
        let Some(Open { loaded: Loaded { part, slice, .. }, .. }) = self.open.take() else { return Ok(()) };
        if next == slice.end() {
            self.row = next;
            return Ok(());
        }
        let rows = self.parts.list[self.file].rows;
        Err(part.source.unreadable(format!("{next} rows could be read, its footer says {rows}")))
    }

    /// Takes in the rows up to the first that has no time or stands before its predecessor.
    fn accept(&mut self, rows: RecordBatch) -> Result<Option<Rows>, ReadError> {
        let parts = self.parts.clone();
        let refused = |fault, row: u64, detail: String| {
            ReadError::new(fault, detail).object(parts.name(self.file)).row(row).column(&*parts.time_column)
        };
        let Some(column) = rows.column_by_name(&parts.time_column) else {
            return Err(refused(ReadFault::NoTime, self.row, "no such column".to_owned()));
        };
        let times::Times { mut good, bad } = times::read(column);
        let mut refusal = bad.map(|detail| refused(ReadFault::NoTime, self.row + good.len() as u64, detail));
        let mut last = self.last;
        for (i, time) in good.iter().enumerate() {
            if let Some(before) = last.filter(|last| time < last) {
                let detail = format!("{time} comes after {before}");
                refusal = Some(refused(ReadFault::OutOfOrder, self.row + i as u64, detail));
                good.truncate(i);
                break;
            }
            last = Some(*time);
        }
        self.last = last;
        self.refused = refusal;
        if good.is_empty() {
            return self.refused.take().map_or(Ok(None), Err);
        }
        let rows = if good.len() < rows.num_rows() { rows.slice(0, good.len()) } else { rows };
        let count = good.len() as u64;
        let rows = Rows::new(self.file, self.row, self.delivered, good, rows);
        self.row += count;
        self.delivered += count;
        Ok(Some(rows))
    }
}

impl<E: Send + 'static> Reader<E> {
    /// Takes in the next picked rows, or the end of the part.
    fn accept_picked(&mut self, rows: Option<RecordBatch>, sieve: &Sieve<E>) -> Result<Option<Rows>, RowsError<E>> {
        let mut seen = sieve.lock();
        let Some(rows) = rows else {
            if let Some(refused) = seen.refused() {
                return Err(refused);
            }
            // The end of the rows, unless the limit ended them.
            if self.delivered < self.scan.limit {
                self.last = seen.last;
                self.end_slice(seen.next)?;
            }
            return Ok(None);
        };
        let Some((places, times)) = seen.take(rows.num_rows()) else {
            let detail = format!("{} rows came, and fewer were picked", rows.num_rows());
            return Err(ReadError::new(ReadFault::Internal, detail).object(self.parts.name(self.file)).into());
        };
        let Some(last) = places.last() else { return Ok(None) };
        self.row = last + 1;
        let count = places.len() as u64;
        let rows = Rows::picked(self.file, places, self.delivered, times, rows);
        self.delivered += count;
        Ok(Some(rows))
    }
}

#[cfg(test)]
mod tests;

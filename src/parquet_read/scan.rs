//! What is read: which objects, from which row on, and how much at a time.
//!
//! ```text
//! Parts: objects, their lengths, the time's column ┐
//! Scan: from where, how many, which columns, memory ┴─► batches
//! ```

use std::sync::Arc;

use arrow_schema::Schema;

use super::error::{ReadError, ReadFault};
use super::share::Prefetch;
use super::source::ParquetObject;
use crate::store::ObjectStore;
use crate::time::Micros;

/// Memory that one scan may take where nothing else is said, in bytes.
const DEFAULT_MEMORY: u64 = 64 << 20;

/// Parquet objects whose rows are one sequence in the order of their event times, each object a part of it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where they lie.
    pub store: Arc<dyn ObjectStore>,
    /// The parts, ascending.
    pub list: Vec<PartRows>,
    /// The column of the event times.
    pub time_column: Arc<str>,
    /// The columns that are read where a scan says nothing else, by their places in a part's schema; the time is one of them.
    pub columns: fn(&Schema) -> Vec<usize>,
}

/// A part and its length.
#[derive(Debug, Clone)]
pub struct PartRows {
    /// The object.
    pub object: ParquetObject,
    /// Its rows.
    pub rows: u64,
}

/// The first row to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resume {
    /// Index into [`Parts::list`].
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

/// Which rows to read, and how.
#[derive(Debug, Clone)]
pub struct Scan {
    pub(super) from: Resume,
    pub(super) limit: u64,
    pub(super) batch_rows: usize,
    /// The columns to read beside the time, where not all of them.
    pub(super) columns: Option<Arc<[String]>>,
    pub(super) memory: u64,
    pub(super) prefetch: Prefetch,
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

    /// Event times and those of `columns` that there are: no other column is read.
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

impl Parts {
    /// The full name of part `at`.
    pub(super) fn name(&self, at: usize) -> String {
        self.store.full_name(&self.list[at].object.key)
    }

    /// This place, or where the row after it stands: what lies behind a part's last row is the next part's first. `None`
    /// behind the last part.
    pub(super) fn place(&self, mut file: usize, mut row: u64) -> Result<Option<(usize, u64)>, ReadError> {
        while let Some(part) = self.list.get(file) {
            if row < part.rows {
                return Ok(Some((file, row)));
            }
            if row > part.rows {
                let detail = format!("the part has {} rows", part.rows);
                return Err(ReadError::new(ReadFault::NoSuchRow, detail).object(self.name(file)).row(row));
            }
            (file, row) = (file + 1, 0);
        }
        // Only the place just after the last row is an end; a resume may name anything.
        if (file, row) == (self.list.len(), 0) {
            return Ok(None);
        }
        let detail = format!("row {row} of part {file} is asked for; there are {} parts", self.list.len());
        Err(ReadError::new(ReadFault::NoSuchRow, detail))
    }
}

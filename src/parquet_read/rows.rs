//! Rows as the reader gives them out: columns, times, and where each row stands.

use arrow_array::RecordBatch;

use crate::time::Micros;

/// Decoded rows of one part, in its order.
#[derive(Debug)]
pub struct Rows {
    part: usize,
    places: Places,
    first_seq: u64,
    times: Vec<Micros>,
    columns: RecordBatch,
}

/// Where in the part the rows of a batch stand.
#[derive(Debug)]
enum Places {
    /// One behind the other, from this row on.
    From(u64),
    /// At these rows, ascending: other rows between them are not in the batch.
    At(Vec<u64>),
}

impl Rows {
    /// Rows one behind the other: the first is row `first_row` of part `part`, and `first_seq` rows were given out before it. `times`
    /// holds the event time of each.
    ///
    /// # Panics
    ///
    /// If `times` and `columns` differ in length.
    #[must_use]
    pub fn new(part: usize, first_row: u64, first_seq: u64, times: Vec<Micros>, columns: RecordBatch) -> Self {
        assert_eq!(times.len(), columns.num_rows(), "one time a row");
        Self { part, places: Places::From(first_row), first_seq, times, columns }
    }

    /// Rows picked out of a part: `places` holds the row of each, ascending.
    ///
    /// # Panics
    ///
    /// If `places`, `times` and `columns` differ in length.
    #[must_use]
    pub fn picked(part: usize, places: Vec<u64>, first_seq: u64, times: Vec<Micros>, columns: RecordBatch) -> Self {
        assert_eq!(times.len(), columns.num_rows(), "one time a row");
        assert_eq!(places.len(), columns.num_rows(), "one place a row");
        Self { part, places: Places::At(places), first_seq, times, columns }
    }

    /// The part, an index into [`Parts::list`](super::Parts::list).
    #[inline]
    #[must_use]
    pub fn part(&self) -> usize {
        self.part
    }

    /// The event times, one a row.
    #[inline]
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        &self.times
    }

    /// The columns.
    #[inline]
    #[must_use]
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// Where row `i` of this batch stands in its part, from 0.
    #[inline]
    #[must_use]
    pub fn row(&self, i: usize) -> u64 {
        match &self.places {
            Places::From(first) => first + i as u64,
            Places::At(rows) => rows[i],
        }
    }

    /// How many rows the scan gave out before row `i` of this batch.
    #[inline]
    #[must_use]
    pub fn seq(&self, i: usize) -> u64 {
        self.first_seq + i as u64
    }
}

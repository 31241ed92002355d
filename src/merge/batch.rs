//! What is merged: batches of rows, and the slices of them that come out.

use std::sync::Arc;

use crate::time::Micros;

/// Rows of one source, in order. The merge reads event times and keys and leaves the rest alone.
pub trait Batch {
    /// Orders rows of equal event time, of all sources.
    type Key: Ord;

    /// The event times, one a row; they never go back.
    fn times(&self) -> &[Micros];

    /// The key of row `row`; within a source keys of one event time ascend.
    fn key(&self, row: usize) -> Self::Key;
}

/// Consecutive rows `from..to` of one batch that stand next to each other in canonical order.
#[derive(Debug)]
pub struct Slice<B> {
    /// The batch.
    pub batch: Arc<B>,
    /// First row, an index into the batch.
    pub from: usize,
    /// One past the last row; never `from` itself.
    pub to: usize,
}

impl<B> Clone for Slice<B> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), from: self.from, to: self.to }
    }
}

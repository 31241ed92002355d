//! One output as the merge sees it: the batch at hand and the row in it that comes next.
//!
//! ```text
//! stream ──RowBatch──► Source { batch, next row } ──rows before another head──► Run
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use crate::model::{Micros, Refusal, RowBatch, Run};

/// A row's full key, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    ts: Micros,
    rank: u16,
    file: u32,
    row: u64,
}

impl Head {
    fn of(batch: &RowBatch, i: usize) -> Self {
        let position = batch.position(i);
        Self { ts: batch.times()[i], rank: position.rank, file: position.file, row: position.row }
    }
}

/// Where one output stands.
pub(super) enum Source<S> {
    /// It has to be asked for its next batch.
    Empty(Pin<Box<S>>),
    /// It has a batch with at least one row left.
    Held {
        /// The rest of the output.
        stream: Pin<Box<S>>,
        /// The batch at hand.
        batch: Arc<RowBatch>,
        /// The next row's index in it.
        next: usize,
        /// The next row's key.
        head: Head,
    },
    /// It ended with a refusal.
    Failed(Refusal),
    /// It has no more rows.
    Done,
}

impl<S> Source<S>
where
    S: Stream<Item = Result<RowBatch, Refusal>>,
{
    /// Asks an empty source for its next batch; pending as long as it has none.
    pub(super) fn refill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Source::Empty(stream) = self else { return Poll::Ready(()) };
        let batch = loop {
            match stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(batch))) if batch.times().is_empty() => {}
                Poll::Ready(item) => break item,
            }
        };
        *self = match batch {
            None => Source::Done,
            Some(Err(refusal)) => Source::Failed(refusal),
            Some(Ok(batch)) => match std::mem::replace(self, Source::Done) {
                Source::Empty(stream) => {
                    Source::Held { stream, head: Head::of(&batch, 0), batch: Arc::new(batch), next: 0 }
                }
                other => other,
            },
        };
        Poll::Ready(())
    }

    /// The key of the next row, where there is one at hand.
    pub(super) fn head(&self) -> Option<Head> {
        match self {
            Source::Held { head, .. } => Some(*head),
            _ => None,
        }
    }

    /// Takes the rows that come before `bound`, at most `room` of them and at least one.
    pub(super) fn take(&mut self, bound: Option<Head>, room: usize) -> Option<Run> {
        let Source::Held { batch, next, head, .. } = self else { return None };
        let from = *next;
        let cap = batch.times().len().min(from.saturating_add(room.max(1)));
        let to = match bound {
            Some(bound) => end_before(batch, from, cap, bound),
            None => cap,
        };
        let run = Run { batch: batch.clone(), from, to };
        if to < batch.times().len() {
            *next = to;
            *head = Head::of(batch, to);
        } else if let Source::Held { stream, .. } = std::mem::replace(self, Source::Done) {
            *self = Source::Empty(stream);
        }
        Some(run)
    }
}

/// The first index in `from + 1 .. cap` whose key is not below `bound`, else `cap`. Steps double before the
/// search halves them: outputs interleave finely, so the end is mostly near.
fn end_before(batch: &RowBatch, from: usize, cap: usize, bound: Head) -> usize {
    let mut low = from + 1;
    let mut step = 1;
    let mut high = loop {
        let probe = low.saturating_add(step - 1);
        if probe >= cap {
            break cap;
        }
        if Head::of(batch, probe) >= bound {
            break probe;
        }
        low = probe + 1;
        step *= 2;
    };
    while low < high {
        let middle = low + (high - low) / 2;
        if Head::of(batch, middle) < bound {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

//! One output as the merge sees it: the current batch and the next row in it.
//!
//! ```text
//! stream ──batch──► Source { batch, next row } ──rows before another head──► Slice
//! ```

use std::cmp::Ordering;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::batch::{Batch, Slice};
use crate::time::Micros;

/// Where one output stands.
pub(super) enum Source<S, B, E> {
    /// It has to be asked for its next batch.
    Empty(Pin<Box<S>>),
    /// It has a batch with at least one row left.
    Held {
        /// The rest of the output.
        stream: Pin<Box<S>>,
        /// The batch at hand.
        batch: Arc<B>,
        /// The next row's index in it.
        next: usize,
    },
    /// It ended with a refusal.
    Failed(E),
    /// It has no more rows.
    Done,
}

impl<S, B, E> Source<S, B, E>
where
    S: Stream<Item = Result<B, E>>,
    B: Batch,
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
            Some(Err(error)) => Source::Failed(error),
            Some(Ok(batch)) => match std::mem::replace(self, Source::Done) {
                Source::Empty(stream) => Source::Held { stream, batch: Arc::new(batch), next: 0 },
                other => other,
            },
        };
        Poll::Ready(())
    }

    /// The time of the next row, where there is one at hand.
    pub(super) fn time(&self) -> Option<Micros> {
        match self {
            Source::Held { batch, next, .. } => Some(batch.times()[*next]),
            _ => None,
        }
    }

    /// The rest of its key: what decides among rows of one time.
    pub(super) fn key(&self) -> Option<B::Key> {
        match self {
            Source::Held { batch, next, .. } => Some(batch.key(*next)),
            _ => None,
        }
    }

    /// Appends the rows that come before the next row of `other`, at most `room` of them and at least one; gives how many.
    pub(super) fn take(&mut self, other: Option<&Self>, room: usize, slices: &mut Vec<Slice<B>>) -> usize {
        let Source::Held { batch, next, .. } = self else { return 0 };
        let from = *next;
        let cap = batch.times().len().min(from.saturating_add(room.max(1)));
        let to = match other.and_then(|other| Some((other.time()?, other))) {
            // The rest of a key is only asked for where the time doesn't decide.
            Some((time, other)) => end_before(from, cap, |i| match batch.times()[i].cmp(&time) {
                Ordering::Equal => Some(batch.key(i)) < other.key(),
                order => order.is_lt(),
            }),
            None => cap,
        };
        slices.push(Slice { batch: batch.clone(), from, to });
        if to < batch.times().len() {
            *next = to;
        } else if let Source::Held { stream, .. } = std::mem::replace(self, Source::Done) {
            *self = Source::Empty(stream);
        }
        to - from
    }
}

/// The first index in `from + 1 .. cap` that is not `below` the bound, else `cap`. Steps double before the
/// search halves them: outputs interleave finely, so the end is mostly near.
fn end_before(from: usize, cap: usize, below: impl Fn(usize) -> bool) -> usize {
    let mut low = from + 1;
    let mut step = 1;
    let mut high = loop {
        let probe = low.saturating_add(step - 1);
        if probe >= cap {
            break cap;
        }
        if !below(probe) {
            break probe;
        }
        low = probe + 1;
        step *= 2;
    };
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

//! Many outputs become one stream, in canonical order: (`ts_utc`, output rank, file, row).
//!
//! ```text
//! output 0 ──RowBatch──┐
//! output 1 ──RowBatch──┼─► merge ──Vec<Run>──► take_rows ──Vec<Run>──►
//! output k ──RowBatch──┘
//! ```
//!
//! Rows are never copied. What flows on are ranges of batches ([`Run`]), each as long as the other outputs
//! allow, so the cost is one comparison of heads a range, not a row.

mod head;
mod take;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::model::{Refusal, RowBatch, Run};

use head::{Head, Source};
pub use take::{RunsExt, TakeRows};

/// Rows a chunk holds where nothing else is asked for.
pub const DEFAULT_CHUNK_ROWS: usize = 256;

/// Merges outputs into one stream of runs. Each source is one output whose batches come in (file, row) order with
/// times that never go back, which the reader before it has checked.
///
/// The rows and their order depend on the batches alone, never on which source was ready first; where one
/// chunk ends and the next begins does depend on it. Ties go by the full key.
#[must_use = "streams do nothing unless polled"]
pub fn merge<S>(sources: Vec<S>) -> Merge<S>
where
    S: Stream<Item = Result<RowBatch, Refusal>>,
{
    Merge {
        sources: sources.into_iter().map(|stream| Source::Empty(Box::pin(stream))).collect(),
        chunk_rows: DEFAULT_CHUNK_ROWS,
        refill: true,
        ended: false,
    }
}

/// The stream behind [`merge`].
///
/// When a source fails, everything that comes before its missing rows is still emitted, then its refusal, then
/// the end: nothing that might have to stand behind a missing row gets out. Where several fail at one point the
/// first of them in the order of the sources is reported.
#[must_use = "streams do nothing unless polled"]
pub struct Merge<S> {
    sources: Vec<Source<S>>,
    chunk_rows: usize,
    /// Some source has to be asked for its next batch, or has failed.
    refill: bool,
    ended: bool,
}

impl<S> Merge<S> {
    /// Rows a chunk holds at most (at least 1; [`DEFAULT_CHUNK_ROWS`] where not set). A chunk is shorter when
    /// a source that has to be heard first is not ready.
    pub fn chunk_rows(mut self, rows: usize) -> Self {
        self.chunk_rows = rows.max(1);
        self
    }
}

impl<S> Merge<S>
where
    S: Stream<Item = Result<RowBatch, Refusal>>,
{
    /// Takes maximal runs while every source has a head, up to the chunk's size.
    fn fill(&mut self, cx: &mut Context<'_>, chunk: &mut Vec<Run>) -> Filled {
        let mut room = self.chunk_rows;
        loop {
            if self.refill {
                // All empty sources are polled, also behind one that is pending or failed: their reads overlap,
                // and which failure is reported does not hang on who answered first.
                let mut pending = false;
                for source in &mut self.sources {
                    pending |= source.refill(cx).is_pending();
                }
                if pending {
                    return Filled::Starved;
                }
                if self.sources.iter().any(|source| matches!(source, Source::Failed(_))) {
                    return Filled::Failed;
                }
                self.refill = false;
            }
            let Some((first, bound)) = self.first_and_bound() else { return Filled::Over };
            if room == 0 {
                return Filled::Full;
            }
            if let Some(run) = self.sources[first].take(bound, room) {
                room -= run.to - run.from;
                chunk.push(run);
            }
            self.refill = self.sources[first].head().is_none();
        }
    }

    /// The source whose head comes first, and the head that comes next among the others.
    fn first_and_bound(&self) -> Option<(usize, Option<Head>)> {
        let mut heads = self.sources.iter().enumerate().filter_map(|(i, source)| Some((i, source.head()?)));
        let (mut first, mut lowest) = heads.next()?;
        let mut bound: Option<Head> = None;
        for (i, head) in heads {
            if head < lowest {
                bound = Some(lowest);
                (first, lowest) = (i, head);
            } else if bound.is_none_or(|bound| head < bound) {
                bound = Some(head);
            }
        }
        Some((first, bound))
    }

    fn first_failure(&mut self) -> Option<Refusal> {
        let failed = self.sources.iter().position(|source| matches!(source, Source::Failed(_)))?;
        match std::mem::replace(&mut self.sources[failed], Source::Done) {
            Source::Failed(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Why a chunk got no further rows.
enum Filled {
    /// It is as large as it may be.
    Full,
    /// A source that has to be heard first is pending; its waker is set.
    Starved,
    /// A source has failed, and its missing rows would be next or later.
    Failed,
    /// All sources are at their end.
    Over,
}

impl<S> Stream for Merge<S>
where
    S: Stream<Item = Result<RowBatch, Refusal>>,
{
    type Item = Result<Vec<Run>, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut chunk = Vec::new();
        let filled = this.fill(cx, &mut chunk);
        if !chunk.is_empty() {
            // What stopped the chunk is found again by the next poll.
            return Poll::Ready(Some(Ok(chunk)));
        }
        match filled {
            Filled::Starved => Poll::Pending,
            Filled::Full | Filled::Over => {
                this.end();
                Poll::Ready(None)
            }
            Filled::Failed => {
                let failure = this.first_failure();
                this.end();
                Poll::Ready(failure.map(Err))
            }
        }
    }
}

impl<S> Merge<S> {
    /// Lets go of all batches and readers.
    fn end(&mut self) {
        self.ended = true;
        self.sources.clear();
    }
}

// Sources sit in boxes, so moving the merge moves none of them.
impl<S> Unpin for Merge<S> {}

impl<S> fmt::Debug for Merge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge")
            .field("sources", &self.sources.len())
            .field("chunk_rows", &self.chunk_rows)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

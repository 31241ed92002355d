//! Merges sources into one stream in canonical order: event time, then the batches' own key.
//!
//! ```text
//! source 0 ──batch──┐
//! source 1 ──batch──┼─► merge ──Vec<Slice>──► take_rows ──Vec<Slice>──►
//! source k ──batch──┘
//! ```
//!
//! Rows are never copied. The merge emits ranges of batches ([`Slice`]), each as long as the other sources
//! allow, so it compares heads once for each range, not for each row.

mod batch;
mod head;
mod take;

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::time::Micros;

pub use batch::{Batch, Slice};
use head::Source;
pub use take::{SlicesExt, TakeRows};

/// Rows a chunk holds where nothing else is asked for.
pub const DEFAULT_CHUNK_ROWS: usize = 256;

/// Merges sources into one stream of slices. The batches of a source come in order, with times that never go back: whoever
/// reads them checks that.
///
/// The rows and their order depend on the batches alone, never on which source was ready first; where one
/// chunk ends and the next begins does depend on it. Ties go by the full key.
#[must_use = "streams do nothing unless polled"]
pub fn merge<S, B, E>(sources: Vec<S>) -> Merge<S, B, E>
where
    S: Stream<Item = Result<B, E>>,
    B: Batch,
{
    Merge {
        sources: sources.into_iter().map(|stream| Source::Empty(Box::pin(stream))).collect(),
        order: Vec::new(),
        chunk_rows: DEFAULT_CHUNK_ROWS,
        last_slices: 0,
        refill: true,
        ended: false,
    }
}

/// The stream behind [`merge`].
///
/// When a source fails, everything that comes before its missing rows is still emitted, then its error, then
/// the end: nothing that might have to stand behind a missing row gets out. Where several fail at one point the
/// first of them in the order of the sources is reported.
#[must_use = "streams do nothing unless polled"]
pub struct Merge<S, B, E> {
    sources: Vec<Source<S, B, E>>,
    /// The sources that have a row at hand, each behind that row's time, in the order of those rows; right unless
    /// `refill` is set.
    order: Vec<(Micros, usize)>,
    chunk_rows: usize,
    /// Slices of the last chunk: the next one will have about as many.
    last_slices: usize,
    /// Some source has to be asked for its next batch, or has failed.
    refill: bool,
    ended: bool,
}

impl<S, B, E> Merge<S, B, E> {
    /// Rows a chunk holds at most (at least 1; [`DEFAULT_CHUNK_ROWS`] where not set). A chunk is shorter when
    /// a source that has to be heard first is not ready.
    pub fn chunk_rows(mut self, rows: usize) -> Self {
        self.chunk_rows = rows.max(1);
        self
    }
}

impl<S, B, E> Merge<S, B, E>
where
    S: Stream<Item = Result<B, E>>,
    B: Batch,
{
    /// Takes maximal slices while every source has a head, up to the chunk's size.
    fn fill(&mut self, cx: &mut Context<'_>, chunk: &mut Vec<Slice<B>>) -> Filled {
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
                self.put_in_order();
            }
            let Some(&(_, first)) = self.order.first() else { return Filled::Over };
            if room == 0 {
                return Filled::Full;
            }
            // Two different sources, so there always is a pair of them.
            let taken = match self.order.get(1) {
                Some(&(_, second)) => self
                    .sources
                    .get_disjoint_mut([first, second])
                    .map_or(0, |[first, second]| first.take(Some(second), room, chunk)),
                None => self.sources[first].take(None, room, chunk),
            };
            room -= taken;
            match self.sources[first].time() {
                Some(time) => self.put_back(time, first),
                None => self.refill = true,
            }
        }
    }

    fn put_in_order(&mut self) {
        let Self { sources, order, .. } = self;
        order.clear();
        order.extend(sources.iter().enumerate().filter_map(|(i, source)| Some((source.time()?, i))));
        order.sort_unstable_by(|one, other| compare(sources, *one, *other));
    }

    /// Moves the source that was first to where its next row belongs, mostly a place or two.
    fn put_back(&mut self, time: Micros, source: usize) {
        let moved = (time, source);
        let mut at = 0;
        while let Some(other) = self.order.get(at + 1).copied()
            && compare(&self.sources, other, moved).is_lt()
        {
            self.order[at] = other;
            at += 1;
        }
        self.order[at] = moved;
    }

    fn first_failure(&mut self) -> Option<E> {
        let failed = self.sources.iter().position(|source| matches!(source, Source::Failed(_)))?;
        match std::mem::replace(&mut self.sources[failed], Source::Done) {
            Source::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// How the next rows of two sources stand to each other: by time, by the rest of their keys, by the sources' order.
fn compare<S, B, E>(sources: &[Source<S, B, E>], one: (Micros, usize), other: (Micros, usize)) -> Ordering
where
    S: Stream<Item = Result<B, E>>,
    B: Batch,
{
    let key = |(_, source): (Micros, usize)| sources[source].key();
    one.0.cmp(&other.0).then_with(|| key(one).cmp(&key(other))).then(one.1.cmp(&other.1))
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

impl<S, B, E> Stream for Merge<S, B, E>
where
    S: Stream<Item = Result<B, E>>,
    B: Batch,
{
    type Item = Result<Vec<Slice<B>>, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut chunk = Vec::with_capacity(this.last_slices);
        let filled = this.fill(cx, &mut chunk);
        if !chunk.is_empty() {
            this.last_slices = chunk.len();
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

impl<S, B, E> Merge<S, B, E> {
    /// Lets go of all batches and readers.
    fn end(&mut self) {
        self.ended = true;
        self.sources.clear();
        self.order.clear();
    }
}

// Sources sit in boxes, so moving the merge moves none of them.
impl<S, B, E> Unpin for Merge<S, B, E> {}

impl<S, B, E> fmt::Debug for Merge<S, B, E> {
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

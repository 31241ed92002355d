//! Framing as a stage: rows in canonical order become events, the bodies of a chunk in one buffer.
//!
//! ```text
//! Vec<Slice<B>> ──Frame──► Framed { events, rows, fault } ──► Vec<Event>
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::byte_budget::ByteBudget;
use crate::merge::Slice;

/// A chunk's buffer takes no further event once it holds so many bytes. The last of its events keeps all of it in memory.
pub const CHUNK_BYTES: usize = 1 << 20;

/// What makes events of rows.
pub trait Frame {
    /// Rows of one source.
    type Batch;
    /// An event.
    type Event;
    /// Why a row can't become one.
    type Error;

    /// Where the bytes of events are counted.
    fn budget(&self) -> &ByteBudget;

    /// Makes events of a chunk, or of its first rows where they are large. They lie in one buffer, which lives as long as the
    /// last of them.
    fn frame(&mut self, slices: &[Slice<Self::Batch>]) -> Framed<Self::Event, Self::Error>;
}

/// What came of a chunk: the events before the first row that can't be sent, and why it can't.
#[derive(Debug)]
pub struct Framed<T, E> {
    /// In the chunk's order.
    pub events: Vec<T>,
    /// Rows that were looked at. Without a fault there may be fewer than the chunk has.
    pub rows: usize,
    /// Why the next row can't be sent.
    pub fault: Option<E>,
    /// There shall be no more events.
    pub over: bool,
}

/// The buffers of chunks, each sized by the one before.
#[derive(Debug)]
pub struct Buffers {
    event_bytes: usize,
}

impl Buffers {
    /// The first is for events of so many bytes.
    #[must_use]
    pub fn expecting(event_bytes: usize) -> Self {
        Self { event_bytes }
    }

    /// An empty buffer for so many rows, with room for the event that takes it over its bound.
    #[must_use]
    pub fn empty(&self, rows: usize) -> Vec<u8> {
        Vec::with_capacity((rows * self.event_bytes).min(CHUNK_BYTES + self.event_bytes))
    }

    /// A buffer with `events` events in it, counted in `budget` until the last slice of it is dropped.
    pub fn hold(&mut self, mut buffer: Vec<u8>, events: usize, budget: &ByteBudget) -> Bytes {
        if let Some(mean) = buffer.len().checked_div(events) {
            // An eighth of room above the mean, so that the next chunk rarely has to grow its buffer.
            self.event_bytes = mean + mean / 8 + 64;
        }
        if buffer.capacity() > 2 * buffer.len() {
            buffer.shrink_to_fit();
        }
        budget.hold(buffer)
    }
}

/// Framing as a stage.
pub trait FrameExt: Stream + Sized {
    /// Makes each chunk to events. The first row that can't be sent ends the stream with its fault, behind the events before
    /// it; an error from above passes and ends it too. Nothing is made, and no chunk taken, before the framer's budget has
    /// room.
    fn frame<F: Frame>(self, framer: F) -> Frames<Self, F>
    where
        Self: Stream<Item = Result<Vec<Slice<F::Batch>>, F::Error>>,
    {
        Frames { chunks: self, framer, left: Vec::new(), fault: None, done: false }
    }
}

impl<S: Stream> FrameExt for S {}

pin_project! {
    /// The stream behind [`FrameExt::frame`].
    pub struct Frames<S, F: Frame> {
        #[pin]
        chunks: S,
        framer: F,
        // Rows of the chunk taken last that are not looked at yet.
        left: Vec<Slice<F::Batch>>,
        fault: Option<F::Error>,
        done: bool,
    }
}

impl<F: Frame, S: Stream<Item = Result<Vec<Slice<F::Batch>>, F::Error>>> Stream for Frames<S, F> {
    type Item = Result<Vec<F::Event>, F::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if *this.done {
                return Poll::Ready(this.fault.take().map(Err));
            }
            ready!(this.framer.budget().poll_room(cx));
            if this.left.is_empty() {
                match ready!(this.chunks.as_mut().poll_next(cx)) {
                    Some(Ok(slices)) => *this.left = slices,
                    Some(Err(error)) => {
                        *this.done = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => *this.done = true,
                }
                continue;
            }
            let Framed { events, rows, fault, over } = this.framer.frame(this.left);
            skip_rows(this.left, rows);
            *this.done = over || fault.is_some();
            *this.fault = fault;
            if !events.is_empty() {
                return Poll::Ready(Some(Ok(events)));
            }
        }
    }
}

impl<F: Frame, S: Stream<Item = Result<Vec<Slice<F::Batch>>, F::Error>>> FusedStream for Frames<S, F> {
    fn is_terminated(&self) -> bool {
        self.done && self.fault.is_none()
    }
}

/// Takes the first `rows` rows off.
fn skip_rows<B>(slices: &mut Vec<Slice<B>>, mut rows: usize) {
    let whole = slices.iter().take_while(|slice| {
        let length = slice.to - slice.from;
        let taken = length <= rows;
        rows -= if taken { length } else { 0 };
        taken
    });
    let whole = whole.count();
    slices.drain(..whole);
    if let Some(first) = slices.first_mut() {
        first.from += rows;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn slices_are_left_as_far_as_they_were_not_looked_at() {
        let slice = |from, to| Slice { batch: Arc::new(()), from, to };
        let left = |rows| {
            let mut slices = vec![slice(0, 3), slice(5, 6), slice(3, 9)];
            skip_rows(&mut slices, rows);
            slices.iter().map(|slice| (slice.from, slice.to)).collect::<Vec<_>>()
        };
        assert_eq!(left(0), [(0, 3), (5, 6), (3, 9)]);
        assert_eq!(left(3), [(5, 6), (3, 9)]);
        assert_eq!(left(6), [(5, 9)]);
        assert!(left(10).is_empty());
    }
}

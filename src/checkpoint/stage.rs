//! Saves how far a run is answered, while the answers pass through.
//!
//! ```text
//! Delivered ──► Checkpointed ──────────────────────────► Delivered, unchanged
//!                    └─ watermark ─► Saver ─► Save ─► Credit, Layout::saved
//! ```
//!
//! One save is on its way at a time; what is answered meanwhile goes into the next one. The stream's end, good
//! or bad, is passed on only after a last save.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;

use super::layout::{Cause, Layout, Save};
use super::saver::Saver;
use super::unsaved::Unsaved;
use crate::clock::Clock;
use crate::credit::Credit;
use crate::stop::Stop;

/// How long the stream's end may wait for its last save once a stop is requested. Whoever stops a process allows it a limited
/// time, and what is not saved is only sent again.
pub const LAST_SAVE: Duration = Duration::from_secs(20);

/// When to save, and who hears of it.
pub struct CheckpointOptions<C> {
    pub(super) clock: C,
    pub(super) flush_every: u64,
    pub(super) max_interval: Duration,
    pub(super) credit: Option<Credit>,
    pub(super) unsaved: Unsaved,
    pub(super) stop: Stop,
}

impl<C> fmt::Debug for CheckpointOptions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flush_every, max_interval, .. } = self;
        let mut out = f.debug_struct("CheckpointOptions");
        out.field("flush_every", flush_every).field("max_interval", max_interval);
        out.finish_non_exhaustive()
    }
}

impl<C: Clock> CheckpointOptions<C> {
    /// Saves every 100 items and at least once a second.
    #[must_use]
    pub fn new(clock: C) -> Self {
        let max_interval = Duration::from_secs(1);
        Self { clock, flush_every: 100, max_interval, credit: None, unsaved: Unsaved::new(), stop: Stop::new() }
    }

    /// Saves every `items` answered items (at least 1), counted over all sources. A save starts before as many are there,
    /// where that many would be by its end, or where so many items wait for another attempt that the credit of
    /// [`CheckpointOptions::settle`] has no room for as many.
    #[must_use]
    pub fn flush_every(mut self, items: u64) -> Self {
        self.flush_every = items.max(1);
        self
    }

    /// Saves an answered item at most this long after its answer, whatever else comes.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Settles `credit` with the number of items of this start that are durably kept as answered, in whatever order.
    #[must_use]
    pub fn settle(mut self, credit: Credit) -> Self {
        self.credit = Some(credit);
        self
    }

    /// Keeps `unsaved` up to date.
    #[must_use]
    pub fn unsaved(mut self, unsaved: Unsaved) -> Self {
        self.unsaved = unsaved;
        self
    }

    /// Gives the last save up when it takes longer than [`LAST_SAVE`] after `stop` is requested.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// Saving positions, on any stream of answered items.
pub trait CheckpointExt<D, E>: Stream<Item = Result<D, E>> + Sized {
    /// Saves how far this stream is answered into `scope`, as `layout` says, and passes its items on unchanged.
    ///
    /// # Errors
    ///
    /// The stream ends with the error of the first save that fails; where it had failed already, its first error stays,
    /// and [`Layout::and_then`] may add the other to it.
    fn checkpoint<S, L, C>(self, scope: S, layout: L, options: CheckpointOptions<C>) -> Checkpointed<Self, S, L, C>
    where
        S: Save<L::Kept, E>,
        L: Layout<Delivered = D, Error = E>,
        E: Send + 'static,
        C: Clock,
    {
        Checkpointed { stream: self, saver: Saver::new(scope, layout, options), state: State::Flowing }
    }
}

impl<D, E, S: Stream<Item = Result<D, E>>> CheckpointExt<D, E> for S {}

pin_project! {
    /// The stream of [`CheckpointExt::checkpoint`].
    pub struct Checkpointed<T, S, L: Layout, C> {
        #[pin]
        stream: T,
        saver: Saver<S, L, C>,
        state: State<L::Error>,
    }
}

impl<T, S, L: Layout, C> fmt::Debug for Checkpointed<T, S, L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Flowing => "flowing",
            State::Ending(_) => "ending",
            State::Done => "done",
        };
        f.debug_struct("Checkpointed").field("state", &state).finish_non_exhaustive()
    }
}

enum State<E> {
    Flowing,
    /// The stream has ended, with this error if any; the last save is on its way.
    Ending(Option<E>),
    Done,
}

impl<T, S, L, C> Stream for Checkpointed<T, S, L, C>
where
    T: Stream<Item = Result<L::Delivered, L::Error>>,
    S: Save<L::Kept, L::Error>,
    L: Layout,
    L::Error: Send + 'static,
    C: Clock,
{
    type Item = Result<L::Delivered, L::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            match this.state {
                State::Flowing => {
                    if let Err(error) = this.saver.poll_save(cx) {
                        *this.state = State::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                    match this.stream.as_mut().poll_next(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(Ok(delivered))) => {
                            return Poll::Ready(Some(match this.saver.answered(&delivered) {
                                Ok(()) => Ok(delivered),
                                Err(error) => {
                                    *this.state = State::Ending(Some(error));
                                    continue;
                                }
                            }));
                        }
                        Poll::Ready(Some(Err(error))) => *this.state = State::Ending(Some(error)),
                        Poll::Ready(None) => *this.state = State::Ending(None),
                    }
                }
                State::Ending(ended) => {
                    let cause = if ended.is_none() { Cause::End } else { Cause::Failure };
                    let saved = ready!(this.saver.poll_last_save(cx, cause));
                    let ended = match (ended.take(), saved) {
                        (None, Ok(())) => None,
                        (Some(first), Ok(())) => Some(first),
                        (None, Err(second)) => Some(second),
                        (Some(first), Err(second)) => {
                            tracing::error!(%second, "the last positions could not be saved");
                            Some(this.saver.layout().and_then(first, &second))
                        }
                    };
                    *this.state = State::Done;
                    return Poll::Ready(ended.map(Err));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

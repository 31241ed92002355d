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

use futures::Stream;
use pin_project_lite::pin_project;

use super::layout::{Cause, Layout, Save};
use super::options::CheckpointOptions;
use super::saver::Saver;
use crate::clock::Clock;

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

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;

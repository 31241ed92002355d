//! Saves how far a run is answered, while the answers pass through.
//!
//! ```text
//! Delivered ──► Checkpointed ──────────────────────────────► Delivered, unchanged
//!                    └─ watermark ─► Saver ─► scope.save ─► Credit, on_saved
//!                                      └─ what an earlier start left
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
use wsp::clock::Clock;
use wsp::credit::Credit;
use wsp::stop::Stop;

use super::saver::Saver;
use super::{CheckpointScope, Cursor, Earlier, OutputFiles, Unsaved};
use crate::model::{Delivered, Refusal};

/// How long the stream's end may wait for its last save once a stop is requested. Whoever stops a process allows it a limited
/// time, and what is not saved is only sent again.
pub const LAST_SAVE: Duration = Duration::from_secs(20);

/// Why a cursor was saved; the words of the session log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveReason {
    /// Enough events or enough time since the last save.
    PeriodicFlush,
    /// The last row of a file.
    FileComplete,
    /// The last row of the output.
    OutputComplete,
    /// The stream ended before the output did: stopped, capped or failed.
    Stop,
}

impl SaveReason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SaveReason::PeriodicFlush => "periodic_flush",
            SaveReason::FileComplete => "file_complete",
            SaveReason::OutputComplete => "output_complete",
            SaveReason::Stop => "stop",
        }
    }
}

/// A cursor that is durable now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCursor {
    /// The cursor.
    pub cursor: Cursor,
    /// Why it was saved.
    pub reason: SaveReason,
}

pub(super) type OnSaved = Box<dyn FnMut(SavedCursor) + Send>;

/// How and when to save.
pub struct CheckpointOptions<C> {
    pub(super) clock: C,
    pub(super) outputs: Vec<OutputFiles>,
    pub(super) earlier: Earlier,
    pub(super) flush_every: u64,
    pub(super) max_interval: Duration,
    pub(super) credit: Option<Credit>,
    pub(super) on_saved: Option<OnSaved>,
    pub(super) ends_complete: bool,
    pub(super) unsaved: Unsaved,
    pub(super) stop: Stop,
}

impl<C> fmt::Debug for CheckpointOptions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outputs, flush_every, max_interval, .. } = self;
        let mut out = f.debug_struct("CheckpointOptions");
        out.field("outputs", outputs).field("flush_every", flush_every).field("max_interval", max_interval);
        out.finish_non_exhaustive()
    }
}

impl<C: Clock> CheckpointOptions<C> {
    /// Saves every 100 events and at least once a second, for a run of `outputs` in the order of their ranks.
    #[must_use]
    pub fn new(clock: C, outputs: Vec<OutputFiles>) -> Self {
        let max_interval = Duration::from_secs(1);
        Self {
            clock,
            outputs,
            earlier: Earlier::default(),
            flush_every: 100,
            max_interval,
            credit: None,
            on_saved: None,
            ends_complete: false,
            unsaved: Unsaved::new(),
            stop: Stop::new(),
        }
    }

    /// What an earlier start left of the run: it stays kept until cursors have passed it.
    #[must_use]
    pub fn earlier(mut self, earlier: Earlier) -> Self {
        self.earlier = earlier;
        self
    }

    /// Saves every `events` answered events (at least 1), counted over all outputs: the profile's `flush_every`. A save
    /// starts before as many are there, where that many would be by its end, or where so many events wait for another
    /// attempt that the credit of [`CheckpointOptions::settle`] has no room for as many.
    #[must_use]
    pub fn flush_every(mut self, events: u64) -> Self {
        self.flush_every = events.max(1);
        self
    }

    /// Saves an answered event at most this long after its answer, whatever else comes.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Settles `credit` with the number of events of this start that are durably kept as answered, in whatever order.
    #[must_use]
    pub fn settle(mut self, credit: Credit) -> Self {
        self.credit = Some(credit);
        self
    }

    /// Says whether the stream's good end is the end of every output, though their last rows may not be among its
    /// events: then what is saved there is called complete.
    #[must_use]
    pub fn ends_complete(mut self, complete: bool) -> Self {
        self.ends_complete = complete;
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

    /// Tells of each cursor once it is durable. It is called on the stream's own path and must not block.
    #[must_use]
    pub fn on_saved(mut self, tell: impl FnMut(SavedCursor) + Send + 'static) -> Self {
        self.on_saved = Some(Box::new(tell));
        self
    }
}

/// Saving positions, on any stream of answered events.
pub trait CheckpointExt: Stream<Item = Result<Delivered, Refusal>> + Sized {
    /// Saves how far this stream is answered into `scope`, and passes its items on unchanged. Each item's
    /// [`Position`](crate::model::Position) counts from where the run resumed.
    ///
    /// # Errors
    ///
    /// The stream ends with `CHECKPOINT_SAVE_FAILED` when a save fails; where it had failed already, its first
    /// error stays and the detail tells of the other.
    fn checkpoint<C: Clock>(
        self,
        scope: Box<dyn CheckpointScope>,
        options: CheckpointOptions<C>,
    ) -> Checkpointed<Self, C> {
        Checkpointed { stream: self, saver: Saver::new(scope, options), state: State::Flowing }
    }
}

impl<S: Stream<Item = Result<Delivered, Refusal>>> CheckpointExt for S {}

pin_project! {
    /// The stream of [`CheckpointExt::checkpoint`].
    pub struct Checkpointed<S, C> {
        #[pin]
        stream: S,
        saver: Saver<C>,
        state: State,
    }
}

impl<S, C> fmt::Debug for Checkpointed<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointed").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    Flowing,
    /// The stream has ended, with this error if any; the last save is on its way.
    Ending(Option<Refusal>),
    Done,
}

impl<S, C> Stream for Checkpointed<S, C>
where
    S: Stream<Item = Result<Delivered, Refusal>>,
    C: Clock,
{
    type Item = Result<Delivered, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            match this.state {
                State::Flowing => {
                    if let Err(refusal) = this.saver.poll_save(cx) {
                        *this.state = State::Done;
                        return Poll::Ready(Some(Err(refusal)));
                    }
                    match this.stream.as_mut().poll_next(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(Ok(delivered))) => {
                            return Poll::Ready(Some(match this.saver.answered(&delivered) {
                                Ok(()) => Ok(delivered),
                                Err(refusal) => {
                                    *this.state = State::Ending(Some(refusal));
                                    continue;
                                }
                            }));
                        }
                        Poll::Ready(Some(Err(refusal))) => *this.state = State::Ending(Some(refusal)),
                        Poll::Ready(None) => *this.state = State::Ending(None),
                    }
                }
                State::Ending(ended) => {
                    let saved = ready!(this.saver.poll_last_save(cx, ended.is_none()));
                    let ended = match (ended.take(), saved) {
                        (None, Ok(())) => None,
                        (Some(first), Ok(())) => Some(first),
                        (None, Err(second)) => Some(second),
                        (Some(mut first), Err(second)) => {
                            tracing::error!(%second, "the last positions could not be saved");
                            first.detail = format!("{} (and then {second})", first.detail);
                            Some(first)
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

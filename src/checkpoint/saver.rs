//! Decides when what is answered is saved, and keeps one save on its way at a time.
//!
//! ```text
//! answered ─► enough by the end of a save? ─► Layout::kept ─► Save::save ─► durable
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::error::{CheckpointError, CheckpointFault};
use super::layout::{Cause, Layout, Save};
use super::mark::{Mark, Place};
use super::options::{CheckpointOptions, LAST_SAVE};
use super::unsaved::Waiting;
use super::watermark::Watermark;
use crate::clock::Clock;

/// The saving half of [`super::Checkpointed`].
pub(super) struct Saver<S, L: Layout, C> {
    options: CheckpointOptions<C>,
    layout: L,
    watermark: Watermark<L::Mark>,
    /// Items answered now, not to an earlier start.
    answered: u64,
    /// What is kept by saves that are done.
    durable: Covered,
    /// Items that may be answered while a save is on its way, as the last ones had it.
    lead: u64,
    /// A milestone was reached since the last save was started.
    at_milestone: bool,
    /// Resolves when the oldest unsaved item has waited long enough; there is one exactly while some item waits.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    overdue: bool,
    /// Since when items wait to be saved.
    waiting: Waiting,
    /// Resolves when the last save has taken too long after a stop; there is one once the stream has ended.
    too_late: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The scope was told that the run is over.
    finished: bool,
    scope: Scope<S, L>,
}

/// How much a save keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Covered {
    /// Of the watermark's items.
    total: u64,
    /// Of those answered now.
    answered: u64,
}

/// The scope is either here or away with the save that uses it; gone after a save failed.
enum Scope<S, L: Layout> {
    Idle(S),
    Saving { covers: Covered, saving: BoxFuture<'static, Saved<S, L>> },
    Failed,
}

/// A save that is done, or the end of the scope's use.
struct Saved<S, L: Layout> {
    scope: S,
    kept: Option<L::Kept>,
    result: Result<(), L::Error>,
}

impl<S, L, C> Saver<S, L, C>
where
    S: Save<L::Kept, L::Error>,
    L: Layout,
    L::Error: Send + 'static,
    C: Clock,
{
    pub(super) fn new(scope: S, layout: L, options: CheckpointOptions<C>) -> Self {
        Self {
            watermark: Watermark::new(layout.starts()),
            waiting: Waiting::new(options.unsaved.clone()),
            too_late: None,
            options,
            layout,
            answered: 0,
            durable: Covered::default(),
            lead: 0,
            at_milestone: false,
            timer: None,
            overdue: false,
            finished: false,
            scope: Scope::Idle(scope),
        }
    }

    /// What a producer's words for two errors are.
    pub(super) fn layout(&self) -> &L {
        &self.layout
    }

    /// Notes an answered item.
    pub(super) fn answered(&mut self, delivered: &L::Delivered) -> Result<(), L::Error> {
        let mark = self.layout.mark(delivered)?;
        let source = mark.place().source();
        let before = self.watermark.prefix(source);
        let next = self.watermark.next(source);
        if !self.watermark.ack(mark) {
            return Ok(());
        }
        self.answered += u64::from(self.layout.is_sent(delivered));
        if self.watermark.next(source) != next
            && let Some(now) = self.watermark.prefix(source)
        {
            self.at_milestone |= self.layout.is_milestone(before.as_ref(), &now);
        }
        if self.timer.is_none() && !self.overdue {
            let now = self.options.clock.now();
            self.waiting.first(now);
            self.timer = Some(Box::pin(self.options.clock.sleep_until(now + self.options.max_interval)));
        }
        Ok(())
    }

    /// Moves the save on its way along and starts the next one if it is due. Wakes the task when there is more to do.
    pub(super) fn poll_save(&mut self, cx: &mut Context<'_>) -> Result<(), L::Error> {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            (self.timer, self.overdue) = (None, true);
        }
        while let Poll::Ready(saved) = self.poll_saving(cx) {
            saved?;
            let unsaved = self.watermark.total() - self.durable.total;
            if unsaved == 0 || !(self.at_milestone || self.overdue || unsaved >= self.enough()) {
                return Ok(());
            }
            self.start(Cause::Due);
        }
        Ok(())
    }

    /// Unsaved items that start a save: as many fewer than `flush_every` as will come while it is on its way, so that
    /// the credit lasts until its end. Saves one behind the other do most with half of it each.
    ///
    /// Items that wait for another attempt have spent credit that no save gives back. Where they leave less of it than
    /// `flush_every`, what they leave counts: sending would stand before that many are answered.
    fn enough(&self) -> u64 {
        let unsaved = self.answered - self.durable.answered;
        let room = self.options.credit.as_ref().map_or(u64::MAX, |credit| credit.left() + unsaved);
        let every = self.options.flush_every.min(room);
        every.saturating_sub(self.lead).max(every / 2).max(1)
    }

    /// Saves what is left, after a good end or a bad one, and finishes the scope; ready when nothing is, or when a stop has been
    /// waiting for it too long.
    pub(super) fn poll_last_save(&mut self, cx: &mut Context<'_>, cause: Cause) -> Poll<Result<(), L::Error>> {
        if let Poll::Ready(ended) = self.poll_save_rest(cx, cause) {
            return Poll::Ready(ended);
        }
        let CheckpointOptions { clock, stop, .. } = &self.options;
        let too_late = self.too_late.get_or_insert_with(|| Box::pin(stop.overdue(clock.clone(), LAST_SAVE)));
        ready!(too_late.as_mut().poll(cx));
        self.scope = Scope::Failed;
        let detail = format!(
            "the last positions were not saved within {} s of the stop; the events behind the saved ones are sent again",
            LAST_SAVE.as_secs()
        );
        Poll::Ready(Err(not_saved(detail)))
    }

    fn poll_save_rest(&mut self, cx: &mut Context<'_>, cause: Cause) -> Poll<Result<(), L::Error>> {
        self.timer = None;
        loop {
            match ready!(self.poll_saving(cx)) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) if self.watermark.total() > self.durable.total => self.start(cause),
                Ok(()) if self.finished => return Poll::Ready(Ok(())),
                Ok(()) => self.finish(),
            }
        }
    }

    /// Ready when no save is on its way.
    fn poll_saving(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), L::Error>> {
        let (covers, saved) = match &mut self.scope {
            Scope::Idle(_) => return Poll::Ready(Ok(())),
            Scope::Failed => return Poll::Ready(Err(not_saved("an earlier save failed"))),
            Scope::Saving { covers, saving } => (*covers, ready!(saving.as_mut().poll(cx))),
        };
        if let Err(error) = saved.result {
            self.scope = Scope::Failed;
            return Poll::Ready(Err(error));
        }
        self.scope = Scope::Idle(saved.scope);
        self.durable = covers;
        self.waiting.saved();
        // A quarter more than came during this save, or nearly what came during an earlier one.
        let came = self.watermark.total() - covers.total;
        self.lead = (came + came / 4).max(self.lead - self.lead / 8);
        if let Some(credit) = &self.options.credit {
            credit.settle(covers.answered);
        }
        if let Some(kept) = saved.kept {
            self.layout.saved(kept);
        }
        Poll::Ready(Ok(()))
    }

    /// Starts a save of all that is answered, unless one is on its way.
    fn start(&mut self, cause: Cause) {
        let Scope::Idle(mut scope) = std::mem::replace(&mut self.scope, Scope::Failed) else { return };
        let kept = self.layout.kept(&self.watermark, cause);
        let covers = Covered { total: self.watermark.total(), answered: self.answered };
        let saving = async move {
            let result = scope.save(&kept).await;
            Saved { scope, kept: Some(kept), result }
        };
        self.scope = Scope::Saving { covers, saving: saving.boxed() };
        (self.timer, self.overdue, self.at_milestone) = (None, false, false);
        self.waiting.save_starts();
    }

    /// Starts to finish the scope.
    fn finish(&mut self) {
        let Scope::Idle(mut scope) = std::mem::replace(&mut self.scope, Scope::Failed) else { return };
        let finishing = async move {
            let result = scope.finish().await;
            Saved { scope, kept: None, result }
        };
        self.scope = Scope::Saving { covers: self.durable, saving: finishing.boxed() };
        self.finished = true;
    }
}

impl<S, L: Layout, C> Drop for Saver<S, L, C> {
    fn drop(&mut self) {
        self.layout.over(&self.watermark);
    }
}

fn not_saved<E: From<CheckpointError>>(detail: impl Into<String>) -> E {
    CheckpointError::new(CheckpointFault::NotSaved, detail).into()
}

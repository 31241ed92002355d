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
    /// Answered items that credit was spent on.
    answered: u64,
    /// What is kept by saves that are done.
    durable: Covered,
    /// How much may be answered while a save is on its way, as the last ones had it.
    lead: Covered,
    /// A milestone was reached since the last save was started.
    at_milestone: bool,
    /// Resolves when the oldest unsaved item has waited long enough; there is one exactly while some item waits.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    overdue: bool,
    /// Since when items wait to be saved.
    waiting: Waiting,
    /// Resolves when the last save has taken too long after a stop; there is one once the stream has ended.
    too_late: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    end: End,
    scope: Scope<S, L>,
}

/// What was done about the end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing yet.
    Open,
    /// A save was started after it.
    Kept,
    /// The scope was told that the run is over.
    Finished,
}

/// How much is answered, or kept by a save.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Covered {
    /// Of the watermark's items.
    total: u64,
    /// Of those that credit was spent on.
    answered: u64,
}

impl Covered {
    /// What came since `earlier`.
    fn since(self, earlier: Self) -> Self {
        Self { total: self.total - earlier.total, answered: self.answered - earlier.answered }
    }

    /// The lead after a save during which so much came: a quarter more than that, or nearly the lead before.
    fn lead(self, before: Self) -> Self {
        let lead = |came: u64, before: u64| (came + came / 4).max(before - before / 8);
        Self { total: lead(self.total, before.total), answered: lead(self.answered, before.answered) }
    }
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
            lead: Covered::default(),
            at_milestone: false,
            timer: None,
            overdue: false,
            end: End::Open,
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
            let unsaved = self.covered().since(self.durable);
            if unsaved.total == 0 || !(self.at_milestone || self.overdue || self.is_enough(unsaved)) {
                return Ok(());
            }
            self.start(Cause::Due);
        }
        Ok(())
    }

    /// Whether so much is unsaved that a save starts: as much less than `flush_every` as will come while it is on its way, so
    /// that the credit lasts until its end. Saves one after the other do most with half of it each.
    ///
    /// Items that wait for another attempt have spent credit that no save gives back. What they leave of it counts as
    /// `flush_every` does: sending would stop before more is answered. Credit counts requests, of which one may hold several
    /// items.
    fn is_enough(&self, unsaved: Covered) -> bool {
        let enough = |every: u64, lead: u64| every.saturating_sub(lead).max(every / 2).max(1);
        let room = self.options.credit.as_ref().map(|credit| credit.left() + unsaved.answered);
        unsaved.total >= enough(self.options.flush_every, self.lead.total)
            || room.is_some_and(|room| unsaved.answered >= enough(room, self.lead.answered))
    }

    /// All that is answered.
    fn covered(&self) -> Covered {
        Covered { total: self.watermark.total(), answered: self.answered }
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
                Ok(()) if self.has_more(cause) => {
                    self.end = End::Kept;
                    self.start(cause);
                }
                Ok(()) if self.end == End::Finished => return Poll::Ready(Ok(())),
                Ok(()) => self.finish(),
            }
        }
    }

    /// Whether there is something to save once the stream has ended.
    fn has_more(&self, cause: Cause) -> bool {
        self.watermark.total() > self.durable.total || (self.end == End::Open && self.layout.keeps_end(cause))
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
        self.lead = self.covered().since(covers).lead(self.lead);
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
        let covers = self.covered();
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
        self.end = End::Finished;
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

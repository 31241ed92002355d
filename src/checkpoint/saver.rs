//! Decides when the watermark is saved, and keeps one save on its way at a time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::stage::{CheckpointOptions, SaveReason, SavedCursor};
use super::{CheckpointScope, Cursor, Watermark};
use crate::clock::Clock;
use crate::model::{Delivered, Position, Reason, Refusal};

/// The saving half of [`super::Checkpointed`].
pub(super) struct Saver<C> {
    options: CheckpointOptions<C>,
    watermark: Watermark,
    outputs: Vec<OutputState>,
    /// Events covered by saves that are done.
    durable: u64,
    /// An end of a file was reached since the last save was started.
    at_file_end: bool,
    /// Resolves when the oldest unsaved event has waited long enough; there is one exactly while some event waits.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    overdue: bool,
    scope: Scope,
}

/// The scope is either here or away with the save that uses it; gone after a save failed.
enum Scope {
    Idle(Box<dyn CheckpointScope>),
    Saving { covers: u64, saving: BoxFuture<'static, Saved> },
    Failed,
}

struct Saved {
    scope: Box<dyn CheckpointScope>,
    cursors: Vec<Cursor>,
    reasons: Vec<SaveReason>,
    result: Result<(), Refusal>,
}

#[derive(Debug, Clone, Copy)]
struct OutputState {
    /// File and row of its last row of all.
    last_row: Option<(u32, u64)>,
    /// What the last started save holds.
    saved: Option<Position>,
}

impl<C: Clock> Saver<C> {
    pub(super) fn new(scope: Box<dyn CheckpointScope>, options: CheckpointOptions<C>) -> Self {
        let outputs: Vec<_> =
            options.outputs.iter().map(|output| OutputState { last_row: output.last_row(), saved: None }).collect();
        Self {
            watermark: Watermark::new(outputs.len()),
            options,
            outputs,
            durable: 0,
            at_file_end: false,
            timer: None,
            overdue: false,
            scope: Scope::Idle(scope),
        }
    }

    /// Notes an answered event.
    pub(super) fn answered(&mut self, delivered: &Delivered) -> Result<(), Refusal> {
        let Position { rank, file, row, .. } = delivered.position;
        let known = self.options.outputs.get(usize::from(rank)).and_then(|output| output.files.get(file as usize));
        if known.is_none_or(|file| row >= file.rows) {
            let detail = format!("an answer for {:?}, which is not of this run", delivered.position);
            return Err(Refusal::new(Reason::InternalError, detail));
        }
        let before = self.watermark.prefix(rank);
        if !self.watermark.ack(delivered.position, delivered.ts) {
            return Ok(());
        }
        if let Some((now, _)) = self.watermark.prefix(rank) {
            // The prefix may jump over a file's end when a hole is filled.
            let jumped = before.is_some_and(|(before, _)| before.file != now.file && !self.is_file_end(before));
            self.at_file_end |= jumped || self.is_file_end(now);
        }
        if self.timer.is_none() && !self.overdue {
            let deadline = self.options.clock.now() + self.options.max_interval;
            self.timer = Some(Box::pin(self.options.clock.sleep_until(deadline)));
        }
        Ok(())
    }

    /// Moves the save on its way along and starts the next one if it is due. Wakes the task when there is more to do.
    pub(super) fn poll_save(&mut self, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            (self.timer, self.overdue) = (None, true);
        }
        while let Poll::Ready(saved) = self.poll_saving(cx) {
            saved?;
            let unsaved = self.watermark.total() - self.durable;
            if unsaved == 0 || !(self.at_file_end || self.overdue || unsaved >= self.options.flush_every) {
                return Ok(());
            }
            self.start(SaveReason::PeriodicFlush);
        }
        Ok(())
    }

    /// Saves what is left, after a good end or a bad one; ready when nothing is.
    pub(super) fn poll_last_save(&mut self, cx: &mut Context<'_>, good: bool) -> Poll<Result<(), Refusal>> {
        self.timer = None;
        let complete = good && self.options.ends_complete;
        let reason = if complete { SaveReason::OutputComplete } else { SaveReason::Stop };
        loop {
            match ready!(self.poll_saving(cx)) {
                Err(refusal) => return Poll::Ready(Err(refusal)),
                Ok(()) if self.watermark.total() == self.durable => return Poll::Ready(Ok(())),
                Ok(()) => self.start(reason),
            }
        }
    }

    /// Ready when no save is on its way.
    fn poll_saving(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let (covers, saved) = match &mut self.scope {
            Scope::Idle(_) => return Poll::Ready(Ok(())),
            Scope::Failed => {
                let refusal = Refusal::new(Reason::CheckpointSaveFailed, "an earlier save failed");
                return Poll::Ready(Err(refusal));
            }
            Scope::Saving { covers, saving } => (*covers, ready!(saving.as_mut().poll(cx))),
        };
        if let Err(refusal) = saved.result {
            self.scope = Scope::Failed;
            return Poll::Ready(Err(refusal));
        }
        self.scope = Scope::Idle(saved.scope);
        self.durable = covers;
        if let Some(credit) = &self.options.credit {
            credit.settle(covers);
        }
        if let Some(tell) = &mut self.options.on_saved {
            let cursors = saved.cursors.into_iter().zip(saved.reasons);
            cursors.for_each(|(cursor, reason)| tell(SavedCursor { cursor, reason }));
        }
        Poll::Ready(Ok(()))
    }

    /// Starts a save of all that moved, unless one is on its way. `reason` holds where no file has ended.
    fn start(&mut self, reason: SaveReason) {
        let (mut cursors, mut reasons) = (Vec::new(), Vec::new());
        for rank in 0..self.outputs.len() {
            let Some((position, ts)) = self.watermark.prefix(rank as u16) else { continue };
            let output = &self.options.outputs[rank];
            if self.outputs[rank].saved.replace(position) == Some(position) {
                continue;
            }
            cursors.push(Cursor {
                output_id: output.output_id.clone(),
                last_file: output.files[position.file as usize].name.clone(),
                last_row_index: position.row,
                last_ts_utc: Some(ts.to_string()),
            });
            reasons.push(if self.outputs[rank].last_row == Some((position.file, position.row)) {
                SaveReason::OutputComplete
            } else if self.is_file_end(position) {
                SaveReason::FileComplete
            } else {
                reason
            });
        }
        let Scope::Idle(mut scope) = std::mem::replace(&mut self.scope, Scope::Failed) else { return };
        let covers = self.watermark.total();
        let saving = async move {
            let result = scope.save(&cursors).await;
            Saved { scope, cursors, reasons, result }
        };
        self.scope = Scope::Saving { covers, saving: saving.boxed() };
        (self.timer, self.overdue, self.at_file_end) = (None, false, false);
    }

    fn is_file_end(&self, position: Position) -> bool {
        self.options.outputs[usize::from(position.rank)].files[position.file as usize].rows == position.row + 1
    }
}

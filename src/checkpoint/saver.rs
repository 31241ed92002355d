//! Decides when what is answered is saved, and keeps one save on its way at a time.
//!
//! ```text
//! answered ─► enough by the end of a save? ─► Kept { cursors that moved, rows beyond } ─► scope.save ─► durable
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use wsp::clock::Clock;

use super::earlier::FileRun;
use super::stage::{CheckpointOptions, LAST_SAVE, SaveReason, SavedCursor};
use super::unsaved::Waiting;
use super::{AnsweredRows, Beyond, CheckpointScope, Cursor, Kept, Mark, OutputFiles, Place, Resume, Watermark};
use crate::model::{Decision, Delivered, Hex64, Position, Reason, Refusal};

/// The saving half of [`super::Checkpointed`].
pub(super) struct Saver<C> {
    options: CheckpointOptions<C>,
    watermark: Watermark,
    outputs: Vec<OutputState>,
    /// Events answered now, not to an earlier start.
    answered: u64,
    /// What is kept by saves that are done.
    durable: Covered,
    /// Events that may be answered while a save is on its way, as the last ones had it.
    lead: u64,
    /// An end of a file was reached since the last save was started.
    at_file_end: bool,
    /// Resolves when the oldest unsaved event has waited long enough; there is one exactly while some event waits.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    overdue: bool,
    /// Since when events wait to be saved.
    waiting: Waiting,
    /// Resolves when the last save has taken too long after a stop; there is one once the stream has ended.
    too_late: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The scope was told that the run is over.
    finished: bool,
    scope: Scope,
}

/// How much a save keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Covered {
    /// Of the watermark's events.
    total: u64,
    /// Of those answered now.
    answered: u64,
}

/// The scope is either here or away with the save that uses it; gone after a save failed.
enum Scope {
    Idle(Box<dyn CheckpointScope>),
    Saving { covers: Covered, saving: BoxFuture<'static, Saved> },
    Failed,
}

struct Saved {
    scope: Box<dyn CheckpointScope>,
    kept: Kept,
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
            waiting: Waiting::new(options.unsaved.clone()),
            too_late: None,
            options,
            outputs,
            answered: 0,
            durable: Covered::default(),
            lead: 0,
            at_file_end: false,
            timer: None,
            overdue: false,
            finished: false,
            scope: Scope::Idle(scope),
        }
    }

    /// Notes an answered event.
    pub(super) fn answered(&mut self, delivered: &Delivered) -> Result<(), Refusal> {
        let Position { rank, file, row, .. } = delivered.position;
        let known = self.options.outputs.get(usize::from(rank)).and_then(|output| output.files.get(file as usize));
        if known.is_none_or(|file| row >= file.rows) {
            return Err(self.stray(delivered.position));
        }
        let before = self.watermark.prefix(rank);
        let Delivered { position, ts, event_id, .. } = *delivered;
        if !self.watermark.ack(Mark { position, ts, event_id }) {
            return Ok(());
        }
        self.answered += u64::from(delivered.decision != Decision::Earlier);
        let now = self.watermark.prefix(rank);
        if now != before
            && let Some(Mark { position: now, .. }) = now
        {
            // The prefix may jump over a file's end when a hole is filled.
            let before = before.map(|mark| mark.position);
            let jumped = before.is_some_and(|before| before.file != now.file && !self.is_file_end(before));
            self.at_file_end |= jumped || self.is_file_end(now);
        }
        if self.timer.is_none() && !self.overdue {
            let now = self.options.clock.now();
            self.waiting.first(now);
            self.timer = Some(Box::pin(self.options.clock.sleep_until(now + self.options.max_interval)));
        }
        Ok(())
    }

    /// The refusal of an answer to an event that the run doesn't have.
    fn stray(&self, position: Position) -> Refusal {
        let Position { rank, file, row, .. } = position;
        let refusal = Refusal::new(Reason::InternalError, "an answer to an event that is not of this run");
        let Some(output) = self.options.outputs.get(usize::from(rank)) else {
            return refusal.file(format!("file {file} of output {rank}")).row(row);
        };
        let unnamed = || format!("file {file} of {}", output.output_id);
        let file = output.files.get(file as usize);
        refusal.file(file.map_or_else(unnamed, |file| file.name.clone())).row(row)
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
            let unsaved = self.watermark.total() - self.durable.total;
            if unsaved == 0 || !(self.at_file_end || self.overdue || unsaved >= self.enough()) {
                return Ok(());
            }
            self.start(SaveReason::PeriodicFlush);
        }
        Ok(())
    }

    /// Unsaved events that start a save: as many fewer than `flush_every` as will come while it is on its way, so that
    /// the credit lasts until its end. Saves one behind the other do most with half of it each.
    ///
    /// Events that wait for another attempt have spent credit that no save gives back. Where they leave less of it than
    /// `flush_every`, what they leave counts: sending would stand before that many are answered.
    fn enough(&self) -> u64 {
        let unsaved = self.answered - self.durable.answered;
        let room = self.options.credit.as_ref().map_or(u64::MAX, |credit| credit.left() + unsaved);
        let every = self.options.flush_every.min(room);
        every.saturating_sub(self.lead).max(every / 2).max(1)
    }

    /// Saves what is left, after a good end or a bad one, and finishes the scope; ready when nothing is, or when a stop has been
    /// waiting for it too long.
    pub(super) fn poll_last_save(&mut self, cx: &mut Context<'_>, good: bool) -> Poll<Result<(), Refusal>> {
        if let Poll::Ready(ended) = self.poll_save_rest(cx, good) {
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
        Poll::Ready(Err(Refusal::new(Reason::CheckpointSaveFailed, detail)))
    }

    fn poll_save_rest(&mut self, cx: &mut Context<'_>, good: bool) -> Poll<Result<(), Refusal>> {
        self.timer = None;
        let complete = good && self.options.ends_complete;
        let reason = if complete { SaveReason::OutputComplete } else { SaveReason::Stop };
        loop {
            match ready!(self.poll_saving(cx)) {
                Err(refusal) => return Poll::Ready(Err(refusal)),
                Ok(()) if self.watermark.total() > self.durable.total => self.start(reason),
                Ok(()) if self.finished => return Poll::Ready(Ok(())),
                Ok(()) => self.finish(),
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
        self.waiting.saved();
        // A quarter more than came during this save, or nearly what came during an earlier one.
        let came = self.watermark.total() - covers.total;
        self.lead = (came + came / 4).max(self.lead - self.lead / 8);
        if let Some(credit) = &self.options.credit {
            credit.settle(covers.answered);
        }
        if let Some(tell) = &mut self.options.on_saved {
            let cursors = saved.kept.cursors.into_iter().zip(saved.reasons);
            cursors.for_each(|(cursor, reason)| tell(SavedCursor { cursor, reason }));
        }
        Poll::Ready(Ok(()))
    }

    /// Starts a save of all that is answered, unless one is on its way. `reason` holds where no file has ended.
    fn start(&mut self, reason: SaveReason) {
        let (mut kept, mut reasons) = (Kept::default(), Vec::new());
        for rank in 0..self.outputs.len() {
            kept.beyond.extend(self.beyond(rank));
            let Some(Mark { position, ts, event_id }) = self.watermark.prefix(rank as u16) else { continue };
            let output = &self.options.outputs[rank];
            if self.outputs[rank].saved.replace(position) == Some(position) {
                continue;
            }
            kept.cursors.push(Cursor {
                output_id: output.output_id.clone(),
                last_file: output.files[position.file as usize].name.clone(),
                last_row_index: position.row,
                last_ts_utc: Some(ts.to_string()),
                last_event_id: Some(Hex64::of_digest(event_id)),
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
        let covers = Covered { total: self.watermark.total(), answered: self.answered };
        let saving = async move {
            let result = scope.save(&kept).await;
            Saved { scope, kept, reasons, result }
        };
        self.scope = Scope::Saving { covers, saving: saving.boxed() };
        (self.timer, self.overdue, self.at_file_end) = (None, false, false);
        self.waiting.save_starts();
    }

    /// Starts to finish the scope.
    fn finish(&mut self) {
        let Scope::Idle(mut scope) = std::mem::replace(&mut self.scope, Scope::Failed) else { return };
        let finishing = async move {
            let result = scope.finish().await;
            Saved { scope, kept: Kept::default(), reasons: Vec::new(), result }
        };
        self.scope = Scope::Saving { covers: self.durable, saving: finishing.boxed() };
        self.finished = true;
    }

    /// What is answered of an output beyond its prefix, by this start or an earlier one.
    fn beyond(&self, rank: usize) -> Option<Beyond> {
        let output = &self.options.outputs[rank];
        let place =
            |position: Position| Place { file: output.files[position.file as usize].name.clone(), row: position.row };
        let prefix = self.watermark.prefix(rank as u16).map(|mark| mark.position);
        let cursor =
            prefix.map_or_else(|| self.options.earlier.cursor(rank).cloned(), |position| Some(place(position)));
        let from =
            prefix.map_or_else(Resume::default, |position| Resume { file: position.file, row: position.row + 1 });
        let ahead = self.watermark.ahead(rank as u16).flat_map(|(first, last)| output.rows_between(first, last));
        let mut files: Vec<AnsweredRows> = Vec::new();
        let mut at = None;
        for run in self.options.earlier.with(rank, from, ahead) {
            if at.replace(run.file) != Some(run.file) {
                files.push(AnsweredRows { file: output.files[run.file as usize].name.clone(), rows: Vec::new() });
            }
            if let Some(file) = files.last_mut() {
                file.rows.push((run.first, run.last));
            }
        }
        (!files.is_empty()).then(|| Beyond { output_id: output.output_id.clone(), cursor, files })
    }

    fn is_file_end(&self, position: Position) -> bool {
        self.options.outputs[usize::from(position.rank)].files[position.file as usize].rows == position.row + 1
    }
}

impl OutputFiles {
    /// The rows from `first` to `last`, a run a file. Both are of this output.
    fn rows_between(&self, first: Position, last: Position) -> impl Iterator<Item = FileRun> {
        (first.file..=last.file).filter_map(move |file| {
            let rows = self.files[file as usize].rows;
            let from = if file == first.file { first.row } else { 0 };
            let to = if file == last.file { Some(last.row) } else { rows.checked_sub(1) };
            to.map(|to| FileRun { file, first: from, last: to })
        })
    }
}

//! The positions of a run for the checkpoint stage: files and rows, cursors and what is answered beyond them.
//!
//! ```text
//! Delivered ──► Mark (position, time, event id, digest) ──► Kept { cursors that moved, rows beyond } ──► on_saved
//!                                   what an earlier start left ──┘
//! ```

use std::fmt;

use wsp::checkpoint::{Cause, Layout, Watermark};

use super::earlier::FileRun;
use super::{AnsweredRows, Beyond, Cursor, Earlier, Kept, OutputFiles, Place, Resume};
use crate::model::{Decision, Delivered, Digested, EventDigest, Hex64, Micros, Position, Reason, Refusal, RunDigests};

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

/// An answered event, as far as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where its row stands.
    pub position: Position,
    /// Its event time.
    pub ts: Micros,
    /// Its event id before hex.
    pub event_id: [u8; 32],
    /// Of all events that it stands for.
    pub digest: EventDigest,
}

impl wsp::checkpoint::Mark for Mark {
    type Place = Position;

    fn place(&self) -> Position {
        self.position
    }

    fn after(self, before: Self) -> Self {
        Self { digest: self.digest + before.digest, ..self }
    }
}

/// How a run's answers become cursors.
pub struct RunLayout {
    outputs: Vec<OutputFiles>,
    states: Vec<OutputState>,
    earlier: Earlier,
    ends_complete: bool,
    digests: RunDigests,
    /// Why the cursors of the save under way are saved.
    reasons: Vec<SaveReason>,
    on_saved: Option<Box<dyn FnMut(SavedCursor) + Send>>,
}

#[derive(Debug)]
struct OutputState {
    /// File and row of its last row of all.
    last_row: Option<(u32, u64)>,
    /// Rows of all files before each file.
    rows_before: Vec<u64>,
    /// What the last started save holds.
    saved: Option<Position>,
}

impl fmt::Debug for RunLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunLayout").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl RunLayout {
    /// For a run of `outputs` in the order of their ranks.
    #[must_use]
    pub fn new(outputs: Vec<OutputFiles>) -> Self {
        let state = |output: &OutputFiles| OutputState {
            last_row: output.last_row(),
            rows_before: output.rows_before_files(),
            saved: None,
        };
        Self {
            states: outputs.iter().map(state).collect(),
            outputs,
            earlier: Earlier::default(),
            ends_complete: false,
            digests: RunDigests::new(),
            reasons: Vec::new(),
            on_saved: None,
        }
    }

    /// What an earlier start left of the run: it stays kept until cursors have passed it.
    #[must_use]
    pub fn earlier(mut self, earlier: Earlier) -> Self {
        self.earlier = earlier;
        self
    }

    /// Says whether the stream's good end is the end of every output, though their last rows may not be among its
    /// events: then what is saved there is called complete.
    #[must_use]
    pub fn ends_complete(mut self, complete: bool) -> Self {
        self.ends_complete = complete;
        self
    }

    /// Sets `digests` when the stream is dropped.
    #[must_use]
    pub fn digests(mut self, digests: RunDigests) -> Self {
        self.digests = digests;
        self
    }

    /// Reports each cursor once it is durable. It is called on the stream's own path and must not block.
    #[must_use]
    pub fn on_saved(mut self, report: impl FnMut(SavedCursor) + Send + 'static) -> Self {
        self.on_saved = Some(Box::new(report));
        self
    }

    /// The refusal of an answer to an event that the run doesn't have.
    #[cold]
    fn stray(&self, position: Position) -> Refusal {
        let Position { rank, file, row, .. } = position;
        let refusal = Refusal::new(Reason::InternalError, "an answer to an event that is not of this run");
        let Some(output) = self.outputs.get(usize::from(rank)) else {
            return refusal.file(format!("file {file} of output {rank}")).row(row);
        };
        let unnamed = || format!("file {file} of {}", output.output_id);
        let file = output.files.get(file as usize);
        refusal.file(file.map_or_else(unnamed, |file| file.name.clone())).row(row)
    }

    /// Why the cursor at `position` is saved; `otherwise` where no file has ended there.
    fn reason(&self, position: Position, otherwise: SaveReason) -> SaveReason {
        let Position { rank, file, row, .. } = position;
        if self.states[usize::from(rank)].last_row == Some((file, row)) {
            SaveReason::OutputComplete
        } else if self.is_file_end(position) {
            SaveReason::FileComplete
        } else {
            otherwise
        }
    }

    /// The events of an output that are answered without a hole, by this start and those before.
    fn digested(&self, rank: usize, answered: &Watermark<Mark>) -> Digested {
        let before = self.earlier.digested(rank);
        let digest = answered.prefix(rank).map(|mark| mark.digest).unwrap_or_default();
        Digested { events: before.events + answered.next(rank), digest: before.digest + digest, ..before }
    }

    /// What is answered of an output beyond its prefix, by this start or an earlier one.
    fn beyond(&self, rank: usize, answered: &Watermark<Mark>) -> Option<Beyond> {
        let output = &self.outputs[rank];
        let place =
            |position: Position| Place { file: output.files[position.file as usize].name.clone(), row: position.row };
        let prefix = answered.prefix(rank).map(|mark| mark.position);
        let cursor = prefix.map_or_else(|| self.earlier.cursor(rank).cloned(), |position| Some(place(position)));
        let from =
            prefix.map_or_else(Resume::default, |position| Resume { file: position.file, row: position.row + 1 });
        let ahead = answered.ahead(rank).flat_map(|(first, last)| output.rows_between(first, last));
        let mut files: Vec<AnsweredRows> = Vec::new();
        let mut at = None;
        for run in self.earlier.with(rank, from, ahead) {
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
        self.outputs[usize::from(position.rank)].files[position.file as usize].rows == position.row + 1
    }
}

impl Layout for RunLayout {
    type Delivered = Delivered;
    type Mark = Mark;
    type Kept = Kept;
    type Error = Refusal;

    fn starts(&self) -> Vec<u64> {
        vec![0; self.outputs.len()]
    }

    fn mark(&mut self, delivered: &Delivered) -> Result<Mark, Refusal> {
        let Delivered { position, ts, event_id, .. } = *delivered;
        let output = self.outputs.get(usize::from(position.rank));
        let file = output.and_then(|output| output.files.get(position.file as usize));
        if file.is_none_or(|file| position.row >= file.rows) {
            return Err(self.stray(position));
        }
        let before = self.states[usize::from(position.rank)].rows_before[position.file as usize];
        Ok(Mark { position, ts, event_id, digest: EventDigest::of(&event_id, before + position.row) })
    }

    fn is_sent(&self, delivered: &Delivered) -> bool {
        delivered.decision != Decision::Earlier
    }

    /// An end of a file was reached. The prefix may jump over one when a hole is filled.
    fn is_milestone(&self, before: Option<&Mark>, now: &Mark) -> bool {
        let now = now.position;
        let jumped = before
            .map(|before| before.position)
            .is_some_and(|before| before.file != now.file && !self.is_file_end(before));
        jumped || self.is_file_end(now)
    }

    fn kept(&mut self, answered: &Watermark<Mark>, cause: Cause) -> Kept {
        let otherwise = match cause {
            Cause::Due => SaveReason::PeriodicFlush,
            Cause::End if self.ends_complete => SaveReason::OutputComplete,
            Cause::End | Cause::Failure => SaveReason::Stop,
        };
        let mut kept = Kept::default();
        self.reasons.clear();
        for rank in 0..self.outputs.len() {
            kept.beyond.extend(self.beyond(rank, answered));
            let Some(Mark { position, ts, event_id, .. }) = answered.prefix(rank) else { continue };
            if self.states[rank].saved.replace(position) == Some(position) {
                continue;
            }
            let output = &self.outputs[rank];
            kept.cursors.push(Cursor {
                output_id: output.output_id.clone(),
                last_file: output.files[position.file as usize].name.clone(),
                last_row_index: position.row,
                last_ts_utc: Some(ts.to_string()),
                last_event_id: Some(Hex64::of_digest(event_id)),
                digested: Some(self.digested(rank, answered)),
            });
            self.reasons.push(self.reason(position, otherwise));
        }
        kept
    }

    fn saved(&mut self, kept: Kept) {
        if let Some(report) = &mut self.on_saved {
            let cursors = kept.cursors.into_iter().zip(self.reasons.drain(..));
            cursors.for_each(|(cursor, reason)| report(SavedCursor { cursor, reason }));
        }
    }

    fn over(&mut self, answered: &Watermark<Mark>) {
        self.digests.set((0..self.outputs.len()).map(|rank| self.digested(rank, answered)).collect());
    }

    fn and_then(&self, mut first: Refusal, second: &Refusal) -> Refusal {
        first.detail = format!("{} (and then {second})", first.detail);
        first
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

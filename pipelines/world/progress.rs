//! The progress of a run: a log line from time to time, and the position after the last answered row of each output.

use std::time::Duration;

use wsp::clock::Clock;

use crate::model::Position;
use crate::oracle::Resume;

/// How often a run in progress is told of in the log.
const EVERY: Duration = Duration::from_secs(10);

/// How far a run has come.
#[derive(Debug)]
pub(super) struct Progress {
    next: Duration,
    answered: u64,
    reached: Vec<Resume>,
}

impl Progress {
    /// Nothing answered, from these places on.
    pub(super) fn new(clock: &impl Clock, from: &[Resume]) -> Self {
        Self { next: clock.now() + EVERY, answered: 0, reached: from.to_vec() }
    }

    /// Notes an answer, one of about `due`.
    pub(super) fn note(&mut self, clock: &impl Clock, position: Position, due: u64) {
        let Position { rank, file, row, .. } = position;
        if let Some(place) = self.reached.get_mut(usize::from(rank)) {
            let behind = Resume::at(file as usize, row + 1);
            if (behind.file, behind.row) > (place.file, place.row) {
                *place = behind;
            }
        }
        self.answered += 1;
        // The clock is not asked for every event.
        if !self.answered.is_multiple_of(256) || clock.now() < self.next {
            return;
        }
        self.next = clock.now() + EVERY;
        tracing::info!(answered = self.answered, due, "streaming");
    }

    /// The place behind the last answered row, an output each: with holes before it, unless the run ended well.
    pub(super) fn reached(&self) -> &[Resume] {
        &self.reached
    }
}

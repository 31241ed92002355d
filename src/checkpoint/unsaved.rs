//! Since when the oldest answered event has been waiting to be saved.
//!
//! ```text
//! answered ──first since the last start of a save──► waiting ──save starts──► saving ──save is durable──► gone
//! ```
//!
//! A run with nothing to save has no age, however long ago its last save was: it may wait for an event's time, for the gate, or
//! for an event at the head of the line. A save that hangs or fails keeps the age of what it should have kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// No event waits.
const NONE: u64 = u64::MAX;

/// Since when the oldest answered event has been waiting to be saved. Clones share it: the checkpoint stage writes it, others read it.
#[derive(Debug, Clone)]
pub struct Unsaved(Arc<AtomicU64>);

impl Unsaved {
    /// Nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NONE)))
    }

    /// How long the oldest answered event has been waiting at `now`, on the clock of the checkpoint stage; zero where none is.
    #[must_use]
    pub fn age(&self, now: Duration) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            NONE => Duration::ZERO,
            since => now.saturating_sub(Duration::from_micros(since)),
        }
    }

    fn set(&self, since: Option<Duration>) {
        self.0.store(since.map_or(NONE, |since| since.as_micros() as u64), Ordering::Relaxed);
    }
}

impl Default for Unsaved {
    fn default() -> Self {
        Self::new()
    }
}

/// What the checkpoint stage knows about waiting events, in two generations: those of the save under way, and later ones.
#[derive(Debug)]
pub(super) struct Waiting {
    told: Unsaved,
    saving: Option<Duration>,
    later: Option<Duration>,
}

impl Waiting {
    pub(super) fn new(told: Unsaved) -> Self {
        Self { told, saving: None, later: None }
    }

    /// The first event since the last save was started is answered, at `now`.
    pub(super) fn first(&mut self, now: Duration) {
        self.later.get_or_insert(now);
        self.tell();
    }

    /// A save of all that is answered starts.
    pub(super) fn save_starts(&mut self) {
        self.saving = self.saving.or(self.later.take());
    }

    /// The save under way is durable.
    pub(super) fn saved(&mut self) {
        self.saving = None;
        self.tell();
    }

    fn tell(&self) {
        self.told.set(self.saving.or(self.later));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_that_no_save_has_kept_counts() {
        let unsaved = Unsaved::new();
        let mut waiting = Waiting::new(unsaved.clone());
        let at = Duration::from_secs;
        assert_eq!(unsaved.age(at(500)), Duration::ZERO, "nothing was answered");
        waiting.first(at(500));
        assert_eq!(unsaved.age(at(503)), at(3));
        waiting.save_starts();
        waiting.first(at(504));
        assert_eq!(unsaved.age(at(510)), at(10), "a save under way has kept nothing yet");
        waiting.saved();
        assert_eq!(unsaved.age(at(510)), at(6), "answered while the save was under way");
        waiting.save_starts();
        waiting.saved();
        assert_eq!(unsaved.age(at(9_000)), Duration::ZERO, "all is saved");
    }
}

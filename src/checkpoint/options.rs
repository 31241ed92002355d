//! When positions are saved.

use std::fmt;
use std::time::Duration;

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

//! How far a lane is that is being streamed here, for the worker's notes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::evidence::LiveTally;
use crate::model::Micros;

/// What is known of a lane while it is streamed. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LaneMeter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    before: AtomicU64,
    tally: OnceLock<LiveTally>,
    first_sent: OnceLock<Micros>,
}

impl LaneMeter {
    /// The lane begins to stream: earlier starts have answered `before` events, this one counts in `tally`.
    pub(crate) fn begin(&self, before: u64, tally: LiveTally) {
        self.0.before.store(before, Ordering::Relaxed);
        // A lane begins once.
        let _ = self.0.tally.set(tally);
    }

    /// Whether it is known when the first event went out.
    pub(crate) fn has_sent(&self) -> bool {
        self.0.first_sent.get().is_some()
    }

    /// The first event went out then.
    pub(crate) fn sent_at(&self, at: Micros) {
        let _ = self.0.first_sent.set(at);
    }

    /// When the first event went out that was answered first.
    #[must_use]
    pub fn first_sent(&self) -> Option<Micros> {
        self.0.first_sent.get().copied()
    }

    /// Answered events, over all starts.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let now = self.0.tally.get().map_or(0, |tally| tally.lock().totals().settled());
        self.0.before.load(Ordering::Relaxed) + now
    }
}

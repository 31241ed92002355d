//! The smallest thing that can be read while others work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that stages add to and others read. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// At zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

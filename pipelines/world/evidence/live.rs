//! The tally of a run under way, for its observers.
//!
//! ```text
//! settle ──counts──► LiveTally ◄──reads── the live page
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Tally;
use crate::model::Refusal;

/// A tally that can be read while the run counts in it. Clones share it.
#[derive(Debug, Clone)]
pub struct LiveTally(Arc<Mutex<Tally>>);

impl LiveTally {
    /// Nothing answered, in a run of `outputs` outputs.
    ///
    /// # Errors
    ///
    /// As [`Tally::new`].
    pub fn new(outputs: usize) -> Result<Self, Refusal> {
        Tally::new(outputs).map(|tally| Self(Arc::new(Mutex::new(tally))))
    }

    /// The tally, until the guard is dropped. The run can't count meanwhile, so hold it briefly and never across an await.
    pub fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The books of a judge, for both producers: what it knows, what it saw of each process, the first violation, and the totals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hub::ProcessId;
use super::judge::Violation;
use super::totals::Totals;

/// Books over `P`, which see `S` of a process. Clones share them.
pub(super) struct Shared<P, S>(Arc<Mutex<Books<P, S>>>);

pub(super) struct Books<P, S> {
    pub(super) pages: P,
    pub(super) processes: BTreeMap<ProcessId, S>,
    violation: Option<Violation>,
    totals: Totals,
}

impl<P, S> Clone for Shared<P, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P, S> Shared<P, S> {
    /// Books in which no process stands yet.
    pub(super) fn of(pages: P) -> Self {
        let (processes, violation, totals) = (BTreeMap::new(), None, Totals::default());
        Self(Arc::new(Mutex::new(Books { pages, processes, violation, totals })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Books<P, S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found first.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// Notes a violation that was seen elsewhere.
    pub(super) fn blame(&self, violation: Violation) {
        self.lock().violation.get_or_insert(violation);
    }

    /// Lets `count` add to the totals.
    pub(super) fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.lock().totals);
    }

    pub(super) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Notes something about a process; a violation is put down as one of that process. `None` then, and of a process that
    /// is not in the books.
    pub(super) fn with<T>(
        &self,
        process: ProcessId,
        note: impl FnOnce(&mut P, &mut S, &mut Totals) -> Result<T, Violation>,
    ) -> Option<T> {
        let mut books = self.lock();
        let Books { pages, processes, violation, totals } = &mut *books;
        match note(pages, processes.get_mut(&process)?, totals) {
            Ok(noted) => Some(noted),
            Err(found) => {
                violation.get_or_insert(Violation { what: format!("p{process}: {}", found.what), ..found });
                None
            }
        }
    }
}

/// Takes event `n` from those on the way.
pub(super) fn close(open: &mut Vec<usize>, n: usize) {
    if let Some(at) = open.iter().position(|other| *other == n) {
        open.swap_remove(at);
    }
}

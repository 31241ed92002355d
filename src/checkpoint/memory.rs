//! Cursors in memory, with faults on request: the double that tests and simulations run on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{CheckpointScope, CheckpointStore, Cursor};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// Checkpoints in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cursors: BTreeMap<(Hex64, OutputId), Cursor>,
    held: BTreeSet<Hex64>,
    history: Vec<Vec<Cursor>>,
    failing: u64,
}

impl MemoryCheckpoints {
    /// Nothing saved.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next `n` saves fail, with nothing saved.
    pub fn fail_next(&self, n: u64) {
        self.state().failing = n;
    }

    /// Every save so far, as it was asked for.
    #[must_use]
    pub fn history(&self) -> Vec<Vec<Cursor>> {
        self.state().history.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, scope: &Hex64, outputs: &[OutputId]) -> Vec<Cursor> {
        let state = self.state();
        outputs.iter().filter_map(|output| state.cursors.get(&(scope.clone(), output.clone()))).cloned().collect()
    }

    fn hold(&self, scope: &Hex64) -> Result<Held, Refusal> {
        if !self.state().held.insert(scope.clone()) {
            return Err(Refusal::new(Reason::CheckpointScopeBusy, format!("scope {scope} is held")));
        }
        Ok(Held { store: self.clone(), scope: scope.clone() })
    }
}

struct Held {
    store: MemoryCheckpoints,
    scope: Hex64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.state().held.remove(&self.scope);
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>> {
        async move { self.hold(scope).map(|held| Box::new(held) as Box<dyn CheckpointScope>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        async move { Ok(self.read(scope, outputs)) }.boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let held = self.hold(scope)?;
            let mut state = self.state();
            for output in outputs {
                state.cursors.remove(&(scope.clone(), output.clone()));
            }
            // Letting go takes the same mutex.
            drop(state);
            drop(held);
            Ok(())
        }
        .boxed()
    }
}

impl CheckpointScope for Held {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        async move { Ok(self.store.read(&self.scope, outputs)) }.boxed()
    }

    fn save<'a>(&'a mut self, cursors: &'a [Cursor]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let mut state = self.store.state();
            if state.failing > 0 {
                state.failing -= 1;
                return Err(Refusal::new(Reason::CheckpointSaveFailed, "injected fault"));
            }
            for cursor in cursors {
                state.cursors.insert((self.scope.clone(), cursor.output_id.clone()), cursor.clone());
            }
            state.history.push(cursors.to_vec());
            Ok(())
        }
        .boxed()
    }
}

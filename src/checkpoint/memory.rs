//! Checkpoints in memory, with faults on request: the double that tests and simulations run on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::lease::{Keeper, Lease};
use super::{Beyond, CheckpointScope, CheckpointStore, Cursor, Kept, Views};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// Checkpoints in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cursors: BTreeMap<(Hex64, OutputId), Cursor>,
    beyond: BTreeMap<Hex64, Vec<Beyond>>,
    views: BTreeMap<Hex64, Views>,
    /// Who holds a scope, by epoch.
    held: BTreeMap<Hex64, u64>,
    epochs: u64,
    history: Vec<Kept>,
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

    /// Takes a scope from whoever holds it, as a lease that ran out does: the next opening gets it.
    pub fn expire(&self, scope: &Hex64) {
        self.state().held.remove(scope);
    }

    /// Every save so far, as it was asked for.
    #[must_use]
    pub fn history(&self) -> Vec<Kept> {
        self.state().history.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, scope: &Hex64, outputs: &[OutputId]) -> Kept {
        let state = self.state();
        let cursors = outputs.iter().filter_map(|output| state.cursors.get(&(scope.clone(), output.clone())));
        Kept { cursors: cursors.cloned().collect(), beyond: state.beyond.get(scope).cloned().unwrap_or_default() }
    }

    fn hold(&self, scope: &Hex64) -> Result<Held, Refusal> {
        let mut state = self.state();
        if state.held.contains_key(scope) {
            return Err(Refusal::new(Reason::CheckpointScopeBusy, format!("scope {scope} is held")));
        }
        state.epochs += 1;
        let epoch = state.epochs;
        state.held.insert(scope.clone(), epoch);
        Ok(Held { store: self.clone(), scope: scope.clone(), epoch, keeper: Keeper::new(Duration::MAX) })
    }
}

struct Held {
    store: MemoryCheckpoints,
    scope: Hex64,
    epoch: u64,
    keeper: Keeper,
}

impl Held {
    /// The store's state, if the scope is still this one's.
    fn ours(&self) -> Result<MutexGuard<'_, State>, Refusal> {
        let state = self.store.state();
        if state.held.get(&self.scope) == Some(&self.epoch) {
            return Ok(state);
        }
        let refusal = Refusal::new(Reason::CheckpointLeaseLost, format!("scope {} was taken", self.scope));
        self.keeper.lose(refusal.clone());
        Err(refusal)
    }

    fn save_all(&self, kept: &Kept) -> Result<(), Refusal> {
        let mut state = self.ours()?;
        let failed = |detail: &str| Err(Refusal::new(Reason::CheckpointSaveFailed, detail));
        if state.failing > 0 {
            state.failing -= 1;
            return failed("injected fault");
        }
        let key = |cursor: &Cursor| (self.scope.clone(), cursor.output_id.clone());
        for cursor in &kept.cursors {
            if state.cursors.get(&key(cursor)).is_some_and(|known| known.is_passed_by(cursor)) {
                return failed("the new position is before the saved one");
            }
        }
        state.cursors.extend(kept.cursors.iter().map(|cursor| (key(cursor), cursor.clone())));
        state.beyond.insert(self.scope.clone(), kept.beyond.clone());
        state.history.push(kept.clone());
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if state.held.get(&self.scope) == Some(&self.epoch) {
            state.held.remove(&self.scope);
        }
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>> {
        async move { self.hold(scope).map(|held| Box::new(held) as Box<dyn CheckpointScope>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move { Ok(self.read(scope, outputs)) }.boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Option<Views>, Refusal>> {
        async move { Ok(self.state().views.get(scope).cloned()) }.boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let held = self.hold(scope)?;
            let mut state = self.state();
            for output in outputs {
                state.cursors.remove(&(scope.clone(), output.clone()));
            }
            state.beyond.remove(scope);
            state.views.remove(scope);
            // Letting go takes the same mutex.
            drop(state);
            drop(held);
            Ok(())
        }
        .boxed()
    }
}

impl CheckpointScope for Held {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move { Ok(self.store.read(&self.scope, outputs)) }.boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        async move { Ok(self.store.state().views.get(&self.scope).cloned()) }.boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            self.ours()?.views.insert(self.scope.clone(), views.clone());
            Ok(())
        }
        .boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async move { self.save_all(kept) }.boxed()
    }

    fn lease(&self) -> Lease {
        self.keeper.lease()
    }
}

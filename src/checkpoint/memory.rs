//! Checkpoints in memory, with faults on request: the double that tests and simulations run on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::error::{CheckpointError, CheckpointFault};
use super::lease::{Keeper, Lease};
use super::store::{CheckpointScope, CheckpointStore, Form};

/// What a store in memory has to do with what is kept.
pub trait InMemory: Form<Kept: Default> {
    /// What `kept` says of `sources`.
    fn of(kept: &Self::Kept, sources: &[Self::Source]) -> Self::Kept;

    /// Puts what is `saved` in place in `kept`, as [`CheckpointScope::save`] says; whether it could, which means that no
    /// position is before the saved one.
    fn put(kept: &mut Self::Kept, saved: &Self::Kept) -> bool;

    /// Drops where `sources` stand, and all that is beyond.
    fn forget(kept: &mut Self::Kept, sources: &[Self::Source]);
}

/// Checkpoints in memory. Clones share them.
pub struct MemoryCheckpoints<F: Form> {
    state: Arc<Mutex<State<F>>>,
}

struct State<F: Form> {
    kept: BTreeMap<F::Key, F::Kept>,
    views: BTreeMap<F::Key, F::Content>,
    /// Who holds a scope, by epoch.
    held: BTreeMap<F::Key, u64>,
    epochs: u64,
    history: Vec<F::Kept>,
    failing: u64,
}

impl<F: InMemory> MemoryCheckpoints<F> {
    /// Nothing saved.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            kept: BTreeMap::new(),
            views: BTreeMap::new(),
            held: BTreeMap::new(),
            epochs: 0,
            history: Vec::new(),
            failing: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets the next `n` saves fail, with nothing saved.
    pub fn fail_next(&self, n: u64) {
        self.state().failing = n;
    }

    /// Takes a scope from whoever holds it, as a lease that ran out does: the next opening gets it.
    pub fn expire(&self, scope: &F::Key) {
        self.state().held.remove(scope);
    }

    /// Every save so far, as it was asked for.
    #[must_use]
    pub fn history(&self) -> Vec<F::Kept> {
        self.state().history.clone()
    }

    fn read(&self, scope: &F::Key, sources: &[F::Source]) -> F::Kept {
        self.state().kept.get(scope).map_or_else(F::Kept::default, |kept| F::of(kept, sources))
    }

    fn hold(&self, scope: &F::Key) -> Result<Held<F>, CheckpointError> {
        let mut state = self.state();
        if state.held.contains_key(scope) {
            return Err(CheckpointError::new(CheckpointFault::Busy, format!("scope {scope} is held")));
        }
        state.epochs += 1;
        let epoch = state.epochs;
        state.held.insert(scope.clone(), epoch);
        Ok(Held { store: self.clone(), scope: scope.clone(), epoch, keeper: Keeper::new(Duration::MAX) })
    }
}

impl<F: Form> MemoryCheckpoints<F> {
    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Form> Clone for MemoryCheckpoints<F> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<F: InMemory> Default for MemoryCheckpoints<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Form> fmt::Debug for MemoryCheckpoints<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCheckpoints").field("kept", &self.state().kept).finish_non_exhaustive()
    }
}

struct Held<F: Form> {
    store: MemoryCheckpoints<F>,
    scope: F::Key,
    epoch: u64,
    keeper: Keeper<F::Error>,
}

impl<F: InMemory> Held<F> {
    /// The store's state, if the scope is still this one's.
    fn ours(&self) -> Result<MutexGuard<'_, State<F>>, F::Error> {
        let state = self.store.state();
        if state.held.get(&self.scope) == Some(&self.epoch) {
            return Ok(state);
        }
        let lost = CheckpointError::new(CheckpointFault::Lost, format!("scope {} was taken", self.scope));
        self.keeper.lose(lost.clone().into());
        Err(lost.into())
    }

    fn save_all(&self, kept: &F::Kept) -> Result<(), F::Error> {
        let mut state = self.ours()?;
        let failed = |detail: &str| Err(CheckpointError::new(CheckpointFault::NotSaved, detail).into());
        if state.failing > 0 {
            state.failing -= 1;
            return failed("injected fault");
        }
        if !F::put(state.kept.entry(self.scope.clone()).or_default(), kept) {
            return failed("the new position is before the saved one");
        }
        state.history.push(kept.clone());
        Ok(())
    }
}

impl<F: Form> Drop for Held<F> {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if state.held.get(&self.scope) == Some(&self.epoch) {
            state.held.remove(&self.scope);
        }
    }
}

impl<F: InMemory> CheckpointStore<F> for MemoryCheckpoints<F> {
    fn open<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Box<dyn CheckpointScope<F>>, F::Error>> {
        async move { Ok(Box::new(self.hold(scope)?) as Box<dyn CheckpointScope<F>>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        async move { Ok(self.read(scope, sources)) }.boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Option<F::Content>, F::Error>> {
        async move { Ok(self.state().views.get(scope).cloned()) }.boxed()
    }

    fn reset<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<(), F::Error>> {
        async move {
            let held = self.hold(scope)?;
            let mut state = self.state();
            if let Some(kept) = state.kept.get_mut(scope) {
                F::forget(kept, sources);
            }
            state.views.remove(scope);
            // Letting go takes the same mutex.
            drop(state);
            drop(held);
            Ok(())
        }
        .boxed()
    }
}

impl<F: InMemory> CheckpointScope<F> for Held<F> {
    fn load<'a>(&'a mut self, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        async move { Ok(self.store.read(&self.scope, sources)) }.boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<F::Content>, F::Error>> {
        async move { Ok(self.store.state().views.get(&self.scope).cloned()) }.boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a F::Content) -> BoxFuture<'a, Result<(), F::Error>> {
        async move {
            self.ours()?.views.insert(self.scope.clone(), views.clone());
            Ok(())
        }
        .boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a F::Kept) -> BoxFuture<'a, Result<(), F::Error>> {
        async move { self.save_all(kept) }.boxed()
    }

    fn lease(&self) -> Lease<F::Error> {
        self.keeper.lease()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Sources that are letters, and how far each is.
    pub(in super::super) enum Numbers {}

    impl Form for Numbers {
        type Key = &'static str;
        type Source = char;
        type Kept = BTreeMap<char, u64>;
        type Content = String;
        type Error = CheckpointError;
    }

    impl InMemory for Numbers {
        fn of(kept: &BTreeMap<char, u64>, sources: &[char]) -> BTreeMap<char, u64> {
            kept.iter().filter(|(source, _)| sources.contains(source)).map(|(source, at)| (*source, *at)).collect()
        }

        fn put(kept: &mut BTreeMap<char, u64>, saved: &BTreeMap<char, u64>) -> bool {
            let goes_on = saved.iter().all(|(source, at)| kept.get(source).is_none_or(|known| known <= at));
            if goes_on {
                kept.extend(saved);
            }
            goes_on
        }

        fn forget(kept: &mut BTreeMap<char, u64>, sources: &[char]) {
            kept.retain(|source, _| !sources.contains(source));
        }
    }

    #[tokio::test]
    async fn who_lost_a_scope_saves_nothing_more() {
        let store = MemoryCheckpoints::<Numbers>::new();
        let at = |source, at| BTreeMap::from([(source, at)]);
        let mut first = store.open(&"scope").await.unwrap();
        first.save(&at('a', 3)).await.unwrap();
        assert_eq!(first.save(&at('a', 2)).await.unwrap_err().fault, CheckpointFault::NotSaved, "it never goes back");
        store.expire(&"scope");
        let mut second = store.open(&"scope").await.unwrap();
        assert_eq!(first.save(&at('a', 9)).await.unwrap_err().fault, CheckpointFault::Lost);
        assert_eq!(first.lease().lost().await.fault, CheckpointFault::Lost);
        assert_eq!(second.load(&['a', 'b']).await.unwrap(), at('a', 3));
        drop((first, second));
        store.reset(&"scope", &['a']).await.unwrap();
        assert_eq!(store.peek(&"scope", &['a']).await.unwrap(), BTreeMap::new());
    }
}

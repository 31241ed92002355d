//! A hold on a scope that outlives the stage that saves through it.
//!
//! ```text
//! opened scope ──► SharedScope ──clone──► checkpoint stage: load, save
//!                       └──clone──► whoever keeps it until the outcome is on record
//! ```

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::lease::Lease;
use super::store::{CheckpointScope, Form};
use crate::time::Micros;

/// A scope whose hold ends with the last clone. Between the last save and the outcome on record nobody else shall
/// take the run for one that is still to be streamed.
pub struct SharedScope<F: Form> {
    scope: Arc<Mutex<Box<dyn CheckpointScope<F>>>>,
    lease: Lease<F::Error>,
}

impl<F: Form> SharedScope<F> {
    /// A shared hold on `scope`.
    #[must_use]
    pub fn new(scope: Box<dyn CheckpointScope<F>>) -> Self {
        let lease = scope.lease();
        Self { scope: Arc::new(Mutex::new(scope)), lease }
    }
}

impl<F: Form> Clone for SharedScope<F> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), lease: self.lease.clone() }
    }
}

impl<F: Form> fmt::Debug for SharedScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedScope").field("epoch", &self.lease.epoch()).finish_non_exhaustive()
    }
}

impl<F: Form> CheckpointScope<F> for SharedScope<F> {
    fn load<'a>(&'a mut self, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        async move { self.scope.lock().await.load(sources).await }.boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<F::Content>, F::Error>> {
        async move { self.scope.lock().await.views().await }.boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a F::Content) -> BoxFuture<'a, Result<(), F::Error>> {
        async move { self.scope.lock().await.keep_views(views).await }.boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a F::Kept) -> BoxFuture<'a, Result<(), F::Error>> {
        async move { self.scope.lock().await.save(kept).await }.boxed()
    }

    fn saved_before(&mut self) -> BoxFuture<'_, Result<Option<Micros>, F::Error>> {
        async move { self.scope.lock().await.saved_before().await }.boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), F::Error>> {
        async move { self.scope.lock().await.finish().await }.boxed()
    }

    fn lease(&self) -> Lease<F::Error> {
        self.lease.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::tests::Numbers;
    use super::super::{CheckpointFault, CheckpointStore, MemoryCheckpoints};
    use super::*;

    #[tokio::test]
    async fn the_hold_ends_with_the_last_clone() {
        let store = MemoryCheckpoints::<Numbers>::new();
        let shared = SharedScope::new(store.open(&"scope").await.unwrap());
        let stage: Box<dyn CheckpointScope<Numbers>> = Box::new(shared.clone());
        drop(stage);
        assert_eq!(store.open(&"scope").await.err().unwrap().fault, CheckpointFault::Busy);
        drop(shared);
        store.open(&"scope").await.unwrap();
    }
}

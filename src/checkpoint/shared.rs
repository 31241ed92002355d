//! A hold on a scope that outlives the stage that saves through it.
//!
//! ```text
//! opened scope ──► SharedScope ──clone──► checkpoint stage: load, save
//!                       └──clone──► service: kept until the verdict is written
//! ```

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{CheckpointScope, Kept, Lease, Views};
use crate::model::{OutputId, Refusal};

/// A scope whose hold ends with the last clone. Between the last save and the verdict on record nobody else shall
/// take the run for one that is still to be streamed.
#[derive(Clone)]
pub struct SharedScope {
    scope: Arc<Mutex<Box<dyn CheckpointScope>>>,
    lease: Lease,
}

impl SharedScope {
    /// A shared hold on `scope`.
    #[must_use]
    pub fn new(scope: Box<dyn CheckpointScope>) -> Self {
        let lease = scope.lease();
        Self { scope: Arc::new(Mutex::new(scope)), lease }
    }
}

impl fmt::Debug for SharedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedScope").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl CheckpointScope for SharedScope {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move { self.scope.lock().await.load(outputs).await }.boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        async move { self.scope.lock().await.views().await }.boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        async move { self.scope.lock().await.keep_views(views).await }.boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async move { self.scope.lock().await.save(kept).await }.boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), Refusal>> {
        async move { self.scope.lock().await.finish().await }.boxed()
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointStore, MemoryCheckpoints};
    use crate::model::{Hex64, Reason};

    #[tokio::test]
    async fn the_hold_ends_with_the_last_clone() {
        let store = MemoryCheckpoints::new();
        let scope = Hex64::sha256("scope");
        let shared = SharedScope::new(store.open(&scope).await.unwrap());
        let stage: Box<dyn CheckpointScope> = Box::new(shared.clone());
        drop(stage);
        assert_eq!(store.open(&scope).await.err().unwrap().reason, Reason::CheckpointScopeBusy);
        drop(shared);
        store.open(&scope).await.unwrap();
    }
}

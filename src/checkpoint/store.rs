//! Stores of checkpoints: scopes that one producer at a time holds.

use std::fmt;

use futures::future::BoxFuture;

use super::error::CheckpointError;
use super::layout::Save;
use super::lease::Lease;
use crate::time::Micros;

/// What a producer keeps of a run, in its own types. Stores and scopes are generic over it.
pub trait Form: 'static {
    /// Names a scope: one run, or one share of it.
    type Key: fmt::Debug + fmt::Display + Clone + Ord + Send + Sync + 'static;
    /// Names a source of a run.
    type Source: fmt::Debug + Clone + Ord + Send + Sync + 'static;
    /// Where the sources stand, and what is answered beyond.
    type Kept: fmt::Debug + Clone + Send + Sync + 'static;
    /// What identifies the content that the positions count in.
    type Content: fmt::Debug + Clone + Send + Sync + 'static;
    /// The producer's error.
    type Error: From<CheckpointError> + Clone + Send + Sync + 'static;
}

/// A place that keeps how far runs are.
pub trait CheckpointStore<F: Form>: fmt::Debug + Send + Sync {
    /// Takes hold of a scope, alone. The hold ends when the answer is dropped or the process dies.
    ///
    /// # Errors
    ///
    /// Busy where another producer holds it; unavailable where the place can't be reached now; not saved where it can't be used.
    fn open<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Box<dyn CheckpointScope<F>>, F::Error>>;

    /// Reads what is kept of a scope without taking hold of it.
    ///
    /// # Errors
    ///
    /// Unreadable, naming the file; unavailable where the place can't be reached now.
    fn peek<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>>;

    /// Reads which content the positions of a scope count in, without taking hold of it; `None` where that is not kept.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::views`].
    fn peek_views<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Option<F::Content>, F::Error>>;

    /// Drops where a scope's `sources` stand, all that is kept beyond, and which content they counted in.
    ///
    /// # Errors
    ///
    /// As [`CheckpointStore::open`].
    fn reset<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<(), F::Error>>;

    /// Resolves when every scope that was dropped so far is free for the next producer, as far as can be. A
    /// program awaits it before it ends, where letting go takes a message to somewhere.
    fn released(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A scope that this process holds.
pub trait CheckpointScope<F: Form>: Send {
    /// What is kept of `sources`.
    ///
    /// # Errors
    ///
    /// Unreadable; unavailable; foreign where it is another scope's.
    fn load<'a>(&'a mut self, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>>;

    /// Which content the scope's positions count in; `None` where nobody kept that.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::load`].
    fn views(&mut self) -> BoxFuture<'_, Result<Option<F::Content>, F::Error>>;

    /// Keeps which content the positions count in that are saved from now on; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::save`]; unavailable where the place can't be reached now.
    fn keep_views<'a>(&'a mut self, views: &'a F::Content) -> BoxFuture<'a, Result<(), F::Error>>;

    /// Saves the positions given, leaving others as they are, and what is beyond them in place of all that was kept
    /// there; durable when it returns. A crash amid it may leave new positions beside what was kept before, never
    /// the other way round.
    ///
    /// # Errors
    ///
    /// Not saved; lost where another producer has the scope now: nothing was saved.
    fn save<'a>(&'a mut self, kept: &'a F::Kept) -> BoxFuture<'a, Result<(), F::Error>>;

    /// When the last save before this hold was made, where the store keeps that: by the store's clock, microseconds of UTC.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::load`].
    fn saved_before(&mut self) -> BoxFuture<'_, Result<Option<Micros>, F::Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Brings what other producers read of the scope up to the last save, where a store puts that off; at the end of a
    /// run, good or bad. Nothing is lost without it: whoever opens the scope next does it.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::save`].
    fn finish(&mut self) -> BoxFuture<'_, Result<(), F::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What tells, at any time, whether this process still holds the scope.
    fn lease(&self) -> Lease<F::Error> {
        Lease::unlimited()
    }
}

impl<F: Form> Save<F::Kept, F::Error> for Box<dyn CheckpointScope<F>> {
    async fn save(&mut self, kept: &F::Kept) -> Result<(), F::Error> {
        CheckpointScope::save(&mut **self, kept).await
    }

    async fn finish(&mut self) -> Result<(), F::Error> {
        CheckpointScope::finish(&mut **self).await
    }
}

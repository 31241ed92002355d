//! Cursors in files, in the layout of the producer in place, so that either goes on where the other stopped.
//!
//! ```text
//! <root>/<scope key>/.lock                                held while a run streams
//!                    answered.json                        what was answered beyond the cursors; ours alone
//!                    output_id=<id>/cursor.json           where it stands: temp, fsync, rename, fsync the folder
//!                                   cursor.jsonl          every save, for people; never read back
//! ```
//!
//! Whoever saves looks whether the lock file still is its own: who removed it, or replaced the folder, let another in.
//!
//! Cursors are in place, durably, before what is kept beyond them is. So whatever a crash leaves, that file says nothing
//! of rows that were not answered, and stands beside no cursor older than its own.

mod held;
mod lock;
mod place;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use self::held::Held;
use self::place::Place;
use super::lease::Lease;
use super::{CheckpointScope, CheckpointStore, Kept};
use crate::clock::Clock;
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// Checkpoints below a folder.
#[derive(Debug, Clone)]
pub struct FileCheckpoints<C> {
    root: PathBuf,
    clock: C,
}

impl<C: Clock> FileCheckpoints<C> {
    /// Checkpoints below `root`, which is made by the first [`CheckpointStore::open`]. `clock` dates the saves.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, clock: C) -> Self {
        Self { root: root.into(), clock }
    }

    fn place(&self, scope: &Hex64) -> Place {
        Place::new(scope.clone(), self.root.join(scope.as_str()))
    }

    async fn hold(&self, scope: &Hex64) -> Result<FileScope<C>, Refusal> {
        let place = self.place(scope);
        let held = blocking(move || Held::take(place)).await?;
        Ok(FileScope { lease: held.lease(), held: Arc::new(Mutex::new(held)), clock: self.clock.clone() })
    }
}

impl<C: Clock + std::fmt::Debug> CheckpointStore for FileCheckpoints<C> {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>> {
        async move { Ok(Box::new(self.hold(scope).await?) as Box<dyn CheckpointScope>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        let (place, outputs) = (self.place(scope), outputs.to_vec());
        blocking(move || place.read_all(&outputs)).boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let (place, outputs) = (self.place(scope), outputs.to_vec());
            blocking(move || Held::take(place)?.drop_kept(&outputs)).await
        }
        .boxed()
    }
}

/// A scope that this process holds. The hold goes with the last use of `held`, so a save that was abandoned
/// half-way still ends before another producer gets in.
struct FileScope<C> {
    held: Arc<Mutex<Held>>,
    lease: Lease,
    clock: C,
}

impl<C: Clock> CheckpointScope for FileScope<C> {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        let (held, outputs) = (self.held.clone(), outputs.to_vec());
        blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.load(&outputs)
        })
        .boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        let (held, kept, now) = (self.held.clone(), kept.clone(), self.clock.utc());
        blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.save(&kept, now)
        })
        .boxed()
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Reason::CheckpointSaveFailed, error.to_string()).file(path.to_string_lossy())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Refusal::new(Reason::InternalError, format!("checkpoint files: {error}"))))
}

#[cfg(test)]
mod tests;

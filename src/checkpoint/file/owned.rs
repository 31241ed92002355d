//! A scope's folder in the hands of the one who may change it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::lock::Lock;
use super::not_saved;
use crate::checkpoint::{CheckpointError, CheckpointFault, Keeper, Lease};
use crate::disk::{Disk, files};

/// A folder that this process holds, for as long as this lives.
pub struct HeldFolder<E> {
    folder: PathBuf,
    lock: Lock,
    keeper: Keeper<E>,
}

impl<E> std::fmt::Debug for HeldFolder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldFolder").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl<E: From<CheckpointError> + Clone + Send + Sync + 'static> HeldFolder<E> {
    /// Takes hold of `folder`, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`CheckpointFault::Busy`] where another process holds it; [`CheckpointFault::NotSaved`] where it can't be used.
    pub fn take(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, E> {
        let unusable = |error: io::Error| not_saved(folder, &error);
        files::create_folders(&**disk, folder).map_err(unusable)?;
        let Some(lock) = Lock::take(disk.clone(), folder).map_err(unusable)? else {
            let busy = CheckpointError::new(CheckpointFault::Busy, "another producer holds this folder");
            return Err(busy.file(folder.to_string_lossy()).into());
        };
        files::sweep(&**disk, folder).map_err(unusable)?;
        Ok(Self { folder: folder.to_owned(), lock, keeper: Keeper::new(Duration::MAX) })
    }

    /// Whether it is still held.
    #[must_use]
    pub fn lease(&self) -> Lease<E> {
        self.keeper.lease()
    }

    /// Of the lock: one more than that of who held it before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lock.epoch()
    }

    /// # Errors
    ///
    /// [`CheckpointFault::Lost`] where the scope is another's by now.
    pub fn still_ours(&self) -> Result<(), E> {
        let Some(holder) = self.lock.taken_by().map_err(|error| not_saved(&self.folder, &error))? else {
            return Ok(());
        };
        let detail = format!("this process held it as {}, and now its lock file {holder}", self.lock.line());
        let lost = E::from(CheckpointError::new(CheckpointFault::Lost, detail).file(self.folder.to_string_lossy()));
        self.keeper.lose(lost.clone());
        Err(lost)
    }

    /// Does what changes files; where that fails because another has the scope, says so.
    ///
    /// # Errors
    ///
    /// Those of the change, and of [`HeldFolder::still_ours`].
    pub fn changing<T>(&self, change: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.still_ours()?;
        change().or_else(|error| {
            self.still_ours()?;
            Err(error)
        })
    }
}

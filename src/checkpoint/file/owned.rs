//! A scope's folder in the hands of the one who may change it.

use std::io;

use wsp::disk::files;

use super::failed;
use super::lock::Lock;
use super::place::Place;
use crate::checkpoint::lease::{Keeper, Lease};
use crate::model::{Reason, Refusal};

/// A folder that this process holds, for as long as this lives.
pub(super) struct Owned {
    pub(super) place: Place,
    lock: Lock,
    keeper: Keeper,
}

impl Owned {
    /// Takes hold of the scope at `place`.
    pub(super) fn take(place: Place) -> Result<Self, Refusal> {
        let unusable = |error: io::Error| failed(&place.folder, &error);
        files::create_folders(&*place.disk, &place.folder).map_err(unusable)?;
        let Some(lock) = Lock::take(place.disk.clone(), &place.folder).map_err(unusable)? else {
            let detail = "another producer holds this folder";
            return Err(Refusal::new(Reason::CheckpointScopeBusy, detail).file(place.folder.to_string_lossy()));
        };
        files::sweep(&*place.disk, &place.folder).map_err(unusable)?;
        Ok(Self { place, lock, keeper: Keeper::new(std::time::Duration::MAX) })
    }

    pub(super) fn lease(&self) -> Lease {
        self.keeper.lease()
    }

    /// Of the lock: one more than that of who held it before.
    pub(super) fn epoch(&self) -> u64 {
        self.lock.epoch()
    }

    /// # Errors
    ///
    /// `CHECKPOINT_LEASE_LOST` where the scope is another's by now.
    pub(super) fn still_ours(&self) -> Result<(), Refusal> {
        let Some(holder) = self.lock.taken_by().map_err(|error| failed(&self.place.folder, &error))? else {
            return Ok(());
        };
        let detail = format!("this process held it as {}, and now its lock file {holder}", self.lock.line());
        let refusal = Refusal::new(Reason::CheckpointLeaseLost, detail).file(self.place.folder.to_string_lossy());
        self.keeper.lose(refusal.clone());
        Err(refusal)
    }

    /// Does what changes files; where that fails because another has the scope, says so.
    pub(super) fn changing<T>(&self, change: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.still_ours()?;
        change().or_else(|refusal| {
            self.still_ours()?;
            Err(refusal)
        })
    }
}

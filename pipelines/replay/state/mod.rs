//! What a replay keeps between two starts: what it is of, and how far it is answered.
//!
//! ```text
//! --state ──► StatePlace ──► store of `wsp::checkpoint` (folder, Postgres) ──open, held──► State
//!               Pinned: compared by each start ──► inputs.json
//!               Saved: replaced again and again ──► cursors.json
//! ```

mod form;
mod pinned;
mod place;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use wsp::checkpoint::{CheckpointScope, CheckpointStore, Lease};
use wsp::clock::Clock;
use wsp::disk::Disk;

use super::error::Error;
pub(super) use form::Saved;
use form::{Kept, Replays};
pub use pinned::Flag;
pub(super) use pinned::Pinned;
use place::Address;
pub use place::StatePlace;

const FRESH: &str = "--fresh begins anew and sends all of it again";
/// Between two tries to take a state that another process holds.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A state, held by this process.
pub(super) struct State {
    scope: Box<dyn CheckpointScope<Replays>>,
    store: Arc<dyn CheckpointStore<Replays>>,
    /// The digest of what is pinned.
    of: String,
    names: Arc<[String]>,
    shown: String,
    sorted: Option<Sorted>,
}

/// Where the sorted rows of inputs are kept between two starts.
#[derive(Debug, Clone)]
pub(super) struct Sorted {
    folder: PathBuf,
    /// What tells them from those of another replay.
    of: String,
}

impl Sorted {
    /// The folder of an input, and what tells it from that of another replay.
    pub(super) fn of(&self, rank: u16) -> (PathBuf, String) {
        (self.folder.join(format!("sorted-{rank}")), self.of.clone())
    }
}

/// How a state is opened.
pub(super) struct Opening<'a> {
    /// Where it is; a folder named by target and inputs where not given.
    pub(super) place: Option<&'a StatePlace>,
    /// Its name by target and inputs.
    pub(super) name: &'a str,
    pub(super) pinned: &'a Pinned,
    pub(super) flags: &'a [Flag],
    /// What an earlier start saved counts for nothing.
    pub(super) fresh: bool,
}

impl Opening<'_> {
    /// Takes the state. Gives what an earlier start saved, unless a fresh one is wanted. Folders are on `disk`, and leases go by
    /// `clock`.
    ///
    /// # Errors
    ///
    /// If another process has it, if it is of something else, or can't be read or written.
    pub(super) async fn open<C: Clock>(&self, disk: Arc<dyn Disk>, clock: &C) -> Result<(State, Option<Saved>), Error> {
        let address = match self.place {
            Some(place) => place.address(self.name, disk, clock.clone())?,
            None => Address::folder(Path::new(".wsp").join(self.name), disk),
        };
        let opened = self.open_at(&address, clock).await;
        if opened.is_err() {
            address.store.released().await;
        }
        opened
    }

    async fn open_at(&self, address: &Address, clock: &impl Clock) -> Result<(State, Option<Saved>), Error> {
        let mut scope = taken(address, clock).await?;
        let earlier = if self.fresh { None } else { scope.views().await? };
        let of = if let Some(earlier) = &earlier {
            self.pinned.fits(earlier, self.flags)?;
            earlier.digest()
        } else {
            // Positions in something else must not be found beside what comes now, whatever happens in between.
            if scope.load(&[]).await.ok() != Some(Kept::default()) {
                scope.save(&Kept::default()).await?;
            }
            scope.keep_views(self.pinned).await?;
            self.pinned.digest()
        };
        let (names, store) = (self.pinned.names(), address.store.clone());
        let sorted = address.folder.clone().map(|folder| Sorted { folder, of: of.clone() });
        let kept = scope.load(&[]).await?;
        let state = State { scope, store, of, names, shown: address.shown.clone(), sorted };
        if kept == Kept::default() {
            return Ok((state, None));
        }
        let foreign = |what: &str| Error::State { path: state.shown.clone(), what: format!("{what}; {FRESH}") };
        if kept.of != state.of {
            return Err(foreign("its cursors.json is of another inputs.json"));
        }
        if kept.names != state.names {
            return Err(foreign("the inputs of its cursors.json are others than those of inputs.json"));
        }
        Ok((state, Some(kept.saved)))
    }
}

/// Takes hold of a state. Where a process that died may still hold it, its hold is waited out.
async fn taken(address: &Address, clock: &impl Clock) -> Result<Box<dyn CheckpointScope<Replays>>, Error> {
    let patience = address.outlives + address.outlives / 10;
    let (until, mut told) = (clock.now() + patience, false);
    loop {
        match address.store.open(&address.name).await {
            Err(Error::Held { what, .. }) if clock.now() < until => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(state = %address.shown, "{what}; waiting {} s for it", patience.as_secs());
                }
                clock.sleep_until(clock.now() + TRY_AGAIN).await;
            }
            opened => return opened,
        }
    }
}

impl State {
    /// How people read where it is. It holds no secret.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Where the sorted rows of inputs are kept; nowhere where the state is no folder.
    pub(super) fn sorted(&self) -> Option<&Sorted> {
        self.sorted.as_ref()
    }

    /// Tells whether this process still holds it.
    pub(super) fn lease(&self) -> Lease<Error> {
        self.scope.lease()
    }

    /// Resolves when a state that was dropped is free for the next process.
    pub(super) fn released(&self) -> BoxFuture<'static, ()> {
        let store = self.store.clone();
        async move { store.released().await }.boxed()
    }

    /// Replaces what is saved, durably.
    pub(super) async fn save(&mut self, saved: Saved) -> Result<(), Error> {
        let kept = Kept { of: self.of.clone(), names: self.names.clone(), saved };
        self.scope.save(&kept).await
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("shown", &self.shown).field("of", &self.of).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

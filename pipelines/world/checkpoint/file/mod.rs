//! Cursors in files, in the layout of the legacy producer, so that either goes on where the other stopped.
//!
//! ```text
//! <root>/<scope key>/.lock                                held while a run streams
//!                    journal.0, journal.1                 the last saves of a run; ours alone, gone when it ends
//!                    views.json                           which views the cursors count in; ours alone
//!                    answered.json                        event ids of the cursors' rows, rows answered beyond; ours alone
//!                    output_id=<id>/cursor.json           where it stands: temp, fsync, rename, fsync the folder
//!                                   cursor.jsonl          every save, for people; never read back
//! ```
//!
//! A save is one entry of the journal and one sync. The files that others read follow it, within a moment while a run goes on
//! and at its end; after a crash whoever opens the scope next brings them up to the journal. Somebody who moves a cursor by
//! hand, or a producer that knows nothing of the journal, is still heard: what they wrote counts.
//!
//! Whoever saves looks whether the lock file still is its own: who removed it, or replaced the folder, let another in.

mod faults;
mod held;
mod owned;
mod place;
mod published;
mod record;
mod views;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wsp::checkpoint::file::blocking;
use wsp::clock::Clock;
use wsp::disk::{Disk, RealDisk};

use self::held::{Held, Then};
use self::place::Place;
use super::{CheckpointScope, CheckpointStore, Kept, Lease, RowCursors, Views};
use crate::model::{Hex64, Micros, OutputId, Refusal};

/// How long the files that others read may stay behind the journal, while a run goes on.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);

/// Checkpoints below a folder.
#[derive(Debug, Clone)]
pub struct FileCheckpoints<C> {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    clock: C,
}

impl<C: Clock> FileCheckpoints<C> {
    /// Checkpoints below `root`, which is made by the first [`CheckpointStore::open`]. `clock` dates the saves.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, clock: C) -> Self {
        Self::on(Arc::new(RealDisk), root, clock)
    }

    /// As [`FileCheckpoints::new`], on `disk`.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>, clock: C) -> Self {
        Self { disk, root: root.into(), clock }
    }

    fn place(&self, scope: &Hex64) -> Place {
        Place::new(self.disk.clone(), scope.clone(), self.root.join(scope.as_str()))
    }

    async fn hold(&self, scope: &Hex64) -> Result<FileScope<C>, Refusal> {
        let (place, now) = (self.place(scope), self.clock.utc());
        let held = blocking(&*self.disk, move || Held::take(place, now)).await?;
        let lease = held.lease();
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        Ok(FileScope { lease, held: Arc::new(held), disk, clock, publisher: None })
    }
}

impl<C: Clock + std::fmt::Debug> CheckpointStore<RowCursors> for FileCheckpoints<C> {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope<RowCursors>>, Refusal>> {
        async move { Ok(Box::new(self.hold(scope).await?) as Box<dyn CheckpointScope<RowCursors>>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        let (place, outputs) = (self.place(scope), outputs.to_vec());
        blocking(&*self.disk, move || place.read_all(&outputs)).boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Option<Views>, Refusal>> {
        let place = self.place(scope);
        blocking(&*self.disk, move || views::read(&place)).boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let (place, outputs, now) = (self.place(scope), outputs.to_vec(), self.clock.utc());
            blocking(&*self.disk, move || Held::reset(place, &outputs, now)).await
        }
        .boxed()
    }
}

/// A scope that this process holds. The hold goes with the last use of `held`, so a save that was abandoned
/// half-way still ends before another producer gets in.
struct FileScope<C> {
    held: Arc<Held>,
    lease: Lease,
    disk: Arc<dyn Disk>,
    clock: C,
    publisher: Option<Publisher>,
}

/// The task that brings the files up to the journal.
struct Publisher {
    /// Ends its waiting, also by being dropped.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Publishes what `held` has saved, again and again while there is more of it.
    fn start<C: Clock>(held: Weak<Held>, disk: Arc<dyn Disk>, clock: C) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    () = clock.sleep_until(clock.now() + PUBLISH_EVERY) => {}
                }
                let Some(held) = held.upgrade() else { return };
                let now = clock.utc();
                // The next save returns its error.
                if !matches!(blocking(&*disk, move || held.publish(now)).await, Ok(Then::Publish)) {
                    return;
                }
            }
        });
        Self { stop, task }
    }
}

impl<C: Clock> CheckpointScope<RowCursors> for FileScope<C> {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move {
            self.rest().await;
            let (held, outputs, now) = (self.held.clone(), outputs.to_vec(), self.clock.utc());
            blocking(&*self.disk, move || held.load(&outputs, now)).await
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        let held = self.held.clone();
        blocking(&*self.disk, move || held.views()).boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        let (held, views) = (self.held.clone(), views.clone());
        blocking(&*self.disk, move || held.keep_views(&views)).boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let (held, kept, now) = (self.held.clone(), kept.clone(), self.clock.utc());
            if blocking(&*self.disk, move || held.save(kept, now)).await? == Then::Publish {
                let (held, disk) = (Arc::downgrade(&self.held), self.disk.clone());
                self.publisher = Some(Publisher::start(held, disk, self.clock.clone()));
            }
            Ok(())
        }
        .boxed()
    }

    fn saved_before(&mut self) -> BoxFuture<'_, Result<Option<Micros>, Refusal>> {
        std::future::ready(Ok(self.held.saved_before())).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), Refusal>> {
        async move {
            self.rest().await;
            let (held, now) = (self.held.clone(), self.clock.utc());
            blocking(&*self.disk, move || held.finish(now)).await
        }
        .boxed()
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }
}

impl<C> FileScope<C> {
    /// Waits until nobody publishes.
    async fn rest(&mut self) {
        if let Some(Publisher { stop, task }) = self.publisher.take() {
            drop(stop);
            // However it ended, what it left to do is done by who called.
            let _ = task.await;
        }
    }
}

#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;

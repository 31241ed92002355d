//! The model of checkpoints on a disk: a lock that dies with its process, and a journal whose last entry is lost unless
//! synced. The files that follow a journal are not in it: nobody here but its holder reads or moves them.
//!
//! ```text
//! save ──entry──► pending ──sync──► durable ──► answer
//!                    └─ crash: the entry is whole or the one before it counts ─┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::hub::{Hub, ProcessId};
use super::judge::Judge;
use super::plan::StorePlan;
use crate::checkpoint::{Beyond, CheckpointScope, Cursor, Kept, Views};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// The disk. Clones share it.
#[derive(Clone)]
pub(super) struct Disk {
    hub: Hub,
    judge: Judge,
    plan: Arc<StorePlan>,
    folders: Arc<Mutex<BTreeMap<Hex64, Folder>>>,
}

/// A scope's folder.
#[derive(Debug, Default)]
struct Folder {
    lock: Option<ProcessId>,
    durable: Entry,
    /// Written, and not synced.
    pending: Option<Entry>,
    /// Which views the positions count in; the file is replaced as a whole, so a crash leaves the old one or the new one.
    views: Option<Views>,
    pending_views: Option<Views>,
}

/// An entry of the journal: all that is kept.
#[derive(Debug, Clone, Default)]
struct Entry {
    cursors: BTreeMap<OutputId, Cursor>,
    beyond: Vec<Beyond>,
}

impl Entry {
    /// The next one.
    fn with(&self, kept: &Kept) -> Self {
        let mut cursors = self.cursors.clone();
        cursors.extend(kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
        Self { cursors, beyond: kept.beyond.clone() }
    }

    fn kept(&self) -> Kept {
        Kept { cursors: self.cursors.values().cloned().collect(), beyond: self.beyond.clone() }
    }
}

impl Folder {
    fn sync(&mut self) {
        if let Some(entry) = self.pending.take() {
            self.durable = entry;
        }
    }
}

impl Disk {
    pub(super) fn new(hub: Hub, judge: Judge, plan: StorePlan) -> Self {
        Self { hub, judge, plan: Arc::new(plan), folders: Arc::default() }
    }

    /// Takes a scope's lock for `process`.
    pub(super) fn open(&self, process: ProcessId, scope: &Hex64) -> Result<Box<dyn CheckpointScope>, Refusal> {
        let mut folders = self.lock();
        let folder = folders.entry(scope.clone()).or_default();
        if let Some(holder) = folder.lock {
            return Err(Refusal::new(Reason::CheckpointScopeBusy, format!("p{holder} holds it")));
        }
        folder.lock = Some(process);
        Ok(Box::new(Held { disk: self.clone(), process, scope: scope.clone() }))
    }

    /// What a crash of `process` does to its folders: an entry that was not synced may be there or not.
    pub(super) fn crash(&self, process: ProcessId) {
        let mut folders = self.lock();
        for folder in folders.values_mut().filter(|folder| folder.lock == Some(process)) {
            folder.lock = None;
            if let Some(views) = folder.pending_views.take()
                && self.hub.draw(|r| r.chance(1, 2))
            {
                self.judge.keeps_views(process, &format!("{views:?}"));
                folder.views = Some(views);
            }
            if let Some(entry) = folder.pending.take() {
                let kept = self.hub.draw(|r| r.chance(1, 2));
                self.judge.count(|totals| totals.positions_lost += u64::from(!kept));
                if kept {
                    folder.durable = entry;
                }
            }
            self.judge.falls_back(process, &folder.durable.kept());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hex64, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A locked folder.
struct Held {
    disk: Disk,
    process: ProcessId,
    scope: Hex64,
}

impl Held {
    /// Does something in the folder, a while later; nothing any more once the process is dead.
    async fn at<T>(&self, work: impl FnOnce(&mut Folder) -> T) -> T {
        let hub = &self.disk.hub;
        let wait = hub.draw(|r| r.below(self.disk.plan.latency + 1));
        hub.sleep(self.process, Duration::from_millis(wait)).await;
        if !hub.step(self.process) {
            std::future::pending::<()>().await;
        }
        let mut folders = self.disk.lock();
        work(folders.entry(self.scope.clone()).or_default())
    }

    async fn save_all(&self, kept: &Kept) -> Result<(), Refusal> {
        let Disk { hub, judge, plan, .. } = &self.disk;
        // Nothing is written, or the entry is and can't be synced.
        let fails = hub.draw(|r| r.chance(plan.failing, 1_000).then(|| r.chance(1, 2)));
        if fails == Some(false) {
            return self.failed();
        }
        self.at(|folder| {
            for cursor in &kept.cursors {
                hub.note(format_args!("p{} writes {} row {}", self.process, cursor.output_id, cursor.last_row_index));
            }
            hub.note(format_args!("p{} writes what is beyond: {}", self.process, runs(&kept.beyond)));
            // Seen at once by who reads the journal; a crash may still undo it.
            judge.saves(self.process, &kept.cursors);
            judge.saves_beyond(self.process, &kept.beyond);
            folder.pending = Some(folder.durable.with(kept));
        })
        .await;
        if fails.is_some() {
            return self.failed();
        }
        self.at(|folder| {
            hub.note(format_args!("p{} syncs", self.process));
            folder.sync();
            judge.keeps(self.process);
        })
        .await;
        self.at(|_| ()).await;
        Ok(())
    }

    fn failed(&self) -> Result<(), Refusal> {
        let Disk { hub, judge, .. } = &self.disk;
        judge.count(|totals| totals.store_faults += 1);
        hub.note(format_args!("p{} save fails", self.process));
        Err(Refusal::new(Reason::CheckpointSaveFailed, "injected fault"))
    }
}

impl CheckpointScope for Held {
    fn load<'a>(&'a mut self, _: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move {
            let load = |folder: &mut Folder| {
                // What is read is synced first, as the real one is brought to files.
                folder.sync();
                folder.durable.kept()
            };
            let kept = self.at(load).await;
            let (positions, beyond) = (kept.cursors.len(), runs(&kept.beyond));
            self.disk.hub.note(format_args!("p{} loads {positions} positions, beyond: {beyond}", self.process));
            self.disk.judge.loads(self.process, &kept);
            Ok(kept)
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        async move { Ok(self.at(|folder| folder.views.clone()).await) }.boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let (hub, plan) = (&self.disk.hub, &self.disk.plan);
            if hub.draw(|r| r.chance(plan.failing, 1_000)) {
                return self.failed();
            }
            self.at(|folder| folder.pending_views = Some(views.clone())).await;
            self.at(|folder| {
                hub.note(format_args!("p{} keeps its views", self.process));
                folder.views = folder.pending_views.take();
                self.disk.judge.keeps_views(self.process, &format!("{views:?}"));
            })
            .await;
            Ok(())
        }
        .boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        self.save_all(kept).boxed()
    }
}

/// Runs of rows, for the trace.
fn runs(beyond: &[Beyond]) -> String {
    let rows = |beyond: &Beyond| beyond.files.iter().map(|file| format!("{:?}", file.rows)).collect::<Vec<_>>();
    let outputs: Vec<_> =
        beyond.iter().map(|beyond| format!("{} {} ", beyond.output_id, rows(beyond).concat())).collect();
    outputs.concat()
}

impl Drop for Held {
    fn drop(&mut self) {
        // A dead process lets go by its crash, which comes first.
        if let Some(folder) = self.disk.lock().get_mut(&self.scope)
            && folder.lock == Some(self.process)
        {
            folder.lock = None;
        }
    }
}

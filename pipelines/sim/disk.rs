//! The model of checkpoints on a disk: a lock that dies with its process, and files that are lost unless synced.
//!
//! ```text
//! save ──write──► pending ──sync──► durable ──► answer
//!                    └─ crash: each output's file is the old one or the new one
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::hub::{Hub, ProcessId};
use super::judge::Judge;
use super::plan::StorePlan;
use crate::checkpoint::{CheckpointScope, Cursor};
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
    durable: BTreeMap<OutputId, Cursor>,
    /// Written over the durable ones, and not synced.
    pending: BTreeMap<OutputId, Cursor>,
}

impl Folder {
    fn cursors(&self) -> Vec<Cursor> {
        let mut all = self.durable.clone();
        all.extend(self.pending.clone());
        all.into_values().collect()
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

    /// What a crash of `process` does to its folders: what was not synced may be there or not, file by file.
    pub(super) fn crash(&self, process: ProcessId) {
        let mut folders = self.lock();
        for folder in folders.values_mut().filter(|folder| folder.lock == Some(process)) {
            folder.lock = None;
            for (output, cursor) in std::mem::take(&mut folder.pending) {
                let kept = self.hub.draw(|r| r.chance(1, 2));
                self.judge.count(|totals| totals.positions_lost += u64::from(!kept));
                if kept {
                    folder.durable.insert(output, cursor);
                }
            }
            self.judge.falls_back(process, &folder.cursors());
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

    async fn save_all(&self, cursors: &[Cursor]) -> Result<(), Refusal> {
        let Disk { hub, judge, plan, .. } = &self.disk;
        let fails = hub.draw(|r| r.chance(plan.failing, 1_000).then(|| r.below(1 + cursors.len() as u64) as usize));
        for (i, cursor) in cursors.iter().enumerate() {
            if fails == Some(i) {
                break;
            }
            self.at(|folder| {
                hub.note(format_args!("p{} writes {} row {}", self.process, cursor.output_id, cursor.last_row_index));
                // Seen at once by who reads the file; a crash may still undo it.
                judge.saves(self.process, std::slice::from_ref(cursor));
                folder.pending.insert(cursor.output_id.clone(), cursor.clone());
            })
            .await;
        }
        if fails.is_some() {
            judge.count(|totals| totals.store_faults += 1);
            hub.note(format_args!("p{} save fails", self.process));
            return Err(Refusal::new(Reason::CheckpointSaveFailed, "injected fault"));
        }
        self.at(|folder| {
            hub.note(format_args!("p{} syncs", self.process));
            let pending = std::mem::take(&mut folder.pending);
            folder.durable.extend(pending);
        })
        .await;
        self.at(|_| ()).await;
        Ok(())
    }
}

impl CheckpointScope for Held {
    fn load<'a>(&'a mut self, _: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        async move {
            let load = |folder: &mut Folder| {
                // What is read is synced first, as the real files are.
                let pending = std::mem::take(&mut folder.pending);
                folder.durable.extend(pending);
                folder.durable.values().cloned().collect::<Vec<_>>()
            };
            let cursors = self.at(load).await;
            self.disk.hub.note(format_args!("p{} loads {} positions", self.process, cursors.len()));
            self.disk.judge.loads(self.process, &cursors);
            Ok(cursors)
        }
        .boxed()
    }

    fn save<'a>(&'a mut self, cursors: &'a [Cursor]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.save_all(cursors).boxed()
    }
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

//! The model of checkpoints on a disk: a lock that dies with its process, and files that are lost unless synced.
//!
//! ```text
//! save ──cursors──► pending ──sync──► durable ──answered rows──► pending ──sync──► durable ──► answer
//!                      └─ crash: each file is the old one or the new one ─┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::hub::{Hub, ProcessId};
use super::judge::Judge;
use super::plan::StorePlan;
use crate::checkpoint::{Beyond, CheckpointScope, Cursor, Kept};
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
    /// The file of rows answered beyond the cursors; empty where there is none.
    beyond: Vec<Beyond>,
    /// Put in its place, or its removal, and not synced.
    pending_beyond: Option<Vec<Beyond>>,
}

impl Folder {
    /// What is seen by who reads the files.
    fn kept(&self) -> Kept {
        let mut all = self.durable.clone();
        all.extend(self.pending.clone());
        let beyond = self.pending_beyond.as_ref().unwrap_or(&self.beyond).clone();
        Kept { cursors: all.into_values().collect(), beyond }
    }

    fn sync_cursors(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.durable.extend(pending);
    }

    /// A removal is never synced: what was there may come back in a crash.
    fn sync_beyond(&mut self) {
        if let Some(beyond) = self.pending_beyond.take_if(|beyond| !beyond.is_empty()) {
            self.beyond = beyond;
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
            if let Some(beyond) = folder.pending_beyond.take()
                && self.hub.draw(|r| r.chance(1, 2))
            {
                folder.beyond = beyond;
            }
            self.judge.falls_back(process, &folder.kept());
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
        // Nothing is put in place, or so many of the cursors, or all of it, unsynced.
        let steps = 2 + kept.cursors.len() as u64;
        let fails = hub.draw(|r| r.chance(plan.failing, 1_000).then(|| r.below(steps) as usize));
        for (i, cursor) in kept.cursors.iter().enumerate() {
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
        if fails.is_some_and(|at| at <= kept.cursors.len()) {
            return self.failed();
        }
        self.at(|folder| {
            hub.note(format_args!("p{} syncs", self.process));
            folder.sync_cursors();
            judge.keeps(self.process);
        })
        .await;
        self.at(|folder| {
            hub.note(format_args!("p{} writes what is beyond: {}", self.process, runs(&kept.beyond)));
            judge.saves_beyond(self.process, &kept.beyond);
            // Where there was no file, there is none to be removed.
            if !(kept.beyond.is_empty() && folder.kept().beyond.is_empty()) {
                folder.pending_beyond = Some(kept.beyond.clone());
            }
        })
        .await;
        if fails.is_some() {
            return self.failed();
        }
        self.at(|folder| {
            folder.sync_beyond();
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
                // What is read is synced first, as the real files are.
                folder.sync_cursors();
                folder.sync_beyond();
                folder.kept()
            };
            let kept = self.at(load).await;
            let (positions, beyond) = (kept.cursors.len(), runs(&kept.beyond));
            self.disk.hub.note(format_args!("p{} loads {positions} positions, beyond: {beyond}", self.process));
            self.disk.judge.loads(self.process, &kept);
            Ok(kept)
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

//! Checkpoints on the machine's disk: the real files, on a disk in memory whose every operation is a step of its process.
//!
//! ```text
//! stage ──load, save──► Watched ──► FileCheckpoints (the real ones) ──operation──► Reached: dead? a fault? ──► MemoryDisk
//!                          │                                                                                     │
//!                          └──────────► Judge ◄─────────────── cursor files, as a legacy producer reads them ────┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use wsp::disk::{Fate, Host, MemoryDisk, Operation};
use wsp::random::Random;
use wsp_world::checkpoint::{
    Beyond, CheckpointScope, CheckpointStore, FileCheckpoints, Kept, Lease, RowCursors, Views,
};
use wsp_world::model::{Hex64, OutputId, Refusal};

use super::clock::SimClock;
use super::hub::{Hub, Life, ProcessId};
use super::judge::Judge;
use super::plan::StorePlan;
use super::world::OUTPUTS;

const ROOT: &str = "/data/checkpoints";

/// How long a cursor file may stay behind a save, besides the time that the disk takes.
const LAG: Duration = Duration::from_millis(250);

/// The disk. Clones share it.
#[derive(Clone)]
pub(super) struct Disk {
    hub: Hub,
    judge: Judge,
    plan: Arc<StorePlan>,
    memory: MemoryDisk,
}

impl Disk {
    pub(super) fn new(hub: Hub, judge: Judge, plan: StorePlan) -> Self {
        Self { hub, judge, plan: Arc::new(plan), memory: MemoryDisk::new() }
    }

    /// Opens a scope of the line that `process` streams.
    pub(super) async fn open(
        &self,
        process: ProcessId,
        scope: &Hex64,
        clock: SimClock,
    ) -> Result<Box<dyn CheckpointScope<RowCursors>>, Refusal> {
        let folder = Path::new(ROOT).join(scope.as_str());
        let reached = Reached { disk: self.clone(), process, folder, faltered: Arc::default() };
        // A legacy producer might start now instead.
        reached.show_files(None);
        let memory = self.memory.seen_by(Arc::new(reached.clone()));
        let scope = FileCheckpoints::on(Arc::new(memory), ROOT, clock).open(scope).await?;
        Ok(Box::new(Watched { scope, reached }))
    }

    pub(super) fn lose_power(&self) {
        lose_power(&self.hub, &self.memory);
    }
}

/// The disk as one process reaches it.
#[derive(Clone)]
struct Reached {
    disk: Disk,
    process: ProcessId,
    /// The scope's.
    folder: PathBuf,
    /// An operation of it has failed.
    faltered: Arc<AtomicBool>,
}

/// What a legacy producer reads of a cursor file.
#[derive(Deserialize)]
struct CursorFile {
    last_file: String,
    last_row_index: u64,
}

impl Reached {
    /// What the cursor files say, as a legacy producer reads them: it knows no journal.
    fn places(&self) -> Result<Vec<(String, String, u64)>, String> {
        let mut places = Vec::new();
        for output in OUTPUTS {
            let path = self.folder.join(format!("output_id={output}")).join("cursor.json");
            let Some(bytes) = self.disk.memory.content(&path) else { continue };
            let file: CursorFile =
                serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            places.push((output.to_string(), file.last_file, file.last_row_index));
        }
        Ok(places)
    }

    /// Lets the judge read the cursor files. They have to say at least what was saved until `known`.
    fn show_files(&self, known: Option<Duration>) {
        self.disk.judge.reads_files(self.process, self.places(), known);
    }

    /// What was saved until then has come to the cursor files, where the process lives and nothing of it has failed.
    fn published(&self) -> Option<Duration> {
        let Disk { hub, plan, .. } = &self.disk;
        let well = hub.life(self.process) != Life::Dead && !self.faltered.load(Ordering::Relaxed);
        well.then(|| hub.now().checked_sub(LAG + Duration::from_millis(plan.latency + 1))).flatten()
    }
}

impl Host for Reached {
    fn fate(&self, operation: &Operation<'_>) -> Fate {
        let Disk { hub, judge, plan, .. } = &self.disk;
        if !hub.step(self.process) {
            return Fate::Fails;
        }
        let fate = hub.draw(|r| draw_fate(r, plan.failing));
        if fate != Fate::Happens {
            judge.count(|totals| totals.store_faults += 1);
            self.faltered.store(true, Ordering::Relaxed);
        }
        if fate != Fate::Happens || operation.act.changes() {
            hub.note(format_args!("p{} {:?} {}: {fate:?}", self.process, operation.act, shown(operation.path)));
        }
        fate
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, std::io::Result<()>> {
        let (reached, Disk { hub, plan, .. }) = (self.clone(), &self.disk);
        work_slowly(hub, self.process, plan.latency, move || {
            work();
            reached.show_files(reached.published());
        })
    }
}

/// Draws what becomes of an operation: of ten thousand, so many fail, half of them after a part of the work.
pub(super) fn draw_fate(r: &mut Random, failing: u64) -> Fate {
    match r.chance(failing, 10_000).then(|| r.chance(1, 2)) {
        None => Fate::Happens,
        Some(true) => Fate::Fails,
        Some(false) => Fate::FailsHalfway,
    }
}

/// Does the work at one instant, a while after `process` asks for it; the result comes a while later. Each way takes so
/// many milliseconds at most.
pub(super) fn work_slowly(
    hub: &Hub,
    process: ProcessId,
    latency: u64,
    work: impl FnOnce() + Send + 'static,
) -> BoxFuture<'static, std::io::Result<()>> {
    let hub = hub.clone();
    let done = tokio::spawn(async move {
        let (there, back) = hub.draw(|r| (r.below(latency + 1), r.below(latency + 1)));
        hub.sleep(process, Duration::from_millis(there)).await;
        work();
        hub.sleep(process, Duration::from_millis(back)).await;
    });
    done.map(|done| done.map_err(std::io::Error::other)).boxed()
}

/// Loses what is not durable, or some of it.
pub(super) fn lose_power(hub: &Hub, memory: &MemoryDisk) {
    hub.draw(|random| memory.lose_power(&mut |bound| random.below(bound)));
}

/// A path for the trace: names of temporary files differ from run to run.
fn shown(path: &Path) -> std::path::Display<'_> {
    let temporary = path.extension().is_some_and(|extension| extension == "wsp-tmp");
    let path = if temporary { path.parent().unwrap_or(path) } else { path };
    path.strip_prefix(ROOT).unwrap_or(path).display()
}

/// A scope whose saves and loads the judge sees.
struct Watched {
    scope: Box<dyn CheckpointScope<RowCursors>>,
    reached: Reached,
}

impl CheckpointScope<RowCursors> for Watched {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move {
            let kept = self.scope.load(outputs).await?;
            let Reached { disk: Disk { hub, judge, .. }, process, .. } = &self.reached;
            hub.note(format_args!("p{process} loads {} positions, beyond: {}", kept.cursors.len(), runs(&kept.beyond)));
            judge.loads(*process, &kept, hub.now());
            // What an earlier process left in the journal alone was put in them.
            self.reached.show_files(Some(hub.now()));
            Ok(kept)
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        async move {
            let views = self.scope.views().await?;
            let text = views.as_ref().map(|views| format!("{views:?}"));
            self.reached.disk.judge.reads_views(self.reached.process, text.as_deref());
            Ok(views)
        }
        .boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            self.scope.keep_views(views).await?;
            let Reached { disk: Disk { hub, judge, .. }, process, .. } = &self.reached;
            hub.note(format_args!("p{process} keeps its views"));
            judge.keeps_views(*process, &format!("{views:?}"));
            Ok(())
        }
        .boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let Reached { disk: Disk { hub, judge, .. }, process, .. } = self.reached.clone();
            for cursor in &kept.cursors {
                hub.note(format_args!("p{process} saves {} row {}", cursor.output_id, cursor.last_row_index));
            }
            hub.note(format_args!("p{process} saves what is beyond: {}", runs(&kept.beyond)));
            // From now on it may be found; it is kept for good when this returns.
            judge.saves(process, &kept.cursors);
            judge.saves_beyond(process, &kept.beyond);
            self.scope.save(kept).await?;
            judge.keeps(process, hub.now());
            Ok(())
        }
        .boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), Refusal>> {
        async move {
            self.scope.finish().await?;
            self.reached.show_files(Some(self.reached.disk.hub.now()));
            Ok(())
        }
        .boxed()
    }

    fn lease(&self) -> Lease {
        self.scope.lease()
    }
}

/// Runs of rows, for the trace.
fn runs(beyond: &[Beyond]) -> String {
    let rows = |beyond: &Beyond| beyond.files.iter().map(|file| format!("{:?}", file.rows)).collect::<Vec<_>>();
    let outputs: Vec<_> =
        beyond.iter().map(|beyond| format!("{} {} ", beyond.output_id, rows(beyond).concat())).collect();
    outputs.concat()
}

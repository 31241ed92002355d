//! The end of a run, written down; and kept on this machine while the store is away.
//!
//! ```text
//! Ending ──► summary ──► fact, verdict ──► report
//!               │ store away
//!               ▼
//!             Spool: memory, and a file for the next process ──before the next READY──► written
//! ```
//!
//! Its events are answered and its checkpoint saved, so nothing depends on it but the telling. The spool is bounded by
//! itself: no run starts while the store is away, so there is one end a lane of a run at most.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use wsp::disk::{Disk, Mode, RealDisk, files};
use wsp::store::ObjectStore;

use super::governance::{Facts, Pins, Provenance};
use super::record::{Records, Verdict};
use super::summaries::Summaries;
use super::summary::Summary;
use super::{RunEvidence, Told, report};
use crate::model::{Lane, PlatformRunId, Refusal};

/// All that is to be written when a run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastWords {
    /// The run under whose prefix it goes.
    pub home: PlatformRunId,
    /// The share of the run that it is about.
    pub lane: Lane,
    /// What its facts are about.
    pub pins: Pins,
    /// Who says so.
    pub provenance: Provenance,
    /// The verdict.
    pub verdict: Verdict,
    /// The summary, where it got as far as streaming.
    pub summary: Option<Box<Summary>>,
}

impl LastWords {
    /// Writes all of it, the report too. What stands already is left as it is, so it may be called again after any
    /// failure.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn write(&self, store: &Arc<dyn ObjectStore>) -> Result<(), Refusal> {
        let summaries = Summaries::new(store.clone(), &self.home)?.of_lane(self.lane);
        if let Some(summary) = &self.summary {
            summaries.put_summary(summary).await?;
        }
        let lanes = self.summary.as_ref().and_then(|summary| summary.lanes.as_ref()?.lanes());
        let facts = Facts::new(store.clone(), self.pins.clone(), self.provenance.clone())?.over_lanes(lanes);
        let records = Records::new(store.clone(), &self.home)?;
        RunEvidence { records, facts }.of_lane(self.lane).end(&self.verdict).await?;
        if self.summary.is_some() {
            let told = Told::read(store, &self.home, self.lane).await?;
            summaries.put_report(report::page(&told)).await?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        let lane = self.lane.label().map(|lane| format!(".{lane}")).unwrap_or_default();
        format!("{}{lane}.json", self.verdict.message_id)
    }
}

/// Ends that the store has not taken yet.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    kept: Mutex<BTreeMap<PathBuf, LastWords>>,
}

impl Default for Spool {
    fn default() -> Self {
        Self::on(Arc::new(RealDisk))
    }
}

impl Spool {
    /// A spool with its files on `disk`.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk, kept: Mutex::default() }
    }

    /// Keeps an end, as a file in `folder` too. Where even that can't be written it is lost with this process; the
    /// next one then resumes the run at its end and tells that.
    pub fn keep(&self, folder: &Path, words: LastWords) {
        let path = folder.join(words.name());
        match self.write_file(folder, &path, &words) {
            Ok(()) => tracing::warn!(path = %path.display(), "the run's end is kept here until the store is back"),
            Err(error) => tracing::error!(path = %path.display(), %error, "the run's end is kept in memory alone"),
        }
        self.kept().insert(path, words);
    }

    fn write_file(&self, folder: &Path, path: &Path, words: &LastWords) -> io::Result<()> {
        let text = serde_json::to_vec(words)?;
        files::create_folders(&*self.disk, folder)?;
        files::replace(&*self.disk, path, &text)
    }

    /// Writes every end kept here or by a process before; says which of them this process had kept.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`: what is not written yet stays kept.
    pub async fn write(&self, folder: &Path, store: &Arc<dyn ObjectStore>) -> Result<Vec<LastWords>, Refusal> {
        let mut written = Vec::new();
        for path in self.waiting(folder) {
            let ours = self.kept().get(&path).cloned();
            let Some(words) = ours.clone().or_else(|| self.read(&path)) else { continue };
            words.write(store).await?;
            self.kept().remove(&path);
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "written, but it can't be removed");
            }
            written.extend(ours);
        }
        Ok(written)
    }

    /// Ends that wait, here or in `folder`.
    #[must_use]
    pub fn count(&self, folder: &Path) -> usize {
        self.waiting(folder).len()
    }

    fn waiting(&self, folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.kept().keys().filter(|path| path.parent() == Some(folder)).cloned().collect();
        let on_disk = self.disk.names(folder).into_iter().flatten().map(|name| folder.join(name));
        paths.extend(on_disk.filter(|path| path.extension().is_some_and(|extension| extension == "json")));
        paths.sort();
        paths.dedup();
        paths
    }

    /// An end that a process before kept; one that can't be read is left for a person.
    fn read(&self, path: &Path) -> Option<LastWords> {
        let text = self.disk.open(path, Mode::Read).and_then(|file| file.read_up_to(u64::MAX));
        let words = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
        words.map_err(|error| tracing::error!(path = %path.display(), %error, "an end that can't be read")).ok()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<PathBuf, LastWords>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Status;
    use crate::model::{Hex64, Micros, Reason};
    use wsp::disk::{Fate, MemoryDisk, Operation};
    use wsp::random::Random;
    use wsp::store::{Fault, MemoryStore};

    fn words() -> LastWords {
        let home: PlatformRunId = "platform_20260101T000000Z".parse().unwrap();
        let run = "0".repeat(32);
        LastWords {
            lane: Lane::WHOLE,
            pins: Pins {
                platform_run_id: home.clone(),
                scenario_run_id: run.parse().unwrap(),
                manifest_fingerprint: None,
                parameter_hash: None,
                seed: Some(u64::MAX),
                scenario_id: None,
            },
            provenance: Provenance::default(),
            verdict: Verdict {
                message_id: Hex64::sha256("ready"),
                run_id: run.parse().unwrap(),
                status: Status::Failed,
                reason: Some(Reason::RunStopped),
                emitted: 7,
                engine_run_root: Some("world".to_owned()),
                scenario_id: None,
                waits_for: Vec::new(),
                ending: None,
                ts: Micros(5),
            },
            summary: None,
            home,
        }
    }

    async fn recorded(store: &Arc<dyn ObjectStore>) -> usize {
        Records::new(store.clone(), &words().home).unwrap().read(&words().verdict.message_id).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_the_store_would_not_take_is_written_once_by_whoever_comes_next() {
        let memory = MemoryStore::new("runs");
        let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
        words().write(&store).await.unwrap();
        let (calls, whole) = (memory.calls(), memory.contents());
        for call in 0..calls {
            for fault in [Fault::Before, Fault::After, Fault::Torn] {
                for same_process in [true, false] {
                    let case = format!("call {call}, {fault:?}, {same_process}");
                    let folder = tempfile::tempdir().unwrap();
                    let memory = MemoryStore::new("runs");
                    let store: Arc<dyn ObjectStore> = Arc::new(memory.clone());
                    memory.crash_at(call, fault);
                    words().write(&store).await.unwrap_err();
                    let spool = Spool::default();
                    spool.keep(folder.path(), words());
                    spool.write(folder.path(), &store).await.unwrap_err();
                    assert_eq!(spool.count(folder.path()), 1, "{case}");
                    memory.heal();
                    let spool = if same_process { spool } else { Spool::default() };
                    let written = spool.write(folder.path(), &store).await.unwrap();
                    assert_eq!(written, if same_process { vec![words()] } else { Vec::new() }, "{case}");
                    assert_eq!(recorded(&store).await, 1, "{case}");
                    assert_eq!(memory.contents().keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
                    assert_eq!(spool.write(folder.path(), &store).await.unwrap(), []);
                    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{case}");
                    assert_eq!(spool.count(folder.path()), 0, "{case}");
                }
            }
        }
    }

    #[tokio::test]
    async fn without_a_disk_the_memory_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new("runs"));
        let spool = Spool::default();
        spool.keep(&no_folder, words());
        assert_eq!(spool.write(&no_folder, &store).await.unwrap(), [words()]);
        assert_eq!(recorded(&store).await, 1);
    }

    #[test]
    fn an_end_that_was_kept_outlasts_a_power_loss() {
        let folder = Path::new("/runs/spool");
        for seed in 0..64 {
            let disk = MemoryDisk::new();
            Spool::on(Arc::new(disk.clone())).keep(folder, words());
            let mut random = Random::of(&[seed]);
            disk.lose_power(&mut |bound| random.below(bound));
            let happens = |_: &Operation<'_>| Fate::Happens;
            let next = Spool::on(Arc::new(disk.seen_by(Arc::new(happens))));
            let waiting = next.waiting(folder);
            assert_eq!(waiting.iter().map(|path| next.read(path)).collect::<Vec<_>>(), [Some(words())], "seed {seed}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_none_of_ours_is_left() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.json"), "{").unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new("runs"));
        assert_eq!(Spool::default().write(folder.path(), &store).await.unwrap(), []);
        assert!(folder.path().join("x.json").exists());
    }
}

//! The objects of a run that workers share: its tasks, which lanes are taken, their ends, and the run's.
//!
//! ```text
//! wsp/lanes/<message id>/<round>/tasks.json            conditional create: one set, whole or not there
//!                                <lane>.taken          written by who takes the lane, again and again; emptied by who leaves it
//!                                <lane>.left.json      the last note of who left it
//!                                <lane>.end.json       conditional create, while the lane's checkpoint is held
//!                                verdict.json          conditional create, once every lane has an end
//! ```
//!
//! A round is one attempt at the run. The next one begins where the last one ended FAILED and READY is looked at again.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wsp::store::{Key, ObjectStore};

use super::tasks::{TASKS_SCHEMA, TaskSet};
use crate::evidence::{LaneEnd, LaneNote, Status, Summary, Verdict, document, key, run_prefix, unavailable};
use crate::model::{Hex64, Lane, Lanes, PlatformRunId, Reason, Refusal};

/// What each of the objects may have at most, in bytes; a summary has some 60 kB.
const LIMIT: u64 = 8 << 20;

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    /// Its verdict.
    pub verdict: Verdict,
    /// Its summary.
    pub summary: Box<Summary>,
}

impl RunEnd {
    /// Whether it stands for good.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.verdict.status == Status::Streamed
    }
}

/// Where a READY stands.
#[derive(Debug)]
pub enum Current {
    /// Nobody has made the tasks of this round; the round before, where there is one, ended FAILED.
    Vacant {
        /// The round.
        round: u32,
        /// The tasks of the one before, and how it ended.
        before: Option<Box<(TaskSet, RunEnd)>>,
    },
    /// Lanes are under way, or wait for workers.
    Open(Box<TaskSet>),
    /// The run is streamed.
    Ended(Box<RunEnd>),
}

/// What is noted of a round's lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Lanes that some worker has taken and not left: by index, ended or not.
    pub taken: BTreeSet<u32>,
    /// Lanes that have an end.
    pub ended: BTreeSet<u32>,
    /// The run has its end.
    pub decided: bool,
}

impl Look {
    /// Whether a lane is under way.
    #[must_use]
    pub fn is_running(&self, lane: Lane) -> bool {
        self.taken.contains(&lane.index()) && !self.ended.contains(&lane.index())
    }

    /// Lanes under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.taken.difference(&self.ended).count()
    }
}

/// The objects of one READY.
#[derive(Debug, Clone)]
pub struct LaneBook {
    store: Arc<dyn ObjectStore>,
    folder: Key,
}

impl LaneBook {
    /// Those of a message of `home`'s.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, home: &PlatformRunId, message_id: &Hex64) -> Result<Self, Refusal> {
        let folder = key(&format!("{}/wsp/lanes/{message_id}", run_prefix(store.root(), home)?))?;
        Ok(Self { store, folder })
    }

    /// Where the READY stands.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`; `EVIDENCE_UNREADABLE` where an object is not what this program writes.
    pub async fn current(&self) -> Result<Current, Refusal> {
        let mut before = None;
        for round in 0.. {
            let Some(tasks) = self.tasks(round).await? else { return Ok(Current::Vacant { round, before }) };
            match self.round(&tasks)?.decided().await? {
                None => return Ok(Current::Open(Box::new(tasks))),
                Some(end) if end.is_final() => return Ok(Current::Ended(Box::new(end))),
                Some(end) => before = Some(Box::new((tasks, end))),
            }
        }
        Err(Refusal::new(Reason::InternalError, "more rounds than can be counted"))
    }

    /// The tasks of the newest round; none where nobody has made any.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn newest(&self) -> Result<Option<TaskSet>, Refusal> {
        let mut newest = None;
        for round in 0.. {
            let Some(tasks) = self.tasks(round).await? else { break };
            newest = Some(tasks);
        }
        Ok(newest)
    }

    /// Makes the tasks, or finds those that another worker made first. Lanes that a round before streamed have their ends
    /// before anybody can take them.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn make(&self, tasks: &TaskSet) -> Result<TaskSet, Refusal> {
        let round = self.round(tasks)?;
        if let Some(before) = tasks.round.checked_sub(1) {
            let before = LaneRound::new(self.store.clone(), &self.folder, before, tasks.lanes)?;
            for end in before.ends().await?.into_iter().filter(|end| end.verdict.status == Status::Streamed) {
                round.end(&end).await?;
            }
        }
        if self.store.put_new(&round.tasks()?, tasks.encode()?).await.map_err(unavailable)? {
            return Ok(tasks.clone());
        }
        let found = self.tasks(tasks.round).await?;
        found.ok_or_else(|| Refusal::new(Reason::StoreUnavailable, "tasks that were there are gone"))
    }

    /// The round of these tasks.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn round(&self, tasks: &TaskSet) -> Result<LaneRound, Refusal> {
        LaneRound::new(self.store.clone(), &self.folder, tasks.round, tasks.lanes)
    }

    async fn tasks(&self, round: u32) -> Result<Option<TaskSet>, Refusal> {
        let key = key(&format!("{}/{round}/tasks.json", self.folder))?;
        let Some(tasks) = read::<TaskSet>(&*self.store, &key).await? else { return Ok(None) };
        if tasks.schema == TASKS_SCHEMA && tasks.round == round {
            return Ok(Some(tasks));
        }
        let detail = format!("it is {} of round {}, this program reads {TASKS_SCHEMA}", tasks.schema, tasks.round);
        Err(Refusal::new(Reason::EvidenceUnreadable, detail).file(self.store.full_name(&key)))
    }
}

/// The objects of one round.
#[derive(Debug, Clone)]
pub struct LaneRound {
    store: Arc<dyn ObjectStore>,
    folder: Key,
    lanes: Lanes,
}

impl LaneRound {
    fn new(store: Arc<dyn ObjectStore>, of: &Key, round: u32, lanes: Lanes) -> Result<Self, Refusal> {
        Ok(Self { store, folder: key(&format!("{of}/{round}"))?, lanes })
    }

    fn tasks(&self) -> Result<Key, Refusal> {
        key(&format!("{}/tasks.json", self.folder))
    }

    fn of_lane(&self, lane: Lane, what: &str) -> Result<Key, Refusal> {
        key(&format!("{}/{lane}.{what}", self.folder))
    }

    /// What is noted of the lanes now: one listing.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn look(&self) -> Result<Look, Refusal> {
        let mut look = Look::default();
        for (key, bytes) in self.store.list(&self.folder).await.map_err(unavailable)? {
            let name = key.name();
            look.decided |= name == "verdict.json";
            let lane = |suffix: &str| self.lanes.find(name.strip_suffix(suffix)?);
            if let Some(lane) = lane(".end.json") {
                look.ended.insert(lane.index());
            } else if let Some(lane) = lane(".taken").filter(|_| bytes > 0) {
                look.taken.insert(lane.index());
            }
        }
        Ok(look)
    }

    /// Notes that a worker has taken a lane, and how far it has come.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn note(&self, lane: Lane, note: &LaneNote) -> Result<(), Refusal> {
        self.store.put(&self.of_lane(lane, "taken")?, document(note)?).await.map_err(unavailable)
    }

    /// What is noted of a lane that is taken.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn noted(&self, lane: Lane) -> Result<Option<LaneNote>, Refusal> {
        let key = self.of_lane(lane, "taken")?;
        let bytes = self.store.get(&key, LIMIT).await.map_err(unavailable)?.filter(|bytes| !bytes.is_empty());
        bytes.map(|bytes| parse(&*self.store, &key, &bytes)).transpose()
    }

    /// Notes that this worker has left a lane without its end; `note` is its last word on it.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn leave(&self, lane: Lane, note: &LaneNote) -> Result<(), Refusal> {
        // First: a lane that is free in the next moment has its note then.
        self.store.put(&self.of_lane(lane, "left.json")?, document(note)?).await.map_err(unavailable)?;
        self.store.put(&self.of_lane(lane, "taken")?, bytes::Bytes::new()).await.map_err(unavailable)
    }

    /// The last note of the worker that left a lane.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn left(&self, lane: Lane) -> Result<Option<LaneNote>, Refusal> {
        read(&*self.store, &self.of_lane(lane, "left.json")?).await
    }

    /// Whether the lane has an end.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn has_ended(&self, lane: Lane) -> Result<bool, Refusal> {
        Ok(self.store.head(&self.of_lane(lane, "end.json")?).await.map_err(unavailable)?.is_some())
    }

    /// Writes a lane's end, unless it has one.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn end(&self, end: &LaneEnd) -> Result<bool, Refusal> {
        self.store.put_new(&self.of_lane(end.lane, "end.json")?, document(end)?).await.map_err(unavailable)
    }

    /// A lane's end, where it has one.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn ended(&self, lane: Lane) -> Result<Option<LaneEnd>, Refusal> {
        read(&*self.store, &self.of_lane(lane, "end.json")?).await
    }

    /// The lanes' ends so far, by index.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn ends(&self) -> Result<Vec<LaneEnd>, Refusal> {
        let mut ends = Vec::new();
        for lane in self.lanes.lanes() {
            ends.extend(self.ended(lane).await?);
        }
        Ok(ends)
    }

    /// The run's end, where it has one.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn decided(&self) -> Result<Option<RunEnd>, Refusal> {
        read(&*self.store, &self.verdict()?).await
    }

    /// Writes the run's end, or finds the one that another worker wrote first. Says whether it was this one.
    ///
    /// # Errors
    ///
    /// As [`LaneBook::current`].
    pub async fn decide(&self, end: RunEnd) -> Result<(RunEnd, bool), Refusal> {
        if self.store.put_new(&self.verdict()?, document(&end)?).await.map_err(unavailable)? {
            return Ok((end, true));
        }
        let found = self.decided().await?;
        let gone = || Refusal::new(Reason::StoreUnavailable, "a verdict that was there is gone");
        Ok((found.ok_or_else(gone)?, false))
    }

    fn verdict(&self) -> Result<Key, Refusal> {
        key(&format!("{}/verdict.json", self.folder))
    }
}

async fn read<T: DeserializeOwned>(store: &dyn ObjectStore, key: &Key) -> Result<Option<T>, Refusal> {
    let Some(bytes) = store.get(key, LIMIT).await.map_err(unavailable)? else { return Ok(None) };
    parse(store, key, &bytes).map(Some)
}

fn parse<T: DeserializeOwned>(store: &dyn ObjectStore, key: &Key, bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::new(Reason::EvidenceUnreadable, error.to_string()).file(store.full_name(key)))
}

#[cfg(test)]
pub(super) mod tests;

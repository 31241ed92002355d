//! The status of a run whose lanes workers share, read from the store.
//!
//! ```text
//! one listing ──► lanes that ended (each read once) · taken (their notes) · free (the last note) ──► LanesStatus
//! ```
//!
//! It is read when somebody asks, and kept for a moment: a run that nobody watches costs nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use wsp::clock::Clock;

use super::book::{LaneRound, Look};
use super::tasks::TaskSet;
use crate::evidence::{LaneStatus, LanesStatus};
use crate::model::{Lane, Micros, Refusal};

/// How often a worker notes the progress of a lane that it holds.
pub const NOTE_EVERY: Duration = Duration::from_secs(10);
/// A worker that has noted nothing for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(35);
/// Objects that are read at once.
const AT_ONCE: usize = 16;
/// How long a status is kept.
const KEPT: Duration = Duration::from_secs(2);
/// How long the store may take; then the status before counts.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the lanes of these tasks stand at `now`. `ended` keeps those that have their ends, which never change.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; `EVIDENCE_UNREADABLE` where an object is not what this program writes.
pub async fn status(
    round: &LaneRound,
    tasks: &TaskSet,
    ended: &mut BTreeMap<u32, LaneStatus>,
    now: Micros,
) -> Result<LanesStatus, Refusal> {
    let look = round.look().await?;
    let of_lane = |lane: Lane| of_lane(round, &look, lane, ended.get(&lane.index()), now);
    let reading: Vec<_> = tasks.lanes.lanes().map(of_lane).collect();
    let lanes: Vec<LaneStatus> = stream::iter(reading).buffered(AT_ONCE).try_collect().await?;
    ended.extend(lanes.iter().filter(|lane| lane.ended_utc.is_some()).map(|lane| (lane.index, lane.clone())));
    Ok(LanesStatus::new(&tasks.start, tasks.lanes, tasks.round, lanes, tasks.paced_left(now)))
}

async fn of_lane(
    round: &LaneRound,
    look: &Look,
    lane: Lane,
    ended: Option<&LaneStatus>,
    now: Micros,
) -> Result<LaneStatus, Refusal> {
    if let Some(ended) = ended {
        return Ok(ended.clone());
    }
    if look.ended.contains(&lane.index())
        && let Some(end) = round.ended(lane).await?
    {
        return Ok(LaneStatus::ended(&end));
    }
    if look.taken.contains(&lane.index())
        && let Some(note) = round.noted(lane).await?
    {
        return Ok(LaneStatus::taken(lane, &note, now, SILENT_AFTER));
    }
    Ok(LaneStatus::waiting(lane, round.left(lane).await?.as_ref()))
}

/// The status of a run that this process takes part in, for whoever asks. Clones share what was read.
#[derive(Debug, Clone)]
pub struct LanesDesk {
    round: LaneRound,
    tasks: Arc<TaskSet>,
    ended: Arc<tokio::sync::Mutex<BTreeMap<u32, LaneStatus>>>,
    last: Arc<Mutex<Option<(Duration, LanesStatus)>>>,
}

impl LanesDesk {
    /// Of the run with these tasks. Nothing is read yet.
    #[must_use]
    pub fn new(round: LaneRound, tasks: TaskSet) -> Self {
        Self { round, tasks: Arc::new(tasks), ended: Arc::default(), last: Arc::default() }
    }

    /// The status; where the store does not answer in time, the one before.
    pub async fn status(&self, clock: &impl Clock) -> Option<LanesStatus> {
        if let Some((at, status)) = &*self.last()
            && clock.now().saturating_sub(*at) < KEPT
        {
            return Some(status.clone());
        }
        let reading = async {
            let mut ended = self.ended.lock().await;
            status(&self.round, &self.tasks, &mut ended, clock.utc()).await
        };
        let read = tokio::select! {
            read = reading => Some(read),
            () = clock.sleep_until(clock.now() + PATIENCE) => None,
        };
        match read {
            Some(Ok(status)) => {
                *self.last() = Some((clock.now(), status.clone()));
                return Some(status);
            }
            Some(Err(refusal)) => tracing::debug!(%refusal, "the status of the run's lanes can't be read"),
            None => tracing::debug!("the store did not answer in time for the status of the run's lanes"),
        }
        self.last().as_ref().map(|(_, status)| status.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<(Duration, LanesStatus)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wsp::clock::SystemClock;
    use wsp::store::{MemoryStore, ObjectStore};

    use super::super::book::LaneBook;
    use super::super::book::tests::{end, tasks};
    use super::*;
    use crate::evidence::{LaneNote, LaneState, Status, lane_tests};

    fn states(status: &LanesStatus) -> Vec<LaneState> {
        status.lanes.iter().map(|lane| lane.state).collect()
    }

    #[tokio::test]
    async fn each_lane_stands_as_the_store_says() {
        let store = MemoryStore::new("runs");
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let home = "platform_20260101T000000Z".parse().unwrap();
        let book = LaneBook::new(shared, &home, tasks(0).message_id()).unwrap();
        let round = book.round(&book.make(&tasks(0)).await.unwrap()).unwrap();
        let lanes: Vec<_> = tasks(0).lanes.lanes().collect();
        let now = Micros(100_000_000);
        let mut ended = BTreeMap::new();
        let first = status(&round, &tasks(0), &mut ended, now).await.unwrap();
        assert_eq!(states(&first), [LaneState::Waiting; 3]);

        round.note(lanes[0], &LaneNote { answered: 7, ..lane_tests::note("a", now) }).await.unwrap();
        round.note(lanes[1], &lane_tests::note("b", Micros(1))).await.unwrap();
        round.end(&end(2, Status::Streamed)).await.unwrap();
        let second = status(&round, &tasks(0), &mut ended, now).await.unwrap();
        assert_eq!(states(&second), [LaneState::Running, LaneState::Silent, LaneState::Streamed]);
        assert_eq!((second.answered, second.lanes[0].worker.as_deref()), (7, Some("a")));
        assert_eq!(ended.keys().copied().collect::<Vec<_>>(), [2]);

        round.leave(lanes[0], &LaneNote { answered: 9, ..lane_tests::note("a", now) }).await.unwrap();
        let calls = store.calls();
        let third = status(&round, &tasks(0), &mut ended, now).await.unwrap();
        assert_eq!(states(&third), [LaneState::Waiting, LaneState::Silent, LaneState::Streamed]);
        assert_eq!((third.answered, third.lanes[0].worker.as_deref()), (9, None), "what it left is not forgotten");
        assert_eq!(store.calls() - calls, 3, "a listing, a note of each lane that is open; an end is read once");
    }

    #[tokio::test]
    async fn a_store_that_is_away_leaves_the_status_before() {
        let store = MemoryStore::new("runs");
        let home = "platform_20260101T000000Z".parse().unwrap();
        let book = LaneBook::new(Arc::new(store.clone()), &home, tasks(0).message_id()).unwrap();
        let desk = LanesDesk::new(book.round(&tasks(0)).unwrap(), tasks(0));
        let clock = SystemClock::new();
        store.fail_next(1);
        assert_eq!(desk.status(&clock).await, None);
        let read = desk.status(&clock).await.unwrap();
        store.fail_next(100);
        assert_eq!(desk.status(&clock).await, Some(read.clone()), "it is kept for a moment");
        if let Some((at, _)) = &mut *desk.last() {
            *at = Duration::ZERO;
        }
        assert_eq!(desk.status(&clock).await, Some(read));
    }
}

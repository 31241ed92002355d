//! How the lanes of a run stand: one by one, and all together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lane_note::{LaneNote, Takeover};
use super::merged::LaneEnd;
use super::start::Start;
use super::status::Status;
use super::summary::{LaneSummary, LanesSummary, Summary};
use crate::model::{Hex64, Lane, LaneKey, Lanes, Micros, PlatformRunId, Reason};

/// How a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// A worker holds it and notes its progress.
    Running,
    /// A worker took it and has noted nothing for a while: it died, hangs, or can't reach the store.
    Silent,
    /// No worker has it.
    Waiting,
    /// It is streamed.
    Streamed,
    /// It failed.
    Failed,
}

impl LaneState {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Silent => "silent",
            Self::Waiting => "waiting",
            Self::Streamed => "streamed",
            Self::Failed => "failed",
        }
    }

    fn of_end(status: Status) -> Self {
        if status == Status::Streamed { Self::Streamed } else { Self::Failed }
    }
}

/// The status of one lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Which.
    pub index: u32,
    /// How it stands.
    pub state: LaneState,
    /// The worker that has it, or that ended it.
    pub worker: Option<String>,
    /// Which of the holds on its checkpoint that is.
    pub epoch: Option<u64>,
    /// Since when that worker has it.
    pub since_utc: Option<String>,
    /// When its progress was noted.
    pub noted_utc: Option<String>,
    /// Answered events, over all its starts.
    pub answered: u64,
    /// Events a second, recently.
    pub rate: f64,
    /// The event time that it has reached.
    pub event_time_utc: Option<String>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// When it ended.
    pub ended_utc: Option<String>,
    /// The times that it changed its worker.
    pub takeovers: Vec<Takeover>,
}

impl LaneStatus {
    /// A lane that no worker has; `left` is the note of the last one.
    #[must_use]
    pub fn waiting(lane: Lane, left: Option<&LaneNote>) -> Self {
        Self {
            index: lane.index(),
            state: LaneState::Waiting,
            worker: None,
            epoch: None,
            since_utc: None,
            noted_utc: left.map(|note| note.noted.to_string()),
            answered: left.map_or(0, |note| note.answered),
            rate: 0.0,
            event_time_utc: left.and_then(|note| note.reached_ts_utc.clone()),
            reason: None,
            ended_utc: None,
            takeovers: left.map(|note| note.takeovers.clone()).unwrap_or_default(),
        }
    }

    /// A lane that a worker has taken. It is silent where `silent_after` has passed since the worker's last note.
    #[must_use]
    pub fn taken(lane: Lane, note: &LaneNote, now: Micros, silent_after: Duration) -> Self {
        let quiet = u128::try_from(now.0.saturating_sub(note.noted.0)).unwrap_or(0);
        let silent = quiet > silent_after.as_micros();
        Self {
            state: if silent { LaneState::Silent } else { LaneState::Running },
            worker: Some(note.worker.clone()),
            epoch: note.epoch,
            since_utc: Some(note.taken.to_string()),
            rate: if silent { 0.0 } else { note.rate },
            ..Self::waiting(lane, Some(note))
        }
    }

    /// A lane that has its end.
    #[must_use]
    pub fn ended(end: &LaneEnd) -> Self {
        let of_run = LaneSummary::of(end);
        let last_ts = |summary: &Summary| summary.outputs.iter().filter_map(|output| output.last_ts_utc.clone()).max();
        Self { event_time_utc: end.summary.as_deref().and_then(last_ts), ..Self::summed_up(&of_run) }
    }

    /// A lane as the summary of its run has it.
    #[must_use]
    pub fn summed_up(lane: &LaneSummary) -> Self {
        Self {
            index: lane.index,
            state: LaneState::of_end(lane.status),
            worker: lane.worker.clone(),
            epoch: lane.epoch,
            since_utc: lane.held.map(|at| at.to_string()),
            noted_utc: None,
            answered: lane.events,
            rate: 0.0,
            event_time_utc: None,
            reason: lane.reason,
            ended_utc: Some(lane.ended.to_string()),
            takeovers: lane.takeovers.clone(),
        }
    }
}

/// The status of a run whose lanes workers share: of all of it, whoever streams it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanesStatus {
    /// The READY.
    pub message_id: Option<Hex64>,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// When the run started.
    pub started_utc: String,
    /// How many lanes there are.
    pub count: u32,
    /// What decides on an event's lane.
    pub by: LaneKey,
    /// Which attempt at the run, from 0.
    pub round: u32,
    /// Events answered in all lanes, over all starts.
    pub answered: u64,
    /// Events of the run.
    pub due: u64,
    /// Events a second in all lanes, recently.
    pub rate: f64,
    /// Seconds to the end at this rate, or by the pace where that takes longer; unknown where nothing moves.
    pub eta_seconds: Option<f64>,
    /// Each lane, by index.
    pub lanes: Vec<LaneStatus>,
}

impl LanesStatus {
    /// The status of a run that set out as `start`, with these lanes. `paced_left` is the time until its last event is due.
    #[must_use]
    pub fn new(start: &Start, lanes: Lanes, round: u32, all: Vec<LaneStatus>, paced_left: Option<Duration>) -> Self {
        let due = start.outputs.iter().map(|output| output.rows).sum::<u64>();
        let answered: u64 = all.iter().map(|lane| lane.answered).sum();
        let rate: f64 = all.iter().map(|lane| lane.rate).sum();
        let left = due.saturating_sub(answered) as f64;
        let by_rate = if left == 0.0 { Some(0.0) } else { (rate > 0.0).then(|| left / rate) };
        let paced = paced_left.map(|left| left.as_secs_f64());
        Self {
            message_id: start.run.message_id.clone(),
            platform_run_id: start.run.platform_run_id.clone(),
            started_utc: start.started.to_string(),
            count: lanes.count.get(),
            by: lanes.by,
            round,
            answered,
            due,
            rate,
            eta_seconds: by_rate.map(|seconds| seconds.max(paced.filter(|_| left > 0.0).unwrap_or(0.0))),
            lanes: all,
        }
    }

    /// The lanes of a run that has ended.
    #[must_use]
    pub fn of_summary(summary: &Summary, lanes: &LanesSummary) -> Self {
        Self {
            message_id: summary.run.message_id.clone(),
            platform_run_id: summary.run.platform_run_id.clone(),
            started_utc: summary.started.to_string(),
            count: lanes.count,
            by: lanes.by,
            round: 0,
            answered: summary.totals.settled(),
            due: summary.outputs.iter().map(|output| output.start.rows).sum(),
            rate: 0.0,
            eta_seconds: Some(0.0),
            lanes: lanes.ends.iter().map(LaneStatus::summed_up).collect(),
        }
    }

    /// How many lanes are in each state, where there are any.
    #[must_use]
    pub fn states(&self) -> Vec<(LaneState, usize)> {
        use LaneState::{Failed, Running, Silent, Streamed, Waiting};
        let number = |state| self.lanes.iter().filter(|lane| lane.state == state).count();
        [Running, Silent, Waiting, Streamed, Failed]
            .map(|state| (state, number(state)))
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// The same in words: `3 running, 5 streamed`.
    #[must_use]
    pub fn words(&self) -> String {
        let words: Vec<_> = self.states().into_iter().map(|(state, n)| format!("{n} {}", state.as_str())).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::evidence::{lane_tests::note, testing};

    #[test]
    fn lanes_add_up_to_the_status_of_their_run() {
        let lanes = Lanes { count: NonZeroU32::new(3).unwrap(), by: LaneKey::OrderKey };
        let [first, second, third] = [0, 1, 2].map(|index| lanes.lanes().nth(index).unwrap());
        let second_long = Duration::from_secs(1);
        let running = LaneNote { answered: 30, rate: 4.0, ..note("a", Micros(5_000_000)) };
        let dead = LaneNote { answered: 10, rate: 9.0, ..note("b", Micros(1)) };
        let now = Micros(6_000_000);
        let all = vec![
            LaneStatus::taken(first, &running, now, second_long),
            LaneStatus::taken(second, &dead, now, second_long),
            LaneStatus::waiting(third, Some(&LaneNote { answered: 20, ..running.clone() })),
        ];
        let status = LanesStatus::new(&testing::start(), lanes, 0, all.clone(), None);
        assert_eq!(status.words(), "1 running, 1 silent, 1 waiting");
        // Of 100 rows 60 are answered, at the rate of the lane that moves.
        assert_eq!((status.answered, status.due, status.rate, status.eta_seconds), (60, 100, 4.0, Some(10.0)));
        assert_eq!(status.lanes[2].worker, None);
        let paced =
            |seconds| LanesStatus::new(&testing::start(), lanes, 0, all.clone(), Some(Duration::from_secs(seconds)));
        assert_eq!((paced(99).eta_seconds, paced(3).eta_seconds), (Some(99.0), Some(10.0)));
        let nothing = LanesStatus::new(&testing::start(), lanes, 0, all[1..].to_vec(), None);
        assert_eq!(nothing.eta_seconds, None, "nothing moves");
    }
}

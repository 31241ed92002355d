//! The status of a process and its run, for `wsp status`, the terminal and readers of the JSON.
//!
//! ```text
//! Telemetry ──look, now and then──► Rates (the last seconds) ──► Status
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wsp::clock::Clock;
use wsp::deliver::{Bottleneck, OnTheWay};

pub use super::process::Stage;
use super::process::{State, TakenUp, Telemetry, Waits};
use super::rates::Rates;
use super::run::{GateWait, OutputMeter, RunMeter, RunOutput};
use crate::checkpoint::LeaseState;
use crate::evidence::{self, End, LanesStatus, Summary};
use crate::model::{Hex64, Micros, OutputId, PlatformRunId, Reason};

/// Waiting READYs that are listed.
const LISTED: usize = 20;

/// The status of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The build.
    pub version: String,
    /// When the process started.
    pub started_utc: String,
    /// When it was asked.
    #[serde(default)]
    pub now_utc: String,
    /// The run that is being streamed.
    pub run: Option<RunStatus>,
    /// What is taken up: checked before its run, or recorded after it.
    #[serde(default)]
    pub taken_up: Option<TakenUpStatus>,
    /// The run that ended last.
    #[serde(default)]
    pub last: Option<LastRun>,
    /// What the process waits for while no run is on, in words.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// The run whose lanes this process shares with others: all of it, whoever streams it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LanesStatus>,
    /// READYs that wait, the longest first: the first twenty.
    #[serde(default)]
    pub deferred: Vec<DeferredReady>,
    /// READYs so far, by verdict.
    pub verdicts: Vec<VerdictCount>,
}

/// What is taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenUpStatus {
    /// The READY; none where a person started the run.
    pub message_id: Option<Hex64>,
    /// Since when.
    pub since_utc: String,
    /// How far it is.
    pub stage: Stage,
}

/// A READY that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredReady {
    /// The READY.
    pub message_id: Hex64,
    /// The reason's code.
    pub reason: String,
    /// Since when.
    pub since_utc: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The READY it answered; none where a person started it.
    pub message_id: Option<Hex64>,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// When it began to stream.
    pub started_utc: String,
    /// When it ended.
    pub ended_utc: String,
    /// The verdict.
    pub status: evidence::Status,
    /// Where it ended.
    pub end: End,
    /// Why, unless it streamed.
    pub reason: Option<Reason>,
    /// The refusal in words.
    pub refusal: Option<String>,
    /// Events that the gate answered.
    pub answered: u64,
}

/// The status of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The READY it answers; none where a person started it.
    pub message_id: Option<Hex64>,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// When it began to stream.
    pub started_utc: String,
    /// Its outputs, by rank.
    pub outputs: Vec<OutputStatus>,
    /// All of them together.
    pub total: Progress,
    /// How much later than due the latest answered event was first sent, in seconds.
    pub lag_seconds: f64,
    /// Events taken in for delivery and not yet answered.
    pub unanswered: u64,
    /// Requests on their way to the gate.
    #[serde(default)]
    pub in_flight: u64,
    /// Attempts, the first of each event and those beyond it.
    #[serde(default)]
    pub attempts: u64,
    /// Attempts beyond the first of an event.
    pub retries: u64,
    /// Events by the gate's answer.
    #[serde(default)]
    pub answers: Answers,
    /// Its checkpoint.
    #[serde(default)]
    pub saves: Saves,
    /// What it waits for now, if for anything but answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Wait>,
    /// The order key that bounds the run, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
}

/// Events of a run by what the gate answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answers {
    /// ADMIT.
    pub admitted: u64,
    /// DUPLICATE.
    pub duplicates: u64,
    /// QUARANTINE.
    pub quarantined: u64,
    /// Refused for good, or tried as often as allowed.
    pub failed: u64,
}

/// How far a run is saved.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Saves {
    /// Cursors saved.
    pub cursors: u64,
    /// Seconds since the latest of them was saved.
    pub age_seconds: Option<f64>,
    /// Seconds for which the oldest answered event has been waiting to be saved.
    pub unsaved_seconds: f64,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// For what, in words.
    pub what: String,
    /// Since when, where that is known.
    pub since_utc: Option<String>,
    /// Until when at most, where there is a limit.
    pub until_utc: Option<String>,
}

/// The status of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// The output.
    pub output_id: OutputId,
    /// Event time of its latest answered event.
    pub event_time_utc: Option<String>,
    /// Event time at which it ends.
    pub end_utc: Option<String>,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Events answered since the start or resume.
    pub answered: u64,
    /// Events to be answered; unknown beforehand for a lane.
    pub due: Option<u64>,
    /// Events per second, recently.
    pub rate: f64,
    /// Seconds to the end at this rate; unknown where it does not move.
    pub eta_seconds: Option<f64>,
}

/// How often a verdict was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// The status.
    pub status: String,
    /// The reason; empty where nothing was refused.
    pub reason: String,
    /// How often.
    pub count: u64,
}

impl Telemetry {
    /// The status now, without lanes that others stream. `clock` is the service's. Rates need samples some time apart.
    #[must_use]
    pub fn status(&self, clock: &impl Clock) -> Status {
        self.look(clock);
        let state = self.state();
        let verdicts = state.verdicts.iter().map(|((status, reason), count)| VerdictCount {
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            count: *count,
        });
        let now = clock.utc();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_utc: self.started().to_string(),
            now_utc: now.to_string(),
            run: state.run().map(|run| run_status(run, &state.rates, clock)),
            taken_up: state.taken_up.as_ref().map(taken_up),
            last: state.last.as_deref().map(last_run),
            waits_for: state.waits_for.clone(),
            lanes: None,
            deferred: deferred(&state, now),
            verdicts: verdicts.collect(),
        }
    }

    /// The status now, with the lanes of a run that this process shares: those are read from the store.
    pub async fn status_with_lanes(&self, clock: &impl Clock) -> Status {
        let lanes = self.lanes(clock).await;
        Status { lanes, ..self.status(clock) }
    }

    /// Samples the run's progress, from which later calls compute rates.
    pub fn look(&self, clock: &impl Clock) {
        let mut state = self.state();
        let Some(run) = state.run() else { return };
        let answered = run.outputs().map(|(_, meter)| meter.answered_now()).collect();
        state.rates.note(clock.now(), answered);
    }
}

fn taken_up(TakenUp { message_id, since, stage }: &TakenUp) -> TakenUpStatus {
    TakenUpStatus { message_id: message_id.clone(), since_utc: since.to_string(), stage: *stage }
}

fn last_run(summary: &Summary) -> LastRun {
    LastRun {
        message_id: summary.run.message_id.clone(),
        platform_run_id: summary.run.platform_run_id.clone(),
        started_utc: summary.started.to_string(),
        ended_utc: summary.ended.to_string(),
        status: verdict_of(summary),
        end: summary.end,
        reason: summary.reason,
        refusal: summary.refusal.clone(),
        answered: summary.totals.answered,
    }
}

/// The verdict on a run that was streamed to this. Where another producer has it now, its READY waits for that one's.
fn verdict_of(summary: &Summary) -> evidence::Status {
    let waits = summary.status == evidence::Status::Failed && summary.reason.is_some_and(Reason::defers);
    if waits { evidence::Status::DeferredDownstreamNotReady } else { summary.status }
}

fn deferred(state: &State, now: Micros) -> Vec<DeferredReady> {
    let mut waiting: Vec<_> = state.waiting(now).collect();
    waiting.sort_by_key(|(_, waits)| waits.since);
    let ready = |(message_id, waits): (&Hex64, &Waits)| DeferredReady {
        message_id: message_id.clone(),
        reason: waits.reason.to_owned(),
        since_utc: waits.since.to_string(),
    };
    waiting.into_iter().take(LISTED).map(ready).collect()
}

fn run_status(run: &RunMeter, rates: &Rates, clock: &impl Clock) -> RunStatus {
    let (parts, now) = (run.parts(), clock.now());
    // A lane, or a cap over all outputs, takes a part of each that is not known beforehand.
    let whole = parts.due == Some(run.outputs().map(|(output, _)| output.due).sum());
    let mut outputs: Vec<_> = run
        .outputs()
        .enumerate()
        .map(|(rank, (output, meter))| output_status(output, meter, rates.of(rank), parts.speedup, whole))
        .collect();
    let (answered, rate) =
        outputs.iter().fold((0, 0.0), |(n, rate), output| (n + output.progress.answered, rate + output.progress.rate));
    // Pacing ends with the last output; without it, events are what takes time.
    let paced = outputs.iter().filter_map(|output| output.progress.eta_seconds).reduce(f64::max);
    let eta_seconds = if parts.speedup > 0.0 { paced } else { eta(parts.due, answered, rate) };
    for output in &mut outputs {
        output.progress.eta_seconds = within(output.progress.eta_seconds, eta_seconds);
    }
    let (pushes, on_the_way) = (parts.pushes.counts(), parts.pushes.on_the_way());
    RunStatus {
        message_id: parts.message_id.clone(),
        platform_run_id: parts.platform_run_id.clone(),
        started_utc: parts.started.to_string(),
        total: Progress { answered, due: parts.due, rate, eta_seconds },
        outputs,
        lag_seconds: run.lag().as_secs_f64(),
        unanswered: on_the_way.unanswered,
        in_flight: on_the_way.requests,
        attempts: pushes.attempts,
        retries: pushes.retries,
        answers: Answers {
            admitted: pushes.admitted,
            duplicates: pushes.duplicates,
            quarantined: pushes.quarantined,
            failed: pushes.rejected + pushes.exhausted,
        },
        saves: saves(run, now),
        waits_for: wait(run, on_the_way, clock),
        bottleneck: run.bottleneck(now),
    }
}

fn saves(run: &RunMeter, now: Duration) -> Saves {
    let (cursors, at) = run.saves();
    Saves {
        cursors,
        age_seconds: at.map(|at| now.saturating_sub(at).as_secs_f64()),
        unsaved_seconds: run.checkpoint_age(now).as_secs_f64(),
    }
}

/// What keeps a run from having requests on their way. Where it has some, it waits for their answers as any run does.
fn wait(run: &RunMeter, on_the_way: OnTheWay, clock: &impl Clock) -> Option<Wait> {
    let parts = run.parts();
    let plain = |what: String| Some(Wait { what, since_utc: None, until_utc: None });
    match parts.lease.state(clock.now()) {
        LeaseState::Held => {}
        LeaseState::Lapsed => return plain("its lease on the checkpoint, which was not renewed in time".to_owned()),
        LeaseState::Lost(refusal) => return plain(format!("its end: {refusal}")),
    }
    if let Some(GateWait { since, until }) = run.gate_wait() {
        return Some(Wait {
            what: "the gate, which takes no event".to_owned(),
            since_utc: Some(clock.utc_at(since).to_string()),
            until_utc: Some(clock.utc_at(until).to_string()),
        });
    }
    if on_the_way.unanswered > 0 {
        return None;
    }
    // What comes later in the pipeline is read first.
    if parts.framed.get() > on_the_way.handed {
        return plain("the time at which the next event is due".to_owned());
    }
    let answered: u64 = run.outputs().map(|(_, meter)| meter.answered_now()).sum();
    let done = parts.due.is_some_and(|due| answered >= due);
    plain(if done { "its last save" } else { "rows of the world" }.to_owned())
}

fn output_status(output: &RunOutput, meter: &OutputMeter, rate: f64, speedup: f64, whole: bool) -> OutputStatus {
    let (answered, at) = (meter.answered_now(), meter.event_time());
    let due = whole.then_some(output.due);
    let event_seconds_left = at.zip(output.span).map(|(at, (_, end))| (end.0 - at.0).max(0) as f64 / 1e6);
    let eta_seconds = if due == Some(answered) {
        Some(0.0)
    } else if speedup > 0.0 {
        event_seconds_left.map(|left| left / speedup)
    } else {
        eta(due, answered, rate)
    };
    OutputStatus {
        output_id: output.output_id.clone(),
        event_time_utc: at.map(|at| at.to_string()),
        end_utc: output.span.map(|(_, end): (Micros, Micros)| end.to_string()),
        progress: Progress { answered, due, rate, eta_seconds },
    }
}

fn eta(due: Option<u64>, answered: u64, rate: f64) -> Option<f64> {
    let left = due?.saturating_sub(answered);
    (left == 0 || rate > 0.0).then(|| if left == 0 { 0.0 } else { left as f64 / rate })
}

/// An output's time to its end, or the run's where that is shorter (at a cap over all outputs, for example) or where the
/// output's is unknown.
fn within(output: Option<f64>, run: Option<f64>) -> Option<f64> {
    [output, run].into_iter().flatten().reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_foreseen_where_it_moves() {
        assert_eq!(eta(Some(100), 40, 30.0), Some(2.0));
        assert_eq!(eta(Some(100), 40, 0.0), None);
        assert_eq!((eta(Some(100), 100, 0.0), eta(None, 5, 1.0)), (Some(0.0), None));
        let of_run = [(Some(9.0), Some(2.0)), (Some(1.0), Some(2.0)), (Some(9.0), None), (None, Some(2.0))];
        assert_eq!(of_run.map(|(output, run)| within(output, run)), [Some(2.0), Some(1.0), Some(9.0), Some(2.0)]);
    }
}

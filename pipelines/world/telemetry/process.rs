//! The figures of a process: verdicts, waits and runs, behind one lock that no event takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Span;
use wsp::clock::Clock;
use wsp::deliver::{PushCounts, PushStats};
use wsp::telemetry::{Counter, TraceMark};

use super::rates::Rates;
use super::run::{GateState, OutputMeter, RunMeter, RunOutput, RunParts, Totals};
use super::spans;
use crate::checkpoint::{Lease, Unsaved};
use crate::evidence::report::Charted;
use crate::evidence::{LanesStatus, Status, Summary, Verdict};
use crate::lanes::LanesDesk;
use crate::model::{Hex64, Micros, OutputId};
use crate::oracle::Resume;
use crate::prepare::Prepared;
use crate::producer::{ReadCounts, Settings};
use crate::ready::Ready;

/// Most waiting READYs whose start of the wait is remembered.
const DEFERRED: usize = 1024;
/// A READY that was not looked at for so long, while nothing streamed, no longer waits here. The feeds look at least every
/// 10 s.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// The figures of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Micros,
    traced: bool,
    trace: TraceMark,
    totals: Arc<Totals>,
    state: Mutex<State>,
}

/// What changes with a READY or a run, not with an event.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) outputs: BTreeMap<OutputId, Arc<OutputMeter>>,
    /// By status and reason.
    pub(super) verdicts: BTreeMap<(&'static str, &'static str), u64>,
    /// Waiting READYs, and what each waits for.
    pub(super) deferred: BTreeMap<Hex64, Waits>,
    /// Ends of runs that the store has not taken.
    pub(super) unwritten: usize,
    /// Whether each part answered when it was last asked.
    pub(super) parts: BTreeMap<&'static str, bool>,
    /// Of the runs that are over.
    pub(super) before: Finished,
    /// The runs under way: one, or a worker's lanes of one. Where a figure can't be of all, it is of the first one.
    pub(super) runs: Vec<RunMeter>,
    pub(super) rates: Rates,
    /// What the process waits for while no run is on.
    pub(super) waits_for: Option<String>,
    pub(super) taken_up: Option<TakenUp>,
    /// The run whose lanes this process shares with others.
    pub(super) lanes: Option<LanesDesk>,
    /// The run that ended last.
    pub(super) last: Option<Arc<Summary>>,
}

/// What a process does with a READY while its run does not stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its run is checked, and the hold on its checkpoint taken.
    Checking,
    /// The lanes of its run are shared with other workers, which stream them.
    Sharing,
    /// The end of its run is recorded.
    Ending,
}

/// The run that a page shows.
#[derive(Debug, Clone)]
pub enum Shown {
    /// None has streamed.
    Nothing,
    /// The present one.
    Live(Box<Charted>),
    /// The one that ended last.
    Ended(Arc<Summary>),
}

/// What a process works on: a READY, or a world that a person named.
#[derive(Debug, Clone)]
pub(super) struct TakenUp {
    pub(super) message_id: Option<Hex64>,
    pub(super) since: Micros,
    pub(super) stage: Stage,
}

/// A READY that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) since: Micros,
    pub(super) looked_at: Micros,
    pub(super) reason: &'static str,
}

/// The figures of runs that have ended.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) pushes: PushCounts,
    pub(super) framed: u64,
    pub(super) read_bytes: u64,
    pub(super) read_rows: u64,
}

impl Telemetry {
    /// A process that starts now and whose runs are not traced.
    #[must_use]
    pub fn new(clock: &impl Clock) -> Self {
        Self::traced(clock, false)
    }

    /// The same; each run is traced if `traced`, and its requests to the gate are marked then.
    #[must_use]
    pub fn traced(clock: &impl Clock, traced: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: clock.utc(),
                traced,
                trace: TraceMark::default(),
                totals: Arc::default(),
                state: Mutex::default(),
            }),
        }
    }

    /// When the process started.
    #[must_use]
    pub fn started(&self) -> Micros {
        self.shared.started
    }

    /// The mark for the gate's requests; it is set while a traced run streams.
    #[must_use]
    pub fn trace_mark(&self) -> TraceMark {
        self.shared.trace.clone()
    }

    /// The span of a run of `what` that is taken up at `now`, of a READY where there is one. Where runs are traced, the gate's
    /// requests are marked from now on, until the run is over.
    pub(crate) fn begin(&self, what: &str, message_id: Option<&Hex64>, now: Micros) -> Span {
        let taken_up = TakenUp { message_id: message_id.cloned(), since: now, stage: Stage::Checking };
        self.state().taken_up = Some(taken_up);
        let trace_id = spans::trace_id(what, now);
        if self.shared.traced {
            self.shared.trace.set(trace_id);
        }
        spans::run(message_id, trace_id)
    }

    /// Counts a verdict. A waiting READY is looked at repeatedly; it counts once, and again when its reason changes.
    pub fn verdict(&self, verdict: &Verdict) {
        let reason = verdict.reason.map_or("", crate::model::Reason::code);
        let mut state = self.state();
        if verdict.status == Status::DeferredDownstreamNotReady {
            if state.waits_as_before(verdict, reason) {
                return;
            }
        } else {
            state.deferred.remove(&verdict.message_id);
        }
        *state.verdicts.entry((verdict.status.as_str(), reason)).or_default() += 1;
    }

    /// Notes how many ends of runs the store has not taken.
    pub(crate) fn unwritten(&self, ends: usize) {
        self.state().unwritten = ends;
    }

    /// A run begins to stream, until it is over.
    #[must_use]
    pub fn run(&self, parts: RunParts) -> RunMeter {
        let mut state = self.state();
        let meters: Vec<_> = parts
            .outputs
            .iter()
            .map(|output| state.outputs.entry(output.output_id.clone()).or_default().clone())
            .collect();
        // Lanes of one run count together.
        if state.runs.is_empty() {
            for meter in &meters {
                meter.begin();
            }
            state.rates = Rates::default();
        }
        let run = RunMeter::new(self.shared.totals.clone(), parts, meters);
        state.runs.push(run.clone());
        run
    }

    /// A run has ended, well or not.
    pub(crate) fn over(&self, run: &RunMeter) {
        let mut state = self.state();
        state.before = state.before.with(std::slice::from_ref(run));
        state.runs.retain(|other| !other.is(run));
        if state.runs.is_empty() {
            self.shared.trace.set(0);
        }
    }

    /// A plan begins to read the event times of a run from `from` on. It is reported like a run, with rows for answers.
    pub(crate) fn look_ahead(
        &self,
        run: &Prepared,
        from: &[Resume],
        settings: &Settings,
        ready: &Ready,
        clock: &impl Clock,
    ) -> RunMeter {
        let outputs = RunOutput::of(run, from, settings);
        self.run(RunParts {
            message_id: Some(ready.payload.message_id.clone()),
            platform_run_id: run.identity.platform_run_id.clone(),
            started: clock.utc(),
            started_at: clock.now(),
            due: run.lane.is_whole().then(|| RunOutput::due(&outputs, settings)),
            outputs,
            speedup: 0.0,
            pushes: PushStats::new(),
            gate_limit: settings.circuit.limit,
            framed: Counter::new(),
            read: ReadCounts::default(),
            lease: Lease::unlimited(),
            unsaved: Unsaved::new(),
            tally: None,
        })
    }

    /// Whether the gate takes the events of the present run.
    #[must_use]
    pub fn gate(&self) -> GateState {
        let state = self.state();
        let Some(run) = state.run() else { return GateState::Unasked };
        run.gate_wait().map_or(GateState::Taking, GateState::Down)
    }

    /// Notes what the process waits for while no run is on, in words: `READYs of …`.
    pub fn waits_for(&self, words: String) {
        self.state().waits_for = Some(words);
    }

    /// Notes how the present run ended.
    pub(crate) fn ended(&self, summary: &Summary) {
        let mut state = self.state();
        if let Some(taken_up) = &mut state.taken_up {
            taken_up.stage = Stage::Ending;
        }
        state.last = Some(Arc::new(summary.clone()));
    }

    /// Notes that this process shares the lanes of the run that is taken up.
    pub(crate) fn shares(&self, lanes: LanesDesk) {
        let mut state = self.state();
        if let Some(taken_up) = &mut state.taken_up {
            taken_up.stage = Stage::Sharing;
        }
        state.lanes = Some(lanes);
    }

    /// The run whose lanes this process shares with others, as all of its workers have left it in the store.
    pub async fn lanes(&self, clock: &impl Clock) -> Option<LanesStatus> {
        let desk = self.state().lanes.clone();
        desk?.status(clock).await
    }

    /// Notes that the work begun by [`Telemetry::begin`] is done.
    pub(crate) fn done(&self) {
        let mut state = self.state();
        (state.taken_up, state.lanes) = (None, None);
    }

    /// The run that a page shows: the present one, else the one that ended last.
    #[must_use]
    pub fn shown(&self, clock: &impl Clock) -> Shown {
        let (run, last) = {
            let state = self.state();
            (state.run().cloned(), state.last.clone())
        };
        match run {
            Some(run) => run.charted(clock.now()).map_or(Shown::Nothing, |charted| Shown::Live(Box::new(charted))),
            None => last.map_or(Shown::Nothing, Shown::Ended),
        }
    }

    /// The present run's hold on its checkpoint.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.state().run().map(|run| run.parts().lease.clone())
    }

    /// Notes whether a part answered.
    pub fn part(&self, part: &'static str, ready: bool) {
        self.state().parts.insert(part, ready);
    }

    /// What the meters of all runs have counted.
    pub(super) fn totals(&self) -> &Totals {
        &self.shared.totals
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The run that a single figure is about.
    pub(super) fn run(&self) -> Option<&RunMeter> {
        self.runs.first()
    }

    /// Records a look at a waiting READY. Returns whether it waits for the same reason as at the look before.
    fn waits_as_before(&mut self, verdict: &Verdict, reason: &'static str) -> bool {
        if self.deferred.len() == DEFERRED && !self.deferred.contains_key(&verdict.message_id) {
            // Far more than a control topic defers at once: drop one that another process has probably taken.
            self.deferred.pop_first();
        }
        let since = self.deferred.get(&verdict.message_id).map_or(verdict.ts, |waits| waits.since);
        let waits = Waits { since, looked_at: verdict.ts, reason };
        self.deferred.insert(verdict.message_id.clone(), waits).is_some_and(|before| before.reason == reason)
    }

    /// How long each waiting READY has waited.
    pub(super) fn waits(&self, now: Micros) -> impl Iterator<Item = Duration> {
        self.waiting(now).map(move |(_, waits)| elapsed(waits.since, now))
    }

    /// The waiting READYs. While a run streams, none is looked at; at other times one that is no longer looked at has gone to
    /// another process.
    pub(super) fn waiting(&self, now: Micros) -> impl Iterator<Item = (&Hex64, &Waits)> {
        let there = move |waits: &Waits| !self.runs.is_empty() || elapsed(waits.looked_at, now) < FORGOTTEN;
        self.deferred.iter().filter(move |(_, waits)| there(waits))
    }
}

fn elapsed(from: Micros, to: Micros) -> Duration {
    Duration::from_micros((to.0 - from.0).max(0).cast_unsigned())
}

impl Finished {
    /// These plus the figures of `runs`.
    pub(super) fn with(&self, runs: &[RunMeter]) -> Self {
        let mut sum =
            Self { pushes: self.pushes, framed: self.framed, read_bytes: self.read_bytes, read_rows: self.read_rows };
        for run in runs {
            let RunParts { pushes, framed, read: ReadCounts { bytes, rows }, .. } = run.parts();
            sum.pushes = sum.pushes + pushes.counts();
            sum.framed += framed.get();
            sum.read_bytes += bytes.get();
            sum.read_rows += rows.get();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use wsp::clock::SystemClock;

    fn verdict(ready: &str, status: Status, reason: Option<Reason>, ts: Micros) -> Verdict {
        Verdict {
            message_id: Hex64::sha256(ready),
            run_id: "0".repeat(32).parse().unwrap(),
            status,
            reason,
            emitted: 0,
            engine_run_root: None,
            scenario_id: None,
            waits_for: Vec::new(),
            ending: None,
            ts,
        }
    }

    #[test]
    fn a_ready_waits_from_its_first_look_until_it_has_a_verdict_or_is_gone() {
        let telemetry = Telemetry::new(&SystemClock::new());
        let second = |seconds: i64| Micros(seconds * 1_000_000);
        let waits = |now| {
            let mut waits: Vec<_> = telemetry.state().waits(second(now)).map(|wait| wait.as_secs()).collect();
            waits.sort_unstable();
            waits
        };
        for (ready, at) in [("a", 0), ("b", 5), ("a", 10), ("b", 15), ("a", 20)] {
            telemetry.verdict(&verdict(ready, Status::DeferredDownstreamNotReady, None, second(at)));
        }
        assert_eq!(waits(30), [25, 30]);
        // The last look at b was at 15: by then another process has it.
        assert_eq!(waits(316), [316]);
        telemetry.verdict(&verdict("a", Status::Streamed, None, second(317)));
        assert!(waits(318).is_empty());
        for ready in 0..2 * DEFERRED {
            telemetry.verdict(&verdict(&ready.to_string(), Status::DeferredDownstreamNotReady, None, second(320)));
        }
        assert_eq!(waits(321).len(), DEFERRED);
    }

    #[test]
    fn a_wait_counts_once_a_ready_and_reason() {
        let telemetry = Telemetry::new(&SystemClock::new());
        let deferred = |message, reason| verdict(message, Status::DeferredDownstreamNotReady, Some(reason), Micros(0));
        for _look in 0..5 {
            telemetry.verdict(&deferred("a", Reason::PackStateMissing));
            telemetry.verdict(&deferred("b", Reason::PackStateMissing));
        }
        telemetry.verdict(&deferred("a", Reason::PackProcessNotRunning));
        telemetry.verdict(&deferred("a", Reason::PackProcessNotRunning));
        telemetry.verdict(&verdict("a", Status::Streamed, None, Micros(0)));
        // A wait after a verdict is another one.
        telemetry.verdict(&deferred("a", Reason::PackProcessNotRunning));
        let waits = |reason: Reason| {
            let key = (Status::DeferredDownstreamNotReady.as_str(), reason.code());
            telemetry.state().verdicts[&key]
        };
        assert_eq!((waits(Reason::PackStateMissing), waits(Reason::PackProcessNotRunning)), (2, 2));
        assert_eq!(telemetry.state().verdicts[&("STREAMED", "")], 1);
    }
}

//! What a running WSP tells of itself: to Prometheus, to probes, to `wsp status`, to the terminal, and over OTLP.
//!
//! ```text
//! service ──verdicts──────────────► Telemetry ──► families ──► /metrics, OTLP
//!    └─ run ──answers, saves──► RunMeter ──┘ └──► status ────► /status, the terminal
//!                                  Readiness (control topic, store, gate, lease) ──► /readyz
//! ```
//!
//! An answer costs a few additions. All else is worked out when somebody asks.

mod families;
pub mod listener;
pub mod otlp;
pub mod readiness;
mod run;
pub(super) mod spans;
pub mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Span;

use crate::checkpoint::Lease;
use crate::clock::Clock;
use crate::deliver::{PushCounts, PushStats};
use crate::evidence::{Status, Verdict};
use crate::model::{Hex64, Micros, OutputId};
use crate::oracle::Resume;
use crate::ready::Ready;
use crate::telemetry::{Counter, Histogram, TraceMark};

use super::prepare::Prepared;
use super::producer::{ReadCounts, Settings};
use run::OutputMeter;
pub use run::{RunMeter, RunOutput, RunParts};
use status::Rates;

/// READYs whose waiting is remembered; the control bus holds back fewer than that.
const REMEMBERED: usize = 1024;

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
    latency: Histogram,
    lag: Histogram,
    saves: Counter,
    state: Mutex<State>,
}

/// What changes with a READY or a run, not with an event.
#[derive(Debug, Default)]
struct State {
    outputs: BTreeMap<OutputId, Arc<OutputMeter>>,
    /// By status and reason.
    verdicts: BTreeMap<(&'static str, &'static str), u64>,
    /// READYs that wait, and for what.
    waiting: BTreeMap<Hex64, &'static str>,
    /// Whether each part answered when it was last asked.
    parts: BTreeMap<&'static str, bool>,
    /// Of the runs that are over.
    before: Finished,
    run: Option<RunMeter>,
    rates: Rates,
}

/// What runs that are over have left.
#[derive(Debug, Default)]
struct Finished {
    pushes: PushCounts,
    framed: u64,
    read_bytes: u64,
    read_rows: u64,
}

impl Telemetry {
    /// Nothing done yet, in a process that starts now and whose runs are not traced.
    #[must_use]
    pub fn new(clock: &impl Clock) -> Self {
        Self::traced(clock, false)
    }

    /// The same, with each run traced or not: the gate's requests are marked where it is.
    #[must_use]
    pub fn traced(clock: &impl Clock, traced: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: clock.utc(),
                traced,
                trace: TraceMark::default(),
                latency: Histogram::default(),
                lag: Histogram::default(),
                saves: Counter::new(),
                state: Mutex::default(),
            }),
        }
    }

    /// The mark for the gate's requests; it is set while a traced run streams.
    #[must_use]
    pub fn trace_mark(&self) -> TraceMark {
        self.shared.trace.clone()
    }

    /// The span of a READY that is taken at `now`. Where runs are traced, the gate's requests are marked from now on,
    /// until the run is over.
    pub(super) fn begin(&self, ready: &Ready, now: Micros) -> Span {
        let trace_id = spans::trace_id(ready, now);
        if self.shared.traced {
            self.shared.trace.set(trace_id);
        }
        spans::run(ready, trace_id)
    }

    /// Counts a verdict. A READY that waits is looked at over and over; it counts once, and again when something else
    /// keeps it.
    pub fn verdict(&self, verdict: &Verdict) {
        let reason = verdict.reason.map_or("", crate::model::Reason::code);
        let mut state = self.state();
        if verdict.status == Status::DeferredDownstreamNotReady {
            if state.waiting.insert(verdict.message_id.clone(), reason) == Some(reason) {
                return;
            }
            if state.waiting.len() > REMEMBERED {
                state.waiting.pop_first();
            }
        } else {
            state.waiting.remove(&verdict.message_id);
        }
        *state.verdicts.entry((verdict.status.as_str(), reason)).or_default() += 1;
    }

    /// A run begins to stream, until its meter is told that it is over.
    #[must_use]
    pub fn run(&self, parts: RunParts) -> RunMeter {
        let mut state = self.state();
        let meters: Vec<_> = parts
            .outputs
            .iter()
            .map(|output| state.outputs.entry(output.output_id.clone()).or_default().clone())
            .collect();
        for meter in &meters {
            meter.begin();
        }
        let run = RunMeter::new(self.clone(), parts, meters);
        state.rates = Rates::default();
        state.run = Some(run.clone());
        run
    }

    /// A plan begins to look at the event times of a run from `from` on: told of like a run, with rows for answers.
    pub(super) fn look_ahead(
        &self,
        run: &Prepared,
        from: &[Resume],
        settings: &Settings,
        ready: &Ready,
        clock: &impl Clock,
    ) -> RunMeter {
        let outputs = RunOutput::of(run, from, settings);
        self.run(RunParts {
            message_id: ready.payload.message_id.clone(),
            platform_run_id: run.identity.platform_run_id.clone(),
            started: clock.utc(),
            started_at: clock.now(),
            due: run.lane.is_whole().then(|| RunOutput::due(&outputs, settings)),
            outputs,
            speedup: 0.0,
            pushes: PushStats::new(),
            framed: Counter::new(),
            read: ReadCounts::default(),
            lease: Lease::unlimited(),
        })
    }

    /// The present run's hold on its checkpoint.
    fn lease(&self) -> Option<Lease> {
        self.state().run.as_ref().map(|run| run.parts().lease.clone())
    }

    /// Notes whether a part answered.
    fn part(&self, part: &'static str, ready: bool) {
        self.state().parts.insert(part, ready);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finished {
    /// These, and what the present run has come to.
    fn with(&self, run: Option<&RunMeter>) -> Self {
        let mut sum =
            Self { pushes: self.pushes, framed: self.framed, read_bytes: self.read_bytes, read_rows: self.read_rows };
        if let Some(run) = run {
            let RunParts { pushes, framed, read: ReadCounts { bytes, rows }, .. } = run.parts();
            sum.pushes = families::sum(sum.pushes, pushes.counts());
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
    use crate::clock::SystemClock;
    use crate::model::Reason;

    fn verdict(message: &str, status: Status, reason: Option<Reason>) -> Verdict {
        Verdict {
            message_id: Hex64::sha256(message),
            run_id: "5e".repeat(16).parse().unwrap(),
            status,
            reason,
            emitted: 0,
            engine_run_root: None,
            scenario_id: None,
            ending: None,
            ts: Micros(0),
        }
    }

    #[test]
    fn a_wait_counts_once_a_ready_and_reason() {
        let telemetry = Telemetry::new(&SystemClock::new());
        let deferred = |message, reason| verdict(message, Status::DeferredDownstreamNotReady, Some(reason));
        for _look in 0..5 {
            telemetry.verdict(&deferred("a", Reason::PackStateMissing));
            telemetry.verdict(&deferred("b", Reason::PackStateMissing));
        }
        telemetry.verdict(&deferred("a", Reason::PackProcessNotRunning));
        telemetry.verdict(&deferred("a", Reason::PackProcessNotRunning));
        telemetry.verdict(&verdict("a", Status::Streamed, None));
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

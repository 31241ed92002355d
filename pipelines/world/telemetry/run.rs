//! The meter of a run while it streams.
//!
//! ```text
//! Delivered ──answered──► per output: decisions, event time · over all: latency, lag
//! SavedCursor ──saved──► count · Unsaved ──► the age of what is answered and not saved
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use wsp::deliver::{Bottleneck, HotKey, PushStats};
use wsp::telemetry::{Counter, Histogram};

use crate::checkpoint::{Lease, Unsaved};
use crate::evidence::LiveTally;
use crate::evidence::report::Charted;
use crate::model::{Decision, Delivered, Hex64, Micros, OutputId, PlatformRunId};
use crate::oracle::Resume;

use crate::positions::resumed_at;
use crate::prepare::{Prepared, PreparedOutput};
use crate::producer::{ReadCounts, Settings};

/// No event time yet.
const NEVER: i64 = i64::MIN;
/// No cursor saved yet.
const UNSAVED: u64 = u64::MAX;

/// What identifies a run, and where its stages count.
#[derive(Debug, Clone)]
pub struct RunParts {
    /// The READY it answers; none where a person started it.
    pub message_id: Option<Hex64>,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// When it began to stream.
    pub started: Micros,
    /// The same, on the service's clock.
    pub started_at: Duration,
    /// Its outputs, by rank.
    pub outputs: Vec<RunOutput>,
    /// Events it has to deliver, within all caps; not known in advance for a lane.
    pub due: Option<u64>,
    /// Event seconds a second; 0 is without pacing.
    pub speedup: f64,
    /// Its attempts.
    pub pushes: PushStats,
    /// How long the gate may accept nothing before the run fails.
    pub gate_limit: Duration,
    /// Its events as they are framed.
    pub framed: Counter,
    /// Its rows and bytes as they are read.
    pub read: ReadCounts,
    /// Its hold on the checkpoint.
    pub lease: Lease,
    /// Since when its answered events wait to be saved, on the service's clock.
    pub unsaved: Unsaved,
    /// Its answers over time; none where nothing is sent.
    pub tally: Option<LiveTally>,
}

/// Whether the gate takes the events of the present run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    /// There is no run.
    Unasked,
    /// It takes them, as far as is known.
    Taking,
    /// It is considered down.
    Down(GateWait),
}

/// A wait for a gate that takes nothing, on the service's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateWait {
    /// When it stopped taking events.
    pub since: Duration,
    /// When the run fails.
    pub until: Duration,
}

/// One output of a run.
#[derive(Debug, Clone)]
pub struct RunOutput {
    /// The output.
    pub output_id: OutputId,
    /// Events it has to deliver, within the cap per output.
    pub due: u64,
    /// Its first and last event time, by its receipt.
    pub span: Option<(Micros, Micros)>,
    /// The column of its order key.
    pub order_key: Option<&'static str>,
}

impl RunOutput {
    /// The outputs of a run that starts at these positions, by rank.
    #[must_use]
    pub fn of(run: &Prepared, from: &[Resume], settings: &Settings) -> Vec<Self> {
        let cap = settings.max_events_per_output.unwrap_or(u64::MAX);
        let output = |(output, from): (&PreparedOutput, &Resume)| Self {
            output_id: output.view.output_id.clone(),
            due: (output.view.rows - resumed_at(&output.view, *from)).min(cap),
            span: output.span,
            order_key: output.order_key,
        };
        run.outputs.iter().zip(from).map(output).collect()
    }

    /// Events that all of them have to deliver, within the run's cap.
    #[must_use]
    pub fn due(outputs: &[Self], settings: &Settings) -> u64 {
        let all: u64 = outputs.iter().map(|output| output.due).sum();
        all.min(settings.max_events.unwrap_or(u64::MAX))
    }
}

/// What the meters of all runs of a process count into.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) latency: Histogram,
    pub(super) lag: Histogram,
    /// Cursors saved.
    pub(super) saves: Counter,
}

/// One output's figures, over all runs of the process.
#[derive(Debug)]
pub(super) struct OutputMeter {
    /// One count per [`Decision`], answers of an earlier start included: they are part of what is due.
    decisions: [AtomicU64; 4],
    /// How many there were when the present run began.
    before: AtomicU64,
    /// The latest answered event's time in the present run, microseconds.
    event_time: AtomicI64,
}

impl Default for OutputMeter {
    fn default() -> Self {
        Self { decisions: Default::default(), before: AtomicU64::new(0), event_time: AtomicI64::new(NEVER) }
    }
}

impl OutputMeter {
    /// A run begins.
    pub(super) fn begin(&self) {
        self.before.store(self.answered(), Ordering::Relaxed);
        self.event_time.store(NEVER, Ordering::Relaxed);
    }

    fn count(&self, decision: Decision, events: u64, ts: Micros) {
        self.decisions[decision as usize].fetch_add(events, Ordering::Relaxed);
        // Answers are counted on one thread, so this needs no exchange.
        if ts.0 > self.event_time.load(Ordering::Relaxed) {
            self.event_time.store(ts.0, Ordering::Relaxed);
        }
    }

    pub(super) fn decided(&self, decision: Decision) -> u64 {
        self.decisions[decision as usize].load(Ordering::Relaxed)
    }

    fn answered(&self) -> u64 {
        self.decisions.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Answered in the present run, or found answered by an earlier start.
    pub(super) fn answered_now(&self) -> u64 {
        self.answered() - self.before.load(Ordering::Relaxed)
    }

    /// The latest answered event's time in the present run.
    pub(super) fn event_time(&self) -> Option<Micros> {
        Some(self.event_time.load(Ordering::Relaxed)).filter(|time| *time != NEVER).map(Micros)
    }
}

/// The meter of one run. Clones are the same meter.
#[derive(Debug, Clone)]
pub struct RunMeter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    totals: Arc<Totals>,
    parts: RunParts,
    meters: Vec<Arc<OutputMeter>>,
    /// How much later than due the latest answered event was first sent, in microseconds.
    lag: AtomicU64,
    /// Cursors saved in this run.
    cursors: Counter,
    /// When the latest of them was saved, on the service's clock, in microseconds.
    saved_at: AtomicU64,
}

impl RunMeter {
    pub(super) fn new(totals: Arc<Totals>, parts: RunParts, meters: Vec<Arc<OutputMeter>>) -> Self {
        let (lag, cursors, saved_at) = (AtomicU64::new(0), Counter::new(), AtomicU64::new(UNSAVED));
        Self { shared: Arc::new(Shared { totals, parts, meters, lag, cursors, saved_at }) }
    }

    /// Counts an answer.
    pub fn answered(&self, delivered: &Delivered) {
        let shared = &*self.shared;
        if let Some(meter) = shared.meters.get(usize::from(delivered.position.rank)) {
            meter.count(delivered.decision, 1, delivered.ts);
        }
        if delivered.decision == Decision::Earlier {
            return;
        }
        shared.totals.latency.record(delivered.latency);
        shared.totals.lag.record(delivered.lag);
        shared.lag.store(delivered.lag.as_micros() as u64, Ordering::Relaxed);
    }

    /// Counts rows that a plan has read as if they had been admitted; a plan sends nothing.
    pub fn looked_at(&self, rank: u16, times: &[Micros]) {
        if let (Some(meter), Some(last)) = (self.shared.meters.get(usize::from(rank)), times.last()) {
            meter.count(Decision::Admit, times.len() as u64, *last);
        }
    }

    /// Counts a cursor that was saved at `now`, on the service's clock.
    pub fn saved(&self, now: Duration) {
        self.shared.totals.saves.add(1);
        self.shared.cursors.add(1);
        self.shared.saved_at.store(now.as_micros() as u64, Ordering::Relaxed);
    }

    /// Whether both meter the same run.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn parts(&self) -> &RunParts {
        &self.shared.parts
    }

    /// The order key that delayed the run most, with its column.
    pub(super) fn hot_key(&self) -> Option<(HotKey, &'static str)> {
        let parts = &self.shared.parts;
        let key = parts.pushes.hot_key()?;
        Some((key, parts.outputs.get(usize::from(key.rank))?.order_key?))
    }

    /// The order key that bounds the run, if one does.
    pub(crate) fn bottleneck(&self, now: Duration) -> Option<Bottleneck> {
        let parts = &self.shared.parts;
        let (key, column) = self.hot_key()?;
        key.bottleneck(column, parts.pushes.counts().decided(), now.saturating_sub(parts.started_at))
    }

    /// Its outputs with their figures, by rank.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (&RunOutput, &OutputMeter)> {
        self.shared.parts.outputs.iter().zip(self.shared.meters.iter().map(|meter| &**meter))
    }

    pub(super) fn lag(&self) -> Duration {
        Duration::from_micros(self.shared.lag.load(Ordering::Relaxed))
    }

    pub(super) fn checkpoint_age(&self, now: Duration) -> Duration {
        self.shared.parts.unsaved.age(now)
    }

    /// Cursors saved in this run, and when the latest of them was.
    pub(super) fn saves(&self) -> (u64, Option<Duration>) {
        let at = self.shared.saved_at.load(Ordering::Relaxed);
        (self.shared.cursors.get(), (at != UNSAVED).then(|| Duration::from_micros(at)))
    }

    /// The run's wait for a gate that is considered down.
    pub(super) fn gate_wait(&self) -> Option<GateWait> {
        let parts = &self.shared.parts;
        parts.pushes.gate_down_since().map(|since| GateWait { since, until: since + parts.gate_limit })
    }

    /// What its charts are drawn from at `now`.
    pub(super) fn charted(&self, now: Duration) -> Option<Charted> {
        let parts = &self.shared.parts;
        let outputs = parts.outputs.iter().map(|output| output.output_id.clone()).collect();
        let tally = parts.tally.as_ref()?.lock();
        Some(Charted::of_tally(&tally, outputs, now.saturating_sub(parts.started_at)))
    }
}

//! The streaming of a run that is checked and whose checkpoint is held, whoever asked for it: a READY or a person.
//!
//! ```text
//! Run ──► wsp_start.json ──► producer::stream ──answers──► Account ──► Streamed { emitted, refusal, summary }
//! ```
//!
//! Its log lines `WSP stream …` are evidence to the platform, word for word (contract, section 10).

use futures::TryStreamExt;
use wsp::byte_budget::ByteBudget;
use wsp::clock::Clock;
use wsp::deliver::{Gate, PushStats, Takes};
use wsp::telemetry::Counter;

use crate::checkpoint::{CheckpointScope, CheckpointStore, RowCursors, SharedScope, Unsaved};
use crate::evidence::{End, LiveTally, OutputSummary, SessionEvent, SessionLog, Status, Summaries, Summary};
use crate::lanes::LaneMeter;
use crate::model::{CheckList, Decision, Event, Lane, Micros, Reason, Refusal};
use crate::oracle::Resume;

use crate::telemetry::{RunOutput, RunParts, spans};

use super::Service;
use crate::account::{self, Account};
use crate::positions::{checkpoints, resumed_at};
use crate::prepare::Prepared;
use crate::producer::{self, Framing, Parts, ReadCounts, Settings};
use crate::resuming::{self, Resumed};
use crate::run_evidence::{By, saved_logger, start_of, world_outputs};

/// A run that has all it needs.
pub(super) struct Run<'a, C> {
    /// The READY, where there is one.
    pub(super) by: Option<By<'a>>,
    pub(super) prepared: &'a Prepared,
    pub(super) checks: &'a CheckList,
    /// Its checkpoint, held.
    pub(super) scope: SharedScope,
    /// Where it goes on.
    pub(super) resumed: Resumed,
    pub(super) session: &'a SessionLog<C>,
    /// How it is streamed.
    pub(super) settings: &'a Settings,
    /// Where it counts, if it is a lane of a run that workers share: its end is not the run's.
    pub(super) lane: Option<LaneMeter>,
}

/// A held checkpoint.
pub(super) struct Opened {
    pub(super) store: Box<dyn CheckpointStore<RowCursors>>,
    /// A clone is kept until the outcome of the run is on record.
    pub(super) scope: SharedScope,
    /// Where the run goes on.
    pub(super) resumed: Resumed,
    /// When an earlier hold saved last, where the store keeps that.
    pub(super) saved_before: Option<Micros>,
}

/// What a run came to.
pub(super) struct Streamed {
    pub(super) emitted: u64,
    pub(super) refusal: Option<Refusal>,
    pub(super) summary: Option<Box<Summary>>,
}

impl Streamed {
    /// Nothing.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { emitted: 0, refusal: Some(refusal), summary: None }
    }
}

impl<G: Gate<Connection: Takes<Event>> + Clone, C: Clock + std::fmt::Debug> Service<G, C> {
    /// Takes hold of the run's checkpoint and finds where it goes on.
    pub(super) async fn open_scope(&self, prepared: &Prepared) -> Result<Opened, Refusal> {
        let store = checkpoints(&self.profile, &prepared.identity.platform_run_id, self.clock.clone())?;
        let mut scope = store.open(&prepared.scope(&self.profile.checkpoint.attempt_id)).await?;
        let saved_before = scope.saved_before().await?;
        let resumed = resuming::take_up(prepared, &mut *scope).await?;
        Ok(Opened { store, scope: SharedScope::new(scope), resumed, saved_before })
    }

    /// Streams a run to its end, good or bad.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE` where its start can't be written down. What ends a run later is part of what it came to.
    pub(super) async fn stream(&self, run: Run<'_, C>) -> Result<Streamed, Refusal> {
        let Run { by, prepared, checks, scope, resumed, session, settings, lane } = run;
        let started = self.clock.utc();
        let scope_key = prepared.scope(&self.profile.checkpoint.attempt_id);
        let mut start = start_of(&self.profile, settings, by, prepared, checks, &resumed, started);
        let summaries = self.summaries(prepared, by)?;
        summaries.tell_earlier(&mut start).await?;
        summaries.put_start(&start).await?;
        let Resumed { from, earlier, .. } = resumed;
        let world = world_outputs(&self.profile, prepared);
        session.write(&SessionEvent::stream_start(&world, &prepared.pack_key, &self.profile.producer_id));
        let outputs = RunOutput::of(prepared, &from, settings);
        let due = RunOutput::due(&outputs, settings);
        log_start(prepared, settings, self.profile.policy.stream_speedup);

        let output_spans = spans::outputs(world.output_ids.iter());
        let (pushes, framed, read) = (PushStats::new(), Counter::new(), ReadCounts::default());
        let unsaved = Unsaved::new();
        let tally = LiveTally::new(prepared.outputs.len())?;
        if let Some(lane) = &lane {
            lane.begin(earlier.events(), tally.clone());
        }
        let meter = self.telemetry.run(RunParts {
            message_id: by.map(|By { ready, .. }| ready.payload.message_id.clone()),
            platform_run_id: prepared.identity.platform_run_id.clone(),
            started,
            started_at: self.clock.now(),
            outputs,
            due: prepared.lane.is_whole().then_some(due),
            speedup: if settings.pacing.is_off() { 0.0 } else { self.profile.policy.stream_speedup },
            pushes: pushes.clone(),
            gate_limit: settings.circuit.limit,
            framed: framed.clone(),
            read: read.clone(),
            lease: scope.lease(),
            unsaved: unsaved.clone(),
            tally: Some(tally.clone()),
        });
        let parts = Parts {
            gate: self.gate.clone(),
            clock: self.clock.clone(),
            scope: Box::new(scope),
            earlier,
            stop: self.stop.clone(),
            stats: pushes.clone(),
            read,
            framed: framed.clone(),
            unsaved,
            digests: tally.lock().digests().clone(),
            bodies: ByteBudget::new(settings.body_memory),
            framing: Framing::OwnThread,
        };
        let mut log_saved = saved_logger(&self.profile, prepared, &scope_key, session.clone());
        let (saved, clock) = (meter.clone(), self.clock.clone());
        let on_saved = move |cursor| {
            saved.saved(clock.now());
            log_saved(cursor);
        };
        let answers = producer::stream(prepared, &from, settings, parts, on_saved);
        let answers = answers.inspect_ok(|delivered| {
            meter.answered(delivered);
            if let Some(lane) = lane.as_ref().filter(|lane| !lane.has_sent())
                && delivered.decision != Decision::Earlier
            {
                let ago = i64::try_from(delivered.latency.as_micros()).unwrap_or(i64::MAX);
                lane.sent_at(Micros(self.clock.utc().0.saturating_sub(ago)));
            }
        });
        let Account { tally, refusal, reached } =
            account::settle(answers, prepared, &from, due, &framed, tally, &self.clock).await;
        let bottleneck = meter.bottleneck(self.clock.now());
        spans::answered(&output_spans, &tally.lock());
        let emitted = tally.lock().totals().emitted();
        let end = match &refusal {
            None if settings.is_capped() && prepared.has_more(&reached).await => End::Capped,
            None => End::Complete,
            Some(refusal) if refusal.reason == Reason::RunStopped => End::Stopped,
            Some(_) => End::Failed,
        };
        let status = if refusal.is_none() { Status::Streamed } else { Status::Failed };
        let ended = self.clock.utc();
        let summary = Summary::new(start, &tally.lock(), pushes.counts(), status, end, refusal.as_ref(), ended);
        if let Some(bottleneck) = &bottleneck {
            tracing::warn!("{bottleneck}");
        }
        let summary = summary.bounded_by(bottleneck);
        self.telemetry.over(&meter);
        if lane.is_none() {
            self.telemetry.ended(&summary);
        }
        if refusal.is_none() {
            session.write(&SessionEvent::engine_world_streamed(&world, emitted));
            log_end(prepared, &summary, &reached);
        }
        Ok(Streamed { emitted, refusal, summary: Some(Box::new(summary)) })
    }

    /// Where the run's start and summary are kept.
    pub(super) fn summaries(&self, prepared: &Prepared, by: Option<By<'_>>) -> Result<Summaries, Refusal> {
        let summaries = Summaries::new(self.store.clone(), &prepared.identity.platform_run_id)?.of_lane(prepared.lane);
        Ok(if by.is_some() { summaries } else { summaries.direct() })
    }
}

/// `i/n`, as the legacy producer counts lanes.
fn lane_words(lane: Lane) -> String {
    format!("{}/{}", lane.index(), lane.count())
}

/// A line an output that begins. `run_id` is the engine's, as in its events.
fn log_start(run: &Prepared, settings: &Settings, speedup: f64) {
    let run_id = &run.pins.run_id;
    let (concurrency, lane) = (settings.mode.in_flight(), lane_words(run.lane));
    let cap = settings.max_events_per_output.or(settings.max_events);
    let max_events = cap.map_or_else(|| "all".to_owned(), |cap| cap.to_string());
    let speedup = if settings.pacing.is_off() { 0.0 } else { speedup };
    for output in &run.outputs {
        let output_id = &output.view.output_id;
        tracing::info!(
            "WSP stream start run_id={run_id} output_id={output_id} max_events={max_events} speedup={speedup:.2} \
             concurrency={concurrency} lane={lane}"
        );
    }
}

/// A line an output that ended well; one that a cap cut off says so.
fn log_end(run: &Prepared, summary: &Summary, reached: &[Resume]) {
    let (run_id, lane) = (&run.pins.run_id, lane_words(run.lane));
    for ((output, reached), OutputSummary { counts, .. }) in run.outputs.iter().zip(reached).zip(&summary.outputs) {
        let (output_id, emitted) = (&output.view.output_id, counts.emitted());
        if summary.end == End::Capped && resumed_at(&output.view, *reached) < output.view.rows {
            tracing::info!(
                "WSP stream stop run_id={run_id} output_id={output_id} emitted={emitted} reason=max_events lane={lane}"
            );
        } else {
            tracing::info!("WSP stream complete run_id={run_id} output_id={output_id} emitted={emitted} lane={lane}");
        }
    }
}

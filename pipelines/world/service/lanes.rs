//! A run whose lanes workers share: this worker's part of it, from the tasks to the run's verdict.
//!
//! ```text
//! prepared ─► tasks: made or found ─► wsp_start.json, RUN_STARTED ─► Worker: lanes, as many as it may
//!                                                                      │ every lane has an end
//!                               record, RUN_ENDED, summary, report ◄───┴─ verdict.json: one conditional write
//! ```
//!
//! Each worker waits until the run has its verdict, also where others stream the lanes. A stop leaves the lanes to others.

use std::convert::Infallible;
use std::time::Duration;

use wsp::clock::Clock;
use wsp::deliver::{Gate, Takes};

use super::worker::{Left, Worker};
use super::{Service, Taken};
use crate::checkpoint::Earlier;
use crate::evidence::{Facts, RunEvidence, SessionEvent, SessionLog, Started, Status, Summaries, Summary, Verdict};
use crate::lanes::{self, Current, LaneAnchor, LaneBook, LaneRound, LanesDesk, RunEnd, TASKS_SCHEMA, TaskSet};
use crate::model::{CheckList, Event, Hex64, Micros, PlatformRunId, Reason, Refusal};
use crate::oracle::Resume;
use crate::positions::checkpoints;
use crate::prepare::Prepared;
use crate::profile::LanesWiring;
use crate::ready::{Ready, Source};
use crate::resuming::Resumed;
use crate::run::facts;
use crate::run_evidence::{By, ending, pins, start_of};

/// Looks at the record of the worker that decided, before another one completes it.
const LOOKS: u32 = 10;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// A run that workers share.
pub(super) struct SharedRun<'a, C> {
    pub(super) ready: &'a Ready,
    pub(super) source: &'a Source,
    pub(super) home: &'a PlatformRunId,
    pub(super) evidence: &'a RunEvidence,
    pub(super) prepared: &'a Prepared,
    pub(super) checks: &'a CheckList,
    pub(super) session: &'a SessionLog<C>,
    pub(super) wiring: &'a LanesWiring,
}

impl<'a, C> SharedRun<'a, C> {
    fn message_id(&self) -> &'a Hex64 {
        &self.ready.payload.message_id
    }

    pub(super) fn by(&self) -> By<'a> {
        By { ready: self.ready, source: self.source }
    }

    /// Its facts, which name its lanes.
    fn facts(&self) -> Facts {
        self.evidence.facts.clone().over_lanes(Some(self.wiring.lanes))
    }
}

impl<G: Gate<Connection: Takes<Event>> + Clone, C: Clock + std::fmt::Debug> Service<G, C> {
    /// Takes part in a run until it has its verdict.
    pub(super) async fn share(&self, run: &SharedRun<'_, C>) -> Result<Taken, Refusal> {
        let book = LaneBook::new(self.store.clone(), run.home, run.message_id())?;
        let tasks = match self.tasks(run, &book).await {
            Ok(Ok(tasks)) => tasks,
            Ok(Err(end)) => return self.conclude(run, *end, false).await,
            // The run is others', who may be set up right.
            Err(refusal) if refusal.reason == Reason::LaneTasksForeign => {
                return self.defer(run.ready, run.home, &refusal).await;
            }
            Err(refusal) => return Err(refusal),
        };
        self.announce(run, &tasks).await?;
        let round = book.round(&tasks)?;
        self.telemetry.shares(LanesDesk::new(round.clone(), tasks.clone()));
        let worker = Worker::new(self, run, &tasks, &round);
        let calling = async {
            self.call(run, &tasks, &round).await;
            std::future::pending::<Infallible>().await
        };
        let left = tokio::select! {
            left = worker.work() => left?,
            never = calling => match never {},
        };
        match left {
            Left::Ended => {
                let (end, ours) = self.decide(run, &tasks, &round).await?;
                self.conclude(run, end, ours).await
            }
            Left::Waits(refusal) => self.defer(run.ready, run.home, &refusal).await,
            Left::Stopped => {
                let refusal = Refusal::new(Reason::RunStopped, "this worker left its lanes to others");
                Ok(self.left(run.ready, refusal))
            }
        }
    }

    /// Calls other workers, where READY came to this one alone. A worker that was called calls nobody.
    async fn call(&self, run: &SharedRun<'_, C>, tasks: &TaskSet, round: &LaneRound) {
        let Some(caller) = self.caller.as_ref().filter(|caller| caller.topic() != run.source.topic) else { return };
        let sending = async {
            let calls = lanes::calls(tasks, &round.look().await?.ended, caller.topic())?;
            let count = calls.len();
            caller.call(calls).await.map(|()| count)
        };
        match sending.await {
            Ok(calls) => tracing::info!(topic = caller.topic(), calls, "other workers are called to the run"),
            Err(refusal) => {
                tracing::warn!(%refusal, "other workers can't be called; this one goes on without those that don't know of the run");
            }
        }
    }

    /// The look of a worker that leaves a run to others: it records nothing.
    pub(super) fn left(&self, ready: &Ready, refusal: Refusal) -> Taken {
        self.refused(ready, Some(refusal), Status::Failed)
    }

    /// The tasks that are under way, made where there are none; or the end of the run.
    async fn tasks(&self, run: &SharedRun<'_, C>, book: &LaneBook) -> Result<Result<TaskSet, Box<RunEnd>>, Refusal> {
        match book.current().await? {
            Current::Ended(end) => Ok(Err(end)),
            Current::Open(tasks) => {
                tasks.fit(&self.draft(run, tasks.round).await?)?;
                Ok(Ok(*tasks))
            }
            Current::Vacant { round, before } => {
                let mut draft = self.draft(run, round).await?;
                if let Some(before) = before {
                    // Other lanes would have other checkpoints, and send all of it again.
                    before.0.fit(&draft)?;
                    self.complete(run, &before.1).await?;
                }
                draft.anchor = self.anchor(run, book, &draft).await?;
                let tasks = book.make(&draft).await?;
                tasks.fit(&draft)?;
                Ok(Ok(tasks))
            }
        }
    }

    /// The tasks as this worker would make them, without their anchor.
    async fn draft(&self, run: &SharedRun<'_, C>, round: u32) -> Result<TaskSet, Refusal> {
        let outputs = run.prepared.outputs.len();
        // Where each lane goes on is its own start's to say.
        let anew =
            Resumed { from: vec![Resume::default(); outputs], earlier: Earlier::default(), after: vec![None; outputs] };
        let (by, started) = (Some(run.by()), self.clock.utc());
        Ok(TaskSet {
            schema: TASKS_SCHEMA.to_owned(),
            round,
            lanes: run.wiring.lanes,
            facts_digest: facts::digest(&*self.store, &run.ready.payload.facts_view_ref).await?,
            anchor: None,
            ready: run.ready.clone(),
            start: start_of(&self.profile, &self.settings, by, run.prepared, run.checks, &anew, started),
        })
    }

    /// What event time counts from: the campaign's start; else the world's first event is due now, or in a later round the
    /// earliest event that a lane has left.
    async fn anchor(
        &self,
        run: &SharedRun<'_, C>,
        book: &LaneBook,
        draft: &TaskSet,
    ) -> Result<Option<LaneAnchor>, Refusal> {
        let Some(first) = run.prepared.first_ts() else { return Ok(None) };
        if let Some(utc) = self.settings.campaign_start {
            return Ok(Some(LaneAnchor { utc, ts: first }));
        }
        let ts = if draft.round == 0 { first } else { self.earliest(run, book, draft, first).await? };
        Ok(Some(LaneAnchor { utc: draft.start.started, ts }))
    }

    /// The earliest event time that a lane which is not streamed has reached.
    async fn earliest(
        &self,
        run: &SharedRun<'_, C>,
        book: &LaneBook,
        draft: &TaskSet,
        first: Micros,
    ) -> Result<Micros, Refusal> {
        let before = TaskSet { round: draft.round - 1, ..draft.clone() };
        let ends = book.round(&before)?.ends().await?;
        let is_streamed = |lane| ends.iter().any(|end| end.lane == lane && end.verdict.status == Status::Streamed);
        let store = checkpoints(&self.profile, &run.prepared.identity.platform_run_id, self.clock.clone())?;
        let mut earliest = None;
        for lane in draft.lanes.lanes().filter(|lane| !is_streamed(*lane)) {
            let attempt_id = &self.profile.checkpoint.attempt_id;
            let reached = lanes::reached(&run.prepared.of_lane(lane), &*store, attempt_id).await?.unwrap_or(first);
            earliest = Some(earliest.map_or(reached, |earliest: Micros| earliest.min(reached)));
        }
        Ok(earliest.unwrap_or(first))
    }

    /// Writes what says that the run has started, as its tasks have it, unless it is there.
    async fn announce(&self, run: &SharedRun<'_, C>, tasks: &TaskSet) -> Result<(), Refusal> {
        let summaries = Summaries::new(self.store.clone(), &run.prepared.identity.platform_run_id)?;
        if !matches!(summaries.start().await, Ok(Some(start)) if start == tasks.start) {
            summaries.put_start(&tasks.start).await?;
        }
        let started = Started {
            engine_run_root: run.prepared.engine_root.clone(),
            limits: tasks.start.limits,
            resumed_rows: 0,
            deferred: self.waiting.over(run.message_id(), run.home, self.clock.utc()).await?,
        };
        run.facts().started(run.message_id(), &started, tasks.start.started).await?;
        run.session.write(&SessionEvent::engine_world_selected(&run.prepared.engine_root));
        Ok(())
    }

    /// The run's verdict, once every lane has its end. Says whether this worker gave it.
    async fn decide(
        &self,
        run: &SharedRun<'_, C>,
        tasks: &TaskSet,
        round: &LaneRound,
    ) -> Result<(RunEnd, bool), Refusal> {
        if let Some(end) = round.decided().await? {
            return Ok((end, false));
        }
        let ends = round.ends().await?;
        if ends.len() != tasks.lanes.count.get() as usize {
            let detail = format!("{} of {} lanes have an end in the store", ends.len(), tasks.lanes.count);
            return Err(Refusal::new(Reason::StoreUnavailable, detail));
        }
        let summary = Summary::of_lanes(tasks.start.clone(), tasks.lanes, &ends);
        let verdict = Verdict {
            reason: summary.reason,
            emitted: summary.emitted,
            engine_run_root: Some(run.prepared.engine_root.clone()),
            ending: ending(&summary),
            ..self.refused(run.ready, None, summary.status).verdict
        };
        round.decide(RunEnd { verdict, summary: Box::new(summary) }).await
    }

    /// Leaves the evidence of the run's end, where the worker that decided has not done so.
    async fn conclude(&self, run: &SharedRun<'_, C>, end: RunEnd, ours: bool) -> Result<Taken, Refusal> {
        let RunEnd { verdict, summary } = end;
        let refusal = verdict.reason.map(|reason| {
            let words = summary.refusal.clone().unwrap_or_default();
            Refusal::new(reason, words)
        });
        if ours {
            let (root, status) = (&run.prepared.engine_root, verdict.status);
            run.session.write(&SessionEvent::stream_complete(root, status, verdict.reason, verdict.emitted));
        }
        self.telemetry.ended(&summary);
        let mut taken = Taken { verdict, refusal, summary: Some(summary), standing: None, unwritten: None };
        if ours || !self.is_recorded(run, &taken.verdict).await? {
            self.last_words(run.home, pins(&run.prepared.identity), &mut taken).await;
        }
        Ok(taken)
    }

    /// Whether the verdict is on record; the worker that gave it has a moment to write it.
    async fn is_recorded(&self, run: &SharedRun<'_, C>, verdict: &Verdict) -> Result<bool, Refusal> {
        for look in 0..LOOKS {
            let record = run.evidence.records.read(&verdict.message_id).await?;
            if record.iter().any(|line| line.tells(verdict)) {
                return Ok(true);
            }
            if look + 1 < LOOKS {
                self.clock.sleep_until(self.clock.now() + PAUSE).await;
            }
        }
        Ok(false)
    }

    /// Completes the record of a round that ended, where its worker was cut off before; the run is not streamed since.
    async fn complete(&self, run: &SharedRun<'_, C>, end: &RunEnd) -> Result<(), Refusal> {
        if run.evidence.records.standing(run.message_id()).await?.is_some() {
            return Ok(());
        }
        RunEvidence { records: run.evidence.records.clone(), facts: run.facts() }.end(&end.verdict).await
    }
}

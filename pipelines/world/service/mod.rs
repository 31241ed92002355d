//! READY to verdict: admits a run, streams it, and leaves the evidence of what happened. [`Service::direct`] does the same
//! for a run that a person starts without READY.
//!
//! ```text
//! Incoming ─► seen before? ─► in scope? ─► facts, identity ─► checks ─► the scope's checkpoint, alone
//!                 │               │              │              │                 │ busy
//!                 ▼               ▼              ▼              ▼                 ▼
//!             duplicate      out of scope      FAILED ◄────── FAILED          deferred
//!                                                └── streamed: STREAMED or FAILED, counts as IG answered
//! ```

mod direct;
mod in_hand;
mod lanes;
mod stream;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{Instrument, info_span};
use wsp::clock::Clock;
use wsp::deliver::{Gate, Takes};
use wsp::stop::Stop;
use wsp::store::ObjectStore;

use crate::checkpoint::{CheckpointStore, RowCursors};
use crate::evidence::{
    Cancelled, Facts, LastWords, Pins, Records, SessionEvent, SessionLog, Spool, Started, Status, Summary, Verdict,
};
use crate::lanes::Caller;
use crate::model::{CheckList, Event, PlatformRunId, Reason, Refusal};
use crate::profile::{ConfigError, Profile, active_run};
use crate::ready::{Incoming, Ready, Source};

use super::admission::{self, Admitted, Asked, Ended, Known, Leaves, Step};
use super::deferral::{PacksLook, Waiting};
use super::prepare;
use super::producer::Settings;
use super::run_evidence::{By, ending, limits, pins, provenance, rows_before};
use super::stopping;
use super::telemetry::{Telemetry, spans};
pub use direct::{Direct, Directed};
use lanes::SharedRun;
use stream::{Opened, Run, Streamed};

/// Takes READYs, one at a time.
#[derive(Debug)]
pub struct Service<G, C> {
    profile: Profile,
    settings: Settings,
    store: Arc<dyn ObjectStore>,
    gate: G,
    clock: C,
    stop: Stop,
    telemetry: Telemetry,
    folder: PathBuf,
    waiting: Waiting,
    spool: Spool,
    caller: Option<Arc<dyn Caller>>,
}

/// What came of a READY.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The verdict, as recorded where it is one that is.
    pub verdict: Verdict,
    /// Why, in words, unless it streamed.
    pub refusal: Option<Refusal>,
    /// What the run left, where it streamed or tried to.
    pub summary: Option<Box<Summary>>,
    /// The verdict that stood before, where the READY is a duplicate.
    pub standing: Option<Status>,
    /// Why the store has not taken the verdict yet; it is kept here until it does. None where all is written.
    pub unwritten: Option<Refusal>,
}

impl<G: Gate<Connection: Takes<Event>> + Clone, C: Clock + std::fmt::Debug> Service<G, C> {
    /// A service on the profile's stores.
    ///
    /// # Errors
    ///
    /// Settings or an object store that can't be used.
    pub fn new(profile: Profile, settings: Settings, gate: G, clock: C, stop: Stop) -> Result<Self, ConfigError> {
        let store = prepare::open_own(&profile).map_err(|refusal| ConfigError::new(refusal.to_string()))?;
        let waiting = Waiting::new(store.clone(), profile.lane);
        let (telemetry, spool) = (Telemetry::new(&clock), Spool::default());
        Ok(Self {
            profile,
            settings,
            store,
            gate,
            clock,
            stop,
            telemetry,
            folder: PathBuf::new(),
            waiting,
            spool,
            caller: None,
        })
    }

    /// Tells of verdicts and runs through `telemetry`.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Calls other workers to runs whose lanes they share.
    #[must_use]
    pub fn calling(mut self, caller: Arc<dyn Caller>) -> Self {
        self.caller = Some(caller);
        self
    }

    /// Keeps facts and evidence in `store`, not in the profile's own.
    #[must_use]
    pub fn keeping(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.waiting = Waiting::new(store.clone(), self.profile.lane);
        self.store = store;
        self
    }

    /// Counts `runs/fraud-platform` (the active run, session logs) from `folder`, not from the working directory.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// Takes one READY to its verdict.
    ///
    /// # Errors
    ///
    /// Where the verdict could not be reached or recorded because a store failed, or the active run can't be told. The
    /// READY is not used up then.
    pub async fn take(&self, incoming: &Incoming) -> Result<Taken, Refusal> {
        let message_id = &incoming.message.payload.message_id;
        let span = self.telemetry.begin(message_id.as_str(), Some(message_id), self.clock.utc());
        let taken = self.judged(incoming).instrument(span.clone()).await;
        self.telemetry.done();
        let taken = taken?;
        spans::judged(&span, &taken.verdict);
        if taken.unwritten.is_none() {
            self.telemetry.verdict(&taken.verdict);
        }
        Ok(taken)
    }

    async fn judged(&self, incoming: &Incoming) -> Result<Taken, Refusal> {
        let Incoming { message: ready, source, .. } = incoming;
        let active = self.active_run()?;
        let Some(home) = active.as_ref().or(ready.payload.platform_run_id.as_ref()) else {
            // Without any run there is no place for a record; the message is answered in the log alone.
            return Ok(self.refused(ready, prepare::in_scope(ready, None).err(), Status::Failed));
        };
        let session = self.session(home);
        session.write(&SessionEvent::ready_received(&ready.payload.message_id, &ready.payload.run_id));
        let taken = self.judge(ready, source, home, active.as_ref(), &session).await;
        self.telemetry.unwritten(self.spool.count(&self.unwritten(home)));
        session.flush().await;
        taken
    }

    async fn judge(
        &self,
        ready: &Ready,
        source: &Source,
        home: &PlatformRunId,
        active: Option<&PlatformRunId>,
        session: &SessionLog<C>,
    ) -> Result<Taken, Refusal> {
        let message_id = &ready.payload.message_id;
        // What the store would not take comes first; a READY that waited for just that has its verdict then.
        let written = self.spool.write(&self.unwritten(home), &self.store).await?;
        if let Some(words) = written.into_iter().find(|words| words.verdict.message_id == *message_id) {
            let LastWords { verdict, summary, .. } = words;
            return Ok(Taken { verdict, refusal: None, summary, standing: None, unwritten: None });
        }
        let asked = Asked {
            profile: &self.profile,
            store: &self.store,
            ready,
            active,
            folder: &self.folder,
            now: self.clock.utc(),
            deferred: self.waiting.knows(message_id),
        };
        let admitted = admission::admit(asked).await;
        let run = match &admitted {
            Ok(admitted) => Some(&admitted.run),
            Err(ended) => ended.run.as_ref(),
        };
        if let Some(Known { identity, evidence }) = run {
            tracing::Span::current().record("platform_run_id", tracing::field::display(&identity.platform_run_id));
            let payload = &ready.payload;
            evidence.facts.ready_seen(message_id, &payload.run_id, &payload.facts_view_ref, self.clock.utc()).await?;
        }
        match admitted {
            Ok(admitted) => self.admit(ready, source, home, admitted, session).await,
            Err(ended) => self.not_admitted(asked, home, *ended).await,
        }
    }

    /// Leaves what has to be left of a READY that a step of its admission refused.
    async fn not_admitted(&self, asked: Asked<'_>, home: &PlatformRunId, ended: Ended) -> Result<Taken, Refusal> {
        let ready = asked.ready;
        let records = Records::new(self.store.clone(), home)?.of_lane(self.profile.lane);
        if let Some(standing) = ended.standing {
            records.complete(&ready.payload.message_id).await?;
            return Ok(self.duplicate(ready, standing));
        }
        if !ended.is_of_the_run() {
            return Err(ended.refusal);
        }
        if let Some(packs) = &ended.packs
            && let Some(taken) = self.defer_for_packs(ready, home, packs).await?
        {
            return Ok(taken);
        }
        let (status, leaves) = (ended.status(), ended.leaves());
        let taken = self.refused(ready, Some(ended.refusal), status);
        let fact = match leaves {
            Leaves::Nothing => None,
            Leaves::ScopeMismatch => {
                let facts = self.facts_of_foreign(ready).await?;
                facts.zip(asked.active.map(|active| Cancelled::ScopeMismatch { active }))
            }
            Leaves::ScenarioMissing => self.facts_of_ready(ready)?.map(|facts| (facts, Cancelled::ScenarioMissing)),
            Leaves::EngineRootMissing => ended.run.map(|run| (run.evidence.facts, Cancelled::EngineRootMissing)),
        };
        if let Some((facts, cancelled)) = fact {
            facts.cancelled(&taken.verdict, cancelled).await?;
        }
        // The record is ours to keep, also that of a foreign run: in its own folder it would make that run's own producer
        // take its READY for a duplicate.
        records.append(&taken.verdict).await?;
        Ok(taken)
    }

    /// Checks the world, takes hold of the checkpoint, and streams.
    async fn admit(
        &self,
        ready: &Ready,
        source: &Source,
        home: &PlatformRunId,
        admitted: Admitted,
        session: &SessionLog<C>,
    ) -> Result<Taken, Refusal> {
        let Admitted { run: Known { identity, evidence }, engine_root, packs } = admitted;
        let message_id = &ready.payload.message_id;
        let pins = pins(&identity);
        let mut checks = CheckList::new();
        checks.note(Step::RequiredPacks.name(), packs.verdict(), Clone::clone);
        let pack_ref = ready.payload.oracle_pack_ref.as_ref();
        let looking = Box::pin(async {
            let checking = prepare::prepare(&self.profile, pack_ref, identity, engine_root.clone(), &mut checks);
            let prepared = checking.instrument(info_span!("check")).await;
            let opened = match &prepared {
                // A worker takes hold of single lanes.
                Some(_) if self.profile.lanes.is_some() => None,
                Some(prepared) => Some(self.open_scope(prepared).instrument(info_span!("hold")).await),
                None => Some(Err(prepare::first_refusal(&checks))),
            };
            (prepared, opened)
        });
        let (prepared, opened) =
            self.unless_stopped(looking).await.unwrap_or_else(|stopped| (None, Some(Err(stopped))));
        let opened = opened.map(|opened| opened.map_err(|refusal| self.cut_short(refusal)));
        let opened = match (opened, &self.profile.lanes, &prepared) {
            (None, Some(wiring), Some(prepared)) => {
                let (evidence, checks) = (&evidence, &checks);
                let run = SharedRun { ready, source, home, evidence, prepared, checks, session, wiring };
                return self.share(&run).instrument(info_span!("share")).await;
            }
            // Other workers go on with the run.
            (Some(Err(refusal)), Some(_), _) if refusal.reason == Reason::RunStopped => {
                return Ok(self.left(ready, refusal));
            }
            (Some(opened), ..) => opened,
            (None, ..) => Err(prepare::first_refusal(&checks)),
        };
        // Another producer's hold and an outage pass; a verdict would use the READY up.
        if let Err(refusal) = &opened
            && refusal.reason.defers()
        {
            return self.defer(ready, home, refusal).await;
        }
        // Another producer's verdict may have come between the first look and our hold; while we hold, none comes.
        if opened.is_ok()
            && let Some(standing) = evidence.records.standing(message_id).await?
        {
            return Ok(self.duplicate(ready, standing));
        }
        let started = Started {
            engine_run_root: engine_root.clone(),
            limits: limits(&self.settings),
            resumed_rows: match (&prepared, &opened) {
                (Some(run), Ok(opened)) => rows_before(run, &opened.resumed.from),
                _ => 0,
            },
            deferred: self.waiting.over(message_id, home, self.clock.utc()).await?,
        };
        evidence.facts.started(message_id, &started, self.clock.utc()).await?;
        session.write(&SessionEvent::engine_world_selected(&engine_root));
        let mut hold = None;
        let streamed = match (prepared, opened) {
            (Some(prepared), Ok(Opened { store, scope, resumed, .. })) => {
                hold = Some((store, scope.clone()));
                let by = Some(By { ready, source });
                let (checks, settings) = (&checks, &self.settings);
                let run = Run { by, prepared: &prepared, checks, scope, resumed, session, settings, lane: None };
                self.stream(run).instrument(info_span!("stream")).await?
            }
            (_, Err(refusal)) => Streamed::refused(refusal),
            (None, Ok(_)) => Streamed::refused(prepare::first_refusal(&checks)),
        };
        if let Some(lost) = streamed.refusal.as_ref().filter(|refusal| refusal.reason == Reason::CheckpointLeaseLost) {
            // Another producer has the run now, and its verdict is that one's to give.
            return self.defer(ready, home, lost).await;
        }
        let mut taken = self.came_to(ready, streamed);
        taken.verdict.engine_run_root = Some(engine_root.clone());
        taken.verdict.ending = taken.summary.as_deref().and_then(ending);
        let Verdict { status, reason, emitted, .. } = taken.verdict;
        session.write(&SessionEvent::stream_complete(&engine_root, status, reason, emitted));
        self.last_words(home, pins, &mut taken).await;
        if let Some((store, scope)) = hold {
            // The verdict stands: whoever comes next, here or elsewhere, may have the checkpoint now.
            drop(scope);
            self.released(&*store).await;
        }
        Ok(taken)
    }

    /// Writes the evidence of a run's end. The run is what it is, whether or not the store takes it now: where it does not, it
    /// is kept on this machine.
    async fn last_words(&self, home: &PlatformRunId, pins: Pins, taken: &mut Taken) {
        let words = LastWords {
            home: home.clone(),
            lane: self.profile.lane,
            pins,
            provenance: provenance(&self.profile),
            verdict: taken.verdict.clone(),
            summary: taken.summary.clone(),
        };
        if let Err(error) = self.in_time(Box::pin(words.write(&self.store).instrument(info_span!("evidence")))).await {
            self.spool.keep(&self.unwritten(home), words);
            taken.unwritten = Some(error);
        }
    }

    /// The checks of a run, unless they take too long after a stop.
    async fn unless_stopped<T>(&self, checks: impl Future<Output = T>) -> Result<T, Refusal> {
        let limit = self.settings.drain_deadline;
        stopping::within(&self.stop, &self.clock, limit, checks).await.ok_or_else(|| {
            Refusal::new(
                Reason::RunStopped,
                format!("the checks were not done {} s after the stop", limit.as_secs_f64()),
            )
        })
    }

    /// The stop, in place of a store that was not waited for because of it: that says nothing about the run.
    fn cut_short(&self, refusal: Refusal) -> Refusal {
        if refusal.reason == Reason::StoreUnavailable && self.stop.requested() {
            return Refusal::new(Reason::RunStopped, format!("stopped during the checks, which waited: {refusal}"));
        }
        refusal
    }

    /// Writes evidence, unless it takes too long after a stop.
    async fn in_time<T>(&self, writing: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let written = stopping::within(&self.stop, &self.clock, stopping::EVIDENCE, writing).await;
        written.unwrap_or_else(|| {
            let limit = stopping::EVIDENCE.as_secs();
            Err(Refusal::new(
                Reason::StoreUnavailable,
                format!("evidence was not written within {limit} s of the stop"),
            ))
        })
    }

    /// Waits until the hold on a checkpoint is let go of, or for too long after a stop.
    async fn released(&self, store: &dyn CheckpointStore<RowCursors>) {
        if stopping::within(&self.stop, &self.clock, stopping::RELEASE, store.released()).await.is_none() {
            tracing::warn!("the hold on the checkpoint was not let go of in time; it ends with its lease");
        }
    }

    /// The deferral of a READY whose required packs are not up; `None` where they are.
    async fn defer_for_packs(
        &self,
        ready: &Ready,
        home: &PlatformRunId,
        packs: &PacksLook,
    ) -> Result<Option<Taken>, Refusal> {
        let Err(refusal) = packs.verdict() else { return Ok(None) };
        self.waiting.for_packs(ready, home, packs, self.clock.utc()).await?;
        let mut taken = self.refused(ready, Some(refusal), Status::DeferredDownstreamNotReady);
        taken.verdict.waits_for = packs.reasons();
        Ok(Some(taken))
    }

    async fn defer(&self, ready: &Ready, home: &PlatformRunId, refusal: &Refusal) -> Result<Taken, Refusal> {
        self.waiting.because(ready, home, refusal, self.clock.utc()).await?;
        Ok(self.refused(ready, Some(refusal.clone()), Status::DeferredDownstreamNotReady))
    }

    fn refused(&self, ready: &Ready, refusal: Option<Refusal>, status: Status) -> Taken {
        let payload = &ready.payload;
        let verdict = Verdict {
            message_id: payload.message_id.clone(),
            run_id: payload.run_id.clone(),
            status,
            reason: refusal.as_ref().map(|refusal| refusal.reason),
            emitted: 0,
            engine_run_root: None,
            scenario_id: payload.scenario_id.clone(),
            waits_for: Vec::new(),
            ending: None,
            ts: self.clock.utc(),
        };
        Taken { verdict, refusal, summary: None, standing: None, unwritten: None }
    }

    /// The verdict on a run, or a lane of it, that was streamed to this.
    fn came_to(&self, ready: &Ready, streamed: Streamed) -> Taken {
        let Streamed { emitted, refusal, summary } = streamed;
        let status = if refusal.is_none() { Status::Streamed } else { Status::Failed };
        let mut taken = self.refused(ready, refusal, status);
        taken.verdict.emitted = emitted;
        taken.summary = summary;
        taken
    }

    fn duplicate(&self, ready: &Ready, standing: Status) -> Taken {
        Taken { standing: Some(standing), ..self.refused(ready, None, Status::SkippedDuplicate) }
    }

    /// Facts about a run of which only READY is known. `None` where READY does not even name it.
    fn facts_of_ready(&self, ready: &Ready) -> Result<Option<Facts>, Refusal> {
        let payload = &ready.payload;
        let Some(platform_run_id) = payload.platform_run_id.clone() else { return Ok(None) };
        let pins = Pins {
            platform_run_id,
            scenario_run_id: ready.scenario_run_id().clone(),
            manifest_fingerprint: Some(payload.manifest_fingerprint.clone()),
            parameter_hash: Some(payload.parameter_hash.clone()),
            seed: None,
            scenario_id: payload.scenario_id.clone(),
        };
        Facts::new(self.store.clone(), pins, provenance(&self.profile)).map(Some)
    }

    /// Facts about a run that is not ours, in its own folder and with its own pins: its facts view alone has the seed. Where
    /// that can't be read, or is not READY's, the fact says what READY says.
    async fn facts_of_foreign(&self, ready: &Ready) -> Result<Option<Facts>, Refusal> {
        match prepare::identify(&*self.store, ready).await {
            Ok(identity) => Facts::new(self.store.clone(), pins(&identity), provenance(&self.profile)).map(Some),
            Err(refusal) if refusal.reason == Reason::StoreUnavailable => Err(refusal),
            Err(refusal) => {
                tracing::warn!(%refusal, "the fact about a foreign run has no seed: its facts can't be told");
                self.facts_of_ready(ready)
            }
        }
    }

    /// The session log of a platform run.
    fn session(&self, home: &PlatformRunId) -> SessionLog<C> {
        SessionLog::open(self.run_folder(home).join("session.jsonl"), home.clone(), self.clock.clone())
    }

    /// Ends of a run that the store has not taken yet.
    fn unwritten(&self, platform_run_id: &PlatformRunId) -> PathBuf {
        self.run_folder(platform_run_id).join("wsp/unwritten")
    }

    /// What is kept of a run on this machine.
    fn run_folder(&self, platform_run_id: &PlatformRunId) -> PathBuf {
        self.folder.join("runs/fraud-platform").join(platform_run_id.as_str())
    }

    fn active_run(&self) -> Result<Option<PlatformRunId>, Refusal> {
        active_run(self.profile.platform_run_id.as_ref(), &self.folder)
            .map_err(|error| Refusal::new(Reason::PlatformRunScopeMismatch, format!("the active run: {error}")))
    }
}

#[cfg(test)]
mod tests;

//! From a READY to a run whose world may be checked: the steps that `run` and `plan` take, in one order.
//!
//! ```text
//! record ─► scope ─► identity ─► age ─► run ─► engine run root ─► required packs ─► Admitted
//!    └────────┴─────────┴─────────┴──────┴────────────┴─────────────────┴─ refused ─► Ended: the step, its reason
//! ```
//!
//! A run ends at the first step that refuses; a plan goes on as far as it can, to show all that is wrong. What a refusal leaves
//! behind follows from its step and reason: [`Ended::status`], [`Ended::leaves`].

use std::path::Path;
use std::sync::Arc;

use tracing::{Instrument, info_span};
use wsp::store::ObjectStore;

use crate::evidence::{Records, RunEvidence, Status};
use crate::model::{CheckList, Micros, PlatformRunId, Reason, Refusal};
use crate::profile::Profile;
use crate::ready::Ready;
use crate::run::identity::RunIdentity;

use super::deferral::PacksLook;
use super::prepare;
use super::run_evidence::{evidence_of, not_streamed};

/// A step of the admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// READY has no verdict yet.
    Record,
    /// READY is for the active run.
    Scope,
    /// READY and its facts agree; the run's identity is locked.
    Identity,
    /// READY is not too old.
    Age,
    /// The run was not streamed under another READY.
    Run,
    /// The world is known and inside the configured roots.
    EngineRoot,
    /// The packs that have to be up are up.
    RequiredPacks,
}

impl Step {
    /// Its name among the checks of a run.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Scope => "scope",
            Self::Identity => "identity",
            Self::Age => "age",
            Self::Run => "run",
            Self::EngineRoot => "engine run root",
            Self::RequiredPacks => "required packs",
        }
    }
}

/// What is asked to be admitted.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// Where records and facts are.
    pub store: &'a Arc<dyn ObjectStore>,
    /// The READY.
    pub ready: &'a Ready,
    /// The run that is at home here, where one is.
    pub active: Option<&'a PlatformRunId>,
    /// Below it lie the states of packs.
    pub folder: &'a Path,
    /// The wall's time.
    pub now: Micros,
    /// READY was deferred before. Its packs are looked at before its facts then, so that a look that finds them missing reads
    /// no facts.
    pub deferred: bool,
}

/// A run whose identity is locked.
#[derive(Debug)]
pub struct Known {
    /// The identity.
    pub identity: RunIdentity,
    /// Where its evidence goes.
    pub evidence: RunEvidence,
}

/// A run whose world may be checked.
#[derive(Debug)]
pub struct Admitted {
    /// Which.
    pub run: Known,
    /// Its world, as it is spelt.
    pub engine_root: String,
    /// The look at the required packs, all of which are up.
    pub packs: PacksLook,
}

/// What a refusal leaves behind beside its record, as a fact about the run (contract, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Nothing.
    Nothing,
    /// That a READY came which is another run's, in that run's folder.
    ScopeMismatch,
    /// That neither READY nor facts name a scenario.
    ScenarioMissing,
    /// That nobody names a world.
    EngineRootMissing,
}

/// The step that refused.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub step: Step,
    /// Why.
    pub refusal: Refusal,
    /// The verdict that stands already, where READY has one.
    pub standing: Option<Status>,
    /// The run, where its identity was locked by then.
    pub run: Option<Known>,
    /// The look at the required packs, where they are not up.
    pub packs: Option<PacksLook>,
}

impl Ended {
    /// The refusal says something of the run. A store's failure and a record that can't be read do not, and the READY comes
    /// again.
    #[must_use]
    pub fn is_of_the_run(&self) -> bool {
        self.step != Step::Record && self.refusal.reason != Reason::StoreUnavailable
    }

    /// The verdict.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.step {
            Step::Record => Status::SkippedDuplicate,
            Step::Scope if self.refusal.reason == Reason::PlatformRunScopeMismatch => Status::SkippedOutOfScope,
            Step::RequiredPacks => Status::DeferredDownstreamNotReady,
            _ => Status::Failed,
        }
    }

    /// The fact that is left.
    #[must_use]
    pub fn leaves(&self) -> Leaves {
        match (self.step, self.refusal.reason) {
            (Step::Scope, Reason::PlatformRunScopeMismatch) => Leaves::ScopeMismatch,
            (Step::Identity, Reason::ScenarioIdMissing) => Leaves::ScenarioMissing,
            (Step::EngineRoot, Reason::EngineRootMissing) => Leaves::EngineRootMissing,
            _ => Leaves::Nothing,
        }
    }
}

/// Takes the steps up to the first that refuses.
///
/// # Errors
///
/// The step that refused.
pub async fn admit(asked: Asked<'_>) -> Result<Admitted, Box<Ended>> {
    let mut checks = CheckList::new();
    let admitted = Walk::new(&mut checks, false).take(asked).await?;
    // Where no step refuses, each has its value.
    admitted.ok_or_else(|| {
        let refusal = Refusal::new(Reason::InternalError, "a step of the admission passed without its value");
        Box::new(Ended { step: Step::RequiredPacks, refusal, standing: None, run: None, packs: None })
    })
}

/// Takes the steps and notes each of them in `checks`, also behind one that refuses, as far as there is something to look at.
pub async fn look(asked: Asked<'_>, checks: &mut CheckList) -> Option<Admitted> {
    Walk::new(checks, true).take(asked).await.ok().flatten()
}

/// The steps as they are taken.
struct Walk<'c> {
    checks: &'c mut CheckList,
    /// Whether a refusal is noted and the next step is taken.
    goes_on: bool,
    standing: Option<Status>,
    run: Option<Known>,
    packs: Option<PacksLook>,
}

impl<'c> Walk<'c> {
    fn new(checks: &'c mut CheckList, goes_on: bool) -> Self {
        Self { checks, goes_on, standing: None, run: None, packs: None }
    }

    /// All steps, in their order.
    async fn take(mut self, asked: Asked<'_>) -> Result<Option<Admitted>, Box<Ended>> {
        let home = asked.home();
        if let Some(home) = home {
            let standing = asked.standing(home).await;
            let unseen = standing.and_then(|standing| match standing {
                None => Ok(()),
                Some((status, refusal)) => {
                    self.standing = Some(status);
                    Err(refusal)
                }
            });
            self.step(Step::Record, unseen, |()| "no verdict stands yet".to_owned())?;
        }
        self.step(Step::Scope, asked.in_scope(), |()| "READY is for it".to_owned())?;
        if asked.deferred {
            self.packs(&asked)?;
        }
        self.run = self.step(Step::Identity, asked.known(home).await, |Known { identity, .. }| {
            format!("{}, scenario run {}", identity.platform_run_id, identity.scenario_run_id)
        })?;
        self.step(Step::Age, asked.fresh(), |()| {
            asked.ready.emitted_at().map_or("unknown".to_owned(), |at| format!("emitted at {at}"))
        })?;
        if let Some(run) = &self.run {
            let once = not_streamed(asked.ready, &run.evidence).await;
            self.step(Step::Run, once, |()| "not streamed under another READY".to_owned())?;
        }
        let engine_root = self.step(Step::EngineRoot, asked.engine_root(), Clone::clone)?;
        self.packs(&asked)?;
        let found = self.run.zip(engine_root).zip(self.packs);
        Ok(found.map(|((run, engine_root), packs)| Admitted { run, engine_root, packs }))
    }

    /// Looks at the packs that have to be up.
    fn packs(&mut self, asked: &Asked<'_>) -> Result<(), Box<Ended>> {
        let packs = asked.packs();
        let up = packs.verdict();
        self.packs = Some(packs);
        self.step(Step::RequiredPacks, up, Clone::clone).map(drop)
    }

    fn step<T>(
        &mut self,
        step: Step,
        found: Result<T, Refusal>,
        words: impl FnOnce(&T) -> String,
    ) -> Result<Option<T>, Box<Ended>> {
        match found {
            Err(refusal) if !self.goes_on => Err(Box::new(Ended {
                step,
                refusal,
                standing: self.standing.take(),
                run: self.run.take(),
                packs: self.packs.take(),
            })),
            found => Ok(self.checks.note(step.name(), found, words)),
        }
    }
}

impl<'a> Asked<'a> {
    fn packs(&self) -> PacksLook {
        PacksLook::take(&self.profile.required_packs, self.folder, self.ready.payload.platform_run_id.as_ref())
    }

    /// The run whose folder keeps the record of READY.
    fn home(&self) -> Option<&'a PlatformRunId> {
        self.active.or(self.ready.payload.platform_run_id.as_ref())
    }

    /// The verdict that stands, and what a plan says of it.
    async fn standing(&self, home: &PlatformRunId) -> Result<Option<(Status, Refusal)>, Refusal> {
        let records = Records::new(self.store.clone(), home)?.of_lane(self.profile.lane);
        let message_id = &self.ready.payload.message_id;
        let Some(status) = records.standing(message_id).await? else { return Ok(None) };
        let detail = format!("this very READY has its verdict, {status}");
        Ok(Some((status, Refusal::new(Reason::RunAlreadyStreamed, detail).file(records.name(message_id)?))))
    }

    fn in_scope(&self) -> Result<(), Refusal> {
        prepare::in_scope(self.ready, self.active)
    }

    /// The run, with `home` as the place of its records; its own folder where there is none.
    async fn known(&self, home: Option<&PlatformRunId>) -> Result<Known, Refusal> {
        let identity = prepare::identify(&**self.store, self.ready).instrument(info_span!("identify")).await?;
        let home = home.unwrap_or(&identity.platform_run_id);
        Ok(Known { evidence: evidence_of(self.profile, self.store, home, &identity)?, identity })
    }

    fn fresh(&self) -> Result<(), Refusal> {
        prepare::fresh(self.ready, self.profile.policy.ready_max_age, self.now)
    }

    fn engine_root(&self) -> Result<String, Refusal> {
        prepare::engine_root(self.profile, self.ready)
    }
}

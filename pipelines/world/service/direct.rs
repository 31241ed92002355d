//! A run without READY, started by hand (contract, section 1): the world's own documents are its identity.
//!
//! ```text
//! Direct { world, scenario, … } ──run receipt──► identity ──► checks ──► the scope's checkpoint, alone ──► Directed
//! ```
//!
//! It leaves no record and no fact. What could not be checked, because no READY and no facts say what was planned, stands as
//! waived among the checks of `wsp_start.direct.json` and `wsp_summary.direct.json`.

use serde_json::json;
use tracing::{Instrument, info_span};
use wsp::clock::Clock;
use wsp::deliver::{Gate, Takes};

use super::stream::{Opened, Run, Streamed};
use super::{Service, prepare};
use crate::deferral::PacksLook;
use crate::evidence::{SessionEvent, SessionLog, Status, Summary, reason_words};
use crate::model::{CheckList, Event, Hex32, OutputId, PlatformRunId, Reason, Refusal, ScenarioId, json};
use crate::prepare::Prepared;
use crate::profile::{ConfigError, Profile};

/// What a person asks to be streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    engine_run_root: String,
    scenario_id: ScenarioId,
    scenario_run_id: Option<Hex32>,
    /// Why a strict profile lets this pass.
    allowed: Option<&'static str>,
}

impl Direct {
    /// The world below `engine_run_root`, under the scenario named here or in the profile; `allowed` says that a strict
    /// profile shall let it pass.
    ///
    /// # Errors
    ///
    /// Where nobody names the scenario; where the profile is strict and does not let it pass.
    pub fn new(
        profile: &Profile,
        engine_run_root: &str,
        scenario_id: Option<&ScenarioId>,
        scenario_run_id: Option<&Hex32>,
        allowed: bool,
    ) -> Result<Self, ConfigError> {
        if profile.is_strict() && !allowed {
            return Err(ConfigError::new(format!(
                "--engine-run-root: profile {} is strict, and a run without READY streams what nobody planned; \
                 --without-ready says that it is meant",
                profile.profile_id
            )));
        }
        let Some(scenario_id) = scenario_id.or(profile.oracle.scenario_id.as_ref()) else {
            return Err(ConfigError::new(
                "--scenario-id: it is missing, and the profile has no wiring.oracle_scenario_id",
            ));
        };
        Ok(Self {
            engine_run_root: engine_run_root.to_owned(),
            scenario_id: scenario_id.clone(),
            scenario_run_id: scenario_run_id.cloned(),
            allowed: profile.is_strict().then_some("; the profile is strict, --without-ready was given"),
        })
    }

    /// What a run with READY compares, and this one can't.
    fn waive(&self, checks: &mut CheckList) {
        let allowed = self.allowed.unwrap_or_default();
        checks.waive("READY", format!("there is none: the run was started by --engine-run-root{allowed}"));
        checks.waive("facts", "there are none: what was planned, its pins, pack and gate receipts were not compared");
        checks.waive("record", "there is none: whether the run was streamed before was not looked up");
    }
}

/// What came of a run without READY.
#[derive(Debug, Clone)]
pub struct Directed {
    /// STREAMED, FAILED, or deferred where something has to come up first.
    pub status: Status,
    /// Why, unless it streamed.
    pub refusal: Option<Refusal>,
    /// What it waits for, where required packs are not up: as in [`Verdict`](crate::evidence::Verdict).
    pub waits_for: Vec<String>,
    /// Events that IG has from this start.
    pub emitted: u64,
    /// The world, as it was resolved.
    pub engine_run_root: String,
    /// Its scenario.
    pub scenario_id: ScenarioId,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// The scenario run, where the world could be read.
    pub scenario_run_id: Option<Hex32>,
    /// The outputs, by rank, where they are known.
    pub output_ids: Vec<OutputId>,
    /// What the run left, where it streamed or tried to.
    pub summary: Option<Box<Summary>>,
    /// Why the store has not taken the summary.
    pub unwritten: Option<Refusal>,
}

impl Directed {
    /// The result as one JSON object and its newline, with the legacy producer's keys among its own.
    #[must_use]
    pub fn line(&self) -> String {
        let line = json!({
            "emitted": self.emitted,
            "engine_run_root": self.engine_run_root,
            "output_ids": self.output_ids,
            "platform_run_id": self.platform_run_id,
            "reason": reason_words(self.refusal.as_ref().map(|refusal| refusal.reason), &self.waits_for),
            "scenario_id": self.scenario_id,
            "scenario_run_id": self.scenario_run_id,
            "status": self.status.as_str(),
        });
        json::compact(&line) + "\n"
    }
}

impl<G: Gate<Connection: Takes<Event>> + Clone, C: Clock + std::fmt::Debug> Service<G, C> {
    /// Streams a run without READY, once.
    ///
    /// # Errors
    ///
    /// `PLATFORM_RUN_ID_MISSING` where no run is active, `PLATFORM_RUN_SCOPE_MISMATCH` where that can't be told. All else is a
    /// result.
    pub async fn direct(&self, direct: &Direct) -> Result<Directed, Refusal> {
        let home = self.active_run()?.ok_or_else(|| {
            let detail = "no run is active: set PLATFORM_RUN_ID, or write runs/fraud-platform/ACTIVE_RUN_ID";
            Refusal::new(Reason::PlatformRunIdMissing, detail)
        })?;
        let span = self.telemetry.begin(&direct.engine_run_root, None, self.clock.utc());
        let session = self.session(&home);
        let directed = self.directed(direct, &home, &session).instrument(span).await;
        self.telemetry.done();
        session.flush().await;
        Ok(directed)
    }

    async fn directed(&self, direct: &Direct, home: &PlatformRunId, session: &SessionLog<C>) -> Directed {
        let mut result = Directed {
            status: Status::Failed,
            refusal: None,
            waits_for: Vec::new(),
            emitted: 0,
            engine_run_root: direct.engine_run_root.clone(),
            scenario_id: direct.scenario_id.clone(),
            platform_run_id: home.clone(),
            scenario_run_id: direct.scenario_run_id.clone(),
            output_ids: Vec::new(),
            summary: None,
            unwritten: None,
        };
        let mut checks = CheckList::new();
        direct.waive(&mut checks);
        let streamed = match self.ready_to_stream(direct, session, &mut checks, &mut result).await {
            Ok((prepared, opened)) => self.stream_direct(&prepared, opened, &checks, session, &mut result).await,
            Err(refusal) => Streamed::refused(refusal),
        };
        let Streamed { emitted, refusal, summary } = streamed;
        let reason = refusal.as_ref().map(|refusal| refusal.reason);
        let status = match reason {
            None => Status::Streamed,
            Some(reason) if reason.defers() => Status::DeferredDownstreamNotReady,
            Some(_) => Status::Failed,
        };
        session.write(&SessionEvent::stream_complete(&result.engine_run_root, status, reason, emitted));
        Directed { status, refusal, emitted, summary, ..result }
    }

    /// Checks all that can be checked and takes hold of the checkpoint; what is found out on the way goes into `result`.
    async fn ready_to_stream(
        &self,
        direct: &Direct,
        session: &SessionLog<C>,
        checks: &mut CheckList,
        result: &mut Directed,
    ) -> Result<(Prepared, Opened), Refusal> {
        let profile = &self.profile;
        let packs = PacksLook::take(&profile.required_packs, &self.folder, Some(&result.platform_run_id));
        result.waits_for = packs.reasons();
        checks.pass("required packs", packs.verdict()?);
        let engine_root = prepare::engine_root_by_hand(profile, &direct.engine_run_root)?;
        result.engine_run_root.clone_from(&engine_root);
        session.write(&SessionEvent::engine_world_selected(&engine_root));
        let identity = prepare::identify_world(
            profile,
            &engine_root,
            direct.scenario_id.clone(),
            result.platform_run_id.clone(),
            direct.scenario_run_id.clone(),
        );
        let identity = identity.instrument(info_span!("identify")).await?;
        result.scenario_run_id = Some(identity.scenario_run_id.clone());
        let looking = Box::pin(async {
            let checking = prepare::prepare(profile, None, identity, engine_root, checks);
            let prepared = checking.instrument(info_span!("check")).await;
            let prepared = prepared.ok_or_else(|| prepare::first_refusal(checks))?;
            result.output_ids = prepared.output_ids();
            let opened = self.open_scope(&prepared).instrument(info_span!("hold")).await?;
            Ok((prepared, opened))
        });
        self.unless_stopped(looking).await?
    }

    async fn stream_direct(
        &self,
        prepared: &Prepared,
        Opened { store, scope, resumed, .. }: Opened,
        checks: &CheckList,
        session: &SessionLog<C>,
        result: &mut Directed,
    ) -> Streamed {
        let settings = &self.settings;
        let run = Run { by: None, prepared, checks, scope: scope.clone(), resumed, session, settings, lane: None };
        let streamed = self.stream(run).instrument(info_span!("stream")).await.unwrap_or_else(Streamed::refused);
        // Where another producer has the run now, the summary is that one's to give.
        let lost = streamed.refusal.as_ref().is_some_and(|refusal| refusal.reason == Reason::CheckpointLeaseLost);
        if let Some(summary) = streamed.summary.as_ref().filter(|_| !lost) {
            let writing = async { self.summaries(prepared, None)?.put_summary(summary).await };
            result.unwritten = self.in_time(writing).await.err();
        }
        drop(scope);
        self.released(&*store).await;
        streamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str) -> Profile {
        let text = "
profile_id: local
policy: {traffic_output_ids: [t]}
wiring:
  control_bus: {kind: file, root: bus}
  engine_catalogue_path: cat.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_producer: {producer_id: 'svc:x', allowlist_ref: allow.txt}
  security: {wsp_auth_token: key}
";
        let mut profile = Profile::parse(text, std::path::Path::new("."), &|_| None).unwrap();
        id.clone_into(&mut profile.profile_id);
        profile
    }

    #[test]
    fn a_strict_profile_wants_it_said_and_the_checks_keep_that() {
        let scenario = "s".parse().unwrap();
        let new = |id: &str, allowed| Direct::new(&profile(id), "world", Some(&scenario), None, allowed);
        let refused = new("dev_min", false).unwrap_err().to_string();
        assert!(refused.contains("dev_min is strict") && refused.contains("--without-ready"), "{refused}");
        for (id, allowed, said) in [("dev_min", true, true), ("local", true, false), ("local", false, false)] {
            let mut checks = CheckList::new();
            new(id, allowed).unwrap().waive(&mut checks);
            let names: Vec<_> = checks.checks().iter().map(|check| check.name.as_str()).collect();
            assert_eq!(names, ["READY", "facts", "record"]);
            assert_eq!(checks.checks()[0].detail.contains("--without-ready"), said, "{id}, {allowed}");
        }
    }

    #[test]
    fn the_profiles_scenario_stands_in_and_none_is_a_mistake() {
        let mut profile = profile("local");
        assert!(Direct::new(&profile, "world", None, None, false).unwrap_err().to_string().contains("--scenario-id"));
        profile.oracle.scenario_id = Some("of_profile".parse().unwrap());
        let scenario =
            |given: Option<&ScenarioId>| Direct::new(&profile, "world", given, None, false).unwrap().scenario_id;
        assert_eq!((scenario(None).as_str(), scenario(Some(&"s".parse().unwrap())).as_str()), ("of_profile", "s"));
    }
}

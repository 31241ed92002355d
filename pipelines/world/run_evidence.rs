//! How a run is identified in its evidence, and where that evidence is stored.
//!
//! ```text
//! RunIdentity, Profile ──► pins, provenance ──► RunEvidence { records, facts }
//! Prepared, Settings ────► Start
//! ```

use std::sync::Arc;

use wsp::clock::Clock;
use wsp::deliver::DeliveryMode;
use wsp::store::ObjectStore;

use crate::checkpoint::SavedCursor;
use crate::evidence::{
    CheckpointSaved, DeliverySettings, End, Ending, Facts, Limits, OutputSummary, Pins, Producer, Provenance,
    ReadySource, Records, ResumedAfter, RunEvidence, RunIds, START_SCHEMA, SessionEvent, SessionLog, Start,
    StartOutput, Summary, WorldOutputs,
};
use crate::model::{CheckList, Hex64, Micros, OutputId, PlatformRunId, Reason, Refusal};
use crate::oracle::Resume;
use crate::profile::Profile;
use crate::ready::{Ready, Source};
use crate::run::identity::RunIdentity;

use super::positions::resumed_at;
use super::prepare::Prepared;
use super::producer::Settings;
use super::resuming::Resumed;

/// A run's evidence: records are kept by the run that is at home here, facts by the run that they are about.
///
/// # Errors
///
/// As [`Facts::new`].
pub fn evidence_of(
    profile: &Profile,
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    identity: &RunIdentity,
) -> Result<RunEvidence, Refusal> {
    let facts = Facts::new(store.clone(), pins(identity), provenance(profile))?;
    Ok(RunEvidence { records: Records::new(store.clone(), home)?, facts }.of_lane(profile.lane))
}

/// The run must not have been streamed under another READY.
///
/// # Errors
///
/// `RUN_ALREADY_STREAMED`, or `STORE_UNAVAILABLE`.
pub async fn not_streamed(ready: &Ready, evidence: &RunEvidence) -> Result<(), Refusal> {
    match evidence.already_streamed(&ready.payload.run_id, &ready.payload.message_id).await? {
        None => Ok(()),
        Some(other) => {
            let detail = format!("READY {other} of the same platform and scenario run was streamed to its end");
            Err(Refusal::new(Reason::RunAlreadyStreamed, detail))
        }
    }
}

/// Writes each saved cursor to the session log.
pub(super) fn saved_logger<C: Clock>(
    profile: &Profile,
    prepared: &Prepared,
    scope_key: &Hex64,
    session: SessionLog<C>,
) -> impl FnMut(SavedCursor) + Send + 'static + use<C> {
    let attempt = Some(profile.checkpoint.attempt_id.clone()).filter(|attempt| !attempt.is_empty());
    let (identity, scope, pack_key) = (prepared.identity.clone(), scope_key.clone(), prepared.pack_key.clone());
    move |SavedCursor { cursor, reason }| {
        session.write(&SessionEvent::checkpoint_saved(&CheckpointSaved {
            scope: &scope,
            pack_key: &pack_key,
            attempt_id: attempt.as_deref(),
            platform_run_id: &identity.platform_run_id,
            scenario_run_id: &identity.scenario_run_id,
            output_id: &cursor.output_id,
            last_file: &cursor.last_file,
            last_row_index: cursor.last_row_index,
            last_ts_utc: cursor.last_ts_utc.as_deref(),
            reason: reason.as_str(),
        }));
    }
}

pub(super) fn provenance(profile: &Profile) -> Provenance {
    Provenance {
        service_release_id: profile.service.release_id.clone(),
        environment: profile.service.environment.clone(),
        ..Provenance::default()
    }
}

pub(super) fn pins(identity: &RunIdentity) -> Pins {
    Pins {
        platform_run_id: identity.platform_run_id.clone(),
        scenario_run_id: identity.scenario_run_id.clone(),
        manifest_fingerprint: Some(identity.world.manifest_fingerprint.clone()),
        parameter_hash: Some(identity.world.parameter_hash.clone()),
        seed: Some(identity.world.seed),
        scenario_id: Some(identity.world.scenario_id.clone()),
    }
}

pub(super) fn world_outputs(profile: &Profile, prepared: &Prepared) -> WorldOutputs {
    let output_ids = prepared.output_ids();
    let is_traffic = |output: &OutputId| profile.policy.traffic_output_ids.iter().any(|id| *id == output.as_str());
    let (traffic_output_ids, context_output_ids) = output_ids.iter().cloned().partition(is_traffic);
    WorldOutputs {
        engine_run_root: prepared.engine_root.clone(),
        scenario_id: prepared.identity.world.scenario_id.clone(),
        output_ids,
        traffic_output_ids,
        context_output_ids,
    }
}

/// The message that a run was started by, and where it stood.
#[derive(Debug, Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) ready: &'a Ready,
    pub(super) source: &'a Source,
}

/// What a run sets out to do; `by` is what started it, unless a person did.
pub(super) fn start_of(
    profile: &Profile,
    settings: &Settings,
    by: Option<By<'_>>,
    run: &Prepared,
    checks: &CheckList,
    resumed: &Resumed,
    started: Micros,
) -> Start {
    let identity = &run.identity;
    let mode = match settings.mode {
        DeliveryMode::Strict => "strict",
        DeliveryMode::Keyed(_) => "keyed",
        DeliveryMode::Free(_) => "free",
    };
    Start {
        schema: START_SCHEMA.to_owned(),
        ready: by.map(|By { source, .. }| ReadySource {
            topic: source.topic.clone(),
            partition: source.partition.clone(),
            offset: source.offset.clone(),
        }),
        run: RunIds {
            message_id: by.map(|By { ready, .. }| ready.payload.message_id.clone()),
            run_id: by.map(|By { ready, .. }| ready.payload.run_id.clone()),
            platform_run_id: identity.platform_run_id.clone(),
            scenario_run_id: identity.scenario_run_id.clone(),
            scenario_id: identity.world.scenario_id.clone(),
            engine_run_root: run.engine_root.clone(),
            stream_view_root: run.view_root.clone(),
            world_key: identity.world.clone(),
            engine_run_id: run.pins.run_id.clone(),
            pack_key: run.pack_key.clone(),
            checkpoint_scope: run.scope(&profile.checkpoint.attempt_id),
            lane: Some(run.lane).filter(|lane| !lane.is_whole()),
        },
        producer: Producer {
            producer_id: profile.producer_id.clone(),
            profile_id: profile.profile_id.clone(),
            service_release_id: profile.service.release_id.clone(),
            environment: profile.service.environment.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        delivery: DeliverySettings {
            mode: mode.to_owned(),
            in_flight: u32::try_from(settings.mode.in_flight()).unwrap_or(u32::MAX),
            speedup: profile.policy.stream_speedup,
            rate: profile.rate.target_eps,
            window: settings.bound(),
        },
        limits: limits(settings),
        outputs: run
            .outputs
            .iter()
            .zip(resumed.from.iter().zip(&resumed.after))
            .map(|(output, (from, after))| StartOutput {
                output_id: output.view.output_id.clone(),
                files: output.view.parts.len() as u64,
                rows: output.view.rows,
                view_first_ts_utc: output.span.map(|(first, _)| first.to_string()),
                view_last_ts_utc: output.span.map(|(_, last)| last.to_string()),
                content: output.files().content(),
                resumed_at: resumed_at(&output.view, *from),
                resumed_after: after.as_ref().map(|row| ResumedAfter {
                    ts_utc: row.ts.to_string(),
                    event_id: row.event_id.clone(),
                    kept: row.kept,
                }),
            })
            .collect(),
        earlier: Vec::new(),
        checks: checks.checks().to_vec(),
        started,
    }
}

/// The limits that were asked for.
pub(super) fn limits(settings: &Settings) -> Limits {
    Limits { max_events: settings.max_events, max_events_per_output: settings.max_events_per_output }
}

/// Rows of all outputs that lie before the places where they go on.
pub(super) fn rows_before(run: &Prepared, from: &[Resume]) -> u64 {
    run.outputs.iter().zip(from).map(|(output, from)| resumed_at(&output.view, *from)).sum()
}

/// What a fact has to say of a start that was not the whole run. A fact of a start is told once a READY, so it is the end
/// that says where a later start began.
pub(super) fn ending(summary: &Summary) -> Option<Ending> {
    let resumed_rows = summary.outputs.iter().map(|output| output.start.resumed_at).sum();
    let emitted = |output: &OutputSummary| (output.start.output_id.to_string(), output.counts.emitted());
    (summary.end != End::Complete || resumed_rows > 0).then(|| Ending {
        end: summary.end,
        limits: summary.limits,
        emitted_by_output: summary.outputs.iter().map(emitted).collect(),
        resumed_rows,
    })
}

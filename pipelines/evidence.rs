//! What a run of ours is called in the evidence it leaves, and where that evidence lies.
//!
//! ```text
//! RunIdentity, Profile ──► pins, provenance ──► RunEvidence { records, facts }
//! ```

use std::sync::Arc;

use crate::checkpoint::SavedCursor;
use crate::clock::Clock;
use crate::evidence::{
    CheckpointSaved, Facts, Pins, Provenance, Records, RunEvidence, SessionEvent, SessionLog, WorldOutputs,
};
use crate::model::{Hex64, PlatformRunId, Reason, Refusal};
use crate::profile::Profile;
use crate::run::identity::RunIdentity;
use crate::store::ObjectStore;

use super::prepare::Prepared;

/// Where a run's evidence is kept: under the run that is at home here.
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
    let facts = Facts::new(store.clone(), pins(identity), provenance(profile))?.kept_by(home)?;
    Ok(RunEvidence { records: Records::new(store.clone(), home)?, facts }.of_lane(profile.lane))
}

/// The run must not have been streamed under another READY.
///
/// # Errors
///
/// `RUN_ALREADY_STREAMED`, or `STORE_UNAVAILABLE`.
pub async fn not_streamed(identity: &RunIdentity, evidence: &RunEvidence) -> Result<(), Refusal> {
    match evidence.already_streamed(&identity.run_id, &identity.message_id).await? {
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

fn pins(identity: &RunIdentity) -> Pins {
    Pins {
        platform_run_id: identity.platform_run_id.clone(),
        scenario_run_id: identity.scenario_run_id.clone(),
        manifest_fingerprint: Some(identity.world.manifest_fingerprint.clone()),
        parameter_hash: Some(identity.world.parameter_hash.clone()),
        seed: Some(identity.world.seed),
        scenario_id: Some(identity.world.scenario_id.clone()),
    }
}

pub(super) fn world_outputs(prepared: &Prepared) -> WorldOutputs {
    let output_ids = prepared.output_ids();
    let (traffic, context) = output_ids
        .split_last()
        .map_or((Vec::new(), Vec::new()), |(traffic, context)| (vec![traffic.clone()], context.to_vec()));
    WorldOutputs {
        engine_run_root: prepared.engine_root.clone(),
        scenario_id: prepared.identity.world.scenario_id.clone(),
        output_ids,
        traffic_output_ids: traffic,
        context_output_ids: context,
    }
}

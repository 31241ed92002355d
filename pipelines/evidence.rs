//! What a run of ours is called in the evidence it leaves, and where that evidence lies.
//!
//! ```text
//! RunIdentity, Profile ──► pins, provenance ──► RunEvidence { records, facts }
//! ```

use std::sync::Arc;

use crate::evidence::{Facts, Pins, Provenance, Records, RunEvidence, WorldOutputs};
use crate::model::{PlatformRunId, Reason, Refusal};
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

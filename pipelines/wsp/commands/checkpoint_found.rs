//! The run whose checkpoint is meant, and its outputs.

use wsp_world::checkpoint::{CheckpointStore, RowCursors, Views};
use wsp_world::model::{Hex64, OutputId, PlatformRunId};
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::Ready;

use super::args::ReadyArgs;
use super::plan::ready;
use super::{Failure, block_on, load};

/// A run whose checkpoint is meant.
pub(super) struct Found {
    pub(super) profile: Profile,
    pub(super) ready: Ready,
    pub(super) prepared: Prepared,
    pub(super) platform_run_id: PlatformRunId,
    pub(super) scope: Hex64,
    /// The views that a run would have now.
    pub(super) now: Views,
}

/// The scope of the READY that is meant: its world has to check out, because the pack is part of the scope.
pub(super) fn find(args: &ReadyArgs) -> Result<Found, Failure> {
    let profile = load(&args.profile)?;
    let ready = ready(&profile, args.ready.as_deref())?;
    let prepared = block_on(prepare::of_ready(&profile, &ready))?.map_err(Failure::refused)?;
    Ok(Found {
        scope: prepared.scope(&profile.checkpoint.attempt_id),
        now: Views(prepared.output_files()),
        platform_run_id: prepared.identity.platform_run_id.clone(),
        profile,
        ready,
        prepared,
    })
}

/// The run's outputs, and those that the checkpoint has besides.
pub(super) fn all_outputs(now: &Views, kept: Option<&Views>) -> Vec<OutputId> {
    let mut outputs = now.output_ids();
    outputs.extend(kept.map(Views::output_ids).unwrap_or_default());
    outputs.sort();
    outputs.dedup();
    outputs
}

/// All outputs of the scope. What says which they are may be what can't be read: then those of the run.
pub(super) async fn to_reset(store: &dyn CheckpointStore<RowCursors>, scope: &Hex64, now: &Views) -> Vec<OutputId> {
    all_outputs(now, store.peek_views(scope).await.ok().flatten().as_ref())
}

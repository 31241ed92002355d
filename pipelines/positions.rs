//! Where the positions of a run are kept, and what they stand for.
//!
//! ```text
//! profile ─► checkpoints ─► a store of files or of Postgres ─► Resume ─► resumed_at: rows behind it
//! ```

use crate::checkpoint::{CheckpointStore, FileCheckpoints, PostgresCheckpoints};
use crate::clock::Clock;
use crate::model::{PlatformRunId, Refusal};
use crate::oracle::{Resume, View};
use crate::profile::{CheckpointBackend, Profile, run_scoped};

/// The checkpoint store of a platform run.
///
/// # Errors
///
/// `CHECKPOINT_DSN_INVALID`.
pub fn checkpoints<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    platform_run_id: &PlatformRunId,
    clock: C,
) -> Result<Box<dyn CheckpointStore>, Refusal> {
    Ok(match &profile.checkpoint.backend {
        CheckpointBackend::File { root } => {
            Box::new(FileCheckpoints::new(run_scoped(root, Some(platform_run_id)), clock))
        }
        CheckpointBackend::Postgres { dsn, lease, outage_limit } => {
            Box::new(PostgresCheckpoints::new(dsn, clock)?.lease(*lease).save_limit(*outage_limit))
        }
    })
}

/// Rows of a view that lie before `from`.
#[must_use]
pub fn resumed_at(view: &View, from: Resume) -> u64 {
    view.parts.iter().take(from.file).map(|part| part.rows).sum::<u64>() + from.row
}

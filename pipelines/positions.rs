//! Where the positions of a run are saved, and what they mean.
//!
//! ```text
//! profile ─► checkpoints ─► a store of files or of Postgres ─► Resume ─► resumed_at: rows before it
//!         └► shard_positions ─► the same, for how far a control stream is settled
//! ```

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::checkpoint::{CheckpointStore, FileCheckpoints, FileShards, PostgresCheckpoints, PostgresShards};
use crate::clock::Clock;
use crate::model::{Hex64, PlatformRunId, Refusal, ShardPosition};
use crate::oracle::{Resume, View};
use crate::profile::{CheckpointBackend, KinesisWiring, Profile, run_scoped};
use crate::ready::ShardPositions;

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

/// Where a Kinesis feed keeps how far each shard is settled: beside the checkpoints. The key holds who reads what for which
/// run, so that each run, and each lane of it, has the whole stream to read.
///
/// # Errors
///
/// `CHECKPOINT_DSN_INVALID`.
pub fn shard_positions<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    wiring: &KinesisWiring,
    active: Option<&PlatformRunId>,
    clock: C,
) -> Result<Arc<dyn ShardPositions>, Refusal> {
    let run = active.map(PlatformRunId::as_str).unwrap_or_default();
    let region = wiring.region.as_deref().unwrap_or_default();
    let KinesisWiring { stream, group_id, .. } = wiring;
    let (topic, lane) = (&profile.topic, profile.lane);
    let scope = Hex64::sha256(format!("{stream}|{region}|{topic}|{group_id}|{run}|{}|{}", lane.count(), lane.index()));
    Ok(match &profile.checkpoint.backend {
        CheckpointBackend::File { root } => Arc::new(InFiles(FileShards::new(&run_scoped(root, active), &scope))),
        CheckpointBackend::Postgres { dsn, .. } => {
            Arc::new(InPostgres(PostgresCheckpoints::new(dsn, clock)?.shards(scope)))
        }
    })
}

struct InFiles(FileShards);
struct InPostgres<C>(PostgresShards<C>);

impl ShardPositions for InFiles {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>> {
        self.0.load().boxed()
    }

    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.save(positions).boxed()
    }
}

impl<C: Clock> ShardPositions for InPostgres<C> {
    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>> {
        self.0.load().boxed()
    }

    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.save(positions).boxed()
    }
}

//! Where the positions of a run are saved, and what they mean.
//!
//! ```text
//! profile ─► checkpoints ─► a store of files or of Postgres ─► Resume ─► resumed_at: rows before it
//!         └► shard_positions ─► the same, for how far a control stream is settled
//! ```

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use wsp::clock::Clock;

use crate::checkpoint::{CheckpointStore, FileCheckpoints, FileShards, RowCursors};
#[cfg(feature = "postgres")]
use crate::checkpoint::{PostgresCheckpoints, PostgresShards};
use crate::model::{Hex64, Lane, LaneKey, PlatformRunId, Refusal, ShardPosition};
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
) -> Result<Box<dyn CheckpointStore<RowCursors>>, Refusal> {
    Ok(match &profile.checkpoint.backend {
        CheckpointBackend::File { root } => {
            Box::new(FileCheckpoints::new(run_scoped(root, Some(platform_run_id)), clock))
        }
        #[cfg(feature = "postgres")]
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
#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a clock is for the database's time limits"))]
pub fn shard_positions<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    wiring: &KinesisWiring,
    active: Option<&PlatformRunId>,
    clock: C,
) -> Result<Arc<dyn ShardPositions<Error = Refusal>>, Refusal> {
    let scope = readers_scope(&profile.topic, profile.lane, wiring, active);
    Ok(match &profile.checkpoint.backend {
        CheckpointBackend::File { root } => Arc::new(InFiles(FileShards::new(&run_scoped(root, active), &scope))),
        #[cfg(feature = "postgres")]
        CheckpointBackend::Postgres { dsn, .. } => {
            Arc::new(InPostgres(PostgresShards::new(&PostgresCheckpoints::new(dsn, clock)?, scope)))
        }
    })
}

/// Who reads what for which run. Lanes of both kinds have the contract's fields, those by order key one more.
fn readers_scope(topic: &str, lane: Lane, wiring: &KinesisWiring, active: Option<&PlatformRunId>) -> Hex64 {
    let run = active.map(PlatformRunId::as_str).unwrap_or_default();
    let region = wiring.region.as_deref().unwrap_or_default();
    let KinesisWiring { stream, group_id, .. } = wiring;
    let by = if lane.is_whole() || lane.by() == LaneKey::EventId { "" } else { "|order_key" };
    let (count, index) = (lane.count(), lane.index());
    Hex64::sha256(format!("{stream}|{region}|{topic}|{group_id}|{run}|{count}|{index}{by}"))
}

struct InFiles(FileShards);
#[cfg(feature = "postgres")]
struct InPostgres<C>(PostgresShards<C>);

impl ShardPositions for InFiles {
    type Error = Refusal;

    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>> {
        self.0.load().boxed()
    }

    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.save(positions).boxed()
    }
}

#[cfg(feature = "postgres")]
impl<C: Clock> ShardPositions for InPostgres<C> {
    type Error = Refusal;

    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Refusal>> {
        self.0.load().boxed()
    }

    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.save(positions).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn each_lane_of_each_run_has_positions_of_its_own() {
        let wiring = |stream: &str| KinesisWiring {
            stream: stream.to_owned(),
            region: None,
            endpoint_url: None,
            group_id: "g".to_owned(),
        };
        let two = NonZeroU32::new(2).unwrap();
        let lane = |index, by| Lane::new(two, index, by).unwrap();
        let runs: [Option<PlatformRunId>; 2] = [None, Some("platform_20260101T000000Z".parse().unwrap())];
        let lanes = [
            Lane::WHOLE,
            lane(0, LaneKey::EventId),
            lane(1, LaneKey::EventId),
            lane(0, LaneKey::OrderKey),
            lane(1, LaneKey::OrderKey),
        ];
        let scopes: BTreeSet<Hex64> = runs
            .iter()
            .flat_map(|run| lanes.map(|lane| readers_scope("t", lane, &wiring("s"), run.as_ref())))
            .chain([readers_scope("t", Lane::WHOLE, &wiring("other"), None)])
            .collect();
        assert_eq!(scopes.len(), 11);
    }
}

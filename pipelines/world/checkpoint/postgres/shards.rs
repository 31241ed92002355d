//! How far the shards of a control stream are settled, in a table of our own, one row a shard. It is made by the first save.

use tokio_postgres::types::Type;
use wsp::checkpoint::leased::Fault;
use wsp::checkpoint::postgres::{Database, create_tables, read_if_there};
use wsp::clock::Clock;

use super::PostgresCheckpoints;
use crate::model::{Hex64, Reason, Refusal, ShardPosition};

const POSITIONS: (&str, &str) = (
    "wsp_ready_position",
    "CREATE TABLE IF NOT EXISTS wsp_ready_position (
        scope_key text NOT NULL,
        shard_id text NOT NULL,
        sequence_number text NOT NULL,
        drained boolean NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (scope_key, shard_id)
    )",
);

/// A position never moves back: whichever consumer settled a record, it is settled. Without leading zeros, longer
/// numbers are greater.
const SAVE: &str = "
    INSERT INTO wsp_ready_position AS p (scope_key, shard_id, sequence_number, drained, updated_at)
    SELECT $1, shard_id, sequence_number, drained, clock_timestamp()
    FROM unnest($2::text[], $3::text[], $4::boolean[]) AS new (shard_id, sequence_number, drained)
    ON CONFLICT (scope_key, shard_id) DO UPDATE SET
        sequence_number = excluded.sequence_number,
        drained = excluded.drained,
        updated_at = excluded.updated_at
    WHERE (length(excluded.sequence_number), excluded.sequence_number COLLATE \"C\", excluded.drained)
        > (length(p.sequence_number), p.sequence_number COLLATE \"C\", p.drained)";

const LOAD: &str = "SELECT shard_id, sequence_number, drained FROM wsp_ready_position WHERE scope_key = $1";

/// Positions of one scope in Postgres. Each call is one attempt, on one connection.
pub struct PostgresShards<C> {
    database: Database<C>,
    scope: Hex64,
}

impl<C: Clock> PostgresShards<C> {
    /// Those of `scope`, in the database of `checkpoints`.
    #[must_use]
    pub fn new(checkpoints: &PostgresCheckpoints<C>, scope: Hex64) -> Self {
        Self { database: checkpoints.database(), scope }
    }

    /// All positions that are kept.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_UNREADABLE`.
    pub async fn load(&self) -> Result<Vec<ShardPosition>, Refusal> {
        let scope = self.scope.as_str();
        let unreadable = |fault: String| {
            let detail = format!("the positions in the control stream, table wsp_ready_position: {fault}");
            Refusal::new(Reason::CheckpointUnreadable, detail)
        };
        let rows = self
            .database
            .request(async |client| read_if_there(client.query_typed(LOAD, &[(&scope as _, Type::TEXT)]).await));
        let rows = rows.await.map_err(|fault| unreadable(fault.to_string()))?;
        let position = |row: &tokio_postgres::Row| {
            let text = |column| row.try_get::<_, &str>(column).map_err(|error| unreadable(error.to_string()));
            Ok(ShardPosition {
                shard_id: text(0)?.parse().map_err(|error| unreadable(format!("{error}")))?,
                sequence_number: text(1)?.parse().map_err(|error| unreadable(format!("{error}")))?,
                drained: row.try_get(2).map_err(|error| unreadable(error.to_string()))?,
            })
        };
        rows.iter().map(position).collect()
    }

    /// Keeps these, durably; those of other shards stay as they are.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SAVE_FAILED`.
    pub async fn save(&self, positions: &[ShardPosition]) -> Result<(), Refusal> {
        let scope = self.scope.as_str();
        let shards: Vec<_> = positions.iter().map(|position| position.shard_id.as_str()).collect();
        let numbers: Vec<_> = positions.iter().map(|position| position.sequence_number.as_str()).collect();
        let drained: Vec<_> = positions.iter().map(|position| position.drained).collect();
        let saved: Result<(), Fault> = self
            .database
            .request(async |client| {
                create_tables(&client, &[POSITIONS]).await?;
                let params = [
                    (&scope as _, Type::TEXT),
                    (&shards as _, Type::TEXT_ARRAY),
                    (&numbers as _, Type::TEXT_ARRAY),
                    (&drained as _, Type::BOOL_ARRAY),
                ];
                client.execute_typed(SAVE, &params).await.map(drop)
            })
            .await;
        saved.map_err(|fault| {
            let detail = format!("the positions in the control stream, table wsp_ready_position: {fault}");
            Refusal::new(Reason::CheckpointSaveFailed, detail)
        })
    }
}

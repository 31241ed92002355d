//! The tables and the statements. `wsp_checkpoint` is the one of contract, section 7, shared with the legacy producer;
//! `wsp_checkpoint_lease`, `wsp_checkpoint_answered` and `wsp_checkpoint_views` are ours, and that one never looks at them.
//!
//! Each change is one statement, so it is one transaction and one round trip. It starts by updating the lease's row
//! where owner and epoch are still the claim's: the lock on that row is what sets a save and a takeover apart, and
//! without that row the rest of the statement does nothing.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};
use wsp::checkpoint::leased::{Acquired, Answer, Fault, ScopeTable};
use wsp::checkpoint::postgres::{Database, Leases, create_tables, read_if_there};
use wsp::clock::Clock;

use crate::checkpoint::leased::{Claim, Loaded, Row as Saved, Saving};
use crate::checkpoint::{Cursor, RowCursors};
use crate::model::{Hex64, Micros, OutputId};

const LEASE: Leases = Leases::of("wsp_checkpoint_lease");

const CURSORS: &str = "CREATE TABLE IF NOT EXISTS wsp_checkpoint (
    pack_key text NOT NULL,
    output_id text NOT NULL,
    last_file text NOT NULL,
    last_row_index integer NOT NULL,
    last_ts_utc text,
    updated_at_utc timestamptz NOT NULL,
    PRIMARY KEY (pack_key, output_id)
)";

const LEASES: &str = "CREATE TABLE IF NOT EXISTS wsp_checkpoint_lease (
    scope_key text PRIMARY KEY,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    save_seq bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)";

const ANSWERED: &str = "CREATE TABLE IF NOT EXISTS wsp_checkpoint_answered (
    scope_key text PRIMARY KEY,
    answered text NOT NULL,
    updated_at timestamptz NOT NULL
)";

const VIEWS: &str = "CREATE TABLE IF NOT EXISTS wsp_checkpoint_views (
    scope_key text PRIMARY KEY,
    views text NOT NULL,
    updated_at timestamptz NOT NULL
)";

/// `save_seq` keeps out a statement that was given up and is carried out late, after a newer one. Order among files
/// is the view's affair and not known here, but within one file going back can be seen, whoever wrote the row.
const SAVE: &str = "
    WITH new AS (
        SELECT * FROM unnest($5, $6, $7, $8) AS new (output_id, last_file, last_row_index, last_ts_utc)
    ), held AS (
        UPDATE wsp_checkpoint_lease AS l
        SET save_seq = $4, expires_at = clock_timestamp() + make_interval(secs => $9), updated_at = clock_timestamp()
        WHERE scope_key = $1 AND owner = $2 AND epoch = $3 AND save_seq <= $4 AND NOT EXISTS (
            SELECT FROM wsp_checkpoint AS c JOIN new USING (output_id)
            WHERE c.pack_key = $1 AND c.last_file = new.last_file AND c.last_row_index > new.last_row_index)
        RETURNING scope_key
    ), kept AS (
        INSERT INTO wsp_checkpoint_answered (scope_key, answered, updated_at)
        SELECT scope_key, $10, clock_timestamp() FROM held
        ON CONFLICT (scope_key) DO UPDATE SET answered = excluded.answered, updated_at = excluded.updated_at
    ), moved AS (
        INSERT INTO wsp_checkpoint (pack_key, output_id, last_file, last_row_index, last_ts_utc, updated_at_utc)
        SELECT scope_key, output_id, last_file, last_row_index, last_ts_utc, clock_timestamp() FROM held, new
        ON CONFLICT (pack_key, output_id) DO UPDATE SET
            last_file = excluded.last_file,
            last_row_index = excluded.last_row_index,
            last_ts_utc = excluded.last_ts_utc,
            updated_at_utc = excluded.updated_at_utc
    )
    SELECT scope_key FROM held";

const KEEP_VIEWS: &str = "
    WITH held AS (
        UPDATE wsp_checkpoint_lease
        SET expires_at = clock_timestamp() + make_interval(secs => $5), updated_at = clock_timestamp()
        WHERE scope_key = $1 AND owner = $2 AND epoch = $3
        RETURNING scope_key
    )
    INSERT INTO wsp_checkpoint_views (scope_key, views, updated_at)
    SELECT scope_key, $4, clock_timestamp() FROM held
    ON CONFLICT (scope_key) DO UPDATE SET views = excluded.views, updated_at = excluded.updated_at
    RETURNING scope_key";

const DELETE: &str = "
    WITH held AS (
        SELECT scope_key FROM wsp_checkpoint_lease WHERE scope_key = $1 AND owner = $2 AND epoch = $3 FOR UPDATE
    ), beside AS (
        DELETE FROM wsp_checkpoint_answered AS a USING held WHERE a.scope_key = held.scope_key
    ), views AS (
        DELETE FROM wsp_checkpoint_views AS v USING held WHERE v.scope_key = held.scope_key
    )
    DELETE FROM wsp_checkpoint USING held WHERE pack_key = held.scope_key AND output_id = ANY($4)";

const LOAD: &str = "
    SELECT output_id, last_file, last_row_index::bigint, last_ts_utc
    FROM wsp_checkpoint WHERE pack_key = $1 AND output_id = ANY($2)";

const LOAD_ANSWERED: &str = "SELECT answered FROM wsp_checkpoint_answered WHERE scope_key = $1";

/// Each save writes what is beside the cursors, and nothing else does.
const SAVED_AT: &str = "
    SELECT (extract(epoch FROM updated_at) * 1000000)::bigint FROM wsp_checkpoint_answered WHERE scope_key = $1";

const LOAD_VIEWS: &str = "SELECT views FROM wsp_checkpoint_views WHERE scope_key = $1";

impl<C: Clock> ScopeTable<RowCursors> for Database<C> {
    async fn acquire(&self, scope: &Hex64, owner: &str, lease: Duration) -> Result<Acquired, Fault> {
        self.request(async |client| {
            create_missing(&client).await?;
            LEASE.acquire(&client, scope.as_str(), owner, lease).await
        })
        .await
    }

    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<Answer, Fault> {
        self.request(async |client| LEASE.renew(&client, claim, lease).await).await
    }

    async fn save(&self, claim: &Claim, saving: Saving<'_>, lease: Duration) -> Result<Answer, Fault> {
        let Saving { seq, row: Saved { cursors, beside } } = saving;
        let (scope, owner, secs) = (claim.scope.as_str(), claim.owner.as_str(), lease.as_secs_f64());
        let outputs: Vec<_> = cursors.iter().map(|cursor| cursor.output_id.as_str()).collect();
        let files: Vec<_> = cursors.iter().map(|cursor| cursor.last_file.as_str()).collect();
        let rows = cursors.iter().map(|cursor| i64::try_from(cursor.last_row_index)).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|_| Fault::Refused("a row number beyond 63 bits".into()))?;
        let times: Vec<_> = cursors.iter().map(|cursor| cursor.last_ts_utc.as_deref()).collect();
        self.request(async |client| {
            let params = [
                (&scope as _, Type::TEXT),
                (&owner as _, Type::TEXT),
                (&claim.epoch as _, Type::INT8),
                (&seq as _, Type::INT8),
                (&outputs as _, Type::TEXT_ARRAY),
                (&files as _, Type::TEXT_ARRAY),
                (&rows as _, Type::INT8_ARRAY),
                (&times as _, Type::TEXT_ARRAY),
                (&secs as _, Type::FLOAT8),
                (&beside as _, Type::TEXT),
            ];
            if client.query_typed_opt(SAVE, &params).await?.is_some() {
                return Ok(Answer::Done);
            }
            let holder = LEASE.holder(&client, scope).await?;
            let ours = holder.as_ref().is_some_and(|now| now.owner == owner && now.epoch == claim.epoch);
            Ok(if ours { Answer::Back(outputs.join(", ")) } else { Answer::Lost(holder) })
        })
        .await
    }

    async fn keep_views(&self, claim: &Claim, views: &str, lease: Duration) -> Result<Answer, Fault> {
        let (scope, owner, secs) = (claim.scope.as_str(), claim.owner.as_str(), lease.as_secs_f64());
        self.request(async |client| {
            let params = [
                (&scope as _, Type::TEXT),
                (&owner as _, Type::TEXT),
                (&claim.epoch as _, Type::INT8),
                (&views as _, Type::TEXT),
                (&secs as _, Type::FLOAT8),
            ];
            match client.query_typed_opt(KEEP_VIEWS, &params).await? {
                Some(_) => Ok(Answer::Done),
                None => Ok(Answer::Lost(LEASE.holder(&client, scope).await?)),
            }
        })
        .await
    }

    async fn load_views(&self, scope: &Hex64) -> Result<Option<String>, Fault> {
        let scope = scope.as_str();
        self.request(async |client| {
            let rows = read_if_there(client.query_typed(LOAD_VIEWS, &[(&scope as _, Type::TEXT)]).await)?;
            rows.first().map(|row| row.try_get(0)).transpose()
        })
        .await
    }

    async fn saved_at(&self, scope: &Hex64) -> Result<Option<Micros>, Fault> {
        let scope = scope.as_str();
        self.request(async |client| {
            let rows = read_if_there(client.query_typed(SAVED_AT, &[(&scope as _, Type::TEXT)]).await)?;
            Ok(rows.first().map(|row| row.try_get(0)).transpose()?.map(Micros))
        })
        .await
    }

    async fn delete(&self, claim: &Claim, outputs: &[OutputId]) -> Result<(), Fault> {
        let (scope, owner) = (claim.scope.as_str(), claim.owner.as_str());
        let outputs: Vec<_> = outputs.iter().map(OutputId::as_str).collect();
        self.request(async |client| {
            let params = [
                (&scope as _, Type::TEXT),
                (&owner as _, Type::TEXT),
                (&claim.epoch as _, Type::INT8),
                (&outputs as _, Type::TEXT_ARRAY),
            ];
            client.execute_typed(DELETE, &params).await.map(drop)
        })
        .await
    }

    async fn release(&self, claim: &Claim) -> Result<(), Fault> {
        self.request(async |client| LEASE.release(&client, claim).await).await
    }

    async fn load(&self, scope: &Hex64, outputs: &[OutputId]) -> Result<Loaded, Fault> {
        let scope = scope.as_str();
        let names: Vec<_> = outputs.iter().map(OutputId::as_str).collect();
        let loaded = self.request(async |client| {
            // What is beside is read first: cursors that move on meanwhile don't spoil it.
            let beside = read_if_there(client.query_typed(LOAD_ANSWERED, &[(&scope as _, Type::TEXT)]).await)?;
            let params = [(&scope as _, Type::TEXT), (&names as _, Type::TEXT_ARRAY)];
            let cursors = read_if_there(client.query_typed(LOAD, &params).await)?;
            Ok((beside.first().map(|row| row.try_get(0)).transpose()?, cursors))
        });
        let (beside, rows) = loaded.await?;
        let find =
            |output: &&OutputId| rows.iter().find(|row| row.try_get(0).is_ok_and(|name: &str| name == output.as_str()));
        let found = outputs.iter().filter_map(|output| find(&output).map(|row| (output, row)));
        let cursors = found.map(|(output, row)| cursor(output, row)).collect::<Result<_, _>>()?;
        Ok(Loaded { cursors, beside })
    }
}

async fn create_missing(client: &Client) -> Result<(), Error> {
    let tables = [
        ("wsp_checkpoint", CURSORS),
        ("wsp_checkpoint_lease", LEASES),
        ("wsp_checkpoint_answered", ANSWERED),
        ("wsp_checkpoint_views", VIEWS),
    ];
    create_tables(client, &tables).await
}

fn cursor(output: &OutputId, row: &Row) -> Result<Cursor, Fault> {
    let unreadable =
        |column: &str, error: String| Fault::Refused(format!("wsp_checkpoint, {output}, {column}: {error}"));
    let index: i64 = row.try_get(2).map_err(|error| unreadable("last_row_index", error.to_string()))?;
    Ok(Cursor {
        output_id: output.clone(),
        last_file: row.try_get(1).map_err(|error| unreadable("last_file", error.to_string()))?,
        last_row_index: u64::try_from(index).map_err(|_| unreadable("last_row_index", format!("{index}")))?,
        last_ts_utc: row.try_get(3).map_err(|error| unreadable("last_ts_utc", error.to_string()))?,
        last_event_id: None,
        digested: None,
    })
}

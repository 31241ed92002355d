//! Forms of two texts in a table of their own: a row for each scope has its lease and both texts, so each change is an update of
//! one row.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::leases::{COLUMNS, Leases, create_tables, read_if_there};
use super::{Database, Hints, PostgresForm};
use crate::checkpoint::leased::{Acquired, Answer, Claim, Fault, Saving, ScopeTable};
use crate::checkpoint::texts::TextForm;
use crate::clock::Clock;

impl<F: TextForm> PostgresForm for F {
    const HINTS: Hints = Hints { out_of_range: "it is no number of this program", rights: F::RIGHTS };
}

impl<F: TextForm, C: Clock> ScopeTable<F> for Database<C> {
    async fn acquire(&self, scope: &F::Key, owner: &str, lease: Duration) -> Result<Acquired, Fault> {
        let (scope, table) = (scope.to_string(), F::TABLE);
        let statement = format!("CREATE TABLE IF NOT EXISTS {table} ({COLUMNS}, content text, kept text)");
        self.request(async |client| {
            create_tables(&client, &[(table, statement.as_str())]).await?;
            Leases::of(table).acquire(&client, &scope, owner, lease).await
        })
        .await
    }

    async fn renew(&self, claim: &Claim<F::Key>, lease: Duration) -> Result<Answer, Fault> {
        self.request(async |client| Leases::of(F::TABLE).renew(&client, claim, lease).await).await
    }

    /// `save_seq` keeps out a statement that was given up and is carried out late, after a newer one.
    async fn save(&self, claim: &Claim<F::Key>, saving: Saving<'_, F>, lease: Duration) -> Result<Answer, Fault> {
        let Saving { seq, row: kept } = saving;
        let (scope, owner, secs) = (claim.scope.to_string(), claim.owner.as_str(), lease.as_secs_f64());
        let statement = format!(
            "UPDATE {} SET kept = $5, save_seq = $4,
                 expires_at = clock_timestamp() + make_interval(secs => $6), updated_at = clock_timestamp()
             WHERE scope_key = $1 AND owner = $2 AND epoch = $3 AND save_seq <= $4",
            F::TABLE
        );
        self.request(async |client| {
            let params = [
                (&scope as _, Type::TEXT),
                (&owner as _, Type::TEXT),
                (&claim.epoch as _, Type::INT8),
                (&seq as _, Type::INT8),
                (&kept as _, Type::TEXT),
                (&secs as _, Type::FLOAT8),
            ];
            if client.execute_typed(&statement, &params).await? > 0 {
                return Ok(Answer::Done);
            }
            let holder = Leases::of(F::TABLE).holder(&client, &scope).await?;
            let ours = holder.as_ref().is_some_and(|now| now.owner == owner && now.epoch == claim.epoch);
            Ok(if ours { Answer::Back(scope.clone()) } else { Answer::Lost(holder) })
        })
        .await
    }

    async fn keep_views(&self, claim: &Claim<F::Key>, content: &str, lease: Duration) -> Result<Answer, Fault> {
        let (scope, owner, secs) = (claim.scope.to_string(), claim.owner.as_str(), lease.as_secs_f64());
        let statement = format!(
            "UPDATE {} SET content = $4,
                 expires_at = clock_timestamp() + make_interval(secs => $5), updated_at = clock_timestamp()
             WHERE scope_key = $1 AND owner = $2 AND epoch = $3",
            F::TABLE
        );
        self.request(async |client| {
            let params = [
                (&scope as _, Type::TEXT),
                (&owner as _, Type::TEXT),
                (&claim.epoch as _, Type::INT8),
                (&content as _, Type::TEXT),
                (&secs as _, Type::FLOAT8),
            ];
            match client.execute_typed(&statement, &params).await? {
                0 => Ok(Answer::Lost(Leases::of(F::TABLE).holder(&client, &scope).await?)),
                _ => Ok(Answer::Done),
            }
        })
        .await
    }

    async fn load_views(&self, scope: &F::Key) -> Result<Option<String>, Fault> {
        text::<F, C>(self, scope, "content").await
    }

    async fn delete(&self, claim: &Claim<F::Key>, _: &[F::Source]) -> Result<(), Fault> {
        let (scope, owner) = (claim.scope.to_string(), claim.owner.as_str());
        let statement = format!(
            "UPDATE {} SET content = NULL, kept = NULL WHERE scope_key = $1 AND owner = $2 AND epoch = $3",
            F::TABLE
        );
        self.request(async |client| {
            let params = [(&scope as _, Type::TEXT), (&owner as _, Type::TEXT), (&claim.epoch as _, Type::INT8)];
            client.execute_typed(&statement, &params).await.map(drop)
        })
        .await
    }

    async fn release(&self, claim: &Claim<F::Key>) -> Result<(), Fault> {
        self.request(async |client| Leases::of(F::TABLE).release(&client, claim).await).await
    }

    async fn load(&self, scope: &F::Key, _: &[F::Source]) -> Result<Option<String>, Fault> {
        text::<F, C>(self, scope, "kept").await
    }
}

/// The text in a column of a scope's row, where there is one.
async fn text<F: TextForm, C: Clock>(
    database: &Database<C>,
    scope: &F::Key,
    column: &str,
) -> Result<Option<String>, Fault> {
    let scope = scope.to_string();
    let statement = format!("SELECT {column} FROM {} WHERE scope_key = $1", F::TABLE);
    database
        .request(async |client| {
            let rows = read_if_there(client.query_typed(&statement, &[(&scope as _, Type::TEXT)]).await)?;
            Ok(rows.first().map(|row| row.try_get::<_, Option<String>>(0)).transpose()?.flatten())
        })
        .await
}

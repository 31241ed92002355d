//! The statements of leases: a table with a row for each scope, which says who holds it until when.
//!
//! The lock on the row sets a save and a takeover apart: whatever goes by a claim first updates the row where owner and epoch are
//! still the claim's.

use std::fmt;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use crate::checkpoint::leased::{Acquired, Answer, Claim, Holder};

/// The columns of a lease, for the statement that makes its table.
pub(super) const COLUMNS: &str = "
    scope_key text PRIMARY KEY,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    save_seq bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL";

/// A table of leases. It may have more columns, which may be null.
#[derive(Debug, Clone, Copy)]
pub struct Leases {
    table: &'static str,
}

impl Leases {
    /// Those of this table.
    #[must_use]
    pub const fn of(table: &'static str) -> Self {
        Self { table }
    }

    /// Takes a scope, if it is free or its lease has run out.
    ///
    /// Time is the database's own, read after the wait for the row's lock. The same owner again is an answer that got
    /// lost: it finds itself in, under the epoch it had.
    ///
    /// # Errors
    ///
    /// As the database says.
    pub async fn acquire(self, client: &Client, scope: &str, owner: &str, lease: Duration) -> Result<Acquired, Error> {
        let (table, secs) = (self.table, lease.as_secs_f64());
        let statement = format!(
            "INSERT INTO {table} AS l (scope_key, owner, epoch, save_seq, expires_at, updated_at)
             VALUES ($1, $2, 1, 0, clock_timestamp() + make_interval(secs => $3), clock_timestamp())
             ON CONFLICT (scope_key) DO UPDATE SET
                 owner = excluded.owner,
                 epoch = CASE WHEN l.owner = excluded.owner THEN l.epoch ELSE l.epoch + 1 END,
                 save_seq = CASE WHEN l.owner = excluded.owner THEN l.save_seq ELSE 0 END,
                 expires_at = clock_timestamp() + make_interval(secs => $3),
                 updated_at = clock_timestamp()
             WHERE l.owner = excluded.owner OR l.expires_at <= clock_timestamp()
             RETURNING epoch"
        );
        // The holder may let go between the two questions; then the first is worth asking again.
        loop {
            let params = [(&scope as _, Type::TEXT), (&owner as _, Type::TEXT), (&secs as _, Type::FLOAT8)];
            if let Some(row) = client.query_typed_opt(&statement, &params).await? {
                return Ok(Acquired::Epoch(row.try_get(0)?));
            }
            if let Some(holder) = self.holder(client, scope).await?.filter(|holder| !holder.owner.is_empty()) {
                return Ok(Acquired::Busy(holder));
            }
        }
    }

    /// Lets a claim's lease run anew. It may have run out, as long as nobody took the scope.
    ///
    /// # Errors
    ///
    /// As the database says.
    pub async fn renew<K: fmt::Display>(
        self,
        client: &Client,
        claim: &Claim<K>,
        lease: Duration,
    ) -> Result<Answer, Error> {
        let (scope, owner, secs) = (claim.scope.to_string(), claim.owner.as_str(), lease.as_secs_f64());
        let statement = format!(
            "UPDATE {}
             SET expires_at = clock_timestamp() + make_interval(secs => $4), updated_at = clock_timestamp()
             WHERE scope_key = $1 AND owner = $2 AND epoch = $3",
            self.table
        );
        let params = [
            (&scope as _, Type::TEXT),
            (&owner as _, Type::TEXT),
            (&claim.epoch as _, Type::INT8),
            (&secs as _, Type::FLOAT8),
        ];
        match client.execute_typed(&statement, &params).await? {
            0 => Ok(Answer::Lost(self.holder(client, &scope).await?)),
            _ => Ok(Answer::Done),
        }
    }

    /// Sets a claim's scope free. The row stays, so that epochs go on counting.
    ///
    /// # Errors
    ///
    /// As the database says.
    pub async fn release<K: fmt::Display>(self, client: &Client, claim: &Claim<K>) -> Result<(), Error> {
        let (scope, owner) = (claim.scope.to_string(), claim.owner.as_str());
        let statement = format!(
            "UPDATE {} SET owner = '', expires_at = clock_timestamp(), updated_at = clock_timestamp()
             WHERE scope_key = $1 AND owner = $2 AND epoch = $3",
            self.table
        );
        let params = [(&scope as _, Type::TEXT), (&owner as _, Type::TEXT), (&claim.epoch as _, Type::INT8)];
        client.execute_typed(&statement, &params).await.map(drop)
    }

    /// Who has a scope, or had it last.
    ///
    /// # Errors
    ///
    /// As the database says.
    pub async fn holder(self, client: &Client, scope: &str) -> Result<Option<Holder>, Error> {
        let statement = format!(
            r#"SELECT owner, epoch, to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
               FROM {} WHERE scope_key = $1"#,
            self.table
        );
        let row = client.query_typed_opt(&statement, &[(&scope, Type::TEXT)]).await?;
        row.map(|row| Ok(Holder { owner: row.try_get(0)?, epoch: row.try_get(1)?, until: row.try_get(2)? })).transpose()
    }
}

/// Makes the tables that are not there, each by its name and its statement. Looking first spares a role that may not create any
/// from needing the right.
///
/// # Errors
///
/// As the database says.
pub async fn create_tables(client: &Client, tables: &[(&str, &str)]) -> Result<(), Error> {
    for (name, statement) in tables {
        let there = client.query_typed_one("SELECT to_regclass($1) IS NOT NULL", &[(name, Type::TEXT)]).await?;
        if there.try_get(0)? {
            continue;
        }
        match client.batch_execute(statement).await {
            Err(error) if error.code().is_some_and(is_made) => {}
            made => made?,
        }
    }
    Ok(())
}

/// Whether another producer made the table at the same moment: the server says so of its name, of the name's unique index, or of
/// the type that each table has.
fn is_made(code: &SqlState) -> bool {
    matches!(*code, SqlState::DUPLICATE_TABLE | SqlState::UNIQUE_VIOLATION | SqlState::DUPLICATE_OBJECT)
}

/// Rows of a table, none where there is no such table: nobody has kept anything in this database yet, and reading is no
/// reason to change that.
///
/// # Errors
///
/// As the database says.
pub fn read_if_there(rows: Result<Vec<Row>, Error>) -> Result<Vec<Row>, Error> {
    match rows {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        rows => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_another_producer_makes_at_the_same_moment_is_there() {
        for code in ["42P07", "23505", "42710"] {
            assert!(is_made(&SqlState::from_code(code)), "{code}");
        }
        // Rights, space, and a type that is missing.
        for code in ["42501", "53100", "42704"] {
            assert!(!is_made(&SqlState::from_code(code)), "{code}");
        }
    }
}

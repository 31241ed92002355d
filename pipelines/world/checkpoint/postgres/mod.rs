//! Cursors in Postgres, in the table of the legacy producer, under a lease of their own.
//!
//! ```text
//! PostgresCheckpoints ──► LeasedScope ──ScopeTable──► sql (one statement a change) ──► Database (one connection)
//! ```
//!
//! That a position never moves back rests on three things, since the database doesn't know the order of files. Each
//! owner of a scope has an epoch, and a save by a claim that is not the row's is nothing. Within an epoch saves
//! are numbered, and a late one is nothing. Within a file a lower row is refused.

mod rows;
#[cfg(test)]
mod scope_tests;
mod shards;
mod sql;

use wsp::checkpoint::{leased, postgres};

pub use self::rows::{Loaded, Row};
pub use self::shards::PostgresShards;
use super::RowCursors;
use crate::model::{Hex64, Reason, Refusal};

pub use wsp::checkpoint::leased::{Acquired, Answer, Fault, Holder, Releases, ScopeTable, Times};
pub use wsp::checkpoint::postgres::PostgresDsn;

/// Checkpoints in a Postgres database.
pub type PostgresCheckpoints<C> = postgres::PostgresCheckpoints<RowCursors, C>;
/// A scope held by a lease.
pub type LeasedScope<T, C> = leased::LeasedScope<RowCursors, T, C>;
/// Whose hold a statement goes by.
pub type Claim = leased::Claim<Hex64>;
/// A save.
pub type Saving<'a> = leased::Saving<'a, RowCursors>;

impl From<postgres::DsnError> for Refusal {
    fn from(error: postgres::DsnError) -> Self {
        let reason = if error.is_empty { Reason::CheckpointDsnMissing } else { Reason::CheckpointDsnInvalid };
        let mut refusal = Self::new(reason, error.detail);
        if let Some(setting) = error.setting {
            refusal = refusal.field(setting);
        }
        if let Some(file) = error.file {
            refusal = refusal.file(file);
        }
        refusal
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;

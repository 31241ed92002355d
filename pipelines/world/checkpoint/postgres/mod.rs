//! Cursors in Postgres, in the table of the legacy producer, under a lease of their own.
//!
//! ```text
//! PostgresCheckpoints ──► LeasedScope ──ScopeTable──► sql (one statement a change) ──► Database (one connection)
//! ```
//!
//! That a position never moves back rests on three things, since the database doesn't know the order of files. Each
//! owner of a scope has an epoch, and a save by a claim that is not the row's is nothing. Within an epoch saves
//! are numbered, and a late one is nothing. Within a file a lower row is refused.

mod shards;
mod sql;

use wsp::checkpoint::postgres::{self, Hints, PostgresForm};

pub use self::shards::PostgresShards;
use super::RowCursors;
use crate::model::{Reason, Refusal};

pub use wsp::checkpoint::postgres::PostgresDsn;

/// Checkpoints in a Postgres database.
pub type PostgresCheckpoints<C> = postgres::PostgresCheckpoints<RowCursors, C>;

impl PostgresForm for RowCursors {
    const HINTS: Hints = Hints {
        out_of_range: "the row number doesn't fit the column; `ALTER TABLE wsp_checkpoint ALTER COLUMN last_row_index \
                       TYPE bigint` makes room, and the legacy producer reads and writes that too",
        rights: "the role needs SELECT, INSERT, UPDATE and DELETE on wsp_checkpoint, wsp_checkpoint_lease, \
                 wsp_checkpoint_answered and wsp_checkpoint_views, and CREATE on their schema where one of them is missing",
    };
}

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

//! Where a run stands, kept so that a crash loses nothing and repeats little (contract, section 7).
//!
//! ```text
//! push ──Delivered──► RunLayout: cursors, rows beyond ──► wsp::checkpoint ──► CheckpointStore: file · memory · postgres
//! CheckpointStore ──Kept──► Earlier: where reading goes on, and which rows are set apart there
//!                └──Views──► the content that these positions count in: any other refuses the run
//! ```

mod apart;
mod beyond;
mod cursor;
mod earlier;
mod file;
mod form;
mod layout;
pub mod leased;
#[cfg(feature = "postgres")]
pub mod postgres;
mod resume;
mod scope;
mod shards;
#[cfg(test)]
mod stage_tests;
mod views;

use wsp::checkpoint as stages;
pub use wsp::checkpoint::{
    CheckpointExt, CheckpointOptions, CheckpointScope, CheckpointStore, HeldExt, LAST_SAVE, Unsaved, WhileHeld,
};

pub use apart::{Apart, ApartExt, RejoinExt, Rejoined, Rest};
pub use beyond::{AnsweredRows, Beyond, Kept, Place};
pub use cursor::Cursor;
pub use earlier::Earlier;
pub use file::FileCheckpoints;
pub use form::RowCursors;
pub use layout::{Mark, RunLayout, SaveReason, SavedCursor};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresCheckpoints, PostgresDsn, PostgresShards};
pub use resume::{FileRows, OutputFiles, Resume};
pub use scope::ScopeKey;
pub use shards::FileShards;
pub use views::Views;

use crate::model::Refusal;

/// Whether this process still holds its scope.
pub type Lease = stages::Lease<Refusal>;
/// How a hold stands.
pub type LeaseState = stages::LeaseState<Refusal>;
/// Checkpoints in memory, with faults on request.
pub type MemoryCheckpoints = stages::MemoryCheckpoints<RowCursors>;
/// A hold on a scope that outlives the stage that saves through it.
pub type SharedScope = stages::SharedScope<RowCursors>;

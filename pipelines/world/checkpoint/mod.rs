//! Where a run stands, kept so that a crash loses nothing and repeats little (contract, section 7).
//!
//! ```text
//! push ──Delivered──► RunLayout: cursors, rows beyond ──► wsp::checkpoint ──► CheckpointStore: file · memory · postgres
//! CheckpointStore ──Kept──► Earlier: where reading goes on, and which rows are set apart there
//!                └──Views──► the content that these positions count in: any other refuses the run
//! ```

mod apart;
mod beyond;
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

use serde::{Deserialize, Serialize};
use wsp::checkpoint as stages;
pub use wsp::checkpoint::{
    CheckpointExt, CheckpointOptions, CheckpointScope, CheckpointStore, HeldExt, LAST_SAVE, Unsaved, WhileHeld,
};

pub use apart::{Apart, ApartExt, RejoinExt, Rejoined, Rest};
pub use beyond::{AnsweredRows, Beyond, Kept, Place};
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

use crate::model::{Digested, Hex64, OutputId, Refusal};

/// The position of one output within one scope: the last row that IG answered, with all before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The output.
    pub output_id: OutputId,
    /// Full path or URI of the file, spelt as the run's view spells it.
    pub last_file: String,
    /// 0-based row in that file.
    pub last_row_index: u64,
    /// That row's event time, canonical text.
    pub last_ts_utc: Option<String>,
    /// That row's event id. It is kept beside the cursor, so it is unknown where another producer or a person moved
    /// the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<Hex64>,
    /// What the output's events up to that row are digested to. It is kept with the event id, and unknown where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digested: Option<Digested>,
}

impl Cursor {
    /// Whether `new` is before this one, as far as can be told without the view's list of files: within one file.
    fn is_passed_by(&self, new: &Cursor) -> bool {
        self.output_id == new.output_id && self.last_file == new.last_file && self.last_row_index > new.last_row_index
    }
}

/// Whether this process still holds its scope.
pub type Lease = stages::Lease<Refusal>;
/// How a hold stands.
pub type LeaseState = stages::LeaseState<Refusal>;
/// Checkpoints in memory, with faults on request.
pub type MemoryCheckpoints = stages::MemoryCheckpoints<RowCursors>;
/// A hold on a scope that outlives the stage that saves through it.
pub type SharedScope = stages::SharedScope<RowCursors>;

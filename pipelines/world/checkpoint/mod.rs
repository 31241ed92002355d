//! Where a run stands, kept so that a crash loses nothing and repeats little (contract, section 7).
//!
//! ```text
//! push ──Delivered──► watermark (contiguous · beyond, per output) ──► saver ──► CheckpointStore: file · memory · postgres
//! CheckpointStore ──Kept──► Earlier: where reading goes on, and which rows are set apart there
//!                └──Views──► the content that these positions count in: any other refuses the run
//! ```

mod apart;
mod beyond;
mod earlier;
mod file;
#[path = "../../../src/checkpoint/held.rs"]
mod held;
#[path = "../../../src/checkpoint/lease.rs"]
mod lease;
#[path = "../../../src/checkpoint/memory.rs"]
mod memory;
#[path = "../../../src/checkpoint/owner.rs"]
mod owner;
pub mod postgres;
mod resume;
#[path = "../../../src/checkpoint/runs.rs"]
mod runs;
#[path = "../../../src/checkpoint/saver.rs"]
mod saver;
mod scope;
mod shards;
#[path = "../../../src/checkpoint/shared.rs"]
mod shared;
#[path = "../../../src/checkpoint/stage.rs"]
mod stage;
#[cfg(test)]
mod stage_tests;
#[path = "../../../src/checkpoint/unsaved.rs"]
mod unsaved;
mod views;
#[path = "../../../src/checkpoint/watermark.rs"]
mod watermark;

use std::fmt;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use apart::{Apart, ApartExt, RejoinExt, Rejoined, Rest};
pub use beyond::{AnsweredRows, Beyond, Kept, Place};
pub use earlier::Earlier;
pub use file::FileCheckpoints;
pub use held::{HeldExt, WhileHeld};
pub use lease::{Lease, LeaseState};
pub use memory::MemoryCheckpoints;
pub use postgres::{PostgresCheckpoints, PostgresDsn, PostgresShards};
pub use resume::{FileRows, OutputFiles, Resume};
pub use scope::ScopeKey;
pub use shards::FileShards;
pub use shared::SharedScope;
pub use stage::{CheckpointExt, CheckpointOptions, Checkpointed, LAST_SAVE, SaveReason, SavedCursor};
pub use unsaved::Unsaved;
pub use views::Views;
pub use watermark::{Mark, Watermark};

use crate::model::{Hex64, OutputId, Refusal};

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
}

impl Cursor {
    /// Whether `new` is before this one, as far as can be told without the view's list of files: within one file.
    fn is_passed_by(&self, new: &Cursor) -> bool {
        self.output_id == new.output_id && self.last_file == new.last_file && self.last_row_index > new.last_row_index
    }
}

/// A place that keeps cursors.
pub trait CheckpointStore: fmt::Debug + Send + Sync {
    /// Takes hold of a scope, alone. The hold ends when the answer is dropped or the process dies.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SCOPE_BUSY` where another producer holds it; `CHECKPOINT_UNAVAILABLE` where the place can't be reached
    /// now; `CHECKPOINT_SAVE_FAILED` where it can't be used.
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>>;

    /// Reads what is kept of a scope without taking hold of it.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_UNREADABLE`, naming the file; `CHECKPOINT_UNAVAILABLE` where the place can't be reached now.
    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>>;

    /// Reads which views the positions of a scope count in, without taking hold of it; `None` where that is not kept.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::views`].
    fn peek_views<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Option<Views>, Refusal>>;

    /// Drops the cursors of a scope's `outputs`, all that is kept beyond cursors, and which views they counted in.
    ///
    /// # Errors
    ///
    /// As [`CheckpointStore::open`].
    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Resolves when every scope that was dropped so far is free for the next producer, as far as can be. A
    /// program awaits it before it ends, where letting go takes a message to somewhere.
    fn released(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A scope that this process holds.
pub trait CheckpointScope: Send {
    /// What is kept of `outputs`.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_UNREADABLE`; `CHECKPOINT_UNAVAILABLE`; `CHECKPOINT_FOREIGN` where it is another scope's.
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>>;

    /// Which views the scope's positions count in; `None` where nobody kept that: the legacy producer doesn't.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::load`].
    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>>;

    /// Keeps which views the positions count in that are saved from now on; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::save`]; `CHECKPOINT_UNAVAILABLE` where the place can't be reached now.
    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Saves the cursors given, leaving others as they are, and what is beyond cursors in place of all that was kept
    /// there; durable when it returns. A crash amid it may leave new cursors beside what was kept before, never
    /// the other way round.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SAVE_FAILED`; `CHECKPOINT_LEASE_LOST` where another producer has the scope now: nothing was saved.
    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Brings what other producers read of the scope up to the last save, where a store puts that off; at the end of a
    /// run, good or bad. Nothing is lost without it: whoever opens the scope next does it.
    ///
    /// # Errors
    ///
    /// As [`CheckpointScope::save`].
    fn finish(&mut self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What tells, at any time, whether this process still holds the scope.
    fn lease(&self) -> Lease {
        Lease::unlimited()
    }
}

//! Where a run stands, kept so that a crash loses nothing and repeats little.
//!
//! ```text
//! answers ──Layout──► Mark ──► Watermark (contiguous · beyond, per source) ──► when to save ──Layout──► what is kept ──► Save
//! CheckpointStore ──open──► CheckpointScope, held under a Lease ──load──► what an earlier start kept
//! ```
//!
//! [`CheckpointExt::checkpoint`] is the stage: it decides when to save, and keeps one save on its way at a time. A
//! producer's [`Layout`] says what its positions are and what is kept of them; [`Counts`] is the simplest one. A [`Save`] makes
//! it durable: a folder, or a scope of a [`CheckpointStore`], which one producer at a time holds. A [`TextForm`] keeps two
//! texts, which any of the stores here takes.

mod counts;
mod error;
pub mod file;
mod held;
mod layout;
mod lease;
pub mod leased;
mod mark;
mod memory;
mod options;
mod owner;
#[cfg(feature = "postgres")]
pub mod postgres;
mod runs;
mod saver;
mod shared;
mod stage;
mod store;
mod texts;
mod unsaved;
mod watermark;

pub use counts::{CountFiles, Counts};
pub use error::{CheckpointError, CheckpointFault};
pub use held::{HeldExt, WhileHeld};
pub use layout::{Cause, Layout, Save};
pub use lease::{Hold, Keeper, Lease, LeaseState};
pub use mark::{Mark, Place};
pub use memory::{InMemory, MemoryCheckpoints};
pub use options::{CheckpointOptions, LAST_SAVE};
pub use owner::{this_process, unique};
pub use shared::SharedScope;
pub use stage::{CheckpointExt, Checkpointed};
pub use store::{CheckpointScope, CheckpointStore, Form};
pub use texts::TextForm;
pub use unsaved::Unsaved;
pub use watermark::Watermark;

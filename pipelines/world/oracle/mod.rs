//! The sealed world: what has to hold before a row of it may be sent, and its rows (contract, sections 3 and 4).
//!
//! ```text
//! engine run root ──► receipt ─► pack ─► seal ─► gates (by the catalogue) ─► views ──► World
//!                       every check goes into a CheckList; all are made before the first event
//! SealedView ──► ViewFiles ──footers──► View ──slice by slice, the next one fetched ahead──► RowBatch …
//! ```

mod batches;
pub mod catalogue;
pub mod gates;
mod object;
pub mod pack;
pub mod pins;
pub mod receipt;
mod refusal;
pub mod seal;
#[cfg(test)]
mod testing;
pub mod view;
pub mod view_files;
pub mod world;

pub use view_files::{RowGroup, View, ViewFile, ViewFiles, ViewPart};
pub use wsp::parquet_read::{Prefetch, Resume, Scan, shares};

/// Picks rows of one output by the values of some columns.
pub type RowFilter = wsp::parquet_read::RowFilter<crate::model::Refusal>;

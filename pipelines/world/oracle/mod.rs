//! The sealed world: what has to hold before a row of it may be sent, and its rows (contract, sections 3 and 4).
//!
//! ```text
//! engine run root ──► receipt ─► pack ─► seal ─► gates (by the catalogue) ─► views ──► World
//!                       every check goes into a CheckList; all are made before the first event
//! SealedView ──► ViewFiles ──footers──► View ──slice by slice, the next one fetched ahead──► RowBatch …
//! ```

pub mod batches;
pub mod catalogue;
mod decoding;
mod filter;
mod footer;
pub mod gates;
mod loading;
mod object;
pub mod pack;
mod paged;
mod part;
pub mod pins;
pub mod receipt;
pub mod seal;
mod share;
mod slices;
mod source;
#[cfg(test)]
mod testing;
pub mod view;
pub mod view_files;
pub mod world;

pub use batches::{Resume, Scan};
pub use filter::RowFilter;
pub use share::{Prefetch, shares};
pub use view_files::{RowGroup, View, ViewFile, ViewFiles, ViewPart};

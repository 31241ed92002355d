//! oracle

pub mod batches;
mod footer;
mod source;
mod times;
pub mod view_files;

pub use batches::{Resume, Scan};
pub use view_files::{RowGroup, View, ViewFile, ViewFiles, ViewPart};

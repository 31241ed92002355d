//! Reading Parquet where the library's word is not enough: pages found by their own headers, and event times out of columns of any
//! type.
//!
//! ```text
//! a column chunk's bytes ──page──► Header ──chunk──► Walk: pages, rows, whether they add up to the footer
//! a column ──times──► Micros of each row, and the first row that has none
//! ```

pub mod chunk;
pub mod page;
pub mod times;

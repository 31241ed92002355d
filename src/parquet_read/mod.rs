//! Reading Parquet objects out of a store: in slices that fit a bound of memory, from any row on, with event times out of columns of any
//! type, and with everything checked that the decoder takes on trust.
//!
//! ```text
//! object ──Footer::read──► row groups, column types
//! Parts ──batches(Scan, RowFilter)──► slice after slice, the next one fetched ahead ──► Rows: places, times, columns
//!           a column chunk's bytes ──page──► Header ──chunk──► Walk: pages, rows, whether they add up to the footer
//!           a column ──times──► Micros of each row, and the first row that has none
//! ```
//!
//! The sequence of rows is checked as it is read: the first row without a time, or earlier than the one before it, ends it with a
//! [`RowsError`] behind all good rows. Several scans share memory by [`shares`] and a [`Prefetch`].

mod batches;
pub mod chunk;
mod decoding;
mod error;
mod filter;
mod footer;
mod loading;
pub mod page;
mod paged;
mod part;
mod rows;
mod scan;
mod share;
mod slices;
mod source;
mod texts;
pub mod times;

pub use error::{ReadError, ReadFault, RowsError};
pub use filter::RowFilter;
pub use footer::{Footer, RowGroup};
pub use rows::Rows;
pub use scan::{PartRows, Parts, Resume, Scan};
pub use share::{Prefetch, memory_wish, shares};
pub use source::ParquetObject;

//! The sealed world: what has to hold before a row of it may be sent (contract, sections 3 and 4).
//!
//! ```text
//! engine run root ──► receipt ─► pack ─► seal ─► gates (by the catalogue) ─► views ──► World
//!                       every check goes into a CheckList; all are made before the first event
//! ```

pub mod catalogue;
pub mod gates;
mod object;
pub mod pack;
pub mod receipt;
pub mod seal;
#[cfg(test)]
mod testing;
pub mod view;
pub mod world;

//! Cursors in a store whose scopes are held by leases: Postgres, and the simulator's model of it.
//!
//! ```text
//! LeasedScope ──Row, Loaded──► ScopeTable: the store's statements
//! ```
//!
//! No client of a database is needed here, so that builds without one have the rules too.

mod rows;
#[cfg(test)]
mod scope_tests;

use wsp::checkpoint::leased;

pub use self::rows::{Loaded, Row};
use super::RowCursors;
use crate::model::Hex64;

pub use wsp::checkpoint::leased::{Acquired, Answer, Fault, Holder, Releases, ScopeTable, Times};

/// A scope held by a lease.
pub type LeasedScope<T, C> = leased::LeasedScope<RowCursors, T, C>;
/// Whose hold a statement goes by.
pub type Claim = leased::Claim<Hex64>;
/// A save.
pub type Saving<'a> = leased::Saving<'a, RowCursors>;

//! Scopes that are held by a lease in some database: no port to a certain one.
//!
//! ```text
//! open ──► LeasedScope: renewed in the background, checked by every save ──ScopeTable──► a database, a double of one
//! ```
//!
//! That a position never moves back rests on three things, since a database need not know the order of positions. Each owner of a
//! scope has an epoch, and a save by a claim that is not the row's is nothing. Within an epoch saves are numbered, and a late
//! one is nothing. What else can be compared, the table refuses.

mod retry;
mod scope;
mod table;

pub use retry::{Fault, persist};
pub use scope::{LeasedScope, Releases, Times, acquire, load, load_views};
pub use table::{Acquired, Answer, Claim, Holder, Saving, ScopeTable, TableForm};

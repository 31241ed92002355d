//! What the scope asks of the database: one row of the lease table, and what it guards: the cursors, a text about what is
//! beside them, and a text that says which views they count in.

use std::fmt;
use std::time::Duration;

use super::retry::Fault;
use crate::checkpoint::Cursor;
use crate::model::{Hex64, OutputId};

/// Whose hold a statement goes by. Owner and epoch together are never given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The scope.
    pub scope: Hex64,
    /// Unique among all openings of all processes, readable for a person.
    pub owner: String,
    /// Counts the owners of the scope.
    pub epoch: i64,
}

/// Who has the scope instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its owner; empty where nobody has it.
    pub owner: String,
    /// Its epoch.
    pub epoch: i64,
    /// RFC 3339, by the database's clock.
    pub until: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, epoch, until } = self;
        let owner = if owner.is_empty() { "nobody" } else { owner };
        write!(f, "{owner}, epoch {epoch}, until {until}")
    }
}

/// The answer to a wish for the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is the asker's, under this epoch.
    Epoch(i64),
    /// It is another's.
    Busy(Holder),
}

/// The answer to a statement that goes by a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, and the lease runs anew.
    Done,
    /// Nothing was done: the scope is this other's, or its row is gone.
    Lost(Option<Holder>),
    /// Nothing was done: the named output's position would have moved back.
    Back(String),
}

/// What a save puts down.
#[derive(Debug, Clone, Copy)]
pub struct Saving<'a> {
    /// Counts the saves of a claim: a statement that comes after one with a higher number does nothing.
    pub seq: i64,
    /// Cursors that moved, one an output at most.
    pub cursors: &'a [Cursor],
    /// What is beside the cursors, in place of the text that was kept before.
    pub beside: &'a str,
}

/// What is kept of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Cursors of the outputs asked for, where there are any.
    pub cursors: Vec<Cursor>,
    /// The text about what is beside them, where one was saved.
    pub beside: Option<String>,
}

/// The database's side of a scope. Each call is one statement that either happens whole or not at all, and may be
/// made again after an answer that got lost.
pub trait ScopeTable: Send + Sync + 'static {
    /// Takes the scope for `owner`, if it is free or its lease has run out by the database's clock.
    fn acquire(
        &self,
        scope: &Hex64,
        owner: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Acquired, Fault>> + Send;

    /// Lets the lease run anew. It may have run out, as long as nobody took the scope.
    fn renew(&self, claim: &Claim, lease: Duration) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Saves all of it or nothing, and renews.
    fn save(
        &self,
        claim: &Claim,
        saving: Saving<'_>,
        lease: Duration,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Keeps the text that says which views the cursors count in, and renews.
    fn keep_views(
        &self,
        claim: &Claim,
        views: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// The text that [`ScopeTable::keep_views`] kept, where there is one.
    fn load_views(&self, scope: &Hex64) -> impl Future<Output = Result<Option<String>, Fault>> + Send;

    /// Drops the cursors of `outputs`, and both texts.
    fn delete(&self, claim: &Claim, outputs: &[OutputId]) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Sets the scope free, if it is still the claim's.
    fn release(&self, claim: &Claim) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The cursors of `outputs`, and the text about what is beside them.
    fn load(&self, scope: &Hex64, outputs: &[OutputId]) -> impl Future<Output = Result<Loaded, Fault>> + Send;
}

//! What a leased scope asks of a database: one row of a table of leases, and what it guards: where the sources stand, and a text
//! that says which content the positions count in.

use std::fmt;
use std::time::Duration;

use super::retry::Fault;
use crate::checkpoint::Form;
use crate::time::Micros;

/// A form whose scopes are rows of a database.
pub trait TableForm: Form {
    /// What one save puts down.
    type Row: fmt::Debug + Send + Sync;
    /// What is read back.
    type Loaded: Send;
    /// What a scope knows of what is kept: what a save puts down may replace more than what moved.
    type Known: fmt::Debug + Default + Send + Sync;

    /// What a save of `kept` puts down, and what is known once it has.
    fn row(scope: &Self::Key, kept: &Self::Kept, known: &Self::Known) -> (Self::Row, Self::Known);

    /// Notes what was read.
    fn note(known: &mut Self::Known, kept: &Self::Kept);

    /// What is kept.
    ///
    /// # Errors
    ///
    /// It is not what was put down, or another scope's.
    fn kept(scope: &Self::Key, loaded: Self::Loaded) -> Result<Self::Kept, Self::Error>;

    /// The text that says which content positions count in.
    fn write_content(scope: &Self::Key, content: &Self::Content) -> String;

    /// Reads such a text.
    ///
    /// # Errors
    ///
    /// It is not what was put down, or another scope's.
    fn read_content(scope: &Self::Key, text: &str) -> Result<Self::Content, Self::Error>;
}

/// Whose hold a statement goes by. Owner and epoch together are never given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<K> {
    /// The scope.
    pub scope: K,
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
    /// Nothing was done: the named source's position would have moved back.
    Back(String),
}

/// A save.
pub struct Saving<'a, F: TableForm> {
    /// Counts the saves of a claim: a statement that comes after one with a higher number does nothing.
    pub seq: i64,
    /// What it puts down.
    pub row: &'a F::Row,
}

/// The database's side of a scope. Each call is one statement that either happens whole or not at all, and may be
/// made again after an answer that got lost.
pub trait ScopeTable<F: TableForm>: Send + Sync + 'static {
    /// Takes the scope for `owner`, if it is free or its lease has run out by the database's clock.
    fn acquire(
        &self,
        scope: &F::Key,
        owner: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Acquired, Fault>> + Send;

    /// Lets the lease run anew. It may have run out, as long as nobody took the scope.
    fn renew(&self, claim: &Claim<F::Key>, lease: Duration) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Saves all of it or nothing, and renews.
    fn save(
        &self,
        claim: &Claim<F::Key>,
        saving: Saving<'_, F>,
        lease: Duration,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Keeps the text that says which content the positions count in, and renews.
    fn keep_views(
        &self,
        claim: &Claim<F::Key>,
        views: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// The text that [`ScopeTable::keep_views`] kept, where there is one.
    fn load_views(&self, scope: &F::Key) -> impl Future<Output = Result<Option<String>, Fault>> + Send;

    /// When the scope was last saved, by the database's clock, where it keeps that.
    fn saved_at(&self, scope: &F::Key) -> impl Future<Output = Result<Option<Micros>, Fault>> + Send {
        let _ = scope;
        async { Ok(None) }
    }

    /// Drops where `sources` stand, and all else that is kept.
    fn delete(&self, claim: &Claim<F::Key>, sources: &[F::Source]) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Sets the scope free, if it is still the claim's.
    fn release(&self, claim: &Claim<F::Key>) -> impl Future<Output = Result<(), Fault>> + Send;

    /// What is kept of `sources`.
    fn load(&self, scope: &F::Key, sources: &[F::Source]) -> impl Future<Output = Result<F::Loaded, Fault>> + Send;
}

//! Checkpoints in a Postgres database, under leases.
//!
//! ```text
//! open ──► LeasedScope ──ScopeTable──► a producer's statements ──► Database (one connection) ──► targets ──► tls, dsn
//! ```
//!
//! Of a [`TextForm`](super::TextForm), tables and statements are here. Another producer's are its own: it implements [`ScopeTable`] for
//! [`Database`], with the statements of [`Leases`].

mod database;
mod dsn;
mod leases;
mod targets;
mod texts;
mod tls;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_postgres_rustls::MakeRustlsConnect;

pub use self::database::{Database, Hints};
pub use self::dsn::{DsnError, PostgresDsn};
pub use self::leases::{Leases, create_tables, read_if_there};
use self::targets::Targets;
use super::leased::{self, LeasedScope, Releases, ScopeTable, TableForm, Times, persist};
use super::owner::{this_process, unique};
use super::store::{CheckpointScope, CheckpointStore};
use super::{CheckpointError, CheckpointFault};
use crate::clock::Clock;

/// A form whose scopes are rows of Postgres.
pub trait PostgresForm: TableForm {
    /// What is to be done about errors that have to do with its tables.
    const HINTS: Hints;
}

/// Checkpoints in a Postgres database. Each scope that is held has a connection of its own.
pub struct PostgresCheckpoints<F, C> {
    targets: Targets,
    tls: MakeRustlsConnect,
    clock: C,
    times: Times,
    request_timeout: Duration,
    owner: String,
    releases: Releases,
    form: PhantomData<fn() -> F>,
}

impl<F: PostgresForm, C: Clock> PostgresCheckpoints<F, C> {
    /// Checkpoints in the database of `dsn`. Nothing is connected yet. `clock` times leases and retries, and is the one to ask a
    /// [`Lease`](super::Lease) by.
    ///
    /// TLS follows `sslmode` and `sslrootcert`: `prefer` (the default) and `require` encrypt, `verify-ca` and
    /// `require` with roots check the chain, `verify-full` the name too, by the machine's roots where no file is named.
    ///
    /// # Errors
    ///
    /// The roots that the DSN names can't be read.
    pub fn new(dsn: &PostgresDsn, clock: C) -> Result<Self, DsnError> {
        let (targets, tls) = (Targets::new(&dsn.config), tls::connector(&dsn.verify)?);
        let request_timeout = Duration::from_secs(5);
        let times = Times {
            lease: Duration::from_secs(15),
            open_limit: Duration::from_secs(10),
            save_limit: Duration::from_mins(1),
        };
        Ok(Self {
            targets,
            tls,
            clock,
            times,
            request_timeout,
            owner: this_process(),
            releases: Releases::new(),
            form: PhantomData,
        })
    }

    /// How long a hold lasts without a renewal; 15 s, renewed every third of it. After a crash another producer
    /// has to wait that long.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.times.lease = lease;
        self
    }

    /// How long opening, reading and resetting go on trying while the database is away; 10 s.
    #[must_use]
    pub fn open_limit(mut self, limit: Duration) -> Self {
        self.times.open_limit = limit;
        self
    }

    /// How long a save goes on trying while the database is away; 60 s.
    #[must_use]
    pub fn save_limit(mut self, limit: Duration) -> Self {
        self.times.save_limit = limit;
        self
    }

    /// How long one statement may take, and connecting before it: 5 s. The server gives statements up after it too. Of
    /// several hosts, and several addresses of a host, each gets its share for the whole way in, login included; where
    /// the DSN has a `connect_timeout`, that is each one's time.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// What other producers read about who holds a scope; host name and process id.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// A way to the same database, for what else is kept there.
    #[must_use]
    pub fn database(&self) -> Database<C> {
        Database::new(self.targets.clone(), self.tls.clone(), self.clock.clone(), self.request_timeout, F::HINTS)
    }

    async fn reset_all(&self, scope: &F::Key, sources: &[F::Source]) -> Result<(), CheckpointError>
    where
        Database<C>: ScopeTable<F>,
    {
        let database = self.database();
        let (claim, _) = leased::acquire(&database, scope, unique(&self.owner), &self.clock, self.times).await?;
        let deleted = persist(&self.clock, self.times.open_limit, || database.delete(&claim, sources)).await;
        let released = database.release(&claim).await;
        deleted.and(released).map_err(|fault| fault.error(CheckpointFault::NotSaved))
    }
}

impl<F, C: Clone> Clone for PostgresCheckpoints<F, C> {
    fn clone(&self) -> Self {
        Self {
            targets: self.targets.clone(),
            tls: self.tls.clone(),
            clock: self.clock.clone(),
            times: self.times,
            request_timeout: self.request_timeout,
            owner: self.owner.clone(),
            releases: self.releases.clone(),
            form: PhantomData,
        }
    }
}

impl<F, C> fmt::Debug for PostgresCheckpoints<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, request_timeout, owner, .. } = self;
        let mut out = f.debug_struct("PostgresCheckpoints");
        out.field("times", times).field("request_timeout", request_timeout).field("owner", owner);
        out.finish_non_exhaustive()
    }
}

impl<F: PostgresForm, C: Clock> CheckpointStore<F> for PostgresCheckpoints<F, C>
where
    Database<C>: ScopeTable<F>,
{
    fn open<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Box<dyn CheckpointScope<F>>, F::Error>> {
        async move {
            let (table, clock, releases) = (Arc::new(self.database()), self.clock.clone(), self.releases.clone());
            let opened: LeasedScope<F, _, _> =
                LeasedScope::open(table, scope, unique(&self.owner), clock, self.times, releases).await?;
            Ok(Box::new(opened) as Box<dyn CheckpointScope<F>>)
        }
        .boxed()
    }

    fn peek<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        async move { leased::load(&self.database(), scope, sources, &self.clock, self.times).await }.boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Option<F::Content>, F::Error>> {
        async move { leased::load_views(&self.database(), scope, &self.clock, self.times).await }.boxed()
    }

    fn reset<'a>(&'a self, scope: &'a F::Key, sources: &'a [F::Source]) -> BoxFuture<'a, Result<(), F::Error>> {
        async move { Ok(self.reset_all(scope, sources).await?) }.boxed()
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        self.releases.done().boxed()
    }
}

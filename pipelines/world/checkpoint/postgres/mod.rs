//! Cursors in Postgres, in the table of the legacy producer, under a lease of their own.
//!
//! ```text
//! open ──► LeasedScope ──ScopeTable──► sql (one statement a change) ──► Database (one connection) ──► targets ──► tls, dsn
//! ```
//!
//! That a position never moves back rests on three things, since the database doesn't know the order of files. Each
//! owner of a scope has an epoch, and a save by a claim that is not the row's is nothing. Within an epoch saves
//! are numbered, and a late one is nothing. Within a file a lower row is refused.

#[path = "../../../../src/checkpoint/postgres/database.rs"]
mod database;
#[path = "../../../../src/checkpoint/postgres/dsn.rs"]
mod dsn;
#[path = "../../../../src/checkpoint/leased/retry.rs"]
mod retry;
#[path = "../../../../src/checkpoint/leased/scope.rs"]
mod scope;
mod shards;
mod sql;
#[path = "../../../../src/checkpoint/leased/table.rs"]
mod table;
#[path = "../../../../src/checkpoint/postgres/targets.rs"]
mod targets;
#[path = "../../../../src/checkpoint/postgres/tls.rs"]
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_postgres_rustls::MakeRustlsConnect;
use wsp::clock::Clock;

use self::database::Database;
pub use self::dsn::PostgresDsn;
pub use self::retry::Fault;
pub use self::scope::{LeasedScope, Releases, Times};
pub use self::shards::PostgresShards;
pub use self::table::{Acquired, Answer, Claim, Holder, Loaded, Saving, ScopeTable};
use self::targets::Targets;
use super::{CheckpointScope, CheckpointStore, Kept, Views, owner};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// Checkpoints in a Postgres database. Each scope that is held has a connection of its own.
#[derive(Clone)]
pub struct PostgresCheckpoints<C> {
    targets: Targets,
    tls: MakeRustlsConnect,
    clock: C,
    times: Times,
    request_timeout: Duration,
    owner: String,
    releases: Releases,
}

impl<C: Clock> PostgresCheckpoints<C> {
    /// Checkpoints in the database of `dsn`. Nothing is connected yet. `clock` times leases and retries, and is the one to ask a [`Lease`](super::Lease) by.
    ///
    /// TLS follows `sslmode` and `sslrootcert`: `prefer` (the default) and `require` encrypt, `verify-ca` and
    /// `require` with roots check the chain, `verify-full` the name too, by the machine's roots where no file is named.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_DSN_INVALID` where the roots that the DSN names can't be read.
    pub fn new(dsn: &PostgresDsn, clock: C) -> Result<Self, Refusal> {
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
            owner: owner::this_process(),
            releases: Releases::new(),
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

    /// How far the shards of a control stream are settled, in the same database.
    #[must_use]
    pub fn shards(&self, scope: Hex64) -> PostgresShards<C> {
        PostgresShards::new(self.database(), scope)
    }

    fn database(&self) -> Database<C> {
        Database::new(self.targets.clone(), self.tls.clone(), self.clock.clone(), self.request_timeout)
    }

    async fn reset_all(&self, scope: &Hex64, outputs: &[OutputId]) -> Result<(), Refusal> {
        let database = self.database();
        let (claim, _) = scope::acquire(&database, scope, owner::unique(&self.owner), &self.clock, self.times).await?;
        let deleted = retry::persist(&self.clock, self.times.open_limit, || database.delete(&claim, outputs)).await;
        let released = database.release(&claim).await;
        deleted.and(released).map_err(|fault| fault.refusal(Reason::CheckpointSaveFailed))
    }
}

impl<C> fmt::Debug for PostgresCheckpoints<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, request_timeout, owner, .. } = self;
        let mut out = f.debug_struct("PostgresCheckpoints");
        out.field("times", times).field("request_timeout", request_timeout).field("owner", owner);
        out.finish_non_exhaustive()
    }
}

impl<C: Clock> CheckpointStore for PostgresCheckpoints<C> {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>> {
        async move {
            let (table, clock, releases) = (Arc::new(self.database()), self.clock.clone(), self.releases.clone());
            let opened =
                LeasedScope::open(table, scope, owner::unique(&self.owner), clock, self.times, releases).await?;
            Ok(Box::new(opened) as Box<dyn CheckpointScope>)
        }
        .boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move { scope::load(&self.database(), scope, outputs, &self.clock, self.times).await }.boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Option<Views>, Refusal>> {
        async move { scope::load_views(&self.database(), scope, &self.clock, self.times).await }.boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        self.reset_all(scope, outputs).boxed()
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        self.releases.done().boxed()
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;

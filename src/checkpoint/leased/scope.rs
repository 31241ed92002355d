//! A scope held by a lease: renewed in the background, checked by every save.
//!
//! ```text
//! open ─► acquire ─► epoch ─┬─► renewing task ─every third of the lease─► renew ──┐
//!                           └─► save ─► (claim, seq, what to keep) ─► one statement ┴─► Keeper ─► Lease
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::retry::{Fault, delay, persist};
use super::table::{Acquired, Answer, Claim, Holder, Saving, ScopeTable, TableForm};
use crate::checkpoint::{CheckpointError, CheckpointFault, CheckpointScope, Keeper, Lease, LeaseState};
use crate::clock::Clock;
use crate::time::Micros;

/// The times that a scope goes by.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a hold lasts without a renewal.
    pub lease: Duration,
    /// How long open, load, peek and reset go on trying.
    pub open_limit: Duration,
    /// How long a save goes on trying.
    pub save_limit: Duration,
}

impl Times {
    /// Two renewals may fail before the lease has run out.
    fn renew_every(&self) -> Duration {
        self.lease / 3
    }
}

/// Counts the scopes that are being let go of.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    pending: Arc<watch::Sender<usize>>,
}

impl Releases {
    /// None pending.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves when none is pending.
    pub async fn done(&self) {
        // The sender is alive, so waiting can't fail.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    fn begin(&self) -> Releasing {
        self.pending.send_modify(|pending| *pending += 1);
        Releasing { releases: self.clone() }
    }
}

/// One scope that is being let go of, until it is dropped.
struct Releasing {
    releases: Releases,
}

impl Drop for Releasing {
    fn drop(&mut self) {
        self.releases.pending.send_modify(|pending| *pending -= 1);
    }
}

/// A scope of ours. Dropped, it is let go of in the background; a process that dies leaves that to its lease.
pub struct LeasedScope<F: TableForm, T, C> {
    table: Arc<T>,
    claim: Claim<F::Key>,
    clock: C,
    times: Times,
    keeper: Keeper<F::Error>,
    known: F::Known,
    seq: i64,
    releases: Releases,
    let_go: Option<oneshot::Sender<Releasing>>,
}

impl<F: TableForm, T, C> fmt::Debug for LeasedScope<F, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedScope").field("claim", &self.claim).field("times", &self.times).finish_non_exhaustive()
    }
}

impl<F: TableForm, T: ScopeTable<F>, C: Clock> LeasedScope<F, T, C> {
    /// Takes the scope and keeps it. `owner` has to be one that nobody used before.
    ///
    /// # Errors
    ///
    /// Busy; unavailable where the table can't be reached; not saved where it can't be used.
    pub async fn open(
        table: Arc<T>,
        scope: &F::Key,
        owner: String,
        clock: C,
        times: Times,
        releases: Releases,
    ) -> Result<Self, F::Error> {
        let (claim, until) = acquire(&*table, scope, owner, &clock, times).await?;
        let keeper = Keeper::new(until);
        let (let_go, closing) = oneshot::channel();
        tokio::spawn(keep::<F, T, C>(table.clone(), claim.clone(), clock.clone(), times, keeper.clone(), closing));
        let known = F::Known::default();
        Ok(Self { table, claim, clock, times, keeper, known, seq: 0, releases, let_go: Some(let_go) })
    }

    async fn save_all(&mut self, kept: &F::Kept) -> Result<(), F::Error> {
        let (row, known) = F::row(&self.claim.scope, kept, &self.known);
        let (table, claim, clock, lease) = (&*self.table, &self.claim, &self.clock, self.times.lease);
        if let LeaseState::Lost(error) = self.keeper.lease().state(clock.now()) {
            return Err(error);
        }
        self.seq += 1;
        let (seq, mut asked) = (self.seq, clock.now());
        let saving = persist(clock, self.times.save_limit, || {
            asked = clock.now();
            table.save(claim, Saving { seq, row: &row }, lease)
        });
        let answer = tokio::select! {
            biased;
            answer = saving => answer,
            error = self.keeper.lease().lost() => return Err(error),
        };
        // Whatever the fault, the outage has been waited out for as long as it may last.
        let answer = answer.map_err(|fault| CheckpointError::new(CheckpointFault::NotSaved, fault.to_string()));
        self.done(answer?, asked)?;
        self.known = known;
        Ok(())
    }

    async fn put_views(&mut self, views: &F::Content) -> Result<(), F::Error> {
        let (table, claim, clock, lease) = (&*self.table, &self.claim, &self.clock, self.times.lease);
        let text = F::write_content(&claim.scope, views);
        let mut asked = clock.now();
        let keeping = persist(clock, self.times.open_limit, || {
            asked = clock.now();
            table.keep_views(claim, &text, lease)
        });
        let answer = keeping.await.map_err(|fault| fault.error(CheckpointFault::NotSaved));
        self.done(answer?, asked)
    }

    /// Takes in what a statement came to that was `asked` then.
    fn done(&self, answer: Answer, asked: Duration) -> Result<(), F::Error> {
        match answer {
            Answer::Done => {
                self.keeper.renewed(asked + self.times.lease);
                Ok(())
            }
            Answer::Lost(holder) => {
                let error = F::Error::from(lost(&self.claim, holder));
                self.keeper.lose(error.clone());
                Err(error)
            }
            Answer::Back(source) => {
                let detail = "the new position is before the saved one";
                Err(CheckpointError::new(CheckpointFault::NotSaved, detail).field(source).into())
            }
        }
    }
}

impl<F: TableForm, T: ScopeTable<F>, C: Clock> CheckpointScope<F> for LeasedScope<F, T, C> {
    fn load<'a>(&'a mut self, sources: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        async move {
            let kept = load(&*self.table, &self.claim.scope, sources, &self.clock, self.times).await?;
            F::note(&mut self.known, &kept);
            Ok(kept)
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<F::Content>, F::Error>> {
        load_views(&*self.table, &self.claim.scope, &self.clock, self.times).boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a F::Content) -> BoxFuture<'a, Result<(), F::Error>> {
        self.put_views(views).boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a F::Kept) -> BoxFuture<'a, Result<(), F::Error>> {
        self.save_all(kept).boxed()
    }

    fn saved_before(&mut self) -> BoxFuture<'_, Result<Option<Micros>, F::Error>> {
        async move {
            // Saves of this hold would count too.
            if self.seq > 0 {
                return Ok(None);
            }
            let (table, scope, clock) = (&*self.table, &self.claim.scope, &self.clock);
            let asked = persist(clock, self.times.open_limit, || table.saved_at(scope)).await;
            Ok(asked.map_err(|fault| fault.error(CheckpointFault::Unreadable))?)
        }
        .boxed()
    }

    fn lease(&self) -> Lease<F::Error> {
        self.keeper.lease().of_epoch(self.claim.epoch.unsigned_abs())
    }
}

impl<F: TableForm, T, C> Drop for LeasedScope<F, T, C> {
    fn drop(&mut self) {
        if let Some(let_go) = self.let_go.take() {
            // Where the renewing task is gone with its runtime, so is the chance to say goodbye: the lease runs out.
            let _ = let_go.send(self.releases.begin());
        }
    }
}

/// Takes the scope; says until when it is held, by `clock`.
///
/// # Errors
///
/// As [`LeasedScope::open`].
pub async fn acquire<F: TableForm, T: ScopeTable<F>, C: Clock>(
    table: &T,
    scope: &F::Key,
    owner: String,
    clock: &C,
    times: Times,
) -> Result<(Claim<F::Key>, Duration), CheckpointError> {
    let mut asked = clock.now();
    let acquired = persist(clock, times.open_limit, || {
        asked = clock.now();
        table.acquire(scope, &owner, times.lease)
    });
    match acquired.await {
        Ok(Acquired::Epoch(epoch)) => Ok((Claim { scope: scope.clone(), owner, epoch }, asked + times.lease)),
        Ok(Acquired::Busy(holder)) => {
            Err(CheckpointError::new(CheckpointFault::Busy, format!("scope {scope} is held by {holder}")))
        }
        Err(fault) => Err(fault.error(CheckpointFault::NotSaved)),
    }
}

/// Reads what is kept of `sources`.
///
/// # Errors
///
/// Unreadable; unavailable where the table can't be reached; foreign where it is another scope's.
pub async fn load<F: TableForm, T: ScopeTable<F>, C: Clock>(
    table: &T,
    scope: &F::Key,
    sources: &[F::Source],
    clock: &C,
    times: Times,
) -> Result<F::Kept, F::Error> {
    let loaded = persist(clock, times.open_limit, || table.load(scope, sources)).await;
    F::kept(scope, loaded.map_err(|fault| fault.error(CheckpointFault::Unreadable))?)
}

/// Reads which content the positions of a scope count in.
///
/// # Errors
///
/// As [`load`].
pub async fn load_views<F: TableForm, T: ScopeTable<F>, C: Clock>(
    table: &T,
    scope: &F::Key,
    clock: &C,
    times: Times,
) -> Result<Option<F::Content>, F::Error> {
    let loaded = persist(clock, times.open_limit, || table.load_views(scope)).await;
    let text = loaded.map_err(|fault| fault.error(CheckpointFault::Unreadable))?;
    text.map(|text| F::read_content(scope, &text)).transpose()
}

/// Renews until told to let go, then lets go.
async fn keep<F: TableForm, T: ScopeTable<F>, C: Clock>(
    table: Arc<T>,
    claim: Claim<F::Key>,
    clock: C,
    times: Times,
    keeper: Keeper<F::Error>,
    mut closing: oneshot::Receiver<Releasing>,
) {
    let releasing = tokio::select! {
        biased;
        releasing = &mut closing => releasing,
        () = renew(&*table, &claim, &clock, times, &keeper) => closing.await,
    };
    let Ok(releasing) = releasing else { return };
    if !matches!(keeper.lease().state(clock.now()), LeaseState::Lost(_))
        && let Err(error) = table.release(&claim).await
    {
        tracing::warn!(%error, scope = %claim.scope, "the scope could not be set free; it is when its lease runs out");
    }
    drop(releasing);
}

/// Renews until the scope is lost.
async fn renew<F: TableForm, T: ScopeTable<F>, C: Clock>(
    table: &T,
    claim: &Claim<F::Key>,
    clock: &C,
    times: Times,
    keeper: &Keeper<F::Error>,
) {
    let (mut failures, mut next) = (0, clock.now() + times.renew_every());
    loop {
        clock.sleep_until(next).await;
        let asked = clock.now();
        match table.renew(claim, times.lease).await {
            Ok(Answer::Lost(holder)) => return keeper.lose(lost(claim, holder).into()),
            Ok(_) => {
                keeper.renewed(asked + times.lease);
                (failures, next) = (0, asked + times.renew_every());
            }
            // Whatever the fault: nobody but the database itself can say that the scope is another's.
            Err(Fault::Away(error) | Fault::Refused(error)) => {
                failures += 1;
                next = clock.now() + delay(failures);
                tracing::warn!(failures, %error, scope = %claim.scope, "the checkpoint lease was not renewed");
            }
        }
    }
}

fn lost<K: fmt::Display>(claim: &Claim<K>, holder: Option<Holder>) -> CheckpointError {
    let Claim { scope, epoch, .. } = claim;
    let detail = match holder {
        Some(holder) => format!("scope {scope} was ours under epoch {epoch} and is now held by {holder}"),
        None => format!("scope {scope} was ours under epoch {epoch}, and its row was dropped"),
    };
    CheckpointError::new(CheckpointFault::Lost, detail)
}

//! A scope held by a lease: renewed in the background, checked by every save.
//!
//! ```text
//! open ─► acquire ─► epoch ─┬─► renewing task ─every third of the lease─► renew ──┐
//!                           └─► save ─► (claim, seq, what to keep) ─► one statement ┴─► Keeper ─► Lease
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use wsp::clock::Clock;

use super::retry::{Fault, delay, persist};
use super::table::{Acquired, Answer, Claim, Holder, Loaded, Saving, ScopeTable};
use crate::checkpoint::beyond::Unfit;
use crate::checkpoint::lease::Keeper;
use crate::checkpoint::{Beyond, CheckpointScope, Cursor, Kept, Lease, LeaseState, Views};
use crate::model::{Hex64, OutputId, Reason, Refusal};

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
pub struct LeasedScope<T, C> {
    table: Arc<T>,
    claim: Claim,
    clock: C,
    times: Times,
    keeper: Keeper,
    /// The scope's cursors as far as they are known: a save replaces what is beside all of them.
    cursors: BTreeMap<OutputId, Cursor>,
    seq: i64,
    releases: Releases,
    let_go: Option<oneshot::Sender<Releasing>>,
}

impl<T: ScopeTable, C: Clock> LeasedScope<T, C> {
    /// Takes the scope and keeps it. `owner` has to be one that nobody used before.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SCOPE_BUSY`; `CHECKPOINT_UNAVAILABLE` where the table can't be reached; `CHECKPOINT_SAVE_FAILED` where
    /// it can't be used.
    pub async fn open(
        table: Arc<T>,
        scope: &Hex64,
        owner: String,
        clock: C,
        times: Times,
        releases: Releases,
    ) -> Result<Self, Refusal> {
        let (claim, until) = acquire(&*table, scope, owner, &clock, times).await?;
        let keeper = Keeper::new(until);
        let (let_go, closing) = oneshot::channel();
        tokio::spawn(keep(table.clone(), claim.clone(), clock.clone(), times, keeper.clone(), closing));
        let cursors = BTreeMap::new();
        Ok(Self { table, claim, clock, times, keeper, cursors, seq: 0, releases, let_go: Some(let_go) })
    }

    async fn save_all(&mut self, kept: &Kept) -> Result<(), Refusal> {
        let latest: BTreeMap<_, _> = kept.cursors.iter().map(|cursor| (&cursor.output_id, cursor)).collect();
        let cursors: Vec<Cursor> = latest.into_values().cloned().collect();
        let mut known = self.cursors.clone();
        known.extend(cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
        let (table, claim, clock, lease) = (&*self.table, &self.claim, &self.clock, self.times.lease);
        if let LeaseState::Lost(refusal) = self.keeper.lease().state(clock.now()) {
            return Err(refusal);
        }
        let beside = Beyond::write(&claim.scope, &kept.beyond, known.values());
        self.seq += 1;
        let (seq, mut asked) = (self.seq, clock.now());
        let saving = persist(clock, self.times.save_limit, || {
            asked = clock.now();
            table.save(claim, Saving { seq, cursors: &cursors, beside: &beside }, lease)
        });
        let answer = tokio::select! {
            biased;
            answer = saving => answer,
            refusal = self.keeper.lease().lost() => return Err(refusal),
        };
        // Whatever the fault, the outage has been waited out for as long as it may last.
        let answer = answer.map_err(|fault| Refusal::new(Reason::CheckpointSaveFailed, fault.to_string()));
        self.done(answer?, asked)?;
        self.cursors = known;
        Ok(())
    }

    async fn put_views(&mut self, views: &Views) -> Result<(), Refusal> {
        let (table, claim, clock, lease) = (&*self.table, &self.claim, &self.clock, self.times.lease);
        let text = views.write(&claim.scope);
        let mut asked = clock.now();
        let keeping = persist(clock, self.times.open_limit, || {
            asked = clock.now();
            table.keep_views(claim, &text, lease)
        });
        let answer = keeping.await.map_err(|fault| fault.refusal(Reason::CheckpointSaveFailed));
        self.done(answer?, asked)
    }

    /// Takes in what a statement came to that was `asked` then.
    fn done(&self, answer: Answer, asked: Duration) -> Result<(), Refusal> {
        match answer {
            Answer::Done => {
                self.keeper.renewed(asked + self.times.lease);
                Ok(())
            }
            Answer::Lost(holder) => {
                let refusal = lost(&self.claim, holder);
                self.keeper.lose(refusal.clone());
                Err(refusal)
            }
            Answer::Back(output) => {
                let detail = "the new position is before the saved one";
                Err(Refusal::new(Reason::CheckpointSaveFailed, detail).field(output))
            }
        }
    }
}

impl<T: ScopeTable, C: Clock> CheckpointScope for LeasedScope<T, C> {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        async move {
            let kept = load(&*self.table, &self.claim.scope, outputs, &self.clock, self.times).await?;
            self.cursors.extend(kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
            Ok(kept)
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        load_views(&*self.table, &self.claim.scope, &self.clock, self.times).boxed()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.put_views(views).boxed()
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        self.save_all(kept).boxed()
    }

    fn lease(&self) -> Lease {
        self.keeper.lease().of_epoch(self.claim.epoch.unsigned_abs())
    }
}

impl<T, C> Drop for LeasedScope<T, C> {
    fn drop(&mut self) {
        if let Some(let_go) = self.let_go.take() {
            // Where the renewing task is gone with its runtime, so is the chance to say goodbye: the lease runs out.
            let _ = let_go.send(self.releases.begin());
        }
    }
}

/// Takes the scope; says until when it is held, by `clock`.
pub(super) async fn acquire<T: ScopeTable, C: Clock>(
    table: &T,
    scope: &Hex64,
    owner: String,
    clock: &C,
    times: Times,
) -> Result<(Claim, Duration), Refusal> {
    let mut asked = clock.now();
    let acquired = persist(clock, times.open_limit, || {
        asked = clock.now();
        table.acquire(scope, &owner, times.lease)
    });
    match acquired.await {
        Ok(Acquired::Epoch(epoch)) => Ok((Claim { scope: scope.clone(), owner, epoch }, asked + times.lease)),
        Ok(Acquired::Busy(holder)) => {
            Err(Refusal::new(Reason::CheckpointScopeBusy, format!("scope {scope} is held by {holder}")))
        }
        Err(fault) => Err(fault.refusal(Reason::CheckpointSaveFailed)),
    }
}

/// Reads what is kept: cursors of `outputs`, in that order, and what is beside them.
pub(super) async fn load<T: ScopeTable, C: Clock>(
    table: &T,
    scope: &Hex64,
    outputs: &[OutputId],
    clock: &C,
    times: Times,
) -> Result<Kept, Refusal> {
    let loaded = persist(clock, times.open_limit, || table.load(scope, outputs)).await;
    let Loaded { cursors, beside } = loaded.map_err(|fault| fault.refusal(Reason::CheckpointUnreadable))?;
    let Some(text) = beside else { return Ok(Kept::at(cursors)) };
    let without = "without the scope's row the run goes on, and sends what it lists again";
    let beside = Beyond::read(scope, text.as_bytes());
    Ok(beside.map_err(|unfit| unfit_row("wsp_checkpoint_answered", without, scope, unfit))?.kept(cursors))
}

/// Reads which views the cursors of a scope count in.
pub(super) async fn load_views<T: ScopeTable, C: Clock>(
    table: &T,
    scope: &Hex64,
    clock: &C,
    times: Times,
) -> Result<Option<Views>, Refusal> {
    let loaded = persist(clock, times.open_limit, || table.load_views(scope)).await;
    let loaded = loaded.map_err(|fault| fault.refusal(Reason::CheckpointUnreadable))?;
    let without = "it says which views the cursors count in. Without the scope's row the run goes on, and only the \
                   cursors' own rows are compared with the view";
    let read = |text: String| {
        let views = Views::read(scope, text.as_bytes());
        views.map_err(|unfit| unfit_row("wsp_checkpoint_views", without, scope, unfit))
    };
    loaded.map(read).transpose()
}

/// The refusal of a row whose text is not what we write.
fn unfit_row(table: &str, without: &str, scope: &Hex64, unfit: Unfit) -> Refusal {
    match unfit {
        Unfit::Damaged(detail) => {
            Refusal::new(Reason::CheckpointUnreadable, format!("{table}, scope {scope}: {detail}; {without}"))
        }
        Unfit::Foreign(other) => {
            let detail = format!("{table}: the row of {scope} holds what is {other}'s");
            Refusal::new(Reason::CheckpointForeign, detail).field("scope_key")
        }
    }
}

/// Renews until told to let go, then lets go.
async fn keep<T: ScopeTable, C: Clock>(
    table: Arc<T>,
    claim: Claim,
    clock: C,
    times: Times,
    keeper: Keeper,
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
async fn renew<T: ScopeTable, C: Clock>(table: &T, claim: &Claim, clock: &C, times: Times, keeper: &Keeper) {
    let (mut failures, mut next) = (0, clock.now() + times.renew_every());
    loop {
        clock.sleep_until(next).await;
        let asked = clock.now();
        match table.renew(claim, times.lease).await {
            Ok(Answer::Lost(holder)) => return keeper.lose(lost(claim, holder)),
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

fn lost(claim: &Claim, holder: Option<Holder>) -> Refusal {
    let Claim { scope, epoch, .. } = claim;
    let detail = match holder {
        Some(holder) => format!("scope {scope} was ours under epoch {epoch} and is now held by {holder}"),
        None => format!("scope {scope} was ours under epoch {epoch}, and its row was dropped"),
    };
    Refusal::new(Reason::CheckpointLeaseLost, detail)
}

#[cfg(test)]
#[path = "../../../pipelines/world/checkpoint/postgres/scope_tests.rs"]
mod tests;

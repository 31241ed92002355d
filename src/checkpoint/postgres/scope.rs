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

use super::retry::{Fault, delay, persist};
use super::table::{Acquired, Answer, Claim, Holder, Loaded, Saving, ScopeTable};
use crate::checkpoint::beyond::Unfit;
use crate::checkpoint::lease::Keeper;
use crate::checkpoint::{Beyond, CheckpointScope, Cursor, Kept, Lease, LeaseState};
use crate::clock::Clock;
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
    seq: i64,
    releases: Releases,
    let_go: Option<oneshot::Sender<Releasing>>,
}

impl<T: ScopeTable, C: Clock> LeasedScope<T, C> {
    /// Takes the scope and keeps it. `owner` has to be one that nobody used before.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SCOPE_BUSY`; `CHECKPOINT_SAVE_FAILED` where the table can't be reached.
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
        Ok(Self { table, claim, clock, times, keeper, seq: 0, releases, let_go: Some(let_go) })
    }

    async fn save_all(&mut self, kept: &Kept) -> Result<(), Refusal> {
        let latest: BTreeMap<_, _> = kept.cursors.iter().map(|cursor| (&cursor.output_id, cursor)).collect();
        let cursors: Vec<Cursor> = latest.into_values().cloned().collect();
        let (table, claim, clock, lease) = (&*self.table, &self.claim, &self.clock, self.times.lease);
        if let LeaseState::Lost(refusal) = self.keeper.lease().state(clock.now()) {
            return Err(refusal);
        }
        let beyond = Beyond::write(&claim.scope, &kept.beyond);
        self.seq += 1;
        let (seq, mut asked) = (self.seq, clock.now());
        let saving = persist(clock, self.times.save_limit, || {
            asked = clock.now();
            table.save(claim, Saving { seq, cursors: &cursors, beyond: &beyond }, lease)
        });
        let answer = tokio::select! {
            biased;
            answer = saving => answer,
            refusal = self.keeper.lease().lost() => return Err(refusal),
        };
        match answer {
            Ok(Answer::Done) => {
                self.keeper.renewed(asked + lease);
                Ok(())
            }
            Ok(Answer::Lost(holder)) => {
                let refusal = lost(claim, holder);
                self.keeper.lose(refusal.clone());
                Err(refusal)
            }
            Ok(Answer::Back(output)) => {
                let detail = "the new position is before the saved one";
                Err(Refusal::new(Reason::CheckpointSaveFailed, detail).field(output))
            }
            Err(fault) => Err(Refusal::new(Reason::CheckpointSaveFailed, fault.to_string())),
        }
    }
}

impl<T: ScopeTable, C: Clock> CheckpointScope for LeasedScope<T, C> {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        load(&*self.table, &self.claim.scope, outputs, &self.clock, self.times).boxed()
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
        Err(fault) => Err(Refusal::new(Reason::CheckpointSaveFailed, fault.to_string())),
    }
}

/// Reads what is kept: cursors of `outputs`, in that order, and what is beyond.
pub(super) async fn load<T: ScopeTable, C: Clock>(
    table: &T,
    scope: &Hex64,
    outputs: &[OutputId],
    clock: &C,
    times: Times,
) -> Result<Kept, Refusal> {
    let unreadable = |detail: String| Refusal::new(Reason::CheckpointUnreadable, detail);
    let loaded = persist(clock, times.open_limit, || table.load(scope, outputs)).await;
    let Loaded { cursors, beyond } = loaded.map_err(|fault| unreadable(fault.to_string()))?;
    let beyond = beyond.map_or(Ok(Vec::new()), |text| Beyond::read(scope, text.as_bytes()));
    let beyond = beyond.map_err(|unfit| match unfit {
        Unfit::Damaged(detail) => unreadable(format!(
            "wsp_checkpoint_answered: {detail}; without the scope's row the run goes on, and sends what it lists again"
        )),
        Unfit::Foreign(other) => {
            let detail = format!("wsp_checkpoint_answered: the row of {scope} holds what is {other}'s");
            Refusal::new(Reason::CheckpointForeign, detail).field("scope_key")
        }
    })?;
    Ok(Kept { cursors, beyond })
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
#[path = "scope_tests.rs"]
mod tests;

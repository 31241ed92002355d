//! One connection: it sends one item after the other, whichever may go first.
//!
//! ```text
//! Dispatch ──next──► permit ──► attempt ──► Judge ─┬─ decided, rejected ──► settle, Done ──► push
//!     ▲                                            └─ retry ──► hold ──┐
//!     └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Items of one line (order key; in strict order all of them) never overtake each other: an item that waits for
//! another attempt keeps its line, and those behind it wait in [`Dispatch`]. Its connection goes on with other lines.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::UnboundedSender;

use super::admission::{Admission, Way};
use super::backoff::RetryPolicy;
use super::dispatch::{Dispatch, Rules};
use super::gate::{Attempt, Takes};
use super::item::{Item, id_text};
use super::judge::{Cause, Decided, Delivery, Judge, Stray, Verdict};
use super::lines::Numbered;
use super::options::DeliveryMode;
use super::regulator::{Failure, Permit};
use super::retry_log::RetryLog;
use super::stats::PushStats;
use crate::byte_budget::ByteBudget;
use crate::clock::Clock;
use crate::stop::Stop;

/// What a connection reports of an item.
pub(super) struct Done<D, E> {
    pub(super) seq: u64,
    pub(super) outcome: Result<D, E>,
}

/// What all connections of a stage share.
pub(super) struct Shared<T, J, C> {
    pub(super) judge: J,
    pub(super) clock: C,
    pub(super) retry: RetryPolicy,
    /// No attempt of an item starts later than this after its first one.
    pub(super) event_deadline: Option<Duration>,
    pub(super) mode: DeliveryMode,
    pub(super) stop_on_quarantine: bool,
    pub(super) admission: Admission,
    pub(super) stats: PushStats,
    pub(super) dispatch: Dispatch<Parcel<T>>,
    /// What bodies in memory are counted against.
    pub(super) bodies: ByteBudget,
    /// The run's wish to stop.
    pub(super) stop: Stop,
    /// The stage's own: some item failed, or nobody wants more.
    pub(super) halt: Stop,
    pub(super) retry_log: RetryLog,
}

impl<T: Item, J, C> Shared<T, J, C> {
    fn halted(&self) -> bool {
        self.halt.requested() || self.stop.requested()
    }

    /// Takes in the stream's next item.
    pub(super) fn hand(&self, seq: u64, item: T) {
        let line = match self.mode {
            DeliveryMode::Strict => Some(0),
            DeliveryMode::Keyed(_) => Some(item.line()),
            DeliveryMode::Free(_) => None,
        };
        self.stats.handed();
        self.dispatch.add(Numbered { seq, line, item: Parcel::new(item) }, |parcel| parcel.detach(&self.bodies));
    }

    /// Wakes connections for what comes with time, until nothing is sent any more.
    pub(super) async fn keep(self: Arc<Self>)
    where
        C: Clock,
    {
        let halted = async {
            tokio::select! {
                () = self.halt.wait() => {}
                () = self.stop.wait() => {}
            }
        };
        self.dispatch.keep(&self.clock, halted).await;
    }
}

impl<T: Item, J: Send + Sync, C: Clock> Rules for Shared<T, J, C> {
    fn halted(&self) -> bool {
        self.halted()
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn pay_retry(&self, now: Duration) -> Result<(), Duration> {
        self.admission.pay(now, self.stats.firsts()).inspect_err(|_| self.stats.retry_delayed())
    }
}

/// An item with what became of its attempts so far.
pub(super) struct Parcel<T> {
    item: T,
    attempts: u32,
    /// The gate may have taken the item by some attempt although it brought no answer.
    ambiguous: bool,
    /// When its first attempt began.
    started: Duration,
    /// From then to the gate's decision.
    took: Duration,
    /// Its body has memory of its own.
    detached: bool,
}

impl<T: Item> Parcel<T> {
    fn new(item: T) -> Self {
        Self { item, attempts: 0, ambiguous: false, started: Duration::ZERO, took: Duration::ZERO, detached: false }
    }

    /// Gives it a body of its own: the one it came with shares its memory with hundreds of other items, all of which
    /// would stay as long as this one waits.
    fn detach(&mut self, budget: &ByteBudget) {
        if !self.detached {
            self.item.set_body(budget.hold(self.item.body().to_vec()));
            self.detached = true;
        }
    }
}

/// What an attempt led to.
enum Outcome<D, E> {
    Over(Result<D, E>),
    /// Another attempt at this time.
    Again(Duration),
}

pub(super) struct Connection<T, G, J: Judge<T>, C> {
    number: usize,
    gate: G,
    done: UnboundedSender<Done<J::Delivered, J::Error>>,
    shared: Arc<Shared<T, J, C>>,
}

impl<T: Item, G: Takes<T>, J: Judge<T>, C: Clock> Connection<T, G, J, C> {
    pub(super) fn new(
        number: usize,
        gate: G,
        done: UnboundedSender<Done<J::Delivered, J::Error>>,
        shared: Arc<Shared<T, J, C>>,
    ) -> Self {
        Self { number, gate, done, shared }
    }

    /// Delivers items until there will be no more, one fails, or sending has to stop. Items that wait then are
    /// dropped unsent.
    pub(super) async fn run(mut self) {
        while let Some(mut next) = self.next().await {
            let outcome = match self.permit(&next.item).await {
                Ok(Some(permit)) => self.attempt(&mut next.item, permit).await,
                Ok(None) => return,
                Err(refusal) => Outcome::Over(Err(refusal)),
            };
            match outcome {
                Outcome::Again(due) => {
                    self.shared.judge.again(&mut next.item.item);
                    let detach = |parcel: &mut Parcel<T>| parcel.detach(&self.shared.bodies);
                    self.shared.dispatch.hold(self.number, next, due, detach);
                }
                Outcome::Over(outcome) => {
                    let failed = outcome.is_err();
                    if failed {
                        // Before the report: the other connections shall not wait for the stage to be looked at.
                        self.shared.halt.request();
                    }
                    let held_up = self.shared.dispatch.settle(self.number, next.line);
                    if let (Some(alone), false) = (held_up, failed) {
                        let Parcel { item, took, .. } = &next.item;
                        self.shared.stats.held_up(item.line(), item.source(), *took, alone);
                    }
                    if self.done.send(Done { seq: next.seq, outcome }).is_err() || failed {
                        return;
                    }
                }
            }
        }
    }

    /// The next item. Until there is one, the connection rests.
    async fn next(&mut self) -> Option<Numbered<Parcel<T>>> {
        let mut next = pin!(self.shared.dispatch.next(self.number, &*self.shared));
        let mut rest = pin!(self.gate.rest().fuse());
        poll_fn(|cx| {
            let next = next.as_mut().poll(cx);
            if next.is_pending() {
                let _ = rest.as_mut().poll(cx);
            }
            next
        })
        .await
    }

    /// The right to make an attempt. `None` if sending has to stop.
    async fn permit(&mut self, parcel: &Parcel<T>) -> Result<Option<Permit>, J::Error> {
        let shared = &self.shared;
        if let Some(permit) = shared.admission.calm() {
            return Ok(Some(permit));
        }
        while !shared.halted() {
            match shared.admission.enter(shared.clock.now()) {
                Way::Open(permit) => return Ok(Some(permit)),
                Way::Ask => {
                    let answer = tokio::select! {
                        biased;
                        () = shared.halt.wait() => return Ok(None),
                        () = shared.stop.wait() => return Ok(None),
                        answer = self.gate.ask() => answer,
                    };
                    shared.admission.asked(shared.clock.now(), answer);
                }
                Way::Wait(mut turn, until) => {
                    let permit = tokio::select! {
                        biased;
                        () = shared.halt.wait() => return Ok(None),
                        () = shared.stop.wait() => return Ok(None),
                        permit = turn.come() => permit,
                        () = shared.clock.sleep_until(until.unwrap_or_default()), if until.is_some() => turn.leave(),
                    };
                    if permit.is_some() {
                        return Ok(permit);
                    }
                }
                Way::GivenUp(since, why) => {
                    let seconds = shared.clock.now().saturating_sub(since).as_secs();
                    let detail = format!("nothing was taken for {seconds} s; last: {why}");
                    return Err(shared.judge.failed(&parcel.item, Cause::Unavailable, &detail));
                }
            }
        }
        Ok(None)
    }

    async fn attempt(&mut self, parcel: &mut Parcel<T>, permit: Permit) -> Outcome<J::Delivered, J::Error> {
        let shared = &self.shared;
        let started = shared.clock.now();
        if parcel.attempts == 0 {
            parcel.started = started;
        }
        parcel.attempts += 1;
        shared.stats.started();
        let mut attempt = self.gate.push(&parcel.item).await;
        let verdict = shared.judge.judge(&parcel.item, &attempt).unwrap_or_else(|Stray(why)| {
            let status = if let Attempt::Answered(answer) = &attempt { Some(answer.status()) } else { None };
            tracing::warn!(event_id = %id_text(parcel.item.id()), status, "{why}; the connection is closed");
            self.gate.close();
            attempt = Attempt::ConnectionLost(why.to_owned());
            Verdict::Retry { why: format!("connection lost: {why}"), retry_after: None }
        });
        shared.stats.attempt(parcel.attempts, &attempt);
        if self.gate.sent_again() {
            shared.stats.sent_again();
            parcel.ambiguous = true;
        }
        let now = shared.clock.now();
        match verdict {
            Verdict::Decided(decided) => {
                shared.admission.good(permit, started, now);
                parcel.took = now.saturating_sub(parcel.started);
                Outcome::Over(shared.decided(parcel, &decided))
            }
            Verdict::Rejected { why } => {
                shared.admission.good(permit, started, now);
                shared.stats.rejected();
                Outcome::Over(Err(shared.failed(Cause::Rejected, parcel, &why)))
            }
            Verdict::Retry { why, retry_after } => {
                let retry_after = retry_after.map(|wish| wish.min(shared.retry.max_retry_after));
                let failure = Failure { started, overload: attempt.is_overload(), retry_after };
                if shared.admission.bad(permit, now, failure, &why) {
                    shared.stats.circuit_opened();
                }
                parcel.ambiguous |= attempt.is_ambiguous();
                shared.again(parcel, now, retry_after, &why)
            }
        }
    }
}

impl<T: Item, J: Judge<T>, C: Clock> Shared<T, J, C> {
    /// What the gate decided about an item.
    fn decided(&self, parcel: &Parcel<T>, decided: &Decided) -> Result<J::Delivered, J::Error> {
        let Parcel { item, attempts, ambiguous, started, took, .. } = parcel;
        self.stats.decided(decided);
        if let Decided::Quarantined { why, differs } = decided {
            // After an attempt without an answer it is our own item that the gate may hold, and holds otherwise: no
            // policy makes that good.
            if self.stop_on_quarantine || (*differs && *ambiguous) {
                let cause = if *differs { Cause::Differs } else { Cause::Rejected };
                return Err(self.failed(cause, parcel, why));
            }
        }
        let lag = item.due().map_or_else(Default::default, |due| started.saturating_sub(due));
        let delivery = Delivery { attempts: *attempts, ambiguous: *ambiguous, latency: *took, lag };
        Ok(self.judge.delivered(item, decided, delivery))
    }

    /// Whether and when an item whose attempt failed is tried again.
    fn again(
        &self,
        parcel: &Parcel<T>,
        now: Duration,
        retry_after: Option<Duration>,
        why: &str,
    ) -> Outcome<J::Delivered, J::Error> {
        let Parcel { item, attempts, .. } = parcel;
        let exhausted = |why: &str| {
            self.stats.exhausted();
            Outcome::Over(Err(self.failed(Cause::Exhausted, parcel, why)))
        };
        if !self.retry.allows_another(*attempts) {
            return exhausted(why);
        }
        let due = now + self.retry.delay(item.id(), *attempts, retry_after);
        if self.event_deadline.is_some_and(|deadline| due > parcel.started + deadline) {
            return exhausted(&format!("{why}; another attempt would come after the event's deadline"));
        }
        if let Some(more) = self.retry_log.due(now) {
            let (max, delay) = (self.retry.max_attempts, due.saturating_sub(now).as_secs_f64());
            let (name, event_id) = (self.retry_log.name, id_text(item.id()));
            tracing::info!(
                "{name} retry attempt={attempts}/{max} delay={delay:.3}s reason={why} event_id={event_id} more={more}"
            );
        }
        Outcome::Again(due)
    }

    /// What ends the run for an item after its attempts.
    fn failed(&self, cause: Cause, parcel: &Parcel<T>, why: &str) -> J::Error {
        let Parcel { item, attempts, .. } = parcel;
        let plural = if *attempts == 1 { "" } else { "s" };
        self.judge.failed(item, cause, &format!("after {attempts} attempt{plural}: {why}"))
    }
}

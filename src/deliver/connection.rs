//! One connection: it sends one event after the other, whichever may go first.
//!
//! ```text
//! Dispatch ──next──► permit ──► attempt ──► taxonomy ─┬─ decided, rejected ──► settle, Done ──► push
//!     ▲                                               └─ retry ──► hold ──┐
//!     └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Events of one line (order key; in strict order all of them) never overtake each other: an event that waits for
//! another attempt keeps its line, and those behind it wait in [`Dispatch`]. Its connection goes on with other lines.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::UnboundedSender;

use super::admission::{Admission, Way};
use super::backoff::RetryPolicy;
use super::dispatch::{Dispatch, Rules};
use super::gate::{Attempt, GateConnection};
use super::lines::Numbered;
use super::options::DeliveryMode;
use super::regulator::{Failure, Permit};
use super::retry_log::RetryLog;
use super::stats::PushStats;
use super::taxonomy::{self, Verdict};
use crate::byte_budget::ByteBudget;
use crate::clock::Clock;
use crate::model::{Decision, Delivered, Event, Names, Reason, Refusal};
use crate::stop::Stop;

/// What a connection reports of an event.
pub(super) struct Done {
    pub(super) seq: u64,
    pub(super) outcome: Result<Delivered, Refusal>,
}

/// What all connections of a stage share.
pub(super) struct Shared<C> {
    pub(super) clock: C,
    pub(super) retry: RetryPolicy,
    /// No attempt of an event starts later than this after its first one.
    pub(super) event_deadline: Option<Duration>,
    pub(super) mode: DeliveryMode,
    pub(super) stop_on_quarantine: bool,
    pub(super) admission: Admission,
    pub(super) stats: PushStats,
    pub(super) dispatch: Dispatch<Parcel>,
    /// What bodies in memory are counted against.
    pub(super) bodies: ByteBudget,
    /// What refusals call outputs and files.
    pub(super) names: Names,
    /// The run's wish to stop.
    pub(super) stop: Stop,
    /// The stage's own: some event failed, or nobody wants more.
    pub(super) halt: Stop,
    pub(super) retry_log: RetryLog,
}

impl<C> Shared<C> {
    fn halted(&self) -> bool {
        self.halt.requested() || self.stop.requested()
    }

    /// Takes in the stream's next event.
    pub(super) fn hand(&self, seq: u64, event: Event) {
        let line = match self.mode {
            DeliveryMode::Strict => Some(0),
            DeliveryMode::Keyed(_) => Some(event.order_key),
            DeliveryMode::Free(_) => None,
        };
        self.stats.handed();
        self.dispatch.add(Numbered { seq, line, item: Parcel::new(event) }, |parcel| parcel.detach(&self.bodies));
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

impl<C: Clock> Rules for Shared<C> {
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

/// An event with what became of its attempts so far.
#[derive(Debug)]
pub(super) struct Parcel {
    event: Event,
    attempts: u32,
    /// Some attempt may have been admitted although it brought no answer.
    ambiguous: bool,
    /// When its first attempt began.
    started: Duration,
    /// Its body has memory of its own.
    detached: bool,
}

impl Parcel {
    fn new(event: Event) -> Self {
        Self { event, attempts: 0, ambiguous: false, started: Duration::ZERO, detached: false }
    }

    /// Gives it a body of its own: the one it came with shares its memory with hundreds of other events, all of which
    /// would stay as long as this one waits.
    fn detach(&mut self, budget: &ByteBudget) {
        if !self.detached {
            self.event.body = budget.hold(self.event.body.to_vec());
            self.detached = true;
        }
    }
}

/// What an attempt led to.
enum Outcome {
    Over(Result<Delivered, Refusal>),
    /// Another attempt at this time.
    Again(Duration),
}

pub(super) struct Connection<G, C> {
    number: usize,
    gate: G,
    done: UnboundedSender<Done>,
    shared: Arc<Shared<C>>,
}

impl<G: GateConnection, C: Clock> Connection<G, C> {
    pub(super) fn new(number: usize, gate: G, done: UnboundedSender<Done>, shared: Arc<Shared<C>>) -> Self {
        Self { number, gate, done, shared }
    }

    /// Delivers events until there will be no more, an event fails, or sending has to stop. Events that wait then are
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
                    let detach = |parcel: &mut Parcel| parcel.detach(&self.shared.bodies);
                    self.shared.dispatch.hold(self.number, next, due, detach);
                }
                Outcome::Over(outcome) => {
                    let failed = outcome.is_err();
                    if failed {
                        // Before the report: the other connections shall not wait for the stage to be looked at.
                        self.shared.halt.request();
                    }
                    let held_up = self.shared.dispatch.settle(self.number, next.line);
                    if let (Some(alone), Ok(Delivered { latency, position, .. })) = (held_up, &outcome) {
                        self.shared.stats.held_up(next.item.event.order_key, position.rank, *latency, alone);
                    }
                    if self.done.send(Done { seq: next.seq, outcome }).is_err() || failed {
                        return;
                    }
                }
            }
        }
    }

    /// The next event. Until there is one, the connection rests.
    async fn next(&mut self) -> Option<Numbered<Parcel>> {
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
    async fn permit(&mut self, parcel: &Parcel) -> Result<Option<Permit>, Refusal> {
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
                    return Err(shared.refusal(Reason::IgUnavailable, &parcel.event, &detail));
                }
            }
        }
        Ok(None)
    }

    async fn attempt(&mut self, parcel: &mut Parcel, permit: Permit) -> Outcome {
        let shared = &self.shared;
        let started = shared.clock.now();
        if parcel.attempts == 0 {
            parcel.started = started;
        }
        parcel.attempts += 1;
        shared.stats.started();
        let attempt = self.gate.push(&parcel.event).await;
        shared.stats.attempt(parcel.attempts, &attempt);
        if self.gate.sent_again() {
            shared.stats.sent_again();
            parcel.ambiguous = true;
        }
        let now = shared.clock.now();
        match taxonomy::judge(&attempt) {
            Verdict::Decided(decision) => {
                shared.admission.good(permit, started, now);
                Outcome::Over(shared.decided(parcel, decision, &attempt, now))
            }
            Verdict::Rejected { why } => {
                shared.admission.good(permit, started, now);
                shared.stats.rejected();
                Outcome::Over(Err(shared.failed(Reason::IgPushRejected, parcel, &why)))
            }
            Verdict::Retry { why, retry_after } => {
                let retry_after = retry_after.map(|wish| wish.min(shared.retry.max_retry_after));
                let failure = Failure { started, overload: taxonomy::is_overload(&attempt), retry_after };
                if shared.admission.bad(permit, now, failure, &why) {
                    shared.stats.circuit_opened();
                }
                parcel.ambiguous |= taxonomy::is_ambiguous(&attempt);
                shared.again(parcel, now, retry_after, &why)
            }
        }
    }
}

impl<C: Clock> Shared<C> {
    /// What the gate decided about an event.
    fn decided(
        &self,
        parcel: &Parcel,
        decision: Decision,
        attempt: &Attempt,
        now: Duration,
    ) -> Result<Delivered, Refusal> {
        self.stats.decided(decision);
        let event = &parcel.event;
        if decision == Decision::Quarantine {
            let differs = taxonomy::payload_differs(attempt);
            if differs {
                self.stats.payload_mismatch();
            }
            // After an attempt without an answer it is our own event that the gate may hold, and holds otherwise: no
            // policy makes that good.
            if self.stop_on_quarantine || (differs && parcel.ambiguous) {
                let reason = if differs { Reason::IgPayloadMismatch } else { Reason::IgPushRejected };
                return Err(self.failed(reason, parcel, &describe(attempt)));
            }
        }
        Ok(Delivered {
            position: event.position,
            ts: event.ts,
            event_id: event.event_id,
            decision,
            attempts: parcel.attempts,
            ambiguous: parcel.ambiguous,
            latency: now.saturating_sub(parcel.started),
            lag: event.due.map_or_else(Default::default, |due| parcel.started.saturating_sub(due)),
        })
    }

    /// Whether and when an event whose attempt failed is tried again.
    fn again(&self, parcel: &Parcel, now: Duration, retry_after: Option<Duration>, why: &str) -> Outcome {
        let Parcel { event, attempts, .. } = parcel;
        let exhausted = |why: &str| {
            self.stats.exhausted();
            Outcome::Over(Err(self.failed(Reason::IgPushRetryExhausted, parcel, why)))
        };
        if !self.retry.allows_another(*attempts) {
            return exhausted(why);
        }
        let due = now + self.retry.delay(&event.event_id, *attempts, retry_after);
        if self.event_deadline.is_some_and(|deadline| due > parcel.started + deadline) {
            return exhausted(&format!("{why}; another attempt would come after the event's deadline"));
        }
        if let Some(more) = self.retry_log.due(now) {
            let (max, delay) = (self.retry.max_attempts, due.saturating_sub(now).as_secs_f64());
            let event_id = hex(&event.event_id);
            tracing::info!(
                "WSP IG push retry attempt={attempts}/{max} delay={delay:.3}s reason={why} event_id={event_id} more={more}"
            );
        }
        Outcome::Again(due)
    }

    /// What ends the run for an event after its attempts.
    fn failed(&self, reason: Reason, parcel: &Parcel, why: &str) -> Refusal {
        let Parcel { event, attempts, .. } = parcel;
        let plural = if *attempts == 1 { "" } else { "s" };
        self.refusal(reason, event, &format!("after {attempts} attempt{plural}: {why}"))
    }

    /// What ends the run at an event.
    fn refusal(&self, reason: Reason, event: &Event, why: &str) -> Refusal {
        let (output, id) = (self.names.output(event.position), hex(&event.event_id));
        self.names.at(event.position, Refusal::new(reason, format!("{why} ({output}, {}, event {id})", event.ts)))
    }
}

fn describe(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Answered(answer) => taxonomy::describe(answer),
        other => format!("{other:?}"),
    }
}

fn hex(id: &[u8; 32]) -> String {
    id.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

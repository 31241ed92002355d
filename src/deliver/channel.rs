//! One channel: a short queue, one request on the way, and a pen for what has to be tried again.
//!
//! ```text
//! push ──Handed──► queue ──► attempt ──► taxonomy ──► Done ──► push
//!                    │  ▲       ▲            │ retry
//!   line blocked     ▼  │       │ due, free  │
//!                    pen ◄──────┴────────────┘
//! ```
//!
//! Events of one line (order key; in strict order all of them) never overtake each other: whoever waits for another
//! try blocks its line, and those behind it wait in the pen. Other lines go on, so a retry costs the channel a
//! request and not its backoff.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::admission::{Admission, Way};
use super::backoff::RetryPolicy;
use super::gate::{Attempt, GateChannel};
use super::pen::Pen;
use super::regulator::{Failure, Permit};
use super::stats::PushStats;
use super::taxonomy::{self, Verdict};
use crate::byte_budget::ByteBudget;
use crate::clock::Clock;
use crate::credit::Credit;
use crate::model::{Decision, Delivered, Event, Names, Reason, Refusal};
use crate::stop::Stop;

/// An event on its way to a channel.
pub(super) struct Handed {
    pub(super) seq: u64,
    pub(super) event: Event,
}

/// What a channel reports of an event.
pub(super) struct Done {
    pub(super) seq: u64,
    pub(super) channel: usize,
    pub(super) outcome: Result<Delivered, Refusal>,
}

/// What all channels of a stage share.
pub(super) struct Shared<C> {
    pub(super) clock: C,
    pub(super) retry: RetryPolicy,
    /// No attempt of an event starts later than this after its first one.
    pub(super) event_deadline: Option<Duration>,
    /// The whole stream is one line: strict order.
    pub(super) one_line: bool,
    pub(super) stop_on_quarantine: bool,
    pub(super) admission: Admission,
    pub(super) stats: PushStats,
    /// What an event's first attempt is spent from.
    pub(super) credit: Option<Credit>,
    /// What bodies in memory are counted against.
    pub(super) bodies: ByteBudget,
    /// What refusals call outputs and files.
    pub(super) names: Names,
    /// The run's wish to stop.
    pub(super) stop: Stop,
    /// The stage's own: some event failed, or nobody wants more.
    pub(super) halt: Stop,
}

impl<C> Shared<C> {
    fn halted(&self) -> bool {
        self.halt.requested() || self.stop.requested()
    }

    fn line(&self, event: &Event) -> u64 {
        if self.one_line { 0 } else { event.order_key }
    }

    /// Spends for an event's first attempt if the bound allows one more to be out; says whether it does. Events that wait
    /// have spent nothing: a crash can't repeat them.
    fn may_send(&self) -> bool {
        self.credit.as_ref().is_none_or(Credit::try_spend)
    }
}

/// An event with what became of its attempts so far.
struct Parcel {
    seq: u64,
    event: Event,
    attempts: u32,
    /// Some attempt may have been admitted although it brought no answer.
    ambiguous: bool,
    /// When its first attempt began.
    started: Duration,
}

impl Parcel {
    fn new(Handed { seq, event }: Handed) -> Self {
        Self { seq, event, attempts: 0, ambiguous: false, started: Duration::ZERO }
    }

    /// With a body of its own: the one it came with shares its memory with hundreds of other events, all of which
    /// would stay as long as this one waits.
    fn detached(mut self, budget: &ByteBudget) -> Self {
        self.event.body = budget.hold(self.event.body.to_vec());
        self
    }
}

/// What an attempt led to.
enum Outcome {
    Over(Result<Delivered, Refusal>),
    /// Another attempt at this time.
    Again(Duration),
}

pub(super) struct Channel<G, C> {
    number: usize,
    gate: G,
    queue: UnboundedReceiver<Handed>,
    /// Nothing more comes through the queue.
    queue_ended: bool,
    pen: Pen<Parcel>,
    /// The event, with its line, that waits for leave to be sent for the first time.
    unpaid: Option<(u64, Parcel)>,
    /// The gate's budget has no retry left before this time.
    no_retry_before: Duration,
    done: UnboundedSender<Done>,
    shared: Arc<Shared<C>>,
}

impl<G: GateChannel, C: Clock> Channel<G, C> {
    pub(super) fn new(
        number: usize,
        gate: G,
        queue: UnboundedReceiver<Handed>,
        done: UnboundedSender<Done>,
        shared: Arc<Shared<C>>,
    ) -> Self {
        let no_retry_before = Duration::ZERO;
        Self { number, gate, queue, queue_ended: false, pen: Pen::new(), unpaid: None, no_retry_before, done, shared }
    }

    /// Delivers what comes through the queue until it is closed and everything is answered, an event fails, or
    /// sending has to stop. Events that wait then are dropped unsent.
    pub(super) async fn run(mut self) {
        while let Some((line, mut parcel)) = self.next().await {
            let outcome = match self.permit(&parcel).await {
                Ok(Some(permit)) => self.attempt(&mut parcel, permit).await,
                Ok(None) => return,
                Err(refusal) => Outcome::Over(Err(refusal)),
            };
            match outcome {
                Outcome::Again(due) => {
                    let parcel = if parcel.attempts == 1 { parcel.detached(&self.shared.bodies) } else { parcel };
                    self.pen.hold(line, parcel, due);
                }
                Outcome::Over(outcome) => {
                    if !self.pen.is_empty() {
                        self.pen.settle(line);
                    }
                    let failed = outcome.is_err();
                    if failed {
                        // Before the report: the other channels shall not wait for the stage to be looked at.
                        self.shared.halt.request();
                    }
                    if self.done.send(Done { seq: parcel.seq, channel: self.number, outcome }).is_err() || failed {
                        return;
                    }
                }
            }
        }
    }

    /// The next event to be sent, with its line: out of the pen if one may go, else a new one whose line is free.
    /// `None` when there is none left, or sending has to stop.
    async fn next(&mut self) -> Option<(u64, Parcel)> {
        loop {
            if self.shared.halted() {
                return None;
            }
            if self.pen.is_empty() && self.unpaid.is_none() {
                let handed = self.queue.recv().await?;
                self.unpaid = Some((self.shared.line(&handed.event), Parcel::new(handed)));
            }
            if let Some(next) = self.first_attempt().or_else(|| self.another_attempt()) {
                return Some(next);
            }
            if self.unpaid.is_none() && self.take_new() {
                continue;
            }
            if let Some(next) = self.wait().await {
                return Some(next);
            }
        }
    }

    /// An event that has not been tried, if the bound allows it out: the one that waits for that, else one whose turn
    /// came in the pen.
    fn first_attempt(&mut self) -> Option<(u64, Parcel)> {
        if self.unpaid.is_none() {
            self.unpaid = self.pen.take_free();
        }
        if self.unpaid.is_some() && self.shared.may_send() { self.unpaid.take() } else { None }
    }

    /// An event whose next attempt is due, if the gate's budget allows it.
    fn another_attempt(&mut self) -> Option<(u64, Parcel)> {
        let due = self.pen.next_due()?.max(self.no_retry_before);
        let now = self.shared.clock.now();
        if due > now {
            return None;
        }
        if let Err(until) = self.shared.admission.pay(now, self.shared.stats.firsts()) {
            self.shared.stats.retry_delayed();
            self.no_retry_before = until;
            return None;
        }
        self.pen.take_due(now)
    }

    /// Takes a new event if there is one; says whether it did.
    fn take_new(&mut self) -> bool {
        match self.queue.try_recv() {
            Ok(handed) => self.place(handed),
            Err(TryRecvError::Disconnected) => {
                self.queue_ended = true;
                return false;
            }
            Err(TryRecvError::Empty) => return false,
        }
        true
    }

    /// A new event goes behind its line, or is the next to be tried.
    fn place(&mut self, handed: Handed) {
        let (line, parcel) = (self.shared.line(&handed.event), Parcel::new(handed));
        if self.pen.blocks(line) {
            self.pen.follow(line, parcel.detached(&self.shared.bodies));
        } else {
            self.unpaid = Some((line, parcel));
        }
    }

    /// Waits for whatever changes what is next: a stop, a new event, a due one, or leave to send the one at hand, which
    /// it then hands on. Retries go on while others wait for that leave: it may hang on their answers.
    async fn wait(&mut self) -> Option<(u64, Parcel)> {
        let due = self.pen.next_due().map(|due| due.max(self.no_retry_before));
        let shared = &self.shared;
        let may_send = async {
            if let Some(credit) = &shared.credit {
                credit.spend().await;
            }
        };
        tokio::select! {
            biased;
            () = shared.halt.wait() => {}
            () = shared.stop.wait() => {}
            () = may_send, if self.unpaid.is_some() => return self.unpaid.take(),
            handed = self.queue.recv(), if self.unpaid.is_none() && !self.queue_ended => match handed {
                Some(handed) => self.place(handed),
                None => self.queue_ended = true,
            },
            () = shared.clock.sleep_until(due.unwrap_or_default()), if due.is_some() => {}
        }
        None
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
        tracing::debug!(event_id = %hex(&event.event_id), attempts, %why, delay = ?due.saturating_sub(now), "push is tried again");
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

//! The way to a gate and back: it takes its time, breaks before or after the gate, loses answers and refuses under load, as
//! the plan allows.
//!
//! ```text
//! attempt ──there──► the gate ──back──► answer, as its process sees it
//!    └─ no connection · cut · late, after its process gave up or died · no answer · 429, 5xx · garbage
//! ```
//!
//! [`Reached`] is a gate as one process reaches it. What is on its way arrives whether or not its sender still lives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wsp::deliver::{Answer, Attempt, Gate, GateConnection, Item, Takes};
use wsp::random::Random;

use super::hub::{Hub, ProcessId, Slot};
use super::plan::GatePlan;
use super::totals::Totals;

/// Lets a note add to the totals.
pub(super) type Count = Arc<dyn Fn(&dyn Fn(&mut Totals)) + Send + Sync>;

/// The way. Clones share it.
#[derive(Clone)]
pub(super) struct Road {
    hub: Hub,
    plan: Arc<GatePlan>,
    count: Count,
}

/// How an attempt goes, as drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Well,
    Unreachable,
    CutBefore,
    CutAfter,
    /// It never arrives.
    Lost,
    /// It arrives within some time that may be longer than its sender waits.
    Late,
    Throttled,
    Failing {
        status: u16,
        admitted: bool,
    },
    Garbage,
}

impl Road {
    pub(super) fn new(hub: Hub, plan: Arc<GatePlan>, count: Count) -> Self {
        Self { hub, plan, count }
    }

    /// Whether nobody gets through now.
    fn is_closed(&self, now: Duration) -> bool {
        self.plan.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Asks the gate whether it is there, as `process`.
    async fn ask(&self, process: ProcessId) -> Result<(), String> {
        let Self { hub, plan, .. } = self;
        if !hub.step(process) {
            return std::future::pending().await;
        }
        let closed = self.is_closed(hub.now());
        let (slot, after) = (hub.slot(process), hub.draw(|r| plan.delay(r)));
        slot.fill_after(after, move || if closed { Err("simulated".to_owned()) } else { Ok(()) });
        let answer = slot.reply().await;
        if !hub.step(process) {
            return std::future::pending().await;
        }
        hub.note(format_args!("p{process} asks the gate: {answer:?}"));
        answer
    }

    /// Sets an attempt on its way; `arrive` is what the gate does once it is there.
    fn send(&self, process: ProcessId, n: usize, arrive: impl FnOnce() -> Attempt + Send + 'static) -> Slot<Attempt> {
        let slot = self.hub.slot(process);
        let now = self.hub.now();
        let way = if self.is_closed(now) { Way::Unreachable } else { self.hub.draw(|r| self.plan.draw_way(r)) };
        let (there, back) = self.hub.draw(|r| (self.plan.delay(r), self.plan.delay(r)));
        (self.count)(&|totals| way.count(totals));
        self.hub.note(format_args!("p{process} sends {n}: {way:?}"));
        // An attempt ends at its timeout whatever else happens to it.
        let timeout = self.plan.timeout;
        if way != Way::Well || there + back >= timeout {
            slot.fill_after(timeout, || Attempt::TimedOut);
        }
        match way {
            Way::Well => self.carry(&slot, n, there, back, arrive),
            Way::Unreachable => slot.fill_after(there, || Attempt::ConnectFailed("simulated".to_owned())),
            Way::CutBefore => slot.fill_after(there, || Attempt::ConnectionLost("simulated".to_owned())),
            Way::CutAfter => self.carry(&slot, n, there, back, move || {
                arrive();
                Attempt::ConnectionLost("simulated".to_owned())
            }),
            Way::Lost => {}
            Way::Late => {
                let late = self.hub.draw(|r| timeout.mul_f64(3.0 * r.unit()));
                self.carry(&slot, n, late, back, arrive);
            }
            Way::Throttled => {
                let after = self.hub.draw(|r| r.chance(1, 2).then(|| Duration::from_millis(r.below(9_000))));
                slot.fill_after(there + back, move || answered(429, after, r#"{"error":"RATE_LIMITED"}"#));
            }
            Way::Failing { status, admitted } => self.carry(&slot, n, there, back, move || {
                if admitted {
                    arrive();
                }
                let error = if status == 400 { r#"{"error":"PUBLISH_IN_FLIGHT_RETRY"}"# } else { "" };
                answered(status, None, error)
            }),
            Way::Garbage => self.carry(&slot, n, there, back, move || {
                arrive();
                answered(200, None, "<html>welcome</html>")
            }),
        }
        slot
    }

    /// Carries an attempt there, does `work`, and carries what it says back.
    fn carry(
        &self,
        slot: &Slot<Attempt>,
        n: usize,
        there: Duration,
        back: Duration,
        work: impl FnOnce() -> Attempt + Send + 'static,
    ) {
        let (slot, hub, count, late) = (slot.clone(), self.hub.clone(), self.count.clone(), there > self.plan.timeout);
        self.hub.later(there, move || {
            let said = work();
            hub.note(format_args!("gate has {n}: {}", short(&said)));
            count(&|totals| totals.late_arrivals += u64::from(late));
            slot.fill_after(back, move || said);
        });
    }
}

/// A gate at the end of a [`Road`], with the judge that watches it. Clones share what it holds.
pub(super) trait Intake: Clone + Send + Sync + 'static {
    type Event: Item + Sync;

    fn road(&self) -> &Road;

    /// An attempt is made at `now`; says which event it is, unless that breaks a promise.
    fn sends(&self, process: ProcessId, event: &Self::Event, now: Duration) -> Option<usize>;

    /// What the gate does once the event is there. What is on the way is no memory of the process that sent it.
    fn arrive(&self, n: usize, event: &Self::Event) -> impl FnOnce() -> Attempt + Send + 'static;

    /// An attempt came to this, as its process saw it.
    fn answers(&self, process: ProcessId, n: usize, attempt: &Attempt);

    /// An attempt was given up by its process.
    fn gives_up(&self, process: ProcessId, n: usize);
}

/// A gate as one process reaches it.
#[derive(Clone)]
pub(super) struct Reached<I> {
    pub(super) gate: I,
    pub(super) process: ProcessId,
}

impl<I: Intake> Gate for Reached<I> {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl<I: Intake> GateConnection for Reached<I> {
    async fn ask(&mut self) -> Result<(), String> {
        self.gate.road().ask(self.process).await
    }
}

impl<I: Intake> Takes<I::Event> for Reached<I> {
    async fn push(&mut self, event: &I::Event) -> Attempt {
        let Self { gate, process } = &*self;
        let (process, road) = (*process, gate.road());
        let hub = &road.hub;
        let sent = if hub.step(process) { gate.sends(process, event, hub.now()) } else { None };
        // Dead, or found out: nothing more is seen of it.
        let Some(n) = sent else { return std::future::pending().await };
        let mut open = Open { gate, process, n, is_answered: false };
        let slot = road.send(process, n, gate.arrive(n, event));
        let attempt = slot.reply().await;
        if !hub.step(process) {
            return std::future::pending().await;
        }
        open.is_answered = true;
        hub.note(format_args!("p{process} has of {n}: {}", short(&attempt)));
        gate.answers(process, n, &attempt);
        attempt
    }
}

/// An attempt whose sender waits for it.
struct Open<'a, I: Intake> {
    gate: &'a I,
    process: ProcessId,
    n: usize,
    is_answered: bool,
}

impl<I: Intake> Drop for Open<'_, I> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.gate.gives_up(self.process, self.n);
        }
    }
}

impl GatePlan {
    fn draw_way(&self, r: &mut Random) -> Way {
        let drawn = r.below(1_000);
        let mut upto = 0;
        let mut falls = |share: u64| {
            upto += share;
            drawn < upto
        };
        if falls(self.unreachable) {
            Way::Unreachable
        } else if falls(self.cut_before) {
            Way::CutBefore
        } else if falls(self.cut_after) {
            Way::CutAfter
        } else if falls(self.unanswered) {
            if r.chance(1, 3) { Way::Lost } else { Way::Late }
        } else if falls(self.throttled) {
            Way::Throttled
        } else if falls(self.failing) {
            let status = self.statuses[r.below(5) as usize];
            Way::Failing { status, admitted: r.chance(1, 2) }
        } else if falls(self.garbage) {
            Way::Garbage
        } else {
            Way::Well
        }
    }

    fn delay(&self, r: &mut Random) -> Duration {
        // One in twenty takes much longer than the others, so that answers overtake each other.
        let most = if r.chance(1, 20) { self.latency * 20 } else { self.latency };
        Duration::from_millis(r.below(most + 1))
    }
}

impl Way {
    fn count(self, totals: &mut Totals) {
        match self {
            Way::Well => {}
            Way::Unreachable => totals.unreachable += 1,
            Way::CutBefore => totals.cut_before += 1,
            Way::CutAfter => totals.cut_after += 1,
            Way::Lost | Way::Late => totals.unanswered += 1,
            Way::Throttled => totals.throttled += 1,
            Way::Failing { .. } => totals.failing += 1,
            Way::Garbage => totals.garbage += 1,
        }
    }
}

/// An answer of a gate.
pub(super) fn answered(status: u16, retry_after: Option<Duration>, body: &str) -> Attempt {
    Attempt::Answered(Answer::new(status, Bytes::copy_from_slice(body.as_bytes())).after(retry_after))
}

/// What came of an attempt, for the trace.
fn short(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Answered(answer) => format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())),
        other => format!("{other:?}"),
    }
}

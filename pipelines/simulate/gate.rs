//! The model of the Ingestion Gate and the way to it: it dedupes by event id, and does whatever the plan allows.
//!
//! ```text
//! attempt ──there──► admitted? ──back──► answer, as its process sees it
//!    └─ no connection · cut · late, after its process gave up or died · no answer · 429, 5xx · garbage
//! ```
//!
//! What is on its way arrives whether or not its sender still lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wsp::deliver::{Answer, Attempt, Gate, GateConnection, Takes};
use wsp::random::Random;
use wsp_world::model::{Decision, Event};

use super::hub::{Hub, ProcessId, Slot};
use super::judge::Judge;
use super::plan::GatePlan;
use super::totals::Totals;

/// By platform run and event: the body that was admitted.
type Bodies = BTreeMap<(u32, [u8; 32]), Bytes>;

/// The gate. Clones share what it holds.
#[derive(Clone)]
pub(super) struct ModelGate {
    hub: Hub,
    judge: Judge,
    plan: Arc<GatePlan>,
    admitted: Arc<Mutex<Bodies>>,
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

impl ModelGate {
    pub(super) fn new(hub: Hub, judge: Judge, plan: GatePlan) -> Self {
        Self { hub, judge, plan: Arc::new(plan), admitted: Arc::default() }
    }

    /// The gate as `process`, of this platform run, reaches it.
    pub(super) fn reached_by(&self, process: ProcessId, run: u32) -> Reached {
        Reached { gate: self.clone(), process, run }
    }

    /// Whether it has an event of this run, or has put it into quarantine.
    pub(super) fn has(&self, run: u32, event_id: &[u8; 32]) -> bool {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        self.quarantines(event_id) || admitted.contains_key(&(run, *event_id))
    }

    fn quarantines(&self, event_id: &[u8; 32]) -> bool {
        let drawn = u64::from(event_id[0]) << 8 | u64::from(event_id[1]);
        drawn * 1_000 < self.plan.quarantined << 16
    }

    fn decide(&self, run: u32, event: &Event) -> Decision {
        if self.quarantines(&event.event_id) {
            return Decision::Quarantine;
        }
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        match admitted.get(&(run, event.event_id)) {
            Some(body) if *body == event.body => Decision::Duplicate,
            Some(_) => Decision::Quarantine,
            None => {
                admitted.insert((run, event.event_id), Bytes::copy_from_slice(&event.body));
                Decision::Admit
            }
        }
    }

    fn answer(&self, run: u32, event: &Event) -> Attempt {
        let decision = self.decide(run, event);
        answered(200, None, &format!(r#"{{"decision":"{}"}}"#, decision.as_str()))
    }

    fn out_of_order(&self, now: Duration) -> bool {
        self.plan.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Sets an attempt on its way.
    fn send(&self, process: ProcessId, run: u32, n: usize, event: &Event) -> Slot<Attempt> {
        let slot = self.hub.slot(process);
        let now = self.hub.now();
        let way = if self.out_of_order(now) { Way::Unreachable } else { self.hub.draw(|r| self.plan.draw_way(r)) };
        let (there, back) = self.hub.draw(|r| (self.plan.delay(r), self.plan.delay(r)));
        self.judge.count(|totals| way.count(totals));
        self.hub.note(format_args!("p{process} sends {n}: {way:?}"));
        // An attempt ends at its timeout whatever else happens to it.
        let timeout = self.plan.timeout;
        if way != Way::Well || there + back >= timeout {
            slot.fill_after(timeout, || Attempt::TimedOut);
        }
        // What is on the way is no memory of the process that sent it.
        let event = Event { body: Bytes::copy_from_slice(&event.body), ..event.clone() };
        let gate = self.clone();
        let arrive = move || gate.answer(run, &event);
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
        let (slot, hub, judge, late) = (slot.clone(), self.hub.clone(), self.judge.clone(), there > self.plan.timeout);
        self.hub.later(there, move || {
            let said = work();
            hub.note(format_args!("gate has {n}: {}", short(&said)));
            judge.count(|totals| totals.late_arrivals += u64::from(late));
            slot.fill_after(back, move || said);
        });
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
            let status = [500, 502, 503, 408, 400][r.below(5) as usize];
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

/// The gate as one process reaches it.
#[derive(Clone)]
pub(super) struct Reached {
    gate: ModelGate,
    process: ProcessId,
    run: u32,
}

impl Gate for Reached {
    type Connection = Reached;

    fn connection(&self) -> Reached {
        self.clone()
    }
}

impl GateConnection for Reached {
    async fn ask(&mut self) -> Result<(), String> {
        let Self { gate, process, .. } = &*self;
        let hub = &gate.hub;
        if !hub.step(*process) {
            return std::future::pending().await;
        }
        let down = gate.out_of_order(hub.now());
        let (slot, after) = (hub.slot(*process), hub.draw(|r| gate.plan.delay(r)));
        slot.fill_after(after, move || if down { Err("simulated".to_owned()) } else { Ok(()) });
        let answer = slot.reply().await;
        if !hub.step(*process) {
            return std::future::pending().await;
        }
        hub.note(format_args!("p{process} asks the gate: {answer:?}"));
        answer
    }
}

impl Takes<Event> for Reached {
    async fn push(&mut self, event: &Event) -> Attempt {
        let Self { gate, process, run } = &*self;
        let ModelGate { hub, judge, .. } = gate;
        let sent = if hub.step(*process) { judge.sends(*process, event, hub.now()) } else { None };
        // Dead, or found out: nothing more is seen of it.
        let Some(n) = sent else { return std::future::pending().await };
        let mut open = Open { gate, process: *process, n, answered: false };
        let slot = gate.send(*process, *run, n, event);
        let attempt = slot.reply().await;
        if !hub.step(*process) {
            return std::future::pending().await;
        }
        open.answered = true;
        let decided = decision(&attempt);
        hub.note(format_args!("p{process} has of {n}: {}", short(&attempt)));
        judge.count(|totals| totals.quarantined += u64::from(decided == Some(Decision::Quarantine)));
        judge.answers(*process, n, &attempt, decided);
        attempt
    }
}

/// An attempt whose sender waits for it.
struct Open<'a> {
    gate: &'a ModelGate,
    process: ProcessId,
    n: usize,
    answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.gate.judge.gives_up(self.process, self.n);
        }
    }
}

/// What the gate said of the event, without asking the producer's code.
fn decision(attempt: &Attempt) -> Option<Decision> {
    let Attempt::Answered(answer) = attempt else { return None };
    [Decision::Admit, Decision::Duplicate, Decision::Quarantine]
        .into_iter()
        .filter(|_| answer.status() == 200)
        .find(|decision| *answer.body() == format!(r#"{{"decision":"{}"}}"#, decision.as_str()))
}

fn answered(status: u16, retry_after: Option<Duration>, body: &str) -> Attempt {
    Attempt::Answered(Answer::new(status, Bytes::copy_from_slice(body.as_bytes())).after(retry_after))
}

fn short(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Answered(answer) => format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body())),
        other => format!("{other:?}"),
    }
}

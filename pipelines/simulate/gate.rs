//! The model of the Ingestion Gate and the way to it: it dedupes by event id, and does whatever the plan allows.
//!
//! ```text
//! attempt ──Road──► admitted? ──Road──► answer, as its process sees it
//! ```

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use wsp::deliver::{Attempt, Gate, GateConnection, Takes};
use wsp_world::model::{Decision, Event};

use super::hub::{Hub, ProcessId, Slot};
use super::judge::Judge;
use super::plan::GatePlan;
use super::road::{Road, answered, short};

/// By platform run and event: the body that was admitted.
type Bodies = BTreeMap<(u32, [u8; 32]), Bytes>;

/// The gate. Clones share what it holds.
#[derive(Clone)]
pub(super) struct ModelGate {
    hub: Hub,
    judge: Judge,
    plan: Arc<GatePlan>,
    road: Road,
    admitted: Arc<Mutex<Bodies>>,
}

impl ModelGate {
    pub(super) fn new(hub: Hub, judge: Judge, plan: GatePlan) -> Self {
        let (plan, counted) = (Arc::new(plan), judge.clone());
        let road = Road::new(hub.clone(), plan.clone(), Arc::new(move |count| counted.count(count)));
        Self { hub, judge, plan, road, admitted: Arc::default() }
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

    /// Sets an attempt on its way.
    fn send(&self, process: ProcessId, run: u32, n: usize, event: &Event) -> Slot<Attempt> {
        // What is on the way is no memory of the process that sent it.
        let event = Event { body: Bytes::copy_from_slice(&event.body), ..event.clone() };
        let gate = self.clone();
        self.road.send(process, n, move || gate.answer(run, &event))
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
        let down = gate.road.is_closed(hub.now());
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

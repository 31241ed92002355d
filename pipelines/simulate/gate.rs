//! The model of the Ingestion Gate and the way to it: it dedupes by event id, and does whatever the plan allows.
//!
//! ```text
//! attempt ──Road──► admitted? ──Road──► answer, as its process sees it
//! ```

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wsp::deliver::Attempt;
use wsp_world::model::{Decision, Event};

use super::hub::{Hub, ProcessId};
use super::judge::Judge;
use super::plan::GatePlan;
use super::road::{Intake, Reached, Road, answered};

/// By platform run and event: the body that was admitted.
type Bodies = BTreeMap<(u32, [u8; 32]), Bytes>;

/// The gate. Clones share what it holds.
#[derive(Clone)]
pub(super) struct ModelGate {
    judge: Judge,
    plan: Arc<GatePlan>,
    road: Road,
    admitted: Arc<Mutex<Bodies>>,
}

impl ModelGate {
    pub(super) fn new(hub: Hub, judge: Judge, plan: GatePlan) -> Self {
        let (plan, counted) = (Arc::new(plan), judge.clone());
        let road = Road::new(hub, plan.clone(), Arc::new(move |count| counted.count(count)));
        Self { judge, plan, road, admitted: Arc::default() }
    }

    /// The gate as `process`, of this platform run, reaches it.
    pub(super) fn reached_by(&self, process: ProcessId, run: u32) -> Reached<OfRun> {
        Reached { gate: OfRun { gate: self.clone(), run }, process }
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
}

/// The gate for the processes of one platform run.
#[derive(Clone)]
pub(super) struct OfRun {
    gate: ModelGate,
    run: u32,
}

impl Intake for OfRun {
    type Event = Event;

    fn road(&self) -> &Road {
        &self.gate.road
    }

    fn sends(&self, process: ProcessId, event: &Event, now: Duration) -> Option<usize> {
        self.gate.judge.sends(process, event, now)
    }

    fn arrive(&self, _: usize, event: &Event) -> impl FnOnce() -> Attempt + Send + 'static {
        let event = Event { body: Bytes::copy_from_slice(&event.body), ..event.clone() };
        let Self { gate, run } = self.clone();
        move || gate.answer(run, &event)
    }

    fn answers(&self, process: ProcessId, n: usize, attempt: &Attempt) {
        let (judge, decided) = (&self.gate.judge, decision(attempt));
        judge.count(|totals| totals.quarantined += u64::from(decided == Some(Decision::Quarantine)));
        judge.answers(process, n, attempt, decided);
    }

    fn gives_up(&self, process: ProcessId, n: usize) {
        self.gate.judge.gives_up(process, n);
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

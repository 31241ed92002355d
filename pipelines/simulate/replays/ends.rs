//! What a simulated replay reaches outside itself: a gate that takes or refuses events by their id, and a disk whose every
//! operation is a step of its process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use wsp::deliver::{Attempt, Gate, GateConnection, Item, Takes};
use wsp::disk::{Fate, Host, MemoryDisk, Operation};
use wsp::random::mix;
use wsp_replay::Event;

use super::super::disk::{draw_fate, work_slowly};
use super::super::hub::{Hub, ProcessId};
use super::super::road::{Road, answered, short};
use super::book::{Book, Said};
use super::plan::{LETTERS, REFUSED, ReplayPlan, STATE};

/// The gate. Clones share what it holds.
#[derive(Clone)]
pub(super) struct Intake {
    hub: Hub,
    book: Book,
    plan: Arc<ReplayPlan>,
    road: Road,
    /// Bodies that it took.
    taken: Arc<Mutex<BTreeSet<String>>>,
}

impl Intake {
    pub(super) fn new(hub: Hub, book: Book, plan: Arc<ReplayPlan>) -> Self {
        let counted = book.clone();
        let road = Road::new(hub.clone(), Arc::new(plan.gate.clone()), Arc::new(move |count| counted.count(count)));
        Self { hub, book, plan, road, taken: Arc::default() }
    }

    /// The gate as `process` reaches it.
    pub(super) fn reached_by(&self, process: ProcessId) -> Reached {
        Reached { gate: self.clone(), process }
    }

    /// Whether it took this body.
    pub(super) fn has(&self, body: &str) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).contains(body)
    }

    fn answer(&self, n: usize, body: &str) -> Attempt {
        // The same events each time.
        if mix(n as u64) % 1_000 < self.plan.gate.quarantined {
            return answered(REFUSED, None, "no\nsuch");
        }
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(body.to_owned());
        answered(200, None, "")
    }
}

/// The gate as one process reaches it.
#[derive(Clone)]
pub(super) struct Reached {
    gate: Intake,
    process: ProcessId,
}

impl Gate for Reached {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl GateConnection for Reached {
    async fn ask(&mut self) -> Result<(), String> {
        let Self { gate: Intake { hub, plan, road, .. }, process } = &*self;
        if !hub.step(*process) {
            return std::future::pending().await;
        }
        let closed = road.is_closed(hub.now());
        let (slot, after) = (hub.slot(*process), hub.draw(|r| plan.gate.delay(r)));
        slot.fill_after(after, move || if closed { Err("simulated".to_owned()) } else { Ok(()) });
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
        let Self { gate, process } = &*self;
        let Intake { hub, book, road, .. } = gate;
        let sent = if hub.step(*process) { book.sends(*process, event) } else { None };
        // Dead, or found out: nothing more is seen of it.
        let Some(n) = sent else { return std::future::pending().await };
        let mut open = Open { book, process: *process, n, is_answered: false };
        let (there, body) = (gate.clone(), String::from_utf8_lossy(event.body()).into_owned());
        let slot = road.send(*process, n, move || there.answer(n, &body));
        let attempt = slot.reply().await;
        if !hub.step(*process) {
            return std::future::pending().await;
        }
        open.is_answered = true;
        hub.note(format_args!("p{process} has of {n}: {}", short(&attempt)));
        book.answers(*process, n, said(&attempt));
        attempt
    }
}

/// An attempt whose sender waits for it.
struct Open<'a> {
    book: &'a Book,
    process: ProcessId,
    n: usize,
    is_answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.book.gives_up(self.process, self.n);
        }
    }
}

/// What the gate said, without asking the program's code.
fn said(attempt: &Attempt) -> Option<Said> {
    let Attempt::Answered(answer) = attempt else { return None };
    match answer.status() {
        200 => Some(Said::Taken),
        REFUSED => Some(Said::Refused),
        _ => None,
    }
}

/// The disk as one process reaches it.
#[derive(Clone)]
pub(super) struct ReachedDisk {
    pub(super) hub: Hub,
    pub(super) book: Book,
    pub(super) plan: Arc<ReplayPlan>,
    pub(super) memory: MemoryDisk,
    pub(super) process: ProcessId,
}

impl ReachedDisk {
    /// What is on the disk: cursors and dead letters.
    pub(super) fn content(memory: &MemoryDisk) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (memory.content(&std::path::Path::new(STATE).join("cursors.json")), memory.content(LETTERS.as_ref()))
    }

    /// The process has read what is there.
    pub(super) fn is_loaded(&self) {
        self.show();
        self.book.loads(self.process);
    }

    fn show(&self) {
        let (cursors, letters) = Self::content(&self.memory);
        self.book.reads(self.process, cursors.as_deref(), letters.as_deref());
    }
}

impl Host for ReachedDisk {
    fn fate(&self, operation: &Operation<'_>) -> Fate {
        let Self { hub, book, plan, process, .. } = self;
        if !hub.step(*process) {
            return Fate::Fails;
        }
        let fate = hub.draw(|r| draw_fate(r, plan.failing));
        if fate != Fate::Happens {
            book.count(|totals| totals.store_faults += 1);
            // The name of a temporary file differs from run to run.
            hub.note(format_args!("p{process} {:?}: {fate:?}", operation.act));
        }
        fate
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, std::io::Result<()>> {
        let reached = self.clone();
        work_slowly(&self.hub, self.process, self.plan.disk_latency, move || {
            work();
            reached.show();
            reached.hub.note(format_args!("p{} has saved", reached.process));
        })
    }
}

//! What a simulated replay reaches outside itself: a gate that takes or refuses events by their id, and a disk whose every
//! operation is a step of its process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use wsp::deliver::{Attempt, Item};
use wsp::disk::{Fate, Host, MemoryDisk, Operation};
use wsp::random::mix;
use wsp_replay::Event;

use super::super::disk::{draw_fate, work_slowly};
use super::super::hub::{Hub, ProcessId};
use super::super::road::{Intake, Reached, Road, answered};
use super::book::{Book, Said};
use super::plan::{LETTERS, REFUSED, ReplayPlan, STATE};

/// The gate. Clones share what it holds.
#[derive(Clone)]
pub(super) struct ReplayGate {
    book: Book,
    plan: Arc<ReplayPlan>,
    road: Road,
    /// Bodies that it took.
    taken: Arc<Mutex<BTreeSet<String>>>,
}

impl ReplayGate {
    pub(super) fn new(hub: Hub, book: Book, plan: Arc<ReplayPlan>) -> Self {
        let counted = book.clone();
        let road = Road::new(hub, Arc::new(plan.gate.clone()), Arc::new(move |count| counted.count(count)));
        Self { book, plan, road, taken: Arc::default() }
    }

    /// The gate as `process` reaches it.
    pub(super) fn reached_by(&self, process: ProcessId) -> Reached<Self> {
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

impl Intake for ReplayGate {
    type Event = Event;

    fn road(&self) -> &Road {
        &self.road
    }

    fn sends(&self, process: ProcessId, event: &Event, _: Duration) -> Option<usize> {
        self.book.sends(process, event)
    }

    fn arrive(&self, n: usize, event: &Event) -> impl FnOnce() -> Attempt + Send + 'static {
        let (gate, body) = (self.clone(), String::from_utf8_lossy(event.body()).into_owned());
        move || gate.answer(n, &body)
    }

    fn answers(&self, process: ProcessId, n: usize, attempt: &Attempt) {
        self.book.answers(process, n, said(attempt));
    }

    fn gives_up(&self, process: ProcessId, n: usize) {
        self.book.gives_up(process, n);
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

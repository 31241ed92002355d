//! The second producer under the same faults: the real chain of `wsp replay`, with its state and dead letters on a simulated
//! disk, before a simulated gate.
//!
//! ```text
//! seed ──► ReplayPlan ──► files ──► Start::run_through (read … push, keep) ──► ReplayGate (by a Road)
//!                                       │  └── state, letters ──► MemoryDisk
//!                                       └──► Book ◄── every send, answer, save and end
//! ```
//!
//! Files are the machine's: reading does not fail here. What else is simulated is as in the first producer's cases.

mod book;
mod ends;
mod plan;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wsp::deliver::PushStats;
use wsp::disk::MemoryDisk;
use wsp::stop::Stop;
use wsp_replay::{Error, Live, Replay};

use super::clock::SimClock;
use super::disk;
use super::hub::{Blow, Hub, ProcessId};
use super::judge::{Promise, Violation, broken};
use super::process::{Process, Turn};
use super::road::Reached;
use super::simulation::{Outcome, STARTS, STEPS};
use super::totals::Totals;
use book::Book;
use ends::{ReachedDisk, ReplayGate};
use plan::{Refusing, ReplayPlan};

/// How a process ended by itself.
type Ended = Result<wsp_replay::Outcome, Error>;

/// Runs the case of `wsp replay` that `seed` stands for.
#[must_use]
pub fn simulate_replay(seed: u64) -> Outcome {
    let hub = Hub::new(seed);
    let (violation, mut totals) = match Case::new(&hub, seed) {
        Ok(mut case) => (case.run(), case.book.totals()),
        Err(error) => (Some(broken(Promise::Progress, format!("its files: {error}"))), Totals::default()),
    };
    totals.seeds = 1;
    totals.steps = hub.steps();
    totals.seconds = hub.now().as_secs();
    if let Some(violation) = &violation {
        hub.note(format_args!("BROKEN {violation}"));
    }
    Outcome { violation, totals, trace: hub.take_trace() }
}

struct Case {
    hub: Hub,
    folder: tempfile::TempDir,
    plan: Arc<ReplayPlan>,
    book: Book,
    gate: ReplayGate,
    memory: MemoryDisk,
    live: Vec<(ProcessId, Process<Ended>)>,
    /// Those beside which another one lived for a time, which may have ended since.
    accompanied: BTreeSet<ProcessId>,
    starts: usize,
    /// Ends that no further start would mend.
    refused: usize,
    is_done: bool,
    agenda: Arc<Mutex<VecDeque<Due>>>,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Start,
    Resume(ProcessId),
}

impl Case {
    fn new(hub: &Hub, seed: u64) -> std::io::Result<Self> {
        let (folder, plan) = (tempfile::tempdir()?, Arc::new(ReplayPlan::of(seed)));
        plan.write(folder.path())?;
        let book = Book::new(plan.clone());
        let gate = ReplayGate::new(hub.clone(), book.clone(), plan.clone());
        let (hub, memory) = (hub.clone(), MemoryDisk::new());
        let (live, agenda, accompanied) = (Vec::new(), Arc::default(), BTreeSet::new());
        let (starts, refused, is_done) = (0, 0, false);
        Ok(Self { hub, folder, plan, book, gate, memory, live, accompanied, starts, refused, is_done, agenda })
    }

    fn run(&mut self) -> Option<Violation> {
        self.start_within(50);
        loop {
            if let Some(violation) = self.book.violation() {
                return Some(violation);
            }
            if self.is_done && self.live.is_empty() {
                return None;
            }
            if self.hub.steps() > STEPS || self.starts > STARTS {
                let what = format!("after {} steps and {} starts it has not ended", self.hub.steps(), self.starts);
                return Some(broken(Promise::Progress, what));
            }
            if let Some(process) = self.hub.next_runnable() {
                self.turn(process);
            } else if let Some(due) = self.due() {
                match due {
                    Due::Start => self.start(),
                    Due::Resume(process) => {
                        self.hub.note(format_args!("p{process} is run again"));
                        self.hub.resume(process);
                    }
                }
            } else if !self.hub.advance() {
                return Some(broken(Promise::Progress, "nothing happens any more"));
            }
        }
    }

    /// What is due first.
    fn due(&self) -> Option<Due> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn start_within(&self, millis: u64) {
        let after = self.hub.draw(|r| r.below(millis + 1));
        self.later(after, Due::Start);
    }

    fn later(&self, millis: u64, due: Due) {
        let agenda = self.agenda.clone();
        let push = move || agenda.lock().unwrap_or_else(PoisonError::into_inner).push_back(due);
        self.hub.later(Duration::from_millis(millis), push);
    }

    fn start(&mut self) {
        if self.is_done || self.live.len() > 1 {
            return;
        }
        let id = self.hub.process(self.plan.blows.get(self.starts).copied());
        self.starts += 1;
        self.book.count(|totals| totals.processes += 1);
        self.hub.note(format_args!("p{id} starts"));
        self.book.sets_out(id);
        let Self { hub, book, plan, memory, .. } = self;
        let reached = ReachedDisk {
            hub: hub.clone(),
            book: book.clone(),
            plan: plan.clone(),
            memory: memory.clone(),
            process: id,
        };
        let off = hub.draw(|r| r.below(20_000_000)).cast_signed() - 10_000_000;
        let outfit = Outfit {
            replay: plan.options(self.folder.path()).and_then(Replay::new),
            disk: memory.seen_by(Arc::new(reached.clone())),
            reached,
            gate: self.gate.reached_by(id),
            clock: SimClock::new(hub.clone(), id, off),
        };
        match Process::start(id, hub.clone(), |stop, pushes| outfit.produce(stop, pushes)) {
            Ok(process) => {
                self.live.push((id, process));
                if self.live.len() > 1 {
                    self.accompanied.extend(self.live.iter().map(|(id, _)| *id));
                }
            }
            Err(error) => self.book.blame(broken(Promise::Progress, format!("no runtime: {error}"))),
        }
    }

    fn turn(&mut self, id: ProcessId) {
        let Some((_, process)) = self.live.iter_mut().find(|(other, _)| *other == id) else { return };
        match process.turn() {
            Turn::Idle => {}
            Turn::Ended(ended) => self.ended(id, &ended),
            Turn::Struck(Blow::Stop) => {
                self.hub.note(format_args!("p{id} is asked to stop"));
                self.book.count(|totals| totals.stops += 1);
                process.stop();
                self.turn(id);
            }
            Turn::Struck(Blow::Stall(time)) => {
                self.hub.note(format_args!("p{id} is stalled for {time:?}"));
                self.book.count(|totals| totals.stalls += 1);
                self.hub.stall(id);
                let millis = time.as_millis() as u64;
                self.later(millis, Due::Resume(id));
                if self.plan.rivals {
                    self.book.count(|totals| totals.rivals += 1);
                    self.start_within(millis);
                }
            }
            Turn::Struck(Blow::Crash) => {
                self.hub.note(format_args!("p{id} crashes"));
                self.book.count(|totals| totals.crashes += 1);
                self.vanish(id);
                self.start_within(3_000);
            }
            Turn::Struck(Blow::PowerLoss) => self.lose_power(),
        }
    }

    /// Every process dies, and the disk keeps what is durable, and some of the rest.
    fn lose_power(&mut self) {
        self.hub.note(format_args!("the power is lost"));
        self.book.count(|totals| totals.power_losses += 1);
        disk::lose_power(&self.hub, &self.memory);
        for (id, process) in self.live.drain(..) {
            self.book.is_gone(id);
            process.vanish();
        }
        self.start_within(3_000);
    }

    fn ended(&mut self, id: ProcessId, ended: &Ended) {
        let error = match ended {
            Ok(outcome) => outcome.error.as_ref(),
            Err(error) => Some(error),
        };
        let folder = self.folder.path().display().to_string();
        match error {
            None => self.hub.note(format_args!("p{id} has replayed all of it")),
            Some(error) => self.hub.note(format_args!("p{id} ends: {}", error.to_string().replace(&folder, "files"))),
        }
        let is_busy = matches!(ended, Err(Error::Held { .. }));
        // A process may stall between the refusal and its end.
        if is_busy && !self.accompanied.contains(&id) {
            self.book.blame(broken(Promise::Isolation, "the state is held, and nobody holds it"));
        }
        let (cursors, letters) = ReachedDisk::content(&self.memory);
        self.book.reads(id, cursors.as_deref(), letters.as_deref());
        self.book.ends(id, ended, |body| self.gate.has(body));
        self.vanish(id);
        let Some(error) = error else {
            self.is_done = true;
            self.book.count(|totals| totals.streamed += 1);
            return;
        };
        self.book.count(|totals| totals.busy += u64::from(is_busy));
        // What the rows or the gate refuse is tried once more, as by somebody who does not believe it.
        let is_refused =
            matches!(error, Error::Event(fault) if fault.what.contains("422")) && self.plan.refusing == Refusing::Ends;
        self.refused += usize::from(is_refused || matches!(error, Error::Row(_)));
        if self.refused > 1 {
            self.is_done = true;
            self.book.count(|totals| totals.refused += 1);
        } else if self.live.is_empty() {
            self.start_within(4_000);
        }
    }

    fn vanish(&mut self, id: ProcessId) {
        if let Some(at) = self.live.iter().position(|(other, _)| *other == id) {
            self.book.is_gone(id);
            self.live.swap_remove(at).1.vanish();
        }
    }
}

/// What a process works with.
struct Outfit {
    replay: Result<Replay, Error>,
    disk: MemoryDisk,
    reached: ReachedDisk,
    gate: Reached<ReplayGate>,
    clock: SimClock,
}

impl Outfit {
    /// What the command does with its options.
    async fn produce(self, stop: Stop, pushes: PushStats) -> Ended {
        let Self { replay, disk, reached, gate, clock } = self;
        let start = replay?.start_on(Arc::new(disk), clock.clone()).await?;
        reached.is_loaded();
        let before = start.before();
        if start.is_finished() {
            return Ok(wsp_replay::Outcome { totals: wsp_replay::Totals::default(), before, error: None });
        }
        Ok(start.run_through(gate, clock, stop, Live::default(), pushes).await)
    }
}

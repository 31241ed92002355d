//! Runs one seed to its end: lets processes have their turns, time pass, and blows fall.
//!
//! ```text
//! a process can move? ──► its turn ──► ended, struck, idle
//!        │ no
//!        ▼
//! something to start or to resume? ──► do it
//!        │ no
//!        ▼
//! time passes up to the next thing that happens
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wsp_world::model::{Reason, Refusal};
use wsp_world::prepare::Prepared;

use super::clock::SimClock;
use super::database::Database;
use super::disk::Disk;
use super::gate::ModelGate;
use super::hub::{Blow, Hub, Life, ProcessId};
use super::judge::{End, Judge, Promise, Violation, broken};
use super::line::Line;
use super::plan::{Change, Plan};
use super::process::{Ended, Outfit, Process, Store, Turn, produce};
use super::totals::Totals;
use super::world::{SlowStore, World};

/// Steps after which a case counts as one that never ends.
pub(super) const STEPS: u64 = 200_000;
/// Processes of one line after which it counts as one that never ends.
pub(super) const STARTS: usize = 2_000;

/// What a seed came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// How much was simulated.
    pub totals: Totals,
    /// All that happened, a line each: simulated microseconds and words.
    pub trace: String,
}

/// Runs the case that `seed` stands for.
#[must_use]
pub fn simulate(seed: u64) -> Outcome {
    let hub = Hub::new(seed);
    let plan = Plan::of(seed).map_err(|error| broken(Promise::Progress, format!("the settings: {error}")));
    let (violation, mut totals) = match plan.and_then(|plan| Simulation::new(&hub, plan)) {
        Ok(mut simulation) => {
            let violation = simulation.run();
            (violation, simulation.judge.totals())
        }
        Err(violation) => (Some(violation), Totals::default()),
    };
    totals.seeds = 1;
    totals.steps = hub.steps();
    totals.seconds = hub.now().as_secs();
    if let Some(violation) = &violation {
        hub.note(format_args!("BROKEN {violation}"));
    }
    Outcome { violation, totals, trace: hub.take_trace() }
}

/// Runs the case of `seed` twice and wants one trace.
#[must_use]
pub fn twice(case: fn(u64) -> Outcome, seed: u64) -> Outcome {
    let (first, second) = (case(seed), case(seed));
    if first.violation.is_some() || first.trace == second.trace {
        return first;
    }
    let differing = first.trace.lines().zip(second.trace.lines()).enumerate().find(|(_, (one, other))| one != other);
    let what = match differing {
        Some((i, (one, other))) => format!("line {}: first {one:?}, then {other:?}", i + 1),
        None => "one trace is longer than the other".to_owned(),
    };
    Outcome { violation: Some(broken(Promise::OneTrace, what)), ..first }
}

struct Simulation {
    hub: Hub,
    judge: Judge,
    plan: Plan,
    runs: Vec<Prepared>,
    /// By line and start: the run over a changed world, where the plan has one and the world can be changed so.
    changed: BTreeMap<(usize, usize), (Change, Prepared)>,
    refusal: Option<Reason>,
    gate: ModelGate,
    store: Store,
    lines: Vec<LineState>,
    processes: BTreeMap<ProcessId, (usize, Process<Ended>)>,
    agenda: Agenda,
}

#[derive(Debug, Default)]
struct LineState {
    starts: usize,
    live: usize,
    /// Ends that no further start would mend.
    refused: usize,
    done: bool,
}

/// What is due outside the processes. Clones share it.
#[derive(Clone, Default)]
struct Agenda(Arc<Mutex<VecDeque<Due>>>);

#[derive(Debug, Clone, Copy)]
enum Due {
    Start(usize),
    Resume(ProcessId),
}

impl Agenda {
    fn push(&self, due: Due) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(due);
    }

    fn pop(&self) -> Option<Due> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Simulation {
    fn new(hub: &Hub, plan: Plan) -> Result<Self, Violation> {
        let unusable = |refusal: Refusal| broken(Promise::Progress, format!("the world: {refusal}"));
        let world = World::make(&plan.world).map_err(unusable)?;
        let (mut runs, mut lines, mut changed) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (i, line) in plan.lines.iter().enumerate() {
            for (start, change) in line.changes.iter().enumerate() {
                let Some(change) = *change else { continue };
                if let Some(other) = world.changed(&plan.world, change).map_err(unusable)? {
                    changed.insert((i, start), (change, other.prepare(line).map_err(unusable)?));
                }
            }
            let run = world.prepare(line).map_err(unusable)?;
            let events = world.events(&run, &plan)?;
            lines.push(Line::new(&world, &run, events, &plan.settings));
            runs.push(run);
        }
        let events: usize = lines.iter().map(Line::len).sum();
        let judge = Judge::new(lines);
        judge.count(|totals| totals.events = events as u64);
        let gate = ModelGate::new(hub.clone(), judge.clone(), plan.gate.clone());
        let store = match plan.store.lease {
            Some(_) => Store::Database(Database::new(hub.clone(), judge.clone(), plan.store.clone())),
            None => Store::Disk(Disk::new(hub.clone(), judge.clone(), plan.store.clone())),
        };
        let states = plan.lines.iter().map(|_| LineState::default()).collect();
        Ok(Self {
            hub: hub.clone(),
            judge,
            plan,
            runs,
            changed,
            refusal: world.refusal,
            gate,
            store,
            lines: states,
            processes: BTreeMap::new(),
            agenda: Agenda::default(),
        })
    }

    fn run(&mut self) -> Option<Violation> {
        for line in 0..self.lines.len() {
            self.start_within(line, 50);
        }
        loop {
            if let Some(violation) = self.judge.violation() {
                return Some(violation);
            }
            if self.lines.iter().all(|line| line.done && line.live == 0) {
                return None;
            }
            if self.hub.steps() > STEPS || self.lines.iter().any(|line| line.starts > STARTS) {
                let what = format!("after {} steps it has not ended: {:?}", self.hub.steps(), self.lines);
                return Some(broken(Promise::Progress, what));
            }
            if let Some(process) = self.hub.next_runnable() {
                self.turn(process);
            } else if let Some(due) = self.agenda.pop() {
                match due {
                    Due::Start(line) => self.start(line),
                    Due::Resume(process) => {
                        self.hub.note(format_args!("p{process} is run again"));
                        self.judge.is_resumed(process);
                        self.hub.resume(process);
                    }
                }
            } else {
                self.look_at_rests();
                if !self.hub.advance() {
                    let what = format!("nothing happens any more: {:?}", self.lines);
                    return Some(broken(Promise::Progress, what));
                }
            }
        }
    }

    /// Starts another process of a line some time within so many milliseconds.
    fn start_within(&self, line: usize, millis: u64) {
        let after = self.hub.draw(|r| r.below(millis + 1));
        self.later(after, Due::Start(line));
    }

    fn later(&self, millis: u64, due: Due) {
        let agenda = self.agenda.clone();
        self.hub.later(Duration::from_millis(millis), move || agenda.push(due));
    }

    fn start(&mut self, line: usize) {
        let state = &mut self.lines[line];
        if state.done || state.live > 1 {
            return;
        }
        let plan = &self.plan.lines[line];
        let id = self.hub.process(plan.blows.get(state.starts).copied());
        let (positions, cursors) = self.judge.has_positions(line);
        // Without positions any world may be streamed; and what no footer tells is told by the rows at the cursors.
        let counts = |change: Change| if change == Change::OtherRows { cursors } else { positions };
        let changed = self.changed.get(&(line, state.starts)).filter(|(change, _)| counts(*change));
        (state.starts, state.live) = (state.starts + 1, state.live + 1);
        self.judge.sets_out(id, line, changed.is_some());
        self.judge.count(|totals| {
            totals.processes += 1;
            totals.changed += u64::from(changed.is_some());
        });
        let over = changed.map_or(String::new(), |(change, _)| format!(" over a changed world: {change:?}"));
        self.hub.note(format_args!("p{id} starts on line {line}{over}"));
        let run = changed.map_or(&self.runs[line], |(_, run)| run).clone();
        let off = self.hub.draw(|r| r.below(20_000_000)).cast_signed() - 10_000_000;
        let outfit = Outfit {
            run: SlowStore::put_before(run, &self.hub, id, self.plan.failing_reads),
            attempt_id: plan.attempt_id,
            settings: self.plan.settings.clone(),
            gate: self.gate.reached_by(id, plan.run),
            store: self.store.clone(),
            plan: self.plan.store.clone(),
            clock: SimClock::new(self.hub.clone(), id, off),
        };
        let hub = self.hub.clone();
        match Process::start(id, hub.clone(), |stop, pushes| produce(id, hub, outfit, stop, pushes)) {
            Ok(process) => {
                self.processes.insert(id, (line, process));
            }
            Err(error) => self.judge.blame(broken(Promise::Progress, format!("no runtime: {error}"))),
        }
    }

    /// Before time passes, no connection may rest in vain.
    fn look_at_rests(&self) {
        for (id, (_, process)) in &self.processes {
            if self.hub.life(*id) == Life::Running {
                self.judge.rests(*id, process.handed());
            }
        }
    }

    fn turn(&mut self, id: ProcessId) {
        let Some((line, process)) = self.processes.get_mut(&id) else { return };
        let line = *line;
        match process.turn() {
            Turn::Idle => {}
            Turn::Ended(ended) => self.ended(id, line, &ended),
            Turn::Struck(Blow::Stop) => {
                self.hub.note(format_args!("p{id} is asked to stop"));
                self.judge.count(|totals| totals.stops += 1);
                process.stop();
                self.judge.stops(id);
                self.turn(id);
            }
            Turn::Struck(Blow::Stall(time)) => {
                self.hub.note(format_args!("p{id} is stalled for {time:?}"));
                self.judge.count(|totals| totals.stalls += 1);
                self.hub.stall(id);
                let millis = time.as_millis() as u64;
                self.later(millis, Due::Resume(id));
                if self.plan.rivals {
                    self.judge.count(|totals| totals.rivals += 1);
                    self.start_within(line, millis);
                }
            }
            Turn::Struck(Blow::Crash) => {
                self.hub.note(format_args!("p{id} crashes"));
                self.judge.count(|totals| totals.crashes += 1);
                self.vanish(id, line);
                self.start_within(line, 3_000);
            }
            Turn::Struck(Blow::PowerLoss) => self.lose_power(),
        }
    }

    /// Every process dies, and the disk keeps what is durable, and some of the rest.
    fn lose_power(&mut self) {
        self.hub.note(format_args!("the power is lost"));
        self.judge.count(|totals| totals.power_losses += 1);
        if let Store::Disk(disk) = &self.store {
            disk.lose_power();
        }
        let died: Vec<_> = self.processes.iter().map(|(id, (line, _))| (*id, *line)).collect();
        for (id, line) in died {
            self.vanish(id, line);
            self.start_within(line, 3_000);
        }
    }

    fn ended(&mut self, id: ProcessId, line: usize, ended: &Ended) {
        let refusal = ended.refusal.as_ref();
        match refusal {
            None => self.hub.note(format_args!("p{id} has streamed its line")),
            Some(refusal) => self.hub.note(format_args!("p{id} ends: {refusal}")),
        }
        let tally = ended.account.as_ref().map(|account| account.tally.lock());
        let run = self.plan.lines[line].run;
        let end = End { tally: tally.as_deref(), pushes: ended.pushes, refusal };
        self.judge.ends(id, &end, |event_id| self.gate.has(run, event_id));
        self.vanish(id, line);
        let state = &mut self.lines[line];
        let Some(refusal) = refusal else {
            state.done = true;
            self.judge.count(|totals| totals.streamed += 1);
            return;
        };
        let reason = refusal.reason;
        self.judge.count(|totals| {
            totals.busy += u64::from(reason == Reason::CheckpointScopeBusy);
            totals.leases_lost += u64::from(reason == Reason::CheckpointLeaseLost);
        });
        // What the world or the gate refuses is tried once more, as by somebody who does not believe it.
        state.refused += usize::from(Some(reason) == self.refusal || reason == Reason::IgPushRejected);
        if state.refused > 1 {
            state.done = true;
            self.judge.count(|totals| totals.refused += 1);
            return;
        }
        // Who came second leaves the line to who is there.
        if state.live == 0 {
            self.start_within(line, 4_000);
        }
    }

    fn vanish(&mut self, id: ProcessId, line: usize) {
        if let Some((_, process)) = self.processes.remove(&id) {
            process.vanish();
            self.lines[line].live -= 1;
        }
    }
}

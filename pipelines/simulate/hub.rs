//! The one place where a simulation's time passes, chance is drawn and the trace is written.
//!
//! ```text
//! sleeps, answers, statements ──at a time──► queue ──one after the other──► wakers of processes
//!                                              │ same time: chance decides
//!                                              ▼
//!                                      now · random · trace
//! ```
//!
//! Nothing here asks the machine for anything, so a seed decides on all that happens.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wsp::random::Random;

/// A process of the simulation; numbers are never given twice.
pub(super) type ProcessId = usize;

/// What befalls a process at one of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// It dies on the spot.
    Crash,
    /// It dies on the spot, and every other process on its machine; what is not synced may be lost.
    PowerLoss,
    /// It is not run for this long, while the world goes on.
    Stall(Duration),
    /// It is asked to stop.
    Stop,
}

/// How a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs.
    Running,
    /// It is not run.
    Stalled,
    /// It is gone; whatever of it is still polled does nothing.
    Dead,
}

/// The hub. Clones share it.
#[derive(Clone)]
pub(super) struct Hub(Arc<Mutex<Inner>>);

/// By time, a drawn number, a serial number: what happens at one time happens in a drawn order.
type Queue = BTreeMap<(Duration, u64, u64), Box<dyn FnOnce() + Send>>;

struct Inner {
    now: Duration,
    serial: u64,
    queue: Queue,
    random: Random,
    steps: u64,
    processes: Vec<Process>,
    trace: String,
}

struct Process {
    life: Life,
    steps: u64,
    blow: Option<(u64, Blow)>,
    /// A blow that fell and that nobody has dealt with yet.
    fallen: Option<Blow>,
    runnable: bool,
    /// Wakers that came while it was stalled.
    held: Vec<Waker>,
    /// Wakes the process's own turn.
    turn: Option<Waker>,
}

impl Hub {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now: Duration::ZERO,
            serial: 0,
            queue: BTreeMap::new(),
            random: Random::of(&[seed, 0x68_75_62]),
            steps: 0,
            processes: Vec::new(),
            trace: String::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the simulation's start.
    pub(super) fn now(&self) -> Duration {
        self.lock().now
    }

    /// Steps taken by all processes.
    pub(super) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Draws from the simulation's one source of chance.
    pub(super) fn draw<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.lock().random)
    }

    /// Writes a line of the trace.
    pub(super) fn note(&self, line: fmt::Arguments<'_>) {
        use fmt::Write as _;
        let mut inner = self.lock();
        let micros = inner.now.as_micros();
        // Writing to a String can't fail.
        let _ = writeln!(inner.trace, "{micros:>12} {line}");
    }

    /// The trace so far, taken out.
    pub(super) fn take_trace(&self) -> String {
        std::mem::take(&mut self.lock().trace)
    }

    /// Does `work` once `after` has passed.
    pub(super) fn later(&self, after: Duration, work: impl FnOnce() + Send + 'static) {
        let mut inner = self.lock();
        let (at, tie) = (inner.now + after, inner.random.next());
        inner.serial += 1;
        let key = (at, tie, inner.serial);
        inner.queue.insert(key, Box::new(work));
    }

    /// Lets time pass up to the next thing that happens, and lets it happen. False where nothing will.
    pub(super) fn advance(&self) -> bool {
        let work = {
            let mut inner = self.lock();
            let Some(((at, ..), work)) = inner.queue.pop_first() else { return false };
            inner.now = inner.now.max(at);
            work
        };
        work();
        true
    }

    /// A new process, runnable, on which `blow` falls at its given step.
    pub(super) fn process(&self, blow: Option<(u64, Blow)>) -> ProcessId {
        let mut inner = self.lock();
        inner.processes.push(Process {
            life: Life::Running,
            steps: 0,
            blow,
            fallen: None,
            runnable: true,
            held: Vec::new(),
            turn: None,
        });
        inner.processes.len() - 1
    }

    pub(super) fn life(&self, process: ProcessId) -> Life {
        self.lock().processes[process].life
    }

    /// Lets a process take a step: something that the outside can see. False where it is dead and takes none.
    pub(super) fn step(&self, process: ProcessId) -> bool {
        let mut inner = self.lock();
        inner.steps += 1;
        let one = &mut inner.processes[process];
        if one.life == Life::Dead {
            return false;
        }
        one.steps += 1;
        if one.blow.is_some_and(|(at, _)| one.steps >= at) {
            one.fallen = one.blow.take().map(|(_, blow)| blow);
            if matches!(one.fallen, Some(Blow::Crash | Blow::PowerLoss)) {
                one.life = Life::Dead;
            }
            if let Some(turn) = one.turn.take() {
                turn.wake();
            }
        }
        one.life != Life::Dead
    }

    /// The blow that has fallen on a process since the last question.
    pub(super) fn fallen(&self, process: ProcessId, turn: &Waker) -> Option<Blow> {
        let mut inner = self.lock();
        let one = &mut inner.processes[process];
        one.turn = Some(turn.clone());
        one.fallen.take()
    }

    /// Stops running a process, until [`Hub::resume`].
    pub(super) fn stall(&self, process: ProcessId) {
        let mut inner = self.lock();
        let one = &mut inner.processes[process];
        if one.life == Life::Running {
            one.life = Life::Stalled;
        }
    }

    /// Runs a stalled process again, with all that came for it meanwhile.
    pub(super) fn resume(&self, process: ProcessId) {
        let held = {
            let mut inner = self.lock();
            let one = &mut inner.processes[process];
            if one.life != Life::Stalled {
                return;
            }
            (one.life, one.runnable) = (Life::Running, true);
            std::mem::take(&mut one.held)
        };
        held.into_iter().for_each(Waker::wake);
    }

    /// No step of a process is taken from now on.
    pub(super) fn kill(&self, process: ProcessId) {
        self.lock().processes[process].life = Life::Dead;
    }

    /// Wakes something in a process, now or when it is no longer stalled.
    pub(super) fn wake(&self, process: ProcessId, waker: Waker) {
        {
            let mut inner = self.lock();
            let one = &mut inner.processes[process];
            match one.life {
                Life::Dead => return,
                Life::Stalled => return one.held.push(waker),
                Life::Running => one.runnable = true,
            }
        }
        waker.wake();
    }

    /// A process that has something to do, drawn among them.
    pub(super) fn next_runnable(&self) -> Option<ProcessId> {
        let mut inner = self.lock();
        let ready = |one: &Process| one.runnable && one.life == Life::Running;
        let count = inner.processes.iter().filter(|one| ready(one)).count() as u64;
        let drawn = if count > 1 { inner.random.below(count) } else { 0 };
        let mut runnable = inner.processes.iter_mut().enumerate().filter(|(_, one)| ready(one));
        let (process, one) = runnable.nth(drawn as usize)?;
        one.runnable = false;
        Some(process)
    }

    /// Resolves in `process` after this long.
    pub(super) fn sleep(&self, process: ProcessId, after: Duration) -> Reply<()> {
        let slot = self.slot(process);
        slot.fill_after(after, || ());
        slot.reply()
    }

    /// A place for one answer to `process`.
    pub(super) fn slot<T: Send + 'static>(&self, process: ProcessId) -> Slot<T> {
        Slot {
            hub: self.clone(),
            process,
            state: Arc::new(Mutex::new(State { value: None, filled: false, waker: None })),
        }
    }
}

struct State<T> {
    value: Option<T>,
    filled: bool,
    waker: Option<Waker>,
}

/// Where an answer to a process is put; the first one counts. Clones share it.
pub(super) struct Slot<T> {
    hub: Hub,
    process: ProcessId,
    state: Arc<Mutex<State<T>>>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { hub: self.hub.clone(), process: self.process, state: self.state.clone() }
    }
}

impl<T: Send + 'static> Slot<T> {
    /// Puts an answer, unless there is one.
    pub(super) fn fill(&self, value: T) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.filled {
                return;
            }
            state.filled = true;
            state.value = Some(value);
            state.waker.take()
        };
        if let Some(waker) = waker {
            self.hub.wake(self.process, waker);
        }
    }

    /// Puts the answer that `make` gives then, unless there is one by that time.
    pub(super) fn fill_after(&self, after: Duration, make: impl FnOnce() -> T + Send + 'static) {
        let slot = self.clone();
        self.hub.later(after, move || {
            let filled = slot.state.lock().unwrap_or_else(PoisonError::into_inner).filled;
            if !filled {
                slot.fill(make());
            }
        });
    }

    /// The waiting end.
    pub(super) fn reply(&self) -> Reply<T> {
        Reply { slot: self.clone() }
    }
}

/// Waits for an answer. In a dead process it never comes.
pub(super) struct Reply<T> {
    slot: Slot<T>,
}

impl<T: Send + 'static> Future for Reply<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Slot { hub, process, state } = &self.slot;
        if hub.life(*process) == Life::Dead {
            return Poll::Pending;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

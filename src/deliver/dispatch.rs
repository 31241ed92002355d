//! Hands events to connections: any free connection takes the first event that may go.
//!
//! ```text
//! push ──add──► Lines ◄──next── connection ──settle · hold──► Lines
//!                 ▲                 ▲ wake
//!                 └──── keeper: time of the next retry, credit, stop
//! ```
//!
//! A connection that has its answer takes the next event itself, without a detour over another task. A connection that
//! finds none rests until it is woken. [`State::balance`] runs after every change and keeps one rule: no connection rests
//! while an event may go that no woken connection is about to take.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::lines::{Lines, Numbered};
use crate::clock::Clock;
use crate::credit::Credit;

/// What else decides whether an event may go.
pub(super) trait Rules {
    /// Nothing is sent any more.
    fn halted(&self) -> bool;

    /// The time by which retries are due.
    fn now(&self) -> Duration;

    /// Pays for a retry, or says when to ask again: later than `now`.
    fn pay_retry(&self, now: Duration) -> Result<(), Duration>;
}

/// The events of a stage that wait to be sent, and the connections that wait for one.
#[derive(Debug)]
pub(super) struct Dispatch<T> {
    state: Mutex<State<T>>,
    /// The keeper has to look again.
    call: Notify,
}

#[derive(Debug)]
struct State<T> {
    lines: Lines<T>,
    /// What an event's first attempt is spent from.
    credit: Option<Credit>,
    connections: Vec<Standing>,
    /// Connections at rest, the one that rests since last on top: its socket is the warmest.
    resting: Vec<usize>,
    /// How many connections are about to take an event.
    woken: usize,
    on_the_way: usize,
    /// Nothing more is added.
    closed: bool,
    /// Nothing more is handed out.
    over: bool,
    /// The keeper has spent credit for the next first attempt.
    paid: bool,
    /// The gate's budget has no retry left before this time.
    no_retry_before: Duration,
    /// The latest time anybody looked at.
    seen: Duration,
    keeper: Keeper,
}

/// What a connection does.
#[derive(Debug, Clone)]
enum Standing {
    /// It has an event.
    Busy,
    /// It waits to be woken.
    Resting(Waker),
    /// It was woken, or has an answer: it takes an event soon.
    Woken,
}

/// What the keeper waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keeper {
    /// A retry that a resting connection can take then.
    due: Option<Duration>,
    /// Credit for a first attempt that a resting connection can make.
    credit: bool,
}

impl<T> Dispatch<T> {
    pub(super) fn new(connections: usize, credit: Option<Credit>) -> Self {
        let state = State {
            lines: Lines::new(),
            credit,
            connections: vec![Standing::Woken; connections],
            resting: Vec::with_capacity(connections),
            woken: connections,
            on_the_way: 0,
            closed: false,
            over: false,
            paid: false,
            no_retry_before: Duration::ZERO,
            seen: Duration::ZERO,
            keeper: Keeper { due: None, credit: false },
        };
        Self { state: Mutex::new(state), call: Notify::new() }
    }

    /// Takes in the next event. `settle_in` prepares one that may wait for long.
    pub(super) fn add(&self, numbered: Numbered<T>, settle_in: impl FnOnce(&mut T)) {
        self.change(|state| state.lines.add(numbered, settle_in));
    }

    /// Nothing more is added: connections end once all is answered.
    pub(super) fn close(&self) {
        self.change(|state| {
            state.closed = true;
            state.end_if_done();
        });
    }

    /// Nothing more is handed out: what waits is dropped unsent.
    pub(super) fn halt(&self) {
        self.change(State::end);
    }

    /// The next event for a connection: one whose retry is due, else the first that may be sent for the first time.
    /// `None` once there will be none.
    pub(super) async fn next(&self, connection: usize, rules: &impl Rules) -> Option<Numbered<T>> {
        poll_fn(|cx| self.poll_next(connection, rules, cx)).await
    }

    fn poll_next(&self, connection: usize, rules: &impl Rules, cx: &mut Context<'_>) -> Poll<Option<Numbered<T>>> {
        if rules.halted() {
            return Poll::Ready(None);
        }
        self.change(|state| {
            if state.over {
                return Poll::Ready(None);
            }
            let next = state.take(rules);
            if next.is_some() {
                state.stand(connection, Standing::Busy);
                state.on_the_way += 1;
                return Poll::Ready(next);
            }
            state.stand(connection, Standing::Resting(cx.waker().clone()));
            Poll::Pending
        })
    }

    /// The event of a connection was answered; it was of `line`. Where it held up others of its line, says whether a
    /// connection rested meanwhile.
    pub(super) fn settle(&self, connection: usize, line: Option<u64>) -> Option<bool> {
        self.change(|state| {
            let rested = !state.resting.is_empty();
            state.on_the_way -= 1;
            state.stand(connection, Standing::Woken);
            let held_up = state.lines.settle(line);
            state.end_if_done();
            held_up.then_some(rested)
        })
    }

    /// The event of a connection failed and is tried again at `due`. `settle_in` prepares it, and those behind it, for
    /// their wait.
    pub(super) fn hold(&self, connection: usize, numbered: Numbered<T>, due: Duration, settle_in: impl Fn(&mut T)) {
        self.change(|state| {
            state.on_the_way -= 1;
            state.stand(connection, Standing::Woken);
            state.lines.hold(numbered, due, settle_in);
        });
    }

    /// Wakes connections at rest for what comes with time: retries that fall due, credit that is there again, and
    /// `halted`, with which it ends.
    pub(super) async fn keep<C: Clock>(&self, clock: &C, halted: impl Future<Output = ()>) {
        let mut halted = pin!(halted);
        loop {
            let (Keeper { due, credit }, account) = self.orders();
            let spend = async {
                match account {
                    Some(account) => account.spend().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut halted => return self.halt(),
                () = spend, if credit => self.change(|state| state.paid = true),
                () = clock.sleep_until(due.unwrap_or_default()), if due.is_some() => {
                    self.change(|state| state.seen = state.seen.max(due.unwrap_or_default()));
                }
                () = self.call.notified() => {}
            }
        }
    }

    /// What the keeper waits for from now on.
    fn orders(&self) -> (Keeper, Option<Credit>) {
        let mut state = self.lock();
        state.keeper = state.wants_kept();
        (state.keeper, state.credit.clone())
    }

    /// Changes something, and wakes whoever is concerned.
    fn change<R>(&self, work: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state);
        if state.balance() {
            self.call.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self, rules: &impl Rules) -> Option<Numbered<T>> {
        if let Some(due) = self.next_retry() {
            self.seen = self.seen.max(rules.now());
            if due <= self.seen {
                match rules.pay_retry(self.seen) {
                    Ok(()) => return self.lines.take_due(self.seen),
                    Err(until) => self.no_retry_before = until,
                }
            }
        }
        // Events that wait have spent nothing: a crash can't repeat them.
        if self.lines.ready() > 0 && (std::mem::take(&mut self.paid) || self.try_spend()) {
            self.lines.take()
        } else {
            None
        }
    }

    fn try_spend(&self) -> bool {
        self.credit.as_ref().is_none_or(Credit::try_spend)
    }

    /// When the next retry may go.
    fn next_retry(&self) -> Option<Duration> {
        self.lines.next_due().map(|due| due.max(self.no_retry_before))
    }

    /// How many events may be sent for the first time, by order and by credit.
    fn may_go(&self) -> usize {
        let ready = self.lines.ready();
        match &self.credit {
            Some(credit) if ready > 0 => {
                let left = usize::try_from(credit.left()).unwrap_or(usize::MAX);
                ready.min(left.saturating_add(usize::from(self.paid)))
            }
            _ => ready,
        }
    }

    /// Wakes as many connections as there are events that may go. Of the retries that are due it counts one; whoever takes
    /// it looks whether there is another. Says whether the keeper has to look again.
    fn balance(&mut self) -> bool {
        if self.over {
            return false;
        }
        let retry = self.next_retry().is_some_and(|due| due <= self.seen);
        let wanted = self.may_go() + usize::from(retry);
        while self.woken < wanted
            && let Some(connection) = self.resting.last().copied()
        {
            self.stand(connection, Standing::Woken);
        }
        let wants = self.wants_kept();
        let sooner = wants.due.is_some_and(|due| self.keeper.due.is_none_or(|other| due < other));
        sooner || wants.credit && !self.keeper.credit
    }

    /// What the keeper has to wait for. Nothing while a connection is about to look for itself, or none rests: busy ones
    /// look when they have their answer.
    fn wants_kept(&self) -> Keeper {
        if self.over || self.woken > 0 || self.resting.is_empty() {
            return Keeper { due: None, credit: false };
        }
        Keeper { due: self.next_retry(), credit: self.lines.ready() > 0 }
    }

    /// Notes what a connection does from now on, and wakes it if it rested.
    fn stand(&mut self, connection: usize, standing: Standing) {
        let (rests, woken) = (matches!(standing, Standing::Resting(_)), matches!(standing, Standing::Woken));
        self.woken += usize::from(woken);
        match std::mem::replace(&mut self.connections[connection], standing) {
            Standing::Busy => {}
            Standing::Woken => self.woken -= 1,
            Standing::Resting(_) if rests => return,
            Standing::Resting(waker) => {
                // It is the top one, unless it came by itself.
                if self.resting.last() == Some(&connection) {
                    self.resting.pop();
                } else {
                    self.resting.retain(|other| *other != connection);
                }
                if woken {
                    waker.wake();
                }
            }
        }
        if rests {
            self.resting.push(connection);
        }
    }

    fn end_if_done(&mut self) {
        if self.closed && self.on_the_way == 0 && self.lines.is_idle() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.over = true;
        while let Some(connection) = self.resting.last().copied() {
            self.stand(connection, Standing::Woken);
        }
    }
}

#[cfg(test)]
mod tests;

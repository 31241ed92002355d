//! The way to the gate: who may send now, who waits, who asks the gate how it is.
//!
//! ```text
//! connection ──enter──► calm? ──yes──────────────────────────► attempt ──good · bad──► Regulator
//!                      └─no──► Regulator ──► turn, in the order of arrival ◄── room ──┘
//! ```
//!
//! While the gate is well and the limit is fixed, an attempt costs one look at an atomic on either side of it. A
//! lock is taken only when something fails, or the limit adapts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver, Sender};

use super::budget::Purse;
use super::regulator::{Entry, Failure, Permit, Regulator};
use super::stats::PushStats;

/// No epoch: not everybody may send.
const NOT_CALM: u64 = 0;

/// Shared by the connections of a stage.
#[derive(Debug)]
pub(super) struct Admission {
    /// The epoch of calm, or [`NOT_CALM`].
    calm: AtomicU64,
    quiet: AtomicBool,
    /// Who is told whether the gate is down.
    stats: PushStats,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    regulator: Regulator,
    purse: Purse,
    /// Connections that wait for their turn, in the order they came.
    waiting: VecDeque<Sender<Permit>>,
    /// What the gate did last to be thought down.
    cause: String,
}

/// What a connection does next.
#[derive(Debug)]
pub(super) enum Way {
    /// Send.
    Open(Permit),
    /// Ask the gate how it is, and tell [`Admission::asked`]; then come again.
    Ask,
    /// Wait for a turn, or until a time; then come again.
    Wait(Turn, Option<Duration>),
    /// Nothing was taken for too long: since then, and why.
    GivenUp(Duration, String),
}

/// A place among those who wait.
#[derive(Debug)]
pub(super) struct Turn(Receiver<Permit>);

impl Turn {
    /// Resolves with a permit, or with none when it is better to come again.
    pub(super) async fn come(&mut self) -> Option<Permit> {
        (&mut self.0).await.ok()
    }

    /// Leaves the place; the permit, if it came meanwhile.
    pub(super) fn leave(mut self) -> Option<Permit> {
        self.0.close();
        self.0.try_recv().ok()
    }
}

impl Admission {
    pub(super) fn new(regulator: Regulator, purse: Purse, stats: PushStats) -> Self {
        let admission = Self {
            calm: AtomicU64::new(NOT_CALM),
            quiet: AtomicBool::new(false),
            stats,
            inner: Mutex::new(Inner { regulator, purse, waiting: VecDeque::new(), cause: String::new() }),
        };
        admission.settle(&admission.lock());
        admission
    }

    /// A permit, if everybody may send.
    pub(super) fn calm(&self) -> Option<Permit> {
        let epoch = self.calm.load(Ordering::Relaxed);
        (epoch != NOT_CALM).then(|| Permit::calm(epoch))
    }

    /// A permit, or what to do to get one.
    pub(super) fn enter(&self, now: Duration) -> Way {
        let mut inner = self.lock();
        // Who comes new stands behind those who wait.
        inner.call(now);
        let way = match inner.regulator.enter(now) {
            Entry::Go(permit) => Way::Open(permit),
            Entry::Ask => Way::Ask,
            Entry::Wait(until) => Way::Wait(inner.wait(), until),
            Entry::GivenUp(since) => Way::GivenUp(since, inner.cause.clone()),
        };
        self.settle(&inner);
        way
    }

    /// What the gate said when it was asked how it is: nothing wrong, or what is.
    pub(super) fn asked(&self, now: Duration, answer: Result<(), String>) {
        let mut inner = self.lock();
        inner.regulator.asked(now, answer.is_ok());
        if let Err(cause) = answer {
            tracing::debug!(%cause, "the gate is still down");
            inner.cause = cause;
        } else {
            tracing::info!("the gate says it is up; one event is tried");
        }
        // Everybody hears the news: what there is to wait for is another thing now.
        inner.call_all(now);
        self.settle(&inner);
    }

    /// The attempt of `permit`, begun at `started`, was answered for good; `now` is looked at only if it matters.
    pub(super) fn good(&self, permit: Permit, started: Duration, now: Duration) {
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.lock();
        inner.regulator.good(permit, started, now);
        inner.call(now);
        self.settle(&inner);
    }

    /// The attempt of `permit` failed in a way that another may mend.
    pub(super) fn bad(&self, permit: Permit, now: Duration, failure: Failure, why: &str) -> bool {
        let mut inner = self.lock();
        let opened = inner.regulator.bad(permit, now, failure);
        if opened {
            // One line an outage; that it goes on, each attempt would say again.
            if self.stats.gate_down_since().is_none() {
                tracing::warn!(%why, "the gate seems down: nothing is sent until it says it is up");
            } else {
                tracing::debug!(%why, "the gate is still down");
            }
            why.clone_into(&mut inner.cause);
            inner.waiting.clear();
        } else {
            inner.call(now);
        }
        self.settle(&inner);
        opened
    }

    /// Pays for a retry out of the gate's budget, or says when to ask again; `firsts` is the number of first attempts.
    pub(super) fn pay(&self, now: Duration, firsts: u64) -> Result<(), Duration> {
        self.lock().purse.withdraw(now, firsts)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what can be told without the lock from now on.
    fn settle(&self, inner: &Inner) {
        self.calm.store(inner.regulator.calm().unwrap_or(NOT_CALM), Ordering::Relaxed);
        self.quiet.store(inner.regulator.quiet(), Ordering::Relaxed);
        self.stats.gate_down(inner.regulator.down_since());
    }
}

impl Inner {
    fn wait(&mut self) -> Turn {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push_back(sender);
        Turn(receiver)
    }

    /// Hands what may be sent now to those who wait, first come first served.
    fn call(&mut self, now: Duration) {
        if self.regulator.calm().is_some() {
            // Nobody is counted any more; each finds the way open.
            return self.waiting.clear();
        }
        while self.regulator.has_room()
            && let Some(place) = self.waiting.pop_front()
        {
            if let Entry::Go(permit) = self.regulator.enter(now)
                && let Err(permit) = place.send(permit)
            {
                self.regulator.give_back(permit);
            }
        }
    }

    /// Has everybody come again.
    fn call_all(&mut self, now: Duration) {
        self.call(now);
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::deliver::aimd::Adaptive;
    use crate::deliver::budget::RetryBudget;
    use crate::deliver::circuit::CircuitPolicy;

    const MS: Duration = Duration::from_millis(1);

    fn admission(failures: u32, adaptive: Option<Adaptive>) -> Admission {
        let circuit = CircuitPolicy { failures, ..CircuitPolicy::default() };
        let regulator = Regulator::new(circuit, adaptive, 8);
        Admission::new(regulator, Purse::new(RetryBudget::default()), PushStats::new())
    }

    #[allow(clippy::needless_pass_by_value, reason = "a way is gone once it was taken")]
    fn open(way: Way) -> Permit {
        let Way::Open(permit) = way else { unreachable!("{way:?}") };
        permit
    }

    fn turn(way: Way) -> Turn {
        let Way::Wait(turn, None) = way else { unreachable!("{way:?}") };
        turn
    }

    fn failure(overload: bool) -> Failure {
        Failure { started: MS, overload, retry_after: None }
    }

    #[tokio::test]
    async fn turns_come_in_the_order_of_arrival_and_who_left_is_passed_over() {
        let admission = admission(0, Some(Adaptive { min: 1, slow: MS * 100 }));
        assert!(admission.calm().is_none());
        let first = open(admission.enter(MS));
        let [mut second, third, mut fourth] = [(); 3].map(|()| turn(admission.enter(MS)));
        assert!(third.leave().is_none());
        // A good first answer makes room for two; overload takes that back, and one goes for one that ends.
        admission.good(first, MS, MS * 2);
        let second = second.come().await.unwrap();
        let fourth = fourth.come().await.unwrap();
        let [mut fifth, sixth] = [(); 2].map(|()| turn(admission.enter(MS * 2)));
        admission.bad(second, MS * 3, failure(true), "429");
        admission.bad(fourth, MS * 3, failure(false), "500");
        assert!(fifth.come().await.is_some());
        assert!(sixth.leave().is_none());
    }

    /// They wait for one that ends, and none will: somebody has to ask the gate at the time that only a new way tells.
    #[tokio::test]
    async fn those_who_wait_behind_others_come_again_when_the_gate_goes_down() {
        let admission = admission(1, Some(Adaptive { min: 1, slow: MS * 100 }));
        let first = open(admission.enter(MS));
        let mut second = turn(admission.enter(MS));
        assert!(admission.bad(first, MS, failure(true), "gone"));
        assert!(matches!(second.come().now_or_never(), Some(None)));
        assert!(matches!(admission.enter(MS), Way::Wait(_, Some(_))));
    }

    #[tokio::test]
    async fn the_one_event_that_tries_a_gate_that_is_up_again_is_the_first_that_waits() {
        let admission = admission(1, None);
        let permit = admission.calm().unwrap();
        admission.bad(permit, MS, failure(true), "gone");
        let Way::Wait(mut early, Some(until)) = admission.enter(MS) else { unreachable!() };
        let Way::Wait(mut late, Some(_)) = admission.enter(MS) else { unreachable!() };
        assert!(matches!(admission.enter(until), Way::Ask));
        admission.asked(until, Ok(()));
        assert!(matches!(early.come().now_or_never(), Some(Some(_))));
        assert!(matches!(late.come().now_or_never(), Some(None)), "come again");
    }

    #[tokio::test]
    async fn those_who_wait_for_a_gate_that_is_down_hear_all_news() {
        let admission = admission(1, None);
        let permit = admission.calm().unwrap();
        assert_eq!(admission.stats.gate_down_since(), None);
        assert!(admission.bad(permit, MS, failure(true), "gone"));
        assert!(admission.calm().is_none());
        assert_eq!(admission.stats.gate_down_since(), Some(MS));
        let Way::Wait(mut early, Some(until)) = admission.enter(MS) else { unreachable!() };
        assert!(matches!(admission.enter(until), Way::Ask));
        admission.asked(until, Err("still gone".to_owned()));
        assert!(early.come().await.is_none(), "come again, it is another time now");
        let Way::Wait(_, Some(until)) = admission.enter(until) else { unreachable!() };
        assert!(matches!(admission.enter(until), Way::Ask));
        admission.asked(until, Ok(()));
        let trial = open(admission.enter(until));
        let mut behind = turn(admission.enter(until));
        assert_eq!(admission.stats.gate_down_since(), Some(MS), "that it says it is up is no answer to an event");
        admission.good(trial, until, until);
        assert_eq!(admission.stats.gate_down_since(), None);
        assert!(behind.come().await.is_some());
    }
}

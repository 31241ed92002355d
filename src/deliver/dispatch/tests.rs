//! Who is woken, and when, poll by poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Wake;

use futures::FutureExt;
use futures_executor::block_on;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::random::mix;

const MS: Duration = Duration::from_millis(1);

/// A connection's task: how often it was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A time in milliseconds that the test sets, and retries that cost nothing.
#[derive(Default)]
struct Now(AtomicU64);

impl Rules for Now {
    fn halted(&self) -> bool {
        false
    }

    fn now(&self) -> Duration {
        MS * self.0.load(Ordering::Relaxed) as u32
    }

    fn pay_retry(&self, _: Duration) -> Result<(), Duration> {
        Ok(())
    }
}

struct Stage {
    dispatch: Dispatch<()>,
    tasks: Vec<Arc<Task>>,
    now: Now,
}

impl Stage {
    /// All of its connections rest, the last one since last.
    fn at_rest(connections: usize, credit: Option<Credit>) -> Self {
        let tasks = (0..connections).map(|_| Arc::default()).collect();
        let stage = Self { dispatch: Dispatch::new(connections, credit), tasks, now: Now::default() };
        (0..connections).for_each(|connection| assert_eq!(stage.next(connection), None));
        stage
    }

    /// The number of the event that a connection takes.
    fn next(&self, connection: usize) -> Option<u64> {
        let waker = self.tasks[connection].clone().into();
        match self.dispatch.poll_next(connection, &self.now, &mut Context::from_waker(&waker)) {
            Poll::Ready(next) => next.map(|next| next.seq),
            Poll::Pending => None,
        }
    }

    fn add(&self, seq: u64, line: u64) {
        self.dispatch.add(Numbered { seq, line: Some(line), item: () }, |()| {});
    }

    fn fail(&self, connection: usize, seq: u64, due: Duration) {
        self.dispatch.hold(connection, Numbered { seq, line: Some(seq), item: () }, due, |()| {});
    }

    /// How often each was woken so far.
    fn woken(&self) -> Vec<usize> {
        self.tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect()
    }

    fn keeper(&self) -> Keeper {
        self.dispatch.orders().0
    }
}

#[test]
fn as_many_connections_are_woken_as_events_may_go_the_warmest_first() {
    let stage = Stage::at_rest(4, None);
    stage.add(0, 7);
    assert_eq!(stage.woken(), [0, 0, 0, 1]);
    // These wait for their line.
    stage.add(1, 7);
    stage.add(2, 7);
    assert_eq!(stage.woken(), [0, 0, 0, 1]);
    stage.add(3, 8);
    assert_eq!(stage.woken(), [0, 0, 1, 1]);
    assert_eq!((stage.next(3), stage.next(2)), (Some(0), Some(3)));
    // Who has its answer takes the next of the line itself, and nobody is woken for it.
    let held_up = stage.dispatch.settle(3, Some(7));
    assert_eq!(held_up, Some(true), "it held up the other two while two connections rested");
    assert_eq!(stage.next(3), Some(1));
    assert_eq!(stage.dispatch.settle(2, Some(8)), None);
    assert_eq!(stage.next(2), None);
    assert_eq!(stage.woken(), [0, 0, 1, 1]);
    stage.add(4, 9);
    assert_eq!(stage.woken(), [0, 0, 2, 1], "it rests since last");
}

#[test]
fn an_event_that_another_connection_took_leaves_the_woken_one_at_rest_and_ready_to_be_woken() {
    let stage = Stage::at_rest(2, None);
    stage.add(0, 0);
    assert_eq!(stage.next(0), Some(0), "it looked by itself");
    assert_eq!(stage.next(1), None);
    stage.add(1, 1);
    assert_eq!((stage.woken(), stage.next(1)), (vec![0, 2], Some(1)));
    // A connection that looks twice rests once.
    stage.dispatch.settle(0, Some(0));
    assert_eq!((stage.next(0), stage.next(0)), (None, None));
    stage.add(2, 2);
    stage.add(3, 3);
    assert_eq!((stage.woken(), stage.next(0)), (vec![1, 2], Some(2)));
}

#[tokio::test]
async fn no_more_connections_are_woken_than_credit_lets_events_go() {
    let credit = Credit::new(2);
    let stage = Stage::at_rest(4, Some(credit.clone()));
    (0..4).for_each(|seq| stage.add(seq, seq));
    assert_eq!(stage.woken(), [0, 0, 1, 1]);
    assert_eq!((stage.next(3), stage.next(2)), (Some(0), Some(1)));
    assert_eq!((stage.woken(), stage.keeper()), (vec![0, 0, 1, 1], Keeper { due: None, credit: true }));
    // A busy one that has its answer finds no credit either, until some is there.
    stage.dispatch.settle(3, Some(0));
    assert_eq!(stage.next(3), None);
    credit.settle(1);
    let clock = SystemClock::new();
    let keeper = stage.dispatch.keep(&clock, std::future::pending());
    assert!(keeper.now_or_never().is_none());
    assert_eq!((stage.woken(), credit.left()), (vec![0, 0, 1, 2], 0));
    assert_eq!(stage.next(3), Some(2));
    assert_eq!(stage.keeper(), Keeper { due: None, credit: true });
}

#[test]
fn without_credit_nobody_is_woken_for_an_event() {
    let credit = Credit::new(1);
    assert!(credit.try_spend());
    let stage = Stage::at_rest(2, Some(credit));
    stage.add(0, 0);
    assert_eq!((stage.woken(), stage.keeper()), (vec![0, 0], Keeper { due: None, credit: true }));
}

#[test]
fn retries_that_are_due_wake_one_connection_after_the_other() {
    let stage = Stage::at_rest(3, None);
    (0..3).for_each(|seq| stage.add(seq, seq));
    let busy = [2, 1, 0].map(|connection| (connection, stage.next(connection).unwrap()));
    for (connection, seq) in busy {
        stage.fail(connection, seq, MS * 5);
        assert_eq!(stage.next(connection), None);
    }
    assert_eq!(stage.keeper(), Keeper { due: Some(MS * 5), credit: false });
    assert_eq!(stage.woken(), [1, 1, 1]);
    // An event comes in between: whoever takes it may be long on the way, and the retries still have their time.
    stage.add(3, 3);
    assert_eq!((stage.woken(), stage.keeper()), (vec![2, 1, 1], Keeper { due: None, credit: false }));
    assert_eq!(stage.next(0), Some(3));
    assert_eq!(stage.keeper(), Keeper { due: Some(MS * 5), credit: false });
    stage.now.0.store(5, Ordering::Relaxed);
    stage.dispatch.change(|state| state.seen = MS * 5);
    assert_eq!(stage.woken(), [2, 2, 1]);
    assert_eq!((stage.next(1), stage.woken()), (Some(0), vec![2, 2, 2]));
    assert_eq!(stage.next(2), Some(1));
    // All are busy; who is free first takes the last one, before any new event.
    stage.add(4, 4);
    assert_eq!(stage.keeper(), Keeper { due: None, credit: false });
    stage.dispatch.settle(0, Some(3));
    assert_eq!(stage.next(0), Some(2));
}

#[test]
fn all_end_once_all_is_answered_or_nothing_more_goes_out() {
    let stage = Stage::at_rest(3, None);
    stage.add(0, 0);
    assert_eq!(stage.next(2), Some(0));
    stage.dispatch.close();
    assert_eq!(stage.woken(), [0, 0, 1]);
    stage.fail(2, 0, MS);
    stage.now.0.store(1, Ordering::Relaxed);
    assert_eq!((stage.next(2), stage.woken()), (Some(0), vec![0, 0, 1]));
    stage.dispatch.settle(2, Some(0));
    assert_eq!(stage.woken(), [1, 1, 1]);
    let stage = Stage::at_rest(2, None);
    stage.dispatch.halt();
    assert_eq!(stage.woken(), [1, 1]);
    stage.add(0, 0);
    assert_eq!(stage.next(0), None, "dropped unsent");
}

impl Rules for SystemClock {
    fn halted(&self) -> bool {
        false
    }

    fn now(&self) -> Duration {
        Clock::now(self)
    }

    fn pay_retry(&self, _: Duration) -> Result<(), Duration> {
        Ok(())
    }
}

/// Sends what it gets, by a thread of its own: some fail once.
fn send(dispatch: &Dispatch<bool>, connection: usize, clock: SystemClock, credit: &Credit, answered: &AtomicU64) {
    while let Some(next) = block_on(dispatch.next(connection, &clock)) {
        if mix(next.seq).is_multiple_of(3) {
            std::thread::yield_now();
        }
        if mix(next.seq).is_multiple_of(8) && !next.item {
            let due = Clock::now(&clock) + Duration::from_micros(mix(next.seq) % 200);
            dispatch.hold(connection, Numbered { item: true, ..next }, due, |_| {});
            continue;
        }
        dispatch.settle(connection, next.line);
        let answered = answered.fetch_add(1, Ordering::Relaxed) + 1;
        if answered.is_multiple_of(16) {
            credit.settle(answered);
        }
    }
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = runtime.block_on(async { SystemClock::new() });
    for round in 1..=40 {
        let (credit, answered) = (Credit::new(48), AtomicU64::new(0));
        let dispatch = Dispatch::new(8, Some(credit.clone()));
        std::thread::scope(|scope| {
            let (dispatch, credit, answered) = (&dispatch, &credit, &answered);
            let senders = [0, 1, 2, 3, 4, 5, 6, 7]
                .map(|connection| scope.spawn(move || send(dispatch, connection, clock, credit, answered)));
            scope.spawn(move || {
                for seq in 0..1_000 {
                    dispatch.add(Numbered { seq, line: Some(mix(seq) % round), item: false }, |_| {});
                    if mix(seq).is_multiple_of(32) {
                        (0..50).for_each(|_| std::thread::yield_now());
                    }
                }
                dispatch.close();
            });
            let ended = async {
                while senders.iter().any(|sender| !sender.is_finished()) {
                    if Clock::now(&clock) > Duration::from_mins(1) {
                        // Lets the others end, so that the failure is seen.
                        dispatch.halt();
                    }
                    tokio::time::sleep(MS).await;
                }
            };
            runtime.block_on(dispatch.keep(&clock, ended));
        });
        assert_eq!(answered.load(Ordering::Relaxed), 1_000, "it stood still in round {round}");
    }
}

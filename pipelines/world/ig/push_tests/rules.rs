//! The rules of dispatch, held against a log of everything that a stage did:
//!
//! - no connection rests while an event may go, or a retry is due;
//! - two events of one line are never on the way together, and none before an older one of its line is answered;
//! - the first attempt of an event overtakes only events whose line is taken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use proptest::prelude::*;
use wsp::clock::{Clock, SystemClock};
use wsp::credit::Credit;
use wsp::deliver::{
    Adaptive, Answer, Attempt, CircuitPolicy, DeliveryMode, Gate, GateConnection, PushExt, PushOptions, PushStats,
    RetryBudget, RetryPolicy, Takes, Verdict,
};
use wsp::random::mix;

use super::{event, free, keyed, ms};
use crate::ig::memory::{Ending, MemoryGate, Step};
use crate::ig::{IgJudge, judge::judge};
use crate::model::Event;

#[derive(Debug, Clone, Copy)]
enum What {
    /// The next event reached the stage.
    Handed,
    Begins(u64),
    Answered(u64),
    /// Its next attempt is due then.
    Failed(u64, Duration),
    /// So many events are saved.
    Saved(u64),
}

#[derive(Clone)]
struct Log {
    clock: SystemClock,
    entries: Arc<Mutex<Vec<(Duration, What)>>>,
}

impl Log {
    fn note(&self, what: What) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push((self.clock.now(), what));
    }

    fn answered(&self) -> u64 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|(_, what)| matches!(what, What::Answered(_))).count() as u64
    }
}

#[derive(Clone)]
struct Logged {
    gate: MemoryGate<SystemClock>,
    log: Log,
    retry: RetryPolicy,
    attempts: Arc<Mutex<std::collections::HashMap<u64, u32>>>,
}

impl Gate for Logged {
    type Connection = Self;

    fn connection(&self) -> Self {
        self.clone()
    }
}

impl GateConnection for Logged {}

impl Takes<Event> for Logged {
    async fn push(&mut self, event: &Event) -> Attempt {
        let seq = event.position.seq;
        self.log.note(What::Begins(seq));
        let attempt = self.gate.push(event).await;
        let nth = {
            let mut attempts = self.attempts.lock().unwrap();
            let nth = attempts.entry(seq).or_default();
            *nth += 1;
            *nth
        };
        self.log.note(match judge(&attempt) {
            Verdict::Retry { retry_after, .. } => {
                What::Failed(seq, self.log.clock.now() + self.retry.delay(&event.event_id, nth, retry_after))
            }
            _ => What::Answered(seq),
        });
        attempt
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Waiting,
    Out,
    Due(Duration),
    Answered,
}

struct Watch {
    mode: DeliveryMode,
    lines: Vec<Option<u64>>,
    handed: usize,
    stands: Vec<Stands>,
    limit: u64,
    saved: u64,
    at: Duration,
    /// Something between order and sending may hold events up, one a connection.
    held_up: bool,
}

impl Watch {
    fn line_is_free(&self, seq: usize) -> bool {
        self.lines[seq].is_none()
            || (0..seq).all(|older| self.lines[older] != self.lines[seq] || self.stands[older] == Stands::Answered)
    }

    fn ready(&self) -> impl Iterator<Item = usize> {
        (0..self.handed).filter(|seq| self.stands[*seq] == Stands::Waiting && self.line_is_free(*seq))
    }

    fn count(&self, wanted: impl Fn(Stands) -> bool) -> u64 {
        self.stands.iter().filter(|stands| wanted(**stands)).count() as u64
    }

    /// Nothing happened from the last entry to this time.
    fn passes(&mut self, until: Duration) -> Result<(), TestCaseError> {
        if until > self.at
            && (self.count(|stands| stands == Stands::Out) as usize) < self.mode.in_flight()
            && !self.held_up
        {
            let spent = self.count(|stands| stands != Stands::Waiting);
            let next = self.ready().next().filter(|_| spent < self.saved + self.limit);
            prop_assert_eq!(next, None, "it may go at {:?}, and a connection rests until {:?}", self.at, until);
            // The runtime's timers tick in milliseconds.
            let late = self.stands.iter().position(|stands| matches!(stands, Stands::Due(due) if *due + ms(1) < until));
            prop_assert_eq!(late, None, "its retry is due, and a connection rests until {:?}", until);
        }
        self.at = until;
        Ok(())
    }

    fn see(&mut self, what: What) -> Result<(), TestCaseError> {
        match what {
            What::Handed => self.handed += 1,
            What::Saved(total) => self.saved = total,
            What::Answered(seq) => self.stands[seq as usize] = Stands::Answered,
            What::Failed(seq, due) => self.stands[seq as usize] = Stands::Due(due),
            What::Begins(seq) => {
                let seq = seq as usize;
                prop_assert!((self.count(|stands| stands == Stands::Out) as usize) < self.mode.in_flight());
                prop_assert!(self.line_is_free(seq), "{} begins before an older one of its line is answered", seq);
                match self.stands[seq] {
                    Stands::Waiting => {
                        let overtaken = self.ready().take_while(|ready| *ready < seq).count();
                        let room = if self.held_up { self.mode.in_flight() - 1 } else { 0 };
                        prop_assert!(overtaken <= room, "{} overtakes {} that may go", seq, overtaken);
                    }
                    Stands::Due(due) => prop_assert!(due <= self.at, "{} is tried again before its time", seq),
                    stands => prop_assert!(false, "{} begins while it is {:?}", seq, stands),
                }
                self.stands[seq] = Stands::Out;
                let spent = self.count(|stands| stands != Stands::Waiting);
                prop_assert!(spent <= self.saved + self.limit, "{} are out beyond {}", spent, self.saved);
            }
        }
        Ok(())
    }
}

/// What an attempt comes to, out of a seed; one in `failing` fails, none for 0.
fn fate(seed: u64, failing: u64, event: &Event, nth: u32) -> Step {
    let roll = mix(seed ^ mix(event.position.seq * 16 + u64::from(nth)));
    let fails = failing > 0 && nth < 4 && (roll >> 8).is_multiple_of(failing);
    let ending = match (roll >> 16) % 4 {
        _ if !fails => Ending::Work,
        0 => Ending::Before(Attempt::ConnectFailed("refused".into())),
        1 => Ending::After(Attempt::ConnectionLost("reset".into())),
        2 => Ending::Answer(Answer::new(503, "").after(Some(ms(70)))),
        _ => Ending::Answer(Answer::new(429, "")),
    };
    Step { delay: ms(1 + roll % 30), ending }
}

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    n: u64,
    keys: u64,
    mode: DeliveryMode,
    window: usize,
    failing: u64,
    gap: u64,
    credit: Option<u64>,
    adaptive: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let mode = (0_u8..5, 1_usize..12).prop_map(|(kind, n)| match kind {
        0 => DeliveryMode::Strict,
        1 => free(n),
        _ => keyed(n),
    });
    let load = (1_u64..160, prop_oneof![1_u64..4, 1_u64..40], 1_usize..200, prop_oneof![Just(0_u64), 2_u64..20]);
    (any::<u64>(), load, mode, 0_u64..6, proptest::option::of(1_u64..30), proptest::bool::weighted(0.2)).prop_map(
        |(seed, (n, keys, window, failing), mode, gap, credit, adaptive)| Case {
            seed,
            n,
            keys,
            mode,
            window,
            failing,
            gap,
            credit,
            adaptive,
        },
    )
}

async fn run(case: &Case) -> Result<(), TestCaseError> {
    let &Case { seed, n, keys, mode, window, failing, gap, credit: limit, adaptive } = case;
    let clock = SystemClock::new();
    let log = Log { clock, entries: Arc::default() };
    let retry = RetryPolicy { base_delay: ms(8), ..RetryPolicy::default() };
    let gate = MemoryGate::scripted(clock, move |event, nth| fate(seed, failing, event, nth));
    let gate = Logged { gate, log: log.clone(), retry, attempts: Arc::default() };
    let key = move |i: u64| mix(seed ^ i) % keys;
    let input = {
        let log = log.clone();
        stream::unfold(0_u64, move |i| {
            let log = log.clone();
            async move {
                let pause = mix(seed + i) % (gap + 1);
                if pause > 0 && i < n {
                    clock.sleep_until(clock.now() + ms(pause)).await;
                }
                (i < n).then(|| {
                    log.note(What::Handed);
                    (Ok(event(i, key(i))), i + 1)
                })
            }
        })
    };
    let options = PushOptions::new(clock).mode(mode).window(window).held(window.div_ceil(2)).retry(retry);
    let options = options.budget(RetryBudget { share: 1.0, floor: 1e9 });
    let options = options.circuit(CircuitPolicy { failures: 0, ..CircuitPolicy::default() });
    let options = options.adaptive(adaptive.then_some(Adaptive { min: 1, slow: ms(20) }));
    let credit = limit.map(Credit::new);
    let options = match &credit {
        Some(credit) => options.credit(credit.clone()),
        None => options,
    };
    let saver = async {
        let Some(credit) = &credit else { return std::future::pending().await };
        loop {
            clock.sleep_until(clock.now() + ms(7)).await;
            let total = log.answered();
            // Noted first: what is taken at once is taken after it.
            log.note(What::Saved(total));
            credit.settle(total);
        }
    };
    let answers = input.push(gate, IgJudge::default(), options).collect::<Vec<_>>();
    let answers = tokio::select! {
        answers = answers => answers,
        () = saver => unreachable!(),
        () = clock.sleep_until(Duration::from_hours(1)) => return Err(TestCaseError::fail("it stands still")),
    };
    prop_assert_eq!(answers.len() as u64, n);
    prop_assert!(answers.iter().all(Result::is_ok));
    let line = |i| match mode {
        DeliveryMode::Strict => Some(0),
        DeliveryMode::Keyed(_) => Some(key(i)),
        DeliveryMode::Free(_) => None,
    };
    let mut judge = Watch {
        mode,
        lines: (0..n).map(line).collect(),
        handed: 0,
        stands: vec![Stands::Waiting; n as usize],
        limit: limit.unwrap_or(n),
        saved: 0,
        at: Duration::ZERO,
        held_up: adaptive,
    };
    let entries = std::mem::take(&mut *log.entries.lock().unwrap());
    for (at, what) in entries {
        judge.passes(at)?;
        judge.see(what)?;
    }
    prop_assert!(judge.stands.iter().all(|stands| *stands == Stands::Answered));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_connection_rests_and_no_event_is_overtaken_while_it_may_go(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(&case))?;
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_that_bounds_a_run_is_named_with_the_rate_it_allows() {
    for (hot, window) in [(true, 65_536), (true, 128), (false, 65_536)] {
        let clock = SystemClock::new();
        let gate = MemoryGate::scripted(clock, |_, _| Step::work(ms(10)));
        let stats = PushStats::new();
        let options = PushOptions::new(clock).mode(keyed(64)).window(window).held(window).stats(stats.clone());
        let key = move |i: u64| if hot && mix(i).is_multiple_of(10) { 7 } else { 1_000 + i };
        let answers: Vec<_> = stream::iter((0..6_000).map(|i| Ok(event(i, key(i)))))
            .push(gate, IgJudge::default(), options)
            .collect()
            .await;
        assert!(answers.len() == 6_000 && answers.iter().all(Result::is_ok));
        let named =
            stats.hot_key().and_then(|hot| hot.bottleneck("merchant_id", stats.counts().decided(), clock.now()));
        let Some(named) = named else {
            assert!(!hot);
            continue;
        };
        assert!(hot && named.key_hash == format!("{:016x}", 7), "{named}");
        assert!((0.09..0.11).contains(&named.share) && named.busy > 0.8, "{named}");
        let rate = 6_000.0 / clock.now().as_secs_f64();
        assert!((0.9..1.1).contains(&(rate / named.allows_per_second)), "{rate}, {named}");
    }
}

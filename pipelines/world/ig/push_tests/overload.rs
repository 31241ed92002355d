//! The push stage and a gate that refuses, loses answers, slows down or is gone: on paused time, a gate in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use wsp::clock::{Clock, SystemClock};
use wsp::credit::Credit;
use wsp::deliver::{
    Adaptive, Answer, Attempt, CircuitPolicy, Gate, GateConnection, PushCounts, PushExt, PushOptions, PushStats,
    RetryBudget, RetryPolicy, Takes,
};
use wsp::random::mix;

use super::{keyed, ms};
use crate::ig::IgJudge;
use crate::ig::memory::{Ending, Journal, MemoryGate, Step};
use crate::model::{Decision, Delivered, Event, Reason, Refusal};

/// As elsewhere, under an id whose every byte counts: delays hang on it.
fn event(i: u64, key: u64) -> Event {
    let mut event_id = [0; 32];
    event_id[..8].copy_from_slice(&mix(i).to_be_bytes());
    Event { event_id, ..super::event(i, key) }
}

fn refused(delay: Duration, status: u16) -> Step {
    Step { delay, ..Step::answer(status, "") }
}

struct Ran {
    delivered: Vec<Delivered>,
    error: Option<Refusal>,
    counts: PushCounts,
    journal: Journal,
    took: Duration,
    /// Until 95 in 100 events were answered.
    most_took: Duration,
}

/// Pushes `n` events, each third of the same key, and sees that none overtook its key.
async fn run(n: u64, gate: &MemoryGate<SystemClock>, options: PushOptions<SystemClock>) -> Ran {
    let stats = PushStats::new();
    let clock = SystemClock::new();
    let started = clock.now();
    let input = stream::iter((0..n).map(|i| Ok(event(i, i / 3))));
    let mut answers = std::pin::pin!(input.push(gate.clone(), IgJudge::default(), options.stats(stats.clone())));
    let (mut delivered, mut error, mut most_took) = (Vec::new(), None, Duration::ZERO);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => delivered.push(answer),
            Err(refusal) => error = Some(refusal),
        }
        if delivered.len() as u64 == n * 95 / 100 {
            most_took = clock.now().saturating_sub(started);
        }
    }
    let journal = gate.journal();
    assert!(journal.most_per_key <= 1);
    let mut last = std::collections::HashMap::new();
    for (key, position) in &journal.admitted {
        assert!(last.insert(*key, position.seq).is_none_or(|before| before < position.seq), "key {key}");
    }
    assert!(error.is_some() || journal.admitted.len() as u64 == n);
    Ran { delivered, error, counts: stats.counts(), journal, took: clock.now().saturating_sub(started), most_took }
}

#[tokio::test(start_paused = true)]
async fn an_event_in_backoff_holds_up_its_key_alone() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, nth| match (event.position.seq, nth) {
        (3, 1) => refused(ms(1), 503),
        _ => Step::work(ms(1)),
    });
    let ran = run(30, &gate, PushOptions::new(clock).mode(keyed(1))).await;
    let order: Vec<u64> = ran.journal.admitted.iter().map(|(_, position)| position.seq).collect();
    // 4 and 5 are of its key; all others went past.
    let expected: Vec<u64> = (0..3).chain(6..30).chain(3..6).collect();
    assert_eq!(order, expected);
    assert!(ran.took < ms(600), "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn half_the_rate_is_kept_while_six_in_a_hundred_attempts_fail() {
    let clock = SystemClock::new();
    let options = || {
        let retry = RetryPolicy { max_attempts: 10, ..RetryPolicy::default() };
        PushOptions::new(clock).mode(keyed(64)).window(8_192).held(512).retry(retry)
    };
    let calm = run(16_000, &MemoryGate::scripted(clock, |_, _| Step::work(ms(40))), options()).await;
    let faulty = MemoryGate::scripted(clock, |event, nth| {
        let ending = match mix(event.position.seq * 16 + u64::from(nth)) % 100 {
            0..5 => Ending::Answer(Answer::new(503, "")),
            5 => Ending::After(Attempt::ConnectionLost("reset".into())),
            _ => Ending::Work,
        };
        Step { delay: ms(40), ending }
    });
    let faulty = run(16_000, &faulty, options()).await;
    assert_eq!((faulty.error, faulty.counts.circuit_opened), (None, 0));
    assert!(faulty.counts.retries > 950 && faulty.counts.ambiguous > 120, "{:?}", faulty.counts);
    // The window is five seconds of the rate; an event that fails four times waits for about as long.
    let ratio = calm.most_took.as_secs_f64() / faulty.most_took.as_secs_f64();
    assert!(ratio > 0.75, "{ratio}: {:?} and {:?}", calm.most_took, faulty.most_took);
}

/// A gate that is there but for some time.
fn gone(clock: SystemClock, from: Duration, to: Duration) -> MemoryGate<SystemClock> {
    let down = move |now: Duration| (from..to).contains(&now);
    let gate = MemoryGate::scripted(clock, move |_, _| {
        let refused = Step { delay: ms(1), ending: Ending::Before(Attempt::ConnectFailed("refused".into())) };
        if down(clock.now()) { refused } else { Step::work(ms(1)) }
    });
    gate.health(move |now| if down(now) { Err("refused".to_owned()) } else { Ok(()) })
}

fn circuit(failures: u32) -> CircuitPolicy {
    CircuitPolicy { failures, ..CircuitPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_a_gate_costs_an_attempt_an_event_at_most_and_no_stampede() {
    let clock = SystemClock::new();
    let gate = gone(clock, ms(100), ms(60_100));
    let ran = run(20_000, &gate, PushOptions::new(clock).mode(keyed(16)).circuit(circuit(21))).await;
    assert_eq!(ran.error, None);
    assert!(ran.delivered.iter().all(|answer| answer.attempts <= 2));
    assert_eq!(ran.counts.circuit_opened, 1);
    assert!(ran.counts.connect_failed <= 21 + 16, "{:?}", ran.counts);
    // 0.25, 0.5, 1, 2, 4 and then each 5 s.
    assert!((15..=18).contains(&ran.journal.asked), "asked {} times", ran.journal.asked);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_stays_away_fails_the_run_after_the_limit() {
    let clock = SystemClock::new();
    let gate = gone(clock, ms(100), Duration::MAX);
    let options = PushOptions::new(clock).mode(keyed(16)).circuit(CircuitPolicy { limit: ms(90_000), ..circuit(21) });
    let ran = run(20_000, &gate, options).await;
    let error = ran.error.unwrap();
    assert_eq!(error.reason, Reason::IgUnavailable);
    assert!(error.detail.contains("for 90 s; last: refused") && error.place.row.is_some(), "{error}");
    assert!((ms(90_000)..ms(91_000)).contains(&ran.took), "{:?}", ran.took);
    assert!(ran.counts.attempts as usize <= ran.journal.admitted.len() + 21 + 16, "{:?}", ran.counts);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_holds_the_circuit_open_no_longer_than_its_bound() {
    let clock = SystemClock::new();
    let wish = Answer::new(503, "").after(Some(Duration::from_hours(1)));
    let gate = MemoryGate::scripted(clock, move |event, nth| match (event.position.seq, nth) {
        (0, 1) => Step { delay: ms(1), ending: Ending::Answer(wish.clone()) },
        _ => Step::work(ms(1)),
    });
    let retry = RetryPolicy { max_retry_after: ms(2_000), ..RetryPolicy::default() };
    let ran = run(10, &gate, PushOptions::new(clock).circuit(circuit(1)).retry(retry)).await;
    assert_eq!((ran.error, ran.counts.circuit_opened), (None, 1));
    assert!((ms(2_000)..ms(2_600)).contains(&ran.took), "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_says_it_is_up_and_takes_nothing_is_tried_with_one_event_at_a_time() {
    let clock = SystemClock::new();
    let gate =
        MemoryGate::scripted(
            clock,
            move |_, _| {
                if clock.now() < ms(10_000) { refused(ms(1), 503) } else { Step::work(ms(1)) }
            },
        );
    let ran = run(2_000, &gate, PushOptions::new(clock).mode(keyed(16)).circuit(circuit(21))).await;
    assert_eq!(ran.error, None);
    // 21 to open it, what was on the way then, and one event a pause: 0.25, 0.5, 1, 2, 4, 5 s.
    assert!(ran.counts.server_errors <= 21 + 16 + 6, "{:?}", ran.counts);
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_a_circuit_is_held_down_by_the_budget() {
    let clock = SystemClock::new();
    let down = || MemoryGate::scripted(clock, |_, _| refused(ms(1), 500));
    let options = |floor| {
        let retry = RetryPolicy { max_attempts: 1000, max_delay: ms(250), ..RetryPolicy::default() };
        let budget = RetryBudget { share: 0.0, floor };
        let options = PushOptions::new(clock).mode(keyed(16)).circuit(circuit(0)).retry(retry).budget(budget);
        options.window(1000).event_deadline(Some(ms(30_000)))
    };
    let free = run(2_000, &down(), options(1e6)).await;
    let held = run(2_000, &down(), options(10.0)).await;
    for ran in [&free, &held] {
        assert_eq!(ran.error.as_ref().unwrap().reason, Reason::IgPushRetryExhausted, "the deadline");
    }
    assert!(free.counts.retries > 20_000, "{:?}", free.counts);
    // 10 s of the floor are saved up, and about 30 s pass.
    assert!((300..=450).contains(&held.counts.retries) && held.counts.retries_delayed > 0, "{:?}", held.counts);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_delays_retries_and_fails_none() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, nth| if nth == 1 { refused(ms(1), 500) } else { Step::work(ms(1)) });
    let budget = RetryBudget { share: 0.0, floor: 20.0 };
    let ran = run(1_000, &gate, PushOptions::new(clock).mode(keyed(16)).circuit(circuit(0)).budget(budget)).await;
    assert_eq!((ran.error, ran.counts.retries), (None, 1_000));
    // 200 are there at first, 800 come in at 20 a second.
    assert!((ms(39_000)..ms(42_000)).contains(&ran.took), "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_for_leave_do_not_hold_up_the_retries_that_it_hangs_on() {
    let clock = SystemClock::new();
    // Every first attempt fails, so all that may be out is in backoff while the connections have new events at hand.
    let fails_once = |_: &Event, nth| if nth == 1 { Step::answer(503, "") } else { Step::work(ms(1)) };
    let gate = MemoryGate::scripted(clock, fails_once);
    let credit = Credit::new(4);
    let never = CircuitPolicy { failures: 0, ..CircuitPolicy::default() };
    let options = PushOptions::new(clock).mode(keyed(2)).circuit(never).credit(credit.clone());
    let mut answers = stream::iter((0..40).map(|i| Ok(event(i, i)))).push(gate.clone(), IgJudge::default(), options);
    for answered in 1..=40 {
        let answer = tokio::time::timeout(Duration::from_mins(5), answers.next()).await;
        assert_eq!(answer.expect("it stands still").unwrap().unwrap().attempts, 2);
        credit.settle(answered);
    }
    assert!(answers.next().await.is_none());
    assert_eq!(gate.journal().attempts, 80);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_follow_what_the_gate_takes() {
    let clock = SystemClock::new();
    let inside = Arc::new(AtomicUsize::new(0));
    let busy = inside.clone();
    // Ten at a time; who comes on top is told so.
    let gate = MemoryGate::scripted(clock, move |_, _| {
        if busy.load(Ordering::Relaxed) > 10 { refused(ms(1), 429) } else { Step::work(ms(2)) }
    });
    let gate = Crowded { gate, inside };
    let stats = PushStats::new();
    let adaptive = Some(Adaptive { min: 1, slow: ms(100) });
    let options = PushOptions::new(clock).mode(keyed(64)).window(65_536).stats(stats.clone()).circuit(circuit(0));
    let input = stream::iter((0..20_000).map(|i| Ok(event(i, i / 3))));
    let retry = RetryPolicy { max_attempts: 100, ..RetryPolicy::default() };
    let answers: Vec<_> = input.push(gate, IgJudge::default(), options.adaptive(adaptive).retry(retry)).collect().await;
    assert!(answers.len() == 20_000 && answers.iter().all(Result::is_ok));
    let counts = stats.counts();
    // Fixed at 64, five in six would be refused.
    assert!(counts.throttled < counts.attempts / 20, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_more_of_an_event_is_tried_after_its_deadline() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, _| refused(ms(100), 503));
    let retry = RetryPolicy { max_attempts: 50, max_delay: ms(250), ..RetryPolicy::default() };
    let ran = run(1, &gate, PushOptions::new(clock).retry(retry).event_deadline(Some(ms(2_000)))).await;
    let error = ran.error.unwrap();
    assert_eq!(error.reason, Reason::IgPushRetryExhausted);
    assert!(error.detail.contains("deadline") && ran.took <= ms(2_100), "{error} {:?}", ran.took);
    assert!((4..=8).contains(&ran.counts.attempts), "{:?}", ran.counts);
}

#[tokio::test(start_paused = true)]
async fn another_payload_under_the_same_id_ends_the_run_under_its_own_name() {
    let quarantine = r#"{"decision":"QUARANTINE","receipt":{"reason_codes":["PAYLOAD_HASH_MISMATCH"]}}"#;
    let clock = SystemClock::new();
    // With a lost answer before it no policy lets the run go on; without one, policy decides.
    for (lost, stop, ends) in [(true, false, true), (true, true, true), (false, true, true), (false, false, false)] {
        let gate = MemoryGate::scripted(clock, move |event, nth| match (event.position.seq, nth) {
            (4, 1) if lost => Step { delay: ms(1), ending: Ending::After(Attempt::TimedOut) },
            (4, _) => Step::answer(200, quarantine),
            _ => Step::work(ms(1)),
        });
        let stats = PushStats::new();
        let options = PushOptions::new(clock).stop_on_quarantine(stop).stats(stats.clone());
        let answers: Vec<_> =
            stream::iter((0..6).map(|i| Ok(event(i, i)))).push(gate, IgJudge::default(), options).collect().await;
        let counts = stats.counts();
        assert_eq!((counts.payload_mismatches, counts.ambiguous), (1, u64::from(lost)));
        if let Err(refusal) = answers.last().unwrap() {
            assert!(ends && refusal.reason == Reason::IgPayloadMismatch, "{refusal}");
        } else {
            assert!(!ends && answers.len() == 6);
            assert_eq!(answers[4].as_ref().unwrap().decision, Decision::Quarantine);
        }
    }
}

/// A gate that knows how many requests are in it.
#[derive(Clone)]
struct Crowded {
    gate: MemoryGate<SystemClock>,
    inside: Arc<AtomicUsize>,
}

impl Gate for Crowded {
    type Connection = Crowded;

    fn connection(&self) -> Self::Connection {
        self.clone()
    }
}

impl GateConnection for Crowded {}

impl Takes<Event> for Crowded {
    async fn push(&mut self, event: &Event) -> Attempt {
        let attempt = self.gate.push(event);
        self.inside.fetch_add(1, Ordering::Relaxed);
        let attempt = attempt.await;
        self.inside.fetch_sub(1, Ordering::Relaxed);
        attempt
    }
}

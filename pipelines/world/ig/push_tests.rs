//! The contract of the push stage, on paused time and a gate in memory.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use proptest::prelude::*;
use wsp::clock::{Clock, SystemClock};
use wsp::credit::Credit;
use wsp::deliver::{Answer, Attempt, CircuitPolicy, DeliveryMode, PushExt, PushOptions, PushStats, RetryPolicy};
use wsp::random::mix;
use wsp::stop::Stop;

use super::IgJudge;
use super::memory::{Ending, MemoryGate, Step};
use crate::model::{Decision, Delivered, Event, Micros, Names, Position, Reason, Refusal};

mod overload;
mod rules;

fn event(i: u64, key: u64) -> Event {
    let mut event_id = [0; 32];
    event_id[..8].copy_from_slice(&i.to_be_bytes());
    Event {
        position: Position { rank: 0, file: 0, row: i, seq: i },
        ts: Micros(0),
        order_key: key,
        event_id,
        body: i.to_string().into(),
        due: None,
    }
}

fn events(n: u64, keys: u64) -> impl Stream<Item = Result<Event, Refusal>> + Unpin {
    stream::iter((0..n).map(move |i| Ok(event(i, mix(i) % keys))))
}

fn keyed(n: usize) -> DeliveryMode {
    DeliveryMode::Keyed(NonZeroUsize::new(n).unwrap())
}

fn free(n: usize) -> DeliveryMode {
    DeliveryMode::Free(NonZeroUsize::new(n).unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A delay that differs from event to event and attempt to attempt, repeatably.
fn some_delay(event: &Event, nth: u32) -> Duration {
    ms(mix(event.position.seq * 31 + u64::from(nth)) % 40)
}

/// What a stage yielded: rows answered, in the order of the answers, and the error at the end.
async fn outcome(answers: impl Stream<Item = Result<Delivered, Refusal>>) -> (Vec<Delivered>, Option<Refusal>) {
    let mut answers = std::pin::pin!(answers);
    let mut delivered = Vec::new();
    while let Some(item) = answers.next().await {
        match item {
            Ok(answer) => delivered.push(answer),
            Err(refusal) => {
                assert!(answers.next().await.is_none(), "an error is the last item");
                return (delivered, Some(refusal));
            }
        }
    }
    assert!(answers.next().await.is_none(), "the end stays the end");
    (delivered, None)
}

fn rows(delivered: &[Delivered]) -> Vec<u64> {
    delivered.iter().map(|answer| answer.position.row).collect()
}

fn in_order_per_key(admitted: &[(u64, Position)]) -> bool {
    let mut last = HashMap::new();
    admitted.iter().all(|(key, position)| last.insert(*key, position.seq).is_none_or(|before| before < position.seq))
}

#[tokio::test(start_paused = true)]
async fn strict_order_survives_retries() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, nth| match (event.position.seq % 7, nth) {
        (3, 1) => Step::answer(503, ""),
        (4, 1..=2) => Step { delay: ms(5), ending: Ending::Before(Attempt::ConnectFailed("refused".into())) },
        (5, 1) => Step { delay: ms(5), ending: Ending::After(Attempt::ConnectionLost("reset".into())) },
        _ => Step::work(some_delay(event, nth)),
    });
    let (delivered, error) =
        outcome(events(100, 9).push(gate.clone(), IgJudge::default(), PushOptions::new(clock))).await;
    assert_eq!(error, None);
    assert_eq!(rows(&delivered), (0..100).collect::<Vec<_>>());
    let journal = gate.journal();
    assert_eq!(
        journal.admitted.iter().map(|(_, position)| position.row).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(journal.most_in_flight, 1);
    let of = |row: usize| (delivered[row].decision, delivered[row].attempts, delivered[row].ambiguous);
    assert_eq!(of(0), (Decision::Admit, 1, false));
    assert_eq!(of(3), (Decision::Admit, 2, false));
    assert_eq!(of(4), (Decision::Admit, 3, false));
    assert_eq!(of(5), (Decision::Duplicate, 2, true));
}

#[tokio::test(start_paused = true)]
async fn free_uses_every_connection_and_bounds_displacement() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, nth| Step::work(some_delay(event, nth) + ms(1)));
    let (delivered, error) =
        outcome(events(500, 500).push(gate.clone(), IgJudge::default(), PushOptions::new(clock).mode(free(8)))).await;
    assert_eq!((delivered.len(), error), (500, None));
    let journal = gate.journal();
    assert_eq!(journal.most_in_flight, 8);
    for (place, (_, position)) in journal.admitted.iter().enumerate() {
        assert!(position.seq.abs_diff(place as u64) < 8, "{} at place {place}", position.seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_event_holds_the_window_and_no_more() {
    let clock = SystemClock::new();
    let gate =
        MemoryGate::scripted(clock, |event, _| Step::work(ms(if event.position.seq == 10 { 10_000 } else { 1 })));
    let answers =
        events(1000, 1000).push(gate.clone(), IgJudge::default(), PushOptions::new(clock).mode(keyed(4)).window(50));
    let watcher = {
        let gate = gate.clone();
        async move {
            clock.sleep_until(ms(9_000)).await;
            let journal = gate.journal();
            (journal.admitted.len(), journal.admitted.iter().map(|(_, position)| position.seq).max())
        }
    };
    let ((delivered, error), (admitted, newest)) = tokio::join!(outcome(answers), watcher);
    assert_eq!((delivered.len(), error), (1000, None));
    // The connection behind the stalled event holds its own; the others went on to the window's end.
    assert!(admitted > 30 && newest <= Some(59), "{admitted} admitted up to {newest:?}");
}

#[tokio::test(start_paused = true)]
async fn credit_bounds_what_is_sent_beyond_the_saved() {
    let clock = SystemClock::new();
    let gate = MemoryGate::new(clock);
    let credit = Credit::new(20);
    let mut answers = events(100, 7).push(
        gate.clone(),
        IgJudge::default(),
        PushOptions::new(clock).mode(keyed(3)).credit(credit.clone()),
    );
    for answered in 0..100_u64 {
        answers.next().await.unwrap().unwrap();
        assert!(gate.journal().admitted.len() as u64 <= answered / 20 * 20 + 20);
        if (answered + 1) % 20 == 0 {
            credit.settle(answered + 1);
        }
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_error_comes_after_all_that_precedes_it() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, nth| {
        if nth == 1 && event.position.seq == 3 { Step::answer(500, "") } else { Step::work(some_delay(event, nth)) }
    });
    let input =
        events(30, 30).chain(stream::iter([Err(Refusal::new(Reason::TsUtcInvalid, "null"))])).chain(events(5, 5));
    let (delivered, error) =
        outcome(input.push(gate.clone(), IgJudge::default(), PushOptions::new(clock).mode(keyed(4)))).await;
    assert_eq!(delivered.len(), 30);
    assert_eq!(error.unwrap().reason, Reason::TsUtcInvalid);
    assert_eq!(gate.journal().admitted.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_is_told_of_before_the_fault_of_a_later_row() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, _| Step { delay: ms(10), ..Step::answer(422, "") });
    let upstream = events(1, 1).chain(stream::iter([Err(Refusal::new(Reason::TsUtcInvalid, ""))]));
    let (delivered, error) = outcome(upstream.push(gate, IgJudge::default(), PushOptions::new(clock))).await;
    assert_eq!((delivered.len(), error.unwrap().reason), (0, Reason::IgPushRejected));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_lets_the_answers_on_the_way_come_first() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, _| match event.position.seq {
        5 => Step { delay: ms(10), ..Step::answer(413, r#"{"error":"TOO_LARGE"}"#) },
        _ => Step::work(ms(30)),
    });
    let stats = PushStats::new();
    let names = Names::new([("arrival_events_5B".parse().unwrap(), vec!["w/part-000000.parquet".to_owned()])]);
    let options = PushOptions::new(clock).mode(free(4)).stats(stats.clone());
    let (delivered, error) = outcome(events(100, 100).push(gate.clone(), IgJudge::new(names), options)).await;
    let (error, id) = (error.unwrap(), format!("{:016x}{}", 5, "0".repeat(48)));
    assert_eq!((error.reason, error.place.row, error.place.field.as_deref()), (Reason::IgPushRejected, Some(5), None));
    assert_eq!(error.place.file.as_deref(), Some("w/part-000000.parquet"));
    for part in ["after 1 attempt: ", "413, TOO_LARGE", "arrival_events_5B", &id] {
        assert!(error.detail.contains(part), "{part}: {error}");
    }
    // Rows 4 to 7 were on the way together; nothing after them was sent.
    let mut answered = rows(&delivered);
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2, 3, 4, 6, 7]);
    assert_eq!(gate.journal().attempts, 8);
    assert_eq!((stats.counts().attempts, stats.counts().admitted, stats.counts().rejected), (8, 7, 1));
}

#[tokio::test(start_paused = true)]
async fn exhausted_attempts_end_the_run_and_stop_retries_elsewhere() {
    let clock = SystemClock::new();
    let gate =
        MemoryGate::scripted(clock, |_, _| Step { delay: ms(1), ..Step::answer(503, r#"{"error":"IG_UNHEALTHY"}"#) });
    let stats = PushStats::new();
    let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let circuit = CircuitPolicy { failures: 21, ..CircuitPolicy::default() };
    let options = PushOptions::new(clock).mode(keyed(4)).retry(retry).circuit(circuit).stats(stats.clone());
    let (delivered, error) = outcome(events(1000, 1000).push(gate.clone(), IgJudge::default(), options)).await;
    assert!(delivered.is_empty());
    let error = error.unwrap();
    assert_eq!(error.reason, Reason::IgPushRetryExhausted);
    assert!(error.detail.contains("after 3 attempts") && error.detail.contains("IG_UNHEALTHY"), "{}", error.detail);
    let counts = stats.counts();
    assert_eq!(counts.attempts, gate.journal().attempts);
    // The circuit opened before each of the thousand events was tried, and again for each one tried in vain.
    assert!(counts.attempts < 120 && counts.circuit_opened > 2, "{counts:?}");
    assert_eq!(counts.server_errors, counts.attempts);
    assert!(counts.exhausted > 0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn quarantine_ends_the_run_or_flows_on_as_policy_says() {
    let clock = SystemClock::new();
    let quarantine = |event: &Event, _| match event.position.seq {
        2 => Step::answer(200, r#"{"decision":"QUARANTINE","receipt":{"reason_codes":["SCHEMA_FAIL"]}}"#),
        _ => Step::work(Duration::ZERO),
    };
    let gate = MemoryGate::scripted(clock, quarantine);
    let (delivered, error) = outcome(events(5, 5).push(gate, IgJudge::default(), PushOptions::new(clock))).await;
    assert_eq!(rows(&delivered), [0, 1]);
    let error = error.unwrap();
    assert_eq!(error.reason, Reason::IgPushRejected);
    assert!(error.detail.contains("QUARANTINE, SCHEMA_FAIL"), "{}", error.detail);

    let gate = MemoryGate::scripted(clock, quarantine);
    let (delivered, error) =
        outcome(events(5, 5).push(gate, IgJudge::default(), PushOptions::new(clock).stop_on_quarantine(false))).await;
    assert_eq!(error, None);
    assert_eq!(
        delivered.iter().map(|answer| answer.decision == Decision::Quarantine).collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_is_sent_and_answers_on_the_way_are_awaited() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, _| match event.position.seq {
        1 => Step::answer(503, ""),
        _ => Step::work(ms(100)),
    });
    let stop = Stop::new();
    // Connection by connection: row 0 is on the way, row 1 waits for its second attempt, the rest queues.
    let options = PushOptions::new(clock).mode(free(2)).stop(stop.clone());
    let stopper = async {
        clock.sleep_until(ms(50)).await;
        stop.request();
    };
    let ((delivered, error), ()) =
        tokio::join!(outcome(events(100, 100).push(gate.clone(), IgJudge::default(), options)), stopper);
    assert_eq!(rows(&delivered), [0]);
    assert_eq!(error.unwrap().reason, Reason::RunStopped);
    assert_eq!(gate.journal().attempts, 2);
    assert_eq!(clock.now(), ms(100), "the end came with the last answer");
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_dropped_unsent_by_a_stop_and_by_a_failure() {
    let clock = SystemClock::new();
    for fails in [false, true] {
        let gate = MemoryGate::scripted(clock, move |event, _| match event.position.seq {
            0 if fails => Step { delay: ms(50), ..Step::answer(401, "") },
            _ => Step::work(ms(100)),
        });
        let stop = Stop::new();
        let options = PushOptions::new(clock).mode(keyed(4)).stop(stop.clone());
        let stopper = async {
            clock.sleep_until(clock.now() + ms(50)).await;
            if !fails {
                stop.request();
            }
        };
        let ((delivered, error), ()) =
            tokio::join!(outcome(events(100, 100).push(gate.clone(), IgJudge::default(), options)), stopper);
        assert_eq!(error.unwrap().reason, if fails { Reason::IgPushRejected } else { Reason::RunStopped });
        // Each connection had one request on the way, and all but the failed one were answered.
        assert_eq!((gate.journal().attempts, delivered.len()), (4, if fails { 3 } else { 4 }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_answers_beyond_its_deadline() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, _| Step::work(ms(60_000)));
    let stop = Stop::new();
    let options = PushOptions::new(clock).mode(keyed(2)).stop(stop.clone()).drain_deadline(ms(3_000));
    let mut answers = std::pin::pin!(events(100, 100).push(gate.clone(), IgJudge::default(), options));
    assert!(tokio::time::timeout(ms(10), answers.next()).await.is_err());
    stop.request();
    let (delivered, error) = outcome(answers).await;
    assert_eq!((delivered.len(), error.unwrap().reason), (0, Reason::RunStopped));
    assert_eq!(clock.now(), ms(3_010));
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_the_last_answer_is_no_stop() {
    let clock = SystemClock::new();
    let stop = Stop::new();
    let gate = MemoryGate::scripted(clock, |_, _| Step::work(ms(100)));
    let options = PushOptions::new(clock).mode(free(4)).stop(stop.clone());
    let stopper = async {
        clock.sleep_until(ms(50)).await;
        stop.request();
    };
    let ((delivered, error), ()) = tokio::join!(outcome(events(3, 3).push(gate, IgJudge::default(), options)), stopper);
    assert_eq!((delivered.len(), error), (3, None));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_connection_is_an_internal_error() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |event, _| match event.position.seq {
        4 => Step { delay: ms(1), ending: Ending::Panic },
        _ => Step::work(ms(2)),
    });
    let (delivered, error) =
        outcome(events(100, 100).push(gate, IgJudge::default(), PushOptions::new(clock).mode(free(3)))).await;
    assert_eq!(error.unwrap().reason, Reason::InternalError);
    assert!(!rows(&delivered).contains(&4) && delivered.len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn requests_move_on_while_nobody_looks_and_end_with_the_stage() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, _| Step::work(ms(10)));
    let mut answers = std::pin::pin!(events(100, 100).push(gate.clone(), IgJudge::default(), PushOptions::new(clock)));
    assert!(tokio::time::timeout(ms(1), answers.next()).await.is_err());
    clock.sleep_until(ms(205)).await;
    assert_eq!(gate.journal().admitted.len(), 20);

    let mut dropped = Box::pin(events(100, 100).push(gate.clone(), IgJudge::default(), PushOptions::new(clock)));
    assert!(tokio::time::timeout(ms(1), dropped.next()).await.is_err());
    drop(dropped);
    let attempts = gate.journal().attempts;
    tokio::task::yield_now().await;
    clock.sleep_until(ms(300)).await;
    assert!(gate.journal().attempts <= attempts + 10, "only the first stage goes on");
}

#[tokio::test(start_paused = true)]
async fn lag_counts_from_the_due_time_and_latency_from_the_first_attempt() {
    let clock = SystemClock::new();
    let gate = MemoryGate::scripted(clock, |_, nth| match nth {
        1 => Step { delay: ms(7), ..Step::answer(429, "") },
        _ => Step::work(ms(3)),
    });
    clock.sleep_until(ms(500)).await;
    let mut late = event(0, 0);
    late.due = Some(ms(480));
    let retry = RetryPolicy { base_delay: Duration::ZERO, ..RetryPolicy::default() };
    let (delivered, _) =
        outcome(stream::iter([Ok(late)]).push(gate, IgJudge::default(), PushOptions::new(clock).retry(retry))).await;
    assert_eq!(delivered[0].lag, ms(20));
    assert!((ms(10)..=ms(12)).contains(&delivered[0].latency), "{:?}", delivered[0].latency);
}

/// One faulty attempt out of a seed.
fn fault(seed: u64, event: &Event, nth: u32) -> Step {
    let roll = mix(seed ^ mix(event.position.seq * 8 + u64::from(nth)));
    let delay = ms(roll % 60);
    let ending = match (roll >> 8) % 10 {
        _ if nth >= 4 => Ending::Work,
        0 => Ending::Before(Attempt::ConnectFailed("refused".into())),
        1 => Ending::After(Attempt::ConnectionLost("reset".into())),
        2 => Ending::After(Attempt::TimedOut),
        3 => Ending::Answer(Answer::new(503, "").after(Some(ms(700)))),
        _ => Ending::Work,
    };
    Step { delay, ending }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_event_is_admitted_once_and_no_key_overtakes_itself(
        seed in any::<u64>(), n in 1_u64..200, keys in 1_u64..40, connections in 1_usize..12, window in 1_usize..64, free_mode in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = || runtime.block_on(async {
            let clock = SystemClock::new();
            let gate = MemoryGate::scripted(clock, move |event, nth| fault(seed, event, nth));
            let mode = if free_mode { free(connections) } else { keyed(connections) };
            let answers = events(n, keys).push(gate.clone(), IgJudge::default(), PushOptions::new(clock).mode(mode).window(window));
            (outcome(answers).await, gate.journal())
        });
        let ((delivered, error), journal) = run();
        prop_assert_eq!(error, None);
        let mut answered = rows(&delivered);
        answered.sort_unstable();
        prop_assert_eq!(answered, (0..n).collect::<Vec<_>>());
        prop_assert_eq!(journal.admitted.len() as u64, n);
        prop_assert!(journal.most_in_flight <= connections);
        if !free_mode {
            prop_assert!(journal.most_per_key <= 1);
            prop_assert!(in_order_per_key(&journal.admitted));
        }
        let bound = if free_mode { connections } else { window } as u64;
        let mut oldest_open = 0;
        let mut open: std::collections::BTreeSet<u64> = (0..n).collect();
        for (_, position) in &journal.admitted {
            prop_assert!(position.seq < oldest_open + bound, "{} while {oldest_open} is open", position.seq);
            open.remove(&position.seq);
            oldest_open = open.first().copied().unwrap_or(n);
        }
        let ((again, _), _) = run();
        prop_assert_eq!(rows(&again), rows(&delivered), "the same faults give the same run");
    }
}

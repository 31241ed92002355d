//! One run, killed over and over: nothing is lost, little is repeated, and order stays.
//!
//! ```text
//! start ─► [SIGKILL: while it checks, at a point of the run, amid a save] ─► look at cursors and gate ─► start ─► …
//! ```
//!
//! The gate lives on in the test and injects faults. Points are drawn over the whole run from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;

use crate::kit::live::{Live, assert_evidence_is_whole, nap};

struct Plan {
    name: &'static str,
    kills: usize,
    events: u64,
    parts: u32,
    delivery: Value,
    flush_every: u64,
    /// `flush_every` and the requests in flight.
    bound: u64,
    faults: &'static str,
}

const FAULTS: &str = "status=503:1%,status=429:0.5%,cut-before=0.5%,cut-after=0.5%,latency=exp(1ms)";

/// Without latency: one in flight would wait for the timer of the gate most of the time.
const QUICK_FAULTS: &str = "status=503:1%,status=429:0.5%,cut-before=0.5%,cut-after=0.5%";

fn keyed(kills: usize, events: u64) -> Plan {
    Plan {
        name: "keyed, 16 in flight",
        kills,
        events,
        parts: 3,
        delivery: json!({"mode": "keyed", "in_flight": 16, "window": 256}),
        flush_every: 50,
        bound: 50 + 16,
        faults: FAULTS,
    }
}

fn strict(kills: usize, events: u64) -> Plan {
    Plan {
        name: "strict",
        kills,
        events,
        parts: 2,
        delivery: json!({"mode": "strict"}),
        flush_every: 100,
        bound: 100 + 1,
        faults: QUICK_FAULTS,
    }
}

#[test]
fn a_run_killed_five_times_is_whole() {
    check(&keyed(5, 4_000));
}

#[test]
fn a_strict_run_killed_five_times_is_whole_and_canonical() {
    check(&strict(5, 3_000));
}

#[test]
#[ignore = "takes a minute or two"]
fn a_run_killed_fifty_times_is_whole() {
    check(&keyed(50, 80_000));
}

#[test]
#[ignore = "takes a minute or two"]
fn a_strict_run_killed_fifty_times_is_whole_and_canonical() {
    check(&strict(50, 40_000));
}

/// When a start is killed.
#[derive(Debug, Clone, Copy)]
enum Instant {
    /// A while after it was started, most likely before its first event.
    Early(Duration),
    /// When the gate has admitted this many events of the run, and a moment later.
    At(u64, Duration),
    /// When a cursor was written after that many events, which is amid a save of four of them.
    AmidSave(u64),
}

fn instants(plan: &Plan, random: &mut StdRng) -> Vec<Instant> {
    let mut points: Vec<u64> = (0..plan.kills).map(|_| random.random_range(0..plan.events * 9 / 10)).collect();
    points.sort_unstable();
    let mut micros = |to: u64| Duration::from_micros(random.random_range(0..to));
    let kind = |(i, point)| match i % 5 {
        0 => Instant::Early(micros(60_000)),
        3 => Instant::AmidSave(point),
        _ => Instant::At(point, micros(5_000)),
    };
    points.into_iter().enumerate().map(kind).collect()
}

fn check(plan: &Plan) {
    let clock = SystemClock::new();
    let spec = WorldSpec { parts: plan.parts, row_group_rows: 2_000, seed: 5, ..WorldSpec::new(plan.events) };
    let mut live = Live::new(&spec, plan.faults, |profile| {
        profile["wiring"]["wsp_delivery"] = plan.delivery.clone();
        profile["wiring"]["wsp_checkpoint"]["flush_every"] = plan.flush_every.into();
        // Enough that no event runs out of them by chance.
        profile["wiring"]["wsp_retry"] = json!({"max_attempts": 12, "base_delay_ms": 1, "max_delay_ms": 20});
    });
    let mut random = StdRng::seed_from_u64(50);
    let (mut kills, mut most_repeated) = (0, 0);
    let (mut covered, mut behind) = (vec![0; 4], BTreeSet::new());
    for instant in instants(plan, &mut random) {
        let before = live.gate.stats();
        kills += u64::from(kill_at(&mut live, instant));
        let stats = settled(&live);

        let (lost, repeated) = live.kept_against_gate();
        assert_eq!(lost, 0, "{instant:?}: events are kept as answered that the gate never admitted");
        // A start that is killed before its first save leaves what the crash before it left unkept as it was, and may
        // have sent others by then: a retry that was due in the one is not in the other.
        let of_this_start = repeated.difference(&behind).count() as u64;
        assert!(of_this_start <= plan.bound, "{instant:?}: {of_this_start} events that it brought are not kept");
        let now = live.covered();
        assert!(now.iter().zip(&covered).all(|(now, before)| now >= before), "{instant:?}: {covered:?} to {now:?}");
        covered = now;
        // What this start repeated, but for the retries of events that were admitted and whose answer was cut off.
        let duplicates = stats.duplicates - before.duplicates;
        let ambiguous = stats.faults.cut_after - before.faults.cut_after;
        let unkept = behind.len() as u64;
        assert!(duplicates <= unkept + ambiguous, "{instant:?}: {duplicates} of {unkept} again, {ambiguous} cut off");
        most_repeated = most_repeated.max(of_this_start);
        behind = repeated;
        assert!(live.record().is_empty(), "a start that was killed came to no verdict");
    }
    let kept: u64 = live.kept().iter().map(|kept| kept.len() as u64).sum();
    let ran = live.start().end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);

    let report = live.audit(&live.events);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.admitted, live.events.len() as u64);
    assert_eq!(report.canonical, report.max_displacement == 0);
    if plan.name == "strict" {
        assert!(report.canonical, "{report:?}");
    }
    let rows: Vec<u64> = (0..4).map(|rank| live.events.iter().filter(|due| due.rank == rank).count() as u64).collect();
    assert_eq!(live.covered(), rows, "every cursor stands at its output's last row");
    let stats = live.gate.stats();
    assert_eq!((stats.quarantined, stats.unreadable, stats.unauthorized), (0, 0, 0));
    assert_eq!(stats.admitted, report.admitted);
    let allowed = kills * plan.bound + stats.faults.cut_after;
    assert!(stats.duplicates <= allowed, "{} duplicates, {allowed} allowed", stats.duplicates);

    assert_evidence_is_whole(&live.stage);
    let (record, ends) = (live.record(), live.ends());
    assert_eq!((record.len(), ends.len()), (1, 1), "one verdict, one end");
    let brought = live.events.len() as u64 - kept;
    assert_eq!((&record[0]["status"], &record[0]["emitted"]), (&json!("STREAMED"), &json!(brought)));
    assert_eq!(ends[0]["details"]["emitted"], json!(brought), "what the last start brought");
    assert_eq!(live.stage.governance().len(), 3, "seen, started and ended once each, whatever was killed");

    let summary = live.stage.document("wsp/wsp_summary.json");
    assert_eq!(summary["event_id_digest"], json!(live.digest()), "the digest is that of a run that nobody killed");
    let from = summary["outputs"].as_array().unwrap().iter().map(|output| output["event_id_digest_from"].as_u64());
    assert_eq!(from.collect::<Vec<_>>(), [Some(0); 4], "and covers all starts");

    assert_eq!(kills, plan.kills as u64, "every start was killed while it ran");
    println!(
        "{}: {kills} kills, {} events, {} duplicates ({} of them after {} cut-off answers at most), \
         most after one crash {most_repeated} of {} allowed, {:.1} s",
        plan.name,
        live.events.len(),
        stats.duplicates,
        stats.duplicates.min(stats.faults.cut_after),
        stats.faults.cut_after,
        plan.bound,
        clock.now().as_secs_f64(),
    );
}

/// Starts the run and kills it. Says whether it was running then.
fn kill_at(live: &mut Live, instant: Instant) -> bool {
    let mut running = live.start();
    // A point that an earlier start has passed already stands for one soon after.
    let reached = |point: u64| live.gate.stats().admitted >= point;
    match instant {
        Instant::Early(after) => nap(after),
        Instant::At(point, after) => {
            if reached(point) {
                nap(after * 5);
            } else {
                running.until_or_end(|| reached(point));
                nap(after);
            }
        }
        Instant::AmidSave(point) => {
            running.until_or_end(|| reached(point));
            let saved = live.stage.cursors();
            running.until_or_end(|| live.stage.cursors() != saved);
        }
    }
    running.kill()
}

/// The gate's counts once it has seen the last of a killed producer.
fn settled(live: &Live) -> wsp_reference::gate::GateStats {
    let mut last = live.gate.stats();
    loop {
        nap(Duration::from_millis(20));
        let now = live.gate.stats();
        if now == last {
            return now;
        }
        last = now;
    }
}

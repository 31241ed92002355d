//! One run after another on the same parts, and in the middle of each something goes away: the process, Kafka, S3,
//! Postgres.
//!
//! ```text
//! READY ─► wsp ─► gate counts so many ─► fault ─► it comes back ─► complete, in order, told once
//! ```
//!
//! What happens when is decided by what the gate has counted, never by time.

use std::time::Duration;

use serde_json::Value;
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Hex64;

use crate::kit::live::{Running, nap};
use crate::parts::{Parts, Run, bound, events};

/// How often a run's process is killed.
const KILLS: u64 = 3;

/// Slow enough that a fault lands in the middle.
const RATE: (&str, &str) = ("WSP_TARGET_EPS", "1200");

/// What came of one run.
struct Outcome {
    duplicates: u64,
    bound: u64,
    /// From the fault's end to the first event after it.
    recovery: Duration,
}

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn a_part_that_goes_away_in_the_middle_costs_no_event() {
    // Small row groups, so that S3 is read until late in the run.
    let spec = WorldSpec { parts: 3, row_group_rows: 500, ..WorldSpec::new(events()) };
    let mut parts = Parts::set(&spec).await;
    println!("{:<28}{:>12}{:>9}{:>14}{:>10}", "in the middle", "duplicates", "allowed", "recovery", "seconds");
    let clock = SystemClock::new();
    let mut told = Duration::ZERO;
    let mut tell = |what: &str, outcome: &Outcome, allowed: u64| {
        let Outcome { duplicates, recovery, .. } = outcome;
        let (seconds, recovery) = (clock.now().saturating_sub(told).as_secs_f64(), recovery.as_secs_f64());
        told = clock.now();
        println!("{what:<28}{duplicates:>12}{allowed:>9}{recovery:>12.1} s{seconds:>10.1}");
        assert!(*duplicates <= allowed, "{what}");
    };
    let killed = killed(&parts).await;
    tell(&format!("SIGKILL, {KILLS} times"), &killed, KILLS * killed.bound);
    tell("Kafka restarted", &kafka_restarted(&mut parts).await, 0);
    tell("S3 restarted", &s3_restarted(&mut parts).await, 0);
    tell("Postgres restarted", &postgres_restarted(&parts).await, 0);
    let too_long = postgres_away_too_long(&parts).await;
    tell("Postgres away too long", &too_long, too_long.bound);
}

/// The process is killed over and over, and started again.
async fn killed(parts: &Parts) -> Outcome {
    let run = parts.run(1).await;
    parts.publish(&run, &run.ready);
    let clock = SystemClock::new();
    let mut recovery = Duration::ZERO;
    for kill in 1..=KILLS {
        let mut wsp = parts.start(&run, &format!("killed-{kill}"), &[RATE]);
        let (before, started) = (parts.admitted(&run), clock.now());
        parts.until_admitted(&run, &mut wsp, before + 1);
        if kill > 1 {
            recovery = recovery.max(clock.now().saturating_sub(started));
        }
        parts.until_admitted(&run, &mut wsp, parts.events.len() as u64 * kill / (KILLS + 1));
        assert!(wsp.kill(), "it was still running");
        parts.until_still(&run);
        let start = parts.evidence(&run).await.json("wsp/wsp_start.json");
        let (lost, repeated) = parts.kept_against_gate(&run, scope(&start)).await;
        assert_eq!(lost, 0, "a cursor passed events that the gate never admitted");
        assert!(repeated <= bound(&start), "the cursors are {repeated} events behind the gate");
    }
    let mut wsp = parts.start(&run, "killed-last", &[RATE]);
    until_streamed(&mut wsp);
    let duplicates = whole(parts, &run, wsp, &["STREAMED"]).await;
    Outcome { recovery, ..duplicates }
}

/// The broker is away while the run goes on; the verdict's offset is committed when it is back.
async fn kafka_restarted(parts: &mut Parts) -> Outcome {
    let run = parts.run(2).await;
    parts.publish(&run, &run.ready);
    let mut wsp = parts.start(&run, "kafka", &[RATE]);
    let quarter = parts.events.len() as u64 / 4;
    parts.until_admitted(&run, &mut wsp, quarter);
    parts.kafka.stop();
    parts.until_admitted(&run, &mut wsp, 2 * quarter);
    parts.kafka.start();
    until_streamed(&mut wsp);
    whole(parts, &run, wsp, &["STREAMED"]).await
}

/// The store is away until the run has nothing more to send.
async fn s3_restarted(parts: &mut Parts) -> Outcome {
    let run = parts.run(3).await;
    parts.publish(&run, &run.ready);
    let mut wsp = parts.start(&run, "s3", &[RATE]);
    parts.until_admitted(&run, &mut wsp, 500);
    parts.s3.crash();
    let starved = parts.until_still(&run);
    assert!(starved < parts.events.len() as u64, "all of it was read ahead");
    parts.s3.start().await;
    let recovery = until_more(parts, &run, &mut wsp, starved);
    until_streamed(&mut wsp);
    Outcome { recovery, ..whole(parts, &run, wsp, &["STREAMED"]).await }
}

/// Sending stops before what is unsaved passes the bound, and goes on when the database is back.
async fn postgres_restarted(parts: &Parts) -> Outcome {
    let run = parts.run(4).await;
    parts.publish(&run, &run.ready);
    let mut wsp = parts.start(&run, "postgres", &[RATE]);
    parts.until_admitted(&run, &mut wsp, parts.events.len() as u64 / 4);
    let start = parts.evidence(&run).await.json("wsp/wsp_start.json");
    parts.postgres.crash();
    let stopped = parts.until_still(&run);
    assert!(stopped < parts.events.len() as u64);
    // What was durable is looked at before the producer saves more.
    wsp.signal("STOP");
    parts.postgres.up();
    let (lost, unsaved) = parts.kept_against_gate(&run, scope(&start)).await;
    assert_eq!(lost, 0, "a save passed events that the gate never admitted");
    assert!(unsaved <= bound(&start), "{unsaved} events are sent and unsaved, {} may be", bound(&start));
    wsp.signal("CONT");
    let recovery = until_more(parts, &run, &mut wsp, stopped);
    until_streamed(&mut wsp);
    Outcome { recovery, ..whole(parts, &run, wsp, &["STREAMED"]).await }
}

/// Past its limit the run fails, with its reason; its READY comes again and the rest is streamed.
async fn postgres_away_too_long(parts: &Parts) -> Outcome {
    let run = parts.run(5).await;
    parts.publish(&run, &run.ready);
    let mut wsp = parts.start(&run, "too-long", &[RATE, ("WSP_CHECKPOINT_OUTAGE_LIMIT_SECONDS", "3")]);
    parts.until_admitted(&run, &mut wsp, parts.events.len() as u64 / 4);
    let start = parts.evidence(&run).await.json("wsp/wsp_start.json");
    parts.postgres.crash();
    until_verdict(&mut wsp, "FAILED", 1);
    let failed = &verdicts(&wsp)[0];
    assert_eq!(failed["reason"], "CHECKPOINT_SAVE_FAILED", "{}", wsp.err());
    let stopped = parts.admitted(&run);
    assert_eq!(failed["emitted"], stopped, "what IG answered");
    parts.postgres.up();
    let (lost, unsaved) = parts.kept_against_gate(&run, scope(&start)).await;
    assert_eq!(lost, 0, "a save passed events that the gate never admitted");
    assert!(unsaved <= bound(&start), "{unsaved} events are sent and unsaved, {} may be", bound(&start));
    parts.publish(&run, &run.ready);
    let recovery = until_more(parts, &run, &mut wsp, stopped);
    until_streamed(&mut wsp);
    Outcome { recovery, ..whole(parts, &run, wsp, &["FAILED", "STREAMED"]).await }
}

/// Ends the service, and holds all that the run left against what it has to be: every event once, in line with its
/// key; one record a verdict; each fact once; the cursors at the end; every READY's offset committed.
async fn whole(parts: &Parts, run: &Run, mut wsp: Running, statuses: &[&str]) -> Outcome {
    // A consumer whose broker was away has to find its group again first.
    let committed = i64::try_from(statuses.len()).ok();
    wsp.until("its offset is committed", || {
        nap(Duration::from_millis(200));
        parts.kafka.committed("wsp-ready", &run.topic, 0) == committed
    });
    wsp.signal("TERM");
    let log = wsp.err();
    let ran = wsp.end();
    assert_eq!(ran.code, Some(0), "{log}");
    let report = parts.audit(run);
    assert!(report.is_clean() && report.admitted == parts.events.len() as u64, "{report:?}\n{log}");
    let (admitted, duplicates) = parts.counted(run);
    assert_eq!((admitted, duplicates), (report.admitted, report.duplicates));

    let evidence = parts.evidence(run).await;
    let record = evidence.record(run.message_id());
    assert_eq!(record.iter().map(|verdict| verdict["status"].as_str().unwrap()).collect::<Vec<_>>(), statuses);
    let facts = evidence.facts();
    let told = |family: &str| facts.iter().filter(|fact| *fact == family).count();
    assert_eq!((told("RUN_READY_SEEN"), told("RUN_STARTED"), told("RUN_ENDED")), (1, 1, statuses.len()), "{facts:?}");
    let (start, summary) = (evidence.json("wsp/wsp_start.json"), evidence.json("wsp/wsp_summary.json"));
    assert_eq!((&summary["status"], &summary["end"]), (&"STREAMED".into(), &"complete".into()));
    let cursors = parts.kept_against_gate(run, scope(&start)).await;
    assert_eq!(cursors, (0, 0), "the cursors stand at the last rows");
    Outcome { duplicates, bound: bound(&start), recovery: Duration::ZERO }
}

/// The checkpoint's scope.
fn scope(start: &Value) -> &str {
    let scope = start["checkpoint_scope"].as_str().unwrap();
    assert!(scope.parse::<Hex64>().is_ok());
    scope
}

/// Waits for an event beyond so many; says how long.
fn until_more(parts: &Parts, run: &Run, wsp: &mut Running, admitted: u64) -> Duration {
    let clock = SystemClock::new();
    parts.until_admitted(run, wsp, admitted + 1);
    clock.now()
}

pub(crate) fn until_streamed(wsp: &mut Running) {
    until_verdict(wsp, "STREAMED", 1);
}

/// Waits until it has told `n` verdicts of this status.
pub(crate) fn until_verdict(wsp: &mut Running, status: &str, n: usize) {
    let out = wsp.out_file();
    wsp.until(&format!("{n} {status}"), || {
        nap(Duration::from_millis(20));
        let text = std::fs::read_to_string(&out).unwrap();
        text.matches(&format!("\"status\":\"{status}\"")).count() >= n
    });
}

/// The verdicts that it has told so far.
pub(crate) fn verdicts(wsp: &Running) -> Vec<Value> {
    wsp.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

//! The whole producer on `dev_min`'s parts: READYs that are refused, the run, what it leaves in S3, its READY again.

use std::process::Command;

use serde_json::Value;
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;

use crate::identities::{Altered, altered};
use crate::kit::Ran;
use crate::kit::live::Running;
use crate::parts::{Parts, Run, SECRETS, bound, events};

/// `wsp run --once` to its end.
fn once(parts: &Parts, run: &Run, name: &str) -> Ran {
    let mut command: Command = parts.command(run, &[("WSP_CHECKPOINT_FLUSH_EVERY", "1000")]);
    Running::spawn(&parts.stage, name, command.arg("--once")).end()
}

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn ready_to_gate_on_real_parts() {
    let clock = SystemClock::new();
    let parts = Parts::set(&WorldSpec { row_group_rows: 20_000, ..WorldSpec::new(events()) }).await;
    let run = parts.run(0).await;
    println!("servers and world after {:.1} s", clock.now().as_secs_f64());

    // A READY that differs in any identity is refused, and nothing is sent.
    let altered = altered(&parts, &run).await;
    for altered in &altered {
        parts.publish(&run, &altered.message);
    }
    let ran = once(&parts, &run, "altered");
    each_is_refused(&altered, &ran);
    assert_eq!(parts.gate.stats().requests, 0, "nothing was sent");

    let started = clock.now();
    parts.publish(&run, &run.ready);
    let streamed = once(&parts, &run, "streamed");
    let seconds = clock.now().saturating_sub(started).as_secs_f64();
    assert_eq!((streamed.code, streamed.verdict()), (Some(0), ("STREAMED", "")), "{}", streamed.stderr);
    let events = parts.events.len() as u64;
    let stats = parts.gate.stats();
    assert_eq!((stats.admitted, stats.duplicates, stats.requests), (events, 0, events));
    let report = parts.audit(&run);
    assert!(report.is_clean() && report.admitted == events, "{report:?}");

    // The evidence lies in the bucket, and says from where on Kafka the READY came.
    let evidence = parts.evidence(&run).await;
    let summary = evidence.json("wsp/wsp_summary.json");
    assert_eq!((&summary["totals"]["admitted"], &summary["end"]), (&events.into(), &"complete".into()));
    let place = altered.len() as u64;
    assert_eq!((&summary["ready"]["partition"], &summary["ready"]["offset"]), (&0.into(), &place.into()));
    assert_eq!(evidence.record(run.message_id()).len(), 1);
    let facts = evidence.facts();
    assert_eq!(facts.iter().filter(|family| *family == "RUN_STARTED").count(), started_runs(&altered) + 1);
    let scope = summary["checkpoint_scope"].as_str().unwrap();
    assert_eq!(parts.kept_against_gate(&run, scope).await, (0, 0), "the cursors stand at the last rows");
    println!("evidence under {}/{}:\n{}", parts.store_root, run.id, evidence.listing());

    // The same READY again is a duplicate; the same run under another message is streamed already.
    parts.publish(&run, &run.ready);
    assert_eq!(once(&parts, &run, "again").verdict(), ("SKIPPED_DUPLICATE", ""));
    let mut other = run.ready.clone();
    for id in ["/message_id", "/payload/message_id"] {
        *other.pointer_mut(id).unwrap() = "f".repeat(64).into();
    }
    parts.publish(&run, &other);
    assert_eq!(once(&parts, &run, "other").verdict(), ("FAILED", "RUN_ALREADY_STREAMED"));
    assert_eq!(parts.gate.stats().requests, events, "nothing was sent again");

    for secret in SECRETS {
        assert!(!evidence.holds(secret), "the evidence shows a secret");
        for log in [&ran.stderr, &streamed.stderr] {
            assert!(!log.contains(secret), "the log shows a secret");
        }
    }
    println!(
        "{events} events in {seconds:.1} s with start and end, {:.0} events/s, at most {} of them unsaved; \
         {:.1} s in all",
        events as f64 / seconds,
        bound(&evidence.json("wsp/wsp_start.json")),
        clock.now().as_secs_f64(),
    );
}

/// Each altered READY has its own verdict or is passed over, with its reason in the log; the table is printed.
fn each_is_refused(altered: &[Altered], ran: &Ran) {
    let log = ran.log();
    println!("{:<76}{:<22}reason", "altered", "status");
    let mut wrong = Vec::new();
    for Altered { what, message, status, reason, .. } in altered {
        let id = &message["message_id"];
        let verdict = ran.verdicts.iter().find(|verdict| verdict["message_id"] == *id);
        let text = |key: &str| verdict.and_then(|verdict| verdict[key].as_str()).unwrap_or("");
        let (got_status, got_reason) = match verdict {
            Some(_) => (text("status"), text("reason")),
            None => ("passed over", "no READY"),
        };
        println!("{what:<76}{got_status:<22}{got_reason}");
        if (got_status, got_reason) != (status, reason) {
            wrong.push(format!("{what}: {got_status} {got_reason}, not {status} {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", ran.stderr);
    let judged = altered.iter().filter(|altered| altered.status != "passed over").count();
    assert_eq!(ran.verdicts.len(), judged);
    assert_eq!(ran.code, Some(1));
    // A verdict's line has its status; other lines may report a refusal too.
    let is_verdict = |line: &&Value| line.get("refusal").is_some() && line.get("status").is_some();
    let refused: Vec<&Value> = log.iter().filter(is_verdict).collect();
    assert_eq!(refused.len(), judged, "each verdict has its line with the place");
}

/// How many of them were found out by the world, which is after the run's start was told.
fn started_runs(altered: &[Altered]) -> usize {
    altered.iter().filter(|altered| altered.by_the_world).count()
}

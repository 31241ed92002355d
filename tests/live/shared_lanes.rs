//! Sixteen lanes, four workers of one consumer group on Kafka, Postgres and S3: one dies, one sleeps beyond its lease and wakes, one
//! comes late, and Kafka is restarted.
//!
//! ```text
//! first  ── READY: tasks, calls ──► streams ─────────────────────────────────────► STREAMED
//! second ── called, streams ── SIGKILL
//! third  ── called, streams ── SIGSTOP ·········· SIGCONT ── lanes lost ── goes on
//! late                          └─ starts ── called by the group ── streams
//! ```

use std::time::Duration;

use serde_json::json;
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;

use crate::kit::live::{Running, digest, nap};
use crate::outages::{until_streamed, verdicts};
use crate::parts::{Parts, Run, bound, events};

const LANES: u64 = 16;
const TOPIC: &str = "fp.bus.wsp.lanes.v1";

/// A worker in a folder of its own.
fn worker(parts: &Parts, run: &Run, name: &str) -> Running {
    let folder = parts.stage.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    // Slow enough that the group has time to call the late worker, whatever the world's size.
    let (rate, saved) = ((events() / 50).to_string(), (events() / 1_000).to_string());
    let more = [
        ("WSP_LANES_COUNT", "16"),
        ("WSP_LANES_PER_WORKER", "4"),
        ("WSP_TARGET_EPS", rate.as_str()),
        ("WSP_CHECKPOINT_FLUSH_EVERY", saved.as_str()),
        ("WSP_TELEMETRY_LISTEN", "off"),
    ];
    Running::spawn(&parts.stage, name, parts.command(run, &more).current_dir(folder))
}

/// Waits until a worker has taken a lane.
fn until_taken(worker: &mut Running) {
    let err = worker.err_file();
    worker.until("a lane taken", || std::fs::read_to_string(&err).unwrap().contains("lane taken"));
}

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn four_workers_share_a_run_through_a_death_a_sleep_a_late_comer_and_a_restart_of_kafka() {
    let events = events();
    let spec = WorldSpec { parts: 3, row_group_rows: 2_000, ..WorldSpec::new(events) };
    let mut parts = Parts::set(&spec).await;
    let run = parts.run(1).await;
    parts.kafka.create(TOPIC, 16).await;
    let clock = SystemClock::new();
    let (mut first, mut second, mut third) =
        (worker(&parts, &run, "first"), worker(&parts, &run, "second"), worker(&parts, &run, "third"));
    parts.publish(&run, &run.ready);
    let share = |n: u64| events * n / 10;
    // Whichever of them the group gave READY to called the others.
    for worker in [&mut first, &mut second, &mut third] {
        until_taken(worker);
    }
    parts.until_admitted(&run, &mut first, share(1));
    assert!(second.kill(), "it was running");
    let killed = clock.now();
    let mut late = worker(&parts, &run, "late");
    until_taken(&mut late);
    third.signal("STOP");
    parts.kafka.stop();
    parts.until_admitted(&run, &mut first, share(8));
    parts.kafka.start();
    third.signal("CONT");
    until_streamed(&mut first);
    until_streamed(&mut late);
    let whole = clock.now().saturating_sub(killed);

    let report = parts.audit(&run);
    assert!(report.is_clean() && report.admitted == events, "{report:?}");
    let evidence = parts.evidence(&run).await;
    let record = evidence.record(run.message_id());
    assert_eq!(record.len(), 1, "one verdict: {record:?}");
    assert_eq!((record[0]["status"].as_str(), record[0]["emitted"].as_u64()), (Some("STREAMED"), Some(events)));
    assert_eq!(evidence.facts(), ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"]);
    let summary = evidence.json("wsp/wsp_summary.json");
    let ends = summary["lanes"]["ends"].as_array().unwrap();
    assert_eq!((ends.len() as u64, &summary["status"]), (LANES, &"STREAMED".into()));
    assert_eq!(summary["event_id_digest"], json!(digest(&parts.events)), "the digest is that of one process");
    // Four lanes of the dead one, four of the sleeper, and what the sleeper had under way when it woke.
    let (bound, (_, duplicates)) = (bound(&evidence.json("wsp/wsp_start.json")), parts.counted(&run));
    assert!(duplicates <= 12 * bound, "{duplicates} events came twice, {} may", 12 * bound);
    while third.is_running() && verdicts(&third).is_empty() {
        assert!(clock.now() < Duration::from_mins(8), "{}", third.err());
        nap(Duration::from_millis(50));
    }
    for worker in [first, third, late] {
        worker.signal("TERM");
        let ran = worker.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let resumed = ends.iter().filter(|end| end["resumed"] == true).count();
    println!(
        "{events} events, {resumed} lanes taken over, {duplicates} events came twice ({} may); {:.1} s from the death to the verdict",
        12 * bound,
        whole.as_secs_f64()
    );
}

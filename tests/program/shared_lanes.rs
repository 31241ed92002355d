//! A run whose lanes workers share: `wsp run --once`, started several times over one profile.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Micros;

use crate::kit::RUN_ONCE;
use crate::kit::live::{Live, Running, assert_evidence_is_whole, nap};
use crate::kit::watch;

const EVENTS: u64 = 1_200;
const LANES: usize = 8;

fn live(lanes: &Value) -> Live {
    let spec = WorldSpec { parts: 2, row_group_rows: 100, ..WorldSpec::new(EVENTS) };
    Live::new(&spec, "", |profile| profile["wiring"]["wsp_lanes"] = lanes.clone())
}

fn start(live: &Live, name: &str, eps: &str) -> Running {
    let mut command = live.stage.wsp(RUN_ONCE);
    command.env("WSP_TARGET_EPS", eps);
    Running::spawn(&live.stage, name, &mut command)
}

fn admitted(live: &Live) -> u64 {
    live.gate.stats().admitted
}

/// How many facts of a family there are, by id.
fn facts(live: &Live, family: &str) -> Vec<Value> {
    live.stage.governance().into_iter().filter(|fact| fact["event_family"] == family).collect()
}

/// The run was brought whole, in line, with one of everything.
fn assert_one_run(live: &Live) -> Value {
    let report = live.audit(&live.events);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.admitted, EVENTS);
    let record = live.record();
    let [verdict] = record.as_slice() else { panic!("{record:?}") };
    assert_eq!((verdict["status"].as_str(), verdict["emitted"].as_u64()), (Some("STREAMED"), Some(EVENTS)));
    for family in ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"] {
        let facts = facts(live, family);
        assert_eq!(facts.len(), 1, "{family}");
        if family != "RUN_READY_SEEN" {
            assert_eq!(facts[0]["details"]["lanes"], json!({"by": "order_key", "count": LANES}));
        }
    }
    assert_evidence_is_whole(&live.stage);
    let summary = live.stage.summary();
    assert_eq!((&summary["emitted"], &summary["end"]), (&json!(EVENTS), &json!("complete")));
    assert!(summary.get("lane").is_none(), "it is the run's");
    let ends = summary["lanes"]["ends"].as_array().unwrap();
    assert_eq!(ends.len(), LANES);
    for index in 0..LANES {
        let lane = live.stage.document(&format!("wsp/wsp_summary.lane-{index}-of-{LANES}-by-order_key.json"));
        assert_eq!(lane["lane"]["index"], index, "each lane's own is kept beside it");
    }
    let scopes = std::fs::read_dir(live.stage.path("checkpoints")).unwrap();
    assert_eq!(scopes.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), LANES);
    let verify = live.stage.wsp(&["verify", "--profile", "profile.yaml"]).output().unwrap();
    let told = [&verify.stdout[..], &verify.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(verify.status.success(), "{told:?}");
    assert!(told[0].contains("ok       lanes: 8 lanes: 8 streamed"), "{told:?}");
    for index in 0..LANES {
        assert!(told[0].contains(&format!("ok       lane-{index}-of-{LANES}-by-order_key: streamed, ")), "{told:?}");
    }
    let events: u64 = ends.iter().map(|end| end["events"].as_u64().unwrap()).sum();
    assert_eq!(events, EVENTS, "over all starts of the lanes");
    summary
}

/// All takeovers of the run's lanes.
fn takeovers(summary: &Value) -> Vec<Value> {
    let ends = summary["lanes"]["ends"].as_array().unwrap();
    ends.iter().flat_map(|end| end["takeovers"].as_array().unwrap().clone()).collect()
}

fn told(live: &Live, args: &[&str]) -> (Option<i32>, String, String) {
    let output = live.stage.wsp(args).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), out, err)
}

#[test]
fn three_processes_share_eight_lanes_and_one_is_killed_in_the_middle() {
    let live = live(&json!({"count": LANES}));
    let mut workers: Vec<_> = (0..3).map(|n| start(&live, &format!("worker-{n}"), "400")).collect();
    let doomed = workers.remove(1);
    while admitted(&live) < 250 {
        nap(Duration::from_millis(5));
    }
    assert!(doomed.kill(), "it was running");
    let before = admitted(&live);
    assert!(before < EVENTS / 2, "it was killed early: {before}");
    assert!(!live.stage.evidence("wsp/wsp_summary.json").exists());
    for worker in workers {
        let ran = worker.end();
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    }
    // It had one lane in hand, saves every 10 answers and has one in flight.
    assert!(live.gate.stats().duplicates <= 11, "{} events were sent again", live.gate.stats().duplicates);
    let summary = assert_one_run(&live);
    let resumed = summary["lanes"]["ends"].as_array().unwrap().iter().filter(|end| end["resumed"] == true).count();
    assert!(resumed <= 1, "{resumed} lanes were taken over from one worker");
    // The time of recovery can be read: last save of the worker that died, hold and first event of the next one.
    let takeovers = takeovers(&summary);
    let [takeover] = takeovers.as_slice() else { panic!("{takeovers:?}") };
    let at =
        |key: &str| Micros::parse(takeover[key].as_str().unwrap_or_else(|| panic!("{key}: {takeover}")).as_bytes());
    let [saved, held, first] = ["last_saved_at_utc", "held_at_utc", "first_event_at_utc"].map(|key| at(key).unwrap());
    assert!(saved < held && held < first, "{takeover}");
    assert_eq!(takeover["left"], false);
    assert_ne!(takeover["from_worker"], takeover["to_worker"]);
    let (code, page, err) = told(&live, &["report", "--profile", "profile.yaml"]);
    assert!(code == Some(0) && page.contains("Takeovers") && page.contains("lost it"), "{err}");
    // Whoever comes later finds it streamed.
    let ran = start(&live, "late", "400").end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("SKIPPED_DUPLICATE", "")));
    assert_eq!(live.record().len(), 1);
}

#[test]
fn workers_join_and_leave_in_the_middle_of_a_run() {
    let live = live(&json!({"count": LANES, "lanes_per_worker": 2}));
    let first = start(&live, "first", "500");
    while admitted(&live) < 150 {
        nap(Duration::from_millis(5));
    }
    let joining = start(&live, "joining", "500");
    while admitted(&live) < 400 {
        nap(Duration::from_millis(5));
    }
    first.signal("TERM");
    let left = first.end();
    assert_eq!((left.code, left.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", left.stderr);
    let ran = joining.end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    let takeovers = takeovers(&assert_one_run(&live));
    assert!(!takeovers.is_empty() && takeovers.iter().all(|takeover| takeover["left"] == true), "{takeovers:?}");
    assert_eq!(live.gate.stats().duplicates, 0, "who is stopped saves what was answered");
}

#[test]
fn a_run_under_way_is_told_by_lane_and_its_checkpoint_is_not_reset() {
    let live = live(&json!({"count": LANES, "lanes_per_worker": 2}));
    let first = start(&live, "first", "150");
    let mut command = live.stage.wsp(RUN_ONCE);
    command.env("WSP_TARGET_EPS", "150").env("WSP_TELEMETRY_LISTEN", "127.0.0.1:0");
    let mut second = Running::spawn(&live.stage, "second", &mut command);
    let address = watch::address(&mut second);
    second.until("lanes have two workers", || {
        let (_, body) = watch::ask(&address, "GET /status");
        let status: Value = serde_json::from_str(&body).unwrap();
        let lanes = status["lanes"]["lanes"].as_array().cloned().unwrap_or_default();
        let running: BTreeSet<_> = lanes.iter().filter_map(|lane| lane["worker"].as_str().map(str::to_owned)).collect();
        nap(Duration::from_millis(50));
        running.len() == 2 && admitted(&live) > 60
    });
    let (code, out, err) = told(&live, &["status", "--address", &address]);
    assert!(code == Some(0) && out.contains("8 lanes by order_key") && out.contains(" of 1,200 events"), "{out}{err}");
    let (_, page) = watch::ask(&address, "GET /");
    assert!(page.contains("<h2 id=\"lanes\">Lanes</h2>") && page.contains("8 lanes by order_key"), "{page}");

    let (code, out, err) = told(&live, &["verify", "--profile", "profile.yaml"]);
    assert!(code == Some(1) && out.contains("ok       lanes: the run is under way: "), "{out}{err}");
    let (code, page, err) = told(&live, &["report", "--profile", "profile.yaml"]);
    assert!(code == Some(0) && page.contains("without an end") && page.contains("8 lanes by order_key"), "{err}");

    let (code, out, err) = told(&live, &["checkpoint", "show", "--profile", "profile.yaml"]);
    assert!(code == Some(0) && out.contains("lane-7-of-8-by-order_key") && out.contains("running"), "{out}{err}");
    let reset = &["checkpoint", "reset", "--profile", "profile.yaml", "--yes"];
    let (code, out, err) = told(&live, reset);
    assert!(code == Some(1) && out.is_empty(), "{out}{err}");
    assert!(err.contains("nothing was reset") && err.contains("-of-8-by-order_key: CHECKPOINT_SCOPE_BUSY"), "{err}");

    for worker in [first, second] {
        let ran = worker.end();
        assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    }
    assert_one_run(&live);
    let (code, out, err) = told(&live, reset);
    assert_eq!(
        (code, out.matches("has no cursors now; its end stays (streamed)").count()),
        (Some(0), LANES),
        "{out}{err}"
    );
    let (_, out, _) = told(&live, &["checkpoint", "show", "--profile", "profile.yaml"]);
    assert_eq!(out.matches("nothing saved").count(), LANES, "{out}");
}

#[test]
fn a_rate_is_the_runs_whoever_streams_it() {
    let live = live(&json!({"count": LANES, "lanes_per_worker": 4}));
    let workers: Vec<_> = (0..2).map(|n| start(&live, &format!("worker-{n}"), "300")).collect();
    for worker in workers {
        let ran = worker.end();
        assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    }
    let summary = assert_one_run(&live);
    let at = |key: &str| Micros::parse(summary[key].as_str().unwrap().as_bytes()).unwrap().0;
    let seconds = (at("ended_at_utc") - at("started_at_utc")) as f64 / 1e6;
    // For up to a second after the start a worker doesn't know of the lanes of the others.
    let rate = EVENTS as f64 / seconds;
    assert!(rate < 300.0 * 1.5, "{rate} events a second");
}

#[test]
fn lanes_wait_for_one_that_is_behind() {
    // One lane after the other, each of which may be a minute ahead of the slowest: those of this worker wait, and it takes more.
    let live = live(&json!({"count": LANES, "lanes_per_worker": 2, "max_skew_seconds": 20_000}));
    let ran = start(&live, "worker", "5000").end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    assert_one_run(&live);
}

#[test]
fn a_worker_with_other_lanes_waits_and_touches_nothing() {
    let live = live(&json!({"count": LANES}));
    let worker = start(&live, "worker", "300");
    while admitted(&live) < 50 {
        nap(Duration::from_millis(5));
    }
    let lanes = |count: usize| {
        live.stage.edit("profile.yaml", |profile| profile["wiring"]["wsp_lanes"]["count"] = count.into());
    };
    lanes(4);
    let other = start(&live, "other", "300").end();
    let waits = ("DEFERRED_DOWNSTREAM_NOT_READY", "LANE_TASKS_FOREIGN");
    assert_eq!((other.code, other.verdict()), (Some(3), waits), "{}", other.stderr);
    lanes(LANES);
    let ran = worker.end();
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    assert_one_run(&live);
    assert_eq!(live.gate.stats().duplicates, 0);
}

#[test]
fn what_shared_lanes_can_not_do_is_refused_before_anything_is_read() {
    let live = live(&json!({"count": LANES}));
    for (args, var, word) in [
        (&[][..], ("WSP_LANE_COUNT", "3"), "WSP_LANE_COUNT"),
        (&[][..], ("WSP_MAX_EVENTS_PER_OUTPUT", "3"), "WSP_MAX_EVENTS_PER_OUTPUT"),
        (&["--max-events", "5"][..], ("WSP_LANE_INDEX", "0"), "--max-events"),
    ] {
        let mut command = live.stage.wsp(&[RUN_ONCE, args].concat());
        let output = command.env(var.0, var.1).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(word) && told.contains("wsp_lanes"), "{told}");
    }
    assert_eq!(live.gate.stats().requests, 0);
    let scopes: BTreeSet<_> = std::fs::read_dir(live.stage.path("checkpoints"))
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .into_iter()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(scopes.is_empty(), "{scopes:?}");
}

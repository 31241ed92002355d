//! What a running `wsp run` tells of itself: metrics, probes, status, and the terminal.

#![allow(clippy::float_cmp, reason = "the figures are counts")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wsp_reference::gate::GateStyle;
use wsp_reference::world::WorldSpec;
use wsp_world::telemetry::catalogue;

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::{Running, publish_world};
use crate::kit::watch::{self, RUN_ARGS, ask, figure, start};
use crate::kit::{self, FRAUD, MESSAGE, OUTPUTS, RUN, Stage, ready_file};

/// A gate that answers 100 events and then holds the rest back.
pub(crate) fn half_open() -> CaptureGate {
    CaptureGate::scripted(|nth, _| if nth < 100 { Reply::admit() } else { Reply::admit_held() })
}

/// A place among the listener's connections is not kept for a peer that does not finish its request.
#[test]
fn a_peer_that_sends_half_a_head_is_disconnected() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (_running, address) = start(&stage, RUN_ARGS);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: wsp\r\n").unwrap();
    let mut answer = Vec::new();
    let closed = stream.read_to_end(&mut answer);
    assert!(closed.is_ok(), "after 12 s: {closed:?}");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

/// A connection from this address of the machine.
fn connect(address: &str, from: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Whether `/livez` answers this address in the time that a probe of the manifests waits.
fn probed(address: &str, from: &str) -> bool {
    let mut stream = connect(address, from);
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut answer = String::new();
    let asked = write!(stream, "GET /livez HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
    asked.is_ok() && answer.ends_with("alive\n")
}

/// Half a request each.
fn slow(address: &str, from: &str, connections: usize) -> Vec<TcpStream> {
    let half = |mut stream: TcpStream| {
        // One that is closed already may refuse this.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n");
        stream
    };
    (0..connections).map(|_| half(connect(address, from))).collect()
}

/// What a peer does with its own connections costs it alone: a probe from another address is answered.
#[test]
fn slow_connections_of_one_peer_leave_room_for_the_probes_of_another() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    let held = slow(&address, "127.0.0.2", 64);
    assert!(probed(&address, "127.0.0.1"), "another peer holds 64 connections");
    assert!(!probed(&address, "127.0.0.2"), "its share is used up");
    let more = slow(&address, "127.0.0.3", 200);
    assert!(probed(&address, "127.0.0.1"), "two other peers");
    drop((held, more));
    running.until("a share that is given back can be had again", || probed(&address, "127.0.0.2"));
}

/// Silent peers take places of the listener, which are bounded, and not the descriptors of the run.
#[test]
fn connections_beyond_the_bound_wait_until_a_place_is_free() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (_running, address) = start(&stage, RUN_ARGS);
    let silent: Vec<TcpStream> = (2..10).flat_map(|host| slow(&address, &format!("127.0.0.{host}"), 8)).collect();
    let mut late = connect(&address, "127.0.0.1");
    late.write_all(b"GET /livez HTTP/1.1\r\nHost: wsp\r\n\r\n").unwrap();
    // Much less than silent peers are waited for.
    late.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(late.read(&mut [0; 16]).is_err(), "there was a place for one more");
    drop(silent);
    late.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 12];
    late.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_head_of_any_size_is_not_kept() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (_running, address) = start(&stage, RUN_ARGS);
    let answered = |length: usize| {
        let mut stream = connect(&address, "127.0.0.1");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may be closed before all of it is sent.
        let _ = write!(stream, "GET /livez HTTP/1.1\r\nHost: wsp\r\nx: {}\r\n\r\n", "a".repeat(length));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200")
    };
    assert!(answered(8_000));
    assert!(!answered(40_000));
}

#[test]
fn a_run_under_way_is_told_in_figures() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);

    let metrics = || ask(&address, "GET /metrics").1;
    let answered = |metrics: &str, output: &str| {
        figure(metrics, &format!("wsp_answered_events_total{{output=\"{output}\",decision=\"ADMIT\"}}")).unwrap()
    };
    running.until("the hundredth answer", || {
        OUTPUTS.iter().map(|output| answered(&metrics(), output)).sum::<f64>() >= 100.0
    });
    let text = metrics();
    for (series, expected) in [
        ("wsp_active_runs", 1.0),
        ("wsp_in_flight_requests", 1.0),
        ("wsp_framed_events_total", 250.0),
        ("wsp_read_rows_total", 250.0),
        ("wsp_merge_held_rows", 0.0),
        ("wsp_attempts_total{outcome=\"answered\"}", 100.0),
        ("wsp_attempts_total{outcome=\"timed_out\"}", 0.0),
        ("wsp_answer_latency_seconds_count", 100.0),
        (&format!("wsp_due_events{{output=\"{FRAUD}\"}}"), 100.0),
    ] {
        assert_eq!(figure(&text, series), Some(expected), "{series} in\n{text}");
    }
    // As many as the window allows are handed over, all of them once they are framed; one of them is under way.
    let unanswered = figure(&text, "wsp_unanswered_events").unwrap();
    assert!((1.0..=150.0).contains(&unanswered), "{text}");
    assert_eq!(figure(&text, "wsp_framed_ahead_events").unwrap() + unanswered, 150.0, "{text}");
    assert!(figure(&text, "wsp_read_bytes_total").unwrap() > 10_000.0, "{text}");
    // What is answered is saved within a second, so nothing has been waiting for long.
    assert!(figure(&text, "wsp_checkpoint_age_seconds").unwrap() < 5.0, "{text}");
    let time = |metric: &str| figure(&text, &format!("{metric}{{output=\"{FRAUD}\"}}")).unwrap();
    assert!(time("wsp_event_time_timestamp_seconds") < time("wsp_event_time_end_timestamp_seconds"));

    let told: Value = serde_json::from_str(&ask(&address, "GET /status").1).unwrap();
    let run = &told["run"];
    assert_eq!((&run["message_id"], &run["platform_run_id"]), (&json!(MESSAGE), &json!(RUN)));
    assert_eq!((&run["total"]["answered"], &run["total"]["due"]), (&json!(100), &json!(250)));
    let asked = stage.wsp(&["status", "--address", &address]).output().unwrap();
    let out = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success() && out.contains("100 of 250 events") && out.contains(FRAUD), "{out}");

    gate.release();
    running.until("the verdict", || running_verdicts(&address) == 1.0);
    let text = metrics();
    assert_eq!(figure(&text, "wsp_active_runs"), Some(0.0));
    assert_eq!(answered(&text, FRAUD), 100.0, "what was counted stays");
    assert_eq!(figure(&text, "wsp_attempts_total{outcome=\"answered\"}"), Some(250.0));
    assert_eq!(figure(&text, "wsp_saved_cursors_total").map(|saved| saved >= 4.0), Some(true));
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
}

#[test]
fn a_cap_over_all_outputs_leaves_the_share_of_each_open() {
    for (cap, of_an_output) in [(200, Value::Null), (250, json!(100))] {
        let gate = half_open();
        let stage = Stage::golden(&gate.url);
        let (mut running, address) = start(&stage, &[RUN_ARGS, &["--max-events", &cap.to_string()]].concat());
        running.until("a held request", || gate.requests() == 101);
        let told: Value = serde_json::from_str(&ask(&address, "GET /status").1).unwrap();
        assert_eq!(told["run"]["total"]["due"], cap, "{told}");
        let outputs = told["run"]["outputs"].as_array().unwrap();
        let traffic = outputs.iter().find(|output| output["output_id"] == FRAUD).unwrap();
        assert_eq!(traffic["due"], of_an_output, "{told}");
    }
}

fn running_verdicts(address: &str) -> f64 {
    figure(&ask(address, "GET /metrics").1, "wsp_ready_verdicts_total{status=\"STREAMED\",reason=\"\"}").unwrap_or(0.0)
}

#[test]
fn every_metric_of_the_page_is_served_and_no_other() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    ask(&address, "GET /readyz");
    let text = ask(&address, "GET /metrics").1;
    let typed: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // A verdict comes at the end, and files count no epochs.
    let known = catalogue::ALL.iter().map(|metric| metric.name);
    let expected: BTreeSet<_> =
        known.filter(|name| !["wsp_ready_verdicts_total", "wsp_lease_epoch"].contains(name)).collect();
    assert_eq!(typed, expected);
}

#[test]
fn the_managed_edge_is_a_gate_that_is_ready() {
    let gate = kit::gate_of(GateStyle::Edge);
    let stage = Stage::golden(&gate.base_url());
    stage.remove(&ready_file(MESSAGE));
    let (running, address) = start(&stage, RUN_ARGS);
    let (status, report) = ask(&address, "GET /readyz");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
    let told = stage.wsp(&["status", "--address", &address]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.lines().any(|line| line.split_whitespace().eq(["gate", "ready", "ok"])), "{told}");
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
}

#[test]
fn probes_tell_a_live_process_from_a_ready_one() {
    let gate = kit::gate();
    let stage = Stage::golden(&gate.base_url());
    stage.remove(&ready_file(MESSAGE));
    let (mut running, address) = start(&stage, RUN_ARGS);
    assert_eq!(ask(&address, "GET /livez"), (200, "alive\n".to_owned()));
    let (status, report) = ask(&address, "GET /readyz");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
    assert_eq!(figure(&ask(&address, "GET /metrics").1, "wsp_part_ready{part=\"gate\"}"), Some(1.0));

    drop(gate);
    running.until("the figures say so without being asked by a probe", || {
        figure(&ask(&address, "GET /metrics").1, "wsp_part_ready{part=\"gate\"}") == Some(0.0)
    });
    let unready = || {
        let (status, report) = ask(&address, "GET /readyz");
        (status == 503).then(|| serde_json::from_str::<Value>(&report).unwrap())
    };
    let mut report = None;
    running.until("it is not ready", || {
        report = unready();
        report.is_some()
    });
    let parts = report.unwrap()["parts"].as_array().unwrap().clone();
    let down: Vec<_> = parts.iter().filter(|part| part["ready"] == false).map(|part| part["part"].clone()).collect();
    assert_eq!(down, [json!("gate")]);
    assert_eq!(ask(&address, "GET /livez").0, 200);
    assert_eq!((ask(&address, "POST /metrics").0, ask(&address, "GET /nothing").0), (405, 404));
}

#[test]
fn a_ready_that_waits_is_told_for_as_long_as_it_does() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let mut command = stage.wsp(RUN_ARGS);
    command.env("WSP_TELEMETRY_LISTEN", "127.0.0.1:0").env("WSP_READY_REQUIRED_PACKS", "nowhere.yaml");
    let mut running = Running::spawn(&stage, "run", &mut command);
    let address = watch::address(&mut running);
    let told = |series: &str| figure(&ask(&address, "GET /metrics").1, series);
    running.until("it waits", || told("wsp_deferred_messages") == Some(1.0));
    let earlier = told("wsp_deferral_age_seconds").unwrap();
    running.until("it waits longer", || told("wsp_deferral_age_seconds").unwrap() > earlier);
}

#[test]
fn a_gate_that_takes_nothing_is_told_until_it_takes_an_event() {
    let gate = CaptureGate::scripted(|nth, _| match nth {
        0..10 => Reply::admit(),
        10..12 => Reply::Answer(503, String::new()),
        _ => Reply::admit_held(),
    });
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_delivery"] = json!({"circuit_failures": 2}));
    let (mut running, address) = start(&stage, RUN_ARGS);
    let told = |series: &str| figure(&ask(&address, "GET /metrics").1, series);
    running.until("one event is tried", || gate.requests() > 12);
    assert!(told("wsp_gate_down_seconds").unwrap() > 0.0, "it is asked for an event, and has not answered");
    assert_eq!(told("wsp_circuit_openings_total"), Some(1.0));
    gate.release();
    running.until("an answer", || told("wsp_gate_down_seconds") == Some(0.0));
}

#[test]
fn an_address_that_was_asked_for_has_to_be_free() {
    let stage = Stage::golden("http://127.0.0.1:1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = stage.wsp(RUN_ARGS);
    command.env("WSP_TELEMETRY_LISTEN", taken.local_addr().unwrap().to_string());
    let ran = command.output().unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.code() == Some(2) && err.contains("wiring.wsp_telemetry.listen"), "{err}");

    let nobody = stage.wsp(&["status", "--address", "127.0.0.1:1"]).output().unwrap();
    let err = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.status.code() == Some(1) && err.contains("no answer from 127.0.0.1:1"), "{err}");
}

#[test]
#[ignore = "needs promtool (Debian's package prometheus)"]
fn promtool_finds_nothing_wrong() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    ask(&address, "GET /readyz");
    let metrics = ask(&address, "GET /metrics").1;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let told = promtool.wait_with_output().unwrap();
    let told = (told.status.code(), String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert_eq!(told, (Some(0), String::new(), String::new()), "{metrics}");
}

/// `wsp` on a terminal, as `script` (util-linux) makes one; what is drawn is its stdout.
pub(crate) fn terminal(stage: &Stage, args: &str, columns: u16, env: &[(&str, &str)]) -> Command {
    let wsp = env!("CARGO_BIN_EXE_wsp");
    let inner = format!("stty cols {columns} rows 24; {wsp} {args}");
    let plain_command = stage.wsp(&[]);
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &inner, "/dev/null"]).current_dir(stage.folder.path()).env_clear();
    terminal.envs(plain_command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    terminal.env("TERM", "xterm").env("WSP_TELEMETRY_LISTEN", "off").envs(env.iter().copied()).stdin(Stdio::null());
    terminal
}

/// What is drawn of `wsp run --once` on a terminal of this kind.
fn on_a_terminal(env: &[(&str, &str)], columns: u16) -> String {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let mut terminal = terminal(&stage, "run --profile profile.yaml --once", columns, env);
    let mut running = Running::spawn(&stage, "terminal", &mut terminal);
    running.until("a held request", || gate.requests() == 101);
    let drawn = |out: &str| out.matches("100 of 250").count() >= 3;
    let plain = env.contains(&("TERM", "dumb"));
    let out = stage.path("terminal.out");
    running.until("it is drawn", || plain || drawn(&String::from_utf8_lossy(&kit::read(&out))));
    gate.release();
    let (code, out) = running.exit();
    assert_eq!(code, Some(0), "{out}");
    out
}

#[test]
#[ignore = "needs script (util-linux)"]
fn a_terminal_shows_progress_in_place() {
    let out = on_a_terminal(&[], 100);
    assert!(out.contains("\x1b[5A"), "five lines are drawn over: {out:?}");
    assert!(out.contains("\x1b[1m") && out.contains(FRAUD) && out.contains("STREAMED"), "{out:?}");

    let out = on_a_terminal(&[("NO_COLOR", "1")], 50);
    assert!(!out.contains("\x1b[1m") && out.contains("\x1b[5A"), "{out:?}");
    let drawn = out.split(['\n', '\r']).filter(|line| line.contains("\x1b[K"));
    let widths = drawn.map(|line| line.replace("\x1b[K", "").replace("\x1b[5A", "").chars().count());
    assert!(widths.max().is_some_and(|widest| widest < 50), "{out:?}");

    // No progress where nothing can be drawn over; the lines are for people all the same.
    let out = on_a_terminal(&[("TERM", "dumb")], 100);
    assert!(!out.contains("\x1b[") && out.contains("  INFO WSP stream start "), "{out:?}");
    assert!(!out.contains("trace_id"), "{out:?}");
}

#[test]
#[ignore = "needs script (util-linux)"]
fn a_terminal_shows_how_far_a_plan_is() {
    let (stage, _) = publish_world(&WorldSpec::new(2_000_000));
    stage.profile("http://127.0.0.1:1", |_| {});
    let mut plan = terminal(&stage, "plan --profile profile.yaml", 100, &[]);
    let (code, out) = Running::spawn(&stage, "terminal", &mut plan).exit();
    assert!(code == Some(0) && out.contains("would be streamed"), "{out:?}");
    assert!(out.contains(" events  ") && out.contains("\x1b[5A"), "its event times are drawn over: {out:?}");
    let (_, after) = out.rsplit_once("\x1b[J").unwrap();
    assert!(after.contains("active run") && !after.contains("\x1b["), "the plan stands below what is gone: {after:?}");
}

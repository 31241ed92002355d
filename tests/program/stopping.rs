//! SIGTERM and ^C: nothing new is begun, what is on the way is awaited, and the next start goes on from there.
//!
//! ```text
//! wsp run ──events──► gate that answers the first ones and holds the rest ──signal, release──► exit code 3, evidence
//!                                                                               └─ next start: STREAMED
//! ```

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Hex64;
use wsp_world::prepare::Prepared;

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::{Due, Running, assert_evidence_is_whole, covered, due, ends, kept, prepared, publish_world};
use crate::kit::{RUN_ONCE, Stage, event_ids, read};

/// Answers that the gate gives at once.
const ANSWERED: usize = 100;
/// Longer than any test: where it is configured, a test that waits for it hangs.
const NEVER_MS: u64 = 600_000;

/// A world of some 400 events and a gate that holds what comes after the first [`ANSWERED`].
struct Held {
    stage: Stage,
    gate: CaptureGate,
    message_id: String,
    run: Prepared,
    events: Vec<Due>,
}

impl Held {
    fn new(delivery: &Value) -> Self {
        let held = |n, _: &[u8]| if n < ANSWERED { Reply::admit() } else { Reply::admit_held() };
        Self::before(CaptureGate::scripted(held), |profile| profile["wiring"]["wsp_delivery"] = delivery.clone())
    }

    fn before(gate: CaptureGate, change: impl FnOnce(&mut Value)) -> Self {
        let (stage, message_id) = publish_world(&WorldSpec::new(400));
        stage.profile(&gate.url, change);
        let run = prepared(&stage, &message_id);
        let events = due(&run);
        Self { stage, gate, message_id, run, events }
    }

    /// Starts the run and waits until the gate has seen `requests`.
    fn start(&self, requests: usize) -> Running {
        let mut running = Running::start(&self.stage, "first", RUN_ONCE);
        running.until("the requests came", || self.gate.requests() >= requests);
        running
    }

    fn record(&self) -> Vec<Value> {
        self.stage.record_of(&self.message_id)
    }

    fn ends(&self) -> Vec<Value> {
        ends(&self.stage, &self.message_id)
    }

    /// Events that the cursors cover, over all outputs, after checking that they are what `ids` holds of each output
    /// without a gap.
    fn covered(&self, ids: &BTreeSet<String>) -> usize {
        let covered = covered(&self.stage, &self.run);
        for (rank, covered) in covered.iter().enumerate() {
            let of_output = self.events.iter().filter(|due| usize::from(due.rank) == rank);
            let contiguous = of_output.take_while(|due| ids.contains(Hex64::of_digest(due.event_id).as_str())).count();
            assert_eq!(*covered, contiguous as u64, "the cursor of output {rank}");
        }
        covered.iter().sum::<u64>() as usize
    }

    /// Events that are kept as answered, cursors or not.
    fn kept(&self) -> usize {
        kept(&self.stage, &self.run).iter().map(std::collections::BTreeSet::len).sum()
    }

    fn ids(&self) -> Vec<String> {
        event_ids(&self.gate.bodies())
    }

    /// The next start, which is to bring what is left and nothing else; `repeated` events come once more.
    fn resume(&self, ends: usize, repeated: usize) {
        let first = self.gate.requests();
        self.gate.release();
        let ran = self.stage.run_once();
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
        let ids = self.ids();
        assert_eq!(ids.len(), self.events.len() + repeated);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), self.events.len());
        let brought = json!(ids.len() - first);
        assert_eq!(ran.verdicts[0]["emitted"], brought);
        assert_evidence_is_whole(&self.stage);
        let (record, told) = (self.record(), self.ends());
        assert_eq!((record.len(), told.len()), (ends, ends));
        assert_eq!(record[ends - 1]["status"], "STREAMED");
        let details = &told[ends - 1]["details"];
        assert_eq!((&details["status"], &details["emitted"]), (&json!("STREAMED"), &brought));
        assert_eq!(self.stage.summary()["end"], "complete");
    }

    /// Record, fact and summary of a first start that was stopped after `emitted` events.
    fn assert_stopped_after(&self, emitted: usize) {
        let (record, ends, summary) = (self.record(), self.ends(), self.stage.summary());
        assert_eq!((record.len(), ends.len()), (1, 1));
        for told in [&record[0], &ends[0]["details"], &summary] {
            let told = (&told["status"], &told["reason"], &told["emitted"]);
            assert_eq!(told, (&json!("FAILED"), &json!("RUN_STOPPED"), &json!(emitted)));
        }
        assert_eq!(summary["end"], "stopped");
    }
}

fn strict() -> Value {
    json!({"mode": "strict", "drain_deadline_ms": NEVER_MS, "attempt_timeout_ms": NEVER_MS})
}

fn keyed() -> Value {
    json!({"mode": "keyed", "in_flight": 4, "drain_deadline_ms": NEVER_MS, "attempt_timeout_ms": NEVER_MS})
}

#[test]
fn a_stopped_run_goes_on_without_a_repetition() {
    for signal in ["TERM", "INT"] {
        let held = Held::new(&strict());
        let mut running = held.start(ANSWERED + 1);
        running.signal(signal);
        running.until_stopping();
        held.gate.release();
        let ran = running.end();
        assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
        // The one on the way was answered; none was begun.
        assert_eq!(held.gate.requests(), ANSWERED + 1);
        held.assert_stopped_after(ANSWERED + 1);
        assert_eq!(held.covered(&held.ids().into_iter().collect()), ANSWERED + 1);
        held.resume(2, 0);
    }
}

#[test]
fn what_is_in_flight_is_awaited_and_nothing_answered_comes_again() {
    let held = Held::new(&keyed());
    let mut running = held.start(ANSWERED + 4);
    running.signal("TERM");
    running.until_stopping();
    held.gate.release();
    let ran = running.end();
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
    assert_eq!(held.gate.requests(), ANSWERED + 4, "all four on the way, and no other");
    held.assert_stopped_after(ANSWERED + 4);
    // Cursors stop at the first gap; what was answered behind it is kept all the same.
    held.covered(&held.ids().into_iter().collect());
    assert_eq!(held.kept(), ANSWERED + 4);
    held.resume(2, 0);
}

#[test]
fn a_second_signal_leaves_at_once() {
    for (delivery, in_flight) in [(strict(), 1), (keyed(), 4)] {
        let held = Held::new(&delivery);
        let mut running = held.start(ANSWERED + in_flight);
        running.signal("TERM");
        running.until_stopping();
        assert!(running.is_running(), "it waits for answers");
        running.signal("INT");
        let ran = running.end();
        // It would wait for ten minutes; that it is here says that it did not.
        assert_eq!((ran.code, ran.verdicts.len()), (Some(3), 0), "{}", ran.stderr);
        assert!(held.record().is_empty() && held.ends().is_empty(), "it had no time for a verdict");
        held.resume(1, held.gate.requests() - held.kept());
    }
}

#[test]
fn answers_are_awaited_for_the_drain_deadline_and_no_longer() {
    let mut delivery = strict();
    delivery["drain_deadline_ms"] = json!(100);
    let held = Held::new(&delivery);
    let running = held.start(ANSWERED + 1);
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
    held.assert_stopped_after(ANSWERED);
    assert_eq!(held.covered(&held.ids().into_iter().take(ANSWERED).collect()), ANSWERED);
    // The one whose answer was not awaited is sent again.
    held.resume(2, 1);
}

#[test]
fn a_retry_is_not_waited_for() {
    let gate = CaptureGate::scripted(|n, _| match n {
        ANSWERED => Reply::Answer(503, r#"{"error":"PUBLISH_IN_FLIGHT_RETRY"}"#.to_owned()),
        _ => Reply::admit(),
    });
    let held = Held::before(gate, |profile| {
        profile["wiring"]["wsp_delivery"] = strict();
        profile["wiring"]["wsp_retry"] = json!({"base_delay_ms": NEVER_MS, "max_delay_ms": NEVER_MS});
    });
    let running = held.start(ANSWERED + 1);
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
    held.assert_stopped_after(ANSWERED);
    held.resume(2, 1);
}

/// A run that waits between its first two events for hours: for event time, or for its rate.
#[test]
fn an_event_that_is_not_due_is_not_waited_for() {
    for slow in ["WSP_STREAM_SPEEDUP", "WSP_TARGET_EPS"] {
        let held = Held::before(CaptureGate::admitting(), |_| {});
        let mut command = held.stage.wsp(RUN_ONCE);
        command.env(slow, "0.0001");
        let mut running = Running::spawn(&held.stage, "slow", &mut command);
        running.until("its first event", || held.gate.requests() >= 1);
        running.signal("TERM");
        let ran = running.end();
        assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{slow}: {}", ran.stderr);
        // Events of the first instant are due together.
        let sent = held.gate.requests();
        assert!(sent < held.events.len() && (slow == "WSP_STREAM_SPEEDUP" || sent == 1), "{slow}: {sent}");
        held.assert_stopped_after(sent);
        assert_eq!(held.covered(&held.ids().into_iter().collect()), sent);
        held.resume(2, 0);
    }
}

#[test]
fn an_idle_service_ends_in_peace() {
    for signal in ["TERM", "INT"] {
        let held = Held::before(CaptureGate::admitting(), |_| {});
        let mut running = Running::start(&held.stage, "service", &["run", "--profile", "profile.yaml"]);
        let out = held.stage.path("service.out");
        running.until("its verdict", || read(&out).ends_with(b"\n"));
        assert!(running.is_running(), "it waits for the next READY");
        running.signal(signal);
        let ran = running.end();
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    }
}

/// An S3 server that is away: nobody at its port, or somebody who takes connections and says nothing.
struct Away {
    endpoint: String,
    _listener: Option<TcpListener>,
}

impl Away {
    fn new(silent: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Self { endpoint, _listener: silent.then_some(listener) }
    }

    /// An object store at `root`, with S3 roots on this server.
    fn store(&self, root: &str) -> Value {
        json!({"root": root, "endpoint": self.endpoint, "region": "eu-west-2", "path_style": true})
    }

    /// Starts the program, and stops it while it waits for the store. Its log until then, its exit code, stdout, and how long it took
    /// to end.
    fn stopped(stage: &Stage, args: &[&str]) -> (String, Option<i32>, String, Duration) {
        let mut command = stage.wsp(args);
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        let (clock, mut running) = (SystemClock::new(), Running::spawn(stage, "away", &mut command));
        let err = running.err_file();
        let log = || String::from_utf8(read(&err)).unwrap();
        running.until("the store is named", || log().contains("the store does not answer"));
        let (log, named) = (log(), clock.now());
        assert!(named < Duration::from_secs(15), "{named:?}");
        running.signal("TERM");
        let (code, out) = running.exit();
        (log, code, out, clock.now().saturating_sub(named))
    }
}

#[test]
fn a_store_that_is_away_is_named_at_once_and_a_stop_ends_the_wait() {
    // A service is stopped in the middle of its work too: the READY has no verdict.
    for (silent, args, printed) in
        [(false, RUN_ONCE, "[]"), (true, RUN_ONCE, "[]"), (false, &["run", "--profile", "profile.yaml"][..], "")]
    {
        let (away, gate) = (Away::new(silent), CaptureGate::admitting());
        let stage = Stage::golden(&gate.url);
        stage.profile(&gate.url, |profile| profile["wiring"]["object_store"] = away.store("s3://world/wsp"));
        let (log, code, out, took) = Away::stopped(&stage, args);
        let line = log.lines().find(|line| line.contains("the store does not answer")).unwrap();
        for word in ["WARN", &away.endpoint, "s3://world/wsp/", "until"] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert!(took < Duration::from_secs(5), "silent: {silent}, {took:?}");
        assert_eq!((code, out.trim()), (Some(3), printed), "{args:?}");
        assert_eq!(gate.heard(), 0);
    }
}

/// A stop ends the wait for the store; that the store did not answer by then is no verdict on the run.
#[test]
fn a_run_that_is_stopped_while_its_world_is_away_is_stopped_and_not_failed() {
    let (away, gate) = (Away::new(false), CaptureGate::admitting());
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        let root = profile["wiring"]["object_store"]["root"].as_str().unwrap().to_owned();
        profile["wiring"]["object_store"] = away.store(&root);
        profile["wiring"]["oracle_stream_view_root"] = json!("s3://world/views");
    });
    let (log, code, out, _) = Away::stopped(&stage, &["run", "--profile", "profile.yaml"]);
    let verdict: Value = serde_json::from_str(out.trim()).unwrap_or_else(|_| panic!("{out} {log}"));
    assert_eq!((code, &verdict["reason"]), (Some(3), &json!("RUN_STOPPED")), "{verdict}");
    assert_eq!(gate.heard(), 0);
}

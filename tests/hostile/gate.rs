//! Gates that refuse, redirect, fall silent or talk nonsense: the run ends at that event, nothing behind it is sent, and
//! record, facts and cursors tell how many IG took.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use wsp_reference::world::WorldSpec;

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Live;
use crate::kit::refused::{Came, Refused, assert_prefix};
use crate::kit::{Stage, canonical};

/// Pushes that are admitted before the gate changes its mind.
const GOOD: usize = 120;

/// A gate that admits [`GOOD`] pushes and answers all others by `reply`.
fn turning(reply: impl Fn() -> Reply + Send + Sync + 'static) -> CaptureGate {
    CaptureGate::scripted(move |n, _| if n < GOOD { Reply::admit() } else { reply() })
}

/// Rows that the cursors say were answered.
fn saved(stage: &Stage) -> usize {
    stage.cursors().values().map(|cursor| cursor["last_row_index"].as_u64().unwrap() as usize + 1).sum()
}

fn quarantined(status: u16) -> Reply {
    let receipt = r#"{"decision":"QUARANTINE","receipt":{"reason_codes":["SCHEMA_FAIL"]},"receipt_ref":"x"}"#;
    Reply::Answer(status, receipt.to_owned())
}

#[test]
fn an_answer_that_no_retry_can_mend_ends_the_run_at_its_event() {
    type Answer = fn() -> Reply;
    let cases: &[(&str, Answer, &[&str])] = &[
        ("bad key", || Reply::Answer(401, r#"{"error":"UNAUTHORIZED"}"#.to_owned()), &["401", "UNAUTHORIZED"]),
        ("no such path", || Reply::Answer(404, String::new()), &["404"]),
        (
            "too large",
            || Reply::Answer(413, r#"{"error":"PAYLOAD_TOO_LARGE"}"#.to_owned()),
            &["413", "PAYLOAD_TOO_LARGE"],
        ),
        ("bad request", || Reply::Answer(400, r#"{"error":"INVALID_JSON"}"#.to_owned()), &["400", "INVALID_JSON"]),
        ("quarantine, service", || quarantined(200), &["QUARANTINE", "SCHEMA_FAIL"]),
        ("quarantine, edge", || quarantined(400), &["QUARANTINE", "SCHEMA_FAIL"]),
        ("no JSON", || Reply::Answer(200, "<html>welcome</html>".to_owned()), &["200", "not JSON", "no decision"]),
        ("empty", || Reply::Answer(202, String::new()), &["202", "empty body"]),
        ("no decision", || Reply::Answer(200, "{}".to_owned()), &["200", "no decision"]),
        ("a decision of its own", || Reply::Answer(202, r#"{"decision":"MAYBE"}"#.to_owned()), &["202", "MAYBE"]),
        ("a list", || Reply::Answer(200, r#"["ADMIT"]"#.to_owned()), &["200", "no decision"]),
        (
            "two decisions",
            || Reply::Answer(200, r#"{"decision":"ADMIT","receipt":{"decision":"QUARANTINE"}}"#.to_owned()),
            &["QUARANTINE in the receipt", "no decision"],
        ),
        ("not modified", || Reply::Answer(304, String::new()), &["304"]),
    ];
    for (case, answer, names) in cases {
        let gate = turning(answer);
        let stage = Stage::golden(&gate.url);
        let ran = stage.run_once();
        let refused_id = canonical()[GOOD]["event_id"].as_str().unwrap().to_owned();
        let names: Vec<&str> = names.iter().copied().chain([refused_id.as_str()]).collect();
        Refused { reason: "IG_PUSH_REJECTED", came: Came::Started, emitted: GOOD, names: &names }
            .assert(&stage, &ran, case);
        // One attempt at the event that was refused, none at what stands behind it.
        assert_prefix(&gate.bodies(), GOOD + 1, case);
        assert_eq!(saved(&stage), GOOD, "{case}");
    }
}

/// The producer in place follows, with a GET and the key, and reports STREAMED.
#[test]
fn a_redirect_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let elsewhere = CaptureGate::admitting();
        let to = format!("{}/v1/ingest/push", elsewhere.url);
        let gate = turning(move || Reply::Redirect(status, to.clone()));
        let stage = Stage::golden(&gate.url);
        let ran = stage.run_once();
        let code = status.to_string();
        Refused { reason: "IG_PUSH_REJECTED", came: Came::Started, emitted: GOOD, names: &[&code] }
            .assert(&stage, &ran, &code);
        assert_eq!((elsewhere.heard(), gate.heard(), gate.requests()), (0, GOOD + 1, GOOD + 1), "{status}");
    }
}

/// The producer in place does not read the answer's body, and reports STREAMED for 250 events of which IG took none.
#[test]
fn a_gate_that_quarantines_everything_took_nothing() {
    let gate = CaptureGate::scripted(|_, _| quarantined(200));
    let stage = Stage::golden(&gate.url);
    let ran = stage.run_once();
    Refused { reason: "IG_PUSH_REJECTED", came: Came::Started, emitted: 0, names: &["QUARANTINE"] }
        .assert(&stage, &ran, "stop");
    assert_eq!((gate.requests(), saved(&stage)), (1, 0));

    // Where policy lets the run go on, each is counted as what it is.
    let gate = CaptureGate::scripted(|_, _| quarantined(200));
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| profile["policy"]["stop_on_nonretryable"] = false.into());
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict(), gate.requests()), (Some(0), ("STREAMED", ""), 250), "{}", ran.stderr);
    assert_eq!(ran.verdicts[0]["emitted"], 0, "emitted is what IG took");
    let summary = stage.summary();
    let text = summary.to_string();
    assert!(text.contains(r#""quarantined":250"#), "{text}");
}

#[test]
fn an_event_that_is_never_answered_for_good_is_tried_as_often_as_allowed() {
    type Answer = fn() -> Reply;
    let cases: &[(&str, Answer, &[&str])] = &[
        (
            "retry required",
            || Reply::Answer(503, r#"{"error":"RETRY_REQUIRED"}"#.to_owned()),
            &["503", "RETRY_REQUIRED"],
        ),
        ("rate limited", || Reply::Answer(429, r#"{"error":"RATE_LIMITED"}"#.to_owned()), &["429", "RATE_LIMITED"]),
        ("broken", || Reply::Answer(500, "oops".to_owned()), &["500"]),
        ("timeout", || Reply::Answer(408, String::new()), &["408"]),
        (
            "in flight, says the service",
            || Reply::Answer(400, r#"{"error":"PUBLISH_IN_FLIGHT_RETRY"}"#.to_owned()),
            &["400", "PUBLISH_IN_FLIGHT_RETRY"],
        ),
        ("unhealthy", || Reply::Answer(400, r#"{"error":"IG_UNHEALTHY"}"#.to_owned()), &["400", "IG_UNHEALTHY"]),
        ("cut", || Reply::Cut, &["connection lost"]),
        ("cut short, no length", || Reply::Last(raw("", r#"{"decision":"AD"#)), &["200", "no decision", "cut short"]),
        ("empty, no length", || Reply::Last(raw("", "")), &["200", "empty body", "cut short"]),
        (
            "cut short of its length",
            || Reply::Last(raw("content-length: 90\r\n", r#"{"decision":"ADMIT"}"#)),
            &["connection lost", "within the answer"],
        ),
        (
            "cut short of its last chunk",
            || Reply::Last(raw("transfer-encoding: chunked\r\n", "14\r\n{\"decision\":\"ADMIT\"}\r\n")),
            &["connection lost", "within the answer"],
        ),
        (
            "an answer to another event",
            || Reply::Answer(200, format!(r#"{{"decision":"ADMIT","receipt":{{"event_id":"{}"}}}}"#, "0".repeat(64))),
            &["connection lost", "another event"],
        ),
    ];
    for (case, answer, names) in cases {
        let gate = turning(answer);
        let stage = Stage::golden(&gate.url);
        let ran = stage.run_once();
        Refused { reason: "IG_PUSH_RETRY_EXHAUSTED", came: Came::Started, emitted: GOOD, names }
            .assert(&stage, &ran, case);
        let bodies = gate.bodies();
        // A kept connection that closes under the request costs no attempt, once.
        let sent = if *case == "cut" { 6 } else { 5 };
        assert_eq!((bodies.len(), saved(&stage)), (GOOD + sent, GOOD), "{case}");
        assert_prefix(&bodies[..=GOOD], GOOD + 1, case);
        assert!(bodies[GOOD..].iter().all(|body| *body == bodies[GOOD]), "{case}: every attempt sends the same bytes");
    }
}

/// An answer's bytes: 200, these headers, this body.
fn raw(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}").into_bytes()
}

/// A proxy sends the answer to the sixth event twice; the copy comes while the seventh is on its way, which the gate
/// refuses for now.
#[test]
fn a_second_copy_of_an_answer_is_not_taken_for_the_next_events() {
    let admitted = Arc::new(Mutex::new(BTreeSet::new()));
    let kept = admitted.clone();
    let gate = CaptureGate::scripted(move |n, body| {
        let event: Value = serde_json::from_slice(body).unwrap();
        let id = event["event_id"].as_str().unwrap();
        let answer = format!(r#"{{"decision":"ADMIT","receipt":{{"event_id":"{id}"}},"receipt_ref":"x"}}"#);
        if n == 6 {
            return Reply::Answer(503, "{}".to_owned());
        }
        kept.lock().unwrap().insert(id.to_owned());
        let bytes = raw(&format!("content-length: {}\r\n", answer.len()), &answer);
        let late = Duration::from_millis(12);
        if n == 5 {
            Reply::Pieces(vec![(Duration::ZERO, bytes.clone()), (late, bytes)])
        } else {
            Reply::Answer(200, answer)
        }
    });
    let stage = Stage::golden(&gate.url);
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    assert_eq!((ran.verdicts[0]["emitted"].as_u64(), admitted.lock().unwrap().len()), (Some(250), 250));
    assert!(ran.stderr.contains("the answer names another event"), "{}", ran.stderr);
}

#[test]
fn a_gate_that_is_not_there_refuses_the_run_before_anything_is_sent() {
    // A port that was free a moment ago: bound, and let go.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Stage::golden(&format!("http://{free}"));
    let ran = stage.run_once();
    Refused { reason: "IG_PUSH_RETRY_EXHAUSTED", came: Came::Started, emitted: 0, names: &["no connection"] }.assert(
        &stage,
        &ran,
        "nobody listens",
    );
    assert_eq!(saved(&stage), 0);
}

/// The producer in place reports `emitted` 0 and leaves the facts of a first failure standing alone.
#[test]
fn a_run_that_failed_and_then_streams_tells_both_ends() {
    let gate = CaptureGate::scripted(|n, _| match n {
        GOOD => Reply::Answer(413, String::new()),
        200 => quarantined(200),
        _ => Reply::admit(),
    });
    let stage = Stage::golden(&gate.url);
    let verdicts: Vec<_> = (0..3).map(|_| stage.run_once().verdicts.remove(0)).collect();
    let told: Vec<_> = verdicts.iter().map(|v| (v["status"].clone(), v["emitted"].as_u64().unwrap())).collect();
    // The second start begins with the event that was refused: its 80th push is the gate's 200th.
    assert_eq!(told, [("FAILED".into(), 120), ("FAILED".into(), 79), ("STREAMED".into(), 51)]);
    let ends: Vec<_> = stage.ends().into_iter().map(|(status, _, emitted)| (Value::from(status), emitted)).collect();
    assert_eq!(ends, told);
    assert_eq!(stage.record(), verdicts);
    let mut ids: Vec<_> = stage.governance().iter().map(|fact| fact["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "one READY_SEEN, one STARTED, three ends");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    // Each refused event was sent once more, by the start after; nothing else twice.
    let mut bodies = gate.bodies();
    bodies.remove(200);
    bodies.remove(GOOD);
    assert_prefix(&bodies, 250, "all in order");
}

/// Answers that are lost after the gate took the event: the resend finds it there, and the evidence tells these
/// duplicates from others.
#[test]
fn a_lost_answer_is_a_duplicate_of_our_own_and_told_as_one() {
    let spec = WorldSpec { seed: 5, ..WorldSpec::new(2_000) };
    let mut live = Live::new(&spec, "cut-after=4%,half=2%,cut-before=2%", |profile| {
        profile["wiring"]["wsp_delivery"] = serde_json::json!({"in_flight": 8});
        profile["wiring"]["wsp_retry"]["max_attempts"] = 12.into();
    });
    let ran = live.start().end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    assert!(live.audit(&live.events).is_clean());
    let summary = live.stage.summary();
    let count = |at: &str| summary.pointer(at).and_then(Value::as_u64).unwrap();
    let (events, stats) = (live.events.len() as u64, live.gate.stats());
    assert!(stats.faults.cut_after > 40 && stats.faults.half > 20, "{stats:?}");
    assert_eq!((count("/totals/admitted") + count("/totals/duplicates"), count("/emitted")), (events, events));
    assert_eq!(count("/totals/duplicates"), count("/totals/duplicates_after_retry"));
    // Each answer that was lost is ambiguous, whether or not the gate had the event; where nothing of it came over a kept
    // connection, the event went out again at once, within its attempt.
    let lost = stats.faults.cut_after + stats.faults.half + stats.faults.cut_before;
    let again = count("/pushes/sent_again");
    assert!(again > 0, "{summary}");
    assert_eq!((count("/pushes/ambiguous") + again, count("/pushes/retries") + again), (lost, lost));
    assert!((1..=lost).contains(&count("/totals/duplicates")));
    assert_eq!((count("/pushes/payload_mismatches"), count("/failures")), (0, 0));
}

/// What the gate holds under our id is not what we sent, so somebody else's run is mixed up with ours.
#[test]
fn another_payload_under_an_id_ends_the_run_whatever_the_policy() {
    let mismatch = || {
        let receipt = r#"{"reason_codes":["PAYLOAD_HASH_MISMATCH"]}"#;
        Reply::Answer(200, format!(r#"{{"decision":"QUARANTINE","receipt":{receipt},"receipt_ref":"x"}}"#))
    };
    // The kept connection is cut, so that the event goes out again at once; then the new one too.
    for cuts in [1, 2] {
        let gate = CaptureGate::scripted(move |n, _| match n {
            0..GOOD => Reply::admit(),
            n if n < GOOD + cuts => Reply::Cut,
            _ => mismatch(),
        });
        let stage = Stage::golden(&gate.url);
        stage.profile(&gate.url, |profile| profile["policy"]["stop_on_nonretryable"] = false.into());
        let ran = stage.run_once();
        let attempts = if cuts == 1 { "after 1 attempt:" } else { "after 2 attempts:" };
        let refused = canonical()[GOOD]["event_id"].as_str().unwrap().to_owned();
        let names = [attempts, "PAYLOAD_HASH_MISMATCH", refused.as_str()];
        Refused { reason: "IG_PAYLOAD_MISMATCH", came: Came::Started, emitted: GOOD, names: &names }.assert(
            &stage,
            &ran,
            "after a lost answer",
        );
        let bodies = gate.bodies();
        assert_eq!((bodies.len(), saved(&stage)), (GOOD + cuts + 1, GOOD));
        assert!(bodies[GOOD..].iter().all(|body| *body == bodies[GOOD]), "the resend is the same bytes");
        let summary = stage.summary();
        let pushes = &summary["pushes"];
        assert_eq!((&pushes["payload_mismatches"], &summary["failures"]), (&1.into(), &1.into()));
        assert_eq!((&pushes["ambiguous"], &pushes["sent_again"]), (&(cuts - 1).into(), &1.into()));
    }
}

#[test]
fn a_gate_that_stays_away_is_given_up_after_the_limit() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let stage = Stage::golden(&url);
    stage.profile(&url, |profile| {
        let delivery = serde_json::json!({"in_flight": 4, "circuit_failures": 3, "circuit_limit_seconds": 1});
        profile["wiring"]["wsp_delivery"] = delivery;
    });
    let ran = stage.run_once();
    Refused { reason: "IG_UNAVAILABLE", came: Came::Started, emitted: 0, names: &["nothing was taken for", "health"] }
        .assert(&stage, &ran, "nobody listens");
    let summary = stage.summary();
    // Three in a row opened it; the channels had one on the way each.
    let attempts = summary["pushes"]["attempts"].as_u64().unwrap();
    assert!((3..=7).contains(&attempts) && summary["pushes"]["circuit_opened"] == 1, "{summary}");
}

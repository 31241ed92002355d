//! What else may lie on the control topic: each message is told of once and passed over, none is fatal, none is answered
//! with a verdict, and none becomes a path.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::{self, MESSAGE, Stage, TOPIC, golden, ready_file};

const BAD: &str = "a message that can't be read is passed over";
const NOT_OURS: &str = "a message that is not for us is passed over";

fn message() -> Value {
    serde_json::from_slice(&kit::read(&golden().join("ready/message.json"))).unwrap()
}

/// The golden message with `value` at `pointer` (removed where that is null).
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut message = message();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = message.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(key)
    } else {
        parent.insert(key.to_owned(), value)
    };
    message.to_string().into_bytes()
}

/// Contents that are no READY, with what the log says of them.
fn contents() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let text = message().to_string();
    let twice =
        text.replacen("{\"bundle_hash\"", &format!("{{\"bundle_hash\":\"{}\",\"bundle_hash\"", "0".repeat(64)), 1);
    assert_ne!(twice, text);
    let nested = format!("{{\"topic\":\"{TOPIC}\",\"payload\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("empty", Vec::new(), BAD, ""),
        ("no-json", b"{\"topic\":".to_vec(), BAD, ""),
        ("no-utf8", b"{\"topic\":\"\xff\"}".to_vec(), BAD, ""),
        ("list", b"[]".to_vec(), BAD, ""),
        ("null", b"null".to_vec(), BAD, ""),
        ("two-values", format!("{text}{text}").into_bytes(), BAD, ""),
        ("no-topic", with("/topic", Value::Null), BAD, "topic"),
        ("key-twice", twice.into_bytes(), BAD, "bundle_hash"),
        ("key-too-much", with("/more", json!(1)), BAD, "more"),
        ("payload-key-too-much", with("/payload/more", json!(1)), BAD, "more"),
        ("pack-ref-key-too-much", with("/payload/oracle_pack_ref/more", json!(1)), BAD, "more"),
        ("pack-ref-empty", with("/payload/oracle_pack_ref", json!({})), BAD, "oracle_pack_ref"),
        ("payload-a-list", with("/payload", json!([1, 2])), BAD, ""),
        ("no-payload", with("/payload", Value::Null), BAD, "payload"),
        ("no-facts-ref", with("/payload/facts_view_ref", Value::Null), BAD, "facts_view_ref"),
        ("id-climbs", with("/message_id", json!("../../../../tmp/evil")), BAD, ""),
        ("payload-id-climbs", with("/payload/message_id", json!("../../evil")), BAD, ""),
        ("run-climbs", with("/payload/platform_run_id", json!("../evil")), BAD, ""),
        ("run-nearly", with("/payload/platform_run_id", json!("platform_20260101T000000Z/..")), BAD, ""),
        ("ids-differ", with("/message_id", json!("0".repeat(64))), BAD, "message_id"),
        ("hex-upper", with("/payload/bundle_hash", json!("A".repeat(64))), BAD, ""),
        ("run-a-number", with("/payload/run_id", json!(7)), BAD, ""),
        ("time-local", with("/payload/emitted_at_utc", json!("2026-01-01 00:00:00")), BAD, "time"),
        ("ref-control", with("/payload/facts_view_ref", json!("a\u{0}b")), BAD, ""),
        ("ref-long", with("/payload/facts_view_ref", json!("a".repeat(2000))), BAD, ""),
        ("oversize", with("/payload/provenance", json!({"note": "x".repeat(300_000)})), BAD, ""),
        ("deep", nested.into_bytes(), BAD, ""),
        ("other-topic", with("/topic", json!("fp.bus.audit.v1")), NOT_OURS, "fp.bus.audit.v1"),
        ("other-kind", with("/attributes/kind", json!("RUN_CANCEL")), NOT_OURS, "RUN_CANCEL"),
        ("kind-a-number", with("/attributes/kind", json!(1)), NOT_OURS, "1"),
    ]
}

/// Puts all [`contents`] on the topic, and things that are no files.
fn litter(stage: &Stage) {
    for (name, bytes, _, _) in contents() {
        stage.put(&format!("control_bus/{TOPIC}/{name}.json"), bytes);
    }
    // Things that are no files, and files that are no messages.
    std::fs::create_dir(stage.path(&format!("control_bus/{TOPIC}/folder.json"))).unwrap();
    let pipe = stage.path(&format!("control_bus/{TOPIC}/pipe.json"));
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    std::os::unix::fs::symlink("nowhere", stage.path(&format!("control_bus/{TOPIC}/dangling.json"))).unwrap();
    stage.put(&format!("control_bus/{TOPIC}/half-written.json.tmp"), "{");
}

#[test]
fn whatever_lies_on_the_topic_is_told_of_once_and_the_ready_streams() {
    let gate = CaptureGate::admitting();
    let clean = Stage::golden(&gate.url);
    assert_eq!(clean.run_once().verdict(), ("STREAMED", ""));

    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    litter(&stage);
    let ran = stage.run_once();
    // Any of what can't be read may have been a READY, so a Job that saw it has not done all that was there.
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("STREAMED", "")), "{}", ran.stderr);
    let unreadable = contents().iter().filter(|(_, _, message, _)| *message == BAD).count();
    let told =
        format!("wsp: {unreadable} messages on the control topic {TOPIC} (files in control_bus/{TOPIC}) can't be read");
    assert!(ran.stderr.contains(&told), "{told}: {}", ran.stderr);
    assert_eq!(ran.verdicts[0]["message_id"], MESSAGE);
    assert_eq!(gate.requests(), 250);

    let log = ran.log();
    let mut told: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for line in log.iter().filter(|line| line["message"] == BAD || line["message"] == NOT_OURS) {
        let file = line["at"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        told.entry(file).or_default().push(line);
    }
    for (name, _, message, names) in contents() {
        let lines = told.remove(&format!("{name}.json")).unwrap_or_default();
        let [line] = lines.as_slice() else { panic!("{name} is told of {} times", lines.len()) };
        assert_eq!(line["message"], message, "{name}");
        let text = line.to_string();
        assert!(text.contains(names) && text.len() < 1500, "{name}: {text}");
    }
    assert!(told.is_empty(), "nothing else is told of: {told:?}");
    // No message but the READY left a trace: the same files as without them, session and governance included.
    let files = |stage: &Stage| {
        let files = stage.files().into_iter();
        files.filter(|name| !name.starts_with("control_bus/")).collect::<Vec<_>>()
    };
    assert_eq!(files(&stage), files(&clean));
    assert_eq!((stage.governance().len(), stage.record().len()), (3, 1));
}

/// A plan looks for the newest READY among whatever else lies there.
#[test]
fn a_plan_finds_the_ready_among_what_is_none() {
    let stage = Stage::golden("http://127.0.0.1:9");
    litter(&stage);
    // A READY that is newer, and then so large that it is none.
    stage.put(&format!("control_bus/{TOPIC}/newest.json"), with("/payload/provenance", json!("x".repeat(1 << 20))));
    let planned = stage.wsp(&["plan", "--profile", "profile.yaml", "--json"]).output().unwrap();
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stderr));
    let plan: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!((&plan["message_id"], &plan["admitted"]), (&json!(MESSAGE), &json!(true)));
}

#[test]
fn a_topic_without_a_ready_is_said_and_no_success() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.remove(&format!("control_bus/{TOPIC}"));
    let nothing = || {
        let ran = stage.wsp(&["--log", "error", "run", "--profile", "profile.yaml", "--once"]).output().unwrap();
        assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stdout).trim()), (Some(3), "[]"));
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        let bus = format!(
            "wsp: nothing to stream: there is no READY on the control topic {TOPIC} (files in control_bus/{TOPIC})"
        );
        assert!(told.starts_with(&bus) && told.contains("publish a READY"), "{told}");
    };
    nothing();
    stage.put(&format!("control_bus/{TOPIC}/other.json"), with("/attributes/kind", json!("OTHER")));
    nothing();
    assert_eq!(gate.requests(), 0);
}

/// A message that is half written is no message: the READY may be in it.
#[test]
fn a_ready_that_can_not_be_read_is_no_success() {
    for half in
        [message().to_string().as_bytes()[..200].to_vec(), [b"\xef\xbb\xbf", message().to_string().as_bytes()].concat()]
    {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        stage.put(&ready_file(MESSAGE), half);
        let ran = stage.run_once();
        assert_eq!((ran.code, ran.verdicts.len(), gate.requests()), (Some(1), 0, 0), "{}", ran.stderr);
        assert!(ran.stderr.contains("wsp: 1 message on the control topic"), "{}", ran.stderr);
    }
}

/// A failure that may pass by itself is looked at again, as long as the service runs; one that can't is not.
#[test]
fn a_failed_ready_is_looked_at_again_while_its_cause_may_pass() {
    use crate::kit::live::Running;
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let flag = stage.files().into_iter().find(|name| name.contains("6B") && name.ends_with("_passed.flag")).unwrap();
    let passed = kit::read(&stage.path(&flag));
    stage.remove(&flag);
    let args = ["run", "--profile", "profile.yaml", "--poll-seconds", "0.05"];
    let mut wsp = Running::start(&stage, "service", &args);
    wsp.until("two failures", || stage.record().len() == 2);
    stage.put(&flag, passed);
    wsp.until("its end", || stage.record().last().unwrap()["status"] == "STREAMED");
    wsp.signal("TERM");
    assert_eq!(wsp.end().code, Some(0));
    let reasons: Vec<_> = stage.record().iter().map(|line| line["reason"].clone()).collect();
    assert!(reasons[..reasons.len() - 1].iter().all(|reason| *reason == "GATE_PASS_MISSING"), "{reasons:?}");
    assert_eq!((gate.requests(), stage.ends().len()), (250, reasons.len()));

    let stage = Stage::golden(&gate.url);
    stage.edit_facts(|facts| facts["more"] = json!(1));
    let mut wsp = Running::start(&stage, "service", &args);
    wsp.until("a failure", || stage.record().len() == 1);
    let again = "f".repeat(64);
    stage.republish_as(&again, |_| {});
    let other = stage.evidence(&format!("wsp/ready_runs/{again}.jsonl"));
    wsp.until("the next one", || other.exists());
    wsp.signal("TERM");
    assert_eq!(wsp.end().code, Some(0));
    assert_eq!(stage.record().len(), 1, "RUN_FACTS_INVALID does not pass by itself");
}

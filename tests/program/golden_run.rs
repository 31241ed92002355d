//! The golden run, by the program: what the producer in place left of it, this one leaves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::{self, FRAUD, MESSAGE, OUTPUTS, Stage, by_id, copy_tree, golden, golden_lines, json_lines, read};

fn without_time(mut value: Value) -> Value {
    value.as_object_mut().unwrap().remove("ts_utc");
    value
}

#[test]
fn record_facts_session_and_checkpoints_are_those_of_the_producer_in_place() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);

    let sent = by_id(gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()));
    assert_eq!(sent, by_id(golden_lines("ready/bodies_in_arrival_order.jsonl")));

    let without_times = |lines: Vec<Value>| lines.into_iter().map(without_time).collect::<Vec<_>>();
    assert_eq!(without_times(stage.record()), without_times(golden_lines("ready/ready_record.jsonl")));
    let facts = stage.governance();
    assert_eq!(without_times(facts.clone()), without_times(golden_lines("ready/governance_events.jsonl")));
    for fact in &facts {
        let id = fact["event_id"].as_str().unwrap();
        let body: Value =
            serde_json::from_slice(&read(&stage.evidence(&format!("obs/governance/events/{id}.json")))).unwrap();
        assert_eq!(&body, fact);
        let marker: Value =
            serde_json::from_slice(&read(&stage.evidence(&format!("obs/governance/markers/{id}.json")))).unwrap();
        assert_eq!(marker["event_family"], fact["event_family"]);
    }

    let session = json_lines(&stage.path("runs/fraud-platform").join(kit::RUN).join("session.jsonl"));
    let golden_session = golden_lines("ready/session.jsonl");
    // For each kind the keys that lines of it have, and for all but the periodic saves the lines themselves.
    let shape = |lines: &[Value]| {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let of = |line: &Value| (line["event_kind"].as_str().unwrap().to_owned(), (keys(line), keys(&line["details"])));
        lines.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(shape(&session), shape(&golden_session));
    let unrepeated = |lines: Vec<Value>| {
        lines.into_iter().filter(|line| line["event_kind"] != "checkpoint_saved").map(without_time).collect::<Vec<_>>()
    };
    assert_eq!(unrepeated(session), unrepeated(golden_session));

    let cursors = stage.cursors();
    for (output, cursor) in &cursors {
        let scope = cursor["pack_key"].as_str().unwrap();
        let mut expected: Value = serde_json::from_slice(&read(
            &golden().join(format!("ready/checkpoints/{scope}/output_id={output}/cursor.json")),
        ))
        .unwrap();
        expected["updated_at_utc"] = cursor["updated_at_utc"].clone();
        assert_eq!(cursor, &expected);
    }
    assert_eq!(cursors.len(), 4);
}

#[test]
fn the_gate_sees_canonical_order_with_one_in_flight() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().code, Some(0));
    let rank = |output: &str| match output {
        "arrival_events_5B" => 0,
        "s1_arrival_entities_6B" => 1,
        "s3_flow_anchor_with_fraud_6B" => 2,
        _ => 3,
    };
    // The file's order within an output is the old producer's; over outputs, time and then rank.
    let mut expected = golden_lines("ready/bodies_in_arrival_order.jsonl");
    expected
        .sort_by_key(|body| (body["ts_utc"].as_str().unwrap().to_owned(), rank(body["event_type"].as_str().unwrap())));
    let ids = |bodies: Vec<Value>| bodies.into_iter().map(|body| body["event_id"].clone()).collect::<Vec<_>>();
    let sent = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    assert_eq!(ids(sent), ids(expected));
}

#[test]
fn a_run_that_the_producer_in_place_left_half_done_is_finished() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    copy_tree(&golden().join("ready/checkpoints"), &stage.path("checkpoints"));
    // Each output as it stood after its 20th save; the log's line is what the cursor's file held then.
    let mut done = BTreeSet::new();
    for (output, _) in stage.cursors() {
        let folder = stage
            .path("checkpoints")
            .join(std::fs::read_dir(stage.path("checkpoints")).unwrap().next().unwrap().unwrap().file_name());
        let folder = folder.join(format!("output_id={output}"));
        let line = std::fs::read_to_string(folder.join("cursor.jsonl")).unwrap().lines().nth(19).unwrap().to_owned();
        std::fs::write(folder.join("cursor.json"), &line).unwrap();
        let row = serde_json::from_str::<Value>(&line).unwrap()["last_row_index"].as_u64().unwrap() as usize;
        let of_output = golden_lines("ready/bodies_in_arrival_order.jsonl")
            .into_iter()
            .filter(|body| body["event_type"] == output.as_str());
        done.extend(of_output.take(row + 1).map(|body| body["event_id"].as_str().unwrap().to_owned()));
    }
    let ran = stage.run_once();
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    let mut expected = by_id(golden_lines("ready/bodies_in_arrival_order.jsonl"));
    expected.retain(|id, _| !done.contains(id));
    let sent = gate.bodies();
    assert_eq!(sent.len(), expected.len());
    assert_eq!(by_id(sent.iter().map(|body| serde_json::from_slice(body).unwrap())), expected);
    assert_eq!(ran.verdicts[0]["emitted"].as_u64(), Some(expected.len() as u64));
}

#[test]
fn a_message_that_was_streamed_is_a_duplicate() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let again = stage.run_once();
    assert_eq!((again.code, again.verdict()), (Some(0), ("SKIPPED_DUPLICATE", "")));
    assert_eq!((gate.requests(), stage.record().len(), stage.governance().len()), (250, 1, 3));
    assert_eq!(again.verdicts[0]["message_id"], MESSAGE);
}

#[test]
fn a_baseline_run_sends_the_baseline_bodies() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["policy"]["traffic_output_ids"] = serde_json::json!(["s2_event_stream_baseline_6B"]);
    });
    let ran = stage.run_once();
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    let sent = by_id(gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()));
    // The sample's run had other run ids; everything else is the same.
    let expected = by_id(golden_lines("baseline/bodies.sorted.jsonl"));
    assert_eq!(sent.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, body) in &sent {
        assert_eq!(body["payload"], expected[id]["payload"]);
    }
}

/// `wsp run` of the golden world without READY; its exit code, its result, and what it logged.
fn direct(stage: &Stage, more: &[&str]) -> (Option<i32>, Value, String) {
    let args = ["run", "--profile", "profile.yaml", "--engine-run-root", "world", "--scenario-id", "baseline_v1"];
    let ran = stage.wsp(&[&args, more].concat()).output().unwrap();
    let log = String::from_utf8_lossy(&ran.stderr).into_owned();
    let result = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {log}"));
    (ran.status.code(), result, log)
}

#[test]
fn a_run_without_ready_sends_the_golden_bodies_and_leaves_neither_record_nor_fact() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    // No message and no facts are looked at.
    stage.remove("control_bus");
    stage.remove("store");
    let (code, result, log) = direct(&stage, &[]);
    let engine_run = "4c3fd444c29c63ada8df6eb5f038bda4";
    assert_eq!(
        (code, result),
        (
            Some(0),
            json!({
                "emitted": 250, "engine_run_root": "world", "output_ids": OUTPUTS, "platform_run_id": kit::RUN,
                "reason": null, "scenario_id": "baseline_v1", "scenario_run_id": engine_run, "status": "STREAMED",
            })
        ),
        "{log}"
    );
    let sent = by_id(gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()));
    assert_eq!(sent, by_id(golden_lines("direct/bodies.sorted.jsonl")));

    let files: Vec<_> = stage.files().into_iter().filter(|name| name.starts_with("store/")).collect();
    let prefix = format!("store/fraud-platform/{}/wsp", kit::RUN);
    let names = ["wsp_start.direct.json", "wsp_summary.direct.json"].map(|name| format!("{prefix}/{name}"));
    assert_eq!(files, names);
    let start: Value = serde_json::from_slice(&read(&stage.path(&names[0]))).unwrap();
    let summary: Value = serde_json::from_slice(&read(&stage.path(&names[1]))).unwrap();
    for told in [&start, &summary] {
        assert_eq!((&told["ready"], &told["message_id"], &told["run_id"]), (&Value::Null, &Value::Null, &Value::Null));
        let checks = told["checks"].as_array().unwrap();
        let waived: Vec<_> = checks.iter().filter(|check| check["status"] == "waived").collect();
        let names: Vec<_> = waived.iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["READY", "facts", "record"], "what was not checked is said");
        // Everything else is, as for a run with READY.
        assert!(checks.len() > 15 && checks.iter().any(|check| check["name"] == "seal"), "{checks:?}");
    }
    assert_eq!(
        (&summary["status"], &summary["end"], &summary["emitted"]),
        (&json!("STREAMED"), &json!("complete"), &json!(250))
    );

    // It goes on where its checkpoint stands: at its end.
    let (code, result, log) = direct(&stage, &[]);
    assert_eq!((code, &result["emitted"], gate.requests()), (Some(0), &json!(0), 250), "{log}");
    // A READY's run of the same world has a checkpoint of its own.
    let other = "ab".repeat(16);
    let (code, result, _) = direct(&stage, &["--scenario-run-id", &other, "--max-events", "7"]);
    assert_eq!((code, &result["emitted"], &result["scenario_run_id"]), (Some(0), &json!(7), &json!(other)));
    let last: Value = serde_json::from_slice(gate.bodies().last().unwrap()).unwrap();
    assert_eq!(last["scenario_run_id"], other);
}

#[test]
fn a_run_without_ready_streams_the_outputs_that_it_is_asked_for() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let (code, result, log) = direct(&stage, &["--output-ids", "s3_event_stream_with_fraud_6B,arrival_events_5B"]);
    assert_eq!((code, &result["output_ids"]), (Some(0), &json!(["arrival_events_5B", FRAUD])), "{log}");
    let of = |output: &str| {
        golden_lines("direct/bodies.sorted.jsonl").into_iter().filter(|b| b["event_type"] == output).collect()
    };
    let expected: Vec<Value> =
        ["arrival_events_5B", FRAUD].into_iter().flat_map(of as fn(&str) -> Vec<Value>).collect();
    let sent = by_id(gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()));
    assert_eq!(sent, by_id(expected));
    let (code, result, _) = direct(&stage, &["--output-ids", "s2_event_stream_baseline_6B"]);
    assert_eq!((code, &result["status"], &result["reason"]), (Some(1), &json!("FAILED"), &json!("NO_TRAFFIC_OUTPUTS")));
}

#[test]
fn a_run_without_ready_is_checked_as_far_as_can_be() {
    type Doctor = fn(&Stage);
    let cases: &[(&str, Doctor)] = &[
        ("PACK_NOT_SEALED", |s| s.remove("world/_SEALED.json")),
        ("WORLD_KEY_MISMATCH", |s| s.edit("world/run_receipt.json", |receipt| receipt["seed"] = json!(43))),
        ("RUN_RECEIPT_UNREADABLE", |s| s.remove("world/run_receipt.json")),
        ("STREAM_VIEW_MISSING", |s| s.remove(&format!("world/stream_view/ts_utc/output_id={FRAUD}"))),
        ("PRODUCER_NOT_ALLOWED", |s| s.put("producers.txt", "svc:other\n")),
    ];
    for (reason, doctor) in cases {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        doctor(&stage);
        let (code, result, log) = direct(&stage, &[]);
        assert_eq!((code, &result["status"], &result["reason"]), (Some(1), &json!("FAILED"), &json!(reason)), "{log}");
        assert_eq!((gate.requests(), stage.cursors().len()), (0, 0), "{reason}");
    }
    // The scenario is nowhere but in pack and views.
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let args = ["run", "--profile", "profile.yaml", "--engine-run-root", "world"];
    let told = |more: &[&str], env: &[(&str, &str)]| {
        let ran = stage.wsp(&[&args, more].concat()).envs(env.iter().copied()).output().unwrap();
        (
            ran.status.code(),
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    let (code, out, _) = told(&["--scenario-id", "other"], &[]);
    assert!(code == Some(1) && out.contains("WORLD_KEY_MISMATCH"), "{out}");
    let (code, out, err) = told(&[], &[]);
    assert!((code, out.as_str()) == (Some(2), "") && err.contains("--scenario-id"), "{err}");
    let (code, out, err) = told(&["--scenario-id", "baseline_v1"], &[("PLATFORM_RUN_ID", "")]);
    assert!((code, out.as_str()) == (Some(2), "") && err.contains("PLATFORM_RUN_ID"), "{err}");
    // What has to be up has to be up here, too.
    let (code, out, _) = told(&["--scenario-id", "baseline_v1"], &[("WSP_READY_REQUIRED_PACKS", "none.yaml")]);
    assert!(
        code == Some(3) && out.contains("DEFERRED_DOWNSTREAM_NOT_READY") && out.contains("PACK_FILE_MISSING"),
        "{out}"
    );
    assert_eq!(gate.requests(), 0);
}

#[test]
fn two_traffics_are_streamed_in_one_run_each_after_the_context_of_both() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let traffic = json!([FRAUD, "s2_event_stream_baseline_6B"]);
    stage.profile(&gate.url, |profile| profile["policy"]["traffic_output_ids"] = traffic.clone());
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    let sent: Vec<Value> = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    assert!(sent.is_sorted_by_key(|body| body["ts_utc"].as_str().unwrap().to_owned()));
    let baseline = golden_lines("baseline/bodies.sorted.jsonl");
    let expected: BTreeSet<_> = golden_lines("ready/bodies_in_arrival_order.jsonl")
        .iter()
        .chain(&baseline)
        .map(|body| body["event_id"].as_str().unwrap().to_owned())
        .collect();
    let ids: BTreeSet<_> = sent.iter().map(|body| body["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), sent.len()), (expected.len(), expected.len()));
    assert_eq!(ids, expected);
    let session = json_lines(&stage.path("runs/fraud-platform").join(kit::RUN).join("session.jsonl"));
    let start = session.iter().find(|line| line["event_kind"] == "stream_start").unwrap();
    assert_eq!(start["details"]["traffic_output_ids"], traffic);
    assert_eq!(start["details"]["context_output_ids"].as_array().unwrap().len(), 4);
}

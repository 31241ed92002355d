//! The golden run, by the program: what the producer in place left of it, this one leaves.

#![allow(clippy::unwrap_used, reason = "what a test can't read, it can't compare")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::capture::CaptureGate;
use common::{MESSAGE, Stage, copy_tree, golden, json_lines, read};
use serde_json::Value;

fn without_time(mut value: Value) -> Value {
    value.as_object_mut().unwrap().remove("ts_utc");
    value
}

fn bodies(path: &str) -> Vec<Value> {
    json_lines(&golden().join(path))
}

fn by_id(bodies: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    bodies.into_iter().map(|body| (body["event_id"].as_str().unwrap().to_owned(), body)).collect()
}

#[test]
fn record_facts_session_and_checkpoints_are_those_of_the_producer_in_place() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);

    let sent = by_id(gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()));
    assert_eq!(sent, by_id(bodies("ready/bodies_in_arrival_order.jsonl")));

    let without_times = |lines: Vec<Value>| lines.into_iter().map(without_time).collect::<Vec<_>>();
    assert_eq!(without_times(stage.record()), without_times(bodies("ready/ready_record.jsonl")));
    let facts = stage.governance();
    assert_eq!(without_times(facts.clone()), without_times(bodies("ready/governance_events.jsonl")));
    for fact in &facts {
        let id = fact["event_id"].as_str().unwrap();
        let body: Value =
            serde_json::from_slice(&read(&stage.evidence(&format!("obs/governance/events/{id}.json")))).unwrap();
        assert_eq!(&body, fact);
        let marker: Value =
            serde_json::from_slice(&read(&stage.evidence(&format!("obs/governance/markers/{id}.json")))).unwrap();
        assert_eq!(marker["event_family"], fact["event_family"]);
    }

    let session = json_lines(&stage.path("runs/fraud-platform").join(common::RUN).join("session.jsonl"));
    let golden_session = bodies("ready/session.jsonl");
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
    let mut expected = bodies("ready/bodies_in_arrival_order.jsonl");
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
        let of_output = bodies("ready/bodies_in_arrival_order.jsonl")
            .into_iter()
            .filter(|body| body["event_type"] == output.as_str());
        done.extend(of_output.take(row + 1).map(|body| body["event_id"].as_str().unwrap().to_owned()));
    }
    let ran = stage.run_once();
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    let mut expected = by_id(bodies("ready/bodies_in_arrival_order.jsonl"));
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
    let expected = by_id(bodies("baseline/bodies.sorted.jsonl"));
    assert_eq!(sent.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, body) in &sent {
        assert_eq!(body["payload"], expected[id]["payload"]);
    }
}

//! Every body that the producer in place sent is sent by this one: same ids, equal JSON.

use std::collections::BTreeMap;

use serde_json::Value;
use wsp_world::envelope::{Framer, OutputFrame, RunPins, check_schema};
use wsp_world::model::Event;
use wsp_world::oracle::Scan;

use crate::kit::views::{Objects, assert_same, files, framed, merged, pins, read};
use crate::kit::{by_id, golden, golden_lines};

const FRAUD: [&str; 4] =
    ["arrival_events_5B", "s1_arrival_entities_6B", "s3_flow_anchor_with_fraud_6B", "s3_event_stream_with_fraud_6B"];
const BASELINE: [&str; 4] =
    ["arrival_events_5B", "s1_arrival_entities_6B", "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"];

fn keys_of(output: &str) -> &'static [&'static str] {
    match output {
        "arrival_events_5B" | "s1_arrival_entities_6B" => &["merchant_id", "arrival_seq"],
        "s3_flow_anchor_with_fraud_6B" | "s2_flow_anchor_baseline_6B" => &["flow_id"],
        _ => &["flow_id", "event_seq"],
    }
}

async fn events(outputs: [&str; 4], pins: &RunPins, chunk_rows: usize) -> Vec<Event> {
    let views = golden().join("world/stream_view/ts_utc");
    let (mut frames, mut batches) = (Vec::new(), Vec::new());
    for (rank, output) in outputs.iter().enumerate() {
        let folder = views.join(format!("output_id={output}"));
        let receipt: Value =
            serde_json::from_slice(&std::fs::read(folder.join("_stream_sort_receipt.json")).unwrap()).unwrap();
        let rows = receipt["sorted_stats"]["row_count"].as_u64().unwrap();
        let (store, keys) = Objects::of_folder(&folder);
        let view = files(&store, rank as u16, output, &keys, rows).inspect().await.unwrap();
        let own = keys_of(output);
        let primary_key: Vec<String> =
            ["seed", "manifest_fingerprint", "scenario_id"].iter().chain(own).map(ToString::to_string).collect();
        let order_key = Some(own[0].to_owned());
        check_schema(&view.schema, &primary_key, order_key.as_deref()).unwrap();
        let files = view.parts.iter().map(|part| part.name.clone()).collect();
        frames.push(OutputFrame { output_id: view.output_id.clone(), primary_key, order_key, files });
        let (more, refusal) = read(&view, Scan::new().batch_rows(7)).await;
        assert_eq!(refusal, None);
        batches.extend(more);
    }
    let (events, refusal) = framed(Framer::new(pins, frames), merged(batches, chunk_rows)).await;
    assert_eq!(refusal, None);
    events
}

async fn reproduces(file: &str, outputs: [&str; 4], pins: RunPins) {
    let theirs = by_id(golden_lines(file));
    assert_eq!(theirs.len(), 250);
    for chunk_rows in [1, 256] {
        let events = events(outputs, &pins, chunk_rows).await;
        let ours = by_id(events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (id, body) in &ours {
            assert_same(body, &theirs[id]);
        }
        for event in &events {
            let body: Value = serde_json::from_slice(&event.body).unwrap();
            let id = u128::from_str_radix(&body["event_id"].as_str().unwrap()[..32], 16).unwrap();
            assert_eq!(event.event_id[..16], id.to_be_bytes());
            assert_eq!(body["ts_utc"], Value::from(event.ts.to_string()));
        }
    }
}

#[tokio::test]
async fn the_ready_run() {
    reproduces("ready/bodies_in_arrival_order.jsonl", FRAUD, pins()).await;
}

#[tokio::test]
async fn the_baseline_run() {
    let theirs = golden_lines("baseline/bodies.sorted.jsonl");
    let scenario_run_id = theirs[0]["scenario_run_id"].as_str().unwrap().parse().unwrap();
    reproduces("baseline/bodies.sorted.jsonl", BASELINE, RunPins { scenario_run_id, ..pins() }).await;
}

#[tokio::test]
async fn the_direct_run() {
    let scenario_run_id = pins().run_id;
    reproduces("direct/bodies.sorted.jsonl", FRAUD, RunPins { scenario_run_id, ..pins() }).await;
}

#[tokio::test]
async fn an_anchor_and_its_flow_share_their_order_key() {
    let events = events(FRAUD, &pins(), 256).await;
    let mut keys: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in &events {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        let column = keys_of(body["event_type"].as_str().unwrap())[0];
        let value = body["payload"][column].as_u64().unwrap();
        let known = keys.entry((column.to_owned(), value)).or_insert(event.order_key);
        assert_eq!(*known, event.order_key, "{column} {value}");
    }
    let mut hashes: Vec<u64> = keys.values().copied().collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), keys.len(), "different keys, different hashes");
}

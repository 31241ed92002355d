use wsp::store::{Fault, MemoryStore};

use super::*;
use crate::model::LaneKey;

const GOLDEN: &str = include_str!("../../../../tests/golden/ready/ready_record.jsonl");

fn verdict(status: Status) -> Verdict {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let text = |key: &str| golden[key].as_str().unwrap();
    Verdict {
        message_id: text("message_id").parse().unwrap(),
        run_id: text("run_id").parse().unwrap(),
        status,
        reason: None,
        emitted: 250,
        engine_run_root: Some("world".to_owned()),
        scenario_id: Some("baseline_v1".parse().unwrap()),
        waits_for: Vec::new(),
        ending: None,
        ts: Micros::parse(text("ts_utc").as_bytes()).unwrap(),
    }
}

fn records() -> (MemoryStore, Records) {
    let store = MemoryStore::new("runs");
    let records = Records::new(Arc::new(store.clone()), &"platform_20260101T000000Z".parse().unwrap()).unwrap();
    (store, records)
}

#[tokio::test]
async fn a_line_is_the_golden_one_byte_for_byte() {
    let (store, records) = records();
    let verdict = verdict(Status::Streamed);
    records.append(&verdict).await.unwrap();
    let name = format!("fraud-platform/platform_20260101T000000Z/wsp/ready_runs/{}.jsonl", verdict.message_id);
    assert_eq!(store.contents()[&name], GOLDEN);
    assert_eq!(records.name(&verdict.message_id).unwrap(), format!("runs/{name}"));
}

#[tokio::test]
async fn only_final_verdicts_make_a_duplicate() {
    let (store, records) = records();
    let message_id = verdict(Status::Failed).message_id;
    let failed = Verdict { reason: Some(Reason::IgPushRejected), ..verdict(Status::Failed) };
    records.append(&failed).await.unwrap();
    records.append(&verdict(Status::DeferredDownstreamNotReady)).await.unwrap();
    records.append(&verdict(Status::SkippedDuplicate)).await.unwrap();
    assert_eq!(records.read(&message_id).await.unwrap().len(), 1);
    assert_eq!(records.standing(&message_id).await.unwrap(), None);
    for _ in 0..2 {
        records.append(&verdict(Status::SkippedOutOfScope)).await.unwrap();
    }
    assert_eq!(records.standing(&message_id).await.unwrap(), Some(Status::SkippedOutOfScope));
    let lines = records.read(&message_id).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].reason.as_deref(), Some("IG_PUSH_REJECTED"));
    store.fail_next(1);
    assert_eq!(records.standing(&message_id).await.unwrap_err().reason, Reason::StoreUnavailable);
}

#[tokio::test]
async fn torn_and_strange_lines_are_passed_over() {
    let (store, records) = records();
    let message_id = verdict(Status::Streamed).message_id;
    let text = format!("{{\"status\":\"NEW_WORD\",\"more\":[1]}}\n\u{1}garbage\n{GOLDEN}{{\"status\":\"STREA");
    store.put(&records.key(&message_id, Lane::WHOLE).unwrap(), text.into()).await.unwrap();
    let lines = records.read(&message_id).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.status.as_str()).collect::<Vec<_>>(), ["NEW_WORD", "STREAMED"]);
    assert_eq!(lines[1].emitted, Some(250));
}

#[tokio::test]
async fn others_that_streamed_are_found() {
    let (store, records) = records();
    let own = verdict(Status::Streamed);
    let [streamed, failed] = ["1", "2"].map(Hex64::sha256);
    records.append(&own).await.unwrap();
    records.append(&Verdict { message_id: failed, ..verdict(Status::Failed) }).await.unwrap();
    records.append(&Verdict { message_id: streamed.clone(), ..own.clone() }).await.unwrap();
    store.put(&key(&format!("{}/readme.txt", records.folder)).unwrap(), "x".into()).await.unwrap();
    let found = records.streamed_beside(&own.message_id).await.unwrap();
    let run_id = Some(own.run_id.to_string());
    assert_eq!(found, [Streamed { message_id: streamed, run_id, lane: Lane::WHOLE }]);
}

fn lane(records: &Records, index: u32, by: LaneKey) -> Records {
    records.clone().of_lane(Lane::new(3.try_into().unwrap(), index, by).unwrap())
}

#[tokio::test]
async fn a_lanes_verdict_is_its_own_and_the_wholes_is_everyones() {
    let (store, records) = records();
    let (first, second) = (lane(&records, 0, LaneKey::EventId), lane(&records, 1, LaneKey::EventId));
    let by_key = lane(&records, 0, LaneKey::OrderKey);
    let streamed = verdict(Status::Streamed);
    let message_id = &streamed.message_id;
    first.append(&streamed).await.unwrap();
    let name = format!("fraud-platform/platform_20260101T000000Z/wsp/ready_lanes/{message_id}.lane-0-of-3.jsonl");
    assert_eq!(store.contents()[&name], GOLDEN);
    assert_eq!(store.contents().len(), 1, "one lane's end is not the run's");
    for (records, duplicate) in [(&first, true), (&second, false), (&by_key, false), (&records, false)] {
        assert_eq!(records.standing(message_id).await.unwrap().is_some(), duplicate, "{:?}", records.lane);
    }
    let other = Hex64::sha256("other");
    let lanes = async |records: &Records| {
        let found = records.streamed_beside(&other).await.unwrap();
        found.into_iter().map(|streamed| streamed.lane.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lanes(&first).await, ["lane-0-of-3"]);
    assert_eq!((lanes(&second).await.len(), lanes(&by_key).await.len(), lanes(&records).await.len()), (0, 0, 0));
    records.append(&streamed).await.unwrap();
    assert_eq!(second.standing(message_id).await.unwrap(), Some(Status::Streamed));
    assert_eq!(lanes(&second).await, ["lane-0-of-1"]);
}

/// The record of the whole run, as others read it.
async fn whole(records: &Records) -> Vec<(String, u64, String)> {
    let lines: Vec<Value> = records.read_of(&verdict(Status::Failed).message_id, Lane::WHOLE).await.unwrap();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let line = |line: &Value| (text(line, "status"), line["emitted"].as_u64().unwrap(), text(line, "ts_utc"));
    lines.iter().map(line).collect()
}

#[tokio::test]
async fn the_last_lane_tells_the_run_with_what_all_of_them_emitted() {
    let (_, records) = records();
    let ended = |emitted, ts| Verdict { emitted, ts: Micros(ts), ..verdict(Status::Streamed) };
    for (index, emitted, ts) in [(2, 990, 30), (0, 1, 70)] {
        lane(&records, index, LaneKey::EventId).append(&ended(emitted, ts)).await.unwrap();
    }
    // Lanes of another kind are no part of this run.
    lane(&records, 1, LaneKey::OrderKey).append(&ended(5, 80)).await.unwrap();
    assert_eq!(whole(&records).await, []);
    let last = lane(&records, 1, LaneKey::EventId);
    for _again in 0..2 {
        last.append(&ended(1009, 50)).await.unwrap();
        last.complete(&ended(0, 0).message_id).await.unwrap();
    }
    assert_eq!(whole(&records).await, [("STREAMED".to_owned(), 2000, Micros(70).offset_text())]);
    assert_eq!(records.standing(&ended(0, 0).message_id).await.unwrap(), Some(Status::Streamed));
}

#[tokio::test]
async fn lanes_that_end_at_once_or_are_cut_off_tell_the_run_once() {
    for call in 0.. {
        let (store, records) = records();
        let streamed = Verdict { emitted: 10, ..verdict(Status::Streamed) };
        for index in 0..2 {
            lane(&records, index, LaneKey::EventId).append(&streamed).await.unwrap();
        }
        let last = lane(&records, 2, LaneKey::EventId);
        store.crash_at(call, Fault::Before);
        if last.append(&streamed).await.is_ok() {
            assert!(call > 4, "each call was tried");
            break;
        }
        store.heal();
        // Whoever looks again: the lane itself, another one that knows it is done, or both at the same time.
        let first = lane(&records, 0, LaneKey::EventId);
        let look = async |lane: &Records| {
            lane.append(&streamed).await.unwrap();
            lane.complete(&streamed.message_id).await.unwrap();
        };
        futures::join!(look(&first), look(&last));
        let told = whole(&records).await;
        assert_eq!(told.iter().map(|(_, emitted, _)| *emitted).collect::<Vec<_>>(), [30], "call {call}");
    }
}

#[tokio::test]
async fn a_lanes_failure_is_seen_in_the_runs_record_and_a_foreign_ready_is_noted_once() {
    let (store, records) = records();
    let failed = Verdict { reason: Some(Reason::IgPushRejected), emitted: 7, ..verdict(Status::Failed) };
    let lanes = [0, 1].map(|index| lane(&records, index, LaneKey::EventId));
    lanes[0].append(&failed).await.unwrap();
    assert_eq!(whole(&records).await, [("FAILED".to_owned(), 7, failed.ts.offset_text())]);
    assert_eq!((lanes[0].read(&failed.message_id).await.unwrap().len(), store.contents().len()), (1, 2));
    assert_eq!(lanes[1].read(&failed.message_id).await.unwrap(), []);
    for lane in &lanes {
        lane.append(&verdict(Status::SkippedOutOfScope)).await.unwrap();
        assert_eq!(lane.standing(&failed.message_id).await.unwrap(), Some(Status::SkippedOutOfScope));
    }
    assert_eq!((whole(&records).await.len(), store.contents().len()), (2, 2));
}

#[test]
fn an_answer_names_the_first_four_things_that_are_missing() {
    let waits_for: Vec<String> = (0..6).map(|n| format!("PACK_PROCESS_MISSING:pack:{n}")).collect();
    let reason = |waits_for: &[String]| {
        let waits = Verdict {
            reason: Some(Reason::PackProcessMissing),
            waits_for: waits_for.to_vec(),
            ..verdict(Status::DeferredDownstreamNotReady)
        };
        serde_json::from_str::<Value>(&waits.line()).unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(&waits_for), waits_for[..4].join(";"));
    assert_eq!(reason(&waits_for[..1]), "PACK_PROCESS_MISSING:pack:0");
    assert_eq!(reason(&[]), "PACK_PROCESS_MISSING");
}

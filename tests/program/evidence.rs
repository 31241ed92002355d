//! What a run leaves, by the program: start and summary as their schemas have them, the report, and `wsp verify` on
//! evidence that is whole and on evidence with one thing wrong.

mod before;
mod refused;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use wsp_reference::gate::GateHandle;
use wsp_world::evidence::{Start, Summary};

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Running;
use crate::kit::parquet::with_foreign_seed;
use crate::kit::schema;
use crate::kit::{self, FRAUD, KEY, MESSAGE, RUN, Ran, Stage, copy_tree, json_lines, read, write};

const SUMMARY: &str = "wsp/wsp_summary.json";
const START: &str = "wsp/wsp_start.json";

fn schema_of(name: &str) -> Value {
    serde_json::from_str(&kit::text_of(&format!("docs/schema/{name}"))).unwrap()
}

/// A run of the golden world that was streamed to its end.
fn streamed(gate: &str) -> Stage {
    let stage = Stage::golden(gate);
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    stage
}

/// `wsp verify --json`: the exit code, and the names and reasons of the checks that refuse.
fn verify(stage: &Stage, more: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let args = [&["verify", "--profile", "profile.yaml", "--json"], more].concat();
    let output = stage.wsp(&args).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let refused = told["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "refused");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let refused: Vec<_> = refused.map(|check| (text(&check["name"]), text(&check["reason"]))).collect();
    assert_eq!(told["holds"], refused.is_empty());
    (output.status.code(), refused)
}

#[test]
fn start_and_summary_are_as_their_schemas_say() {
    let stage = streamed(&CaptureGate::admitting().url);
    for (name, schema_name) in [(START, "wsp_start.v3.schema.json"), (SUMMARY, "wsp_summary.v4.schema.json")] {
        let (document, schema) = (stage.document(name), schema_of(schema_name));
        schema::check(&schema, &schema, &document, "").unwrap();
        // The schema says something: a key less, a key more and another type are each refused.
        let keys: Vec<_> = document.as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut less = document.clone();
            less.as_object_mut().unwrap().remove(&key);
            schema::check(&schema, &schema, &less, "").unwrap_err();
            let mut other = document.clone();
            other[&key] = json!(true);
            schema::check(&schema, &schema, &other, "").unwrap_err();
        }
        let mut more = document.clone();
        more["more"] = json!(1);
        schema::check(&schema, &schema, &more, "").unwrap_err();
    }
    serde_json::from_value::<Start>(stage.document(START)).unwrap();
    let summary: Summary = serde_json::from_value(stage.document(SUMMARY)).unwrap();
    assert_eq!(summary.series.wall.admitted.iter().sum::<u64>(), 250);
    assert_eq!(summary.ready.as_ref().unwrap().topic, kit::TOPIC);
}

#[test]
fn a_capped_run_is_told_from_a_complete_one_and_both_hold_together() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let capped = stage.wsp(&["run", "--profile", "profile.yaml", "--once", "--max-events", "70"]).output().unwrap();
    assert_eq!(Ran::of(capped).verdict(), ("STREAMED", ""));
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
    let summary = stage.document(SUMMARY);
    assert_eq!((&summary["end"], &summary["totals"]["answered"]), (&json!("capped"), &json!(70)));
    let facts = stage.governance();
    assert_eq!(facts[1]["details"]["limits"]["max_events"], 70);
    let ended = &facts[2]["details"];
    assert_eq!((&ended["status"], &ended["end"]), (&json!("STREAMED"), &json!("capped")));
    let by_output = ended["emitted_by_output"].as_object().unwrap();
    assert_eq!(by_output.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 70);

    let each = Stage::golden(&gate.url);
    let args = ["run", "--profile", "profile.yaml", "--once", "--max-events-per-output", "20"];
    assert_eq!(Ran::of(each.wsp(&args).output().unwrap()).verdict(), ("STREAMED", ""));
    let ended = &each.governance()[2]["details"];
    assert_eq!((&ended["end"], &ended["limits"]["max_events_per_output"]), (&json!("capped"), &json!(20)));
    assert!(ended["emitted_by_output"].as_object().unwrap().values().all(|n| *n == 20), "{ended}");
    assert_eq!(verify(&each, &[]), (Some(0), Vec::new()));
}

#[test]
fn the_report_is_written_and_made_again_the_same() {
    let stage = streamed(&CaptureGate::admitting().url);
    let written = String::from_utf8(read(&stage.evidence("wsp/wsp_report.html"))).unwrap();
    assert!(written.contains("<svg") && written.contains(RUN) && written.contains("Streamed to its end"));
    let again = stage.wsp(&["report", "--profile", "profile.yaml"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(String::from_utf8(again.stdout).unwrap(), written);
    let none =
        stage.wsp(&["report", "--profile", "profile.yaml", "--run", "platform_20270101T000000Z"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("EVIDENCE_MISSING"));
}

#[test]
fn an_end_that_the_store_would_not_take_is_told_by_the_next_start() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    // The store takes everything but the summary, which is the first thing of an end.
    std::fs::create_dir_all(stage.evidence(SUMMARY)).unwrap();
    let away = stage.run_once();
    assert_eq!((away.code, away.verdicts.len(), gate.requests()), (Some(1), 0, 250), "{}", away.stderr);
    let kept = stage.path("runs/fraud-platform").join(RUN).join("wsp/unwritten");
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    assert!(stage.record().is_empty());

    std::fs::remove_dir(stage.evidence(SUMMARY)).unwrap();
    let back = stage.run_once();
    assert_eq!((back.code, back.verdict()), (Some(0), ("SKIPPED_DUPLICATE", "")), "{}", back.stderr);
    assert_eq!((gate.requests(), std::fs::read_dir(&kept).unwrap().count()), (250, 0));
    assert_eq!(stage.record().len(), 1);
    assert_eq!(
        (stage.record()[0]["status"].as_str(), stage.record()[0]["emitted"].as_u64()),
        (Some("STREAMED"), Some(250))
    );
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
}

const LANE: &str = "lane-0-of-2";

/// A file that a run left, by the name that `docs/evidence.md` has for its like.
fn kind(file: &str) -> String {
    let is_hex = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut kind: Vec<String> = file.split('/').map(str::to_owned).collect();
    for part in &mut kind {
        let (stem, rest) = part.split_at(part.find('.').filter(|at| *at > 0).unwrap_or(part.len()));
        *part = match stem.split_once('=') {
            Some((name, _)) => format!("{name}=<{name}>{rest}"),
            None if !is_hex(stem) => continue,
            None if file.starts_with("checkpoints/") => format!("<scope>{rest}"),
            None if file.contains("/obs/") => format!("<event_id>{rest}"),
            None => format!("<message_id>{rest}"),
        };
    }
    let kind = kind.join("/").replace(&format!("store/fraud-platform/{RUN}/"), "<prefix>/");
    let kind = kind.replace(&format!("runs/fraud-platform/{RUN}/"), "<run>/").replace("checkpoints/", "<checkpoints>/");
    kind.replace(LANE, "<lane>")
}

#[test]
fn every_file_that_a_run_leaves_has_its_heading() {
    let gate = CaptureGate::scripted(|nth, _| if nth == 0 { Reply::admit_held() } else { Reply::admit() });
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_delivery"] = json!({"in_flight": 8}));
    let before: BTreeSet<_> = stage.files().into_iter().collect();
    // Deferred, then held up at one event, then ended while the store takes no summary, then written.
    let mut wsp = stage.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    wsp.env("WSP_READY_REQUIRED_PACKS", "nowhere.yaml").output().unwrap();
    let mut left: BTreeSet<_> = stage.files().into_iter().collect();
    std::fs::create_dir_all(stage.evidence(SUMMARY)).unwrap();
    let mut running = Running::start(&stage, "run", &["run", "--profile", "profile.yaml", "--once"]);
    running.until("rows beyond the cursors are kept", || {
        let of_checkpoint = |file: &String| file.ends_with("/answered.json") || file.contains("/journal.");
        left.extend(stage.files().into_iter().filter(of_checkpoint));
        left.iter().any(|file| file.ends_with("/answered.json"))
    });
    gate.release();
    assert_eq!(running.exit().0, Some(1));
    left.extend(stage.files());
    std::fs::remove_dir(stage.evidence(SUMMARY)).unwrap();
    assert_eq!(stage.run_once().verdict(), ("SKIPPED_DUPLICATE", ""));
    // One without READY, and a lane of it elsewhere.
    let direct = ["run", "--profile", "profile.yaml", "--engine-run-root", "world", "--scenario-id", "baseline_v1"];
    assert!(stage.wsp(&direct).output().unwrap().status.success());
    left.extend(stage.files());
    let lanes = Stage::golden(&gate.url);
    let mut lane = lanes.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    assert!(lane.envs([("WSP_LANE_COUNT", "2"), ("WSP_LANE_INDEX", "0")]).output().unwrap().status.success());
    left.extend(lanes.files().into_iter().filter(|name| name.contains("/ready_lanes/")));

    let ours = |file: &&String| !file.ends_with("run.out") && !file.ends_with("run.err");
    let left: BTreeSet<_> = left.difference(&before).filter(ours).map(|file| kind(file)).collect();
    let page = include_str!("../../docs/evidence.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    assert_eq!(headings.map(str::to_owned).collect::<BTreeSet<_>>(), left);
}

/// Changes a JSON-lines file line by line; a line that becomes null is left out.
fn edit_lines(path: &Path, change: impl Fn(usize, &mut Value)) {
    let mut lines = json_lines(path);
    lines.iter_mut().enumerate().for_each(|(i, line)| change(i, line));
    let text = lines.iter().filter(|line| !line.is_null()).map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
    write(path, text.as_bytes());
}

fn edit(stage: &Stage, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value = stage.document(name);
    change(&mut value);
    write(&stage.evidence(name), value.to_string().as_bytes());
}

/// The id of the fact on line `i` of the list.
fn fact(stage: &Stage, i: usize) -> String {
    stage.governance()[i]["event_id"].as_str().unwrap().to_owned()
}

/// The wrong of each case, and the one check that has to see it.
type Case = (&'static str, &'static str, &'static str, fn(&Stage));

const CASES: &[Case] = &[
    ("another version of the start", "start", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, START, |start| start["schema"] = json!("wsp_start.v9"));
    }),
    ("no summary", "summary", "EVIDENCE_MISSING", |stage| {
        std::fs::remove_file(stage.evidence(SUMMARY)).unwrap();
    }),
    ("the summary of another start", "summary", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, SUMMARY, |summary| summary["started_at_utc"] = json!("2026-01-01T00:00:00.000000Z"));
    }),
    ("a total that is no sum", "counts", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, SUMMARY, |summary| summary["totals"]["attempts"] = json!(249));
    }),
    ("a series that lost an event", "series", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, SUMMARY, |summary| {
            // On a slow machine the first bucket may be empty.
            let admitted = summary["series"]["wall"]["admitted"].as_array_mut().unwrap();
            *admitted.iter_mut().find(|bucket| **bucket != 0).unwrap() = json!(0);
        });
    }),
    ("a record that says another count", "record", "EVIDENCE_MISMATCH", |stage| {
        // The fact says it too, so that the record alone is at odds with the summary.
        edit_lines(&stage.evidence(&format!("wsp/ready_runs/{MESSAGE}.jsonl")), |_, line| {
            line["reason"] = json!("RUN_STOPPED");
        });
    }),
    ("a fact listed twice", "facts", "EVIDENCE_MISMATCH", |stage| {
        let list = stage.evidence("obs/governance/events.jsonl");
        let text = String::from_utf8(read(&list)).unwrap();
        write(&list, format!("{text}{}\n", text.lines().nth(1).unwrap()).as_bytes());
    }),
    ("a fact that is not listed", "facts", "EVIDENCE_MISMATCH", |stage| {
        edit_lines(&stage.evidence("obs/governance/events.jsonl"), |i, line| {
            if i == 2 {
                *line = Value::Null;
            }
        });
    }),
    ("a fact whose body differs", "facts", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, &format!("obs/governance/events/{}.json", fact(stage, 2)), |body| {
            body["details"]["emitted"] = json!(251);
        });
    }),
    ("a fact without its body", "facts", "EVIDENCE_MISSING", |stage| {
        std::fs::remove_file(stage.evidence(&format!("obs/governance/events/{}.json", fact(stage, 0)))).unwrap();
    }),
    ("a fact without its marker", "facts", "EVIDENCE_MISSING", |stage| {
        std::fs::remove_file(stage.evidence(&format!("obs/governance/markers/{}.json", fact(stage, 1)))).unwrap();
    }),
    ("a world that lost its seal", "oracle", "PACK_NOT_SEALED", |stage| {
        std::fs::remove_file(stage.path("world/_SEALED.json")).unwrap();
    }),
    ("a view of another world's rows", "oracle", "WORLD_KEY_MISMATCH", |stage| {
        stage.change_rows(FRAUD, |rows| with_foreign_seed(&rows, 0));
    }),
    ("a receipt of another span", "oracle", "STREAM_VIEW_RECEIPT_BAD", |stage| {
        stage.edit(&Stage::in_view(FRAUD, "_stream_sort_receipt.json"), |receipt| {
            for stats in ["raw_stats", "sorted_stats"] {
                receipt[stats]["min_ts_utc"] = "2025-01-01T00:00:00".into();
            }
        });
    }),
    ("a digest of other events", "digest s3_event_stream_with_fraud_6B", "EVIDENCE_MISMATCH", |stage| {
        edit(stage, SUMMARY, |summary| summary["outputs"][3]["event_id_digest"] = json!("0".repeat(64)));
    }),
    ("a checkpoint before the end", "checkpoint", "EVIDENCE_MISMATCH", |stage| {
        let cursor =
            stage.files().into_iter().find(|name| name.contains(FRAUD) && name.ends_with("cursor.json")).unwrap();
        stage.edit(&cursor, |cursor| {
            cursor["last_row_index"] = json!(3);
            cursor["last_ts_utc"] = Value::Null;
        });
    }),
    ("a cursor with another row's time", "checkpoint", "CHECKPOINT_FOREIGN", |stage| {
        let cursor =
            stage.files().into_iter().find(|name| name.contains(FRAUD) && name.ends_with("cursor.json")).unwrap();
        stage.edit(&cursor, |cursor| cursor["last_row_index"] = json!(3));
    }),
    ("a checkpoint of other views", "checkpoint", "CHECKPOINT_FOREIGN", |stage| {
        let views = stage.files().into_iter().find(|name| name.ends_with("views.json")).unwrap();
        stage.edit(&views, |views| views["outputs"][3]["files"][0]["footer_sha256"] = json!("0".repeat(64)));
    }),
    ("no checkpoint", "checkpoint", "EVIDENCE_MISMATCH", |stage| stage.remove("checkpoints")),
];

#[test]
fn each_check_sees_what_is_its_own_to_see() {
    let whole = streamed(&CaptureGate::admitting().url);
    assert_eq!(verify(&whole, &[]), (Some(0), Vec::new()));
    for (case, check, reason, doctor) in CASES {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        copy_tree(whole.folder.path(), stage.folder.path());
        doctor(&stage);
        assert_eq!(verify(&stage, &[]), (Some(1), vec![((*check).to_owned(), (*reason).to_owned())]), "{case}");
    }
}

#[test]
fn rows_are_compared_with_the_receipts() {
    let stage = streamed(&CaptureGate::admitting().url);
    // One row more in start and summary alike: they agree with each other, not with the view.
    for name in [START, SUMMARY] {
        edit(&stage, name, |told| {
            let rows = told["outputs"][0]["rows"].as_u64().unwrap();
            told["outputs"][0]["rows"] = json!(rows + 1);
        });
    }
    // The evidence shows it by itself: a complete run's rows before its start and its answers are all rows.
    let refused = ["counts", "rows arrival_events_5B"].map(|name| (name.to_owned(), "EVIDENCE_MISMATCH".to_owned()));
    assert_eq!(verify(&stage, &[]), (Some(1), refused.to_vec()));
}

#[test]
fn the_content_that_a_start_read_is_compared_with_the_view() {
    let stage = streamed(&CaptureGate::admitting().url);
    for name in [START, SUMMARY] {
        edit(&stage, name, |told| told["outputs"][0]["content"] = json!("0".repeat(64)));
    }
    let refused = vec![("content arrival_events_5B".to_owned(), "EVIDENCE_MISMATCH".to_owned())];
    assert_eq!(verify(&stage, &[]), (Some(1), refused));
}

#[test]
fn a_gate_is_asked_for_a_sample() {
    let gate = kit::gate();
    let stage = streamed(&gate.base_url());
    assert_eq!(verify(&stage, &["--sample", "20"]), (Some(0), Vec::new()));
    let empty = kit::gate();
    stage.profile(&empty.base_url(), |_| {});
    let refused = vec![("gate".to_owned(), "EVIDENCE_MISMATCH".to_owned())];
    assert_eq!(verify(&stage, &["--sample", "20"]), (Some(1), refused));
}

/// Posts a body as a run would.
fn push(gate: &GateHandle, body: &[u8]) {
    let url = gate.base_url();
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/ingest/push HTTP/1.1\r\nHost: {address}\r\nX-IG-Api-Key: {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("ADMIT"), "{answer}");
}

#[test]
fn a_sample_allows_for_as_many_quarantines_as_the_run_tells_of() {
    // Every tenth event is quarantined, and the policy lets the run go on.
    let quarantine = r#"{"decision":"QUARANTINE","receipt":{},"receipt_ref":"x"}"#;
    let capture = CaptureGate::scripted(move |nth, _| match nth % 10 {
        7 => Reply::Answer(200, quarantine.to_owned()),
        _ => Reply::admit(),
    });
    let go_on = |profile: &mut Value| profile["policy"]["stop_on_nonretryable"] = json!(false);
    let stage = Stage::golden(&capture.url);
    stage.profile(&capture.url, go_on);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_eq!(stage.document(SUMMARY)["totals"]["quarantined"], 25);

    let admitted: Vec<_> =
        capture.bodies().into_iter().enumerate().filter(|(nth, _)| nth % 10 != 7).map(|(_, body)| body).collect();
    let whole = kit::gate();
    for body in &admitted {
        push(&whole, body);
    }
    stage.profile(&whole.base_url(), go_on);
    assert_eq!(verify(&stage, &["--sample", "250"]), (Some(0), Vec::new()));

    // One more that the gate has not is one too many.
    let lacking = kit::gate();
    admitted.iter().skip(1).for_each(|body| push(&lacking, body));
    stage.profile(&lacking.base_url(), go_on);
    let refused = vec![("gate".to_owned(), "EVIDENCE_MISMATCH".to_owned())];
    assert_eq!(verify(&stage, &["--sample", "250"]), (Some(1), refused));
}

#[test]
fn what_is_no_evidence_of_ours_is_told() {
    let stage = streamed(&CaptureGate::admitting().url);
    write(&stage.evidence(SUMMARY), b"{}");
    let output = stage.wsp(&["verify", "--profile", "profile.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("EVIDENCE_UNREADABLE"));
}

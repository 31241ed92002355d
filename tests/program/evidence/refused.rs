//! Evidence of runs that were refused: `wsp verify` on what they left, and on what somebody changed of it.

use std::path::Path;

use serde_json::{Value, json};

use super::{fact, verify};
use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::parquet::with_foreign_seed;
use crate::kit::{FACTS, FRAUD, MESSAGE, Stage, copy_tree, read, write};

/// Changes a record.
type Change = fn(&Stage, &Path);

/// What is refused, its reason, and the change to the stage that brings it about.
type Refused = (&'static str, &'static str, fn(&Stage));

/// Refusals at each step of the admission.
const REFUSALS: &[Refused] = &[
    ("no facts", "RUN_FACTS_INVALID", |stage| stage.remove(&format!("store/{FACTS}"))),
    ("facts of another run", "RUN_FACTS_MISMATCH", |stage| {
        stage.edit_facts(|facts| facts["pins"]["run_id"] = json!("0".repeat(32)));
    }),
    ("no scenario", "SCENARIO_ID_MISSING", |stage| {
        stage.edit_ready(|ready| drop(ready.as_object_mut().unwrap().remove("scenario_id")));
    }),
    ("no engine root", "ENGINE_ROOT_MISSING", |stage| {
        stage.edit_ready(|ready| drop(ready.as_object_mut().unwrap().remove("oracle_pack_ref")));
        stage.edit_facts(|facts| drop(facts.as_object_mut().unwrap().remove("oracle_pack_ref")));
    }),
    ("a ref that leaves its root", "REF_OUTSIDE_ROOT", |stage| {
        let up = |object: &mut Value| object["oracle_pack_ref"]["engine_run_root"] = json!("../world");
        stage.edit_ready(up);
        stage.edit_facts(up);
    }),
    ("a producer nobody knows", "PRODUCER_NOT_ALLOWED", |stage| stage.put("producers.txt", "svc:another\n")),
    ("no seal", "PACK_NOT_SEALED", |stage| stage.remove("world/_SEALED.json")),
    ("a part missing", "STREAM_VIEW_EMPTY", |stage| stage.remove(&Stage::in_view(FRAUD, "part-000000.parquet"))),
    ("rows of another world", "WORLD_KEY_MISMATCH", |stage| {
        stage.change_rows(FRAUD, |rows| with_foreign_seed(&rows, 0));
    }),
];

/// Names and verdicts of the checks of `wsp verify`, with the texts of those that are waived.
fn verified(stage: &Stage) -> (Option<i32>, Vec<(String, String)>, String) {
    let output = stage.wsp(&["verify", "--profile", "profile.yaml", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let checks = told["checks"].as_array().unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let waived = checks.iter().filter(|check| check["status"] == "waived").map(|check| text(check, "detail"));
    let names = checks.iter().map(|check| (text(check, "name"), text(check, "status")));
    (output.status.code(), names.collect(), waived.collect::<Vec<_>>().join("; "))
}

#[test]
fn evidence_of_a_run_refused_before_its_start_holds_together_and_says_what_is_not_there() {
    for (case, reason, doctor) in REFUSALS {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        doctor(&stage);
        assert_eq!(stage.run_once().verdict(), ("FAILED", *reason), "{case}");
        let (code, checks, waived) = verified(&stage);
        let named = |name: &str, status: &str| (name.to_owned(), status.to_owned());
        let expected =
            [named("start", "waived"), named("summary", "waived"), named("record", "passed"), named("facts", "passed")];
        assert_eq!((code, checks), (Some(0), expected.to_vec()), "{case}");
        for part in [MESSAGE, "no wsp_start.json", "no wsp_summary.json"] {
            assert!(waived.contains(part), "{case}: {waived}");
        }
    }
}

#[test]
fn evidence_of_a_refused_run_that_somebody_changed_does_not_hold_together() {
    let gate = CaptureGate::admitting();
    let refused = Stage::golden(&gate.url);
    refused.remove("world/_SEALED.json");
    assert_eq!(refused.run_once().verdict(), ("FAILED", "PACK_NOT_SEALED"));
    let record = |stage: &Stage| stage.evidence(&format!("wsp/ready_runs/{MESSAGE}.jsonl"));
    let cases: &[(&str, &str, &str, Change)] = &[
        ("streamed without a start", "record", "EVIDENCE_MISSING", |_, record| {
            let line = String::from_utf8(read(record)).unwrap().replace("FAILED", "STREAMED");
            write(record, line.as_bytes());
        }),
        ("sent without a start", "record", "EVIDENCE_MISSING", |_, record| {
            let line = String::from_utf8(read(record)).unwrap().replace("\"emitted\":0", "\"emitted\":7");
            write(record, line.as_bytes());
        }),
        ("a fact without its marker", "facts", "EVIDENCE_MISSING", |stage, _| {
            std::fs::remove_file(stage.evidence(&format!("obs/governance/markers/{}.json", fact(stage, 2)))).unwrap();
        }),
        ("a fact without its body", "facts", "EVIDENCE_MISSING", |stage, _| {
            std::fs::remove_file(stage.evidence(&format!("obs/governance/events/{}.json", fact(stage, 0)))).unwrap();
        }),
        ("an end that is not listed", "facts", "EVIDENCE_MISMATCH", |stage, _| {
            let list = stage.evidence("obs/governance/events.jsonl");
            let lines: Vec<String> = String::from_utf8(read(&list)).unwrap().lines().map(str::to_owned).collect();
            write(&list, (lines[..2].join("\n") + "\n").as_bytes());
        }),
    ];
    for (case, check, reason, change) in cases {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        copy_tree(refused.folder.path(), stage.folder.path());
        change(&stage, &record(&stage));
        let (code, refusals) = verify(&stage, &[]);
        assert_eq!(code, Some(1), "{case}");
        assert!(refusals.contains(&((*check).to_owned(), (*reason).to_owned())), "{case}: {refusals:?}");
    }
    refused.remove("store/fraud-platform");
    let output = refused.wsp(&["verify", "--profile", "profile.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("EVIDENCE_MISSING"), "there is nothing at all");
}

/// A run fails at an event, is refused at its next start, and is streamed to its end at a third.
#[test]
fn a_refusal_behind_a_start_leaves_the_evidence_of_that_start_whole() {
    let gate = CaptureGate::scripted(|n, _| match n {
        100 => Reply::Answer(422, r#"{"error":"NOT_NOW"}"#.to_owned()),
        _ => Reply::admit(),
    });
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("FAILED", "IG_PUSH_REJECTED"));
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
    let seal = read(&stage.path("world/_SEALED.json"));
    stage.remove("world/_SEALED.json");
    for _ in 0..2 {
        assert_eq!(stage.run_once().verdict(), ("FAILED", "PACK_NOT_SEALED"));
        // What is wrong is the world, and nothing else.
        let oracle = vec![("oracle".to_owned(), "PACK_NOT_SEALED".to_owned())];
        assert_eq!(verify(&stage, &[]), (Some(1), oracle));
    }
    stage.put("world/_SEALED.json", seal);
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
}

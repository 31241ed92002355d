//! `wsp matrix` on local parts: all green where all is in order, and with one part broken exactly the rows that need it
//! red.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wsp_reference::gate::{GateHandle, GateStyle};

use crate::kit::capture::CaptureGate;
use crate::kit::matrix_rows::{dependants, rows};
use crate::kit::process::Told;
use crate::kit::schema;
use crate::kit::{self, KEY, MESSAGE, RUN, Stage, json_lines, read, ready_file};

/// A gate, and the golden run before it, with a named copy of its READY.
fn set() -> (GateHandle, Stage) {
    set_before(GateStyle::Service)
}

fn set_before(style: GateStyle) -> (GateHandle, Stage) {
    let gate = kit::gate_of(style);
    let stage = Stage::golden(&gate.base_url());
    let ready = stage.path(&ready_file(MESSAGE));
    std::fs::copy(ready, stage.path("ready.json")).unwrap();
    (gate, stage)
}

fn matrix(stage: &Stage, more: &[&str]) -> Told {
    let args = [&["matrix", "--profile", "profile.yaml", "--ready", "ready.json"], more].concat();
    Told::of(stage.wsp(&args).env("WSP_READY_REQUIRED_PACKS", ""))
}

/// The word that lets it send to `gate`.
fn word(gate: &str) -> String {
    format!("{RUN}@{}", gate.strip_prefix("http://").unwrap())
}

#[test]
fn every_row_is_green_where_all_is_in_order() {
    let (gate, stage) = set();
    let told = matrix(&stage, &["--send", &word(&gate.base_url()), "--json"]);
    let report = told.json();
    assert_eq!((rows(&report, "red"), told.code), (BTreeSet::new(), Some(0)), "{}{}", told.out, told.err);
    assert_eq!(rows(&report, "not_run"), BTreeSet::from(["C2.remote"]));
    assert_eq!(report["green"], true);

    // The cap holds, whatever was tried; what was sent twice was the same.
    let stats = gate.stats();
    assert_eq!((stats.admitted, stats.duplicates, stats.quarantined), (20, 5, 0));
    // Of what was doctored nothing stands among the run's own evidence.
    let records: Vec<_> = std::fs::read_dir(stage.evidence("wsp/ready_runs")).unwrap().collect();
    assert_eq!(records.len(), 1);
    assert_eq!(
        stage.record().iter().map(|line| line["status"].as_str().unwrap()).collect::<Vec<_>>(),
        ["FAILED", "STREAMED"]
    );
    let families: Vec<_> = stage.governance().iter().map(|fact| fact["event_family"].clone()).collect();
    assert_eq!(families, ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED", "RUN_ENDED"]);
    let sessions = json_lines(&stage.path("runs/fraud-platform").join(RUN).join("session.jsonl"));
    let received = sessions.iter().filter(|line| line["event_kind"] == "ready_received");
    assert!(received.into_iter().all(|line| line["details"]["message_id"] == MESSAGE));

    // What is kept is what was told, and as its schema has it.
    let kept = stage.document("wsp/matrix.json");
    assert_eq!(kept, report);
    let schema: Value = serde_json::from_str(&kit::text_of("docs/schema/wsp_matrix.v1.schema.json")).unwrap();
    schema::check(&schema, &schema, &kept, "").unwrap();
    for key in kept.as_object().unwrap().keys() {
        let mut less = kept.clone();
        less.as_object_mut().unwrap().remove(key);
        schema::check(&schema, &schema, &less, "").unwrap_err();
    }
    let mut other = kept.clone();
    other["rows"][0]["result"] = json!("perhaps");
    schema::check(&schema, &schema, &other, "").unwrap_err();
    for row in kept["rows"].as_array().unwrap() {
        let Some(evidence) = row["evidence"].as_str() else { continue };
        assert!(stage.path(evidence).exists(), "{row}");
    }

    // The run is used up, and a second matrix says so.
    let again = matrix(&stage, &["--send", &word(&gate.base_url()), "--json"]);
    let report = again.json();
    assert!(rows(&report, "red").contains("C3.stop") && again.code == Some(1), "{}", again.out);
    assert_eq!(gate.stats().admitted, 20);
}

/// The managed edge has another health, and no lookup: what that one would show is not run, and verify says why.
#[test]
fn every_row_is_green_before_the_managed_edge_too() {
    let (gate, stage) = set_before(GateStyle::Edge);
    let told = matrix(&stage, &["--send", &word(&gate.base_url()), "--json"]);
    let report = told.json();
    assert_eq!((rows(&report, "red"), told.code), (BTreeSet::new(), Some(0)), "{}{}", told.out, told.err);
    assert_eq!(rows(&report, "not_run"), BTreeSet::from(["C2.remote", "C5.gate"]));
    let row = |id: &str| report["rows"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
    assert_eq!(row("C3.gate")["seen"], "ok");
    assert!(row("C5.gate")["why"].as_str().unwrap().contains("no lookup"), "{}", row("C5.gate"));
    let stats = gate.stats();
    assert_eq!((stats.admitted, stats.duplicates, stats.quarantined), (20, 5, 0));

    let verified = stage.wsp(&["verify", "--profile", "profile.yaml", "--sample", "20", "--json"]).output().unwrap();
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let checks = verified["checks"].as_array().unwrap();
    let gate = checks.iter().find(|check| check["name"] == "gate").unwrap();
    assert_eq!((&verified["holds"], &gate["status"]), (&json!(true), &json!("waived")), "{verified}");
    assert!(gate["detail"].as_str().unwrap().contains("no lookup"), "{gate}");
}

#[test]
fn nothing_is_touched_without_the_very_word() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let ready = stage.path(&ready_file(MESSAGE));
    std::fs::copy(ready, stage.path("ready.json")).unwrap();
    let before = stage.files();
    let right = word(&gate.url);
    let other_run = right.replace("2026", "2027");
    for said in [&[][..], &["--send", "yes"], &["--send", &other_run], &["--send", &format!("{right}1")]] {
        let told = matrix(&stage, said);
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(told.err.contains(&right) && told.err.contains("nothing was touched"), "{}", told.err);
        assert_eq!((gate.heard(), stage.files()), (0, before.clone()), "{said:?}");
    }
}

#[test]
fn the_table_is_for_people_and_names_what_is_red() {
    let (gate, stage) = set();
    stage.put("producers.txt", "svc:other\n");
    let told = matrix(&stage, &["--send", &word(&gate.base_url())]);
    assert_eq!(told.code, Some(1));
    for text in ["RED      C1.profile", "PRODUCER_NOT_ALLOWED", "green    C1.topic", "  expected  "] {
        assert!(told.out.contains(text), "{text}: {}", told.out);
    }
    assert_eq!(gate.stats().admitted, 0, "a producer that is not allowed sends nothing");
}

/// What is broken, how, and what of the environment's parts that is.
type Breakage = (&'static str, &'static str, fn(&Stage, &str));

const BREAKAGES: &[Breakage] = &[
    ("no control topic", "control_topic", |stage, _| {
        stage.remove("control_bus");
        stage.put("control_bus", "");
    }),
    ("no seal", "world", |stage, _| stage.remove("world/_SEALED.json")),
    ("no store", "store", |stage, _| {
        stage.remove("store");
        stage.put("store", "");
    }),
    ("no checkpoint", "checkpoint", |stage, _| stage.put("checkpoints", "")),
    ("no gate", "gate", |stage, _| stage.profile("http://127.0.0.1:1", |_| {})),
    ("another key", "gate", |stage, gate| {
        stage.profile(gate, |profile| profile["wiring"]["security"]["wsp_auth_token"] = json!("another"));
    }),
];

#[test]
fn one_part_broken_reddens_the_rows_that_need_it_and_no_other() {
    let counts = BTreeMap::from([("control_topic", 3), ("world", 21), ("store", 41), ("checkpoint", 13), ("gate", 14)]);
    for (case, part, breaks) in BREAKAGES {
        let (gate, stage) = set();
        breaks(&stage, &gate.base_url());
        let profile: Value = serde_json::from_slice(&read(&stage.path("profile.yaml"))).unwrap();
        let word = word(profile["wiring"]["ig_ingest_url"].as_str().unwrap());
        let told = matrix(&stage, &["--send", &word, "--json"]);
        let report = told.json();
        let red = rows(&report, "red");
        println!("{case}: {} red: {}", red.len(), red.iter().copied().collect::<Vec<_>>().join(" "));
        assert_eq!((told.code, &report["green"]), (Some(1), &json!(false)), "{case}");
        assert_eq!(red, dependants(&report, part), "{case}: {}", told.out);
        assert_eq!(red.len(), counts[part], "{case}");
        // The report is kept all the same, where the store is not to be had on this machine.
        let away = stage.path("runs/fraud-platform").join(RUN).join("wsp/matrix.json");
        let kept = if *part == "store" { away } else { stage.evidence("wsp/matrix.json") };
        assert_eq!(serde_json::from_slice::<Value>(&read(&kept)).unwrap(), report, "{case}");
        assert!(!told.err.contains(KEY) && !told.out.contains(KEY), "{case}");
    }
}

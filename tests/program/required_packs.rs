//! Required packs: nothing streams before what has to be up is up, each wait is told, and it ends by itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::live::created_at;
use crate::kit::{MESSAGE, RUN, RUN_ONCE, Ran, Stage};

const SPEC: &str = "version: 1\npack_id: ingest\nprocesses: [{id: gate}]\n";
const STATE: &str = "runs/fraud-platform/operate/ingest/state.json";

/// The golden run with one required pack, whose process is this very test.
fn stage(gate: &CaptureGate) -> Stage {
    let stage = Stage::golden(&gate.url);
    stage.put("ingest.yaml", SPEC);
    stage.put(STATE, state().to_string());
    stage
}

fn state() -> Value {
    json!({
        "active_platform_run_id": RUN,
        "processes": {"gate": {"pid": std::process::id(), "pid_create_time": created_at(std::process::id())}},
    })
}

fn run_once(stage: &Stage, packs: &str) -> Ran {
    let mut wsp = stage.wsp(RUN_ONCE);
    Ran::of(wsp.env("WSP_READY_REQUIRED_PACKS", packs).output().unwrap())
}

fn deferral(stage: &Stage) -> Value {
    stage.document(&format!("wsp/deferrals/{MESSAGE}.json"))
}

#[test]
fn a_pack_that_is_not_up_defers_and_the_evidence_says_why() {
    type Doctor = fn(&Stage);
    let cases: &[(&str, &str, Doctor)] = &[
        ("PACK_FILE_MISSING", "ingest.yaml", |s| s.remove("ingest.yaml")),
        ("PACK_SPEC_INVALID", "ingest.yaml", |s| s.put("ingest.yaml", "version: 3")),
        ("PACK_STATE_MISSING", "ingest", |s| s.remove(STATE)),
        ("PACK_STATE_INVALID", "ingest", |s| s.put(STATE, "[]")),
        ("PACK_ACTIVE_RUN_MISSING", "ingest", |s| s.edit(STATE, |state| state["active_platform_run_id"] = Value::Null)),
        ("PACK_ACTIVE_RUN_MISMATCH", "platform_20250101T000000Z->platform_20260101T000000Z", |s| {
            s.edit(STATE, |state| state["active_platform_run_id"] = "platform_20250101T000000Z".into());
        }),
        ("PACK_PROCESSES_MISSING", "ingest", |s| s.edit(STATE, |state| state["processes"] = json!({}))),
        ("PACK_PROCESS_MISSING", "ingest:gate", |s| {
            s.edit(STATE, |state| state["processes"] = json!({"bus": state["processes"]["gate"]}));
        }),
        ("PACK_PROCESS_NOT_RUNNING", "ingest:gate", |s| {
            s.edit(STATE, |state| state["processes"]["gate"]["pid_create_time"] = json!(1.5));
        }),
    ];
    for (reason, subject, doctor) in cases {
        let gate = CaptureGate::admitting();
        let stage = stage(&gate);
        doctor(&stage);
        let ran = run_once(&stage, "ingest.yaml");
        let told = format!("{reason}:{subject}");
        assert_eq!(ran.verdict(), ("DEFERRED_DOWNSTREAM_NOT_READY", &*told), "{}", ran.stderr);
        assert_eq!(ran.code, Some(3), "a wait is no success: {}", ran.stderr);
        assert_eq!(gate.requests(), 0, "{reason}");
        assert_eq!(stage.record(), Vec::<Value>::new(), "{reason}: a deferral is no verdict");
        let deferral = deferral(&stage);
        let stretch = &deferral["stretches"][0];
        assert_eq!(stretch["reasons"], json!([told]), "{deferral}");
        assert_eq!(stretch["looked_at"]["required_packs"][0]["pack_file"], "ingest.yaml", "{deferral}");
        assert_eq!((&deferral["looks"], &deferral["ended_ts_utc"]), (&json!(1), &Value::Null), "{deferral}");
        let families: Vec<_> = stage.governance().iter().map(|fact| fact["event_family"].clone()).collect();
        assert_eq!(families, ["RUN_READY_SEEN"], "{reason}");

        let mut plan = stage.wsp(&["plan", "--profile", "profile.yaml", "--json"]);
        let plan = plan.env("WSP_READY_REQUIRED_PACKS", "ingest.yaml").output().unwrap();
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let check = plan["checks"].as_array().unwrap().iter().find(|c| c["name"] == "required packs").unwrap();
        assert_eq!((&plan["admitted"], &check["reason"]), (&json!(false), &json!(reason)), "{plan}");
    }
}

#[test]
fn a_wait_ends_when_the_pack_comes_up_and_the_run_tells_of_it() {
    let gate = CaptureGate::admitting();
    let stage = stage(&gate);
    stage.remove(STATE);
    // The first look is by a process that is gone when the pack comes up.
    run_once(&stage, "ingest.yaml");
    let mut wsp = stage.wsp(&["run", "--profile", "profile.yaml"]);
    wsp.env("WSP_READY_REQUIRED_PACKS", "ingest.yaml");
    let mut child = wsp.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut verdicts = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&verdicts.next().unwrap().unwrap()).unwrap();
    let mut looks = 1;
    while looks < 3 {
        assert_eq!(next()["reason"], "PACK_STATE_MISSING:ingest");
        looks += 1;
    }
    assert_eq!(gate.requests(), 0);
    stage.put(STATE, state().to_string());
    // A look may have been under way.
    while next()["status"] != "STREAMED" {
        looks += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(gate.requests(), 250);
    let deferral = deferral(&stage);
    assert!(deferral["ended_ts_utc"].is_string(), "{deferral}");
    assert_eq!(deferral["looks"], looks, "{deferral}");
    assert_eq!(deferral["stretches"].as_array().unwrap().len(), 1, "{deferral}");
    let started = stage.governance().into_iter().find(|fact| fact["event_family"] == "RUN_STARTED").unwrap();
    let told = &started["details"]["deferred"];
    assert_eq!((&told["looks"], &told["first_ts_utc"]), (&deferral["looks"], &deferral["first_ts_utc"]));
    assert_eq!(told["reasons"], json!(["PACK_STATE_MISSING:ingest"]), "{told}");
}

#[test]
fn an_answer_names_the_first_four_things_that_are_missing_over_all_packs() {
    let gate = CaptureGate::admitting();
    let stage = stage(&gate);
    let processes = "processes: [{id: gate}, {id: a}, {id: b}, {id: c}, {id: d}]";
    stage.put("ingest.yaml", format!("version: 1\npack_id: ingest\n{processes}\n"));
    let ran = run_once(&stage, "none.yaml,ingest.yaml");
    let missing = |process: &str| format!("PACK_PROCESS_MISSING:ingest:{process}");
    let all: Vec<String> =
        std::iter::once("PACK_FILE_MISSING:none.yaml".to_owned()).chain(["a", "b", "c", "d"].map(missing)).collect();
    assert_eq!(ran.verdict(), ("DEFERRED_DOWNSTREAM_NOT_READY", &*all[..4].join(";")), "{}", ran.stderr);
    assert_eq!(deferral(&stage)["stretches"][0]["reasons"], json!(all));
}

#[test]
fn what_was_required_is_kept_with_the_runs_start() {
    for (packs, detail) in [("ingest.yaml", "up: ingest"), ("", "none is required: WSP_READY_REQUIRED_PACKS is empty")]
    {
        let gate = CaptureGate::admitting();
        let stage = stage(&gate);
        let ran = run_once(&stage, packs);
        assert_eq!(ran.verdict().0, "STREAMED", "{}", ran.stderr);
        let start = stage.document("wsp/wsp_start.json");
        let check = start["checks"].as_array().unwrap().iter().find(|c| c["name"] == "required packs").unwrap();
        assert_eq!((&check["status"], &check["detail"]), (&"passed".into(), &detail.into()), "{check}");
    }
}

//! Every reason for which a run is refused before its first event: each case doctors the golden run in one place and
//! wants that reason, its evidence, the place named in the log, and a gate that heard of nothing.

mod wiring;

use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::refused::{Came, Case, Refused, all_refused};
use crate::kit::{self, FACTS, MESSAGE, RUN, RUN_ONCE, Ran, Stage, golden, json_lines, zeros};

const ARRIVALS: &str = "arrival_events_5B";

/// Every identity that READY and facts share, altered on either side in turn.
#[test]
fn ready_and_facts_that_do_not_agree_are_not_one_run() {
    let platform = json!("platform_20990101T000000Z");
    for (side, pointer, value, reason) in [
        ("facts", "/platform_run_id", &platform, "PLATFORM_RUN_ID_MISMATCH"),
        ("facts", "/pins/platform_run_id", &platform, "PLATFORM_RUN_ID_MISMATCH"),
        ("facts", "/platform_run_id", &Value::Null, "PLATFORM_RUN_ID_MISSING"),
        ("READY", "/platform_run_id", &Value::Null, "PLATFORM_RUN_ID_MISSING"),
        ("READY", "/scenario_run_id", &zeros(32), "SCENARIO_RUN_ID_MISMATCH"),
        ("facts", "/pins/scenario_run_id", &zeros(32), "SCENARIO_RUN_ID_MISMATCH"),
        ("facts", "/scenario_run_id", &Value::Null, "SCENARIO_RUN_ID_MISSING"),
        ("READY", "/scenario_id", &json!("other"), "WORLD_KEY_MISMATCH"),
        ("facts", "/pins/scenario_id", &json!("other"), "WORLD_KEY_MISMATCH"),
        ("READY", "/oracle_pack_ref/scenario_id", &json!("other"), "WORLD_KEY_MISMATCH"),
        ("READY", "/manifest_fingerprint", &zeros(64), "WORLD_KEY_MISMATCH"),
        ("facts", "/pins/manifest_fingerprint", &zeros(64), "WORLD_KEY_MISMATCH"),
        ("facts", "/pins/manifest_fingerprint", &Value::Null, "WORLD_KEY_MISSING"),
        ("READY", "/parameter_hash", &zeros(64), "WORLD_KEY_MISMATCH"),
        ("facts", "/pins/parameter_hash", &zeros(64), "WORLD_KEY_MISMATCH"),
        ("facts", "/pins/seed", &Value::Null, "WORLD_KEY_MISSING"),
        ("READY", "/run_id", &zeros(32), "RUN_FACTS_MISMATCH"),
        ("facts", "/pins/run_id", &zeros(32), "RUN_FACTS_MISMATCH"),
        ("READY", "/bundle_hash", &zeros(64), "RUN_FACTS_MISMATCH"),
        ("READY", "/run_config_digest", &zeros(64), "RUN_FACTS_MISMATCH"),
        ("facts", "/run_config_digest", &Value::Null, "RUN_FACTS_MISMATCH"),
        ("READY", "/service_release_id", &json!("other"), "RUN_FACTS_MISMATCH"),
        ("READY", "/environment", &json!("other"), "RUN_FACTS_MISMATCH"),
        ("READY", "/provenance/config_revision", &json!("other"), "RUN_FACTS_MISMATCH"),
        ("READY", "/oracle_pack_ref/oracle_pack_id", &zeros(64), "RUN_FACTS_MISMATCH"),
        ("READY", "/oracle_pack_ref/engine_run_root", &json!("other"), "RUN_FACTS_MISMATCH"),
        ("READY", "/oracle_pack_ref/manifest_ref", &json!("other"), "RUN_FACTS_MISMATCH"),
        ("READY", "/oracle_pack_ref/engine_release", &json!("other"), "RUN_FACTS_MISMATCH"),
    ] {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        let alter = |object: &mut Value| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            if value.is_null() {
                parent.remove(key)
            } else {
                parent.insert(key.to_owned(), value.clone())
            };
        };
        if side == "READY" {
            stage.edit_ready(alter);
        } else {
            stage.edit_facts(alter);
        }
        let ran = stage.run_once();
        let field = pointer.rsplit_once('/').unwrap().1;
        Refused { reason, came: Came::Nowhere, emitted: 0, names: &[field] }.assert_unsent(
            &stage,
            &gate,
            &ran,
            &format!("{side} {pointer} {value}"),
        );
    }
}

#[test]
fn facts_that_cannot_be_read_refuse_the_run() {
    all_refused(
        Came::Nowhere,
        &[
            ("none", |s, _| s.remove(&format!("store/{FACTS}")), "RUN_FACTS_INVALID", &[FACTS]),
            (
                "a folder",
                |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("fraud-platform")),
                "RUN_FACTS_INVALID",
                &["store/fraud-platform", "not a regular file"],
            ),
            (
                "a name no file can have",
                |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("x".repeat(300))),
                "RUN_FACTS_INVALID",
                &["store/xxx", "too long"],
            ),
            ("no JSON", |s, _| s.put(&format!("store/{FACTS}"), "{"), "RUN_FACTS_INVALID", &[FACTS]),
            ("a list", |s, _| s.put(&format!("store/{FACTS}"), "[]"), "RUN_FACTS_INVALID", &[FACTS]),
            (
                "too deep",
                |s, _| s.put(&format!("store/{FACTS}"), format!("{}{}", "[".repeat(5000), "]".repeat(5000))),
                "RUN_FACTS_INVALID",
                &[FACTS],
            ),
            (
                "too large",
                |s, _| s.put(&format!("store/{FACTS}"), format!("{{\"run_id\":\"{}\"}}", "x".repeat(5 << 20))),
                "RUN_FACTS_INVALID",
                &[FACTS],
            ),
            ("a key too much", |s, _| s.edit_facts(|f| f["more"] = json!(1)), "RUN_FACTS_INVALID", &[FACTS, "more"]),
            (
                "a pin too much",
                |s, _| s.edit_facts(|f| f["pins"]["more"] = json!(1)),
                "RUN_FACTS_INVALID",
                &[FACTS, "more"],
            ),
            (
                "a seed past 64 bits",
                |s, _| s.edit_facts(|f| f["pins"]["seed"] = json!(1e30)),
                "RUN_FACTS_INVALID",
                &[FACTS, "seed"],
            ),
        ],
    );
}

fn engine_root(stage: &Stage, gate: &str, root: &str) {
    let set = |object: &mut Value| object["oracle_pack_ref"]["engine_run_root"] = root.into();
    stage.edit_ready(set);
    stage.edit_facts(set);
    stage.profile(gate, |profile| profile["wiring"]["oracle_root"] = "world".into());
}

#[test]
fn a_ref_that_leaves_its_root_is_refused() {
    const FIELD: &[&str] = &["facts_view_ref"];
    all_refused(
        Came::Nowhere,
        &[
            ("up", |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("../facts.json")), "REF_OUTSIDE_ROOT", FIELD),
            (
                "up from within",
                |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("a/../../facts.json")),
                "REF_OUTSIDE_ROOT",
                FIELD,
            ),
            (
                "absolute",
                |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("/etc/passwd")),
                "REF_OUTSIDE_ROOT",
                FIELD,
            ),
            (
                "elsewhere",
                |s, _| s.edit_ready(|r| r["facts_view_ref"] = json!("s3://other/facts.json")),
                "REF_OUTSIDE_ROOT",
                FIELD,
            ),
            (
                "through a link",
                |s, _| {
                    s.put("outside/facts.json", "{}");
                    std::os::unix::fs::symlink(s.path("outside"), s.path("store/link")).unwrap();
                    s.edit_ready(|r| r["facts_view_ref"] = json!("link/facts.json"));
                },
                "REF_OUTSIDE_ROOT",
                &["link"],
            ),
        ],
    );
    all_refused(
        Came::Seen,
        &[
            ("engine root up", |s, g| engine_root(s, g, "../world"), "REF_OUTSIDE_ROOT", &["engine_run_root"]),
            (
                "engine root elsewhere",
                |s, g| engine_root(s, g, "/etc"),
                "REF_OUTSIDE_ROOT",
                &["/etc", "engine_run_root"],
            ),
        ],
    );
}

#[test]
fn a_run_without_scenario_or_engine_root_is_cancelled() {
    fn without_pack_ref(object: &mut Value) {
        object.as_object_mut().unwrap().remove("oracle_pack_ref");
    }
    let no_scenario: &[Case] = &[
        (
            "READY",
            |s, _| s.edit_ready(|r| drop(r.as_object_mut().unwrap().remove("scenario_id"))),
            "SCENARIO_ID_MISSING",
            &["scenario_id", "READY"],
        ),
        (
            "facts",
            |s, _| s.edit_facts(|f| drop(f["pins"].as_object_mut().unwrap().remove("scenario_id"))),
            "SCENARIO_ID_MISSING",
            &["scenario_id", "facts"],
        ),
    ];
    all_refused(Came::Cancelled, no_scenario);
    all_refused(
        Came::SeenCancelled,
        &[(
            "nobody says where",
            |s, _| {
                s.edit_ready(without_pack_ref);
                s.edit_facts(without_pack_ref);
            },
            "ENGINE_ROOT_MISSING",
            &["engine run root"],
        )],
    );
}

#[test]
fn a_ready_too_old_is_refused() {
    fn aged(stage: &Stage, gate: &str, seconds: f64) {
        stage.edit_ready(|ready| ready["emitted_at_utc"] = "2020-01-01T00:00:00Z".into());
        stage.profile(gate, |profile| profile["policy"]["ready_max_age_seconds"] = seconds.into());
    }
    all_refused(
        Came::Seen,
        &[
            ("by age", |s, g| aged(s, g, 3600.0), "READY_TOO_OLD", &["emitted_at_utc", "2020-01-01"]),
            (
                "without a time",
                |s, g| {
                    aged(s, g, 3600.0);
                    s.republish(|message| {
                        message.as_object_mut().unwrap().remove("published_at_utc");
                        message["payload"].as_object_mut().unwrap().remove("emitted_at_utc");
                    });
                },
                "READY_TOO_OLD",
                &["emitted_at_utc"],
            ),
        ],
    );
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    aged(&stage, &gate.url, 1e9);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""), "the age is what is judged");
}

#[test]
fn a_run_that_was_streamed_is_not_streamed_under_another_message() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let other = "1".repeat(64);
    stage.republish_as(&other, |_| {});
    let ran = stage.run_once();
    let verdict = |status: &str| ran.verdicts.iter().find(|verdict| verdict["status"] == status).unwrap();
    assert_eq!((ran.code, ran.verdicts.len()), (Some(1), 2), "{}", ran.stderr);
    assert_eq!(verdict("SKIPPED_DUPLICATE")["message_id"], MESSAGE);
    assert_eq!(verdict("FAILED")["message_id"], other);
    assert_eq!(verdict("FAILED")["reason"], "RUN_ALREADY_STREAMED");
    assert!(ran.refusal().contains(MESSAGE), "the message that streamed is named");
    let record = stage.record_of(&other);
    assert_eq!(&record, &[verdict("FAILED").clone()]);
    let families: Vec<_> = stage.governance().iter().map(|fact| fact["event_family"].clone()).collect();
    assert_eq!(families, ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED", "RUN_READY_SEEN"]);
    assert_eq!((gate.requests(), stage.record().len()), (250, 1));
}

/// A cap ends a start, not the run: another READY goes on at the checkpoint, and the end of that one is the run's.
#[test]
fn a_capped_run_goes_on_under_another_message() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let run = |args: &[&str]| {
        let args = [RUN_ONCE, args].concat();
        Ran::of(stage.wsp(&args).env("WSP_MAX_EVENTS_PER_OUTPUT", "0").output().unwrap())
    };
    let republish = |n: &str| {
        let id = n.repeat(64);
        stage.republish_as(&id, |_| {});
        id
    };
    let of = |ran: &Ran, id: &str| {
        let verdict = ran.verdicts.iter().find(|verdict| verdict["message_id"] == id).unwrap();
        let text = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), verdict["emitted"].as_u64().unwrap())
    };
    let streamed = |emitted| ("STREAMED".to_owned(), String::new(), emitted);
    assert_eq!(of(&run(&["--max-events", "100"]), MESSAGE), streamed(100));
    // The same READY is a duplicate, as with the legacy producer.
    assert_eq!(run(&[]).verdict(), ("SKIPPED_DUPLICATE", ""));
    let second = republish("1");
    assert_eq!(of(&run(&["--max-events", "20", "--max-messages", "0"]), &second), streamed(20));
    let third = republish("2");
    assert_eq!(of(&run(&["--max-events", "0"]), &third), streamed(130));
    let fourth = republish("3");
    assert_eq!(of(&run(&[]), &fourth), ("FAILED".to_owned(), "RUN_ALREADY_STREAMED".to_owned(), 0));
    let sent: Vec<serde_json::Value> = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    assert_eq!(sent, kit::canonical(), "every event once, in order");
    let ends: Vec<_> = stage.governance().into_iter().filter(|fact| fact["event_family"] == "RUN_ENDED").collect();
    let told = |fact: &serde_json::Value| (fact["details"]["end"].clone(), fact["details"]["resumed_rows"].clone());
    let ends: Vec<_> = ends.iter().map(told).collect();
    assert_eq!(ends, [(json!("capped"), json!(null)), (json!("capped"), json!(100)), (json!("complete"), json!(120))]);
}

/// Another run's READY: the fact lies in that run's folder with that run's pins, the record with the run that met it, so
/// that neither run's readers find the other's, and the other run's own producer streams it all the same.
#[test]
fn a_foreign_run_is_passed_over_and_told_where_it_belongs() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let other = "platform_20990101T000000Z";
    let run = || {
        let ran = stage.wsp(RUN_ONCE).env("PLATFORM_RUN_ID", other).output();
        Ran::of(ran.unwrap())
    };
    let ran = run();
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("SKIPPED_OUT_OF_SCOPE", "PLATFORM_RUN_SCOPE_MISMATCH")));
    let refusal = ran.refusal();
    assert!(refusal.contains(RUN) && refusal.contains(other), "{refusal}");
    let facts = stage.governance();
    let [cancelled] = facts.as_slice() else { panic!("{facts:?}") };
    let golden: Value = json_lines(&golden().join("ready/governance_events.jsonl"))[0].clone();
    assert_eq!(cancelled["event_family"], "RUN_CANCELLED");
    assert_eq!(cancelled["pins"], golden["pins"], "the seed, too, as a text");
    assert_eq!(
        cancelled["details"],
        json!({"message_id": MESSAGE, "reason": "PLATFORM_RUN_SCOPE_MISMATCH", "active_platform_run_id": other})
    );
    let id = cancelled["event_id"].as_str().unwrap();
    for (kind, object) in [("events", "the fact"), ("markers", "its marker")] {
        assert!(stage.evidence(&format!("obs/governance/{kind}/{id}.json")).exists(), "{object}");
    }
    let evidence = stage.path("store/fraud-platform").join(other);
    assert!(!evidence.join("obs").exists(), "the active run's folder holds none of another's");
    let record = || json_lines(&evidence.join(format!("wsp/ready_runs/{MESSAGE}.jsonl")));
    assert_eq!(record(), ran.verdicts);

    let again = run();
    assert_eq!((again.code, again.verdict()), (Some(3), ("SKIPPED_DUPLICATE", "")));
    assert_eq!((record().len(), stage.governance().len(), gate.requests()), (1, 1, 0));

    // Its own producer takes it for what it is, and its evidence holds together with the fact beside it.
    let own = stage.run_once();
    assert_eq!((own.code, own.verdict(), gate.requests()), (Some(0), ("STREAMED", ""), 250), "{}", own.stderr);
    let verified = stage.wsp(&["verify", "--profile", "profile.yaml"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Where the foreign run's facts can't be told, the fact says what READY says.
#[test]
fn a_foreign_ready_without_its_facts_is_cancelled_without_a_seed() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.remove(&format!("store/{FACTS}"));
    let mut wsp = stage.wsp(RUN_ONCE);
    let ran = Ran::of(wsp.env("PLATFORM_RUN_ID", "platform_20990101T000000Z").output().unwrap());
    assert_eq!(ran.verdict().0, "SKIPPED_OUT_OF_SCOPE", "{}", ran.stderr);
    let facts = stage.governance();
    assert_eq!(
        (facts.len(), &facts[0]["pins"]["platform_run_id"], &facts[0]["pins"]["seed"]),
        (1, &RUN.into(), &Value::Null)
    );
    assert!(ran.stderr.contains("RUN_FACTS_INVALID"), "{}", ran.stderr);
}

/// READYs of other runs before and behind the one that is due change nothing about its success.
#[test]
fn a_run_among_foreign_ones_is_streamed_and_that_is_success() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    for digit in ["0", "f"] {
        stage
            .republish_as(&digit.repeat(64), |payload| payload["platform_run_id"] = "platform_20990101T000000Z".into());
    }
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdicts.len(), gate.requests()), (Some(0), 3, 250), "{}", ran.stderr);
}

/// A reason without a test of the program is a reason nobody has seen.
#[test]
fn each_reason_is_wanted_by_a_test_of_the_program() {
    // The library's own tests see these: no doctored folder brings them about at a known instant.
    // Producer and allowlist have defaults, so that nothing of them can be missing.
    let elsewhere = [
        "STREAM_VIEW_CHANGED",
        "CHECKPOINT_LEASE_LOST",
        "INTERNAL_ERROR",
        "PRODUCER_ID_MISSING",
        "PRODUCER_ALLOWLIST_MISSING",
    ];
    let folder = crate::kit::repository("tests");
    let hostile = ["ready", "world", "rows", "gate", "checkpoint"].map(|name| format!("hostile/{name}.rs"));
    let program = ["refusals", "refusals/wiring", "required_packs", "evidence", "evidence/refused", "shared_lanes"]
        .map(|name| format!("program/{name}.rs"));
    let names = hostile.iter().chain(&program);
    let tests: String = names.map(|name| std::fs::read_to_string(folder.join(name)).unwrap()).collect();
    let codes =
        wsp_world::model::Reason::ALL.iter().map(|reason| reason.code()).filter(|code| !elsewhere.contains(code));
    let unseen: Vec<_> = codes.filter(|code| !tests.contains(&format!("\"{code}\""))).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

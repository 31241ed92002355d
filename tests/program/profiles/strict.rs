//! Strict profiles: everything is remote, nothing that protects a run is off, and it is said before anything is read.
//!
//! ```text
//! a dev_min profile, one thing wrong ──► validate, plan, run ──► exit 2, the place by name; no gate, no file touched
//! ```

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::{self, KEY, RUN, Stage};

const DSN: &str = "postgresql://wsp:hunter2@db.internal:5432/wsp?sslmode=verify-full";
const SECRETS: [&str; 3] = ["hunter2", KEY, "kafka-hunter3"];

/// A gate, and a stage with a profile of `dev_min` in which nothing is wrong but for `change`.
pub(crate) fn strict(id: &str, change: impl FnOnce(&mut Value)) -> (CaptureGate, Stage) {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["profile_id"] = id.into();
        profile["policy"]["stream_speedup"] = json!(1);
        profile["wiring"]["object_store"] = json!({"root": "s3://bucket/store", "kind": "s3"});
        profile["wiring"]["control_bus"] = json!({"kind": "kafka"});
        profile["wiring"]["wsp_checkpoint"] = json!({"backend": "postgres", "dsn": DSN});
        change(profile);
    });
    (gate, stage)
}

pub(crate) fn command(stage: &Stage, args: &[&str]) -> Command {
    let mut command = stage.wsp(args);
    command.args(["--profile", "profile.yaml"]).env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    command.env("WSP_READY_REQUIRED_PACKS", "");
    command.env("KAFKA_SASL_USERNAME", "wsp").env("KAFKA_SASL_PASSWORD", "kafka-hunter3");
    command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "key").env("AWS_REGION", "us-east-1");
    command
}

/// What a command said on stderr, after checking that it refused the profile.
fn refused(command: &mut Command, case: &str) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{case}: {err}");
    for secret in SECRETS {
        assert!(!err.contains(secret), "{case}: {err}");
    }
    err
}

/// Every command that takes a profile refuses it, names the place, and leaves nothing behind.
fn every_command_refuses(gate: &CaptureGate, stage: &Stage, names: &[&str], case: &str) {
    let before = stage.files();
    for args in [&["validate"][..], &["plan"], &["plan", "--json"], &["run", "--once"], &["checkpoint", "show"]] {
        let err = refused(&mut command(stage, args), case);
        for name in names {
            assert!(err.contains(name), "{case}: {name} is not named by {args:?}: {err}");
        }
    }
    assert_eq!((stage.files(), gate.requests()), (before, 0), "{case}");
}

#[test]
fn a_remote_profile_is_in_order() {
    for id in ["dev_min", "dev_full", "dev", "prod", "production", "staging", "Local"] {
        let (_gate, stage) = strict(id, |_| {});
        let output = command(&stage, &["validate"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{id}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_path_of_this_machine_is_refused_in_every_place() {
    let places = [
        "wiring.object_store.root",
        "wiring.oracle_root",
        "wiring.oracle_engine_run_root",
        "wiring.oracle_stream_view_root",
    ];
    for place in places {
        for path in ["world", "./world", "/tmp", "file:///tmp", "link", "S3://bucket", "http://bucket/x"] {
            let (gate, stage) = strict("dev_min", |profile| {
                let pointer = format!("/{}", place.replace('.', "/"));
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                profile.pointer_mut(parent).unwrap()[key] = path.into();
                // With a bucket, a root that is no address would be a prefix in it.
                profile["wiring"]["object_store"].as_object_mut().unwrap().remove("kind");
            });
            // A link to a folder, and a folder whose name reads like an address, are paths all the same.
            symlink(stage.path("world"), stage.path("link")).unwrap();
            every_command_refuses(&gate, &stage, &[place, path, "s3://"], &format!("{place} {path}"));
        }
    }
}

#[test]
fn control_bus_and_checkpoints_have_to_be_remote() {
    let cases: [(&str, fn(&mut Value), &str); 13] = [
        ("file bus", |w| w["control_bus"] = json!({"kind": "file", "root": "control_bus"}), "wiring.control_bus.kind"),
        ("files", |w| w["wsp_checkpoint"] = json!({"backend": "file"}), "wiring.wsp_checkpoint.backend"),
        ("default", |w| w["wsp_checkpoint"] = json!({}), "wiring.wsp_checkpoint.backend"),
        ("socket", |w| w["wsp_checkpoint"]["dsn"] = "host=/tmp user=wsp".into(), "wiring.wsp_checkpoint.dsn"),
        ("socket in a URL", |w| w["wsp_checkpoint"]["dsn"] = "postgresql://wsp@%2Ftmp/x".into(), "wsp_checkpoint.dsn"),
        ("no DSN", |w| w["wsp_checkpoint"] = json!({"backend": "postgres"}), "CHECKPOINT_DSN_MISSING"),
        ("plain http", |w| w["ig_ingest_url"] = "http://ig.example".into(), "wiring.ig_ingest_url"),
        ("capitals", |w| w["ig_ingest_url"] = "HTTP://ig.example".into(), "wiring.ig_ingest_url"),
        ("a blank", |w| w["ig_ingest_url"] = " http://ig.example".into(), "wiring.ig_ingest_url"),
        ("plain S3", |w| w["object_store"]["endpoint"] = "http://minio:9000".into(), "wiring.object_store.endpoint"),
        ("no TLS", |w| w["wsp_checkpoint"]["dsn"] = "postgres://u:hunter2@db/x".into(), "wsp_checkpoint.dsn"),
        ("no name", |w| w["wsp_checkpoint"]["dsn"] = "host=db sslmode=require".into(), "wsp_checkpoint.dsn"),
        ("no key", |w| w["security"] = json!({}), "IG_API_KEY"),
    ];
    for (case, change, name) in cases {
        let (gate, stage) = strict("dev_min", |profile| change(&mut profile["wiring"]));
        every_command_refuses(&gate, &stage, &[name], case);
    }
}

#[test]
fn nothing_that_protects_a_run_can_be_switched_off_or_left_out() {
    let cases: [(&str, fn(&mut Value), &str); 2] = [
        ("no seal", |p| p["policy"]["require_seal"] = false.into(), "policy.require_seal"),
        ("no gates", |p| p["policy"]["require_gate_pass"] = "false".into(), "policy.require_gate_pass"),
    ];
    for (case, change, name) in cases {
        let (gate, stage) = strict("prod", change);
        every_command_refuses(&gate, &stage, &[name], case);
    }
    let (_gate, stage) = strict("dev_min", |_| {});
    for name in [
        "PLATFORM_RUN_ID",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
        "WSP_READY_REQUIRED_PACKS",
    ] {
        let err = refused(command(&stage, &["run", "--once"]).env_remove(name), name);
        assert!(err.contains(name), "{err}");
    }
}

/// An operator's leave is a word in the profile, and the evidence has it.
#[test]
fn what_goes_out_in_clear_by_leave_is_on_record() {
    let (_gate, stage) = strict("staging", |profile| {
        profile["wiring"]["security"]["allow_plaintext"] = json!(["postgres", "kafka"]);
        profile["wiring"]["wsp_checkpoint"]["dsn"] = "postgresql://wsp:hunter2@db.internal/wsp".into();
    });
    let mut validate = command(&stage, &["validate"]);
    let output = validate.env("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    // A local profile may have the word too; here it is what a run writes.
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| profile["wiring"]["security"]["allow_plaintext"] = json!("kafka, ig"));
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let start = kit::read(&stage.path(&format!("store/fraud-platform/{RUN}/wsp/wsp_start.json")));
    let start: Value = serde_json::from_slice(&start).unwrap();
    let waived = |check: &&Value| check["name"] == "plaintext";
    let check = start["checks"].as_array().unwrap().iter().find(waived).unwrap();
    assert_eq!(check["status"], "waived");
    assert_eq!(check["detail"], "allowed by wiring.security.allow_plaintext: ig, kafka");
}

/// What is another component's passes; a typo in what is ours is named, with the right word.
#[test]
fn the_platforms_own_form_is_read_and_a_typo_in_it_is_named() {
    let foreign = |profile: &mut Value| {
        profile["scenario_runner"] = json!({"authority_store": "postgres", "lease_seconds": 30});
        profile["event_bus"] = json!({"kind": "kinesis", "stream": "fp", "retry": {"max_atempts": 1}});
        profile["policy"]["ig_dedupe_window"] = json!([1, 2]);
        profile["policy"]["partitioning_profiles_ref"] = "config/ig/partitioning.yaml".into();
        profile["wiring"]["event_bus"] = json!({"root": "/tmp", "flush_evry": 3});
        profile["wiring"]["ig_admission_db"] = "sqlite:///tmp/ig.db".into();
        profile["wiring"]["security"]["auth_mode"] = "api_key".into();
        profile["wiring"]["object_store"]["lifecycle"] = json!({"days": 3});
    };
    let (_gate, stage) = strict("dev_min", foreign);
    let output = command(&stage, &["validate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    for (block, typo, right) in [
        ("wsp_checkpoint", "flush_evry", "flush_every"),
        ("wsp_checkpoint", "outage_limit_second", "outage_limit_seconds"),
        ("wsp_producer", "allowlist", "allowlist_ref"),
        ("wsp_retry", "max_atempts", "max_attempts"),
        ("wsp_delivery", "inflight", "in_flight"),
    ] {
        let (gate, stage) = strict("dev_min", |profile| {
            foreign(profile);
            profile["wiring"][block][typo] = 3.into();
        });
        let said = format!("wiring.{block}.{typo} is not a setting; did you mean `{right}`?");
        every_command_refuses(&gate, &stage, &[&said], typo);
    }
}

/// A profile that can't even be read may hold secrets where nobody expects them.
#[test]
fn no_error_about_a_profile_shows_what_stands_in_it() {
    let broken = [
        "profile_id: dev_min\nwiring:\n  wsp_checkpoint:\n    dsn: \"postgresql://wsp:hunter2@db/x\n",
        "profile_id: dev_min\nwiring:\n  security: {wsp_auth_token: hunter2\n  ig_ingest_url: [\n",
        "profile_id: dev_min\nwiring:\n  security:\n    wsp_auth_token: hunter2\n   ig_ingest_url: x\n",
        "profile_id: dev_min\nwiring:\n  security:\n    wsp_auth_token: hunter2\n    wsp_auth_token: hunter2\n",
        "profile_id: dev_min\nwiring:\n  security:\n    wsp_auth_token: {hunter2: hunter2}\n",
        "profile_id: dev_min\nwiring:\n  security:\n    wsp_auth_token: *hunter2\n",
        "hunter2",
    ];
    let (_gate, stage) = strict("dev_min", |_| {});
    for text in broken {
        stage.put("profile.yaml", text);
        for args in [&["validate"][..], &["plan", "--json"], &["run", "--once"]] {
            let err = refused(&mut command(&stage, args), text);
            assert!(err.contains("profile.yaml"), "{err}");
        }
    }
}

//! Refusals whose cause lies in the profile: what it refers to, what it lacks, and parts that cannot be reached with it.

use serde_json::json;

use super::ARRIVALS;
use crate::kit::capture::CaptureGate;
use crate::kit::refused::{Came, all_refused};
use crate::kit::{self, FRAUD, RUN_ONCE, Ran, Stage};

#[test]
fn what_the_profile_refers_to_is_judged_when_a_run_comes() {
    fn catalogue(stage: &Stage, gate: &str, edit: impl FnOnce(String) -> String) {
        let config = crate::kit::repository("config/oracle");
        let text = std::fs::read_to_string(config.join("engine_outputs.catalogue.yaml")).unwrap();
        stage.put("catalogue/engine_outputs.catalogue.yaml", edit(text));
        stage.put("catalogue/engine_gates.map.yaml", kit::read(&config.join("engine_gates.map.yaml")));
        let path = "catalogue/engine_outputs.catalogue.yaml";
        stage.profile(gate, |profile| profile["wiring"]["engine_catalogue_path"] = path.into());
    }
    all_refused(
        Came::Started,
        &[
            (
                "no traffic",
                |s, g| s.profile(g, |p| p["policy"]["traffic_output_ids"] = json!([])),
                "NO_TRAFFIC_OUTPUTS",
                &["traffic_output_ids"],
            ),
            (
                "one traffic twice",
                |s, g| s.profile(g, |p| p["policy"]["traffic_output_ids"] = json!([FRAUD, FRAUD])),
                "NO_TRAFFIC_OUTPUTS",
                &["traffic_output_ids", FRAUD],
            ),
            (
                "nobody allowed",
                |s, _| s.put("producers.txt", "# none\n"),
                "PRODUCER_ALLOWLIST_EMPTY",
                &["producers.txt"],
            ),
            ("no allowlist", |s, _| s.remove("producers.txt"), "PRODUCER_ALLOWLIST_UNREADABLE", &["producers.txt"]),
            ("bytes", |s, _| s.put("producers.txt", b"\xff\xfe"), "PRODUCER_ALLOWLIST_UNREADABLE", &["producers.txt"]),
            (
                "others allowed",
                |s, _| s.put("producers.txt", "svc:other\n"),
                "PRODUCER_NOT_ALLOWED",
                &["producers.txt", "svc:world_stream_producer"],
            ),
            ("no YAML", |s, g| catalogue(s, g, |_| "outputs: [".to_owned()), "CATALOGUE_INVALID", &["catalogue"]),
            (
                "no entry",
                |s, g| catalogue(s, g, |text| text.replace("output_id: arrival_events_5B", "output_id: other")),
                "CATALOGUE_INVALID",
                &[ARRIVALS],
            ),
            (
                "no key",
                |s, g| catalogue(s, g, |text| text.replace("flow_id, event_seq]", "flow_id, flow_id]")),
                "CATALOGUE_INVALID",
                &[FRAUD, "primary_key"],
            ),
            (
                "no gate map",
                |s, g| {
                    catalogue(s, g, |text| text);
                    s.remove("catalogue/engine_gates.map.yaml");
                },
                "CATALOGUE_INVALID",
                &["engine_gates.map.yaml"],
            ),
            (
                "a gate nobody knows",
                |s, g| catalogue(s, g, |text| text.replace("gate.layer2.5B.validation", "gate.other")),
                "CATALOGUE_INVALID",
                &["gate.other"],
            ),
        ],
    );
}

/// What a profile lacks is no run's fault: it is told before any READY is looked at, all of it at once.
#[test]
fn a_profile_that_lacks_something_is_a_usage_error_that_names_everything() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["wiring"]["wsp_checkpoint"] = json!({"backend": "postgres"});
        profile["wiring"]["security"] = json!({});
        profile["wiring"]["control_bus"] = json!({"kind": "kafka"});
    });
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdicts.len()), (Some(2), 0), "{}", ran.stderr);
    for name in [
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
        "CHECKPOINT_DSN_MISSING",
        "IG_API_KEY",
    ] {
        assert!(ran.stderr.contains(name), "{name} in {}", ran.stderr);
    }
    assert!(ran.stderr.contains("5 problems"), "{}", ran.stderr);
    stage.profile(&gate.url, |profile| profile["wiring"]["control_bus"] = json!({"kind": "kinesis"}));
    let ran = stage.run_once();
    let missing = "CONTROL_BUS_STREAM_MISSING";
    assert!(ran.code == Some(2) && ran.stderr.contains(missing), "{}", ran.stderr);
    assert_eq!((gate.requests(), stage.record(), stage.governance()), (0, vec![], vec![]));
}

/// Kafka settings that can't work, and a DSN that is none, are told without a look at any READY or event.
#[test]
fn wiring_that_cannot_work_is_refused_by_name_and_shows_no_secret() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| profile["wiring"]["control_bus"] = json!({"kind": "kafka"}));
    let mut run = stage.wsp(RUN_ONCE);
    run.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1").env("KAFKA_SASL_PASSWORD", "hunter2");
    let ran = Ran::of(run.output().unwrap());
    assert_eq!((ran.code, ran.verdicts.len()), (Some(2), 0), "{}", ran.stderr);
    let reason = "CONTROL_TOPIC_UNREACHABLE";
    assert!(ran.stderr.contains(reason) && ran.stderr.contains("KAFKA_SASL_USERNAME"), "{}", ran.stderr);

    stage.profile(&gate.url, |profile| {
        profile["wiring"]["wsp_checkpoint"] =
            json!({"backend": "postgres", "dsn": "postgresql://wsp:hunter2@:no-port/x"});
    });
    let (refused, reason) = (stage.run_once(), "CHECKPOINT_DSN_INVALID");
    assert_eq!((refused.code, refused.verdicts.len()), (Some(2), 0), "{}", refused.stderr);
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert!(!ran.stderr.contains("hunter2") && !refused.stderr.contains("hunter2"));
    assert_eq!(gate.requests(), 0);
}

/// A service whose control topic is lost for good ends, and not as if all were well: nobody would start it again.
#[test]
fn a_service_that_can_not_read_its_topic_with_these_settings_fails() {
    // A server that speaks no TLS, where the settings say that it does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let stage = Stage::golden("http://127.0.0.1:9");
    stage.profile("http://127.0.0.1:9", |profile| profile["wiring"]["control_bus"] = json!({"kind": "kafka"}));
    for bound in [&[][..], &["--max-messages", "1"]] {
        let mut run = stage.wsp(&[&["run", "--profile", "profile.yaml"], bound].concat());
        run.env("KAFKA_BOOTSTRAP_SERVERS", &address).env("KAFKA_SASL_USERNAME", "wsp").env("KAFKA_SASL_PASSWORD", "x");
        let ran = Ran::of(run.output().unwrap());
        assert_eq!((ran.code, ran.verdicts.len()), (Some(1), 0), "{bound:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("wsp: CONTROL_TOPIC_UNREACHABLE"), "{bound:?}: {}", ran.stderr);
    }
}

/// A database that is away when READY comes is no verdict on the run: READY waits, and a Job starts again.
#[test]
fn a_checkpoint_database_that_is_away_defers_the_run() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["wiring"]["wsp_checkpoint"] =
            json!({"backend": "postgres", "dsn": "postgresql://wsp:hunter2@127.0.0.1:1/wsp?sslmode=disable"});
    });
    let ran = stage.run_once();
    let deferred = (Some(3), ("DEFERRED_DOWNSTREAM_NOT_READY", "CHECKPOINT_UNAVAILABLE"));
    assert_eq!((ran.code, ran.verdict()), deferred, "{}", ran.stderr);
    assert_eq!((gate.requests(), stage.record()), (0, vec![]));
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let families: Vec<_> = stage.governance().iter().map(|fact| fact["event_family"].clone()).collect();
    assert_eq!(families, ["RUN_READY_SEEN"], "it was not started");
}

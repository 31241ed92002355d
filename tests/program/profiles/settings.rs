//! Every setting with a value that can't be used: `validate` and `run` refuse it in the same words.

use std::process::Command;

use serde_json::{Value, json};
use wsp_world::profile::settings::{self as s, ALL, Setting};

use crate::kit::capture::CaptureGate;
use crate::kit::{KEY, Stage};

const DSN: &str = "postgresql://wsp:hunter2@127.0.0.1:1/wsp?sslmode=verify-full";

/// Values that are refused beside those of a wrong form and out of bounds. A text setting that takes any text has none.
fn bad(setting: &Setting) -> &'static [&'static str] {
    const SWITCH: &[&str] = &["maybe", "2"];
    const FILE: &[&str] = &["not/there.yaml"];
    const TIME: &[&str] = &["noon", "2026-13-01T00:00:00Z"];
    const URL: &[&str] = &[
        "ftp://host",
        "host:8081",
        "http:host",
        "http://",
        "http://host:0",
        "http://host:65536",
        "http://host:port",
        "http://user:hunter2@host",
        "https://hunter2@host",
        "http://host/#hunter2",
        "http://host/?key=hunter2",
        "http://ho st",
    ];
    let table: &[(Setting, &'static [&'static str])] = &[
        (s::FOLDER, &["not/there"]),
        (s::REQUIRE_GATE_PASS, SWITCH),
        (s::REQUIRE_SEAL, SWITCH),
        (s::STOP_ON_NONRETRYABLE, SWITCH),
        (s::LATE, &["later"]),
        (s::STREAM_SPEEDUP, &["1e-9", "NaN", "fast"]),
        (s::TRAFFIC_OUTPUT_IDS_REF, FILE),
        (s::CONTEXT_OUTPUT_IDS_REF, FILE),
        (s::CONTEXT_OUTPUT_IDS_BASELINE_REF, FILE),
        (s::STORE_ROOT, &["ftp://host/x", "s3://user:hunter2@bucket/x", "s3://No_Bucket"]),
        (s::STORE_KIND, &["ftp"]),
        (s::STORE_ENDPOINT, URL),
        (s::STORE_PATH_STYLE, SWITCH),
        (s::CONTROL_BUS_KIND, &["pigeon", "KAFKA"]),
        (s::CONTROL_BUS_ENDPOINT, URL),
        (s::KAFKA_SERVERS, &["host:0", "host:65536", "user:hunter2@host:9092", "http://host/x"]),
        (s::KAFKA_SECURITY, &["TLS", "SASL_SSL;", "none"]),
        (s::KAFKA_MECHANISM, &["GSSAPI", "plain text"]),
        (s::KAFKA_CA, &["not/there.pem"]),
        (s::ORACLE_ROOT, &["ftp://host/x", "s3://user:hunter2@bucket"]),
        (s::ORACLE_ENGINE_RUN_ROOT, &["ftp://host/x", "s3://user:hunter2@bucket"]),
        (s::ORACLE_STREAM_VIEW_ROOT, &["ftp://host/x", "s3://user:hunter2@bucket"]),
        (s::ORACLE_SCENARIO_ID, &["a\u{7}b"]),
        (s::IG_INGEST_URL, URL),
        (s::CA_FILE, &["not/there.pem"]),
        (s::CLIENT_CERT_FILE, &["not/there.pem"]),
        (s::CLIENT_KEY_FILE, &["not/there.pem"]),
        (
            s::API_KEY_HEADER,
            &[
                "bad header",
                "X-Key:",
                "Content-Length",
                "transfer-encoding",
                "HOST",
                "Connection",
                "TE",
                "Content-Type",
            ],
        ),
        (s::AUTH_TOKEN, &["hunter2\n", "hunter2\r\nX-Admin: 1", " hunter2", "hunter2 ", "hünter2"]),
        (s::ALLOW_PLAINTEXT, &["all", "ig, kafka, IG"]),
        (s::CHECKPOINT_BACKEND, &["redis"]),
        (
            s::CHECKPOINT_DSN,
            &[
                "postgresql://wsp:hunter2@:no-port/x",
                "mysql://wsp:hunter2@db/x",
                "host=db password=hunter2 sslmode=sometimes",
                "host=db password=hunter2 colour=blue",
                "password=hunter2",
                "postgresql://wsp:hunter2@db/x?sslmode=verify-full&sslrootcert=/not/there.pem",
            ],
        ),
        (s::DELIVERY_MODE, &["any"]),
        (s::ADAPTIVE, SWITCH),
        (s::MAX_EVENTS_PER_OUTPUT, &["many", "-1", "1.5", "18446744073709551616"]),
        (s::LANE_INDEX, &["1", "-1", "one"]),
        (s::LANE_BY, &["merchant"]),
        (s::LANES_BY, &["merchant"]),
        (s::TARGET_EPS, &["1e-9", "-1"]),
        (s::RATE_PLAN_JSON, &["[]", "{", "[{\"start_offset_seconds\":0,\"target_eps\":0}]", "[{\"eps\":1}]"]),
        (s::RATE_PLAN_START_UTC, TIME),
        (s::CAMPAIGN_START_UTC, TIME),
        (s::NO_REPLAY_DELAY_WITH_PLAN, SWITCH),
        (s::TELEMETRY_LISTEN, &["here", "127.0.0.1", "127.0.0.1:65536"]),
        (s::PLATFORM_RUN_ID, &["run-1", "../platform_20260101T000000Z"]),
        (s::REQUIRE_ACTIVE_RUN_MATCH, SWITCH),
    ];
    table.iter().find(|(other, _)| other.name() == setting.name()).map_or(&[], |(_, values)| *values)
}

/// Settings without a typed value: any text will do, or the file that they name is the run's verdict to give.
const ANY_TEXT: [Setting; 26] = [
    s::PROFILE_ID,
    s::POLICY_REV,
    s::STORE_BUCKET,
    s::STORE_REGION,
    s::CONTROL_BUS_ROOT,
    s::CONTROL_BUS_TOPIC,
    s::CONTROL_BUS_STREAM,
    s::CONTROL_BUS_REGION,
    s::KAFKA_AWS_REGION,
    s::KAFKA_USERNAME,
    s::KAFKA_PASSWORD,
    s::KAFKA_AWS_REGION,
    s::KAFKA_GROUP,
    s::LANES_TOPIC,
    s::CATALOGUE_PATH,
    s::CHECKPOINT_ROOT,
    s::ATTEMPT_ID,
    s::PRODUCER_ID,
    s::PRODUCER_ALLOWLIST_REF,
    s::REQUIRED_PACKS,
    s::HTTPS_PROXY,
    s::HTTP_PROXY,
    s::ALL_PROXY,
    s::NO_PROXY,
    s::SERVICE_RELEASE_ID,
    s::ENVIRONMENT,
];

/// A stage on which every setting of `setting`'s kind is read, and nothing is wrong but for `value`.
fn stage(gate: &CaptureGate, setting: &Setting, value: Option<&Value>) -> Stage {
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        let name = setting.name();
        let wiring = &mut profile["wiring"];
        if name.starts_with("KAFKA") || name.contains("WSP_READY_SESSION") || name.contains("WSP_READY_GROUP") {
            wiring["control_bus"] = json!({"kind": "kafka"});
        } else if [s::CONTROL_BUS_STREAM, s::CONTROL_BUS_REGION, s::CONTROL_BUS_ENDPOINT]
            .iter()
            .any(|k| k.name() == name)
        {
            wiring["control_bus"] = json!({"kind": "kinesis", "stream": "s"});
        }
        if [s::CHECKPOINT_DSN, s::CHECKPOINT_LEASE, s::CHECKPOINT_OUTAGE].iter().any(|known| known.name() == name) {
            wiring["wsp_checkpoint"] = json!({"backend": "postgres", "dsn": DSN});
        }
        let baseline = "s2_event_stream_baseline_6B";
        if name == s::CONTEXT_OUTPUT_IDS_BASELINE_REF.name() {
            profile["policy"]["traffic_output_ids"] = json!([baseline]);
        }
        if name == s::TRAFFIC_OUTPUT_IDS_REF.name() {
            profile["policy"].as_object_mut().unwrap().remove("traffic_output_ids");
        }
        if let Some(value) = value {
            let keys: Vec<&str> = setting.path.split('.').collect();
            keys.iter().fold(profile, |at, key| &mut at[*key]).clone_from(value);
        }
    });
    stage
}

/// What `validate` alone looks at: a run has these as its verdict.
const OF_FILES: [&str; 4] =
    ["PRODUCER_ALLOWLIST_UNREADABLE", "PRODUCER_NOT_ALLOWED", "NO_TRAFFIC_OUTPUTS", "CATALOGUE_INVALID"];

/// The single problems of a message.
fn problems(said: &str) -> Vec<&str> {
    let one = said.trim_end().trim_start_matches("wsp: ");
    one.split_once(" problems:\n  - ").map_or(vec![one], |(_, list)| list.split("\n  - ").collect())
}

/// `validate` and `run` with the same environment: what they say, which has to be the same refusal.
fn refusal(stage: &Stage, variable: Option<(&str, &str)>, case: &str) -> String {
    let said = [&["validate"][..], &["run", "--once"]].map(|args| {
        let mut command: Command = stage.wsp(args);
        command.args(["--profile", "profile.yaml"]).env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
        command.env("KAFKA_SASL_USERNAME", "wsp").env("KAFKA_SASL_PASSWORD", "kafka-hunter2");
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{args:?} {case}: {stderr}");
        stderr
    });
    let [validate, run] = said.each_ref().map(|said| problems(said));
    for problem in &validate {
        let of_files = OF_FILES.iter().any(|code| problem.contains(code));
        assert!(run.contains(problem) || of_files, "{case}: run does not say {problem}: {}", said[1]);
    }
    assert!(run.iter().all(|problem| validate.contains(problem)), "{case}: {} and {}", said[0], said[1]);
    assert!(!said[0].contains("hunter2") && !said[0].contains(KEY), "{case}: {}", said[0]);
    said[0].clone()
}

#[test]
fn a_value_that_cannot_be_used_is_refused_by_validate_and_run_alike() {
    let gate = CaptureGate::admitting();
    let files = |stage: &Stage| stage.files().len();
    for setting in ALL {
        let beyond = setting.bounds.map(|(_, high)| format!("{}", high.parse::<f64>().unwrap() * 2.0 + 1.0));
        let mut texts: Vec<&str> = bad(setting).to_vec();
        texts.extend(beyond.as_deref());
        let free = ANY_TEXT.iter().any(|free| free.name() == setting.name());
        let lists = [s::TRAFFIC_OUTPUT_IDS, s::CONTEXT_OUTPUT_IDS].iter().any(|list| list.name() == setting.name());
        assert_eq!(texts.is_empty(), free || lists, "{} has a value that can't be used, or takes any", setting.name());
        if !setting.path.is_empty() {
            for text in texts.iter().chain(&["in ${A} text"]) {
                let stage = stage(&gate, setting, Some(&json!(text)));
                let before = files(&stage);
                let said = refusal(&stage, None, &format!("{}: {text}", setting.name()));
                assert!(said.contains(setting.path), "{}: {text}: {said}", setting.name());
                assert_eq!(files(&stage), before, "nothing is written");
            }
        }
        for (name, text) in setting.env.iter().flat_map(|name| texts.iter().map(move |text| (*name, *text))) {
            let stage = stage(&gate, setting, None);
            if let Some((block, key)) = setting.path.rsplit_once('.') {
                let pointer = format!("/{}", block.replace('.', "/"));
                stage.edit("profile.yaml", |profile| {
                    if let Some(Value::Object(block)) = profile.pointer_mut(&pointer) {
                        block.remove(key);
                    }
                });
            }
            let said = refusal(&stage, Some((name, text)), &format!("{name}={text}"));
            assert!(said.contains(name), "{name}={text}: {said}");
        }
    }
    assert_eq!(gate.requests(), 0);
}

/// What run and validate refuse is one list: the second fault doesn't wait for the first to be mended.
#[test]
fn all_that_is_wrong_is_said_at_once() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["policy"]["stream_speedup"] = json!("fast");
        let wiring = &mut profile["wiring"];
        wiring["ig_ingest_url"] = json!("http://user:hunter2@ig");
        wiring["security"]["api_key_header"] = json!("Content-Length");
        wiring["security"]["wsp_auth_token"] = json!("hunter2\r\n");
        wiring["control_bus"] = json!({"kind": "kafka"});
        wiring["wsp_checkpoint"] = json!({"backend": "postgres", "dsn": "hunter2"});
        wiring["object_store"]["endpoint"] = json!("minio:9000");
    });
    let plan = Some(("WSP_RATE_PLAN_JSON", "[]"));
    let said = refusal(&stage, plan, "everything");
    for place in [
        "policy.stream_speedup",
        "wiring.ig_ingest_url",
        "wiring.security.api_key_header",
        "wiring.security.wsp_auth_token",
        "wiring.wsp_checkpoint.dsn",
        "CHECKPOINT_DSN_INVALID",
        "wiring.object_store.endpoint",
        "WSP_RATE_PLAN_JSON",
        "7 problems",
    ] {
        assert!(said.contains(place), "{place} in {said}");
    }
}

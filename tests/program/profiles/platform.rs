//! The platform's own profiles, unchanged, from its own folder: tests/platform.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::kit::{RUN, copy_tree, repository};

/// What each profile's head asks for.
const LOCAL: &[(&str, &str)] = &[("IG_API_KEY", "00123456")];
const LOCAL_PARITY: &[(&str, &str)] = &[
    ("CONTROL_BUS_STREAM", "fp-control"),
    ("CONTROL_BUS_ENDPOINT_URL", "http://localhost:4566"),
    ("OBJECT_STORE_ENDPOINT", "http://localhost:9000"),
    ("AWS_REGION", "us-east-1"),
    ("WSP_CHECKPOINT_DSN", "postgresql://platform:platform@localhost:5434/platform"),
    ("IG_API_KEY", "local-parity-key"),
];
const DEV: &[(&str, &str)] = &[
    ("PLATFORM_RUN_ID", RUN),
    ("CONTROL_BUS_STREAM", "fp-control"),
    ("AWS_REGION", "eu-west-2"),
    ("ORACLE_ROOT", "s3://fraud-platform-oracle/worlds"),
    ("IG_INGEST_URL", "https://ig.dev.example/v1/ingest/push"),
    ("IG_API_KEY", "key"),
    ("WSP_CHECKPOINT_DSN", "postgresql://wsp:hunter2@db.dev.example/wsp?sslmode=verify-full"),
    ("WSP_READY_REQUIRED_PACKS", ""),
];
const DEV_MIN: &[(&str, &str)] = &[
    ("PLATFORM_RUN_ID", RUN),
    ("PLATFORM_STORE_ROOT", "s3://fraud-platform-dev-min-object-store"),
    ("ORACLE_ROOT", "s3://fraud-platform-oracle/worlds"),
    ("AWS_REGION", "eu-west-2"),
    ("IG_INGEST_URL", "https://ig.dev.example"),
    ("IG_API_KEY", "key"),
    ("CONTROL_BUS_KIND", "kafka"),
    ("CONTROL_BUS_TOPIC", "fp.bus.control.v1"),
    ("KAFKA_BOOTSTRAP_SERVERS", "SASL_SSL://pkc-1.eu-west-2.aws.example:9092"),
    ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
    ("KAFKA_SASL_MECHANISM", "PLAIN"),
    ("KAFKA_SASL_USERNAME", "wsp"),
    ("KAFKA_SASL_PASSWORD", "hunter2"),
    ("WSP_CHECKPOINT_DSN", "postgresql://wsp:hunter2@db.dev.example/wsp?sslmode=verify-full"),
    ("WSP_READY_REQUIRED_PACKS", ""),
];
const ALL: [(&str, &[(&str, &str)]); 6] = [
    ("local", LOCAL),
    ("local_parity", LOCAL_PARITY),
    ("dev", DEV),
    ("dev_min", DEV_MIN),
    ("dev_full", DEV_MIN),
    ("prod", DEV),
];

/// The platform's folder, with the engine's catalogue where its default says.
fn root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    copy_tree(&repository("tests/platform"), root.path());
    copy_tree(&repository("config/oracle"), &root.path().join("docs/model_spec/data-engine/interface_pack"));
    root
}

fn validate(root: &TempDir, profile: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsp"));
    command.args(["validate", "--profile"]).arg(format!("config/platform/profiles/{profile}.yaml"));
    command.current_dir(root.path()).env_clear().envs(env.iter().copied()).output().unwrap()
}

fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    stderr
}

#[test]
fn each_passes_with_its_documented_environment() {
    let root = root();
    for (profile, env) in ALL {
        let output = validate(&root, profile, env);
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy);
        assert_eq!(output.status.code(), Some(0), "{profile}: {}", said[1]);
        assert!(said[0].contains(&format!("profile {profile} is in order")), "{}", said[0]);
    }
}

/// Each variable that has no default is one whose lack is told, and all that lack are told at once.
#[test]
fn what_the_environment_lacks_is_named_in_one_message() {
    let root = root();
    for (profile, env) in ALL {
        let bare = refusal(&validate(&root, profile, &[]));
        for (name, _) in env {
            // Those with a default, those that AWS finds out, and those that are asked for once the bus is Kafka.
            let asked = !name.starts_with("AWS_") && !name.starts_with("KAFKA_") && !name.ends_with("_TOPIC");
            let optional = ["OBJECT_STORE_ENDPOINT", "CONTROL_BUS_ENDPOINT_URL", "PLATFORM_STORE_ROOT", "ORACLE_ROOT"];
            if asked && !optional.contains(name) {
                assert!(bare.contains(name), "{profile}: {name} in {bare}");
                let without: Vec<_> = env.iter().copied().filter(|(other, _)| other != name).collect();
                let one = refusal(&validate(&root, profile, &without));
                assert!(one.contains(name) && !one.contains("problems"), "{profile}: {name} in {one}");
            }
        }
    }
    let bus = [&DEV_MIN[..6], &[("CONTROL_BUS_KIND", "kafka")]].concat();
    let kafka = refusal(&validate(&root, "dev_min", &bus));
    for name in ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "WSP_CHECKPOINT_DSN"] {
        assert!(kafka.contains(name), "{name} in {kafka}");
    }
}

/// What the legacy producer would fail on too.
#[test]
fn what_the_legacy_producer_refuses_is_refused_by_its_name() {
    let root = root();
    let parity = |name: &str| {
        let env: Vec<_> = LOCAL_PARITY.iter().copied().filter(|(other, _)| *other != name).collect();
        refusal(&validate(&root, "local_parity", &env))
    };
    assert!(parity("CONTROL_BUS_STREAM").contains("CONTROL_BUS_STREAM_MISSING"));
    assert!(parity("WSP_CHECKPOINT_DSN").contains("CHECKPOINT_DSN_MISSING"));
    let list = root.path().join("config/platform/wsp/producer_allowlist_v0.txt");
    std::fs::write(&list, "# nobody\n").unwrap();
    assert!(refusal(&validate(&root, "local", LOCAL)).contains("PRODUCER_ALLOWLIST_EMPTY"));
    std::fs::write(&list, "svc:other\n").unwrap();
    assert!(refusal(&validate(&root, "local", LOCAL)).contains("PRODUCER_NOT_ALLOWED"));
    std::fs::remove_file(&list).unwrap();
    std::fs::remove_dir_all(root.path().join("docs")).unwrap();
    let all = refusal(&validate(&root, "local", &[]));
    for words in ["PRODUCER_ALLOWLIST_UNREADABLE", "CATALOGUE_INVALID", "IG_API_KEY", "3 problems"] {
        assert!(all.contains(words), "{words} in {all}");
    }
}

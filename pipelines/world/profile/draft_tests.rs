//! Each profile that `wsp init` writes is one that WSP and its schema take; what they would refuse is not written.

use proptest::prelude::*;
use serde_json::Value;

use super::super::settings::ALL;
use super::super::{CheckpointBackend, ControlBus, schema};
use super::*;

fn parts(deployment: Deployment) -> Parts {
    let strict = deployment == Deployment::DevMin;
    Parts {
        deployment,
        world: None,
        gate: None,
        control_bus: if strict { DraftBus::Kafka(None) } else { DraftBus::File(None) },
        checkpoints: if strict { DraftCheckpoints::Postgres } else { DraftCheckpoints::File },
        folder: (!strict).then(|| ".".to_owned()),
        catalogue: "engine_outputs.catalogue.yaml".to_owned(),
        allowlist: "producers.txt".to_owned(),
    }
}

/// All kinds of parts, in every combination.
fn combinations() -> Vec<Parts> {
    let some = |text: &str| Some(text.to_owned());
    let buses = [
        DraftBus::File(None),
        DraftBus::File(some("my bus")),
        DraftBus::Kafka(None),
        DraftBus::Kafka(some("b1.example:9092,b2.example:9092")),
        DraftBus::Kinesis(None),
        DraftBus::Kinesis(some("fp-control")),
    ];
    let mut all = Vec::new();
    for deployment in [Deployment::Local, Deployment::DevMin] {
        for control_bus in &buses {
            for checkpoints in [DraftCheckpoints::File, DraftCheckpoints::Postgres] {
                for world in [None, some("runs/world"), some("s3://worlds/run=1"), some("${WORLD:-s3://worlds/x}")] {
                    for gate in [None, some("http://127.0.0.1:9/ig"), some("https://ig.example/v1/ingest/push")] {
                        let (control_bus, world) = (control_bus.clone(), world.clone());
                        all.push(Parts { world, gate, control_bus, checkpoints, ..parts(deployment) });
                    }
                }
            }
        }
    }
    all
}

fn read(text: &str, needs: &[Need], without: Option<&str>) -> Result<Profile, String> {
    let env = |name: &str| {
        let need = needs.iter().find(|need| need.variable == name && Some(name) != without)?;
        Some(need.example.clone())
    };
    Profile::parse(text, Path::new("."), &env).map_err(|error| error.to_string())
}

/// The text with each setting and block that is commented out in force.
fn uncommented(text: &str) -> String {
    let known = |key: &str| ALL.iter().any(|setting| setting.path.split('.').any(|part| part == key));
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let bare =
            line.trim_start().strip_prefix("# ").filter(|rest| rest.split_once(':').is_some_and(|(key, _)| known(key)));
        bare.map_or(line.to_owned(), |bare| format!("{}{bare}", " ".repeat(indent)))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_combination_is_a_profile_or_is_refused_for_what_wsp_refuses() {
    let mut written = 0;
    for parts in combinations() {
        let strict = parts.deployment == Deployment::DevMin;
        let remote = !matches!(parts.control_bus, DraftBus::File(_))
            && parts.checkpoints == DraftCheckpoints::Postgres
            && parts.world.as_deref() != Some("runs/world");
        let drafted = parts.draft();
        assert_eq!(drafted.is_ok(), !strict || remote, "{parts:?}: {drafted:?}");
        let Ok(Draft { text, needs }) = drafted else {
            assert!(drafted.unwrap_err().to_string().contains("is strict"), "{parts:?}");
            continue;
        };
        written += 1;
        let profile = read(&text, &needs, None).unwrap();
        assert_eq!(profile.is_strict(), strict);
        let bus = match (&profile.control_bus, &parts.control_bus) {
            (ControlBus::File { root }, DraftBus::File(folder)) => {
                root.to_str() == Some(folder.as_deref().unwrap_or(s::CONTROL_BUS_ROOT.default))
            }
            (ControlBus::Kafka(kafka), DraftBus::Kafka(servers)) => {
                servers.as_deref().is_none_or(|servers| kafka.bootstrap_servers.as_str() == servers)
            }
            (ControlBus::Kinesis(kinesis), DraftBus::Kinesis(stream)) => {
                stream.as_deref().is_none_or(|stream| kinesis.stream == stream)
            }
            _ => false,
        };
        assert!(bus, "{parts:?}: {:?}", profile.control_bus);
        let postgres = matches!(profile.checkpoint.backend, CheckpointBackend::Postgres { .. });
        assert_eq!(postgres, parts.checkpoints == DraftCheckpoints::Postgres);
        assert_eq!(profile.oracle.engine_run_root.is_some(), parts.world.is_some());
        if let Some(gate) = &parts.gate {
            assert!(gate.starts_with(profile.delivery.endpoint.base().as_str()), "{gate}");
        }
        // Editors find nothing wrong with it either, and with the defaults in force it is the same.
        for text in [text.clone(), uncommented(&text)] {
            let tree: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(schema::fault(&tree), None, "{text}");
            let same = read(&text, &needs, None).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(format!("{:?}", same.delivery), format!("{:?}", profile.delivery));
        }
        // What it says it needs, it needs.
        for need in &needs {
            let missing = read(&text, &needs, Some(need.variable)).unwrap_err();
            assert!(missing.contains(need.variable), "{}: {missing}", need.variable);
            assert!(text.contains(&format!("\n#   {}", need.variable)), "{}\n{text}", need.variable);
        }
    }
    assert_eq!(written, 6 * 2 * 4 * 3 + 4 * 3 * 3);
}

#[test]
fn a_draft_has_every_setting_once_with_its_help_and_no_secret() {
    for deployment in [Deployment::Local, Deployment::DevMin] {
        let text = parts(deployment).draft().unwrap().text;
        let words = text.replace(['#', '\n'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in ALL.iter().filter(|setting| !setting.path.is_empty()) {
            let key = setting.path.rsplit('.').next().unwrap();
            let lines = text.lines().filter(|line| {
                let bare = line.trim_start().trim_start_matches("# ");
                bare.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
            });
            let alike = ALL.iter().filter(|other| other.path.rsplit('.').next() == Some(key)).count();
            assert_eq!(lines.count(), alike, "{key}");
            assert!(words.contains(&setting.help()), "{}", setting.path);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 200 && !line.ends_with(' ')));
        assert!(text.starts_with(&format!("# yaml-language-server: $schema={SCHEMA_FILE}\n")));
    }
    let parts = Parts { checkpoints: DraftCheckpoints::Postgres, ..parts(Deployment::Local) };
    let text = parts.draft().unwrap().text;
    for setting in [s::AUTH_TOKEN, s::CHECKPOINT_DSN] {
        let key = setting.path.rsplit('.').next().unwrap();
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap();
        let value = line.split_once(": ").unwrap().1;
        assert!(value.starts_with("${") && value.ends_with('}') && !value.contains(":-"), "{line}");
    }
    assert!(!text.contains("db.example"), "a made-up value is not written");
}

#[test]
fn what_wsp_would_refuse_is_not_written() {
    let refused = |change: &dyn Fn(&mut Parts), deployment| {
        let mut parts = parts(deployment);
        change(&mut parts);
        parts.draft().unwrap_err().to_string()
    };
    let some = |text: &str| Some(text.to_owned());
    for gate in ["ftp://ig", "http://u:hunter2@ig", "ig:8081", "http://ig/${X}"] {
        let told = refused(&|parts| parts.gate = some(gate), Deployment::Local);
        assert!(told.contains("wiring.ig_ingest_url") && !told.contains("hunter2"), "{told}");
    }
    let plain = refused(&|parts| parts.gate = some("http://ig.example"), Deployment::DevMin);
    assert!(plain.contains("wiring.security.allow_plaintext"), "{plain}");
    let servers = refused(&|parts| parts.control_bus = DraftBus::Kafka(some("u:hunter2@b:1\nx: y")), Deployment::Local);
    assert!(servers.contains("KAFKA_BOOTSTRAP_SERVERS") && !servers.contains("hunter2"), "{servers}");
    let world = refused(&|parts| parts.world = some("ftp://h/x"), Deployment::Local);
    assert!(world.contains("wiring.oracle_engine_run_root"), "{world}");
}

proptest! {
    /// Whatever a path is, the profile says it: nothing in it is taken for YAML.
    #[test]
    fn a_path_is_read_as_it_was_given(path in "[a-z~ :#'\"{}\\[\\]&*!|>%@,\\\\\n\té./-]{1,12}") {
        prop_assume!(!path.trim().is_empty() && !path.contains("://"));
        let drafted = Parts { world: Some(path.clone()), ..parts(Deployment::Local) }.draft();
        prop_assert!(drafted.is_ok(), "{drafted:?}");
        let Draft { text, needs } = drafted.unwrap();
        let root = read(&text, &needs, None).unwrap().oracle.engine_run_root;
        prop_assert_eq!(root, Some(path));
    }
}

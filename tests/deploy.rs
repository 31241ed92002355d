//! What `deploy/` says of the program is true of the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up fails")]

use std::path::Path;

use serde_json::Value;
use wsp::run::packs::Spec;

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(name: &str) -> Vec<Value> {
    text(name).split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// The pods of the Kubernetes manifests.
fn pods() -> Vec<(&'static str, Value)> {
    ["kubernetes/service.yaml", "kubernetes/lanes.yaml"]
        .into_iter()
        .flat_map(|name| {
            yaml(name).into_iter().map(move |document| (name, document["spec"]["template"]["spec"].clone()))
        })
        .filter(|(_, pod)| !pod.is_null())
        .collect()
}

/// Seconds that a stop takes at most: the drain deadline by default, and the last commits to the control topic.
fn longest_stop() -> u64 {
    let page = include_str!("../docs/profile.md");
    let line = page.lines().find(|line| line.contains("WSP_DRAIN_DEADLINE_MS")).unwrap();
    let drain: u64 = line.split('|').nth(3).unwrap().trim().trim_matches('`').parse().unwrap();
    drain / 1000 + 15
}

#[test]
fn every_stop_leaves_time_to_drain() {
    let unit = text("systemd/wsp.service");
    let systemd = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    let ecs: Value = serde_json::from_str(&text("ecs/task-definition.json")).unwrap();
    let ecs = ecs["containerDefinitions"][0]["stopTimeout"].as_u64().unwrap();
    let pack = yaml("operate/wsp.pack.yaml")[0]["processes"][0]["stop"]["timeout_seconds"].as_u64().unwrap();
    let mut timeouts: Vec<(&str, u64)> = vec![("systemd", systemd), ("ecs", ecs), ("pack", pack)];
    timeouts.extend(pods().iter().map(|(name, pod)| (*name, pod["terminationGracePeriodSeconds"].as_u64().unwrap())));
    assert_eq!(timeouts.len(), 5);
    for (name, timeout) in timeouts {
        assert!(timeout >= longest_stop() + 10, "{name}: {timeout} s, a stop may take {} s", longest_stop());
    }
    assert!(ecs <= 120, "ECS allows no more than 120 s");
}

#[test]
fn the_pack_is_one_that_can_be_required() {
    let spec = Spec::parse(&text("operate/wsp.pack.yaml")).unwrap();
    assert_eq!((spec.pack_id(), spec.processes()), ("wsp", ["wsp".to_owned()].as_slice()));
    let pack = &yaml("operate/wsp.pack.yaml")[0];
    assert!(pack["processes"][0]["readiness"]["http_get"].as_str().unwrap().ends_with("/readyz"));
}

#[test]
fn nothing_runs_as_root_or_writes_its_root() {
    for (name, pod) in pods() {
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert!(container["image"].as_str().unwrap().contains("@sha256:"), "{name}");
    }
    let ecs: Value = serde_json::from_str(&text("ecs/task-definition.json")).unwrap();
    let container = &ecs["containerDefinitions"][0];
    assert_eq!((&container["readonlyRootFilesystem"], &container["user"]), (&true.into(), &"65532:65532".into()));
    let file = text("container/Containerfile");
    assert!(file.contains("\nUSER 65532:65532\n") && file.contains("\nFROM scratch\n"));
    assert!(!file.lines().any(|line| line.starts_with("ARG RUST_IMAGE=")), "the base has no default");
}

/// Each environment variable that a manifest sets is one that the program or a library under it reads.
#[test]
fn manifests_set_what_the_program_reads() {
    let page = include_str!("../docs/profile.md");
    let profile = include_str!("../config/profiles/dev_min.yaml");
    let mut names = Vec::new();
    for (_, pod) in pods() {
        names.extend(pod["containers"][0]["env"].as_array().unwrap().iter().map(|env| env["name"].clone()));
    }
    let ecs: Value = serde_json::from_str(&text("ecs/task-definition.json")).unwrap();
    for list in ["environment", "secrets"] {
        let list = ecs["containerDefinitions"][0][list].as_array().unwrap();
        names.extend(list.iter().map(|env| env["name"].clone()));
    }
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    for (file, start) in [("container/Containerfile", "ENV "), ("systemd/wsp.service", "Environment=")] {
        let text = text(file);
        let set = text.lines().filter_map(|line| line.strip_prefix(start)?.split_once('=')).collect::<Vec<_>>();
        // The profile names its files as they stand in the repository; where it is installed they stand elsewhere.
        for (name, path) in [
            ("ENGINE_CATALOGUE_PATH", "/etc/wsp/oracle/engine_outputs.catalogue.yaml"),
            ("WSP_PRODUCER_ALLOWLIST_REF", "/etc/wsp/producers.txt"),
        ] {
            assert!(set.contains(&(name, path)), "{file}: {name}");
        }
        names.extend(set.iter().map(|(name, _)| (*name).to_owned()));
    }
    for name in names {
        assert!(page.contains(&format!("`{name}`")) || profile.contains(&name), "{name} is read by nobody");
    }
}

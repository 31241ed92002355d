//! What `deploy/` says of the program is true of the program.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use wsp_world::profile::Profile;
use wsp_world::run::packs::Spec;
use wsp_world::stopping;

use crate::kit;

fn text(name: &str) -> String {
    kit::text_of(&format!("deploy/{name}"))
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

/// The task definition, before the values are filled in.
fn task() -> Value {
    serde_json::from_str(&text("ecs/task-definition.json")).unwrap()
}

/// What a profile says, without a word about times but these.
fn profile(more: &str) -> Profile {
    let text = format!("profile_id: local\nwiring: {{control_bus: {{kind: file}}{more}}}");
    let vars = |name: &str| (name == "IG_API_KEY").then(|| "k".to_owned());
    Profile::parse(&text, Path::new("."), &vars).unwrap()
}

/// What is left before a kill when a stop has taken as long as it can.
const SPARE: Duration = Duration::from_secs(10);

#[test]
fn every_kill_comes_after_the_longest_stop() {
    let unit = text("systemd/wsp.service");
    let systemd = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    let ecs = task()["containerDefinitions"][0]["stopTimeout"].as_u64().unwrap();
    let pack = yaml("operate/wsp.pack.yaml")[0]["processes"][0]["stop"]["timeout_seconds"].as_u64().unwrap();
    let chart = yaml("helm/wsp/values.yaml")[0]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let mut timeouts = vec![("systemd", systemd), ("ecs", ecs), ("pack", pack), ("chart", chart)];
    timeouts.extend(pods().iter().map(|(name, pod)| (*name, pod["terminationGracePeriodSeconds"].as_u64().unwrap())));
    assert_eq!(timeouts.len(), 6);
    // As the program counts it: answers in flight, last save, evidence, hold, figures, control topic.
    let longest = stopping::longest(&profile(""));
    let page = include_str!("../../docs/deploy.md");
    for (name, timeout) in timeouts {
        let given = Duration::from_secs(timeout);
        assert!(given >= longest + SPARE, "{name}: {given:?}, a stop may take {longest:?}");
        assert!(page.contains(&format!("**{timeout} s**")) && page.contains(&format!("**{} s**", longest.as_secs())));
    }
    assert!(ecs <= 120, "ECS allows no more than 120 s");
    // Another drain deadline is another sum.
    let drained = stopping::longest(&profile(", wsp_delivery: {drain_deadline_ms: 45000}"));
    assert_eq!(drained, longest + Duration::from_secs(25));
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
    }
    let ecs = task();
    let container = &ecs["containerDefinitions"][0];
    assert_eq!((&container["readonlyRootFilesystem"], &container["user"]), (&true.into(), &"65532:65532".into()));
    let file = text("container/Containerfile");
    assert!(file.contains("\nUSER 65532:65532\n") && file.contains("\nFROM scratch\n"));
    // The base that is taken where none is named has the toolchain that the manifest asks for.
    let base = file.lines().find_map(|line| line.strip_prefix("ARG RUST_IMAGE=")).unwrap();
    assert!(base.contains(concat!("rust:", env!("CARGO_PKG_RUST_VERSION"))), "{base}");
    assert!(file.contains(concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")));
}

/// Each environment variable that a manifest sets is one that the program or a library under it reads.
#[test]
fn manifests_set_what_the_program_reads() {
    let page = include_str!("../../docs/profile.md");
    let profile = include_str!("../../config/profiles/dev_min.yaml");
    let mut names = Vec::new();
    for (_, pod) in pods() {
        names.extend(pod["containers"][0]["env"].as_array().unwrap().iter().map(|env| env["name"].clone()));
    }
    let ecs = task();
    for list in ["environment", "secrets"] {
        let list = ecs["containerDefinitions"][0][list].as_array().unwrap();
        names.extend(list.iter().map(|env| env["name"].clone()));
    }
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    for (file, start) in [("container/Containerfile", "ENV "), ("systemd/wsp.service", "Environment=")] {
        let text = text(file);
        // What stages before the last one set is for the build.
        let text = text.rsplit("\nFROM ").next().unwrap();
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
    // What the package's file of variables offers.
    let offered = text("systemd/wsp.env");
    let offered = offered.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    names.extend(offered.map(|(name, _)| name.to_owned()));
    for name in names {
        assert!(page.contains(&format!("`{name}`")) || profile.contains(&name), "{name} is read by nobody");
    }
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// `deploy/render.sh` with these values and no other.
fn render(kind: &str, out: &Path, values: &[(&str, &str)]) -> Output {
    let script = kit::repository("deploy/render.sh");
    let path = std::env::var_os("PATH").unwrap();
    let values = values.iter().copied();
    Command::new(script).arg(kind).arg(out).env_clear().env("PATH", path).envs(values).output().unwrap()
}

/// Every `image` in a document, wherever it stands.
fn images(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("image").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| images(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| images(value, found)),
        _ => {}
    }
}

/// All of them by one parameter; the manifests themselves name no build.
#[test]
fn every_manifest_runs_the_image_that_is_asked_for() {
    let image = format!("registry.example:5000/fraud/wsp@{DIGEST}");
    let values = [
        ("WSP_IMAGE", image.as_str()),
        ("AWS_ACCOUNT_ID", "123456789012"),
        ("WSP_EFS_FILE_SYSTEM", "fs-0123456789abcdef0"),
        ("WSP_EFS_ACCESS_POINT", "fsap-0123456789abcdef0"),
    ];
    let deploy = kit::repository("deploy");
    for (kind, expected) in [("kubernetes", 2), ("ecs", 1)] {
        let out = tempfile::tempdir().unwrap();
        let rendered = render(kind, out.path(), &values);
        assert!(rendered.status.success(), "{rendered:?}");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for file in std::fs::read_dir(deploy.join(kind)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let filled = std::fs::read_to_string(out.path().join(&name)).unwrap();
            assert!(!filled.contains("${"), "{name}: {filled}");
            for (text, found) in [(text(&format!("{kind}/{name}")), &mut before), (filled, &mut after)] {
                // What CloudFormation adds to YAML has no image.
                let documents = text.split("\n---\n").filter(|document| !document.contains("AWSTemplateFormatVersion"));
                documents.for_each(|document| images(&serde_saphyr::from_str(document).unwrap(), found));
            }
        }
        assert_eq!(before, vec!["${WSP_IMAGE}"; expected]);
        assert_eq!(after, vec![image.as_str(); expected]);
    }
    let account = |values: &Value| values["executionRoleArn"].as_str().unwrap().contains("::${AWS_ACCOUNT_ID}:");
    assert!(account(&task()));
}

#[test]
fn an_image_that_is_not_pinned_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("out");
    let short = &DIGEST[..DIGEST.len() - 1];
    let images = [
        String::new(),
        "wsp".to_owned(),
        "wsp:latest".to_owned(),
        "wsp@sha256:".to_owned(),
        format!("wsp@{short}"),
        format!("wsp@{DIGEST}0"),
        format!("wsp@{short}g"),
        format!("wsp@{}", DIGEST.replace('a', "A")),
        format!("@{DIGEST}"),
        format!("wsp@{DIGEST}\nx"),
        format!("wsp|x@{DIGEST}"),
        format!("wsp&x@{DIGEST}"),
        format!("wsp@sha256:{}", "0".repeat(64)),
    ];
    for image in &images {
        for kind in ["kubernetes", "ecs"] {
            let refused = render(kind, &folder, &[("WSP_IMAGE", image)]);
            let err = String::from_utf8(refused.stderr).unwrap();
            assert!(refused.status.code() == Some(2) && err.contains("WSP_IMAGE"), "{image:?}, {kind}: {err}");
        }
    }
    let image = format!("wsp@{DIGEST}");
    let refused = render("ecs", &folder, &[("WSP_IMAGE", &image), ("AWS_ACCOUNT_ID", "123456789012")]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("WSP_EFS_FILE_SYSTEM"));
    assert_eq!(render("nomad", &folder, &[("WSP_IMAGE", &image)]).status.code(), Some(2));
    assert!(!folder.exists(), "nothing is written that could be applied by mistake");
}

/// What is nowhere else while the object store is away lies on a volume that stays, and is the image's user's to write.
#[test]
fn what_is_kept_outlives_pod_and_task() {
    let file = text("container/Containerfile");
    let line = |start: &str| file.lines().find_map(|line| line.strip_prefix(start)).unwrap();
    let (home, (uid, gid)) = (
        file.lines().rev().find_map(|line| line.strip_prefix("WORKDIR ")).unwrap(),
        line("USER ").split_once(':').unwrap(),
    );
    for name in ["kubernetes/service.yaml", "kubernetes/lanes.yaml"] {
        let documents = yaml(name);
        let pod = &documents.last().unwrap()["spec"]["template"]["spec"];
        let context = &pod["securityContext"];
        for (key, id) in [("runAsUser", uid), ("runAsGroup", gid), ("fsGroup", gid)] {
            assert_eq!(context[key].as_u64().unwrap().to_string(), id, "{name}: {key}");
        }
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == home).unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let claim = &volume["persistentVolumeClaim"]["claimName"];
        let claims = documents.iter().filter(|document| document["kind"] == "PersistentVolumeClaim");
        let claim = claims.clone().find(|document| document["metadata"]["name"] == *claim).unwrap();
        let modes = &claim["spec"]["accessModes"];
        if name.contains("lanes") {
            // Pods on several nodes, each in a folder of its own, which is the same for each try of its lane.
            assert_eq!(*modes, json!(["ReadWriteMany"]));
            assert_eq!(mount["subPathExpr"], "lane-$(WSP_LANE_INDEX)");
        } else {
            assert_eq!(*modes, json!(["ReadWriteOnce"]));
            // The new pod can have the volume only when the old one is gone.
            assert_eq!(
                (&documents.last().unwrap()["spec"]["strategy"]["type"], &mount["subPathExpr"]),
                (&json!("Recreate"), &Value::Null)
            );
        }
    }
    let task = task();
    let container = &task["containerDefinitions"][0];
    let mount = &container["mountPoints"][0];
    assert_eq!((&mount["containerPath"], &mount["readOnly"]), (&json!(home), &json!(false)));
    let volume = &task["volumes"][0];
    assert_eq!(volume["name"], mount["sourceVolume"]);
    let efs = &volume["efsVolumeConfiguration"];
    assert_eq!(efs["transitEncryption"], "ENABLED");
    let access = &efs["authorizationConfig"];
    assert_eq!((&access["accessPointId"], &access["iam"]), (&json!("${WSP_EFS_ACCESS_POINT}"), &json!("ENABLED")));
    assert!(efs["rootDirectory"].is_null(), "the access point says which folder");
    // The access point makes everybody this user, and its folder that user's.
    let state = text("ecs/state.yaml");
    for place in [
        format!("PosixUser: {{Uid: \"{uid}\", Gid: \"{gid}\"}}"),
        format!("CreationInfo: {{OwnerUid: \"{uid}\", OwnerGid: \"{gid}\", Permissions: \"0700\"}}"),
    ] {
        assert!(state.contains(&place), "{place}");
    }
    assert_eq!(state.matches("DeletionPolicy: Retain").count(), 2);
}

/// What a Job does with a pod's end, as Kubernetes decides it: the first rule that fits; none is a failed try.
fn action(job: &Value, exit: u64, disrupted: bool) -> &str {
    let fits = |rule: &&Value| {
        let conditions = rule["onPodConditions"].as_array();
        let codes = &rule["onExitCodes"];
        assert!(conditions.is_some() != codes.is_object(), "{rule}");
        let disruption = json!({"type": "DisruptionTarget", "status": "True"});
        conditions.is_some_and(|conditions| disrupted && conditions.contains(&disruption))
            || codes["values"].as_array().is_some_and(|values| {
                assert_eq!((&codes["containerName"], &codes["operator"]), (&json!("wsp"), &json!("In")));
                values.contains(&exit.into())
            })
    };
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array().unwrap();
    rules.iter().find(fits).map_or("Count", |rule| rule["action"].as_str().unwrap())
}

#[test]
fn only_failures_use_up_the_tries_of_a_lane() {
    let documents = yaml("kubernetes/lanes.yaml");
    let job = documents.iter().find(|document| document["kind"] == "Job").unwrap();
    for (exit, disrupted, expected) in [
        // Evicted or preempted: stopped in time, killed, or struck in the middle of a failure.
        (3, true, "Ignore"),
        (137, true, "Ignore"),
        (1, true, "Ignore"),
        (1, false, "Count"),
        // For its memory.
        (137, false, "Count"),
        (2, false, "FailJob"),
        (3, false, "Ignore"),
    ] {
        assert_eq!(action(job, exit, disrupted), expected, "{exit}, {disrupted}");
    }
    let spec = &job["spec"];
    assert!(spec["backoffLimitPerIndex"].as_u64().is_some() && spec["backoffLimit"].is_null());
    assert_eq!((&spec["completionMode"], &spec["podReplacementPolicy"]), (&json!("Indexed"), &json!("Failed")));
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never");
}

#[test]
fn the_telemetry_port_is_open_to_prometheus_alone() {
    let policy = &yaml("kubernetes/network-policy.yaml")[0];
    let spec = &policy["spec"];
    // It is about every pod of ours.
    let selected = spec["podSelector"]["matchLabels"].as_object().unwrap();
    for name in ["kubernetes/service.yaml", "kubernetes/lanes.yaml"] {
        let documents = yaml(name);
        let labels = &documents.last().unwrap()["spec"]["template"]["metadata"]["labels"];
        assert!(!selected.is_empty() && selected.iter().all(|(key, value)| labels[key] == *value), "{name}");
    }
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let port: u64 =
        text("container/Containerfile").lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap().parse().unwrap();
    // One entry: an entry without peers or ports would mean all of them.
    let prometheus = json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}});
    let entry = json!({"from": [prometheus], "ports": [{"protocol": "TCP", "port": port}]});
    assert_eq!(spec["ingress"], json!([entry]));
}

//! `wsp init`: what it writes where, and that `wsp validate` takes it.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::kit::process::Told;
use crate::kit::{RUN, copy_tree, repository};

/// What each profile may need from the environment.
const ENV: &[(&str, &str)] = &[
    ("PLATFORM_RUN_ID", RUN),
    ("WSP_READY_REQUIRED_PACKS", ""),
    ("PLATFORM_STORE_ROOT", "s3://bucket/store"),
    ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ("KAFKA_SASL_USERNAME", "wsp"),
    ("KAFKA_SASL_PASSWORD", "hunter2"),
    ("CONTROL_BUS_STREAM", "stream"),
    ("IG_INGEST_URL", "https://ig.example"),
    ("IG_API_KEY", "hunter2"),
    ("WSP_CHECKPOINT_DSN", "postgresql://wsp:hunter2@db.example/wsp?sslmode=verify-full"),
    ("AWS_REGION", "eu-west-2"),
];

fn wsp(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsp"));
    command.args(args).current_dir(folder).env_clear().envs(vars.iter().copied()).stdin(Stdio::null());
    Told::of(command)
}

fn files(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The variables that the note on stderr asks for.
fn needs(note: &str) -> Vec<&str> {
    let line = note.lines().find_map(|line| line.strip_prefix("set ")).unwrap_or_else(|| panic!("{note}"));
    line.split_once(", then: ").unwrap().0.split(", ").collect()
}

#[test]
fn validate_takes_every_profile_that_init_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = 0;
    for kind in ["local", "dev_min"] {
        for bus in [
            None,
            Some("file:bus"),
            Some("kafka"),
            Some("kafka:b.example:9092"),
            Some("kinesis:fp-control"),
            Some("kinesis"),
        ] {
            for checkpoints in [None, Some("file"), Some("postgres")] {
                for (world, gate) in [
                    (None, None),
                    (Some("runs/world"), Some("http://127.0.0.1:8081")),
                    (Some("s3://worlds/x"), Some("https://ig.example")),
                ] {
                    let mut args = vec!["init", "--kind", kind, "--force"];
                    for (option, value) in
                        [("--control-bus", bus), ("--checkpoints", checkpoints), ("--world", world), ("--gate", gate)]
                    {
                        args.extend(value.into_iter().flat_map(|value| [option, value]));
                    }
                    let told = wsp(folder.path(), &args, &[]);
                    let remote =
                        !matches!(bus, Some("file:bus")) && checkpoints != Some("file") && world != Some("runs/world");
                    let right = kind == "local" || remote;
                    assert_eq!(
                        (told.code, told.out.as_str()),
                        (Some(if right { 0 } else { 2 }), ""),
                        "{args:?}: {}",
                        told.err
                    );
                    if !right {
                        assert!(
                            told.err.contains("nothing is written") && told.err.contains("is strict"),
                            "{}",
                            told.err
                        );
                        continue;
                    }
                    written += 1;
                    let asked = needs(&told.err);
                    let of_need = |name: &str| asked.contains(&name) || name == "AWS_REGION";
                    let vars: Vec<_> = ENV.iter().copied().filter(|(name, _)| of_need(name)).collect();
                    let valid = wsp(folder.path(), &["validate", "--profile", "wsp.yaml"], &vars);
                    assert_eq!((valid.code, valid.err.as_str()), (Some(0), ""), "{args:?}");
                }
            }
        }
    }
    assert_eq!(written, 6 * 3 * 3 + 5 * 2 * 2);
    let all = ["engine_gates.map.yaml", "engine_outputs.catalogue.yaml", "producers.txt", "wsp.yaml"];
    assert_eq!(files(&folder), all);
}

#[test]
fn nothing_is_overwritten_unless_it_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let get = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    put("wsp.yaml", "mine");
    put("producers.txt", "svc:another\n");
    let refused = wsp(folder.path(), &["init"], &[]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""));
    assert!(refused.err.contains("wsp.yaml exists") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!((get("wsp.yaml").as_str(), files(&folder).len()), ("mine", 2));
    let forced = wsp(folder.path(), &["init", "--force"], &[]);
    assert_eq!(forced.code, Some(0), "{}", forced.err);
    assert!(get("wsp.yaml").starts_with("# yaml-language-server:"));
    assert_eq!(get("producers.txt"), "svc:another\n", "a file that it refers to is never overwritten");
    let nowhere = wsp(folder.path(), &["init", "--output", "not/there/x.yaml"], &[]);
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.err);
}

#[test]
fn a_profile_on_stdout_is_the_same_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let told = wsp(folder.path(), &["init", "--output", "-", "--world", "runs/my world"], &[]);
    assert_eq!((told.code, files(&folder)), (Some(0), Vec::new()), "{}", told.err);
    assert!(told.err.contains("producers.txt"), "{}", told.err);
    for line in [
        "profile_id: local",
        "  oracle_engine_run_root: \"runs/my world\"",
        "    wsp_auth_token: ${IG_API_KEY}",
        "  # wsp_read:",
    ] {
        assert!(told.out.lines().any(|other| other == line), "{line}\n{}", told.out);
    }
    let wrong = wsp(folder.path(), &["init", "--control-bus", "pigeon:x"], &[]);
    assert!(wrong.code == Some(2) && wrong.err.contains("file, kafka, kinesis"), "{}", wrong.err);
}

/// Paths of the command line count from where it is given, wherever the profile is; the repository's own files are used.
#[test]
fn a_profile_elsewhere_counts_from_where_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&repository("config"), &folder.path().join("config"));
    std::fs::create_dir(folder.path().join("conf")).unwrap();
    let told = wsp(folder.path(), &["init", "--output", "conf/wsp.yaml", "--world", "runs/world"], &[]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert_eq!(files(&folder), ["conf", "config"]);
    assert_eq!(std::fs::read_dir(folder.path().join("conf")).unwrap().count(), 1);
    let profile = folder.path().join("conf/wsp.yaml");
    let args = ["validate", "--profile", profile.to_str().unwrap()];
    let valid = wsp(Path::new("/"), &args, &[("IG_API_KEY", "k")]);
    assert_eq!(valid.code, Some(0), "{}", valid.err);
    let here = folder.path().canonicalize().unwrap();
    let there = valid.out.lines().find_map(|line| line.strip_prefix("relative paths count from ")).unwrap();
    assert_eq!(Path::new(there).canonicalize().unwrap(), here);
}

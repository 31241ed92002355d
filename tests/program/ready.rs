//! From a world to a run: `wsp ready` on files and on Kinesis, the README's four commands, and commands that are given in any
//! folder.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::http::Request;
use crate::kit::process::{Told, free_port};
use crate::kit::{FACTS, FRAUD, OUTPUTS, RUN, Stage, TOPIC, copy_tree, golden, json_lines, read, repository, text_of};

pub(crate) const READY: &[&str] = &["ready", "--profile", "profile.yaml", "--world", "world"];

fn wsp(stage: &Stage, args: &[&str]) -> Told {
    Told::of(stage.wsp(args))
}

/// The golden world with a profile, and neither facts nor READY.
pub(crate) fn bare() -> (CaptureGate, Stage) {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.remove("control_bus");
    stage.remove("store");
    (gate, stage)
}

/// The READYs on the file bus.
fn messages(stage: &Stage) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(stage.path("control_bus").join(TOPIC)) else { return Vec::new() };
    entries.map(|entry| serde_json::from_slice(&read(&entry.unwrap().path())).unwrap()).collect()
}

fn value(told: &Told, name: &str) -> String {
    let line = told.out.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {}{}", told.out, told.err)).trim().to_owned()
}

#[test]
fn a_world_becomes_facts_and_a_ready_that_streams() {
    let (gate, stage) = bare();
    let made = wsp(&stage, READY);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let [message] = messages(&stage).try_into().unwrap();
    let id = message["message_id"].as_str().unwrap().to_owned();
    assert_eq!(value(&made, "READY"), id);
    assert_eq!(value(&made, "published"), format!("control_bus/{TOPIC}/{id}.json"));
    assert_eq!(value(&made, "platform run"), RUN);
    let facts = stage.path("store").join(message["payload"]["facts_view_ref"].as_str().unwrap());
    assert!(value(&made, "facts").ends_with(message["payload"]["facts_view_ref"].as_str().unwrap()));
    // Both have the keys of the real ones.
    let real = |name: &str| serde_json::from_slice::<Value>(&read(&golden().join("ready").join(name))).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (real_ready, real_facts) = (real("message.json"), real("run_facts_view.json"));
    let facts: Value = serde_json::from_slice(&read(&facts)).unwrap();
    assert_eq!(keys(&message), keys(&real_ready));
    assert_eq!(keys(&message["payload"]), keys(&real_ready["payload"]));
    assert_eq!(keys(&message["payload"]["oracle_pack_ref"]), keys(&real_ready["payload"]["oracle_pack_ref"]));
    assert_eq!(keys(&facts), keys(&real_facts));
    assert_eq!(facts["pins"]["seed"], real_facts["pins"]["seed"]);
    assert_eq!(facts["intended_outputs"], json!([FRAUD]));

    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict(), gate.requests()), (Some(0), ("STREAMED", ""), 250), "{}", ran.stderr);
    let verified = wsp(&stage, &["verify", "--profile", "profile.yaml"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
}

#[test]
fn the_same_command_again_publishes_nothing_again_and_says_so() {
    let (gate, stage) = bare();
    assert_eq!(wsp(&stage, READY).code, Some(0));
    let [first] = messages(&stage).try_into().unwrap();
    let again = wsp(&stage, READY);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let words = format!("This READY is on the control topic {TOPIC} (files in control_bus/{TOPIC}) already");
    assert!(
        again.out.contains(&words) && again.err.contains("facts were stored already"),
        "{}{}",
        again.out,
        again.err
    );
    assert!(!again.err.contains("on record"), "{}", again.err);
    assert_eq!(messages(&stage), [first]);

    // Once its run was streamed, that is said as well, and another run id makes another run.
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let late = wsp(&stage, READY);
    assert!(late.code == Some(0) && late.err.contains("its verdict is on record: STREAMED"), "{}", late.err);
    let other = wsp(&stage, &[READY, &["--run-id", "ab".repeat(16).as_str()]].concat());
    assert_eq!((other.code, messages(&stage).len()), (Some(0), 2), "{}", other.err);
    let ran = stage.run_once();
    let statuses: Vec<_> = ran.verdicts.iter().map(|verdict| verdict["status"].as_str().unwrap()).collect();
    assert_eq!((statuses, gate.requests()), (vec!["SKIPPED_DUPLICATE", "STREAMED"], 500), "{}", ran.stderr);
}

#[test]
fn a_dry_run_prints_both_documents_and_leaves_nothing() {
    let (gate, stage) = bare();
    let before = stage.files();
    let dry = wsp(&stage, &[READY, &["--dry-run"]].concat());
    assert_eq!((dry.code, dry.err.as_str()), (Some(0), ""));
    let shown: Value = serde_json::from_str(&dry.out).unwrap();
    assert_eq!((stage.files(), gate.requests()), (before, 0));
    assert_eq!(wsp(&stage, READY).code, Some(0));
    let [message] = messages(&stage).try_into().unwrap();
    let facts = read(&stage.path("store").join(shown["facts_view_ref"].as_str().unwrap()));
    assert_eq!(shown["facts"], serde_json::from_slice::<Value>(&facts).unwrap());
    assert_eq!(shown["ready"]["message_id"], message["message_id"]);
    assert_eq!(shown["ready"]["payload"]["facts_view_ref"], message["payload"]["facts_view_ref"]);
}

/// A world that a run would be refused for gets neither facts nor READY, and the reason is the run's.
#[test]
fn a_world_that_a_run_would_refuse_gets_no_ready() {
    type Doctor = fn(&Stage);
    let cases: [(&str, &str, Doctor); 6] = [
        ("PACK_NOT_SEALED", "_SEALED", |stage| stage.remove("world/_SEALED.json")),
        ("PACK_MANIFEST_INVALID", "version", |stage| {
            stage.edit("world/_oracle_pack_manifest.json", |pack| pack["version"] = json!(1));
        }),
        ("RUN_RECEIPT_UNREADABLE", "world/run_receipt.json", |stage| stage.remove("world/run_receipt.json")),
        ("WORLD_KEY_MISMATCH", "seed", |stage| {
            stage.edit("world/run_receipt.json", |receipt| receipt["seed"] = json!(7));
        }),
        ("GATE_PASS_MISSING", "6B", |stage| stage.remove("world/data/layer3")),
        ("STREAM_VIEW_MISSING", OUTPUTS[1], |stage| {
            stage.remove(&Stage::in_view(OUTPUTS[1], "_stream_sort_receipt.json"));
        }),
    ];
    for (reason, place, doctor) in cases {
        let (_gate, stage) = bare();
        doctor(&stage);
        let refused = wsp(&stage, READY);
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{reason}: {}", refused.err);
        let first = refused.err.lines().next().unwrap();
        assert!(first.starts_with(&format!("wsp: no READY was published: {reason}")), "{reason}: {}", refused.err);
        assert!(refused.err.contains(place) && refused.err.lines().count() == 2, "{reason}: {}", refused.err);
        assert!(!stage.path("control_bus").exists() && !stage.path("store").exists(), "{reason}");
    }
}

#[test]
fn what_can_not_be_published_is_said_before_anything_is_stored() {
    let (_gate, stage) = bare();
    let nothing = |stage: &Stage| !stage.path("control_bus").exists() && !stage.path("store").exists();
    let ready = |more: &[&str]| wsp(&stage, &[READY, more].concat());
    for (more, code, words) in [
        (&["--platform-run-id", "platform_20270101T000000Z"][..], 2, "is not the active run"),
        (&["--platform-run-id", "someday"], 2, "platform_YYYYMMDDTHHMMSSZ"),
        (&["--run-id", "ABC"], 2, "32 lower-case hex digits"),
        (&["--scenario-id", "another"], 1, "WORLD_KEY_MISMATCH"),
    ] {
        let refused = ready(more);
        assert_eq!((refused.code, refused.out.as_str()), (Some(code), ""), "{more:?}: {}", refused.err);
        assert!(refused.err.contains(words) && nothing(&stage), "{more:?}: {}", refused.err);
    }
    let nowhere = wsp(&stage, &["ready", "--profile", "profile.yaml", "--world", "no/such"]);
    assert!(nowhere.code == Some(1) && nowhere.err.contains("no/such/run_receipt.json"), "{}", nowhere.err);
    assert!(wsp(&stage, &["ready", "--profile", "profile.yaml"]).err.contains("--world"));

    // The profile decides on another world.
    copy_tree(&stage.path("world"), &stage.path("other"));
    stage.profile("http://127.0.0.1:1", |profile| profile["wiring"]["oracle_engine_run_root"] = json!("other"));
    let other = wsp(&stage, READY);
    assert!(other.code == Some(1) && other.err.contains("oracle_engine_run_root"), "{}", other.err);
    assert!(nothing(&stage));
}

/// Facts are written once. A READY for others would be refused, so it is not published.
#[test]
fn facts_of_another_that_are_there_already_keep_a_ready_from_being_published() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.remove("control_bus");
    let before = read(&stage.path("store").join(FACTS));
    let of_golden = FACTS.rsplit_once('/').unwrap().1.strip_suffix(".json").unwrap();
    let refused = wsp(&stage, &[READY, &["--run-id", of_golden]].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("RUN_FACTS_MISMATCH") && refused.err.contains("--run-id"), "{}", refused.err);
    assert!(messages(&stage).is_empty() && read(&stage.path("store").join(FACTS)) == before);

    // Half of them is no facts.
    stage.put(&format!("store/{FACTS}"), "{\"run_id\":");
    let torn = wsp(&stage, &[READY, &["--run-id", of_golden]].concat());
    assert!(
        torn.code == Some(1) && torn.err.contains("RUN_FACTS_INVALID") && messages(&stage).is_empty(),
        "{}",
        torn.err
    );

    // A store that can't be written: nothing is published for facts that are not there.
    let (_gate, stage) = bare();
    stage.put("store", "a file");
    let away = wsp(&stage, READY);
    assert!(
        away.code == Some(1) && away.err.contains("STORE_UNAVAILABLE") && messages(&stage).is_empty(),
        "{}",
        away.err
    );
}

/// A view's id depends on how its root is spelled; whoever comes to the folder in another way means the same world.
#[test]
fn a_world_is_named_in_any_way_that_leads_to_it() {
    let (_gate, stage) = bare();
    let absolute = stage.path("world").display().to_string();
    std::os::unix::fs::symlink("world", stage.path("link")).unwrap();
    for name in ["world/", "./world", "store/../world", &absolute, "link"] {
        std::fs::create_dir_all(stage.path("store")).unwrap();
        let dry = wsp(&stage, &["ready", "--profile", "profile.yaml", "--world", name, "--dry-run"]);
        assert_eq!(dry.code, Some(0), "{name}: {}", dry.err);
        let shown: Value = serde_json::from_str(&dry.out).unwrap();
        assert_eq!(shown["ready"]["payload"]["oracle_pack_ref"]["engine_run_root"], "world", "{name}");
    }
    // A copy is another folder, and its views are of the first one.
    copy_tree(&stage.path("world"), &stage.path("copy"));
    let copy = wsp(&stage, &["ready", "--profile", "profile.yaml", "--world", "copy"]);
    assert!(copy.code == Some(1) && copy.err.contains("STREAM_VIEW_ID_MISMATCH"), "{}", copy.err);
}

/// Without an active run a new one is named after the time; `verify` and `report` take the newest.
#[test]
fn without_an_active_run_each_ready_is_a_new_one_and_the_newest_is_looked_at() {
    let (_gate, stage) = bare();
    let free = |args: &[&str]| Told::of(stage.wsp(args).env_remove("PLATFORM_RUN_ID"));
    let looks = |run: &str| {
        for command in ["verify", "report"] {
            let newest = free(&[command, "--profile", "profile.yaml"]);
            assert_eq!(newest.code, Some(0), "{command}: {}{}", newest.out, newest.err);
            assert_eq!(newest.err, format!("the newest run in store: {run}\n"), "{command}");
            assert!(newest.out.contains(run), "{command}");
        }
    };
    let none = free(&["verify", "--profile", "profile.yaml"]);
    assert_eq!(none.code, Some(2), "{}", none.err);
    assert!(none.err.contains("none has left evidence in store") && none.err.contains("--run"), "{}", none.err);
    assert_eq!(wsp(&stage, READY).code, Some(0));
    assert_eq!(stage.run_once().code, Some(0));
    looks(RUN);

    let made = free(READY);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let run = value(&made, "platform run");
    assert!(run.starts_with("platform_2") && run != RUN, "{run}");
    // A run that has facts alone has left no evidence yet.
    looks(RUN);
    let ran = free(&["run", "--profile", "profile.yaml", "--once"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    looks(&run);
    for command in ["verify", "report"] {
        // The one that is named, or the active one, is taken, be it older.
        let named = free(&[command, "--profile", "profile.yaml", "--run", RUN]);
        let active = wsp(&stage, &[command, "--profile", "profile.yaml"]);
        for told in [named, active] {
            assert!(told.code == Some(0) && told.out.contains(RUN) && told.err.is_empty(), "{command}: {}", told.err);
        }
    }
}

/// With the folder named in the profile, or in the environment, a command does the same wherever it is given.
#[test]
fn every_command_works_from_any_folder() {
    let (gate, stage) = bare();
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_folder"] = json!("."));
    let elsewhere = tempfile::tempdir().unwrap();
    let profile = stage.path("profile.yaml").display().to_string();
    let from = |command: &[&str], args: &[&str], env: &[(&str, &str)]| {
        let mut wsp = stage.wsp(&[command, &["--profile", profile.as_str()], args].concat());
        Told::of(wsp.current_dir(elsewhere.path()).envs(env.iter().copied()))
    };
    let works = |command: &[&str], args: &[&str]| {
        let done = from(command, args, &[]);
        assert_eq!(done.code, Some(0), "{command:?} {args:?}: {}{}", done.out, done.err);
        done
    };
    let told_folder = format!("relative paths count from {}\n", stage.folder.path().canonicalize().unwrap().display());
    assert!(works(&["validate"], &[]).out.ends_with(&told_folder));
    works(&["ready"], &["--world", "world"]);
    works(&["plan"], &[]);
    // Files that the command line names count from where the person stands.
    let [message] = messages(&stage).try_into().unwrap();
    std::fs::write(elsewhere.path().join("ready.json"), message.to_string()).unwrap();
    assert!(works(&["plan"], &["--ready", "ready.json"]).out.contains("would be streamed"));
    works(&["run"], &["--once"]);
    assert_eq!(gate.requests(), 250);
    works(&["verify"], &[]);
    works(&["report"], &["--out", "page.html"]);
    assert!(works(&["checkpoint", "show"], &[]).out.contains(FRAUD));
    let mut left: Vec<_> =
        std::fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["page.html", "ready.json"]);
    assert!(stage.path("runs/fraud-platform").join(RUN).join("session.jsonl").exists());

    // Without it the working directory counts, as ever; the environment wins over the profile.
    stage.profile(&gate.url, |_| {});
    let lost = from(&["plan"], &[], &[]);
    assert!(lost.code == Some(2) && lost.err.contains("there is no READY"), "{}{}", lost.out, lost.err);
    let by_env = [("WSP_FOLDER", stage.folder.path().to_str().unwrap())];
    assert_eq!(from(&["report"], &[], &by_env).code, Some(0));
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_folder"] = json!("no/such"));
    assert_eq!(from(&["report"], &[], &by_env).code, Some(0));
    let wrong = from(&["validate"], &[], &[]);
    assert!(wrong.code == Some(2) && wrong.err.contains("wiring.wsp_folder"), "{}", wrong.err);
    assert!(wrong.err.contains("no/such"), "{}", wrong.err);
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_folder"] = json!(["x"]));
    let wrong = from(&["validate"], &[], &[]);
    assert!(wrong.code == Some(2) && wrong.err.contains("wiring.wsp_folder"), "{}", wrong.err);
}

/// A service that answers each call with the next of `answers`, and the last one from then on; and the calls so far.
fn kinesis(answers: Vec<(u16, Value)>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let kept = calls.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let request = Request::read(&mut reader).unwrap();
            let mut call: Value = serde_json::from_slice(&request.body).unwrap();
            call["target"] = request.field("x-amz-target").unwrap_or_default().into();
            let mut calls = kept.lock().unwrap();
            let (status, answer) = &answers[calls.len().min(answers.len() - 1)];
            calls.push(call);
            let answer = answer.to_string();
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n");
            write!(stream, "{head}Content-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        }
    });
    (url, calls)
}

/// What `wsp ready` comes to before such a service, and its calls.
fn ready_on_kinesis(answers: Vec<(u16, Value)>) -> (Told, Vec<Value>, Stage) {
    let (_gate, stage) = bare();
    let (url, calls) = kinesis(answers);
    stage.profile("http://127.0.0.1:1", |profile| {
        profile["wiring"]["control_bus"] =
            json!({"kind": "kinesis", "stream": "fp-control", "endpoint_url": url, "topic": TOPIC});
    });
    let mut command = stage.wsp(READY);
    let told = Told::of(command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "hunter2"));
    assert!(!told.err.contains("hunter2") && !told.out.contains("hunter2"), "{}", told.err);
    let calls = calls.lock().unwrap().clone();
    (told, calls, stage)
}

#[test]
fn a_ready_is_a_record_of_the_stream() {
    let taken = || (200, json!({"ShardId": "shardId-000000000001", "SequenceNumber": "4959"}));
    let busy = |code: &str| (400, json!({"__type": code}));
    for answers in
        [vec![taken()], vec![busy("ProvisionedThroughputExceededException"), busy("InternalFailure"), taken()]]
    {
        let attempts = answers.len();
        let (made, calls, stage) = ready_on_kinesis(answers);
        assert_eq!((made.code, calls.len()), (Some(0), attempts), "{}", made.err);
        assert_eq!(value(&made, "published"), "fp-control/shardId-000000000001/4959");
        for call in &calls {
            assert_eq!(
                (&call["target"], &call["StreamName"]),
                (&json!("Kinesis_20131202.PutRecord"), &json!("fp-control"))
            );
            let data = base64::engine::general_purpose::STANDARD.decode(call["Data"].as_str().unwrap()).unwrap();
            let message: Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(message["message_id"], value(&made, "READY"));
            assert_eq!(call["PartitionKey"], message["partition_key"]);
        }
        assert!(stage.path("store").exists() && !stage.path("control_bus").exists());
    }
    for (code, word) in [("AccessDeniedException", "PutRecord"), ("ResourceNotFoundException", "the stream's name")] {
        let (refused, calls, _stage) = ready_on_kinesis(vec![busy(code)]);
        assert_eq!((refused.code, refused.out.as_str(), calls.len()), (Some(1), "", 1), "{}", refused.err);
        for words in ["CONTROL_TOPIC_UNREACHABLE", "the READY was not published", "fp-control", code, word] {
            assert!(refused.err.contains(words), "{words}: {}", refused.err);
        }
    }
}

/// The first shell block below a heading of the README.
fn commands_below(heading: &str) -> String {
    let readme = text_of("README.md");
    let section = readme.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}")).1;
    let block = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    block.to_owned()
}

/// As they stand, in a folder that has what the repository has; only the gate's port is another one, because tests run side by
/// side.
#[test]
fn the_four_commands_of_the_readme_stream_a_run() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&repository("config"), &folder.path().join("config"));
    let commands = commands_below("Your own run in four commands");
    assert_eq!(commands.lines().count(), 4, "{commands}");
    let address = format!("127.0.0.1:{}", free_port());
    let program = PathBuf::from(env!("CARGO_BIN_EXE_wsp"));
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let shell = |text: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", text]).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        shell.env("PATH", std::env::join_paths(&path).unwrap()).env("WSP_TELEMETRY_LISTEN", "off");
        shell.env("WSP_GATE_LISTEN", &address).env("IG_INGEST_URL", format!("http://{address}"));
        Told::of(&mut shell)
    };
    let ran = shell(&format!("set -e\ntrap 'kill $!' EXIT\n{commands}"));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    let verdicts = ran.out.lines().find(|line| line.starts_with('[')).unwrap_or_else(|| panic!("{}", ran.out));
    let verdicts: Value = serde_json::from_str(verdicts).unwrap();
    assert_eq!((&verdicts[0]["status"], &verdicts[0]["emitted"]), (&json!("STREAMED"), &json!(20_000)), "{verdicts}");
    assert!(verdicts.as_array().is_some_and(|verdicts| verdicts.len() == 1), "{verdicts}");
    // What the README says to do next, from elsewhere.
    let next = shell(
        "profile=$PWD/config/profiles/local.yaml; cd /; wsp verify --profile $profile && wsp report --profile $profile >/dev/null",
    );
    assert_eq!(next.code, Some(0), "{}\n{}", next.out, next.err);
    assert!(next.out.contains("holds together"), "{}", next.out);
    let run = verdicts[0]["message_id"].as_str().unwrap();
    let runs = std::fs::read_dir(folder.path().join("runs/fraud-platform")).unwrap();
    let recorded = runs.filter(|entry| {
        let record = entry.as_ref().unwrap().path().join(format!("wsp/ready_runs/{run}.jsonl"));
        json_lines(&record).len() == 1
    });
    assert_eq!(recorded.count(), 1);
}

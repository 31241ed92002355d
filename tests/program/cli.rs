//! The commands of `wsp`: what they print where, and how they exit.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Running;
use crate::kit::process::Told;
use crate::kit::{self, KEY, MESSAGE, RUN_ONCE, Stage, read, ready_file};

fn wsp(stage: &Stage, args: &[&str]) -> Told {
    Told::of(stage.wsp(args))
}

/// A golden run behind a gate that must not be asked for anything.
fn unsent() -> (CaptureGate, Stage) {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    (gate, stage)
}

const PLAN: &[&str] = &["plan", "--profile", "profile.yaml"];
const PLAN_JSON: &[&str] = &["plan", "--profile", "profile.yaml", "--json"];

#[test]
fn a_plan_shows_all_of_a_run_and_sends_nothing() {
    let (gate, stage) = unsent();
    let plan = wsp(&stage, PLAN_JSON);
    assert_eq!((plan.code, plan.err.as_str()), (Some(0), ""));
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!((&plan["message_id"], &plan["admitted"]), (&json!(MESSAGE), &json!(true)));
    let checks = plan["checks"].as_array().unwrap();
    assert!(checks.len() > 10 && checks.iter().all(|check| check["status"] == "passed"), "{checks:?}");
    let run = &plan["run"];
    assert_eq!((&run["events"], &run["speedup"]), (&json!(250), &json!(0.0)));
    assert!(run["paced_seconds"].is_null() && run["rated_seconds"].is_null());
    for field in ["engine_run_root", "checkpoint_scope", "first_ts_utc", "last_ts_utc", "largest_idle_gap_from"] {
        assert!(run[field].is_string(), "{field}");
    }
    assert!(run["largest_idle_gap_seconds"].as_f64().unwrap() > 0.0);
    let outputs = run["outputs"].as_array().unwrap();
    let rows: Vec<_> = outputs.iter().map(|output| output["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [50, 50, 50, 100]);
    for output in outputs {
        assert_eq!((&output["files"], &output["resumed_at"]), (&json!(1), &json!(0)));
        assert!(output["bytes"].as_u64().unwrap() > 1000 && output["cursor"].is_null());
        assert!(output["first_ts_utc"].as_str().unwrap() <= output["last_ts_utc"].as_str().unwrap());
    }

    let text = wsp(&stage, PLAN);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    assert!(text.out.ends_with(&format!("READY {MESSAGE} would be streamed\n")), "{}", text.out);
    for line in ["events to send    250", "expected duration as fast as it goes (speed-up 0)"] {
        assert!(text.out.lines().any(|told| told == line), "{}", text.out);
    }
    assert_eq!(gate.requests(), 0);
    assert!(!stage.path("checkpoints").exists() && stage.record().is_empty(), "it leaves nothing behind");
}

#[test]
fn a_plan_expects_the_time_that_speed_and_rate_give() {
    let (_gate, stage) = unsent();
    let plan = |env: &[(&str, &str)]| {
        let mut command = stage.wsp(PLAN_JSON);
        command.envs(env.iter().copied());
        Told::of(command).json()["run"].clone()
    };
    let real = plan(&[("WSP_STREAM_SPEEDUP", "1")])["paced_seconds"].as_f64().unwrap();
    let fast = plan(&[("WSP_STREAM_SPEEDUP", "60"), ("WSP_TARGET_EPS", "50")]);
    assert!((fast["paced_seconds"].as_f64().unwrap() * 60.0 - real).abs() < 1e-6 && real > 1.0, "{real}: {fast}");
    assert_eq!(fast["rated_seconds"], json!(5.0));

    // Gaps that are paced as if they were shorter are expected to be.
    let gap = fast["largest_idle_gap_seconds"].as_f64().unwrap();
    stage.profile("http://127.0.0.1:1", |profile| profile["policy"]["max_idle_gap_seconds"] = json!(gap / 2.0));
    let shorter = plan(&[("WSP_STREAM_SPEEDUP", "1")])["paced_seconds"].as_f64().unwrap();
    assert!(shorter <= real - gap / 2.0 + 1e-6, "{shorter} of {real}, with half of {gap}");
}

#[test]
fn a_plan_shows_when_a_campaign_that_is_still_to_come_begins() {
    let (_gate, stage) = unsent();
    let plan = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = stage.wsp(args);
        command.envs(env.iter().copied());
        Told::of(command).out
    };
    let run = |env: &[(&str, &str)]| serde_json::from_str::<Value>(&plan(PLAN_JSON, env)).unwrap()["run"].clone();
    let campaign = ("WSP_CAMPAIGN_START_UTC", "2099-01-01T00:00:00Z");
    let paced = run(&[campaign, ("WSP_STREAM_SPEEDUP", "1")]);
    assert!(paced["starts_utc"].as_str().unwrap().starts_with("2099-01-01T00:00:00.0000"), "{paced}");
    assert!(paced["starts_in_seconds"].as_f64().unwrap() > 1e9, "{paced}");
    let text = plan(PLAN, &[campaign, ("WSP_STREAM_SPEEDUP", "1")]);
    assert!(text.lines().any(|line| line.starts_with("first event due   2099-01-01T00:00:00.0000")), "{text}");
    // Without pacing, and behind a start that is past, nothing waits.
    for env in [
        [campaign, ("WSP_STREAM_SPEEDUP", "0")],
        [("WSP_CAMPAIGN_START_UTC", "2020-01-01T00:00:00Z"), ("WSP_STREAM_SPEEDUP", "1")],
    ] {
        let run = run(&env);
        assert!(run["starts_utc"].is_null() && run["starts_in_seconds"].is_null(), "{run}");
    }
}

#[test]
fn a_simulation_tells_what_happened_and_how_much() {
    let simulated = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsp"));
        command.arg("simulate").args(args);
        Told::of(command)
    };
    let first = simulated(&["--seed", "7", "--trace"]);
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""), "{}", first.out);
    assert!(first.out.contains(" p0 starts on line ") && first.out.contains("broken promises"), "{}", first.out);
    assert_eq!(simulated(&["--seed", "7", "--trace"]).out, first.out, "one seed, one trace");
    let seeds = simulated(&["--from", "7", "--seeds", "2", "--twice"]);
    let line =
        |name: &str| seeds.out.lines().find(|line| line.starts_with(name)).map(|line| line.split_at(20).1.trim());
    assert_eq!((seeds.code, line("seeds"), line("broken promises")), (Some(0), Some("2"), Some("0")), "{}", seeds.out);
}

#[test]
fn a_plan_of_a_run_that_was_streamed_refuses_it() {
    let (gate, stage) = unsent();
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let refused = || {
        let plan = wsp(&stage, PLAN_JSON);
        let told: Value = serde_json::from_str(&plan.out).unwrap();
        let refused = |check: &&Value| check["status"] == "refused";
        let reasons = told["checks"].as_array().unwrap().iter().filter(refused).map(|check| check["reason"].clone());
        (plan.code, reasons.collect::<Vec<_>>())
    };
    // The message itself is a duplicate; another one of the same run is refused by name.
    assert_eq!(refused(), (Some(1), vec![json!("RUN_ALREADY_STREAMED")]));
    let another = MESSAGE.replace('0', "1");
    stage.republish_as(&another, |_| {});
    std::fs::remove_file(stage.path(&ready_file(MESSAGE))).unwrap();
    assert_eq!(refused(), (Some(1), vec![json!("RUN_ALREADY_STREAMED")]));
    assert_eq!(stage.run_once().verdict(), ("FAILED", "RUN_ALREADY_STREAMED"));
    assert_eq!(gate.requests(), 250);
}

#[test]
fn a_plan_of_a_run_that_would_be_refused_says_why_and_exits_1() {
    let (gate, stage) = unsent();
    std::fs::remove_file(stage.path("world/_SEALED.flag"))
        .or_else(|_| std::fs::remove_file(stage.path("world/_SEALED.json")))
        .unwrap();
    let view = stage.path("world/stream_view/ts_utc/output_id=arrival_events_5B");
    std::fs::remove_dir_all(view).unwrap();
    let plan = wsp(&stage, PLAN_JSON);
    assert_eq!(plan.code, Some(1));
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!((&plan["admitted"], &plan["run"]), (&json!(false), &Value::Null));
    let refused = |check: &&Value| check["status"] == "refused";
    let reasons: Vec<_> = plan["checks"].as_array().unwrap().iter().filter(refused).collect();
    let reasons: Vec<_> = reasons.iter().map(|check| check["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"PACK_NOT_SEALED") && reasons.contains(&"STREAM_VIEW_MISSING"), "{reasons:?}");

    let text = wsp(&stage, PLAN);
    assert_eq!(text.code, Some(1));
    assert!(text.out.contains("REFUSED") && text.out.ends_with("would be refused\n"), "{}", text.out);
    assert_eq!(gate.requests(), 0);
}

#[test]
fn a_plan_takes_the_ready_it_is_given_and_none_that_is_not_there() {
    let (_gate, stage) = unsent();
    let ready = stage.path("elsewhere.json");
    std::fs::rename(stage.path(&ready_file(MESSAGE)), &ready).unwrap();
    let plan = wsp(&stage, &[PLAN, &["--ready", "elsewhere.json"]].concat());
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let none = wsp(&stage, PLAN);
    assert_eq!((none.code, none.out.as_str()), (Some(2), ""));
    assert!(none.err.contains("there is no READY on the control topic"), "{}", none.err);
}

#[test]
fn plan_and_checkpoint_follow_a_run() {
    let (gate, stage) = unsent();
    let show = &["checkpoint", "show", "--profile", "profile.yaml"];
    let show_json = &[show.as_slice(), &["--json"]].concat();
    let reset = &["checkpoint", "reset", "--profile", "profile.yaml"];
    let shown = wsp(&stage, show);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(shown.out.contains("nothing saved"), "{}", shown.out);
    let nothing = json!({"cursors": [], "beyond": [], "views": null});
    assert_eq!(serde_json::from_str::<Value>(&wsp(&stage, show_json).out).unwrap(), nothing);

    let capped = Told::of(stage.wsp(&["run", "--profile", "profile.yaml", "--once", "--max-events", "100"]));
    assert_eq!((capped.code, gate.requests()), (Some(0), 100), "{}", capped.err);
    let kept: Value = serde_json::from_str(&wsp(&stage, show_json).out).unwrap();
    let saved: BTreeMap<_, _> =
        stage.cursors().into_iter().map(|(id, cursor)| (id, cursor["last_row_index"].clone())).collect();
    let shown: BTreeMap<_, _> = kept["cursors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cursor| (cursor["output_id"].as_str().unwrap().to_owned(), cursor["last_row_index"].clone()))
        .collect();
    assert_eq!(shown, saved);
    assert_eq!(kept["views"].as_array().unwrap().len(), 4, "{kept}");
    let shown = wsp(&stage, show);
    assert!(saved.keys().all(|output| shown.out.contains(output)), "{}", shown.out);
    assert!(shown.out.contains("they are the run's views"), "{}", shown.out);

    let refused = wsp(&stage, reset);
    assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""));
    assert!(refused.err.contains("--yes") && stage.cursors().len() == saved.len(), "{}", refused.err);
    let done = wsp(&stage, &[reset.as_slice(), &["--yes"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(serde_json::from_str::<Value>(&wsp(&stage, show_json).out).unwrap(), nothing);
}

#[test]
fn a_plan_shows_where_a_run_goes_on() {
    let gate = CaptureGate::scripted(|n, _| match n {
        120 => Reply::Answer(413, r#"{"error":"PAYLOAD_TOO_LARGE"}"#.to_owned()),
        _ => Reply::admit(),
    });
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("FAILED", "IG_PUSH_REJECTED"));
    let plan: Value = serde_json::from_str(&wsp(&stage, PLAN_JSON).out).unwrap();
    assert_eq!((&plan["admitted"], &plan["run"]["events"]), (&json!(true), &json!(130)));
    let outputs = plan["run"]["outputs"].as_array().unwrap();
    assert_eq!(outputs.iter().map(|output| output["resumed_at"].as_u64().unwrap()).sum::<u64>(), 120);
    assert!(outputs.iter().all(|output| {
        output["cursor"]["last_row_index"].as_u64().unwrap() + 1 == output["resumed_at"].as_u64().unwrap()
    }));
}

#[test]
fn validate_names_all_that_is_wrong_with_a_profile() {
    let (_gate, stage) = unsent();
    let right = wsp(&stage, &["validate", "--profile", "profile.yaml"]);
    assert_eq!((right.code, right.err.as_str()), (Some(0), ""));
    assert_eq!(right.out, "profile.yaml: profile local_test is in order; once told to stop, a run ends within 85 s\n");

    stage.profile("http://127.0.0.1:1", |profile| {
        profile["wiring"]["wsp_delivery"] = json!({"in_flight": 0, "windou": 3});
        profile["policy"]["stream_speedup"] = json!(-1);
        profile["wiring"]["security"]["wsp_auth_token"] = Value::Null;
    });
    let wrong = wsp(&stage, &["validate", "--profile", "profile.yaml"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
    for word in ["in_flight", "windou", "stream_speedup", "wsp_auth_token"] {
        assert!(wrong.err.contains(word), "{word}: {}", wrong.err);
    }

    stage.profile("http://127.0.0.1:1", |_| {});
    std::fs::write(stage.path("producers.txt"), "svc:another\n").unwrap();
    let wrong = wsp(&stage, &["validate", "--profile", "profile.yaml"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("PRODUCER_NOT_ALLOWED"), "{}", wrong.err);
    let none = wsp(&stage, &["validate", "--profile", "none.yaml"]);
    assert!(none.code == Some(2) && none.err.contains("none.yaml"), "{}", none.err);
}

#[test]
fn wrong_usage_exits_2_and_says_nothing_on_stdout() {
    let (gate, stage) = unsent();
    let wrong: [&[&str]; 11] = [
        &[],
        &["no-such-command"],
        &["run"],
        &["run", "--profile", "none.yaml", "--once"],
        &["run", "--profile", "profile.yaml", "--poll-seconds", "-1"],
        &["run", "--profile", "profile.yaml", "--scenario-id", "baseline_v1"],
        &["run", "--profile", "profile.yaml", "--engine-run-root", "world", "--once"],
        &["run", "--profile", "profile.yaml", "--max-events", "some"],
        &["--log", "wsp=loud", "validate", "--profile", "profile.yaml"],
        &["gate", "--listen", "127.0.0.1:0", "--api-key", "k", "--faults", "status=503"],
        &["world", "--out", "w", "--events", "1"],
    ];
    for args in wrong {
        let told = wsp(&stage, args);
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{args:?}: {}", told.err);
        assert!(!told.err.is_empty(), "{args:?}");
    }
    assert_eq!(gate.requests(), 0);
}

#[test]
fn once_prints_its_results_on_stdout_and_its_log_as_json_lines_on_stderr() {
    let (_gate, stage) = unsent();
    let ran = wsp(&stage, RUN_ONCE);
    let recorded = std::fs::read_to_string(stage.evidence(&format!("wsp/ready_runs/{MESSAGE}.jsonl"))).unwrap();
    let results = format!("[{}]\n", recorded.trim_end());
    assert_eq!(ran.out, results, "one array of what is on record, as the legacy producer prints it");
    assert!(!ran.err.is_empty());
    for line in ran.err.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(!ran.err.contains(KEY), "the key is never printed");
    let quiet = wsp(&stage, &["--log", "error", "run", "--profile", "profile.yaml", "--once"]);
    assert_eq!(quiet.err, "");
}

/// The legacy command line, and the log lines that the platform takes for evidence.
#[test]
fn the_legacy_command_line_and_its_log_lines_are_understood() {
    let (gate, stage) = unsent();
    let legacy =
        "run --profile profile.yaml --once --poll-seconds 2 --max-messages 0 --max-events 0 --max-events-per-output 0";
    let ran = wsp(&stage, &legacy.split(' ').collect::<Vec<_>>());
    assert_eq!((ran.code, gate.requests()), (Some(0), 250), "no cap of 0: {}", ran.err);
    let lines = |err: &str| {
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let lines = err.lines().map(line).filter(|line| line["level"] == "INFO");
        let texts = lines.map(|line| line["message"].as_str().unwrap().to_owned());
        texts.filter(|text| text.starts_with("WSP stream ")).collect::<Vec<_>>()
    };
    let run = "4c3fd444c29c63ada8df6eb5f038bda4";
    let outputs = kit::OUTPUTS.iter().zip([50, 50, 50, 100]);
    let (starts, ends): (Vec<_>, Vec<_>) = outputs
        .map(|(output, rows)| {
            let start = format!(
                "WSP stream start run_id={run} output_id={output} max_events=all speedup=0.00 concurrency=1 lane=0/1"
            );
            (start, format!("WSP stream complete run_id={run} output_id={output} emitted={rows} lane=0/1"))
        })
        .unzip();
    assert_eq!(lines(&ran.err), [starts, ends].concat());

    let (gate, stage) = unsent();
    stage.profile(&gate.url, |profile| profile["wiring"]["wsp_delivery"] = json!({"in_flight": 4}));
    let mut capped = stage.wsp(&["run", "--profile", "profile.yaml", "--once", "--max-events-per-output", "60"]);
    let ran = Told::of(capped.env("WSP_STREAM_SPEEDUP", "1000000").env("WSP_LOG", "info"));
    let said = lines(&ran.err);
    let start = |output| {
        format!(
            "WSP stream start run_id={run} output_id={output} max_events=60 speedup=1000000.00 concurrency=4 lane=0/1"
        )
    };
    assert_eq!(said[..4], kit::OUTPUTS.map(start));
    let (full, cut) = ("emitted=50 lane=0/1", "emitted=60 reason=max_events lane=0/1");
    assert!(said[4..7].iter().all(|line| line.starts_with("WSP stream complete ") && line.ends_with(full)), "{said:?}");
    assert!(said[7].starts_with("WSP stream stop ") && said[7].ends_with(cut), "{said:?}");
}

#[test]
fn a_retry_is_said_at_info_once_a_second_at_most() {
    let gate = CaptureGate::scripted(|n, _| match n {
        0..40 if n % 2 == 0 => Reply::Answer(503, r#"{"error":"PUBLISH_IN_FLIGHT_RETRY"}"#.to_owned()),
        _ => Reply::admit(),
    });
    let stage = Stage::golden(&gate.url);
    let ran = wsp(&stage, RUN_ONCE);
    assert_eq!((ran.code, gate.requests()), (Some(0), 270), "{}", ran.err);
    let lines = ran.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let retries: Vec<_> =
        lines.filter(|line| line["message"].as_str().unwrap().starts_with("WSP IG push retry ")).collect();
    // Twenty retries of a few milliseconds each; a loaded machine may take some seconds for them.
    assert!((1..=10).contains(&retries.len()), "{retries:?}");
    let first = retries[0]["message"].as_str().unwrap();
    assert!(first.starts_with("WSP IG push retry attempt=1/5 delay=0.0") && first.contains("503"), "{first}");
    assert_eq!(retries[0]["level"], "INFO");
}

#[test]
fn completions_and_manual_page_know_the_commands() {
    let (_gate, stage) = unsent();
    let bash = wsp(&stage, &["completions", "bash"]);
    assert_eq!((bash.code, bash.err.as_str()), (Some(0), ""));
    let man = wsp(&stage, &["man"]);
    assert_eq!((man.code, man.err.as_str()), (Some(0), ""));
    assert!(man.out.contains(".TH wsp 1"));
    assert_eq!(wsp(&stage, &["man", "--out", "manual"]).code, Some(0));
    let page = |name: &str| std::fs::read_to_string(stage.path(&format!("manual/{name}.1"))).unwrap();
    assert!(page("wsp").contains(".TH wsp 1"));
    assert!(page("wsp-checkpoint-show").contains(".TH wsp-checkpoint-show 1"));
    for command in ["demo", "run", "plan", "validate", "checkpoint", "gate", "world", "completions", "man"] {
        assert!(bash.out.contains(command) && man.out.contains(&format!("wsp\\-{command}")), "{command}");
    }
}

fn tree(folder: &Path, below: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree(&path, below, files);
        } else {
            files.insert(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned(), read(&path));
        }
    }
}

#[test]
fn a_world_is_the_same_for_the_same_seed_and_never_overwritten() {
    let (_gate, stage) = unsent();
    let world = |folder: &str, seed: &str| {
        let folder = stage.path(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let args = ["world", "--out", "w", "--events", "300", "--parts", "2", "--days", "0.5", "--seed", seed];
        let mut command = stage.wsp(&args);
        command.current_dir(&folder);
        let told = Told::of(command);
        let mut files = BTreeMap::new();
        tree(&folder, &folder, &mut files);
        (told, files)
    };
    let (first, files) = world("a", "7");
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""));
    assert!(first.out.contains("oracle_pack_id") && first.out.contains("s3_event_stream_with_fraud_6B"));
    let parts = files.keys().filter(|name| name.contains("with_fraud_6B/part-") && name.ends_with(".parquet")).count();
    assert_eq!(parts, 4, "two parts of two outputs: {:?}", files.keys());
    let (second, same) = world("b", "7");
    assert!(second.out == first.out && same == files, "the same seed, the same bytes");
    let (other, different) = world("c", "8");
    assert!(other.code == Some(0) && different != files);
    let (again, kept) = world("a", "8");
    assert_eq!((again.code, again.out.as_str()), (Some(2), ""));
    assert!(kept == files, "what is there stays");
}

/// One request on a connection of its own: status and body.
fn ask(address: &str, request: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request}\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_gate_says_where_it_is_answers_and_ends_in_peace() {
    let (_gate, stage) = unsent();
    for signal in ["TERM", "INT"] {
        let args = ["gate", "--listen", "127.0.0.1:0", "--api-key", KEY, "--journal", "journal.jsonl"];
        let mut gate = Running::start(&stage, "gate", &args);
        let out = stage.path("gate.out");
        gate.until("its address", || read(&out).ends_with(b"\n"));
        let url = gate.out().trim_end().to_owned();
        let address = url.strip_prefix("http://").unwrap();
        let health = format!("GET /v1/ops/health HTTP/1.1\r\nX-IG-Api-Key: {KEY}");
        assert_eq!(ask(address, &health), (200, json!({"reasons": [], "state": "GREEN"})));
        assert_eq!(ask(address, "GET /v1/ops/health HTTP/1.1").0, 401);

        // A run into it, so that there is something to tell; the second gate knows the first one's journal.
        stage.profile(&url, |profile| profile["wiring"]["wsp_checkpoint"]["root"] = signal.into());
        let ran = wsp(&stage, RUN_ONCE);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        std::fs::remove_dir_all(stage.evidence("wsp")).unwrap();

        gate.signal(signal);
        let (code, out) = gate.exit();
        assert_eq!(code, Some(0));
        let told = if signal == "TERM" { "250 admitted, 0 duplicates" } else { "0 admitted, 250 duplicates" };
        assert!(out.lines().nth(1).unwrap().contains(told), "{out}");
    }
    assert_eq!(kit::json_lines(&stage.path("journal.jsonl")).len(), 500);
}

/// With a gate that only a file's authority vouches for, and without that file.
#[test]
fn a_run_trusts_the_authorities_of_its_ca_file() {
    let (_gate, stage) = unsent();
    let data = crate::kit::repository("src/deliver/http/testdata");
    let file = |name: &str| format!("{}/{name}.pem", data.display());
    let (certificate, key) = (file("localhost"), file("localhost.key"));
    let args = ["gate", "--listen", "127.0.0.1:0", "--api-key", KEY, "--tls-cert", &certificate, "--tls-key", &key];
    let mut gate = Running::start(&stage, "gate", &args);
    let out = stage.path("gate.out");
    gate.until("its address", || read(&out).ends_with(b"\n"));
    let url = gate.out().trim_end().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    stage.profile(&url, |profile| profile["wiring"]["wsp_delivery"] = json!({"ca_file": file("other-root")}));
    let ran = wsp(&stage, RUN_ONCE);
    assert!(ran.code == Some(1) && ran.out.contains("IG_PUSH_RETRY_EXHAUSTED"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("ca_file"), "{}", ran.err);
    stage.profile(&url, |profile| profile["wiring"]["wsp_delivery"] = json!({"ca_file": file("root")}));
    let ran = wsp(&stage, RUN_ONCE);
    assert!(ran.code == Some(0) && ran.out.contains("STREAMED"), "{}{}", ran.out, ran.err);
    stage.profile(&url, |profile| profile["wiring"]["wsp_delivery"] = json!({"ca_file": "none.pem"}));
    let ran = wsp(&stage, RUN_ONCE);
    assert!(ran.code == Some(2) && ran.err.contains("none.pem"), "{:?} {}", ran.code, ran.err);
    gate.signal("TERM");
    assert_eq!(gate.exit().0, Some(0));
}

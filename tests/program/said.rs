//! What the program says: where nothing is there, while it waits, in its help, and in which form.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::{Running, nap};
use crate::kit::process::Told;
use crate::kit::{RUN, Stage, TOPIC, read};
use crate::ready::{READY, bare};

fn wsp(stage: &Stage, args: &[&str]) -> Told {
    Told::of(stage.wsp(args))
}

#[test]
fn a_plan_of_nothing_says_where_nothing_is_and_what_to_do() {
    let (_gate, stage) = bare();
    let checked = |stage: &Stage, args: &[&str]| {
        let none = wsp(stage, args);
        assert_eq!((none.code, none.out.as_str()), (Some(2), ""), "{args:?}: {}", none.err);
        let words =
            format!("wsp: there is no READY on the control topic {TOPIC} (files in control_bus/{TOPIC}); publish");
        assert!(none.err.starts_with(&words), "{args:?}: {}", none.err);
        assert!(none.err.contains("`wsp ready") && none.err.contains("--ready"), "{args:?}: {}", none.err);
    };
    let commands: [&[&str]; 2] =
        [&["plan", "--profile", "profile.yaml"], &["checkpoint", "show", "--profile", "profile.yaml"]];
    for args in commands {
        checked(&stage, args);
    }
    // A folder with messages for others is no better.
    stage.put(&format!("control_bus/{TOPIC}/x.json"), "{}");
    for args in commands {
        checked(&stage, args);
    }
    let once = wsp(&stage, &["run", "--profile", "profile.yaml", "--once"]);
    assert!(once.code != Some(0) && once.err.contains("can't be read"), "{}", once.err);
    stage.remove(&format!("control_bus/{TOPIC}/x.json"));
    let once = wsp(&stage, &["run", "--profile", "profile.yaml", "--once"]);
    assert!(
        once.code == Some(3) && once.err.contains("nothing to stream") && once.err.contains("`wsp ready"),
        "{}",
        once.err
    );
}

/// A service with nothing to do says what it waits for; a READY that waits is a line, whatever the number of looks.
#[test]
fn what_a_service_waits_for_is_said_at_once_and_not_at_each_look() {
    let (_gate, stage) = bare();
    let args = ["run", "--profile", "profile.yaml", "--poll-seconds", "0.02"];
    let mut command = stage.wsp(&args);
    command.env("WSP_TELEMETRY_LISTEN", "off").env("WSP_READY_REQUIRED_PACKS", "ingest.yaml");
    let mut service = Running::spawn(&stage, "service", &mut command);
    let err = service.err_file();
    let lines = |what: &str| -> Vec<Value> {
        let all = json_lines_so_far(&err);
        all.into_iter().filter(|line| line["message"].as_str().unwrap_or_default().contains(what)).collect()
    };
    service.until("it says what it waits for", || !lines("waiting for READYs").is_empty());
    let idle = lines("waiting for READYs");
    let words = format!("waiting for READYs of {RUN} on the control topic {TOPIC} (files in control_bus/{TOPIC})");
    assert_eq!((idle.len(), idle[0]["message"].as_str()), (1, Some(words.as_str())));

    assert_eq!(wsp(&stage, READY).code, Some(0));
    service.until("many looks", || service_looks(&stage) >= 16);
    let waits = lines("a READY waits");
    assert_eq!(waits.len(), 1, "{waits:?}");
    let wait = &waits[0];
    assert_eq!((&wait["level"], &wait["status"]), (&json!("WARN"), &json!("DEFERRED_DOWNSTREAM_NOT_READY")));
    assert!(wait["refusal"].as_str().unwrap().contains("PACK_FILE_MISSING"), "{wait}");
    assert!(wait["next"].as_str().unwrap().contains("looks at the READY again by itself"), "{wait}");
    assert!(wait["since"].as_str().unwrap().ends_with('Z'), "{wait}");

    // Another cause is news.
    stage.put("ingest.yaml", "version: 1\npack_id: ingest\nprocesses: [{id: gate}]\n");
    service.until("the next cause", || lines("a READY waits").len() == 2);
    assert!(lines("a READY waits")[1]["refusal"].as_str().unwrap().contains("PACK_STATE_MISSING"));
    service.signal("TERM");
    assert_eq!(service.exit().0, Some(0));
}

#[test]
fn a_control_topic_that_can_not_be_read_is_said_once_and_is_read_when_it_can_be() {
    let (gate, stage) = bare();
    let topic = format!("control_bus/{TOPIC}");
    stage.put(&topic, "a file");
    let mut command = stage.wsp(&["run", "--profile", "profile.yaml", "--poll-seconds", "0.02"]);
    let mut service = Running::spawn(&stage, "service", command.env("WSP_TELEMETRY_LISTEN", "off"));
    let err = service.err_file();
    let lines = || {
        let all = json_lines_so_far(&err).into_iter();
        all.filter(|line| line["message"] == "the control topic can't be read").collect::<Vec<_>>()
    };
    service.until("it says so", || !lines().is_empty());
    nap(Duration::from_millis(600));
    let said = lines();
    assert!(said.len() == 1 && said[0]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{said:?}");
    stage.remove(&topic);
    assert_eq!(wsp(&stage, READY).code, Some(0));
    service.until("the run", || gate.requests() == 250);
    service.signal("TERM");
    assert!(matches!(service.exit().0, Some(0 | 3)));
}

/// A gate that takes nothing in the middle of a run: since when, and until when the run waits.
#[test]
fn a_wait_for_the_gate_is_said_with_its_end() {
    let gate = CaptureGate::scripted(|nth, _| match nth {
        0..10 => Reply::admit(),
        10..12 => Reply::Answer(503, String::new()),
        _ => Reply::admit_held(),
    });
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        profile["wiring"]["wsp_delivery"] = json!({"circuit_failures": 2, "circuit_limit_seconds": 250});
    });
    let mut run = Running::start(&stage, "run", &["run", "--profile", "profile.yaml", "--once"]);
    let err = run.err_file();
    let line = |what: &str| {
        let lines = json_lines_so_far(&err);
        lines.into_iter().find(|line| line["message"].as_str().is_some_and(|message| message.contains(what)))
    };
    run.until("it says that it waits", || line("the gate takes no event").is_some());
    let wait = line("the gate takes no event").unwrap();
    let at = |name: &str| wsp_world::model::Micros::parse(wait[name].as_str().unwrap().as_bytes()).unwrap().0;
    let seconds = (at("until") - at("since")) as f64 / 1e6;
    assert!((249.9..250.1).contains(&seconds) && wait["level"] == "WARN", "{wait}");
    gate.release();
    let ran = run.end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
}

/// Whole lines alone; the last one may be half written.
fn json_lines_so_far(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Looks at the one READY that waits, as its evidence has them.
fn service_looks(stage: &Stage) -> u64 {
    let Ok(entries) = std::fs::read_dir(stage.evidence("wsp/deferrals")) else { return 0 };
    let looks = entries.filter_map(|entry| {
        let deferral: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).ok()?).ok()?;
        deferral["looks"].as_u64()
    });
    looks.max().unwrap_or(0)
}

#[test]
fn the_help_of_a_gate_and_of_the_demo_shows_the_faults() {
    let (_gate, stage) = bare();
    for command in ["gate", "demo"] {
        let help = wsp(&stage, &[command, "--help"]);
        assert_eq!(help.code, Some(0));
        for line in wsp_reference::gate::faults::GRAMMAR.lines().filter(|line| !line.is_empty()) {
            assert!(help.out.lines().any(|shown| shown.trim() == line.trim()), "{command}: {line}\n{}", help.out);
        }
    }
    let args = ["gate", "--listen", "127.0.0.1:0", "--api-key", "k", "--faults", "latency=10ms"];
    let mut gate = Running::start(&stage, "gate", &args);
    let out = gate.out_file();
    gate.until("its address", || read(&out).ends_with(b"\n"));
    gate.signal("TERM");
    assert_eq!(gate.exit().0, Some(0));
}

#[test]
fn the_log_has_the_form_that_is_asked_for() {
    let (_gate, stage) = bare();
    assert_eq!(wsp(&stage, READY).code, Some(0));
    let is_json =
        |err: &str| err.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()));
    let is_text = |err: &str| err.lines().all(|line| !line.starts_with('{') && line.as_bytes().get(2) == Some(&b':'));
    let run = |more: &[&str]| {
        let ran = wsp(&stage, &[more, &["run", "--profile", "profile.yaml", "--once"]].concat());
        assert!(ran.code == Some(0) && !ran.err.is_empty(), "{more:?}: {}", ran.err);
        ran.err
    };
    for (form, text) in [(&[][..], false), (&["--log-format", "json"], false), (&["--log-format", "text"], true)] {
        let err = run(form);
        assert!(if text { is_text(&err) } else { is_json(&err) }, "{form:?}: {err}");
    }
    let by_env = Told::of(stage.wsp(&["run", "--profile", "profile.yaml", "--once"]).env("WSP_LOG_FORMAT", "text"));
    assert!(by_env.code == Some(0) && is_text(&by_env.err), "{}", by_env.err);
    let wrong = wsp(&stage, &["--log-format", "xml", "validate", "--profile", "profile.yaml"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("text") && wrong.err.contains("json"), "{}", wrong.err);

    // Only stdout is a terminal.
    let mut terminal = Command::new("script");
    let inner = format!("'{}' run --profile profile.yaml --once 2>log", env!("CARGO_BIN_EXE_wsp"));
    terminal.args(["-qefc", &inner, "/dev/null"]).current_dir(stage.folder.path()).env_clear().stdin(Stdio::null());
    terminal.env("PLATFORM_RUN_ID", RUN).env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", "xterm");
    match terminal.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => println!("SKIPPED: no script (util-linux)"),
        ran => {
            assert!(ran.unwrap().status.success());
            let log = String::from_utf8(read(&stage.path("log"))).unwrap();
            assert!(!log.is_empty() && is_text(&log) && !log.contains('\x1b'), "{log}");
        }
    }
}

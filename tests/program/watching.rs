//! `wsp status --watch`: a run watched from another terminal.

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Running;
use crate::kit::process::Told;
use crate::kit::watch::{RUN_ARGS, start};
use crate::kit::{RUN, Stage};
use crate::telemetry::{half_open, terminal};

fn watch(stage: &Stage, address: &str, more: &[&str]) -> Running {
    let args = [&["status", "--address", address, "--watch", "0.1"], more].concat();
    Running::start(stage, "watch", &args)
}

fn out(watch: &Running) -> String {
    String::from_utf8_lossy(&std::fs::read(watch.out_file()).unwrap()).into_owned()
}

#[test]
fn a_watch_shows_a_run_again_and_again_and_ends_with_it() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    let mut watched = watch(&stage, &address, &[]);
    let file = watched.out_file();
    watched.until("some looks", || {
        String::from_utf8_lossy(&std::fs::read(&file).unwrap()).matches("100 of 250").count() > 2
    });
    gate.release();
    let err = watched.err_file();
    let (code, out) = watched.exit();
    assert_eq!(code, Some(0), "{out}");
    assert!(!out.contains('\x1b') && out.contains("\n\nwsp "), "blocks, one after another: {out}");
    let err = std::fs::read_to_string(err).unwrap();
    assert!(err.contains(&format!("{RUN} streamed at ")) && err.contains("250 events answered"), "{err}");

    // The run that ended before is not the one that a second watch waits for.
    let mut second = watch(&stage, &address, &["--json"]);
    let file = second.out_file();
    second.until("some looks", || std::fs::read_to_string(&file).unwrap().lines().count() > 2);
    for line in out_lines(&second) {
        assert_eq!(line["last"]["status"], "STREAMED", "{line}");
    }
    second.signal("INT");
    assert_eq!(second.exit().0, Some(3), "^C");
}

fn out_lines(watch: &Running) -> Vec<serde_json::Value> {
    let out = out(watch);
    let (whole, _) = out.rsplit_once('\n').unwrap();
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_watch_of_a_run_that_fails_says_why() {
    let gate = CaptureGate::scripted(|nth, _| match nth {
        0..10 => Reply::admit(),
        _ => Reply::Held(422, "{}".to_owned()),
    });
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 11);
    let mut watched = watch(&stage, &address, &[]);
    let file = watched.out_file();
    watched.until("a look", || String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("10 of 250"));
    gate.release();
    let err = watched.err_file();
    assert_eq!(watched.exit().0, Some(1));
    let err = std::fs::read_to_string(err).unwrap();
    assert!(err.contains(&format!("{RUN} failed at ")) && err.contains("IG_PUSH_REJECTED"), "{err}");
}

#[test]
fn a_watch_says_when_nobody_answers_any_more() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    let mut watched = watch(&stage, &address, &[]);
    let file = watched.out_file();
    watched.until("a look", || String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("100 of 250"));
    assert!(running.kill(), "it ran");
    let err = watched.err_file();
    let said = |words: &str| std::fs::read_to_string(&err).unwrap().contains(words);
    watched.until("it says so", || said(&format!("no answer from {address}")) && said("asked again for 10 s"));
    assert_eq!(watched.exit().0, Some(3));
    assert!(said(&format!("{address} has not answered since ")), "{}", std::fs::read_to_string(&err).unwrap());
}

#[test]
fn a_watch_of_nobody_is_a_failure_at_once_and_seconds_have_bounds() {
    let stage = Stage::golden("http://127.0.0.1:1");
    let nobody = Told::of(stage.wsp(&["status", "--address", "127.0.0.1:1", "--watch"]));
    assert!(nobody.code == Some(1) && nobody.err.contains("no answer from 127.0.0.1:1"), "{}", nobody.err);
    for seconds in ["0", "-1", "4000", "x", "NaN"] {
        let wrong = Told::of(stage.wsp(&["status", &format!("--watch={seconds}")]));
        assert_eq!(wrong.code, Some(2), "{seconds}: {}", wrong.err);
    }
}

#[test]
#[ignore = "needs script (util-linux)"]
fn a_watch_on_a_terminal_is_drawn_over() {
    let gate = half_open();
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("a held request", || gate.requests() == 101);
    let mut drawn = terminal(&stage, &format!("status --address {address} --watch 0.1"), 60, &[]);
    let mut watched = Running::spawn(&stage, "terminal", &mut drawn);
    let file = watched.out_file();
    watched.until("frames", || String::from_utf8_lossy(&std::fs::read(&file).unwrap()).matches("\x1b[H").count() > 3);
    gate.release();
    let (code, out) = watched.exit();
    assert_eq!(code, Some(0), "{out:?}");
    assert_eq!(out.matches("\x1b[2J").count(), 1, "cleared once, then drawn over: {out:?}");
    assert!(out.contains("\x1b[1m") && out.contains("\x1b[J"), "{out:?}");
    let widths = out.split(['\n', '\r']).filter(|line| line.contains(" of 250") || line.contains("/s"));
    let plain = |line: &str| {
        let mut line = line.to_owned();
        for code in ["\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[1m", "\x1b[0m"] {
            line = line.replace(code, "");
        }
        line.chars().count()
    };
    assert!(widths.map(plain).max().is_some_and(|widest| widest < 60), "{out:?}");
}

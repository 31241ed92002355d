//! Sinks that are no intake of HTTP: stdout and files. Kafka is in `tests/live/replay.rs`.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Folder, at, lines};
use crate::kit::live::nap;

/// A replay of `a.jsonl` as fast as it goes.
fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["a.jsonl", "--time", "at", "--speedup", "0"], more].concat()
}

#[test]
fn stdout_has_a_body_a_line_and_the_summary_is_elsewhere() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("b.csv", &format!("at,n\n{},x\n", at(1)))]);
    let told = folder.replay(&args(&["b.csv", "--to", "-", "--key", "n", "--in-flight", "8"]));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let ours = lines(0..3);
    let ours: Vec<&str> = ours.lines().collect();
    let csv = format!("{{\"at\":\"{}\",\"n\":\"x\"}}", at(1));
    assert_eq!(told.out.lines().collect::<Vec<_>>(), [ours[0], ours[1], &csv, ours[2]], "in order of time");
    assert!(told.err.contains("\"accepted\": 4"), "{}", told.err);
    let told = folder.replay(&args(&["--to", "-", "--fresh", "--summary", "s.json"]));
    assert_eq!((told.out, told.code), (lines(0..3), Some(0)));
    assert!(!told.err.contains("\"accepted\""), "{}", told.err);
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path("s.json")).unwrap()).unwrap();
    assert_eq!((&summary["ended"], &summary["accepted"]), (&"done".into(), &3.into()));
}

#[test]
fn whoever_reads_stdout_sees_events_when_they_are_due() {
    let folder = Folder::new(&[("a.jsonl", &(lines(0..1) + &lines(3600..3601)))]);
    let mut command = folder.command(&["a.jsonl", "--time", "at", "--to", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = vec![0; lines(0..1).len()];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(String::from_utf8(first).unwrap(), lines(0..1), "an hour before the second");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..60_000))]);
    let mut child =
        folder.command(&args(&["--to", "-"])).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && err.contains("the output can't be written: Broken pipe"), "{err}");
}

#[test]
fn killed_over_and_over_a_file_has_every_event_once_and_in_order() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..4000))]);
    let args = ["a.jsonl", "--time", "at", "--rate", "4000", "--to", "file:out.jsonl", "--save-every", "100"];
    let out = folder.path("out.jsonl");
    let length = || std::fs::metadata(&out).map_or(0, |meta| meta.len());
    for _ in 0..4 {
        let mut child = folder.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let before = length();
        while length() < before + 20_000 {
            assert_eq!(child.try_wait().unwrap(), None, "it is killed before its end");
            nap(Duration::from_millis(5));
        }
        child.kill().unwrap();
        let err = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        assert!(err.contains("a crash repeats 0 at most"), "{err}");
    }
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), lines(0..4000));
    // What is done is not touched again, and what begins anew is.
    let told = folder.replay(&args);
    assert_eq!((told.code, length() as usize), (Some(0), lines(0..4000).len()), "{}", told.err);
    let fresh = ["a.jsonl", "--time", "at", "--speedup", "0", "--limit", "5", "--to", "file:out.jsonl", "--fresh"];
    assert_eq!(folder.replay(&fresh).code, Some(0));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), lines(0..5));
}

#[test]
fn a_file_that_is_something_else_is_refused_before_anything_is_written() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("out", "precious\n"), ("b", "")]);
    for (more, words) in [
        (&["--to", "./out"][..], "--to: ./out: it holds 9 bytes already; name another file, or --fresh overwrites it"),
        (&["--to", "file:a.jsonl"], "is an input, too"),
        (&["--to", "file:b", "--dead-letter", "b"], "--dead-letter: it is the file of --to"),
        (&["--to", "/"], "it is no regular file"),
        (&["--to", "out"], "--to: \"out\" is neither"),
        (&["--to", "intake.example/v1"], "file:intake.example/v1"),
        (&["--to", "-", "--drop-on", "404"], "--drop-on: it is for an intake of HTTP"),
        (&["--to", "-", "-H", "X: y"], "--header: a line has no headers"),
        (&["--to", "file:b", "--kafka", "linger.ms=1"], "--kafka: it is for kafka://"),
        (&["--to", "kafka://a"], "--to: a topic is given as kafka://"),
        (&["--to", "kafka://a/t", "--kafka", "acks=0"], "--kafka: acks can't be set"),
    ] {
        let told = folder.replay(&args(more));
        assert!(told.code == Some(2) && told.err.contains(words), "{more:?}: {:?} {}", told.code, told.err);
    }
    assert_eq!(std::fs::read_to_string(folder.path("out")).unwrap(), "precious\n");
    // Of another replay than the state's, or changed since.
    assert_eq!(folder.replay(&args(&["--to", "file:c", "--limit", "2"])).code, Some(0));
    std::fs::write(folder.path("c"), "").unwrap();
    let told = folder.replay(&args(&["--to", "file:c"]));
    assert!(told.code == Some(2) && told.err.contains("it was changed"), "{}", told.err);
}

#[test]
fn an_event_that_is_no_line_ends_it_or_is_a_dead_letter() {
    let folder = Folder::new(&[("a.jsonl", &format!("{{\"at\":\"{}\",\"x\":\"a\\nb\"}}\n", at(0)))]);
    let told = folder.replay(&args(&["--to", "-", "--body-column", "x"]));
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(told.err.contains("a.jsonl, row 1, id ") && told.err.contains("a line break"), "{}", told.err);
    let told = folder.replay(&args(&["--to", "-", "--body-column", "x", "--dead-letter", "dead.jsonl"]));
    assert_eq!((told.code, told.out.as_str()), (Some(0), ""), "{}", told.err);
    let letter = std::fs::read_to_string(folder.path("dead.jsonl")).unwrap();
    assert!(letter.contains("\"body_text\":\"a\\nb\""), "{letter}");
}

#[test]
fn a_plan_shows_lines_and_records_as_they_would_be_written() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..4))]);
    let shown = |more: &[&str]| {
        let told = folder.replay(&[&args(more)[..], &["--plan", "--json"]].concat());
        assert_eq!(told.code, Some(0), "{}", told.err);
        told.json()["first_requests"][1].as_str().unwrap().to_owned()
    };
    let ours = lines(1..2);
    assert_eq!(shown(&["--to", "-"]), ours.trim_end());
    let record = shown(&[
        "--to",
        "kafka://a:9092/orders",
        "--key",
        "customer,n",
        "--id",
        "n",
        "-H",
        "X-N: {n}",
        "-H",
        "X-Source: replay",
    ]);
    let expected =
        format!("topic: orders\nx-source: replay\nkey: c1\u{1f}1\nidempotency-key: 1\nx-n: 1\n\n{}", ours.trim_end());
    assert_eq!(record, expected);
}

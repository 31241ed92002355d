//! What can't be replayed is refused: by flag, file, row and column, and with what to do.

use std::process::Stdio;
use std::time::Duration;

use wsp::clock::{Clock, SystemClock};

use super::{Folder, Intake, at, lines};
use crate::kit::live::nap;
use crate::kit::process::free_port;

/// Exit code and message of a replay of `a.*`, and how many events came.
fn refused(files: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String, usize) {
    let folder = Folder::new(files);
    let intake = Intake::willing();
    let url = intake.url();
    let told = folder.replay(&[&["--to", &url, "--speedup", "0"], args].concat());
    (told.code, told.err, intake.taken().len())
}

#[test]
fn rows_that_can_not_be_sent_are_named_behind_those_before_them() {
    let good = lines(0..3);
    let csv = format!("at,n\n{},1\n", at(0));
    for (name, text, args, words, came) in [
        ("a.jsonl", format!("{good}{}", lines(1..2)), &[][..], "a.jsonl, row 4: its time", 3),
        ("a.jsonl", format!("{good}{{\"n\":1}}\n"), &[], "a.jsonl, row 4, column at: no event time", 3),
        ("a.jsonl", format!("{good}nonsense\n"), &[], "a.jsonl, row 4: no JSON object", 3),
        ("a.jsonl", format!("{good}{{\"at\":\"{}\"}}\n", at(9)), &["--id", "n"], "a.jsonl, row 4, column n: null", 3),
        ("a.csv", format!("{csv}{},x,y\n", at(1)), &[], "a.csv, row 2: the record has 3 cells", 1),
        (
            "a.csv",
            format!("{csv}{},x\n", at(1)),
            &["--csv-types", "n=number"],
            "a.csv, row 2, column n: \"x\" is no number",
            1,
        ),
        ("a.csv", csv.clone(), &["--key", "m"], "a.csv: the file has no column m; its first line names at, n", 0),
        ("a.parquet", "PAR1".to_owned(), &[], "a.parquet: it can't be read as Parquet", 0),
        ("a.arrow", "x".to_owned(), &[], "a.arrow: it can't be read as Arrow IPC", 0),
    ] {
        let (code, err, events) = refused(&[(name, &text)], &[&[name, "--time", "at"], args].concat());
        assert!(code == Some(1) && err.contains(words) && events == came, "{words}: {code:?} {events} {err}");
    }
}

#[test]
fn a_call_that_means_nothing_is_refused_before_anything_is_sent() {
    let file = [("a.jsonl", &*lines(0..3)), ("b.log", ""), ("secret", "hunter2\nx")];
    for (args, words) in [
        (&["a.jsonl"][..], "--time: name the column"),
        (&["a.jsonl", "--time", "at", "--order", "keyed"], "--order: keyed order needs --key"),
        (&["a.jsonl", "a.jsonl", "--time", "at"], "two inputs have this name"),
        (&["b.log", "--time", "at"], "b.log: its format can't be told"),
        (&["*.parquet", "--time", "at"], "no file is there for \"*.parquet\""),
        (&["a.jsonl", "--time", "at", "--sample", "0"], "--sample"),
        (&["a.jsonl", "--time", "at", "--speedup", "-1"], "--speedup"),
        (&["a.jsonl", "--time", "at", "--rate", "0"], "--rate"),
        (&["a.jsonl", "--time", "at", "--time-zone", "Moon"], "--time-zone"),
        (&["a.jsonl", "--time", "at", "-H", "Host: x"], "--header"),
        (&["a.jsonl", "--time", "at", "--drop-on", "4x"], "--drop-on"),
        (
            &["a.jsonl", "--time", "at", "--bearer-file", "secret"],
            "--bearer-file: the secret holds a control character",
        ),
        (&["-", "--time", "at"], "--format"),
        (&["-", "--format", "csv", "--time", "at", "--state", "s"], "--state"),
        (
            &["a.jsonl", "--time", "at", "--state", "postgres://wsp:hunter2@127.0.0.1:1/d"],
            "--state: it holds a password, which all users of this machine can see; leave it out, and name it by \
             --state-password-env VARIABLE or --state-password-file FILE",
        ),
        (&["a.jsonl", "--time", "at", "--state", "postgresql://wsp@h/d?password=hunter2"], "it holds a password"),
        (
            &["a.jsonl", "--time", "at", "--state", "postgres://wsp@h/d?sslmode=hunter2"],
            "--state: sslmode: it has to be",
        ),
        (
            &["a.jsonl", "--time", "at", "--state", "postgres://wsp@h/d", "--state-password-env", "WSP_NO_SUCH"],
            "--state-password-env: the environment has no variable WSP_NO_SUCH",
        ),
        (
            &["a.jsonl", "--time", "at", "--state", "s", "--state-password-file", "secret"],
            "--state-password-file: it goes with --state postgres://USER@HOST/DATABASE",
        ),
        (&["a.jsonl", "--time", "at", "--state-password-file", "secret"], "--state <PLACE>"),
        (&["-", "--format", "csv", "--time", "at", "--state", "postgres://wsp@h/d"], "--state: standard input"),
    ] {
        let (code, err, events) = refused(&file, args);
        let fails = if words.contains("b.log") { Some(1) } else { Some(2) };
        assert!(code == fails && err.contains(words) && events == 0, "{args:?}: {code:?} {err}");
        assert!(!err.contains("hunter2"), "{err}");
    }
}

#[test]
fn inputs_that_changed_are_refused_by_name_and_a_fresh_start_takes_them() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..6)), ("b.jsonl", &lines(0..2))]);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "b.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--limit", "3"];
    assert_eq!(folder.replay(&args).code, Some(0));
    folder.write("b.jsonl", &lines(0..3));
    let told = folder.replay(&args);
    assert_eq!((told.code, intake.taken().len()), (Some(2), 3));
    assert!(told.err.contains("input b.jsonl: b.jsonl has changed") && told.err.contains("--fresh"), "{}", told.err);
    let told = folder.replay(&[&args[..], &["--fresh"]].concat());
    assert_eq!((told.code, intake.taken().len()), (Some(0), 6), "{}", told.err);
    let told = folder.replay(&[&args[..], &["--key", "n"]].concat());
    assert_eq!(told.code, Some(2));
    assert!(told.err.contains("--key: \"n\" now and \"\" in the earlier start"), "{}", told.err);
}

#[test]
fn an_intake_that_is_not_there_ends_it_in_bounded_time() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3))]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &nobody, "--attempts", "2"]);
    assert_eq!(told.code, Some(1));
    assert!(
        told.err.contains("a.jsonl, row 1, id ") && told.err.contains("after 2 attempts: no connection"),
        "{}",
        told.err
    );
}

#[test]
fn an_intake_that_comes_back_is_waited_for() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..30))]);
    let port = free_port();
    let to = format!("http://127.0.0.1:{port}");
    let args = ["a.jsonl", "--time", "at", "--key", "customer", "--to", &to, "--speedup", "0"];
    let mut child = folder.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    nap(Duration::from_millis(700));
    let intake = Intake::at(port, |_, _| 200);
    assert_eq!((child.wait().unwrap().code(), intake.taken().len()), (Some(0), 30));
}

#[test]
fn a_database_that_is_not_there_ends_it_in_bounded_time() {
    let state = format!("postgres://wsp@127.0.0.1:{}/d", free_port());
    let clock = SystemClock::new();
    let (code, err, came) = refused(
        &[("a.jsonl", &lines(0..3)), ("password", "hunter2")],
        &["a.jsonl", "--time", "at", "--state", &state, "--state-password-file", "password"],
    );
    assert!(code == Some(1) && came == 0, "{code:?} {came} {err}");
    assert!(err.contains("--state: the checkpoint database: ") && !err.contains("hunter2"), "{err}");
    assert!(clock.now() < Duration::from_mins(1));
}

#[test]
fn a_file_of_flags_is_refused_by_its_key() {
    for (text, words) in [
        ("state: postgres://wsp:hunter2@h/d", "--state: it holds a password"),
        ("to: [", "--config: r.yaml: it is no YAML"),
        ("time:", "--config: r.yaml: time has no value"),
        ("speedups: 1", "--speedups"),
    ] {
        let (code, err, came) =
            refused(&[("a.jsonl", &lines(0..2)), ("r.yaml", text)], &["a.jsonl", "--config", "r.yaml"]);
        assert!(code == Some(2) && err.contains(words) && came == 0, "{text}: {code:?} {err}");
    }
}

//! Rows that are not in order of time, and inputs with settings of their own.

use std::process::Stdio;
use std::time::Duration;

use super::{Folder, Intake, at, lines};
use crate::kit::live::nap;

/// Lines of events in this order of their seconds.
fn shuffled(seconds: impl Iterator<Item = usize>) -> String {
    seconds.map(|n| lines(n..n + 1)).collect()
}

#[test]
fn rows_out_of_order_are_put_in_order_within_a_bound() {
    let swapped = shuffled((0..300).map(|n| n ^ 3));
    let folder = Folder::new(&[("a.jsonl", &swapped), ("b.csv", &format!("at\n{}\n", at(7)))]);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "b.csv", "--time", "at", "--to", &url, "--speedup", "0"];
    let told = folder.replay(&args);
    assert!(
        told.code == Some(1) && told.err.contains("a.jsonl, row 2: its time") && told.err.contains("--reorder"),
        "{}",
        told.err
    );
    let told = folder.replay(&[&args[..], &["--reorder", "3s"]].concat());
    assert!(told.code == Some(2) && told.err.contains("--reorder: \"3s\" now"), "{}", told.err);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "b.csv", "--time", "at", "--to", &url, "--speedup", "0", "--fresh"];
    let told = folder.replay(&[&args[..], &["--reorder", "3s"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let all = lines(0..300);
    let mut expected: Vec<String> = all.lines().map(str::to_owned).collect();
    expected.insert(8, format!("{{\"at\":\"{}\"}}", at(7)));
    assert_eq!(intake.bodies(), expected);
    let told = folder.replay(&[&args[..], &["--reorder", "2s"]].concat());
    assert!(told.code == Some(1) && told.err.contains("a.jsonl, row 4: its time"), "{}", told.err);
}

#[test]
fn rows_in_any_order_are_sorted_and_ids_are_those_of_their_rows() {
    let folder = Folder::new(&[("in/a.jsonl", &shuffled((0..150).rev())), ("in/b.jsonl", &shuffled((150..200).rev()))]);
    let sent = |files: &str, more: &[&str]| {
        let intake = Intake::willing();
        let url = intake.url();
        let told = folder
            .replay(&[&["--input", files, "--time", "at", "--to", &url, "--speedup", "0", "--fresh"], more].concat());
        assert_eq!(told.code, Some(0), "{}", told.err);
        intake.taken()
    };
    let sorted = sent("x=in", &["--sort"]);
    assert_eq!(sorted.iter().map(|taken| taken.body.clone() + "\n").collect::<String>(), lines(0..200));
    // The last row of the first file, as an input that begins with it has it, too.
    let alone = sent("x=in/*.jsonl", &["--sort", "--limit", "1"]);
    assert_eq!(alone[0].id, sorted[0].id);
    let cut = sent("x=in", &["--sort", "--from", &at(10), "--until", &at(12)]);
    assert_eq!(cut.iter().map(|taken| taken.body.clone() + "\n").collect::<String>(), lines(10..12));
    let told = folder.replay(&["in", "--time", "at", "--to", "http://127.0.0.1:9", "--sort", "--plan", "--json"]);
    assert_eq!((told.code, &told.json()["events"]), (Some(0), &200.into()), "{}", told.err);
    for (args, words) in [(&["--sort", "--reorder", "3s"][..], "--reorder"), (&["--reorder", "x"], "--reorder")] {
        let told = folder.replay(&[&["in", "--time", "at", "--to", "http://127.0.0.1:9"], args].concat());
        assert!(told.code == Some(2) && told.err.contains(words), "{}", told.err);
    }
}

#[test]
fn killed_it_goes_on_in_the_sorted_order() {
    for flags in [&["--sort"][..], &["--reorder", "1h"]] {
        let folder = Folder::new(&[("a.jsonl", &shuffled((0..2000).map(|n| n * 7 % 2000)))]);
        let intake = Intake::willing();
        let url = intake.url();
        let args =
            ["a.jsonl", "--time", "at", "--to", &url, "--rate", "1500", "--save-every", "40", "--state", "state"];
        let args = [&args[..], flags].concat();
        for kill in 1..4 {
            let mut child = folder.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            while intake.taken().len() < kill * 400 {
                assert_eq!(child.try_wait().unwrap(), None, "it is killed before its end");
                nap(Duration::from_millis(5));
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let told = folder.replay(&args);
        assert_eq!(told.code, Some(0), "{}", told.err);
        let (mut first, mut repeats) = (Vec::new(), 0);
        for body in intake.bodies() {
            if first.contains(&body) { repeats += 1 } else { first.push(body) }
        }
        assert_eq!(first.join("\n") + "\n", lines(0..2000), "{flags:?}");
        assert!(repeats <= 3 * 41, "{repeats}");
        assert!(!folder.path("state/sorted-0").exists(), "what was sorted goes away at the end");
    }
}

#[test]
fn inputs_have_times_keys_and_types_of_their_own() {
    let orders = format!("created,shop,n\n{},s1,01\n{},s2,02\n", at(1), at(3));
    let folder = Folder::new(&[("a.jsonl", &lines(0..3)), ("o.data", &orders)]);
    let intake = Intake::willing();
    let url = intake.url();
    let config = format!(
        "inputs:\n  a: a.jsonl\n  o: {{files: o.data, format: csv, time: created, key: [shop, 'n'], id: 'n', csv-types: {{'n': text}}}}\n\
         to: {url}\ntime: at\nkey: customer\nspeedup: 0\nin-flight: 1\n"
    );
    folder.write("r.yaml", &config);
    let told = folder.replay(&["--config", "r.yaml"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let taken = intake.taken();
    assert_eq!(taken.iter().map(|taken| taken.id.len()).collect::<Vec<_>>(), [64, 64, 2, 64, 2]);
    assert_eq!(
        (taken[2].id.as_str(), taken[2].body.as_str()),
        ("01", &*format!("{{\"created\":\"{}\",\"shop\":\"s1\",\"n\":\"01\"}}", at(1)))
    );
    // The same on the command line, where they are pinned, too.
    let own = |more: &str| format!("o=o.data;format=csv;time=created{more}");
    let run = |input: &str| folder.replay(&["--input", input, "--to", &url, "--speedup", "0", "--state", "s"]);
    assert_eq!(run(&own("")).code, Some(0));
    let told = run(&own(";id=n"));
    assert!(
        told.code == Some(2) && told.err.contains("--input: \"o;format=csv;time=created;id=n\" now"),
        "{}",
        told.err
    );
    for (input, words) in [
        ("o=o.data;tme=x", "--input: o: \"tme\" is none of"),
        ("o=o.data;format=csv", "--time: name the column with the event time of o"),
    ] {
        let told = run(input);
        assert!(told.code == Some(2) && told.err.contains(words), "{}", told.err);
    }
    let keyed = ["a.jsonl", "--input", &own(";key=n"), "--time", "at", "--to", &url, "--speedup", "0"];
    let told = folder.replay(&keyed);
    assert!(
        told.code == Some(2) && told.err.contains("keyed order needs --key COLUMNS, also for a.jsonl"),
        "{}",
        told.err
    );
}

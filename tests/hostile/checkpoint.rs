//! Checkpoints that are another's, can't be read or can't be written, a run that is stopped or that another producer
//! holds, and evidence that can't be kept: no event is sent on a guess.

mod changed_world;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::refused::{Came, Refused, assert_prefix};
use crate::kit::{self, FRAUD, OUTPUTS, Ran, Stage, copy_tree, golden};

/// The scope of the golden run.
const SCOPE: &str = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";

fn cursor(output: &str) -> String {
    format!("checkpoints/{SCOPE}/output_id={output}/cursor.json")
}

/// The golden run, all of it delivered by the producer in place.
fn delivered(gate: &str) -> Stage {
    let stage = Stage::golden(gate);
    copy_tree(&golden().join("ready/checkpoints"), &stage.path("checkpoints"));
    stage
}

#[test]
fn a_cursor_that_is_not_this_runs_is_refused() {
    type Edit = fn(&mut Value);
    let cases: &[(&str, Edit, &str, &[&str])] = &[
        // The producer in place compares paths as text, and reported STREAMED for 40 of 250 events.
        (
            "the same file spelt otherwise",
            |c| c["last_file"] = format!("./{}", c["last_file"].as_str().unwrap()).into(),
            "CHECKPOINT_FOREIGN",
            &["./world/stream_view", "not among"],
        ),
        (
            "a file that sorts behind",
            |c| c["last_file"] = c["last_file"].as_str().unwrap().replace("world/", "z-world/").into(),
            "CHECKPOINT_FOREIGN",
            &["z-world/stream_view"],
        ),
        (
            "a part that is not there",
            |c| c["last_file"] = c["last_file"].as_str().unwrap().replace("000000", "000001").into(),
            "CHECKPOINT_FOREIGN",
            &["part-000001.parquet"],
        ),
        (
            "a row beyond",
            |c| c["last_row_index"] = json!(100),
            "CHECKPOINT_FOREIGN",
            &["part-000000.parquet at row 100"],
        ),
        (
            "another scope",
            |c| c["pack_key"] = json!("0".repeat(64)),
            "CHECKPOINT_FOREIGN",
            &["cursor.json", "pack_key"],
        ),
        ("another output", |c| c["output_id"] = json!(OUTPUTS[0]), "CHECKPOINT_FOREIGN", &["cursor.json", "output_id"]),
        ("a row before all", |c| c["last_row_index"] = json!(-1), "CHECKPOINT_UNREADABLE", &["cursor.json"]),
        (
            "no row",
            |c| drop(c.as_object_mut().unwrap().remove("last_row_index")),
            "CHECKPOINT_UNREADABLE",
            &["cursor.json", "last_row_index"],
        ),
    ];
    for (case, edit, reason, names) in cases {
        let gate = CaptureGate::admitting();
        let stage = delivered(&gate.url);
        stage.edit(&cursor(FRAUD), edit);
        let before = kit::read(&stage.path(&cursor(FRAUD)));
        let ran = stage.run_once();
        Refused { reason, came: Came::Started, emitted: 0, names }.assert(&stage, &ran, case);
        assert_eq!(gate.requests(), 0, "{case}");
        assert_eq!(kit::read(&stage.path(&cursor(FRAUD))), before, "{case}: it is left as it was");
    }
}

#[test]
fn a_cursor_file_that_cannot_be_read_is_not_taken_for_none() {
    type Spoil = fn(&Stage);
    let cases: &[(&str, Spoil)] = &[
        ("empty", |s| s.put(&cursor(FRAUD), "")),
        ("cut", |s| s.put(&cursor(FRAUD), "{\"pack_key\":")),
        ("a list", |s| s.put(&cursor(FRAUD), "[]")),
        ("huge", |s| s.put(&cursor(FRAUD), " ".repeat(4 << 20))),
        ("a folder", |s| {
            s.remove(&cursor(FRAUD));
            std::fs::create_dir(s.path(&cursor(FRAUD))).unwrap();
        }),
    ];
    for (case, spoil) in cases {
        let gate = CaptureGate::admitting();
        let stage = delivered(&gate.url);
        spoil(&stage);
        let ran = stage.run_once();
        let names = &["cursor.json", FRAUD];
        Refused { reason: "CHECKPOINT_UNREADABLE", came: Came::Started, emitted: 0, names }.assert(&stage, &ran, case);
        assert_eq!(gate.requests(), 0, "{case}");
    }
}

#[test]
fn a_position_that_cannot_be_saved_ends_the_run_within_what_may_be_repeated() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    // The log of saves can't be opened where a folder has its name.
    std::fs::create_dir_all(stage.path(&cursor(FRAUD)).with_extension("jsonl")).unwrap();
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("FAILED", "CHECKPOINT_SAVE_FAILED")), "{}", ran.stderr);
    assert!(ran.refusal().contains("cursor.json"), "{}", ran.refusal());
    // `flush_every` of 10, and one in flight.
    let sent = gate.requests();
    assert!(sent <= 11, "{sent} were sent although none could be saved");
    assert_prefix(&gate.bodies(), sent, "what was sent");
    assert_eq!(ran.verdicts[0]["emitted"].as_u64(), Some(sent as u64), "what IG took is told, saved or not");
}

fn answered() -> String {
    format!("checkpoints/{SCOPE}/answered.json")
}

/// Takes the cursor of the traffic to `row`, as somebody does by hand: the time of that row is not known then.
fn take_cursor_to(stage: &Stage, row: u64) {
    stage.edit(&cursor(FRAUD), |cursor| {
        cursor["last_row_index"] = json!(row);
        cursor["last_ts_utc"] = Value::Null;
    });
}

/// A run of which all is delivered but for rows of the traffic: the cursor stands at row 59 of 100, and beyond it rows 70
/// to 79 and 90 to 99 are kept as answered.
fn answered_beyond(gate: &str) -> Stage {
    let stage = delivered(gate);
    let file = format!("world/stream_view/ts_utc/output_id={FRAUD}/part-000000.parquet");
    let beyond = json!({
        "output_id": FRAUD,
        "cursor": {"file": file, "row": 59},
        "files": [{"file": file, "rows": [[70, 79], [90, 99]]}],
    });
    take_cursor_to(&stage, 59);
    stage.put(&answered(), json!({"version": 1, "scope_key": SCOPE, "outputs": [beyond]}).to_string());
    stage
}

#[test]
fn rows_answered_beyond_a_cursor_are_not_sent_again() {
    type Edit = fn(&Stage);
    // What is sent, what an earlier start saw answered, and the first row that the digest counts.
    let cases: &[(&str, Edit, u64, u64, u64)] = &[
        ("as it was left", |_| (), 20, 20, 60),
        ("the producer in place went on", |s| take_cursor_to(s, 74), 10, 15, 75),
        ("and over all of it", |s| take_cursor_to(s, 99), 0, 0, 100),
        // Somebody wants events again.
        ("the cursor was taken back", |s| take_cursor_to(s, 39), 60, 0, 40),
        ("the cursor was removed", |s| s.remove(&cursor(FRAUD)), 100, 0, 0),
        ("another cursor was removed", |s| s.remove(&cursor(OUTPUTS[0])), 50 + 20, 20, 60),
        ("it was removed", |s| s.remove(&answered()), 40, 0, 60),
        (
            "of an output that the run lacks",
            |s| s.edit(&answered(), |a| a["outputs"][0]["output_id"] = json!("o")),
            40,
            0,
            60,
        ),
        ("a key of a later producer", |s| s.edit(&answered(), |a| a["outputs"][0]["more"] = json!(1)), 20, 20, 60),
    ];
    for (case, edit, sent, earlier, from) in cases {
        let gate = CaptureGate::admitting();
        let stage = answered_beyond(&gate.url);
        edit(&stage);
        let ran = stage.run_once();
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{case}: {}", ran.stderr);
        assert_eq!((gate.requests() as u64, &ran.verdicts[0]["emitted"]), (*sent, &json!(sent)), "{case}");
        let summary = stage.summary();
        let outputs = summary["outputs"].as_array().unwrap();
        let traffic = outputs.iter().find(|output| output["output_id"] == FRAUD).unwrap();
        assert_eq!(traffic["answered_earlier"], json!(earlier), "{case}");
        let digested = (&traffic["event_id_digest_from"], &traffic["event_id_digest_events"]);
        assert_eq!(digested, (&json!(from), &json!(100 - from)), "{case}: each row once");
        assert_eq!(stage.cursors()[FRAUD]["last_row_index"], json!(99), "{case}: the cursor is at the end");
        let verified = stage.wsp(&["verify", "--profile", "profile.yaml"]).output().unwrap();
        assert_eq!(verified.status.code(), Some(0), "{case}: {}", String::from_utf8_lossy(&verified.stdout));
    }
}

#[test]
fn rows_kept_as_answered_that_are_not_this_runs_are_refused() {
    type Spoil = fn(&Stage);
    let cases: &[(&str, Spoil, &str, &[&str])] = &[
        ("empty", |s| s.put(&answered(), ""), "CHECKPOINT_UNREADABLE", &["answered.json"]),
        ("cut", |s| s.put(&answered(), "{\"version\":1,"), "CHECKPOINT_UNREADABLE", &["answered.json", "sends"]),
        ("a later form", |s| s.edit(&answered(), |a| a["version"] = json!(2)), "CHECKPOINT_UNREADABLE", &["version 2"]),
        (
            "a run that ends before it begins",
            |s| s.edit(&answered(), |a| a["outputs"][0]["files"][0]["rows"][0] = json!([79, 70])),
            "CHECKPOINT_UNREADABLE",
            &["answered.json", FRAUD],
        ),
        (
            "more events digested than there are rows",
            |s| {
                s.edit(&answered(), |a| {
                    let digested = json!({"from": 0, "events": 61, "digest": "0".repeat(64)});
                    let file = &a["outputs"][0]["cursor"]["file"];
                    a["rows"] = json!([{"output_id": FRAUD, "file": file, "row": 59, "event_id": "0".repeat(64), "digested": digested}]);
                });
            },
            "CHECKPOINT_FOREIGN",
            &["61 events"],
        ),
        (
            "another scope",
            |s| s.edit(&answered(), |a| a["scope_key"] = json!("0".repeat(64))),
            "CHECKPOINT_FOREIGN",
            &["answered.json", "scope_key"],
        ),
        (
            "a row beyond the file",
            |s| s.edit(&answered(), |a| a["outputs"][0]["files"][0]["rows"][1] = json!([90, 100])),
            "CHECKPOINT_FOREIGN",
            &["part-000000.parquet at row 100"],
        ),
        (
            "a file of another view",
            |s| s.edit(&answered(), |a| a["outputs"][0]["files"][0]["file"] = json!("other/part-000000.parquet")),
            "CHECKPOINT_FOREIGN",
            &["other/part-000000.parquet"],
        ),
    ];
    for (case, spoil, reason, names) in cases {
        let gate = CaptureGate::admitting();
        let stage = answered_beyond(&gate.url);
        spoil(&stage);
        let before = kit::read(&stage.path(&answered()));
        let ran = stage.run_once();
        Refused { reason, came: Came::Started, emitted: 0, names }.assert(&stage, &ran, case);
        assert_eq!(gate.requests(), 0, "{case}");
        assert_eq!(kit::read(&stage.path(&answered())), before, "{case}: it is left as it was");
    }
}

/// A gate that admits everything, push `n` only once the test releases it; it says when that push came.
fn holding(n: usize) -> (CaptureGate, mpsc::Receiver<()>) {
    let (arrived, arrival) = mpsc::channel();
    let gate = CaptureGate::scripted(move |push, _| {
        if push != n {
            return Reply::admit();
        }
        arrived.send(()).unwrap();
        Reply::admit_held()
    });
    (gate, arrival)
}

fn started(stage: &Stage) -> Child {
    let mut run = stage.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The producer in place saves nothing on SIGTERM.
#[test]
fn a_run_that_is_told_to_stop_awaits_its_answer_saves_and_goes_on_later() {
    let (gate, arrival) = holding(100);
    let stage = Stage::golden(&gate.url);
    let mut run = started(&stage);
    arrival.recv().unwrap();
    let terminated = Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    // The answer comes only after the program has heard.
    let mut log = BufReader::new(run.stderr.take().unwrap()).lines();
    let heard = log.by_ref().map(Result::unwrap).any(|line| line.contains("stopping"));
    assert!(heard, "the log says that it stops");
    gate.release();
    let stderr: Vec<String> = log.map(Result::unwrap).collect();
    let ran = Ran { stderr: stderr.join("\n"), ..Ran::of(run.wait_with_output().unwrap()) };
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
    assert_eq!(ran.verdicts[0]["emitted"], 101, "the answer in flight was awaited and counts");
    assert_prefix(&gate.bodies(), 101, "nothing new was sent");
    assert_eq!(stage.record(), ran.verdicts);

    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_prefix(&gate.bodies(), 250, "it goes on behind the last answer");
    let stopped = ("FAILED".to_owned(), Some("RUN_STOPPED".to_owned()), 101);
    assert_eq!(stage.ends(), [stopped, ("STREAMED".to_owned(), None, 149)]);
}

/// Two of the producer in place on one run send everything twice and break each other's cursors.
#[test]
fn a_second_producer_on_a_run_waits_its_turn() {
    let (gate, arrival) = holding(100);
    let stage = Stage::golden(&gate.url);
    let first = started(&stage);
    arrival.recv().unwrap();

    let second = stage.run_once();
    assert_eq!(second.verdict(), ("DEFERRED_DOWNSTREAM_NOT_READY", "CHECKPOINT_SCOPE_BUSY"), "{}", second.stderr);
    assert!(second.refusal().contains(SCOPE), "{}", second.refusal());
    assert_eq!((gate.requests(), stage.record()), (101, vec![]), "a deferral is answered, not recorded");
    assert!(stage.ends().is_empty());

    gate.release();
    let first = Ran::of(first.wait_with_output().unwrap());
    assert_eq!((first.code, first.verdict()), (Some(0), ("STREAMED", "")), "{}", first.stderr);
    assert_prefix(&gate.bodies(), 250, "every event once, in order");
    assert_eq!(stage.run_once().verdict(), ("SKIPPED_DUPLICATE", ""), "its turn has come, and nothing is left");
    assert_eq!((gate.requests(), stage.record().len(), stage.governance().len()), (250, 1, 3));
}

/// The service looks at a READY that it deferred again, without being asked.
#[test]
fn a_deferred_ready_comes_again() {
    let (gate, arrival) = holding(10);
    let stage = Stage::golden(&gate.url);
    let first = started(&stage);
    arrival.recv().unwrap();
    let mut service = stage.wsp(&["run", "--profile", "profile.yaml"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let mut verdicts = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(verdicts.next().unwrap()["status"], "DEFERRED_DOWNSTREAM_NOT_READY");
    gate.release();
    assert_eq!(Ran::of(first.wait_with_output().unwrap()).verdict(), ("STREAMED", ""));
    let then = verdicts.find(|verdict| verdict["status"] != "DEFERRED_DOWNSTREAM_NOT_READY").unwrap();
    assert_eq!(then["status"], "SKIPPED_DUPLICATE");
    assert!(Command::new("kill").args(["-TERM", &service.id().to_string()]).status().unwrap().success());
    assert_eq!((service.wait().unwrap().code(), verdicts.next()), (Some(0), None), "idle, it has nothing to break off");
    assert_prefix(&gate.bodies(), 250, "every event once");
}

/// A run whose evidence can't be kept is not started, and its READY is not used up.
#[test]
fn without_a_store_for_evidence_nothing_is_sent() {
    for (case, in_the_way) in [("records", "wsp"), ("facts", "obs")] {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        kit::write(&stage.evidence(in_the_way), b"a file where a folder has to be");
        let ran = stage.run_once();
        assert_eq!((ran.code, ran.verdicts.len(), gate.requests()), (Some(1), 0, 0), "{case}: {}", ran.stderr);
        assert!(ran.refusal().starts_with("STORE_UNAVAILABLE"), "{case}: {}", ran.refusal());
        std::fs::remove_file(stage.evidence(in_the_way)).unwrap();
        assert_eq!(stage.run_once().verdict(), ("STREAMED", ""), "{case}: the READY was kept");
        assert_eq!(gate.requests(), 250, "{case}");
    }
}

/// Another producer has the run's checkpoint now, and the verdict is that one's to give.
#[test]
fn a_lease_that_is_lost_in_the_middle_of_a_run_defers_it_and_fails_nothing() {
    let (gate, arrival) = holding(100);
    let stage = Stage::golden(&gate.url);
    let run = started(&stage);
    arrival.recv().unwrap();
    stage.remove(&format!("checkpoints/{SCOPE}/.lock"));
    gate.release();
    let ran = Ran::of(run.wait_with_output().unwrap());
    assert_eq!(ran.verdict(), ("DEFERRED_DOWNSTREAM_NOT_READY", "CHECKPOINT_LEASE_LOST"), "{}", ran.stderr);
    assert!(stage.record().is_empty() && stage.ends().is_empty(), "no verdict of this producer is on record");
    assert!(!stage.evidence("wsp/wsp_summary.json").exists(), "the run is another's to sum up");
    assert!(gate.requests() <= 111, "nothing new is sent: {}", gate.requests());

    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""), "the READY was not used up");
    let ids: std::collections::BTreeSet<_> = gate.bodies().iter().map(|body| id_of(body)).collect();
    assert_eq!(ids.len(), 250, "nothing is lost");
}

fn id_of(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body).unwrap()["event_id"].as_str().unwrap().to_owned()
}

/// Between the first look at the record and the hold on the checkpoint another producer may end the run.
#[test]
fn a_run_that_was_streamed_before_the_hold_is_not_streamed_again() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let config = crate::kit::repository("config/oracle");
    // The catalogue is read between the two: as a pipe it holds the program up there.
    stage.put("oracle/engine_gates.map.yaml", kit::read(&config.join("engine_gates.map.yaml")));
    let catalogue = stage.path("oracle/engine_outputs.catalogue.yaml");
    assert!(Command::new("mkfifo").arg(&catalogue).status().unwrap().success());
    stage.profile(&gate.url, |p| p["wiring"]["engine_catalogue_path"] = json!(catalogue));
    let run = started(&stage);
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&catalogue).unwrap();
    let record = stage.evidence(&format!("wsp/ready_runs/{}.jsonl", kit::MESSAGE));
    kit::write(&record, &kit::read(&golden().join("ready/ready_record.jsonl")));
    let text = kit::read(&config.join("engine_outputs.catalogue.yaml"));
    std::io::Write::write_all(&mut pipe, &text).unwrap();
    drop(pipe);
    let ran = Ran::of(run.wait_with_output().unwrap());
    assert_eq!((ran.verdict(), gate.requests()), (("SKIPPED_DUPLICATE", ""), 0), "{}", ran.stderr);
    assert_eq!(stage.governance().len(), 1, "READY was seen, and nothing started");
}

/// The READY waits for the database, as a run does for one that goes away in the middle of it.
#[test]
fn a_database_that_is_away_when_ready_comes_defers_the_run() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |profile| {
        let dsn = "postgres://wsp:hunter2@127.0.0.1:1/wsp?sslmode=disable";
        profile["wiring"]["wsp_checkpoint"] = json!({"backend": "postgres", "dsn": dsn});
    });
    let ran = stage.run_once();
    assert_eq!(ran.verdict(), ("DEFERRED_DOWNSTREAM_NOT_READY", "CHECKPOINT_UNAVAILABLE"), "{}", ran.stderr);
    assert_eq!((gate.requests(), stage.record(), stage.ends().len()), (0, vec![], 0), "nothing is recorded of it");
    let deferral = stage.document(&format!("wsp/deferrals/{}.json", kit::MESSAGE));
    assert_eq!(deferral["stretches"][0]["reasons"], json!(["CHECKPOINT_UNAVAILABLE:checkpoint"]));
    assert!(deferral["stretches"][0]["looked_at"]["found"].as_str().unwrap().contains("refused"), "{deferral}");
    let left = stage.files().into_iter().filter(|name| name != "profile.yaml");
    let told = left.map(|name| String::from_utf8_lossy(&kit::read(&stage.path(&name))).into_owned());
    assert!(!ran.stderr.contains("hunter2") && !told.collect::<String>().contains("hunter2"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("reset"), "an outage is no reason to drop a checkpoint: {}", ran.stderr);

    stage.profile(&gate.url, |_| {});
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""), "the READY was not used up");
}

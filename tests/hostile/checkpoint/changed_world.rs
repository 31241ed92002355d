//! A world that is not the one the checkpoint was taken in: nothing is sent, and what differs is named.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::{Value, json};

use super::{SCOPE, answered, cursor};
use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::parquet::with_column;
use crate::kit::{self, FRAUD, OUTPUTS, Ran, Stage};

/// Rows of the traffic: 100 of them, in two parts.
const CUT: usize = 20;

/// What becomes of the world between two starts; its traffic had these rows.
type Change = fn(&Stage, &RecordBatch);
/// What becomes of the profile.
type Profile = fn(&mut Value);

fn views() -> String {
    format!("checkpoints/{SCOPE}/views.json")
}

/// A gate that refuses every push from `n` on.
fn closing_at(n: usize) -> CaptureGate {
    CaptureGate::scripted(move |push, _| if push < n { Reply::admit() } else { Reply::Answer(413, "{}".to_owned()) })
}

/// The traffic's rows, cut into two parts before row `at`.
fn cut(stage: &Stage, rows: &RecordBatch, at: usize) {
    let parts = [rows.slice(0, at), rows.slice(at, rows.num_rows() - at)];
    stage.write_parts(FRAUD, &parts.map(|part| vec![part]));
}

/// The golden run with its traffic in two parts, cut off at a refusal behind the first 100 events: the traffic's cursor then
/// stands in the second part.
fn cut_off(prepare: impl FnOnce(&Stage)) -> (Stage, RecordBatch) {
    let gate = closing_at(100);
    let stage = Stage::golden(&gate.url);
    let rows = stage.rows(FRAUD);
    cut(&stage, &rows, CUT);
    prepare(&stage);
    let ran = stage.run_once();
    assert_eq!((ran.verdict().1, &ran.verdicts[0]["emitted"]), ("IG_PUSH_REJECTED", &json!(100)), "{}", ran.stderr);
    (stage, rows)
}

/// The run's next start before a gate that admits everything.
fn next_start(stage: &Stage, profile: Profile) -> (Ran, CaptureGate) {
    let gate = CaptureGate::admitting();
    stage.profile(&gate.url, profile);
    (stage.run_once(), gate)
}

fn contexts(profile: &mut Value, outputs: &[&str]) {
    profile["policy"]["context_output_ids"] = json!(outputs);
}

/// `rows` with another number in an integer column, in every row.
fn renumbered(rows: &RecordBatch, name: &str) -> RecordBatch {
    let column = rows.column_by_name(name).unwrap();
    let array: ArrayRef = if let Some(column) = column.as_primitive_opt::<UInt64Type>() {
        Arc::new(column.iter().map(|n| n.map(|n| n ^ 1)).collect::<UInt64Array>())
    } else {
        let column = column.as_primitive::<Int64Type>();
        Arc::new(column.iter().map(|n| n.map(|n| n ^ 1)).collect::<Int64Array>())
    };
    with_column(rows, name, array)
}

#[test]
fn a_checkpoint_is_not_resumed_in_another_world() {
    type Case = (&'static str, Change, Profile, &'static [&'static str]);
    let same: Profile = |_| ();
    let cases: &[Case] = &[
        // Rows 26 to 66 would never be sent: the same file, and a row further on.
        ("cut elsewhere", |s, rows| cut(s, rows, 60), same, &["part-000000.parquet (20 rows", "(60 rows"]),
        (
            "cut into more parts",
            |s, rows| {
                let parts = [(0, 20), (20, 40), (60, 40)].map(|(from, count)| vec![rows.slice(from, count)]);
                s.write_parts(FRAUD, &parts);
            },
            same,
            &["100 rows in 2 files", "100 rows in 3", "part-000001.parquet (80 rows", "part-000001.parquet (40 rows"],
        ),
        // Other rows would be skipped, and events of two worlds mixed.
        (
            "a part replaced by one of equal row count",
            |s, rows| cut(s, &renumbered(rows, "flow_id"), CUT),
            same,
            &["part-000000.parquet (20 rows", "footer"],
        ),
        (
            "grown at its end",
            |s, rows| {
                let parts = [rows.slice(0, CUT), rows.slice(CUT, 80), rows.slice(99, 1)].map(|part| vec![part]);
                s.write_parts(FRAUD, &parts);
            },
            same,
            &["no such file", "part-000002.parquet (1 rows"],
        ),
        // Rows of the output that were due before those that were sent would come after them.
        (
            "an output less",
            |_, _| (),
            |p| contexts(p, &OUTPUTS[1..3]),
            &["arrival_events_5B, s1_arrival", "are s1_arrival"],
        ),
        (
            "outputs in another order",
            |_, _| (),
            |p| contexts(p, &[OUTPUTS[1], OUTPUTS[0], OUTPUTS[2]]),
            &["are s1_arrival_entities_6B, arrival_events_5B"],
        ),
    ];
    for (case, change, profile, names) in cases {
        let (stage, rows) = cut_off(|_| ());
        change(&stage, &rows);
        let before = stage.cursors();
        let (ran, gate) = next_start(&stage, *profile);
        assert_eq!((ran.verdict(), gate.requests()), (("FAILED", "CHECKPOINT_FOREIGN"), 0), "{case}: {}", ran.stderr);
        let refusal = ran.refusal();
        assert!(names.iter().all(|name| refusal.contains(name)), "{case}: {refusal}");
        assert_eq!(stage.cursors(), before, "{case}: nothing moved");

        // A look tells the same, without a hold.
        let planned = stage.wsp(&["plan", "--profile", "profile.yaml"]).output().unwrap();
        assert!(String::from_utf8_lossy(&planned.stdout).contains("CHECKPOINT_FOREIGN"), "{case}");
        let shown = stage.wsp(&["checkpoint", "show", "--profile", "profile.yaml"]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(
            shown.contains("not the run's views") && names.iter().all(|name| shown.contains(name)),
            "{case}: {shown}"
        );

        // What was changed is put back, and the run goes on.
        cut(&stage, &rows, CUT);
        if stage.path(&Stage::in_view(FRAUD, "part-000002.parquet")).exists() {
            stage.remove(&Stage::in_view(FRAUD, "part-000002.parquet"));
        }
        let (ran, gate) = next_start(&stage, |_| ());
        assert_eq!((ran.verdict(), gate.requests()), (("STREAMED", ""), 150), "{case}: {}", ran.stderr);
    }
}

#[test]
fn an_output_that_came_between_two_starts_is_refused() {
    let gate = closing_at(60);
    let stage = Stage::golden(&gate.url);
    stage.profile(&gate.url, |p| contexts(p, &OUTPUTS[1..3]));
    assert_eq!(stage.run_once().verdict(), ("FAILED", "IG_PUSH_REJECTED"));
    let (ran, gate) = next_start(&stage, |_| ());
    assert_eq!((ran.verdict(), gate.requests()), (("FAILED", "CHECKPOINT_FOREIGN"), 0), "{}", ran.stderr);

    // A reset is heard, whatever the outputs are now: the cursors of all of them go, and what they counted in.
    let reset = stage.wsp(&["checkpoint", "reset", "--profile", "profile.yaml", "--yes"]).output().unwrap();
    assert_eq!(reset.status.code(), Some(0), "{}", String::from_utf8_lossy(&reset.stderr));
    assert!(stage.cursors().is_empty() && !stage.path(&views()).exists() && !stage.path(&answered()).exists());
    let (ran, gate) = next_start(&stage, |_| ());
    assert_eq!((ran.verdict(), gate.requests()), (("STREAMED", ""), 250), "{}", ran.stderr);
}

/// Parts whose footers say nothing of their rows' values.
fn plain_part(stage: &Stage, rows: &RecordBatch) {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    stage.put(&Stage::in_view(FRAUD, "part-000000.parquet"), writer.into_inner().unwrap());
}

#[test]
fn other_rows_under_equal_footers_are_seen_at_the_cursor() {
    let gate = closing_at(100);
    let stage = Stage::golden(&gate.url);
    let rows = stage.rows(FRAUD);
    plain_part(&stage, &rows);
    assert_eq!(stage.run_once().verdict(), ("FAILED", "IG_PUSH_REJECTED"));
    let footer = |stage: &Stage| -> Value {
        let kept: Value = serde_json::from_slice(&kit::read(&stage.path(&views()))).unwrap();
        kept["outputs"][3]["files"][0]["footer_sha256"].clone()
    };
    let before = footer(&stage);
    plain_part(&stage, &renumbered(&rows, "flow_id"));
    let (ran, gate) = next_start(&stage, |_| ());
    assert_eq!((ran.verdict(), gate.requests()), (("FAILED", "CHECKPOINT_FOREIGN"), 0), "{}", ran.stderr);
    let refusal = ran.refusal();
    let row = stage.cursors()[FRAUD]["last_row_index"].as_u64().unwrap();
    let named = ["event_id", "part-000000.parquet", &format!("row {row}"), FRAUD];
    assert!(named.iter().all(|name| refusal.contains(name)), "{refusal}");
    assert_eq!(footer(&stage), before, "nothing but the row tells them apart");
}

/// Checkpoints of the legacy producer and of earlier versions of this one have neither views nor event ids.
#[test]
fn an_old_checkpoint_resumes_where_the_row_at_the_cursor_is_the_one_it_was_saved_at() {
    type Case = (&'static str, Change, Result<usize, &'static [&'static str]>);
    let cases: &[Case] = &[
        ("the same world", |_, _| (), Ok(150)),
        // Row 25 was the last one sent; in the new part the row of that number is another.
        ("cut elsewhere", |s, rows| cut(s, rows, 60), Err(&["ts_utc", "part-000001.parquet", FRAUD])),
        ("a time spelt in another way", |s, _| s.edit(&cursor(FRAUD), |c| c["last_ts_utc"] = json!("noon")), Ok(150)),
        ("no time", |s, _| s.edit(&cursor(FRAUD), |c| c["last_ts_utc"] = Value::Null), Ok(150)),
    ];
    for (case, change, expected) in cases {
        let (stage, rows) = cut_off(|_| ());
        stage.remove(&views());
        stage.remove(&answered());
        change(&stage, &rows);
        let (ran, gate) = next_start(&stage, |_| ());
        match expected {
            Ok(sent) => {
                assert_eq!((ran.verdict(), gate.requests()), (("STREAMED", ""), *sent), "{case}: {}", ran.stderr);
                assert!(stage.path(&views()).exists(), "{case}: they are kept from now on");
            }
            Err(names) => {
                let verdict = (ran.verdict(), gate.requests());
                assert_eq!(verdict, (("FAILED", "CHECKPOINT_FOREIGN"), 0), "{case}: {}", ran.stderr);
                let refusal = ran.refusal();
                assert!(names.iter().all(|name| refusal.contains(name)), "{case}: {refusal}");
                assert!(!stage.path(&views()).exists(), "{case}: a world that was refused is not taken for the run's");
            }
        }
    }
}

#[test]
fn what_says_which_views_it_was_is_not_believed_unread() {
    type Spoil = fn(&Stage);
    let cases: &[(&str, Spoil, &str, &[&str])] = &[
        ("empty", |s| s.put(&views(), ""), "CHECKPOINT_UNREADABLE", &["views.json"]),
        ("cut", |s| s.put(&views(), "{\"version\":1,"), "CHECKPOINT_UNREADABLE", &["views.json", "the run goes on"]),
        ("a later form", |s| s.edit(&views(), |v| v["version"] = json!(2)), "CHECKPOINT_UNREADABLE", &["version 2"]),
        (
            "another scope",
            |s| s.edit(&views(), |v| v["scope_key"] = json!("0".repeat(64))),
            "CHECKPOINT_FOREIGN",
            &["views.json", "scope_key"],
        ),
    ];
    for (case, spoil, reason, names) in cases {
        let (stage, _) = cut_off(|_| ());
        spoil(&stage);
        let (ran, gate) = next_start(&stage, |_| ());
        assert_eq!((ran.verdict(), gate.requests()), (("FAILED", *reason), 0), "{case}: {}", ran.stderr);
        let refusal = ran.refusal();
        assert!(names.iter().all(|name| refusal.contains(name)), "{case}: {refusal}");
    }
}

/// Nothing counts in the views that were kept: the run starts from its first row in whatever world there is.
#[test]
fn without_positions_any_world_may_be_streamed() {
    let gate = closing_at(0);
    let stage = Stage::golden(&gate.url);
    assert_eq!(stage.run_once().verdict(), ("FAILED", "IG_PUSH_REJECTED"));
    assert!(stage.path(&views()).exists() && stage.cursors().is_empty(), "they are kept before the first position");
    let rows = stage.rows(FRAUD);
    cut(&stage, &rows, CUT);
    let (ran, gate) = next_start(&stage, |_| ());
    assert_eq!((ran.verdict(), gate.requests()), (("STREAMED", ""), 250), "{}", ran.stderr);
    let kept: Value = serde_json::from_slice(&kit::read(&stage.path(&views()))).unwrap();
    assert_eq!(kept["outputs"][3]["files"].as_array().unwrap().len(), 2, "the views of the positions there are now");
}

/// `wsp verify --json`: the exit code and each check by its name.
fn verified(stage: &Stage) -> (Option<i32>, serde_json::Map<String, Value>) {
    let output = stage.wsp(&["verify", "--profile", "profile.yaml", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let checks = told["checks"].as_array().unwrap().iter();
    (output.status.code(), checks.map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone())).collect())
}

#[test]
fn verify_holds_the_starts_of_a_run_together() {
    type Edit = fn(&mut Value);
    let (stage, _) = cut_off(|_| ());
    let (ran, _) = next_start(&stage, |_| ());
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    let start = stage.document("wsp/wsp_start.json");
    let earlier = &start["earlier"][0]["outputs"][3];
    assert_eq!((&earlier["resumed_at"], &earlier["resumed_after"]), (&json!(0), &Value::Null));
    assert_eq!(
        earlier["event_id_digest_events"], start["outputs"][3]["resumed_at"],
        "the next start begins where it ended"
    );
    assert_eq!(start["outputs"][3]["resumed_after"]["kept"], json!(true));
    let (code, checks) = verified(&stage);
    assert_eq!((code, &checks["continuity"]["status"]), (Some(0), &json!("passed")), "{checks:?}");
    let digests = checks.keys().filter(|name| name.starts_with("digest ") && name.contains("start of")).count();
    assert_eq!(digests, 4, "the rows of the start before are read again: {checks:?}");

    let cases: &[(&str, Edit, &str)] = &[
        ("a hole", |s| s["earlier"][0]["outputs"][3]["event_id_digest_events"] = json!(10), "continuity"),
        ("another content", |s| s["earlier"][0]["outputs"][3]["content"] = json!("0".repeat(64)), "continuity"),
        ("another digest", |s| s["earlier"][0]["outputs"][3]["event_id_digest"] = json!("0".repeat(64)), "digest"),
        ("other outputs", |s| drop(s["earlier"][0]["outputs"].as_array_mut().unwrap().pop()), "continuity"),
    ];
    for (case, edit, name) in cases {
        let mut edited = start.clone();
        edit(&mut edited);
        kit::write(&stage.evidence("wsp/wsp_start.json"), edited.to_string().as_bytes());
        let (code, checks) = verified(&stage);
        let refused: Vec<_> = checks.iter().filter(|(_, check)| check["status"] == "refused").map(|(n, _)| n).collect();
        assert!(code == Some(1) && refused.iter().any(|refused| refused.starts_with(name)), "{case}: {refused:?}");
    }
}

/// The checkpoint says nothing of its views, and the row at the cursor can't be told from another: the run streams, and
/// `verify` finds the rows that nobody sent.
#[test]
fn verify_finds_the_rows_between_two_starts_that_nobody_sent() {
    let (stage, rows) = cut_off(|_| ());
    stage.remove(&views());
    stage.remove(&answered());
    stage.edit(&cursor(FRAUD), |cursor| cursor["last_ts_utc"] = Value::Null);
    cut(&stage, &rows, 60);
    let (ran, gate) = next_start(&stage, |_| ());
    assert_eq!(ran.verdict(), ("STREAMED", ""), "{}", ran.stderr);
    assert!(100 + gate.requests() < 250, "some were never sent");
    let (code, checks) = verified(&stage);
    assert_eq!((code, &checks["continuity"]["status"]), (Some(1), &json!("refused")), "{checks:?}");
    assert!(checks["continuity"]["detail"].as_str().unwrap().contains(FRAUD), "{checks:?}");
}

//! Rows that can't be sent: the run is refused at that row, naming file and row, and the gate received what comes
//! before it in canonical order and nothing else. Columns that can't be sent refuse the run before its first event.

#![allow(clippy::disallowed_methods, reason = "the program under test runs by the system's clock")]

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, IntervalYearMonthArray,
    RecordBatch, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use serde_json::{Value, json};

use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::Running;
use crate::kit::parquet::{
    as_json, with_column, with_double, with_foreign_seed, with_null, with_text, with_texts, without_column,
};
use crate::kit::refused::{Came, Refused, all_refused, assert_prefix};
use crate::kit::{self, FRAUD, OUTPUTS, Stage, canonical, events_before};

const ARRIVALS: &str = OUTPUTS[0];
const ANCHORS: &str = OUTPUTS[2];

type Change = fn(&RecordBatch, usize) -> RecordBatch;

/// Where a doctored row stands, what is done to it, the reason, and what its text names beside file and row.
type RowCase = (&'static str, usize, Change, &'static str, &'static [&'static str]);

#[test]
fn a_row_that_cannot_be_sent_ends_the_run_just_before_it() {
    let cases: &[RowCase] = &[
        (FRAUD, 42, |rows, row| with_text(rows, "ts_utc", row, None), "TS_UTC_INVALID", &["ts_utc", "null"]),
        (FRAUD, 42, |rows, row| with_text(rows, "ts_utc", row, Some("soon")), "TS_UTC_INVALID", &["ts_utc", "soon"]),
        (FRAUD, 0, |rows, row| with_text(rows, "ts_utc", row, Some("")), "TS_UTC_INVALID", &["ts_utc"]),
        (
            ARRIVALS,
            17,
            |rows, row| with_text(rows, "ts_utc", row, Some("2026-02-30T00:00:00Z")),
            "TS_UTC_INVALID",
            &["ts_utc"],
        ),
        (
            FRAUD,
            42,
            |rows, row| with_text(rows, "ts_utc", row, Some("2020-01-01T00:00:00.000000Z")),
            "STREAM_VIEW_ORDER_VIOLATION",
            &["ts_utc", "2020-01-01"],
        ),
        (FRAUD, 42, |rows, row| with_null(rows, "flow_id", row), "PRIMARY_KEY_MISSING", &["flow_id"]),
        (FRAUD, 99, |rows, row| with_null(rows, "event_seq", row), "PRIMARY_KEY_MISSING", &["event_seq"]),
        (ARRIVALS, 0, |rows, row| with_null(rows, "merchant_id", row), "PRIMARY_KEY_MISSING", &["merchant_id"]),
        (ANCHORS, 31, |rows, row| with_null(rows, "flow_id", row), "PRIMARY_KEY_MISSING", &["flow_id"]),
        (FRAUD, 42, |rows, row| with_double(rows, "amount", row, f64::NAN), "VALUE_NOT_ENCODABLE", &["amount"]),
        (FRAUD, 42, |rows, row| with_double(rows, "amount", row, f64::INFINITY), "VALUE_NOT_ENCODABLE", &["amount"]),
        (
            ARRIVALS,
            23,
            |rows, row| with_double(rows, "lambda_realised", row, f64::NEG_INFINITY),
            "VALUE_NOT_ENCODABLE",
            &["lambda_realised"],
        ),
    ];
    for (output, row, change, reason, names) in cases {
        let case = format!("{reason} at row {row} of {output}");
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        stage.change_rows(output, |rows| change(&rows, *row));
        // A row without a time has no place of its own: the run ends right behind the row before it.
        let timeless = names.contains(&"ts_utc");
        let before = match row.checked_sub(1) {
            Some(last) if timeless => events_before(output, last) + 1,
            None if timeless => 0,
            _ => events_before(output, *row),
        };
        let ran = stage.run_once();
        let place = format!("{} at row {row},", Stage::in_view(output, "part-000000.parquet"));
        let names: Vec<&str> = names.iter().copied().chain([place.as_str()]).collect();
        Refused { reason, came: Came::Started, emitted: before, names: &names }.assert(&stage, &ran, &case);
        assert_prefix(&gate.bodies(), before, &case);
    }
}

/// Footers without statistics prove nothing: the row is found when it is read, by a plan as by a run.
#[test]
fn a_row_of_another_world_ends_the_run_just_before_it() {
    for row in [1, 42, 99] {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        let rows = with_foreign_seed(&stage.rows(FRAUD), row);
        stage.write_parts_without_statistics(FRAUD, &[vec![rows]]);
        let place = format!("part-000000.parquet at row {row}, seed: the row has 43, the run's world 42");
        let planned = stage.wsp(&["plan", "--profile", "profile.yaml", "--json"]).output().unwrap();
        let plan: Value = serde_json::from_slice(&planned.stdout).unwrap();
        let last = plan["checks"].as_array().unwrap().last().unwrap();
        assert_eq!((planned.status.code(), &last["reason"]), (Some(1), &"WORLD_KEY_MISMATCH".into()), "{plan}");
        assert!(last["detail"].as_str().unwrap().contains(&place), "{last}");
        let (before, ran) = (events_before(FRAUD, row), stage.run_once());
        Refused { reason: "WORLD_KEY_MISMATCH", came: Came::Started, emitted: before, names: &[&place] }
            .assert(&stage, &ran, &place);
        assert_prefix(&gate.bodies(), before, &place);
    }
}

/// IG takes 1 MiB. No policy lets a run go on behind a row that it would answer with 413.
#[test]
fn a_row_too_large_for_the_gate_ends_the_run_just_before_it() {
    for stop in [true, false] {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        stage.profile(&gate.url, |profile| profile["policy"]["stop_on_nonretryable"] = stop.into());
        let long = "x".repeat(1 << 20);
        stage.change_rows(FRAUD, |rows| with_text(&rows, "campaign_id", 42, Some(&long)));
        let (before, ran) = (events_before(FRAUD, 42), stage.run_once());
        let names = &["part-000000.parquet at row 42, campaign_id: the event's body has 10", "IG takes 1048576"];
        Refused { reason: "EVENT_TOO_LARGE", came: Came::Started, emitted: before, names }.assert(
            &stage,
            &ran,
            "too large",
        );
        assert_prefix(&gate.bodies(), before, "too large");
    }
}

/// A mended part is other content than the positions were counted in, so the run begins anew once they are reset.
#[test]
fn a_run_that_failed_at_a_row_begins_anew_once_the_row_is_mended() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let part = Stage::in_view(FRAUD, "part-000000.parquet");
    let golden = kit::read(&stage.path(&part));
    let before = events_before(FRAUD, 42);
    stage.change_rows(FRAUD, |rows| with_double(&rows, "amount", 42, f64::NAN));
    assert_eq!(stage.run_once().verdict(), ("FAILED", "VALUE_NOT_ENCODABLE"));
    assert_eq!(stage.run_once().verdict(), ("FAILED", "VALUE_NOT_ENCODABLE"));
    stage.put(&part, golden);
    assert_eq!(stage.run_once().verdict(), ("FAILED", "CHECKPOINT_FOREIGN"));
    assert_eq!(gate.bodies().len(), before, "nothing of the other content is sent");
    let reset = stage.wsp(&["checkpoint", "reset", "--profile", "profile.yaml", "--yes"]).output().unwrap();
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")));
    assert_prefix(&gate.bodies()[before..], 250, "every event once, in order, by the last start");
    let failed = |emitted| ("FAILED".to_owned(), Some("VALUE_NOT_ENCODABLE".to_owned()), emitted);
    let foreign = ("FAILED".to_owned(), Some("CHECKPOINT_FOREIGN".to_owned()), 0);
    let streamed = ("STREAMED".to_owned(), None, 250);
    assert_eq!(stage.ends(), [failed(before as u64), failed(0), foreign, streamed]);
    assert_eq!(stage.record().len(), 4);
}

/// With requests in flight the same rows are sent: all that come before the bad one, none behind it.
#[test]
fn a_bad_row_ends_the_run_just_before_it_with_requests_in_flight_too() {
    for mode in ["keyed", "free"] {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        stage.profile(&gate.url, |profile| {
            profile["wiring"]["wsp_delivery"] = json!({"mode": mode, "in_flight": 8});
        });
        stage.change_rows(FRAUD, |rows| with_double(&rows, "amount", 70, f64::NAN));
        let (before, ran) = (events_before(FRAUD, 70), stage.run_once());
        Refused { reason: "VALUE_NOT_ENCODABLE", came: Came::Started, emitted: before, names: &["at row 70, amount"] }
            .assert(&stage, &ran, mode);
        let ids = |bodies: Vec<Value>| {
            let ids = bodies.into_iter().map(|body| body["event_id"].as_str().unwrap().to_owned());
            ids.collect::<std::collections::BTreeSet<_>>()
        };
        let sent: Vec<Value> = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
        assert_eq!(sent.len(), before, "{mode}: each once");
        assert_eq!(ids(sent), ids(canonical().into_iter().take(before).collect()), "{mode}");
    }
}

#[test]
fn a_bad_row_after_a_part_is_named_by_its_own_part() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let rows = stage.rows(FRAUD);
    let (first, second) = (rows.slice(0, 60), with_double(&rows.slice(60, 40), "amount", 5, f64::NAN));
    stage.write_parts(FRAUD, &[vec![first], vec![second]]);
    let (before, ran) = (events_before(FRAUD, 65), stage.run_once());
    Refused {
        reason: "VALUE_NOT_ENCODABLE",
        came: Came::Started,
        emitted: before,
        names: &["part-000001.parquet at row 5, amount"],
    }
    .assert(&stage, &ran, "second part");
    assert_prefix(&gate.bodies(), before, "second part");
}

#[test]
fn parts_have_to_be_in_order_among_each_other() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let rows = stage.rows(FRAUD);
    // First and last row are where they belong, so that the receipt is right about them.
    let parts = [(0, 20), (60, 20), (20, 40), (80, 20)].map(|(from, count)| vec![rows.slice(from, count)]);
    stage.write_parts(FRAUD, &parts);
    let ran = stage.run_once();
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("FAILED", "STREAM_VIEW_ORDER_VIOLATION")), "{}", ran.stderr);
    let refusal = ran.refusal();
    assert!(refusal.contains("part-000002.parquet at row 0, ts_utc"), "{refusal}");
    assert!(gate.requests() < 250, "the third part's rows are not sent");
    assert_eq!(ran.verdicts[0]["emitted"].as_u64(), Some(gate.requests() as u64));
}

#[test]
fn a_view_in_many_parts_is_the_same_view() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    for output in OUTPUTS {
        let rows = stage.rows(output);
        let parts: Vec<_> = [(0, 1), (1, 16), (17, rows.num_rows() - 17)]
            .into_iter()
            .map(|(from, count)| vec![rows.slice(from, count)])
            .collect();
        stage.write_parts(output, &parts);
    }
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_prefix(&gate.bodies(), 250, "parts");
}

/// The producer in place reported STREAMED for 185 of 250 events.
#[test]
fn a_missing_part_is_noticed_before_the_first_event() {
    all_refused(
        Came::Started,
        &[(
            "the middle part",
            |s, _| {
                let rows = s.rows(FRAUD);
                s.write_parts(FRAUD, &[vec![rows.slice(0, 20)], vec![rows.slice(20, 65)], vec![rows.slice(85, 15)]]);
                s.remove(&Stage::in_view(FRAUD, "part-000001.parquet"));
            },
            "STREAM_VIEW_ROWS_MISMATCH",
            &[FRAUD, "35 rows", "100"],
        )],
    );
}

#[test]
fn a_column_that_cannot_be_sent_refuses_the_run_before_its_first_event() {
    fn doctored(stage: &Stage, change: impl FnOnce(RecordBatch) -> RecordBatch) {
        stage.change_rows(FRAUD, change);
    }
    const PART: &str = "part-000000.parquet";
    all_refused(
        Came::Started,
        &[
            ("no ts_utc", |s, _| doctored(s, |r| without_column(&r, "ts_utc")), "TS_UTC_INVALID", &[PART, "ts_utc"]),
            (
                "ts_utc a flag",
                |s, _| doctored(s, |r| with_column(&r, "ts_utc", Arc::new(BooleanArray::from(vec![true; 100])))),
                "TS_UTC_INVALID",
                &[PART, "ts_utc", "Boolean"],
            ),
            (
                "no key",
                |s, _| doctored(s, |r| without_column(&r, "event_seq")),
                "PRIMARY_KEY_MISSING",
                &[PART, "event_seq"],
            ),
            (
                "a key of doubles",
                |s, _| doctored(s, |r| with_column(&r, "event_seq", Arc::new(Float64Array::from(vec![1.0; 100])))),
                "PRIMARY_KEY_MISSING",
                &[PART, "event_seq", "Float64"],
            ),
            (
                "a duration",
                |s, _| doctored(s, |r| with_column(&r, "took", Arc::new(IntervalYearMonthArray::from(vec![1; 100])))),
                "COLUMN_NOT_ENCODABLE",
                &[PART, "took", "Interval"],
            ),
            (
                "columns that change",
                |s, _| {
                    let rows = s.rows(FRAUD);
                    s.write_parts(
                        FRAUD,
                        &[vec![rows.slice(0, 50)], vec![without_column(&rows.slice(50, 50), "campaign_id")]],
                    );
                },
                "STREAM_VIEW_UNREADABLE",
                &["part-000001.parquet", "columns"],
            ),
        ],
    );
}

/// Broken below the footer, so that no check of the view sees it.
#[test]
fn a_page_that_cannot_be_decoded_refuses_the_run() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let part = Stage::in_view(FRAUD, "part-000000.parquet");
    let mut bytes = kit::read(&stage.path(&part));
    bytes[100..1500].iter_mut().for_each(|byte| *byte ^= 0x5a);
    stage.put(&part, bytes);
    let ran = stage.run_once();
    Refused { reason: "STREAM_VIEW_UNREADABLE", came: Came::Started, emitted: 0, names: &[&part] }
        .assert_unsent(&stage, &gate, &ran, "page");
}

/// The producer in place is blocked for good by such a row, under a reason that is another's.
#[test]
fn bytes_timestamps_and_decimals_have_a_json_form() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.change_rows(FRAUD, |rows| {
        let decimals = Decimal128Array::from(vec![Some(12_345_i128); 100]).with_precision_and_scale(20, 2).unwrap();
        let columns: [(&str, ArrayRef); 3] = [
            ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]; 100]))),
            ("seen_at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_767_225_600_000_001); 100]))),
            ("fee", Arc::new(decimals)),
        ];
        columns.into_iter().fold(rows, |rows, (name, array)| with_column(&rows, name, array))
    });
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    let bodies: Vec<Value> = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let payload = &bodies.iter().find(|body| body["event_type"] == FRAUD).unwrap()["payload"];
    assert_eq!(
        (&payload["bytes"], &payload["seen_at"], &payload["fee"]),
        (&json!("/wA="), &json!("2026-01-01T00:00:00.000001Z"), &json!(123.45))
    );
    assert_prefix(&gate.bodies(), 250, "ids and order are as before");
}

#[test]
fn times_may_be_timestamps_of_any_unit() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let times: Vec<String> = canonical()
        .iter()
        .filter(|b| b["event_type"] == FRAUD)
        .map(|b| b["ts_utc"].as_str().unwrap().to_owned())
        .collect();
    stage.change_rows(FRAUD, |rows| {
        let micros = times.iter().map(|text| wsp_world::model::Micros::parse(text.as_bytes()).unwrap().0);
        // The digits below a microsecond are cut off, not rounded.
        let nanos: TimestampNanosecondArray = micros.map(|micros| Some(micros * 1000 + 999)).collect();
        with_column(&rows, "ts_utc", Arc::new(nanos))
    });
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_prefix(&gate.bodies(), 250, "nanoseconds");
    let bodies: Vec<Value> = gate.bodies().iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let sent: Vec<_> = bodies.iter().filter(|body| body["event_type"] == FRAUD).collect();
    assert!(sent.iter().zip(&times).all(|(body, time)| body["ts_utc"] == time.as_str()));
}

/// A view that holds its rows as text: what is inside is judged row by row.
#[test]
fn a_row_of_text_that_is_no_object_or_lacks_its_key_is_refused_at_its_row() {
    let texts =
        || canonical().into_iter().filter(|body| body["event_type"] == FRAUD).map(|body| body["payload"].clone());
    let doctored = |row: usize, text: Option<String>| {
        let gate = CaptureGate::admitting();
        let stage = Stage::golden(&gate.url);
        stage.change_rows(FRAUD, |rows| {
            let mut cells: Vec<_> = texts().map(|payload| Some(payload.to_string())).collect();
            cells[row] = text;
            as_json(&rows, cells.into_iter())
        });
        (gate, stage)
    };
    let without_key = |row: usize| {
        let mut payload = texts().nth(row).unwrap();
        payload["event_seq"] = Value::Null;
        payload.to_string()
    };
    for (case, row, text, reason, name) in [
        ("null", 42, None, "VALUE_NOT_ENCODABLE", "payload_json"),
        ("no JSON", 42, Some("{".to_owned()), "VALUE_NOT_ENCODABLE", "payload_json"),
        ("a list", 0, Some("[]".to_owned()), "VALUE_NOT_ENCODABLE", "payload_json"),
        ("two objects", 42, Some("{} {}".to_owned()), "VALUE_NOT_ENCODABLE", "payload_json"),
        ("NaN", 42, Some("{\"flow_id\":NaN}".to_owned()), "VALUE_NOT_ENCODABLE", "payload_json"),
        ("deep", 42, Some(format!("{{\"a\":{}}}", "[".repeat(100_000))), "VALUE_NOT_ENCODABLE", "payload_json"),
        ("no key", 42, Some("{}".to_owned()), "PRIMARY_KEY_MISSING", "seed"),
        ("a null key", 42, Some(without_key(42)), "PRIMARY_KEY_MISSING", "event_seq"),
    ] {
        let (gate, stage) = doctored(row, text);
        // The first row of a view of texts is looked at before the first event.
        let before = if row == 0 { 0 } else { events_before(FRAUD, row) };
        let ran = stage.run_once();
        let place = format!("at row {row}, {name}");
        Refused { reason, came: Came::Started, emitted: before, names: &[&place] }.assert(&stage, &ran, case);
        assert_prefix(&gate.bodies(), before, case);
    }
    let whole = texts().next().map(|payload| payload.to_string());
    let (gate, stage) = doctored(0, whole);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""));
    assert_prefix(&gate.bodies(), 250, "text rows");
}

/// Rows of 400 kB, stored once each row group: bodies of 400 MB in all before a gate that answers nothing.
#[cfg(target_os = "linux")]
#[test]
fn large_rows_before_a_slow_gate_stay_within_the_memory_that_is_set() {
    use std::time::{Duration, Instant};

    use crate::kit::process::peak_mib;

    const REACHED_MIB: u64 = 250;
    let gate = CaptureGate::scripted(|_, _| Reply::admit_held());
    let stage = Stage::golden(&gate.url);
    // The last row a thousand times, each an event of its own.
    let rows = stage.rows(FRAUD);
    let last = with_texts(&rows.slice(rows.num_rows() - 1, 1), "campaign_id", &"x".repeat(400_000));
    let many = (0..1_000).map(|seq| with_column(&last, "event_seq", Arc::new(Int64Array::from(vec![seq]))));
    stage.write_parts(FRAUD, &[many.collect()]);
    let start = |memory_mib: &str| {
        let mut command = stage.wsp(&["run", "--profile", "profile.yaml", "--once"]);
        command.env("WSP_DELIVERY_MEMORY_MIB", memory_mib);
        Running::spawn(&stage, memory_mib, &mut command)
    };
    // Without a bound to speak of, memory grows with what is framed. That is how long it takes here.
    let began = Instant::now();
    let mut unbounded = start("100000");
    let process = unbounded.id();
    unbounded.until("memory grows with the bodies", || peak_mib(process) > REACHED_MIB);
    let took = began.elapsed();
    unbounded.kill();

    let bounded = start("8");
    std::thread::sleep(took + took / 2 + Duration::from_secs(1));
    let peak = peak_mib(bounded.id());
    bounded.kill();
    assert!(gate.requests() >= 2, "both were sending");
    assert!((1..REACHED_MIB).contains(&peak), "{peak} MiB");
}

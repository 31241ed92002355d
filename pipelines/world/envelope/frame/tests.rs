//! Rows of another world, bodies that are too large, and the memory of chunks.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray};
use futures::stream::FusedStream as _;
use futures::{FutureExt, StreamExt, stream};
use wsp::frame::FrameExt as _;

use super::*;
use crate::model::Micros;

const SEED: u64 = 42;

fn pins() -> RunPins {
    let hex = |digit: &str| digit.repeat(64).parse().unwrap();
    RunPins {
        world: WorldKey {
            manifest_fingerprint: hex("a"),
            parameter_hash: hex("b"),
            scenario_id: "baseline_v1".parse().unwrap(),
            seed: SEED,
        },
        run_id: "c".repeat(32).parse().unwrap(),
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        scenario_run_id: "d".repeat(32).parse().unwrap(),
        producer: "svc:world_stream_producer".to_owned(),
        trace_id: "t".to_owned(),
        span_id: None,
    }
}

fn output() -> OutputFrame {
    OutputFrame {
        output_id: "arrival_events_5B".parse().unwrap(),
        primary_key: vec!["id".to_owned()],
        order_key: None,
        files: vec!["w/part-000000.parquet".to_owned()],
    }
}

fn framer() -> Framer {
    Framer::new(&pins(), vec![output()])
}

/// Rows `id` = 0, 1, 2, … with these columns beside it.
fn batch(columns: Vec<(&str, ArrayRef)>) -> Arc<RowBatch> {
    let rows = columns[0].1.len();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows as u64).map(u64::cast_signed)));
    let rows = RecordBatch::try_from_iter(std::iter::once(("id", ids)).chain(columns)).unwrap();
    Arc::new(RowBatch::new(0, 0, 100, 0, vec![Micros(0); rows.num_rows()], rows))
}

fn texts(values: &[String]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

/// The rows of `batch` as the merge gives them, in slices of two.
fn chunk(batch: &Arc<RowBatch>) -> Vec<RowSlice> {
    let rows = batch.times().len();
    (0..rows).step_by(2).map(|from| RowSlice { batch: batch.clone(), from, to: rows.min(from + 2) }).collect()
}

/// All that comes of a batch: the events of each chunk, and the refusal.
fn framed(framer: Framer, batch: &Arc<RowBatch>) -> (Vec<Vec<Event>>, Option<Refusal>) {
    let stream = stream::iter([Ok(chunk(batch))]).frame(framer);
    let items: Vec<_> = stream.collect().now_or_never().unwrap();
    let (chunks, mut refusals): (Vec<_>, Vec<_>) = items.into_iter().partition(Result::is_ok);
    (chunks.into_iter().map(Result::unwrap).collect(), refusals.pop().map(Result::unwrap_err))
}

fn rows_of(chunks: &[Vec<Event>]) -> Vec<u64> {
    chunks.iter().flatten().map(|event| event.position.row).collect()
}

#[test]
fn rows_before_one_of_another_world_are_framed_and_it_is_refused_by_place_and_values() {
    let seeds = |foreign: usize| {
        let seeds = (0..6).map(|row| if row == foreign { 43 } else { SEED.cast_signed() });
        batch(vec![("seed", Arc::new(Int64Array::from_iter_values(seeds)))])
    };
    for foreign in 0..6 {
        let (chunks, refusal) = framed(framer(), &seeds(foreign));
        assert_eq!(rows_of(&chunks), (100..100 + foreign as u64).collect::<Vec<_>>());
        assert_eq!(
            refusal.unwrap().to_string(),
            format!(
                "WORLD_KEY_MISMATCH in w/part-000000.parquet at row {}, seed: the row has 43, the run's world 42",
                100 + foreign
            )
        );
    }
    assert_eq!(framed(framer(), &seeds(6)).1, None);
    // A batch whose rows all have the same foreign value.
    let foreign = batch(vec![("scenario_id", texts(&["other".to_owned(), "other".to_owned()]))]);
    let (chunks, refusal) = framed(framer(), &foreign);
    assert_eq!((chunks.len(), refusal.unwrap().place.row), (0, Some(100)));
}

#[test]
fn a_json_payload_of_another_world_is_refused_at_its_row() {
    let json = |seed: u64, id: u64| format!(r#"{{"id":{id},"seed":{seed}}}"#);
    let payload: ArrayRef = Arc::new(StringArray::from(vec![json(42, 1), json(42, 2), json(43, 3)]));
    let (chunks, refusal) = framed(framer(), &batch(vec![("payload_json", payload)]));
    let refusal = refusal.unwrap();
    assert_eq!(rows_of(&chunks), [100, 101]);
    assert_eq!((refusal.reason, refusal.place.row), (Reason::WorldKeyMismatch, Some(102)));
    assert_eq!(refusal.place.field.as_deref(), Some("payload_json.seed"));
    let twice: ArrayRef = Arc::new(StringArray::from(vec![r#"{"id":1,"seed":42,"seed":43}"#]));
    assert_eq!(framed(framer(), &batch(vec![("payload_json", twice)])).1.unwrap().reason, Reason::ValueNotEncodable);
}

#[test]
fn a_body_of_one_mebibyte_passes_and_one_byte_more_is_refused() {
    let table = |length: usize| {
        batch(vec![
            ("short", texts(&["a".to_owned(), "b".to_owned()])),
            ("x", texts(&["y".to_owned(), "z".repeat(length)])),
        ])
    };
    let (chunks, _) = framed(framer(), &table(1));
    let rest = chunks[0][1].body.len() - 1;
    let (chunks, refusal) = framed(framer(), &table(MAX_BODY_BYTES - rest));
    assert_eq!((refusal, rows_of(&chunks)), (None, vec![100, 101]));
    assert_eq!(chunks.concat()[1].body.len(), MAX_BODY_BYTES);
    let (chunks, refusal) = framed(framer(), &table(MAX_BODY_BYTES - rest + 1));
    assert_eq!(rows_of(&chunks), [100]);
    assert_eq!(
        refusal.unwrap().to_string(),
        format!(
            "EVENT_TOO_LARGE in w/part-000000.parquet at row 101, x: the event's body has 1048577 bytes, {} of them in \
             this column; IG takes 1048576",
            MAX_BODY_BYTES - rest + 3
        )
    );
    // A row that is far larger is not made to its end.
    let huge = batch(vec![("x", texts(&["\u{1}".repeat(4 << 20)])), ("y", texts(&["z".repeat(1 << 20)]))]);
    let refusal = framed(framer(), &huge).1.unwrap();
    assert!(refusal.detail.contains("bytes or more") && refusal.place.field.as_deref() == Some("x"), "{refusal}");
    let json: ArrayRef = Arc::new(StringArray::from(vec![format!(r#"{{"id":1,"x":"{}"}}"#, "z".repeat(1 << 20))]));
    let refusal = framed(framer(), &batch(vec![("payload_json", json)])).1.unwrap();
    let expected = (Reason::EventTooLarge, Some(100), Some("payload_json"));
    assert_eq!((refusal.reason, refusal.place.row, refusal.place.field.as_deref()), expected);
}

#[test]
fn large_bodies_are_made_a_few_at_a_time_within_the_budget() {
    const BODY: usize = 400_000;
    let table = batch(vec![("x", texts(&(0..20).map(|i| format!("{i:03}").repeat(BODY / 3)).collect::<Vec<_>>()))]);
    let (whole, refusal) = framed(framer(), &table);
    assert_eq!((refusal, rows_of(&whole)), (None, (100..120).collect::<Vec<_>>()));
    assert!(whole.iter().all(|events| events.len() <= 3), "a buffer ends behind the body that fills it");

    let budget = ByteBudget::new(1);
    let mut stream = stream::iter([Ok(chunk(&table))]).frame(framer().within(budget.clone()));
    let mut bodies = Vec::new();
    loop {
        let Some(events) = stream.next().now_or_never().unwrap() else { break };
        let events = events.unwrap();
        assert!(budget.held() >= (events.len() * BODY) as u64);
        assert!(stream.next().now_or_never().is_none(), "no room before the last body of the chunk is gone");
        let last = events.last().unwrap().body.clone();
        bodies.extend(events.into_iter().map(|event| event.body.to_vec()));
        assert!(stream.next().now_or_never().is_none());
        drop(last);
        assert_eq!(budget.held(), 0);
    }
    let expected: Vec<Vec<u8>> = whole.iter().flatten().map(|event| event.body.to_vec()).collect();
    assert_eq!(bodies, expected);
    assert!(budget.peak() <= (CHUNK_BYTES + 2 * BODY) as u64, "{}", budget.peak());
}

#[test]
fn a_body_larger_than_the_whole_budget_passes() {
    let table = batch(vec![("x", texts(&["z".repeat(1_000_000), "z".repeat(1_000_000)]))]);
    let budget = ByteBudget::new(10);
    let mut stream = stream::iter([Ok(chunk(&table))]).frame(framer().within(budget.clone()));
    let mut taken = 0;
    while let Some(events) = stream.next().now_or_never().expect("it does not wait for what can't come") {
        taken += events.unwrap().len();
    }
    assert_eq!((taken, budget.held()), (2, 0));
}

/// Rows of other outputs may stand between, and have to go first.
#[test]
fn a_foreign_row_is_refused_with_the_run_that_it_is_in() {
    let seeds: ArrayRef = Arc::new(Int64Array::from(vec![42, 42, 7, 42]));
    let batch = batch(vec![("seed", seeds)]);
    let slice = |from, to| vec![RowSlice { batch: batch.clone(), from, to }];
    let mut framer = framer();
    let before = framer.frame(&slice(0, 2));
    assert_eq!((before.events.len(), before.fault), (2, None));
    let with = framer.frame(&slice(2, 4));
    assert_eq!((with.events.len(), with.fault.map(|refusal| refusal.place.row)), (0, Some(Some(102))));
}

#[test]
fn framing_is_over_once_its_refusal_is_out() {
    let seeds: ArrayRef = Arc::new(Int64Array::from(vec![42, 7]));
    let mut frames = stream::iter([Ok(chunk(&batch(vec![("seed", seeds)])))]).frame(framer());
    assert!(!frames.is_terminated());
    assert_eq!(frames.next().now_or_never().flatten().unwrap().unwrap().len(), 1);
    assert!(!frames.is_terminated(), "the refusal is still to come");
    assert!(frames.next().now_or_never().flatten().unwrap().is_err());
    assert!(frames.is_terminated());
}

#[test]
fn an_envelope_has_every_pin_of_the_run_and_the_whole_row() {
    let table = batch(vec![("x", texts(&["y".to_owned(), "\"".to_owned()]))]);
    for span_id in [None, Some("s".to_owned())] {
        let pins = RunPins { span_id: span_id.clone(), ..pins() };
        let (chunks, refusal) = framed(Framer::new(&pins, vec![output()]), &table);
        let events = chunks.concat();
        assert_eq!((events.len(), refusal), (2, None));
        for (event, x) in events.iter().zip(["y", "\""]) {
            let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
            for (name, expected) in [
                ("event_id", const_hex::encode(event.event_id).into()),
                ("ts_utc", "1970-01-01T00:00:00.000000Z".into()),
                ("manifest_fingerprint", "a".repeat(64).into()),
                ("parameter_hash", "b".repeat(64).into()),
                ("seed", SEED.into()),
                ("scenario_id", "baseline_v1".into()),
                ("run_id", "c".repeat(32).into()),
                ("platform_run_id", "platform_20260101T000000Z".into()),
                ("scenario_run_id", "d".repeat(32).into()),
                ("producer", "svc:world_stream_producer".into()),
                ("trace_id", "t".into()),
                ("span_id", span_id.clone().into()),
                ("payload", serde_json::json!({"id": event.position.row - 100, "x": x})),
            ] {
                assert_eq!(body[name], expected, "{name}");
            }
            assert_eq!(body.get("span_id").is_some(), span_id.is_some());
        }
    }
}

#[test]
fn without_an_order_column_an_event_is_kept_in_line_by_its_id() {
    let table = batch(vec![("x", texts(&["y".to_owned(), "y".to_owned(), "y".to_owned()]))]);
    let keys = |order_key: Option<&str>| {
        let output = OutputFrame { order_key: order_key.map(str::to_owned), ..output() };
        let (chunks, refusal) = framed(Framer::new(&pins(), vec![output]), &table);
        assert_eq!(refusal, None);
        chunks.concat().iter().map(|event| event.order_key).collect::<Vec<_>>()
    };
    let by_id = keys(None);
    assert_eq!(by_id, keys(None), "an event that is sent again waits for itself");
    assert!(
        by_id[0] != by_id[1] && by_id[1] != by_id[2] && by_id[0] != by_id[2],
        "events wait for no other: {by_id:?}"
    );
    let by_column = keys(Some("x"));
    assert!(by_column.iter().all(|key| *key == by_column[0]), "{by_column:?}");
}

/// Types of a batch's rows are known before it, and a row that has no body leaves nothing of it behind.
#[test]
fn a_row_that_can_not_be_framed_leaves_the_ones_before_it_whole() {
    let numbers: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![1.0, 2.0, f64::NAN]));
    let (chunks, refusal) =
        framed(framer(), &batch(vec![("x", texts(&["y".to_owned(), "y".to_owned(), "y".to_owned()])), ("n", numbers)]));
    let events = chunks.concat();
    assert_eq!((events.len(), refusal.unwrap().place.row), (2, Some(102)));
    for event in &events {
        assert!(serde_json::from_slice::<serde_json::Value>(&event.body).is_ok(), "{event:?}");
    }
}

/// What all rows of a batch share is hashed once for them. The ids are those of the rows by themselves.
#[test]
fn an_event_id_does_not_depend_on_what_the_rows_of_a_batch_share() {
    for kinds in [["a", "a", "a"], ["a", "b", "a"]] {
        for key in [["id", "kind"], ["kind", "id"]] {
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![7, 7, 8]));
            let rows = RecordBatch::try_from_iter([("id", ids), ("kind", texts(&kinds.map(str::to_owned)))]).unwrap();
            let ids_of = |from: usize, length: usize| {
                let output = OutputFrame { primary_key: key.map(str::to_owned).to_vec(), ..output() };
                let rows = rows.slice(from, length);
                let batch = Arc::new(RowBatch::new(0, 0, from as u64, 0, vec![Micros(0); length], rows));
                let (chunks, refusal) = framed(Framer::new(&pins(), vec![output]), &batch);
                assert_eq!(refusal, None);
                chunks.concat().iter().map(|event| event.event_id).collect::<Vec<_>>()
            };
            let one_by_one: Vec<_> = (0..3).flat_map(|row| ids_of(row, 1)).collect();
            assert_eq!(ids_of(0, 3), one_by_one, "{kinds:?} by {key:?}");
        }
    }
}

//! Rows: Parquet as the Oracle reads it, JSON payloads, times.

use std::sync::{Arc, Once};

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use futures::StreamExt;
use futures::executor::block_on;
use serde_json::{Map, Value};
use wsp::frame::FrameExt as _;
use wsp::store::{Key, MemoryStore, ObjectStore};
use wsp_world::envelope::{Framer, OutputFrame, RunPins};
use wsp_world::model::{Event, Micros, Refusal, RowBatch, RowSlice};
use wsp_world::oracle::{Scan, View, ViewFile, ViewFiles};

use super::assert_sayable;
use super::documents::world;

const NAME: &str = "part-000000.parquet";
/// Rows that one input may make: a dictionary makes billions of a few bytes, and more teaches nothing.
const ROWS: u64 = 10_000;
/// Of these so many are read in slices too.
const SLICED_ROWS: u64 = 300;

/// One part of any bytes: a refusal, or rows in order with bodies that are JSON, the same read whole and in slices.
pub(crate) fn parquet(bytes: &[u8]) {
    // The decoder panics on some files; the panic is caught and the file refused (ADR 0104). The hook of the fuzzer
    // would end the process before that.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));

    let store = MemoryStore::new("world");
    let key: Key = NAME.parse().unwrap();
    block_on(store.put(&key, bytes.to_vec().into())).unwrap();
    let meta = block_on(store.head(&key)).unwrap().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let files = |expected_rows| ViewFiles {
        rank: 0,
        output_id: "arrival_events_5B".parse().unwrap(),
        store: store.clone(),
        files: vec![ViewFile { key: key.clone(), meta: meta.clone() }],
        expected_rows,
    };
    // The count that the receipt would have to name is told by the refusal; the golden parts have 50 and 100 rows.
    for expected in [50, 100, 3] {
        let view = match block_on(files(expected).inspect()) {
            Ok(view) => view,
            Err(refusal) => {
                assert_sayable(&refusal.to_string());
                continue;
            }
        };
        let rows = read(&view, Scan::new().limit(ROWS));
        let sliced = read(&view, Scan::new().memory(0).batch_rows(7).limit(SLICED_ROWS));
        for (row, (whole, slice)) in each(&rows).zip(each(&sliced)).enumerate() {
            assert_eq!(whole, slice, "row {row} differs when it is read in a slice");
        }
        let times: Vec<Micros> = rows.iter().flat_map(|batch| batch.times().iter().copied()).collect();
        assert!(times.is_sorted(), "rows out of order");
        let (events, refusal) = framed(rows, &["merchant_id", "arrival_seq"]);
        assert!(refusal.is_some() || events.len() == times.len(), "rows are missing");
        for event in events {
            let body: Value = serde_json::from_slice(&event.body).expect("a body is JSON");
            assert!(body["payload"].is_object());
        }
    }
}

/// The rows that come before a refusal, if any.
fn read(view: &View, scan: Scan) -> Vec<RowBatch> {
    let mut rows = Vec::new();
    for batch in block_on(view.batches(scan).collect::<Vec<_>>()) {
        match batch {
            Ok(batch) => rows.push(batch),
            Err(refusal) => assert_sayable(&refusal.to_string()),
        }
    }
    rows
}

fn each(batches: &[RowBatch]) -> impl Iterator<Item = RecordBatch> {
    let all = |batch: &RowBatch| (0..batch.times().len()).map(|i| batch.rows().slice(i, 1)).collect::<Vec<_>>();
    batches.iter().flat_map(all)
}

/// A row that is JSON text: refused, or sent with the value it has.
pub(crate) fn payload(bytes: &[u8]) {
    let rows = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00.000000Z"])) as ArrayRef),
        ("payload_json", Arc::new(BinaryArray::from(vec![bytes]))),
    ])
    .unwrap();
    let batch = RowBatch::new(0, 0, 0, 0, vec![Micros(1_767_225_600_000_000)], rows);
    let (events, refusal) = framed(vec![batch], &["id"]);
    match (events.as_slice(), refusal) {
        ([event], None) => {
            let text = std::str::from_utf8(&event.body).expect("a body is UTF-8");
            // This reader has no integers beyond the doubles; they are sent as they stand.
            if bytes.len() > 308 {
                return;
            }
            let parsed: Map<String, Value> = serde_json::from_slice(bytes).expect("what is sent was an object");
            let body: Map<String, Value> = serde_json::from_str(text).expect("a body is JSON");
            assert_eq!(body["payload"], Value::Object(parsed));
            assert_eq!(body.len(), 15, "nothing of a payload gets into the envelope");
        }
        ([], Some(refusal)) => assert_sayable(&refusal.to_string()),
        (events, refusal) => panic!("{} events, {refusal:?}", events.len()),
    }
}

/// A time that is read is written in the one form, and reads as itself.
pub(crate) fn time(bytes: &[u8]) {
    if let Some(time) = Micros::parse(bytes) {
        assert_eq!(Micros::parse(&time.write()), Some(time));
        assert_eq!(Micros::parse(time.offset_text().as_bytes()), Some(time));
    }
}

fn framed(rows: Vec<RowBatch>, primary_key: &[&str]) -> (Vec<Event>, Option<Refusal>) {
    let output = OutputFrame {
        output_id: "arrival_events_5B".parse().unwrap(),
        primary_key: primary_key.iter().map(ToString::to_string).collect(),
        order_key: None,
        files: vec![NAME.to_owned()],
    };
    let pins = RunPins {
        world: world(),
        run_id: "4c3fd444c29c63ada8df6eb5f038bda4".parse().unwrap(),
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        scenario_run_id: "cf7aa18247008796acc2e74d9e8c3eba".parse().unwrap(),
        producer: "svc:world_stream_producer".to_owned(),
        trace_id: "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b".to_owned(),
        span_id: Some("engine-local-r1".to_owned()),
    };
    let slices =
        rows.into_iter().map(Arc::new).map(|batch| Ok(vec![RowSlice { from: 0, to: batch.times().len(), batch }]));
    let chunks: Vec<_> = block_on(futures::stream::iter(slices).frame(Framer::new(&pins, vec![output])).collect());
    let (mut events, mut refusal) = (Vec::new(), None);
    for chunk in chunks {
        match chunk {
            Ok(chunk) => events.extend(chunk),
            Err(error) => refusal = Some(error),
        }
    }
    (events, refusal)
}

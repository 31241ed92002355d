//! What one event costs from Parquet to its request body: decoding and framing.
//!
//! `cargo bench --bench frame`; throughput is in events.

#![allow(clippy::cast_possible_wrap, reason = "small numbers")]
#![allow(clippy::unwrap_used, reason = "a test that can't set up fails")]

#[path = "../tests/kit/views.rs"]
mod views;

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt as _;
use views::{framer, parquet, view_of};
use wsp::frame::Frame as _;
use wsp_world::envelope::Framer;
use wsp_world::model::{Micros, RowBatch, RowSlice};
use wsp_world::oracle::{Scan, View};

const ROWS: usize = 65_536;
const CHUNK: usize = 256;
const KEY: [&str; 4] = ["seed", "manifest_fingerprint", "scenario_id", "flow_id"];

/// Rows as the traffic of a run has them, with an envelope of about 1,190 bytes.
fn rows(count: usize) -> RecordBatch {
    let hash = "fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4";
    let number = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = |f: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..count).map(f))) as ArrayRef;
    let id = |from: usize| Arc::new(Int64Array::from_iter_values((0..count).map(|i| (number(i + from) >> 40) as i64)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flow_id", Arc::new(UInt64Array::from_iter_values((0..count).map(number)))),
        ("event_seq", Arc::new(Int64Array::from_iter_values((0..count).map(|i| (i % 2) as i64)))),
        ("event_type", text(&|i| ["AUTH_REQUEST", "AUTH_RESPONSE"][i % 2].to_owned())),
        ("ts_utc", text(&|i| Micros(1_767_225_600_000_000 + i as i64 * 1_234_567).to_string())),
        ("amount", Arc::new(Float64Array::from_iter_values((0..count).map(|i| number(i) as f64 / 1e17)))),
        ("party_id", id(1)),
        ("account_id", id(2)),
        ("instrument_id", id(3)),
        ("device_id", id(4)),
        ("ip_id", id(5)),
        ("session_id", Arc::new((0..count).map(|i| (i % 3 > 0).then_some(i as i64)).collect::<Int64Array>())),
        ("seed", Arc::new(Int64Array::from(vec![42; count]))),
        ("manifest_fingerprint", text(&|_| hash.to_owned())),
        ("parameter_hash", text(&|_| hash.to_owned())),
        ("scenario_id", text(&|_| "baseline_v1".to_owned())),
        ("fraud_flag", Arc::new((0..count).map(|i| Some(i % 50 == 0)).collect::<BooleanArray>())),
        ("campaign_id", text(&|i| format!("campaign-{}", i % 7))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn new_framer() -> Framer {
    framer(&KEY, Some("flow_id"))
}

async fn decoded(view: &View) -> Vec<Arc<RowBatch>> {
    view.batches(Scan::new()).map(|batch| Arc::new(batch.unwrap())).collect().await
}

fn chunks(batch: &Arc<RowBatch>) -> impl Iterator<Item = RowSlice> + '_ {
    let rows = batch.times().len();
    (0..rows).step_by(CHUNK).map(move |from| RowSlice { batch: batch.clone(), from, to: (from + CHUNK).min(rows) })
}

fn frame_all(framer: &mut Framer, batches: &[Arc<RowBatch>]) -> usize {
    let runs = batches.iter().flat_map(chunks);
    runs.map(|run| black_box(framer.frame(&[run])).events.len()).sum()
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let part: Bytes = parquet(&[rows(ROWS)], ROWS / 2);
    let view = runtime.block_on(view_of(vec![part], ROWS as u64).1.inspect()).unwrap();
    let batches = runtime.block_on(decoded(&view));
    let first = new_framer().frame(&[RowSlice { batch: batches[0].clone(), from: 0, to: 1 }]);
    println!("an envelope has {} bytes", first.events[0].body.len());

    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("frame", |bencher| {
        bencher.iter_batched_ref(
            new_framer,
            |framer| assert_eq!(frame_all(framer, &batches), ROWS),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("frame, one row a run", |bencher| {
        let chunks: Vec<Vec<RowSlice>> = batches
            .iter()
            .flat_map(|batch| (0..batch.times().len()).map(|i| RowSlice { batch: batch.clone(), from: i, to: i + 1 }))
            .collect::<Vec<_>>()
            .chunks(CHUNK)
            .map(<[RowSlice]>::to_vec)
            .collect();
        let mut framer = new_framer();
        bencher.iter(|| chunks.iter().map(|chunk| black_box(framer.frame(chunk)).events.len()).sum::<usize>());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(decoded(&view))).len());
    });
    group.bench_function("decode and frame", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut framer = new_framer();
                let mut stream = std::pin::pin!(view.batches(Scan::new()));
                let mut events = 0;
                while let Some(batch) = stream.next().await {
                    events += frame_all(&mut framer, &[Arc::new(batch.unwrap())]);
                }
                assert_eq!(events, ROWS);
            });
        });
    });
    group.finish();
}

criterion_group!(frame, benches);
criterion_main!(frame);

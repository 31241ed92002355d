//! How many rows a second the merge alone moves: four outputs, as a run has them.
//!
//! `fine` is the worst case, where neighbours in canonical order come from different outputs; `coarse` lets each
//! output run for some 64 rows.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a bench may panic")]

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use wsp::merge::merge;
use wsp_world::model::{Micros, Refusal, RowBatch};

const OUTPUTS: u16 = 4;
const BATCHES: u64 = 16;
const ROWS: u64 = 8192;

/// One output's batches; `stride` rows come close together, then a gap as long as the other outputs' share.
fn output(rank: u16, stride: i64) -> Vec<Result<RowBatch, Refusal>> {
    let time = |row: i64| {
        let (group, within) = (row / stride, row % stride);
        Micros((group * i64::from(OUTPUTS) + i64::from(rank)) * stride + within)
    };
    (0..BATCHES)
        .map(|batch| {
            let first = batch * ROWS;
            let times: Vec<Micros> = (first..first + ROWS).map(|row| time(row.cast_signed())).collect();
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(times.iter().map(|time| time.0)));
            Ok(RowBatch::new(rank, 0, first, first, times, RecordBatch::try_from_iter([("ts", column)]).unwrap()))
        })
        .collect()
}

fn rows_a_second(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(u64::from(OUTPUTS) * BATCHES * ROWS));
    group.sample_size(20);
    for (name, stride) in [("fine", 1), ("coarse", 64)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || (0..OUTPUTS).map(|rank| futures::stream::iter(output(rank, stride))).collect::<Vec<_>>(),
                |sources| {
                    runtime.block_on(async {
                        let mut chunks = merge(sources);
                        while let Some(chunk) = chunks.next().await {
                            black_box(chunk.unwrap());
                        }
                    });
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rows_a_second);
criterion_main!(benches);

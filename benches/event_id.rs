//! What does an event's id cost: one sha256 over the primary key and the world's pins? And its term of the run's digest?
//!
//! `cargo bench --bench event_id`; throughput is in events. The primary keys are those of the outputs of a run.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsp_world::envelope::EventIds;
use wsp_world::model::{EventDigest, WorldKey};

const FINGERPRINT: &str = "fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4";
const PARAMETERS: &str = "7e8079fe017b0b37de2b2afd5e878f36dc99c5084d22eea8b703f012dbf99f97";

fn benches(criterion: &mut Criterion) {
    let world = WorldKey {
        manifest_fingerprint: FINGERPRINT.parse().unwrap(),
        parameter_hash: PARAMETERS.parse().unwrap(),
        scenario_id: "baseline_v1".parse().unwrap(),
        seed: 42,
    };
    let mut group = criterion.benchmark_group("event_id");
    group.throughput(Throughput::Elements(1));
    let cases: [(&str, &[&str]); 2] = [
        ("arrival_events_5B", &["42", FINGERPRINT, "baseline_v1", "9223372036854775809", "17"]),
        ("s3_event_stream_with_fraud_6B", &["42", FINGERPRINT, "baseline_v1", "6422421876184220430", "0"]),
    ];
    for (output, primary_key) in cases {
        let ids = EventIds::new(&output.parse().unwrap(), &world);
        group.bench_function(output, |bencher| bencher.iter(|| ids.of(black_box(primary_key))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("event_digest");
    group.throughput(Throughput::Elements(1));
    let (mut sum, mut row) = (EventDigest::default(), 0);
    group.bench_function("term_and_sum", |bencher| {
        bencher.iter(|| {
            row += 1;
            sum += EventDigest::of(black_box(&[7; 32]), row);
            sum
        });
    });
    group.finish();
}

criterion_group!(event_id, benches);
criterion_main!(event_id);

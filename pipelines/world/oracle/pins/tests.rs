use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use wsp::store::{Key, MemoryStore, ObjectStore};

use super::*;
use crate::oracle::testing::world_key;
use crate::oracle::{ViewFile, ViewFiles};

const OUTPUT: &str = "arrival_events_5B";

fn texts(values: &[impl AsRef<str>]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A part of these columns beside `ts_utc`, two rows a row group.
fn part(columns: Vec<(&str, ArrayRef)>, properties: WriterPropertiesBuilder) -> Vec<u8> {
    let rows = columns[0].1.len();
    let times = texts(&vec!["2026-01-01T00:00:00.000000Z"; rows]);
    let batch = RecordBatch::try_from_iter(std::iter::once(("ts_utc", times)).chain(columns)).unwrap();
    let properties = properties.set_max_row_group_row_count(Some(2)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

async fn view(parts: Vec<Vec<u8>>, rows: u64) -> View {
    let store = MemoryStore::new("mem://world");
    let mut files = Vec::new();
    for (i, body) in parts.into_iter().enumerate() {
        let key: Key = format!("output_id={OUTPUT}/part-{i:06}.parquet").parse().unwrap();
        store.put(&key, body.into()).await.unwrap();
        let meta = store.head(&key).await.unwrap().unwrap();
        files.push(ViewFile { key, meta });
    }
    let (store, output_id) = (Arc::new(store), OUTPUT.parse().unwrap());
    ViewFiles { rank: 0, output_id, store, files, expected_rows: rows }.inspect().await.unwrap()
}

async fn judged(column: &str, values: ArrayRef, properties: WriterPropertiesBuilder) -> Result<Vec<usize>, Refusal> {
    let rows = values.len() as u64;
    view(vec![part(vec![(column, values)], properties)], rows).await.open_parts(&world_key())
}

fn by_default() -> WriterPropertiesBuilder {
    WriterProperties::builder()
}

#[tokio::test]
async fn statistics_that_name_this_world_settle_a_part() {
    let fingerprint = world_key().manifest_fingerprint.to_string();
    let seeds: [ArrayRef; 4] = [
        Arc::new(Int64Array::from(vec![42; 5])),
        Arc::new(UInt64Array::from(vec![42; 5])),
        Arc::new(Int32Array::from(vec![42; 5])),
        texts(&["42"; 5]),
    ];
    for seeds in seeds {
        assert_eq!(judged("seed", seeds, by_default()).await, Ok(vec![]));
    }
    assert_eq!(judged("manifest_fingerprint", texts(&[&fingerprint; 5]), by_default()).await, Ok(vec![]));
    // A column of another name says nothing about the world.
    assert_eq!(judged("seeds", texts(&["43"; 5]), by_default()).await, Ok(vec![]));
}

#[tokio::test]
async fn statistics_that_name_another_world_refuse_it_with_part_rows_column_and_both_values() {
    let mut seeds = vec![42; 6];
    seeds[5] = 43;
    let refusal = judged("seed", Arc::new(Int64Array::from(seeds)), by_default()).await.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "WORLD_KEY_MISMATCH in mem://world/output_id=arrival_events_5B/part-000000.parquet at row 4, seed: by the \
         footer's statistics, some of the rows 4 to 5 hold 43; the run's world has 42"
    );
    let other = "0".repeat(64);
    for (column, values) in [
        ("manifest_fingerprint", texts(&[&other; 3])),
        ("parameter_hash", texts(&[&other; 3])),
        ("scenario_id", texts(&["baseline_v2"; 3])),
        ("scenario_id", texts(&["baseline_v1", "baseline_v1", "zz"])),
        // Numbers beyond the signed ones, negative ones, and one that only its last bits share.
        ("seed", Arc::new(UInt64Array::from(vec![u64::MAX; 3])) as ArrayRef),
        ("seed", Arc::new(Int64Array::from(vec![-42; 3]))),
        ("seed", Arc::new(Int64Array::from(vec![(1 << 32) + 42; 3]))),
        ("seed", Arc::new(Int64Array::from(vec![42, 41, 42]))),
        ("scenario_id", Arc::new(Int64Array::from(vec![1; 3]))),
    ] {
        let refusal = judged(column, values, by_default()).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.place.field.as_deref()), (Reason::WorldKeyMismatch, Some(column)));
    }
}

#[tokio::test]
async fn a_seed_of_the_upper_half_is_read_unsigned() {
    let world = WorldKey { seed: u64::MAX - 1, ..world_key() };
    let seeds = |seed| Arc::new(UInt64Array::from(vec![seed; 3])) as ArrayRef;
    let of = async |seed| view(vec![part(vec![("seed", seeds(seed))], by_default())], 3).await.open_parts(&world);
    assert_eq!(of(u64::MAX - 1).await, Ok(vec![]));
    assert!(of(u64::MAX).await.is_err());
}

#[tokio::test]
async fn what_statistics_do_not_prove_is_open() {
    let other = "0".repeat(64);
    let without = by_default().set_statistics_enabled(EnabledStatistics::None);
    assert_eq!(judged("manifest_fingerprint", texts(&[&other; 3]), without).await, Ok(vec![0]));
    // Cut to four bytes, the bounds enclose the world's value and hold no row's own.
    let fingerprint = world_key().manifest_fingerprint.to_string();
    let near = format!("{}{}", &fingerprint[..4], "f".repeat(60));
    let cut = || by_default().set_statistics_truncate_length(Some(4));
    assert_eq!(judged("manifest_fingerprint", texts(&[&near; 3]), cut()).await, Ok(vec![0]));
    assert_eq!(judged("manifest_fingerprint", texts(&[&fingerprint; 3]), cut()).await, Ok(vec![0]));
    assert!(judged("manifest_fingerprint", texts(&[&other; 3]), cut()).await.is_err(), "it lies beyond the bounds");
}

#[tokio::test]
async fn a_least_value_that_is_ours_settles_nothing_where_the_greatest_is_another() {
    // The greatest is cut to the length of ours, so no row is proved to be foreign.
    let values = texts(&["baseline_v1", "baseline_v1zz"]);
    let cut = by_default().set_statistics_truncate_length(Some("baseline_v1".len()));
    assert_eq!(judged("scenario_id", values, cut).await, Ok(vec![0]));
}

#[tokio::test]
async fn each_part_is_judged_by_itself() {
    let seeds = |seed| ("seed", Arc::new(Int64Array::from(vec![seed; 3])) as ArrayRef);
    let without = || by_default().set_statistics_enabled(EnabledStatistics::None);
    let parts = vec![
        part(vec![seeds(42)], by_default()),
        part(vec![seeds(42)], without()),
        part(vec![seeds(43)], by_default()),
    ];
    assert_eq!(view(parts[..2].to_vec(), 6).await.open_parts(&world_key()), Ok(vec![1]));
    let refusal = view(parts, 9).await.open_parts(&world_key()).unwrap_err();
    assert!(refusal.place.file.unwrap().ends_with("part-000002.parquet"));
}

//! Files of other writers, read in every way.

use parquet::file::metadata::ParquetMetaDataReader;
use wsp_world::model::{Reason, Refusal};
use wsp_world::oracle::Scan;

use super::rows::{ROWS, check, check_every_way, view, written};
use crate::kit::views::{read, view_of};

const FILES: &[(&str, usize)] = &[
    ("pyarrow_v1", 19),
    ("pyarrow_v2", 19),
    ("pyarrow_int96", 17),
    ("polars", 18),
    ("duckdb_v1", 19),
    ("duckdb_v2", 19),
    ("fastparquet", 10),
    ("fastparquet_int96", 10),
];

#[tokio::test]
async fn rows_are_what_was_written_however_they_are_read() {
    for (name, columns) in FILES {
        println!("{name}");
        let view = view(written(name), ROWS).await.unwrap();
        assert_eq!(view.schema.fields().len(), *columns, "{name}");
        let refusals = check_every_way(&view, ROWS).await;
        assert!(refusals.iter().all(Option::is_none), "{name}: {refusals:?}");
    }
}

#[tokio::test]
async fn row_groups_of_several_pages_are_read_in_slices() {
    for name in ["pyarrow_v1", "pyarrow_v2", "pyarrow_int96", "polars"] {
        let (store, files) = view_of(vec![written(name)], ROWS as u64);
        let view = files.inspect().await.unwrap();
        store.asked.lock().unwrap().clear();
        let (_, refusal) = read(&view, Scan::new().memory(0).batch_rows(5)).await;
        assert_eq!(refusal, None);
        let asked = store.asked.lock().unwrap().len();
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&written(name)).unwrap();
        let chunks: usize = metadata.row_groups().iter().map(|group| group.columns().len()).sum();
        // Once to look for pages, and then more than once.
        assert!(asked > 2 * chunks + chunks / 4, "{name}: {asked} ranges of {chunks} chunks");
    }
}

#[tokio::test]
async fn parts_of_different_writers_make_one_view() {
    // The schemas that the writers left have nested dictionaries in one and 64-bit offsets in the other.
    let mut parts = Vec::new();
    for name in ["fastparquet", "fastparquet_int96"] {
        parts.push(written(name));
    }
    let refusal = view_of(parts, 200).1.inspect().await.unwrap_err();
    assert_eq!(refusal.place.field.as_deref(), Some("ts_utc"), "nanoseconds and INT96 differ");
    let view = view_of(vec![written("pyarrow_v1"), written("pyarrow_v2")], 200).1.inspect().await.unwrap();
    let (batches, refusal) = read(&view, Scan::new()).await;
    assert_eq!(refusal.map(|refusal| refusal.reason), Some(Reason::StreamViewOrderViolation));
    assert_eq!(batches.iter().map(|batch| batch.times().len()).sum::<usize>(), 100);
}

#[tokio::test]
async fn encryption_is_refused_at_planning() {
    let refused = |name: &'static str| async move { view(written(name), 1).await.unwrap_err() };
    let of = |refusal: &Refusal| (refusal.reason, refusal.place.file.clone().unwrap(), refusal.place.field.clone());
    let refusal = refused("encrypted_column").await;
    let file = "memory/part-000000.parquet".to_owned();
    assert_eq!(of(&refusal), (Reason::StreamViewUnreadable, file.clone(), Some("secret".to_owned())));
    assert!(refusal.detail.contains("encrypted"), "{refusal}");
    let refusal = refused("encrypted_footer").await;
    assert_eq!(of(&refusal), (Reason::StreamViewUnreadable, file, None));
    assert!(refusal.detail.contains("encrypted"), "{refusal}");
}

/// Each byte of the pages with one bit flipped: the rows are as they were, or the run is refused.
#[tokio::test]
async fn a_flipped_bit_never_changes_a_row() {
    let file = written("pyarrow_checked");
    let footer = u32::from_le_bytes(file[file.len() - 8..][..4].try_into().unwrap()) as usize;
    let pages = file.len() - 8 - footer;
    let mut refused = 0;
    for byte in 4..pages {
        let mut flipped = file.to_vec();
        flipped[byte] ^= 1 << (byte % 8);
        let view = view(flipped.into(), 24).await.unwrap();
        for memory in [0, 64 << 20] {
            let scan = Scan::new().memory(memory).batch_rows(10);
            let refusal = check(&view, 24, scan, 0, None).await;
            if let Some(refusal) = refusal {
                refused += 1;
                assert_eq!(refusal.reason, Reason::StreamViewUnreadable, "byte {byte}: {refusal}");
                assert!(refusal.place.field.is_some(), "byte {byte}: {refusal} names no column");
            }
        }
    }
    assert!(refused > pages, "{refused} of {} readings were refused", 2 * pages);
}

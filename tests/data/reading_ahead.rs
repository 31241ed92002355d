//! Reading ahead: the next row group is on its way while one is read, within the memory that was given, and no output
//! ever waits for another one's memory.

mod measured;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use wsp::merge::merge;
use wsp::store::{Key, ObjectStore as _};
use wsp_world::model::{Micros, Reason, RowBatch};
use wsp_world::oracle::{Prefetch, Resume, Scan, View, ViewFile, ViewFiles, shares};

use measured::Measured;

const START: i64 = 1_767_225_600_000_000;

/// How a part is written.
#[derive(Debug, Clone, Copy)]
struct Written {
    group_rows: usize,
    page_rows: usize,
    index: bool,
}

const SMALL_GROUPS: Written = Written { group_rows: 100, page_rows: 20, index: true };

/// Rows `ids`, each `step` seconds after the one before; texts that don't compress, 64 bytes each.
fn part(ids: std::ops::Range<i64>, step: i64, written: Written) -> Bytes {
    let times = ids.clone().map(|id| Micros(START + id * step * 1_000_000).to_string());
    let texts = ids.clone().map(|id| {
        let mut seed = id as u64 + 1;
        let digit = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (seed >> 40) as u8 % 90)
        };
        (0..64).map(digit).collect::<String>()
    });
    let rows = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from_iter_values(times)) as ArrayRef),
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(written.group_rows))
        .set_data_page_row_count_limit(written.page_rows)
        .set_write_batch_size(1)
        .set_dictionary_enabled(false)
        .set_compression(Compression::SNAPPY)
        .set_offset_index_disabled(!written.index)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap().into()
}

async fn view(store: &Arc<Measured>, rank: u16, parts: Vec<Bytes>, rows: u64) -> View {
    let mut files = Vec::new();
    for (i, part) in parts.into_iter().enumerate() {
        let key: Key = format!("{rank}/part-{i:06}.parquet").parse().unwrap();
        store.put(&key, part).await.unwrap();
        let meta = store.head(&key).await.unwrap().unwrap();
        files.push(ViewFile { key, meta });
    }
    let store = store.clone();
    let output_id = format!("output_{rank}").parse().unwrap();
    ViewFiles { rank, output_id, store, files, expected_rows: rows }.inspect().await.unwrap()
}

fn ids(batch: &RowBatch) -> Vec<i64> {
    batch.rows().column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn the_next_row_group_is_fetched_while_one_is_read_and_no_further_one() {
    let store = Measured::new();
    let parts = vec![part(0..300, 1, SMALL_GROUPS), part(300..400, 1, SMALL_GROUPS)];
    let view = view(&store, 0, parts, 400).await;
    let groups: Vec<u64> = view.parts[0].row_groups.iter().map(|group| group.bytes).collect();
    let mut batches = std::pin::pin!(view.batches(Scan::new().batch_rows(50)));
    store.forget();
    for batch in 0..8 {
        let read = ids(&batches.next().await.unwrap().unwrap());
        assert_eq!(read, (batch * 50..batch * 50 + 50).collect::<Vec<_>>());
        let fetched = store.bytes_of("0/part-000000.parquet");
        let due: u64 = groups.iter().take(batch as usize / 2 + 2).sum();
        assert_eq!(fetched, due, "batch {batch}");
        let next_part = store.bytes_of("0/part-000001.parquet");
        assert_eq!(next_part > 0, batch >= 4, "batch {batch}: the next part is opened while the last group is read");
    }
    assert!(batches.next().await.is_none());
    assert_eq!(store.held(), 0, "nothing is kept");
}

#[tokio::test]
async fn the_next_row_group_is_fetched_when_the_last_rows_of_a_large_one_are_read() {
    let store = Measured::new();
    let large = Written { group_rows: 50_000, page_rows: 5_000, index: false };
    let view = view(&store, 0, vec![part(0..100_000, 1, large)], 100_000).await;
    let groups: Vec<u64> = view.parts[0].row_groups.iter().map(|group| group.bytes).collect();
    let mut batches = std::pin::pin!(view.batches(Scan::new().batch_rows(1_000)));
    store.forget();
    // 32,768 rows before the end, as `View::batches` says; what is decoded next counts as read.
    for batch in 0..50 {
        batches.next().await.unwrap().unwrap();
        let expected = if batch < 18 { groups[0] } else { groups[0] + groups[1] };
        assert_eq!(store.bytes_of("0/part-000000.parquet"), expected, "batch {batch}");
    }
}

#[tokio::test]
async fn who_finds_no_permit_reads_on_without() {
    let store = Measured::new();
    let mut views = Vec::new();
    for rank in 0..3 {
        views.push(view(&store, rank, vec![part(0..500, 1, SMALL_GROUPS)], 500).await);
    }
    let group = views.iter().flat_map(|view| &view.parts[0].row_groups).map(|group| group.bytes).max().unwrap();
    for permits in 0..4 {
        store.forget();
        let scan = Scan::new().batch_rows(10).prefetch(Prefetch::new(permits));
        let mut outputs: Vec<_> = views.iter().map(|view| Box::pin(view.batches(scan.clone()))).collect();
        for batch in 0..50 {
            for output in &mut outputs {
                assert_eq!(ids(&output.next().await.unwrap().unwrap())[0], batch * 10);
            }
        }
        let bound = (3 + permits as u64) * group;
        let most = store.most_held();
        assert!(
            most <= bound && most > bound - group,
            "{most} bytes held with {permits} permits, a row group has {group}"
        );
    }
}

#[tokio::test]
async fn who_has_no_room_leaves_the_permit_to_others() {
    let store = Measured::new();
    let parts = || vec![part(0..500, 1, SMALL_GROUPS)];
    let (first, second) = (view(&store, 0, parts(), 500).await, view(&store, 1, parts(), 500).await);
    let groups: Vec<u64> = second.parts[0].row_groups.iter().map(|group| group.bytes).collect();
    let scan = Scan::new().batch_rows(10).prefetch(Prefetch::new(1));
    let mut without_room = std::pin::pin!(first.batches(scan.clone().memory(1)));
    let mut with_room = std::pin::pin!(second.batches(scan));
    store.forget();
    without_room.next().await.unwrap().unwrap();
    with_room.next().await.unwrap().unwrap();
    assert_eq!(store.bytes_of("1/part-000000.parquet"), groups[0] + groups[1]);
}

#[tokio::test]
async fn without_room_nothing_is_fetched_ahead_and_all_is_read() {
    let store = Measured::new();
    let large = Written { group_rows: 200, page_rows: 200, index: false };
    let view = view(&store, 0, vec![part(0..1000, 1, large)], 1000).await;
    let group = view.parts[0].row_groups.iter().map(|group| group.bytes).max().unwrap();
    store.forget();
    let mut batches = std::pin::pin!(view.batches(Scan::new().batch_rows(50).memory(1)));
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += ids(&batch.unwrap()).len();
        assert!(store.most_held() <= group, "{} bytes held, a row group has {group}", store.most_held());
    }
    assert_eq!(rows, 1000);
}

#[tokio::test]
async fn a_large_row_group_is_read_page_by_page() {
    let store = Measured::new();
    let one_group = Written { group_rows: 20_000, page_rows: 100, index: true };
    let view = view(&store, 0, vec![part(0..20_000, 1, one_group)], 20_000).await;
    let whole = view.parts[0].row_groups[0].bytes;
    let memory = whole / 8;
    for from in [0, 1, 7_777, 19_999] {
        store.forget();
        let scan = Scan::new().resume(Resume { file: 0, row: from, after: None }).batch_rows(128).memory(memory);
        let mut batches = std::pin::pin!(view.batches(scan));
        let mut next = from as i64;
        while let Some(batch) = batches.next().await {
            let batch = batch.unwrap();
            for (i, id) in ids(&batch).into_iter().enumerate() {
                assert_eq!((id, batch.position(i).row), (next, next as u64));
                next += 1;
            }
        }
        assert_eq!(next, 20_000);
        assert!(store.most_held() <= memory, "{} of {memory} bytes, the row group has {whole}", store.most_held());
        let read = store.bytes_of("0/part-000000.parquet");
        // All of it is looked at for its pages, which are small here, and then read.
        assert!(read < whole * 9 / 4, "{read} of {whole} bytes: little is read more than that");
    }
}

#[tokio::test]
async fn what_fails_ahead_is_tried_again_when_it_is_needed() {
    let store = Measured::new();
    let view = view(&store, 0, vec![part(0..300, 1, SMALL_GROUPS)], 300).await;
    let mut batches = std::pin::pin!(view.batches(Scan::new()));
    // The footer and the first row group come; the second one, fetched ahead, fails once.
    store.fail_reads(2..3);
    for _ in 0..3 {
        batches.next().await.unwrap().unwrap();
    }
    assert!(batches.next().await.is_none());
    assert_eq!(store.failed(), 1);
}

#[tokio::test]
async fn a_part_replaced_during_the_run_is_refused_behind_the_rows_that_were_fetched() {
    let store = Measured::new();
    let view = view(&store, 0, vec![part(0..500, 1, SMALL_GROUPS)], 500).await;
    let mut batches = std::pin::pin!(view.batches(Scan::new()));
    assert_eq!(ids(&batches.next().await.unwrap().unwrap()).len(), 100);
    store.put(&view.parts[0].file.key, part(0..500, 2, SMALL_GROUPS)).await.unwrap();
    let second = batches.next().await.unwrap().unwrap();
    assert_eq!(second.times()[0], Micros(START + 100 * 1_000_000), "fetched before, so of the first version");
    let refusal = batches.next().await.unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::StreamViewChanged);
    assert!(batches.next().await.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Outputs of any shape, answers that take any time: all rows come, in order, and what is held of the store's bytes
    /// stays within the memory given, beyond it only where a row group can't be cut.
    #[test]
    fn outputs_share_the_memory_and_none_waits_for_another(
        outputs in prop::collection::vec((1_i64..600, 1_i64..4, 30_usize..400, 5_usize..60, any::<bool>()), 1..5),
        delays in prop::collection::vec(0_u64..50, 1..20),
        memory in 0_u64..200_000,
        permits in 0_usize..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = Measured::new();
            let mut views = Vec::new();
            for (rank, (rows, step, group_rows, page_rows, index)) in outputs.iter().enumerate() {
                let written = Written { group_rows: *group_rows, page_rows: *page_rows, index: *index };
                let half = rows / 2;
                let parts = vec![part(0..half.max(1), *step, written), part(half.max(1)..*rows, *step, written)];
                let parts = parts.into_iter().take(if *rows > 1 { 2 } else { 1 }).collect();
                views.push(view(&store, rank as u16, parts, *rows as u64).await);
            }
            let wishes: Vec<u64> = views.iter().map(|view| view.memory_wish(Resume::default())).collect();
            let given = shares(memory, &wishes);
            // What an output holds where its row groups can't be cut small enough.
            let alone = views.iter().map(|view| {
                view.parts.iter().flat_map(|part| &part.row_groups).map(|group| group.bytes).max().unwrap()
            });
            let bound: u64 = given.iter().zip(alone).map(|(share, alone)| *share.max(&alone)).sum();
            store.forget();
            store.delay(&delays);
            let scan = Scan::new().batch_rows(16).prefetch(Prefetch::new(permits));
            let scans = given.iter().map(|share| scan.clone().memory(*share));
            let sources = views.iter().zip(scans).map(|(view, scan)| Box::pin(view.batches(scan))).collect();
            let mut merged = std::pin::pin!(merge(sources));
            let (mut rows, mut last) = (0, None);
            let all = async {
                while let Some(runs) = merged.next().await {
                    for run in runs.unwrap() {
                        for i in run.from..run.to {
                            let position = run.batch.position(i);
                            let key = (run.batch.times()[i], position.rank, position.file, position.row);
                            assert!(last < Some(key), "{last:?} before {key:?}");
                            (rows, last) = (rows + 1, Some(key));
                        }
                    }
                }
            };
            let ended = tokio::time::timeout(Duration::from_hours(1), all).await;
            prop_assert!(ended.is_ok(), "it came to a standstill");
            prop_assert_eq!(rows, outputs.iter().map(|output| output.0).sum::<i64>());
            prop_assert!(store.most_held() <= bound, "{} bytes held, the bound is {}", store.most_held(), bound);
            Ok(())
        })?;
    }
}

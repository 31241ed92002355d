//! Slices of files written with small pages.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;

const ROWS: u64 = 1_000;

fn file(group_rows: usize, page_rows: usize) -> Bytes {
    let ids = Int64Array::from_iter_values(0..ROWS.cast_signed());
    // Few values, so a dictionary; and many, so none that is of use.
    let kinds = StringArray::from_iter_values((0..ROWS).map(|i| format!("kind {}", i % 7)));
    let texts = StringArray::from_iter_values((0..ROWS).map(|i| format!("{i:040}")));
    let columns: [(&str, ArrayRef); 3] = [("id", Arc::new(ids)), ("kind", Arc::new(kinds)), ("text", Arc::new(texts))];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(1)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap().into()
}

fn metadata(file: &Bytes, index: PageIndexPolicy) -> ParquetMetaData {
    ParquetMetaDataReader::new().with_offset_index_policy(index).parse_and_finish(file).unwrap()
}

/// All slices from `row` on.
fn slices(layout: &Layout<'_>, mut row: u64, most: u64) -> Vec<Slice> {
    std::iter::from_fn(|| {
        let slice = layout.slice_at(row, most)?;
        row = slice.end();
        Some(slice)
    })
    .collect()
}

#[test]
fn without_an_index_a_row_group_is_whole() {
    let metadata = metadata(&file(400, 10), PageIndexPolicy::Skip);
    let layout = Layout { metadata: &metadata, leaves: &[0, 1, 2], most_rows: 16 };
    assert!(layout.is_beyond(1));
    let slices = slices(&layout, 450, 1);
    let rows: Vec<_> = slices.iter().map(|slice| (slice.group, slice.start, slice.rows.clone())).collect();
    assert_eq!(rows, [(1, 400, 50..400), (2, 800, 0..200)]);
    for slice in &slices {
        assert!(!slice.paged);
        let chunks = metadata.row_group(slice.group).columns().iter().map(ColumnChunkMetaData::byte_range);
        assert!(layout.ranges(slice).into_iter().eq(chunks.map(|(start, length)| start..start + length)));
    }
}

#[test]
fn an_index_that_contradicts_itself_is_not_used() {
    let page = |offset, first_row_index| PageLocation { offset, compressed_page_size: 10, first_row_index };
    let good = [page(100, 0), page(110, 5), page(120, 9)];
    assert!(are_in_order(&good, &(90..130), 10));
    assert!(!are_in_order(&[], &(90..130), 10));
    assert!(!are_in_order(&good, &(90..129), 10), "beyond the chunk");
    assert!(!are_in_order(&good, &(101..130), 10), "before the chunk");
    assert!(!are_in_order(&good, &(90..130), 9), "beyond the rows");
    for (i, bad) in [page(115, 5), page(110, 0), page(-1, 5), page(110, 9)].into_iter().enumerate() {
        assert!(!are_in_order(&[good[0].clone(), bad, good[2].clone()], &(90..130), 10), "{i}");
    }
    assert!(!are_in_order(&[page(100, 1)], &(90..130), 10), "the first rows are nowhere");
}

proptest! {
    #[test]
    fn slices_tile_the_rows_and_keep_to_their_bound(
        group_rows in 20_usize..1_200, page_rows in 1_usize..100, batch_rows in 1_u64..64, most in 0_u64..60_000, row in 0..ROWS
    ) {
        let metadata = metadata(&file(group_rows, page_rows), PageIndexPolicy::Required);
        let layout = Layout { metadata: &metadata, leaves: &[0, 1, 2], most_rows: batch_rows };
        let mut next = row;
        for slice in slices(&layout, row, most) {
            prop_assert_eq!(slice.start + slice.rows.start, next);
            prop_assert!(slice.rows.end > slice.rows.start);
            let count = slice.rows.end - slice.rows.start;
            let to_end = slice.rows.end == metadata.row_group(slice.group).num_rows() as u64;
            prop_assert!(count % batch_rows == 0 || to_end, "a batch lies in one slice");
            prop_assert!(slice.cost.all() <= most || count <= batch_rows, "{:?}", slice.cost);
            let ranges = layout.ranges(&slice);
            prop_assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), slice.cost.fetched);
            // Another batch would not have fitted.
            if !to_end {
                let longer = Layout { most_rows: count + batch_rows, ..layout };
                let longer = longer.slice_at(next, 0).unwrap();
                prop_assert!(longer.cost.all() > most);
            }
            next = slice.end();
        }
        prop_assert_eq!(next, ROWS);
    }
}

#[test]
fn batches_of_large_rows_have_fewer_of_them() {
    const LONG: usize = 100_000;
    let rows = |texts: StringArray, dictionary: bool| {
        let batch = RecordBatch::try_from_iter([("x", Arc::new(texts) as ArrayRef)]).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(dictionary).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let metadata = metadata(&writer.into_inner().unwrap().into(), PageIndexPolicy::Skip);
        let layout = Layout { metadata: &metadata, leaves: &[0], most_rows: 4096 };
        layout.batch_rows(0)
    };
    let long = "z".repeat(LONG);
    let within = |count: u64| count * LONG as u64 <= BATCH_BYTES && (count + 2) * LONG as u64 > BATCH_BYTES;
    let same = || StringArray::from_iter_values((0..100).map(|_| &long));
    let plain = rows(same(), false);
    assert!(within(plain), "{plain}");
    // Stored once, decoded a hundred times.
    let once = rows(same(), true);
    assert!(within(once), "{once}");
    assert_eq!(rows(StringArray::from_iter_values([&"z".repeat(2 * BATCH_BYTES as usize)]), false), 1);
    assert_eq!(rows(StringArray::from_iter_values(["short", "texts"]), true), 4096);
}

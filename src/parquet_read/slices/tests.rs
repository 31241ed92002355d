//! Slices of files written with small pages.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use proptest::prelude::*;

use super::*;

const ROWS: u64 = 1_000;

fn file(group_rows: usize, page_rows: usize) -> Bytes {
    file_with(group_rows, page_rows, true)
}

fn file_with(group_rows: usize, page_rows: usize, dictionary: bool) -> Bytes {
    let ids = Int64Array::from_iter_values(0..ROWS.cast_signed());
    // Few values, so a dictionary; and many, so none that is of use.
    let kinds = StringArray::from_iter_values((0..ROWS).map(|i| format!("kind {}", i % 7)));
    let texts = StringArray::from_iter_values((0..ROWS).map(|i| format!("{i:040}")));
    let columns: [(&str, ArrayRef); 3] = [("id", Arc::new(ids)), ("kind", Arc::new(kinds)), ("text", Arc::new(texts))];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(dictionary)
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

const LEAVES: &[usize] = &[0, 1, 2];

/// All cuts from `row` of the file on: row group, its first row, rows in it, cost.
fn cuts(metadata: &ParquetMetaData, batch_rows: u64, mut row: u64, most: u64) -> Vec<(Spot, Range<u64>, Cost)> {
    std::iter::from_fn(|| {
        let spot = spot(metadata, row)?;
        let layout = Layout { metadata, group: spot.group, leaves: LEAVES, batch_rows };
        let (rows, cost) = layout.cut(row - spot.start, most);
        row = spot.start + rows.end;
        Some((spot, rows, cost))
    })
    .collect()
}

#[test]
fn without_places_of_pages_a_row_group_is_whole() {
    let metadata = metadata(&file(400, 10), PageIndexPolicy::Skip);
    let layout = Layout { metadata: &metadata, group: 1, leaves: LEAVES, batch_rows: 16 };
    let chunks = metadata.row_group(1).columns().iter().map(ColumnChunkMetaData::byte_range);
    assert!(layout.ranges(&(50..60)).into_iter().eq(chunks.map(|(start, length)| start..start + length)));
    assert_eq!(spot(&metadata, 450), Some(Spot { group: 1, start: 400, rows: 400 }));
    assert_eq!(spot(&metadata, 999), Some(Spot { group: 2, start: 800, rows: 200 }));
    assert_eq!(spot(&metadata, 1_000), None);
}

#[test]
fn a_batch_can_touch_so_many_pages() {
    let page = |offset, first_row_index| PageLocation { offset, compressed_page_size: 10, first_row_index };
    let pages = [page(0, 0), page(10, 5), page(20, 9), page(30, 10)];
    assert_eq!([1, 2, 3, 6, 7, 100].map(|rows| held(&pages, rows)), [10, 20, 30, 30, 40, 40]);
    assert_eq!(held(&pages[..1], 3), 10);
    assert_eq!(held(&[], 3), 0);
}

fn page(offset: i64, first_row_index: i64) -> PageLocation {
    PageLocation { offset, compressed_page_size: 100, first_row_index }
}

#[test]
fn the_pages_of_some_rows_are_those_that_hold_one_of_them() {
    let pages = [page(0, 0), page(100, 5), page(200, 9), page(300, 10)];
    let rows = [5..9, 4..6, 9..10, 10..20, 0..1, 0..11, 8..10];
    let indices = [1..2, 0..2, 2..3, 3..4, 0..1, 0..4, 1..3];
    assert_eq!(rows.map(|rows| page_indices(&pages, &rows)), indices);
}

#[test]
fn rows_cost_their_pages_as_stored_and_what_decoding_adds() {
    // A dictionary of 50 bytes, four pages of five rows, and 10 bytes of an empty page. Decompressed it has twice as many.
    let pages: Vec<_> = (0..4).map(|n| page(1_050 + 100 * n, 5 * n)).collect();
    let cost = |pages, compressed, rows| {
        let column = Column { chunk: 1_000..1_460, inflated: 920, compressed, pages, held: 100 };
        let Cost { fetched, decoded } = super::cost(&[column], rows, 20);
        (fetched, decoded)
    };
    let known = Some(&pages[..]);
    assert_eq!(cost(None, true, 5..10), (460, 920), "without pages all of it");
    assert_eq!(cost(known, true, 5..10), (150, 2 * 250), "one page, and the one before it may be in use");
    assert_eq!(cost(known, false, 5..10), (150, 2 * 150), "values that are the stored bytes");
    assert_eq!(cost(known, true, 4..11), (350, 2 * 250));
    assert_eq!(cost(known, true, 1..20), (450, 2 * 250));
    assert_eq!(cost(known, true, 0..20), (460, 2 * 250), "all rows are fetched with what stands between the pages");
    let empty = Column { chunk: 1_000..1_000, inflated: 0, compressed: true, pages: None, held: 0 };
    assert_eq!(super::cost(&[empty], 0..20, 20), Cost::default());
}

#[test]
fn what_fits_exactly_is_taken() {
    let metadata = metadata(&file_with(1_000, 10, false), PageIndexPolicy::Required);
    let layout = Layout { metadata: &metadata, group: 0, leaves: LEAVES, batch_rows: 10 };
    let (rows, cost) = layout.cut(0, 20_000);
    assert!(50 < rows.end && rows.end < ROWS, "{rows:?}");
    assert_eq!(layout.cut(0, cost.all()), (rows.clone(), cost));
    assert!(layout.cut(0, cost.all() - 1).0.end < rows.end);
}

#[test]
fn a_value_of_each_type_has_its_width_and_its_levels() {
    let schema = "message m {
        required boolean a; required int32 b; required float c; required int64 d; required double e; required int96 f;
        required fixed_len_byte_array(7) g; required binary h; repeated int32 i;
    }";
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
    let decoded = |leaf| {
        let column = ColumnChunkMetaData::builder(schema.column(leaf)).set_num_values(10);
        decoded_bytes(&column.set_total_uncompressed_size(100).build().unwrap())
    };
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(decoded), [30, 60, 60, 100, 100, 140, 90, 280, 80]);
}

#[test]
fn large_rows_make_small_batches() {
    let metadata = metadata(&file(1_000, 1_000), PageIndexPolicy::Skip);
    // Decoded a row has 10 bytes of id, 18 and next to nothing of kind, 18 and 44 of text.
    let rows = |most| batch_rows(&metadata, 0, LEAVES, most, 4_096);
    assert_eq!(rows(0), 1);
    assert!((95..115).contains(&rows(10_000)), "{}", rows(10_000));
    assert_eq!(rows(u64::MAX), 4_096);
    assert_eq!(batch_rows(&metadata, 0, &[0], 10_000, 4_096), 1_000);
}

proptest! {
    #[test]
    fn cuts_tile_the_rows_and_keep_to_their_bound(
        group_rows in 20_usize..1_200, page_rows in 1_usize..100, batch_rows in 1_u64..64, most in 0_u64..60_000, row in 0..ROWS,
        dictionary in any::<bool>()
    ) {
        let metadata = metadata(&file_with(group_rows, page_rows, dictionary), PageIndexPolicy::Required);
        let mut next = row;
        for (spot, rows, cost) in cuts(&metadata, batch_rows, row, most) {
            let layout = Layout { metadata: &metadata, group: spot.group, leaves: LEAVES, batch_rows };
            prop_assert_eq!(spot.start + rows.start, next);
            prop_assert!(rows.end > rows.start);
            let count = rows.end - rows.start;
            let to_end = rows.end == spot.rows;
            prop_assert!(count % batch_rows == 0 || to_end, "a batch lies in one slice");
            let columns = layout.columns();
            let one_batch = super::cost(&columns, rows.start..(rows.start + batch_rows).min(spot.rows), spot.rows);
            let most = most.max(2 * one_batch.all());
            prop_assert!(cost.all() <= most, "{:?} of {}", cost, most);
            let ranges = layout.ranges(&rows);
            prop_assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), cost.fetched);
            // What it costs is room enough for it.
            prop_assert_eq!(&layout.cut(rows.start, cost.all()).0, &rows);
            // Another batch would not have fitted.
            if !to_end {
                let longer = super::cost(&columns, rows.start..(rows.end + batch_rows).min(spot.rows), spot.rows);
                prop_assert!(longer.all() > most);
            }
            next = spot.start + rows.end;
        }
        prop_assert_eq!(next, ROWS);
    }
}

#[test]
fn batches_of_large_rows_have_fewer_of_them() {
    const LONG: usize = 100_000;
    const BATCH_BYTES: u64 = 4 << 20;
    let rows = |texts: StringArray, dictionary: bool| {
        let batch = RecordBatch::try_from_iter([("x", Arc::new(texts) as ArrayRef)]).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(dictionary).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let metadata = metadata(&writer.into_inner().unwrap().into(), PageIndexPolicy::Skip);
        batch_rows(&metadata, 0, &[0], BATCH_BYTES, 4096)
    };
    let long = "z".repeat(LONG);
    let within = |count: u64| count * LONG as u64 <= BATCH_BYTES && (count + 2) * LONG as u64 > BATCH_BYTES;
    let same = || StringArray::from_iter_values((0..100).map(|_| &long));
    let plain = rows(same(), false);
    assert!(within(plain), "{plain}");
    // Stored once, and decoded once: a hundred rows point to it.
    assert_eq!(rows(same(), true), 4096);
    assert_eq!(rows(StringArray::from_iter_values([&"z".repeat(2 * BATCH_BYTES as usize)]), false), 1);
    assert_eq!(rows(StringArray::from_iter_values(["short", "texts"]), true), 4096);
}

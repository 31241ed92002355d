use std::path::Path;

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::*;

fn file(name: &str) -> (Bytes, ParquetMetaData) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/written").join(format!("{name}.parquet"));
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
    let metadata = reader.with_column_index_policy(PageIndexPolicy::Skip).parse_and_finish(&bytes).unwrap();
    (bytes, metadata)
}

/// Each column chunk of a file: row group, column, the rows of the group, the chunk's bytes.
fn chunks<'a>(
    bytes: &'a Bytes,
    metadata: &'a ParquetMetaData,
) -> impl Iterator<Item = (usize, usize, &'a ColumnChunkMetaData, u64, Bytes)> {
    metadata.row_groups().iter().enumerate().flat_map(move |(g, group)| {
        group.columns().iter().enumerate().map(move |(c, column)| {
            let (start, length) = column.byte_range();
            let chunk = bytes.slice(start as usize..(start + length) as usize);
            (g, c, column, group.num_rows() as u64, chunk)
        })
    })
}

const FILES: &[&str] = &[
    "pyarrow_v1",
    "pyarrow_v2",
    "pyarrow_int96",
    "pyarrow_checked",
    "polars",
    "duckdb_v1",
    "duckdb_v2",
    "fastparquet",
    "fastparquet_int96",
];

#[test]
fn pages_are_where_the_writers_and_the_library_say() {
    for name in FILES {
        let (bytes, metadata) = file(name);
        for (group, index, column, rows, chunk) in chunks(&bytes, &metadata) {
            let case = format!("{name}, row group {group}, {}", column.column_path().string());
            let pages = pages_of(column, rows, &chunk).unwrap_or_else(|what| panic!("{case}: {what}"));
            // The library's own reading of the headers, which has no places.
            let whole = OnePage { at: column.byte_range().0, bytes: chunk };
            let mut library = SerializedPageReader::new(Arc::new(Whole(whole)), column, rows as usize, None).unwrap();
            let mut levels = Vec::new();
            while let Some(page) = library.peek_next_page().unwrap() {
                library.skip_next_page().unwrap();
                levels.extend(page.num_levels.filter(|levels| *levels > 0));
            }
            assert_eq!(pages.locations.len(), levels.len(), "{case}");
            if let Some(written) = metadata.page_index().and_then(|all| all.page_locations(group, index)) {
                assert_eq!(&pages.locations, written, "{case}");
                assert!(pages.can_be_cut, "{case}");
            }
        }
    }
    let (_, metadata) = file("pyarrow_v2");
    assert!(metadata.page_index().unwrap().page_locations(0, 0).unwrap().len() > 1);
}

/// A chunk as the library asks for it, from any place on.
struct Whole(OnePage);

impl Length for Whole {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Whole {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.0.bytes.slice((start - self.0.at) as usize..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let from = (start - self.0.at) as usize;
        Ok(self.0.bytes.slice(from..from + length))
    }
}

/// The chunk of a column of this type, one value long, that `bytes` are.
fn column_of(field: &str, bytes: &[u8]) -> ColumnChunkMetaData {
    let schema = parse_message_type(&format!("message m {{ {field}; }}")).unwrap();
    let column = SchemaDescriptor::new(Arc::new(schema)).column(0);
    let column = ColumnChunkMetaData::builder(column).set_num_values(1);
    column.set_total_compressed_size(i64::try_from(bytes.len()).unwrap()).build().unwrap()
}

/// What is wrong with the first page of a chunk of one row.
fn wrong(field: &str, bytes: &[u8]) -> Option<String> {
    let column = column_of(field, bytes);
    Walk::new(&column, 1).step(&Bytes::copy_from_slice(bytes)).err()
}

#[test]
fn levels_in_the_encoding_that_was_given_up_are_refused_where_there_are_levels() {
    const RLE: u8 = 3 << 1;
    const GIVEN_UP: u8 = 4 << 1;
    for (field, definitions, repetitions, is_refused) in [
        ("required int32 a", GIVEN_UP, GIVEN_UP, false),
        ("optional int32 a", RLE, GIVEN_UP, false),
        ("optional int32 a", GIVEN_UP, RLE, true),
        ("repeated int32 a", RLE, GIVEN_UP, true),
        ("repeated int32 a", GIVEN_UP, RLE, true),
    ] {
        // A data page of version 1: one value, PLAIN, and eight bytes of levels and values.
        let header = [0x15, 0, 0x15, 16, 0x15, 16, 0x2c, 0x15, 2, 0x15, 0, 0x15, definitions, 0x15, repetitions, 0, 0];
        let what = wrong(field, &[&header[..], &[0; 8]].concat());
        let is_told = what.as_ref().is_some_and(|what| what.contains("given up"));
        assert_eq!(is_told, is_refused, "{field}: {what:?}");
    }
}

#[test]
fn one_value_that_goes_on_with_a_row_does_not_begin_a_page_of_version_2() {
    // One value, no null, no row, PLAIN, two bytes of each levels: a run of one at level 1. Then the value.
    let header = [0x15, 6, 0x15, 16, 0x15, 16, 0x5c, 0x15, 2, 0x15, 0, 0x15, 0, 0x15, 0, 0x15, 4, 0x15, 4, 0, 0];
    let page = |level| [&header[..], &[2, level, 2, 1, 7, 0, 0, 0]].concat();
    let what = wrong("repeated int32 a", &page(1)).unwrap();
    assert!(what.contains("begins within a row"), "{what}");
    let what = wrong("repeated int32 a", &page(0)).unwrap();
    assert!(what.contains("says 0 rows and holds 1"), "{what}");
}

#[test]
fn a_header_that_goes_on_behind_its_column_is_none() {
    assert!(wrong("required int32 a", &[0x15]).is_some_and(|what| what.contains("no page header")));
}

#[test]
fn texts_that_run_together_are_told() {
    let (bytes, metadata) = file("pyarrow_v2");
    let together: Vec<String> = chunks(&bytes, &metadata)
        .filter(|(_, _, column, rows, chunk)| pages_of(column, *rows, chunk).unwrap().runs_texts_together)
        .map(|(_, _, column, ..)| column.column_path().string())
        .collect();
    let paths = ["text", "bin", "deep.list.element.ys.list.element"];
    assert_eq!(together, [paths, paths].concat());
}

/// However little is at hand, the same is found, and no more is asked for than there is.
#[test]
fn piece_by_piece_the_same_is_found() {
    for name in ["pyarrow_v1", "pyarrow_v2", "duckdb_v1"] {
        let (bytes, metadata) = file(name);
        for (_, _, column, rows, chunk) in chunks(&bytes, &metadata) {
            let mut walk = Walk::new(column, rows);
            let start = walk.at;
            let mut held = 1;
            while !walk.left().is_empty() {
                let from = (walk.at - start) as usize;
                let needed = walk.step(&chunk.slice(from..chunk.len().min(from + held))).unwrap();
                held = match needed {
                    None => 1,
                    Some(needed) => {
                        assert!(needed as usize > held && needed <= walk.left().end - walk.left().start);
                        // Less than it asks for: it asks again.
                        held + 1 + (needed as usize - held) / 7
                    }
                };
            }
            assert_eq!(walk.finish().unwrap().locations, pages_of(column, rows, &chunk).unwrap().locations);
        }
    }
}

#[test]
fn a_chunk_that_is_cut_or_goes_on_is_refused() {
    let (bytes, metadata) = file("pyarrow_v2");
    for (_, _, column, rows, chunk) in chunks(&bytes, &metadata) {
        for cut in [0, 1, chunk.len() / 2, chunk.len() - 1] {
            assert!(pages_of(column, rows, &chunk.slice(..cut)).is_err());
        }
        assert!(pages_of(column, rows + 1, &chunk).is_err());
        let longer = column.clone().into_builder();
        let length = column.compressed_size() + 1;
        let longer = longer.set_total_compressed_size(length).build().unwrap();
        let more = [chunk.as_ref(), &[0]].concat();
        assert!(pages_of(&longer, rows, &more.into()).is_err());
    }
}

//! How an object is cut for reading: row group by row group, and a row group that is too large into slices, along its
//! pages.
//!
//! ```text
//! footer ──a row, most bytes──► Slice { row group, rows } ──► the byte ranges of its columns
//! ```
//!
//! Plain arithmetic over a footer, and over the places of pages where they were looked for.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;

use super::paged::{Paged, locations};

/// Rows that are fetched and decoded at once.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    /// The row group's index.
    pub(super) group: usize,
    /// The row group's first row, counted in the object.
    pub(super) start: u64,
    /// The slice's rows, counted in the row group.
    pub(super) rows: Range<u64>,
    /// Rows a batch.
    pub(super) batch_rows: u64,
    /// Of the row group only the pages that hold these rows are needed.
    pub(super) paged: Option<Arc<Paged>>,
    /// What it takes.
    pub(super) cost: Cost,
}

impl Slice {
    /// The row after its last, counted in the object.
    pub(super) fn end(&self) -> u64 {
        self.start + self.rows.end
    }

    /// The row group's index for the decoder, which knows no other one where its pages were looked for.
    pub(super) fn group_of_decoder(&self) -> usize {
        if self.paged.is_some() { 0 } else { self.group }
    }
}

/// Memory that a slice takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cost {
    /// As it is stored.
    pub(super) fetched: u64,
    /// What decoding it adds at most.
    pub(super) decoded: u64,
}

impl Cost {
    /// Both.
    pub(super) fn all(self) -> u64 {
        self.fetched.saturating_add(self.decoded)
    }
}

/// A row group, as far as some of its columns go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    /// The footer, with the places of pages where they are known.
    pub(super) metadata: &'a ParquetMetaData,
    /// The row group's index in it.
    pub(super) group: usize,
    /// The leaf columns that are read.
    pub(super) leaves: &'a [usize],
    /// Rows a batch. Cuts are made at multiples of so many, for a batch never spans two slices.
    pub(super) batch_rows: u64,
}

/// One column of a row group.
struct Column<'a> {
    chunk: Range<u64>,
    inflated: u64,
    /// Its bytes are decompressed page by page; else its values are the stored bytes, which stay as long as a batch does.
    compressed: bool,
    pages: Option<&'a [PageLocation]>,
    /// Stored bytes of the pages that one batch can take values from, at most.
    held: u64,
}

/// Where a row lies: its row group, that group's first row in the object, and how many rows it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) group: usize,
    pub(super) start: u64,
    pub(super) rows: u64,
}

/// Where row `row` of an object lies; `None` behind the last.
pub(super) fn spot(metadata: &ParquetMetaData, row: u64) -> Option<Spot> {
    let mut start = 0;
    metadata.row_groups().iter().enumerate().find_map(|(group, of)| {
        let rows = u64::try_from(of.num_rows()).unwrap_or(0);
        let here = row < start + rows;
        let spot = Spot { group, start, rows };
        start += rows;
        here.then_some(spot)
    })
}

impl Layout<'_> {
    /// All its rows.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.row_group(self.group).num_rows()).unwrap_or(0)
    }

    /// What reading all its rows takes.
    pub(super) fn cost(&self) -> Cost {
        cost(&self.columns(), 0..self.rows(), self.rows())
    }

    /// The rows from `from` on that cost up to `most` bytes, and what they cost. They are one batch at least. They may always cost
    /// twice what one batch does: pages are large then, and are read again by the slice behind.
    pub(super) fn cut(&self, from: u64, most: u64) -> (Range<u64>, Cost) {
        let (columns, rows) = (self.columns(), self.rows());
        let cost = |to: u64| cost(&columns, from..to, rows);
        let most = most.max(cost((from + self.batch_rows).min(rows)).all().saturating_mul(2));
        let mut to = rows;
        if cost(rows).all() > most {
            // The most whole batches that fit: costs grow with the rows.
            let batches = (rows - from).div_ceil(self.batch_rows);
            let (mut low, mut high) = (1, batches);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                let fits = cost((from + middle * self.batch_rows).min(rows)).all() <= most;
                (low, high) = if fits { (middle, high) } else { (low, middle - 1) };
            }
            to = (from + low * self.batch_rows).min(rows);
        }
        (from..to, cost(to))
    }

    /// The bytes of these rows, ascending in each column.
    pub(super) fn ranges(&self, rows: &Range<u64>) -> Vec<Range<u64>> {
        let columns = self.columns();
        columns
            .iter()
            .flat_map(|column| match column.pages {
                Some(pages) => {
                    let needed = &pages[page_indices(pages, rows)];
                    let run = needed.first().map_or(0, page_start)..needed.last().map_or(0, page_end);
                    vec![column.dictionary(pages), run]
                }
                None => vec![column.chunk.clone()],
            })
            .filter(|range| !range.is_empty())
            .collect()
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let chunks = self.metadata.row_group(self.group).columns();
        let column = |leaf: &usize| {
            let chunk = chunks.get(*leaf)?;
            let (start, length) = chunk.byte_range();
            let pages = locations(self.metadata, self.group, *leaf);
            Some(Column {
                chunk: start..start.saturating_add(length),
                inflated: u64::try_from(chunk.uncompressed_size()).unwrap_or(0),
                compressed: chunk.compression() != Compression::UNCOMPRESSED,
                pages,
                held: pages.map_or(0, |pages| held(pages, self.batch_rows)),
            })
        };
        self.leaves.iter().filter_map(column).collect()
    }
}

/// Rows a batch of a row group, so that decoded it takes up to `most` bytes, by the row group's average; `at_most` of
/// them, and one at least.
pub(super) fn batch_rows(metadata: &ParquetMetaData, group: usize, leaves: &[usize], most: u64, at_most: u64) -> u64 {
    let group = metadata.row_group(group);
    let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    let columns = leaves.iter().filter_map(|leaf| group.columns().get(*leaf));
    let row = columns.map(|column| decoded_bytes(column) / rows).fold(0, u64::saturating_add).max(1);
    (most / row).clamp(1, at_most.max(1))
}

/// Bytes of a column chunk's values once they are decoded, levels included.
fn decoded_bytes(column: &ColumnChunkMetaData) -> u64 {
    let size = |size: i64| u64::try_from(size).unwrap_or(0);
    let values = size(column.num_values());
    let descriptor = column.column_descr();
    let levels = if descriptor.max_rep_level() > 0 { 4 } else { 2 };
    let width = match column.column_type() {
        PhysicalType::BOOLEAN => 1,
        PhysicalType::INT32 | PhysicalType::FLOAT => 4,
        PhysicalType::INT64 | PhysicalType::DOUBLE => 8,
        PhysicalType::INT96 => 12,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => u64::try_from(descriptor.type_length()).unwrap_or(0),
        // A view, and the page that it points to.
        PhysicalType::BYTE_ARRAY => 16,
    };
    let fixed = values.saturating_mul(width + levels);
    if column.column_type() != PhysicalType::BYTE_ARRAY {
        return fixed;
    }
    // Texts that share their beginnings are written out, and only newer writers say how long they are then.
    let texts = size(column.uncompressed_size());
    let texts = if column.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY) {
        let written_out = column.unencoded_byte_array_data_bytes().map_or(texts.saturating_mul(SHARED), size);
        texts.max(written_out)
    } else {
        texts
    };
    fixed.saturating_add(texts)
}

/// How many times their stored length texts that share their beginnings are taken to have where nothing says so.
const SHARED: u64 = 16;

/// Stored bytes of the pages that `rows` rows in a row can lie in, at most.
fn held(pages: &[PageLocation], rows: u64) -> u64 {
    let mut last = 0;
    let run = |(first, page): (usize, &PageLocation)| {
        // Rows that begin with this page's last one.
        let end = match pages.get(first + 1) {
            Some(next) => row(next).saturating_add(rows - 1),
            None => u64::MAX,
        };
        while last + 1 < pages.len() && row(&pages[last + 1]) < end {
            last += 1;
        }
        page_end(&pages[last.max(first)]) - page_start(page)
    };
    pages.iter().enumerate().map(run).max().unwrap_or(0)
}

impl Column<'_> {
    /// What stands before its first data page.
    fn dictionary(&self, pages: &[PageLocation]) -> Range<u64> {
        self.chunk.start..pages.first().map_or(self.chunk.start, page_start)
    }
}

fn cost(columns: &[Column<'_>], rows: Range<u64>, of: u64) -> Cost {
    let mut sum = Cost::default();
    for column in columns {
        let stored = column.chunk.end - column.chunk.start;
        let (fetched, decoded) = match column.pages {
            // How long its pages are is not known: it may be a single one.
            None => (stored, stored),
            Some(pages) => {
                let needed = &pages[page_indices(pages, &rows)];
                let dictionary = column.dictionary(pages);
                let dictionary = dictionary.end - dictionary.start;
                let run = needed.last().map_or(0, page_end) - needed.first().map_or(0, page_start);
                let largest = needed.iter().map(|page| page_end(page) - page_start(page)).max().unwrap_or(0);
                let fetched = if rows == (0..of) { stored } else { dictionary + run };
                // Pages are decoded one at a time; texts of a batch stay where they were decompressed, and values of the
                // page before may still be in use.
                let held = column.held.min(run).max(2 * largest);
                (fetched, if column.compressed { (dictionary + held).min(stored) } else { fetched })
            }
        };
        let inflated = u128::from(decoded) * u128::from(column.inflated) / u128::from(stored.max(1));
        sum.fetched = sum.fetched.saturating_add(fetched);
        sum.decoded = sum.decoded.saturating_add(u64::try_from(inflated).unwrap_or(u64::MAX));
    }
    sum
}

/// The pages that hold a row of `rows`.
fn page_indices(pages: &[PageLocation], rows: &Range<u64>) -> Range<usize> {
    let before = |index: u64| pages.partition_point(|page| row(page) < index);
    let after = |index: u64| pages.partition_point(|page| row(page) <= index);
    let first = after(rows.start).saturating_sub(1);
    first..before(rows.end).max(first)
}

/// Its first row, counted in the row group.
fn row(page: &PageLocation) -> u64 {
    u64::try_from(page.first_row_index).unwrap_or(0)
}

fn page_start(page: &PageLocation) -> u64 {
    u64::try_from(page.offset).unwrap_or(0)
}

fn page_end(page: &PageLocation) -> u64 {
    page_start(page).saturating_add(u64::try_from(page.compressed_page_size).unwrap_or(0))
}

#[cfg(test)]
mod tests;

//! How a part is cut for reading: row group by row group, and a row group that is too large into slices, along its
//! pages.
//!
//! ```text
//! footer ──a row, most bytes──► Slice { row group, rows } ──► the byte ranges of its columns
//! ```
//!
//! Plain arithmetic over a footer. Where pages lie is known from the offset index, which not every writer leaves;
//! without it a row group is read whole.

use std::ops::Range;

use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;

/// Bytes of decoded values that a batch is meant to hold at most. Rows of up to 1 kB come 4,096 at a time.
const BATCH_BYTES: u64 = 4 << 20;

/// Rows that are fetched and decoded at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The row group's index.
    pub(super) group: usize,
    /// The row group's first row, counted in the part.
    pub(super) start: u64,
    /// The slice's rows, counted in the row group.
    pub(super) rows: Range<u64>,
    /// Of the row group only the pages that hold these rows are needed.
    pub(super) paged: bool,
    /// What it takes.
    pub(super) cost: Cost,
}

impl Slice {
    /// The row after its last, counted in the part.
    pub(super) fn end(&self) -> u64 {
        self.start + self.rows.end
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

/// A part's row groups, as far as some of its columns go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    /// The footer, with the offset index where it was read.
    pub(super) metadata: &'a ParquetMetaData,
    /// The leaf columns that are read.
    pub(super) leaves: &'a [usize],
    /// Rows of a batch at most; see [`Layout::batch_rows`].
    pub(super) most_rows: u64,
}

/// One column of a row group.
struct Column<'a> {
    chunk: Range<u64>,
    inflated: u64,
    /// Its bytes are decompressed page by page; else its values are the stored bytes, which stay as long as a batch does.
    compressed: bool,
    pages: Option<&'a [PageLocation]>,
}

impl Layout<'_> {
    /// The slice that begins at `row` of the part and costs up to `most` bytes, or as near to it as pages allow; at
    /// least one batch. `None` behind the last row.
    pub(super) fn slice_at(&self, row: u64, most: u64) -> Option<Slice> {
        let mut start = 0;
        let (group, rows) = self.groups().find(|(_, rows)| {
            let here = row < start + rows;
            start += if here { 0 } else { *rows };
            here
        })?;
        let columns = self.columns(group, rows);
        let from = row - start;
        let cost = |to: u64| cost(&columns, from..to, rows);
        let paged = columns.iter().all(|column| column.pages.is_some());
        let mut to = rows;
        if paged && cost(rows).all() > most {
            // The most whole batches that fit: costs grow with the rows.
            let batch_rows = self.batch_rows(group);
            let batches = (rows - from).div_ceil(batch_rows);
            let (mut low, mut high) = (1, batches);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                let fits = cost((from + middle * batch_rows).min(rows)).all() <= most;
                (low, high) = if fits { (middle, high) } else { (low, middle - 1) };
            }
            to = (from + low * batch_rows).min(rows);
        }
        let paged = paged && (from, to) != (0, rows);
        Some(Slice { group, start, rows: from..to, paged, cost: cost(to) })
    }

    /// Rows of a batch in this row group: fewer where its rows are large by its footer. Slices are cut at multiples of it,
    /// for a batch never spans two.
    pub(super) fn batch_rows(&self, group: usize) -> u64 {
        let columns = self.metadata.row_groups().get(group).map(RowGroupMetaData::columns).unwrap_or_default();
        let rows = self.rows(group).map_or(1, |rows| rows.end.max(1));
        // A dictionary's values may be stored once and decoded for each row.
        let decoded = |column: &ColumnChunkMetaData| {
            let texts = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            u64::try_from(column.uncompressed_size().max(texts)).unwrap_or(0)
        };
        let columns = self.leaves.iter().filter_map(|leaf| columns.get(*leaf));
        let bytes = columns.map(decoded).fold(0_u64, u64::saturating_add);
        let mean = bytes.div_ceil(rows).max(1);
        (BATCH_BYTES / mean).clamp(1, self.most_rows)
    }

    /// The bytes of a slice, ascending in each column.
    pub(super) fn ranges(&self, slice: &Slice) -> Vec<Range<u64>> {
        let rows = self.rows(slice.group).map_or(0, |rows| rows.end);
        let columns = self.columns(slice.group, rows);
        columns
            .iter()
            .flat_map(|column| match column.pages {
                Some(pages) if slice.paged => {
                    let needed = &pages[page_indices(pages, &slice.rows)];
                    let run = needed.first().map_or(0, page_start)..needed.last().map_or(0, page_end);
                    vec![column.dictionary(pages), run]
                }
                _ => vec![column.chunk.clone()],
            })
            .filter(|range| !range.is_empty())
            .collect()
    }

    /// Whether some row group costs more than `most` bytes.
    pub(super) fn is_beyond(&self, most: u64) -> bool {
        self.groups().any(|(group, rows)| cost(&self.columns(group, rows), 0..rows, rows).all() > most)
    }

    /// All rows of a row group.
    pub(super) fn rows(&self, group: usize) -> Option<Range<u64>> {
        let rows = self.metadata.row_groups().get(group)?.num_rows();
        Some(0..u64::try_from(rows).unwrap_or(0))
    }

    fn groups(&self) -> impl Iterator<Item = (usize, u64)> {
        let rows = self.metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
        rows.enumerate()
    }

    fn columns(&self, group: usize, rows: u64) -> Vec<Column<'_>> {
        let index = self.metadata.page_index();
        let chunks = self.metadata.row_group(group).columns();
        let column = |leaf: &usize| {
            let chunk = chunks.get(*leaf)?;
            let (start, length) = chunk.byte_range();
            let place = start..start.saturating_add(length);
            let pages = index.and_then(|index| index.page_locations(group, *leaf)).map(Vec::as_slice);
            let pages = pages.filter(|pages| are_in_order(pages, &place, rows));
            let inflated = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
            let compressed = chunk.compression() != Compression::UNCOMPRESSED;
            Some(Column { chunk: place, inflated, compressed, pages })
        };
        self.leaves.iter().filter_map(column).collect()
    }
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
                // A page is decoded at a time; values of the one before may still be in use.
                (fetched, if column.compressed { (dictionary + 2 * largest).min(stored) } else { fetched })
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
    let before = |row: u64| pages.partition_point(|page| u64::try_from(page.first_row_index).unwrap_or(0) < row);
    let after = |row: u64| pages.partition_point(|page| u64::try_from(page.first_row_index).unwrap_or(0) <= row);
    let first = after(rows.start).saturating_sub(1);
    first..before(rows.end).max(first)
}

fn page_start(page: &PageLocation) -> u64 {
    u64::try_from(page.offset).unwrap_or(0)
}

fn page_end(page: &PageLocation) -> u64 {
    page_start(page).saturating_add(u64::try_from(page.compressed_page_size).unwrap_or(0))
}

/// Whether an offset index can be believed: pages one behind the other within the chunk, from the first row on.
fn are_in_order(pages: &[PageLocation], chunk: &Range<u64>, rows: u64) -> bool {
    let sound = |page: &PageLocation| page.offset >= 0 && page.compressed_page_size > 0 && page.first_row_index >= 0;
    let follows = |pair: &[PageLocation]| {
        page_end(&pair[0]) <= page_start(&pair[1]) && pair[0].first_row_index < pair[1].first_row_index
    };
    let (Some(first), Some(last)) = (pages.first(), pages.last()) else { return false };
    pages.iter().all(sound)
        && pages.windows(2).all(follows)
        && first.first_row_index == 0
        && u64::try_from(last.first_row_index).is_ok_and(|row| row < rows)
        && page_start(first) >= chunk.start
        && page_end(last) <= chunk.end
}

#[cfg(test)]
mod tests;

//! The footer of a Parquet object: read whole, checked for what the decoder takes on trust, and given the column types that rows are
//! read as.
//!
//! ```text
//! Source ──last bytes──► metadata ──check──► Footer: column types, row groups
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::error::ReadError;
use super::source::{ParquetObject, Source};
use super::times;
use crate::parquet_types::raw_footer::Objection;
use crate::parquet_types::{self, END_BYTES, FooterFault};
use crate::store::ObjectStore;
use crate::time::Micros;

/// What is fetched first; most footers lie within it.
const TAIL_BYTES: u64 = 64 * 1024;

/// An object's metadata, checked.
#[derive(Debug)]
pub struct Footer {
    /// What the decoder starts from.
    pub metadata: ArrowReaderMetadata,
    /// Its bytes, without their length and what stands behind that.
    pub bytes: Bytes,
}

/// A row group, as the footer describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowGroup {
    /// Rows.
    pub rows: u64,
    /// Bytes of the columns that are read, as stored.
    pub bytes: u64,
    /// The same bytes decompressed.
    pub decoded: u64,
    /// First and last event time, where the statistics hold them.
    pub span: Option<(Micros, Micros)>,
}

impl Footer {
    /// Reads and checks the footer of an object: one or two small reads.
    ///
    /// # Errors
    ///
    /// Where the store fails, and where the object is no Parquet that can be read.
    pub async fn read(store: Arc<dyn ObjectStore>, object: ParquetObject) -> Result<Self, ReadError> {
        Self::of(&Source::new(store, object)).await
    }

    pub(super) async fn of(source: &Source) -> Result<Self, ReadError> {
        let bytes = fetch(source).await?;
        let decoded = source.guard(|| parquet_types::metadata(&bytes, |stored| check(source, stored)))?;
        let metadata = decoded.map_err(|fault| match fault {
            FooterFault::Objection(Objection::TooDeep) => source.unreadable("its schema is nested too deeply"),
            FooterFault::Objection(Objection::Encrypted(column)) => {
                source.unreadable_column(&column, "the column is encrypted, and no keys are known here")
            }
            FooterFault::Library(error) => source.unreadable(error),
            FooterFault::Column(unreadable) => source.unreadable_column(&unreadable.column, unreadable.detail),
            FooterFault::Check(error) => error,
        })?;
        Ok(Self { metadata, bytes })
    }

    /// The row groups in file order, as far as the columns go that are read, and with the time in `time_column`.
    #[must_use]
    pub fn row_groups(&self, columns: &[usize], time_column: &str) -> Vec<RowGroup> {
        let projection = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let groups = self.metadata.metadata().row_groups();
        let spans = self.spans(groups, time_column);
        groups
            .iter()
            .enumerate()
            .map(|(i, group)| {
                let read = group.columns().iter().enumerate().filter(|(leaf, _)| projection.leaf_included(*leaf));
                let sizes = read.map(|(_, column)| (column.compressed_size(), column.uncompressed_size()));
                let (bytes, decoded) = sizes.fold((0_u64, 0_u64), |sum, (bytes, decoded)| {
                    let size = |size| u64::try_from(size).unwrap_or(0);
                    (sum.0.saturating_add(size(bytes)), sum.1.saturating_add(size(decoded)))
                });
                let rows = u64::try_from(group.num_rows()).unwrap_or(0);
                RowGroup { rows, bytes, decoded, span: spans.get(i).copied().flatten() }
            })
            .collect()
    }

    /// First and last time of each row group, by its statistics.
    fn spans(&self, groups: &[RowGroupMetaData], time_column: &str) -> Vec<Option<(Micros, Micros)>> {
        let (schema, parquet_schema) = (self.metadata.schema(), self.metadata.parquet_schema());
        let Ok(converter) = StatisticsConverter::try_new(time_column, schema, parquet_schema) else {
            return Vec::new();
        };
        let (Ok(first), Ok(last)) = (converter.row_group_mins(groups), converter.row_group_maxes(groups)) else {
            return Vec::new();
        };
        let time = |of: &arrow_array::ArrayRef, i: usize| {
            use arrow_array::Array as _;
            (i < of.len()).then(|| times::read(&of.slice(i, 1)).good.first().copied()).flatten()
        };
        (0..groups.len()).map(|i| time(&first, i).zip(time(&last, i))).collect()
    }
}

/// The bytes of the footer, without its length and what stands behind that.
async fn fetch(source: &Source) -> Result<Bytes, ReadError> {
    let size = source.size();
    let tail_start = size.saturating_sub(TAIL_BYTES);
    // Nothing is asked for of an object that is too short to be one.
    let tail = if size < END_BYTES { Bytes::new() } else { source.range(tail_start..size).await? };
    let end = tail.len().saturating_sub(END_BYTES as usize);
    let footer = parquet_types::footer_range(&tail[end..], size).map_err(|what| source.unreadable(what))?;
    if footer.start < tail_start {
        return source.range(footer).await;
    }
    Ok(tail.slice((footer.start - tail_start) as usize..(footer.end - tail_start) as usize))
}

/// What the decoder asserts, adds up or believes without a look.
fn check(source: &Source, metadata: &ParquetMetaData) -> Result<(), ReadError> {
    let mut total = 0_u64;
    let mut places: Vec<(Range<u64>, &ColumnChunkMetaData)> = Vec::new();
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let sum = u64::try_from(group.num_rows())
            .ok()
            .and_then(|rows| total.checked_add(rows))
            .filter(|total| i64::try_from(*total).is_ok());
        total = sum.ok_or_else(|| source.unreadable(format!("row group {i} claims {} rows", group.num_rows())))?;
        for column in group.columns() {
            let bad = |what: String| {
                source.unreadable_column(&column.column_path().string(), format!("row group {i} {what}"))
            };
            let place = place(column).filter(|place| place.end <= source.size());
            places.push((place.ok_or_else(|| bad("places the column outside the file".to_owned()))?, column));
            if let Some(other) = column.file_path().filter(|path| !path.is_empty()) {
                return Err(bad(format!("places the column in another file, {other:?}")));
            }
            // A value a row, nulls included; a column of lists has one at least.
            let (values, rows) = (column.num_values(), group.num_rows());
            let fits = if column.column_descr().max_rep_level() == 0 { values == rows } else { values >= rows };
            if !fits {
                return Err(bad(format!("has {rows} rows, of this column {values} values")));
            }
        }
    }
    let claimed = metadata.file_metadata().num_rows();
    if u64::try_from(claimed) != Ok(total) {
        return Err(source.unreadable(format!("the footer claims {claimed} rows, its row groups hold {total}")));
    }
    places.retain(|(place, _)| !place.is_empty());
    places.sort_unstable_by_key(|(place, _)| place.start);
    match places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        None => Ok(()),
        Some(pair) => {
            let path = |column: &ColumnChunkMetaData| column.column_path().string();
            let detail = format!("the footer places it into the bytes of {}", path(pair[0].1));
            Err(source.unreadable_column(&path(pair[1].1), detail))
        }
    }
}

/// Where a column chunk lies.
fn place(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let start = u64::try_from(start).ok()?;
    Some(start..start.checked_add(u64::try_from(column.compressed_size()).ok()?)?)
}

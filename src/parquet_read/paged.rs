//! A row group whose pages are known, so that it can be cut.
//!
//! ```text
//! column chunks ──a look at each page's header──► Paged ──► the decoder fetches the pages of the rows it is asked for
//! ```

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::page_index::PageIndexProvider;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};

use super::chunk::{HEAD_BYTES, Pages, Walk};
use super::error::ReadError;
use super::source::Source;

/// Columns looked at at once.
const COLUMNS_IN_FLIGHT: usize = 8;

/// A row group with its pages.
pub(super) struct Paged {
    /// Its index in the object.
    pub(super) group: usize,
    /// The object as if it had this row group alone.
    pub(super) metadata: ArrowReaderMetadata,
    /// Some column's texts run together; see [`Pages`].
    pub(super) runs_texts_together: bool,
}

impl fmt::Debug for Paged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paged").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Paged {
    /// Bytes that [`Paged::find`] holds, as far as that is known before.
    pub(super) fn finding_bytes(part: &ArrowReaderMetadata, group: usize, leaves: &[usize]) -> u64 {
        let columns = leaves.iter().map(|leaf| part.metadata().row_group(group).column(*leaf).byte_range().1);
        columns.map(|length| length.min(HEAD_BYTES)).fold(0, u64::saturating_add)
    }

    /// Looks at every page of `leaves` in row group `group`; `None` where they don't all begin with a row.
    pub(super) async fn find(
        source: &Source,
        part: &ArrowReaderMetadata,
        group: usize,
        leaves: &[usize],
    ) -> Result<Option<Self>, ReadError> {
        let metadata = part.metadata();
        let row_group = metadata.row_group(group);
        let rows = u64::try_from(row_group.num_rows()).unwrap_or(0);
        // Collected first: a borrowing closure in the stream would keep the future from being sent to other threads.
        let columns: Vec<_> = leaves.iter().map(|leaf| look_at(source, group, row_group.column(*leaf), rows)).collect();
        let found: Vec<Pages> = futures::stream::iter(columns).buffered(COLUMNS_IN_FLIGHT).try_collect().await?;
        if !found.iter().all(|pages| pages.can_be_cut) {
            return Ok(None);
        }
        let runs_texts_together = found.iter().any(|pages| pages.runs_texts_together);
        let mut columns = vec![None; row_group.num_columns()];
        for (leaf, Pages { locations: page_locations, .. }) in leaves.iter().zip(found) {
            columns[*leaf] = Some(OffsetIndexMetaData { page_locations, unencoded_byte_array_data_bytes: None });
        }
        let alone = ParquetMetaData::new(metadata.file_metadata().clone(), vec![row_group.clone()]);
        let alone = alone.into_builder().set_page_index(Some(Arc::new(Found { columns }))).build();
        let options = ArrowReaderOptions::new().with_schema(part.schema().clone());
        let metadata = source.decode(|| ArrowReaderMetadata::try_new(Arc::new(alone), options))?;
        Ok(Some(Self { group, metadata, runs_texts_together }))
    }
}

/// A column's pages, by a look at the head of each.
async fn look_at(source: &Source, group: usize, column: &ColumnChunkMetaData, rows: u64) -> Result<Pages, ReadError> {
    let mut walk = Walk::new(column, rows);
    let (mut from, mut held) = (0, Bytes::new());
    while !walk.left().is_empty() {
        let left = walk.left();
        let skipped = usize::try_from(left.start - from).unwrap_or(usize::MAX).min(held.len());
        let needs = source.guard(|| walk.step(&held.slice(skipped..)))?;
        if let Some(needed) = needs.map_err(|what| unreadable(source, group, column, &what))? {
            let range = left.start..left.end.min(left.start + needed.max(HEAD_BYTES));
            (from, held) = (left.start, source.range(range).await?);
        }
    }
    walk.finish().map_err(|what| unreadable(source, group, column, &what))
}

/// What is wrong with a column of a row group.
pub(super) fn unreadable(source: &Source, group: usize, column: &ColumnChunkMetaData, what: &str) -> ReadError {
    source.unreadable_column(&column.column_path().string(), format!("row group {group}, {what}"))
}

/// The pages that were found, for the decoder.
#[derive(Debug)]
struct Found {
    columns: Vec<Option<OffsetIndexMetaData>>,
}

impl PageIndexProvider for Found {
    fn has_offset_indexes(&self) -> bool {
        true
    }

    fn has_column_indexes(&self) -> bool {
        false
    }

    fn column_index(&self, _group: usize, _column: usize) -> Option<&ColumnIndexMetaData> {
        None
    }

    fn offset_index(&self, group: usize, column: usize) -> Option<&OffsetIndexMetaData> {
        if group == 0 { self.columns.get(column)?.as_ref() } else { None }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The places of a column's pages, where they are known.
pub(super) fn locations(metadata: &ParquetMetaData, group: usize, leaf: usize) -> Option<&[PageLocation]> {
    metadata.page_index().and_then(|index| index.page_locations(group, leaf)).map(Vec::as_slice)
}

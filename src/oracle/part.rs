//! One part of a view, opened: its footer, how it is cut into slices, and a slice's bytes.
//!
//! ```text
//! Part::open ──footer──► Part ──slice_at──► Slice ──fetch──► Chunks ──what the decoder asks for──► decoder
//! ```

use std::ops::Range;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder, RowGroupSelection};

use super::batches::Scan;
use super::filter::{RowFilter, Sieve};
use super::footer::{self, Footer};
use super::slices::{Layout, Slice};
use super::source::Source;
use super::view_files::{TIME_COLUMN, View};
use crate::model::Refusal;

/// Decoded values of a filter's columns kept until the picked rows are decoded, in bytes a part; beyond it they are
/// decoded twice.
const FILTER_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A part whose footer is at hand.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    metadata: ArrowReaderMetadata,
    /// The same with the places of pages, where a row group may have to be cut.
    paged: Option<ArrowReaderMetadata>,
    projection: ProjectionMask,
    leaves: Vec<usize>,
    /// Those that every row group is asked for: the filter's alone, where there is one.
    first_leaves: Vec<usize>,
    batch_rows: usize,
    /// Some text column is not annotated as UTF-8, so the decoder hands its bytes out unchecked.
    pub(super) unchecked_text: bool,
}

impl Part {
    /// Reads the footer of part `file`, and where its pages lie if a row group may be too large to be read at once.
    pub(super) async fn open(
        view: &View,
        file: usize,
        scan: &Scan,
        filter: Option<&RowFilter>,
    ) -> Result<Self, Refusal> {
        let source = Source::new(view.store.clone(), view.parts[file].file.clone());
        // The footer is read anew rather than kept: a view may have thousands of parts, and planning looks at all.
        let footer = footer::read(&source).await?;
        let Footer { metadata, projection, unchecked_text, .. } = &footer;
        let only = scan.only.as_ref().map(|columns| {
            let fields = metadata.schema().fields().iter().enumerate();
            let wanted = fields.filter(|(_, field)| field.name() == TIME_COLUMN || columns.contains(field.name()));
            ProjectionMask::roots(metadata.parquet_schema(), wanted.map(|(i, _)| i).collect::<Vec<_>>())
        });
        let projection = only.unwrap_or_else(|| projection.clone());
        let leaves_of = |mask: &ProjectionMask| {
            (0..metadata.parquet_schema().num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect()
        };
        let leaves: Vec<usize> = leaves_of(&projection);
        let first_leaves = filter.map_or_else(|| leaves.clone(), |filter| leaves_of(&filter.projection(metadata)));
        let layout = Layout { metadata: metadata.metadata(), leaves: &leaves, batch_rows: scan.batch_rows as u64 };
        let paged = if layout.is_beyond(scan.slice_bytes()) { footer.with_pages(&source).await? } else { None };
        Ok(Self {
            metadata: metadata.clone(),
            paged,
            projection,
            leaves,
            first_leaves,
            batch_rows: scan.batch_rows,
            unchecked_text: *unchecked_text,
            source,
        })
    }

    /// The slice that begins at this row and takes `most` bytes or as near to it as can be; `None` behind the last row.
    pub(super) fn slice_at(&self, row: u64, most: u64) -> Option<Slice> {
        self.layout(&self.leaves).slice_at(row, most)
    }

    fn layout<'a>(&'a self, leaves: &'a [usize]) -> Layout<'a> {
        let metadata = self.paged.as_ref().unwrap_or(&self.metadata).metadata();
        Layout { metadata, leaves, batch_rows: self.batch_rows as u64 }
    }

    /// The bytes of a slice that are needed whatever it holds.
    pub(super) async fn fetch(&self, slice: &Slice) -> Result<Chunks, Refusal> {
        let ranges = self.layout(&self.first_leaves).ranges(slice);
        let chunks = self.source.ranges(&ranges).await?;
        let mut held = Chunks::default();
        held.add(ranges, chunks);
        Ok(held)
    }

    /// A decoder of this slice's first `limit` rows; of those that `filter` picks, where there is one.
    pub(super) fn decoder(
        &self,
        slice: &Slice,
        limit: u64,
        filter: Option<(&RowFilter, Sieve)>,
    ) -> Result<ParquetPushDecoder, Refusal> {
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let Slice { group, rows, .. } = slice;
        let selection = RowSelection::from(vec![
            RowSelector::skip(count(rows.start)),
            RowSelector::select(count(rows.end - rows.start)),
        ]);
        let whole = self.layout(&[]).rows(*group) == Some(rows.clone());
        let selection = RowGroupSelection::new(*group, (!whole).then_some(selection));
        // An offset index is only believed where it is needed.
        let metadata = self.paged.as_ref().filter(|_| slice.paged).unwrap_or(&self.metadata);
        self.source.decode(|| {
            let decoder = ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
                .with_batch_size(self.batch_rows)
                .with_projection(self.projection.clone())
                .with_row_group_selections(vec![selection])
                .with_limit(count(limit));
            match filter {
                None => decoder,
                Some((filter, sieve)) => decoder
                    .with_row_filter(filter.decoder(metadata, self.unchecked_text, sieve))
                    .with_max_predicate_cache_size(FILTER_CACHE_BYTES),
            }
            .build()
        })
    }
}

/// Bytes of one part that are at hand, ascending.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<(Range<u64>, Bytes)>);

impl Chunks {
    /// The bytes of `range`, if they are all here in one piece.
    pub(super) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let (held, bytes) = &self.0[self.0.partition_point(|(held, _)| held.start <= range.start).checked_sub(1)?];
        let (from, to) = (range.start - held.start, range.end.checked_sub(held.start)?);
        (range.end <= held.end).then(|| bytes.slice(from as usize..to as usize))
    }

    /// Takes in more.
    pub(super) fn add(&mut self, ranges: Vec<Range<u64>>, bytes: Vec<Bytes>) {
        self.0.extend(ranges.into_iter().zip(bytes));
        // Of several that begin at one place the longest comes last, where it is looked for.
        self.0.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    }
}

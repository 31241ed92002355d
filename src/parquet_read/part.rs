//! One part, opened: its footer, how it is cut into slices, and a slice's bytes.
//!
//! ```text
//! Part::open ──footer──► Part ──cut──► Slice ──fetch──► Chunks ──what the decoder asks for──► decoder
//! ```

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder, RowGroupSelection};

use super::chunk;
use super::error::ReadError;
use super::filter::{self, RowFilter, Sieve};
use super::footer::Footer;
use super::paged::{Paged, unreadable};
use super::scan::{Parts, Scan};
use super::slices::{self, Layout, Slice, Spot};
use super::source::Source;

/// Decoded values of a filter's columns kept until the picked rows are decoded, in bytes a part; beyond it they are
/// decoded twice.
const FILTER_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A batch that decoded takes no more than this is not made smaller, however little memory there is.
const SMALL_BATCH_BYTES: u64 = 1024 * 1024;

/// No batch takes more than this decoded, however much memory there is: a merge holds several of each output.
const LARGE_BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// A part whose footer is at hand.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    leaves: Vec<usize>,
    /// Those that every row group is asked for: the filter's alone, where there is one.
    first_leaves: Vec<usize>,
    batch_rows: u64,
    batch_bytes: u64,
    /// The row group that was last too large to be read at once, and its pages if it can be cut.
    looked_at: Mutex<Option<(usize, Option<Arc<Paged>>)>>,
}

impl Part {
    /// Reads the footer of part `at`. `filtered` are the columns of the filter, where there is one.
    pub(super) async fn open(
        parts: &Parts,
        at: usize,
        scan: &Scan,
        filtered: Option<&[String]>,
    ) -> Result<Self, ReadError> {
        let source = Source::new(parts.store.clone(), parts.list[at].object.clone());
        // The footer is read anew rather than kept: there may be thousands of parts, and planning looks at all.
        let Footer { metadata, .. } = Footer::of(&source).await?;
        let columns = match &scan.columns {
            None => (parts.columns)(metadata.schema()),
            Some(wanted) => filter::roots(&metadata, wanted, &parts.time_column),
        };
        let projection = ProjectionMask::roots(metadata.parquet_schema(), columns);
        let leaves_of = |mask: &ProjectionMask| {
            (0..metadata.parquet_schema().num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect()
        };
        let leaves: Vec<usize> = leaves_of(&projection);
        let first_leaves = filtered.map_or_else(
            || leaves.clone(),
            |columns| leaves_of(&filter::projection(&metadata, columns, &parts.time_column)),
        );
        Ok(Self {
            source,
            metadata,
            projection,
            leaves,
            first_leaves,
            batch_rows: scan.batch_rows as u64,
            batch_bytes: (scan.memory / 8).clamp(SMALL_BATCH_BYTES, LARGE_BATCH_BYTES),
            looked_at: Mutex::default(),
        })
    }

    /// The slice that begins at this row and takes `most` bytes or as near to it as can be; `None` behind the last row.
    pub(super) async fn cut(&self, row: u64, most: u64) -> Result<Option<Slice>, ReadError> {
        let metadata = self.metadata.metadata();
        let Some(Spot { group, start, rows }) = slices::spot(metadata, row) else { return Ok(None) };
        let from = row - start;
        let batch_rows = slices::batch_rows(metadata, group, &self.leaves, self.batch_bytes, self.batch_rows);
        let whole = Layout { metadata, group, leaves: &self.leaves, batch_rows };
        let cost = whole.cost();
        let paged = if cost.all() > most { self.paged(group).await? } else { None };
        let (rows, cost) = match &paged {
            None => (from..rows, cost),
            Some(paged) => Layout { metadata: paged.metadata.metadata(), group: 0, ..whole }.cut(from, most),
        };
        Ok(Some(Slice { group, start, rows, batch_rows, paged, cost }))
    }

    /// Bytes that are held while a slice that begins at this row is cut.
    pub(super) fn cutting_bytes(&self, row: u64, most: u64) -> u64 {
        let metadata = self.metadata.metadata();
        let Some(Spot { group, .. }) = slices::spot(metadata, row) else { return 0 };
        let whole = Layout { metadata, group, leaves: &self.leaves, batch_rows: 1 };
        let is_known = self.known(group).is_some();
        if is_known || whole.cost().all() <= most {
            0
        } else {
            Paged::finding_bytes(&self.metadata, group, &self.leaves)
        }
    }

    /// A row group's pages, if they were looked for, and if it can be cut along them.
    #[allow(clippy::option_option, reason = "looked for, and found")]
    fn known(&self, group: usize) -> Option<Option<Arc<Paged>>> {
        let looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.as_ref().filter(|(known, _)| *known == group).map(|(_, paged)| paged.clone())
    }

    /// A row group's pages, if it can be cut along them. They are looked for once.
    async fn paged(&self, group: usize) -> Result<Option<Arc<Paged>>, ReadError> {
        if let Some(known) = self.known(group) {
            return Ok(known);
        }
        let paged = Paged::find(&self.source, &self.metadata, group, &self.leaves).await?.map(Arc::new);
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some((group, paged.clone()));
        Ok(paged)
    }

    /// The bytes of a slice that are needed whatever it holds.
    pub(super) async fn fetch(&self, slice: &Slice) -> Result<Chunks, ReadError> {
        let ranges = self.layout(slice).ranges(&slice.rows);
        let chunks = self.source.ranges(&ranges).await?;
        let mut held = Chunks::default();
        held.add(ranges, chunks);
        Ok(held)
    }

    /// The slice's row group, as far as the bytes go that are needed first.
    fn layout<'a>(&'a self, slice: &'a Slice) -> Layout<'a> {
        let metadata = self.metadata_of(slice).metadata();
        let (group, batch_rows) = (slice.group_of_decoder(), slice.batch_rows);
        Layout { metadata, group, leaves: &self.first_leaves, batch_rows }
    }

    fn metadata_of<'a>(&'a self, slice: &'a Slice) -> &'a ArrowReaderMetadata {
        slice.paged.as_ref().map_or(&self.metadata, |paged| &paged.metadata)
    }

    /// Holds what the decoder is about to be given against the footer, and says whether some texts run together (see
    /// [`chunk::Pages`]). Pages of a slice were looked at when the row group was cut.
    pub(super) fn vet(&self, slice: &Slice, chunks: &[(&Range<u64>, &Bytes)]) -> Result<bool, ReadError> {
        if let Some(paged) = &slice.paged {
            return Ok(paged.runs_texts_together);
        }
        let group = self.metadata.metadata().row_group(slice.group);
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let mut run_together = false;
        for column in self.leaves.iter().map(|leaf| group.column(*leaf)) {
            let (start, length) = column.byte_range();
            let Some((_, bytes)) = chunks.iter().find(|(range, _)| (range.start, range.end) == (start, start + length))
            else {
                continue;
            };
            let pages = self.source.guard(|| chunk::pages_of(column, rows, bytes))?;
            let pages = pages.map_err(|what| unreadable(&self.source, slice.group, column, &what))?;
            run_together |= pages.runs_texts_together;
        }
        Ok(run_together)
    }

    /// A decoder of this slice's first `limit` rows; of those that `filter` picks, where there is one.
    pub(super) fn decoder<E: Send + 'static>(
        &self,
        slice: &Slice,
        limit: u64,
        filter: Option<(&RowFilter<E>, Sieve<E>)>,
    ) -> Result<ParquetPushDecoder, ReadError> {
        self.source.decode(|| {
            let decoder = self.builder(slice).with_projection(self.projection.clone()).with_limit(count(limit));
            match filter {
                None => decoder,
                Some((filter, sieve)) => decoder
                    .with_row_filter(filter.decoder(self.metadata_of(slice), sieve))
                    .with_max_predicate_cache_size(FILTER_CACHE_BYTES),
            }
            .build()
        })
    }

    /// For each column that is read, its name and a decoder of the slice that reads it alone.
    pub(super) fn decoders_apart(
        &self,
        slice: &Slice,
    ) -> impl Iterator<Item = (&str, Result<ParquetPushDecoder, ReadError>)> {
        let schema = self.metadata.parquet_schema();
        let roots = schema.root_schema().get_fields();
        let is_read = |root: &usize| self.leaves.iter().any(|leaf| schema.get_column_root_idx(*leaf) == *root);
        (0..roots.len()).filter(move |root| is_read(root)).map(|root| {
            let projection = ProjectionMask::roots(schema, [root]);
            (roots[root].name(), self.source.decode(|| self.builder(slice).with_projection(projection).build()))
        })
    }

    fn builder(&self, slice: &Slice) -> ParquetPushDecoderBuilder {
        let Range { start, end } = slice.rows;
        let selection =
            RowSelection::from(vec![RowSelector::skip(count(start)), RowSelector::select(count(end - start))]);
        let is_whole = slice.paged.is_none() && slice.rows == (0..self.layout(slice).rows());
        let selection = RowGroupSelection::new(slice.group_of_decoder(), (!is_whole).then_some(selection));
        ParquetPushDecoderBuilder::new_with_metadata(self.metadata_of(slice).clone())
            .with_batch_size(count(slice.batch_rows))
            .with_row_group_selections(vec![selection])
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
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

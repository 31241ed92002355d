//! The footer of one part: read whole, checked for what the decoder takes on trust, and given the
//! column types that rows are read as.
//!
//! ```text
//! Source ──last bytes──► metadata ──check──► columns to read, rows of each row group
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData};
use sha2::{Digest as _, Sha256};

use super::source::Source;
use super::times;
use super::view_files::{RowGroup, TIME_COLUMN};
use crate::model::{Micros, Reason, Refusal};

/// What is fetched first; most footers lie within it.
const TAIL_BYTES: u64 = 64 * 1024;
/// A larger footer is refused. The largest world needs about a tenth of it.
const MAX_FOOTER_BYTES: u64 = 128 * 1024 * 1024;
/// The column that holds a whole row as JSON text, where a view has one (contract, section 4).
const PAYLOAD_JSON: &str = "payload_json";

/// A part's metadata, checked.
#[derive(Debug)]
pub(super) struct Footer {
    /// What the decoder starts from.
    pub(super) metadata: ArrowReaderMetadata,
    /// The columns that are read.
    pub(super) projection: ProjectionMask,
    /// Their types, as batches have them.
    pub(super) schema: SchemaRef,
    /// Some text column is not annotated as UTF-8, so the decoder hands its bytes out unchecked.
    pub(super) unchecked_text: bool,
    /// The sha256 of its bytes.
    pub(super) sha256: [u8; 32],
}

/// Reads and checks the footer of `source`.
pub(super) async fn read(source: &Source) -> Result<Footer, Refusal> {
    let (metadata, sha256) = fetch(source).await?;
    let metadata = Arc::new(metadata);
    check(source, &metadata)?;
    source.decode(|| {
        let stored = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new())?;
        let types = reading_types(stored.schema(), &metadata);
        let options = ArrowReaderOptions::new().with_schema(Arc::new(types));
        let metadata = ArrowReaderMetadata::try_new(metadata, options)?;
        let columns = columns_to_read(metadata.schema());
        let projection = ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied());
        let fields: Vec<FieldRef> = columns.iter().map(|i| metadata.schema().fields()[*i].clone()).collect();
        let unchecked_text = metadata.parquet_schema().columns().iter().any(|column| {
            column.physical_type() == PhysicalType::BYTE_ARRAY && column.converted_type() != ConvertedType::UTF8
        });
        Ok(Footer { metadata, projection, schema: Arc::new(Schema::new(fields)), unchecked_text, sha256 })
    })
}

/// The metadata, and the sha256 of the footer's bytes: all from its start to the end of the file.
async fn fetch(source: &Source) -> Result<(ParquetMetaData, [u8; 32]), Refusal> {
    let size = source.size();
    let mut decoder = source
        .decode(|| Ok(ParquetMetaDataPushDecoder::try_new(size)?.with_page_index_policy(PageIndexPolicy::Skip)))?;
    let mut from = size.saturating_sub(TAIL_BYTES);
    let mut tail = read_from(source, from).await?;
    let footer = footer_bytes(&tail).unwrap_or(0);
    if footer > MAX_FOOTER_BYTES {
        return Err(source.unreadable(format!("its footer is larger than {MAX_FOOTER_BYTES} bytes")));
    }
    if footer > tail.len() as u64 && footer <= size {
        from = size - footer;
        tail = read_from(source, from).await?;
    }
    let start = (tail.len() as u64).saturating_sub(footer) as usize;
    let sha256 = Sha256::digest(&tail[start..]).into();
    source.decode(|| decoder.push_range(from..size, tail))?;
    Ok((complete(source, decoder, Vec::new()).await?, sha256))
}

/// The bytes from `from` to the end of the file.
async fn read_from(source: &Source, from: u64) -> Result<Bytes, Refusal> {
    let chunks = source.ranges(std::slice::from_ref(&(from..source.size()))).await?;
    Ok(chunks.into_iter().next().unwrap_or_default())
}

/// How many bytes the footer has that `tail` is the end of, as it says itself: metadata, their length, and `PAR1`. `None`
/// where that is not the end of a Parquet file; what is wrong with it is the decoder's to say.
fn footer_bytes(tail: &[u8]) -> Option<u64> {
    let (rest, magic) = tail.split_last_chunk::<4>()?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    (magic == b"PAR1").then(|| u64::from(u32::from_le_bytes(*length)) + 8)
}

/// Gives the decoder what it asks for, `ranges` before it asks.
async fn complete(
    source: &Source,
    mut decoder: ParquetMetaDataPushDecoder,
    mut ranges: Vec<Range<u64>>,
) -> Result<ParquetMetaData, Refusal> {
    loop {
        if ranges.iter().any(|range| range.end.saturating_sub(range.start) > MAX_FOOTER_BYTES) {
            return Err(source.unreadable(format!("its footer is larger than {MAX_FOOTER_BYTES} bytes")));
        }
        let chunks = if ranges.is_empty() { Vec::new() } else { source.ranges(&ranges).await? };
        let step = source.decode(|| {
            decoder.push_ranges(ranges, chunks)?;
            decoder.try_decode()
        })?;
        match step {
            DecodeResult::NeedsData(more) => ranges = more,
            DecodeResult::Data(metadata) => return Ok(metadata),
            DecodeResult::Finished => return Err(source.unreadable("no metadata in the footer")),
        }
    }
}

/// What the decoder asserts or adds up without a look.
fn check(source: &Source, metadata: &ParquetMetaData) -> Result<(), Refusal> {
    let mut total = 0_u64;
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows())
            .ok()
            .and_then(|rows| total.checked_add(rows))
            .filter(|total| i64::try_from(*total).is_ok());
        total = rows.ok_or_else(|| source.unreadable(format!("row group {i} claims {} rows", group.num_rows())))?;
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = u64::try_from(start)
                .ok()
                .zip(u64::try_from(column.compressed_size()).ok())
                .and_then(|(start, len)| start.checked_add(len));
            if end.is_none_or(|end| end > source.size()) {
                let name = column.column_path().string();
                return Err(source.unreadable(format!("row group {i} places column {name} outside the file")));
            }
        }
    }
    let claimed = metadata.file_metadata().num_rows();
    if u64::try_from(claimed) != Ok(total) {
        return Err(source.unreadable(format!("the footer claims {claimed} rows, its row groups hold {total}")));
    }
    Ok(())
}

/// The stored types, with text as views (no copy of each value) and without the dictionaries that
/// a writer may have recorded: a value is what counts, and parts may differ in how they store it.
fn reading_types(stored: &Schema, metadata: &ParquetMetaData) -> Schema {
    let roots = metadata.file_metadata().schema_descr().root_schema().get_fields().to_vec();
    let fields: Vec<Field> = stored
        .fields()
        .iter()
        .zip(&roots)
        .map(|(field, root)| {
            let mut data_type = field.data_type();
            while let DataType::Dictionary(_, value) = data_type {
                data_type = value;
            }
            let info = root.get_basic_info();
            // Parquet defines ENUM as UTF-8 text; only the Arrow mapping calls it binary.
            let is_enum = root.is_primitive()
                && (info.logical_type_ref() == Some(&LogicalType::Enum)
                    || info.converted_type() == ConvertedType::ENUM);
            let data_type = match data_type {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary if is_enum => DataType::Utf8View,
                other => other.clone(),
            };
            field.as_ref().clone().with_data_type(data_type)
        })
        .collect();
    Schema::new_with_metadata(fields, stored.metadata().clone())
}

/// Where a view holds its rows as JSON text, that column and the time are all that is needed.
fn columns_to_read(schema: &Schema) -> Vec<usize> {
    let payload = schema.fields().iter().position(|field| {
        field.name() == PAYLOAD_JSON
            && matches!(
                field.data_type(),
                DataType::Utf8View | DataType::Binary | DataType::LargeBinary | DataType::BinaryView
            )
    });
    let all = 0..schema.fields().len();
    match payload {
        Some(payload) => all.filter(|i| *i == payload || schema.field(*i).name() == TIME_COLUMN).collect(),
        None => all.collect(),
    }
}

impl Footer {
    /// The metadata with the places of all pages, where the writer left any.
    pub(super) async fn with_pages(&self, source: &Source) -> Result<Option<ArrowReaderMetadata>, Refusal> {
        let metadata = self.metadata.metadata().as_ref().clone();
        let decoder = source.decode(|| {
            Ok(ParquetMetaDataPushDecoder::try_new_with_metadata(source.size(), metadata)?
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Optional))
        })?;
        let metadata = complete(source, decoder, Vec::new()).await?;
        if metadata.page_index().is_none_or(|index| !index.has_offset_indexes()) {
            return Ok(None);
        }
        let options = ArrowReaderOptions::new().with_schema(self.metadata.schema().clone());
        source.decode(|| ArrowReaderMetadata::try_new(Arc::new(metadata), options)).map(Some)
    }

    /// The row groups in file order.
    pub(super) fn row_groups(&self) -> Vec<RowGroup> {
        let groups = self.metadata.metadata().row_groups();
        let spans = self.spans(groups);
        groups
            .iter()
            .enumerate()
            .map(|(i, group)| {
                let read = group.columns().iter().enumerate().filter(|(leaf, _)| self.projection.leaf_included(*leaf));
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
    fn spans(&self, groups: &[RowGroupMetaData]) -> Vec<Option<(Micros, Micros)>> {
        let (schema, parquet_schema) = (self.metadata.schema(), self.metadata.parquet_schema());
        let Ok(converter) = StatisticsConverter::try_new(TIME_COLUMN, schema, parquet_schema) else {
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

/// Whether `ts_utc` is there, once, and of a type that holds times.
pub(super) fn check_time_column(schema: &Schema) -> Result<(), Refusal> {
    let invalid = |detail: String| Err(Refusal::new(Reason::TsUtcInvalid, detail).field(TIME_COLUMN));
    let mut columns = schema.fields().iter().filter(|field| field.name() == TIME_COLUMN);
    match (columns.next(), columns.next()) {
        (None, _) => invalid("the view has no such column".to_owned()),
        (Some(_), Some(_)) => invalid("the view has two such columns".to_owned()),
        (Some(field), None) if times::readable(field.data_type()) => Ok(()),
        (Some(field), None) => invalid(format!("{} is no time", field.data_type())),
    }
}

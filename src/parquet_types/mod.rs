//! The types that the columns of a Parquet file are read as: what Parquet says, and nothing else.
//!
//! ```text
//! Parquet schema ──restated──► what the decoder is told ──► Arrow types: text and bytes as views,
//!                 ENUM, JSON as STRING                                   INT96 in microseconds
//! ```
//!
//! Writers may leave an Arrow schema in the footer (`ARROW:schema`). It is advisory, it goes stale when a column is renamed or
//! cast, and what it adds (dictionaries, offsets of 64 bits, a zone's name) changes no value here. So it is not read, and a
//! file reads the same with it and without.

mod footer;
pub mod raw_footer;
pub mod thrift;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{BasicTypeInfo, SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

pub use footer::{END_BYTES, FooterFault, footer_range, metadata};

/// Why the columns of a file can't be read, and which one it is, by its path.
#[derive(Debug)]
pub struct Unreadable {
    /// Its path.
    pub column: String,
    /// What is wrong.
    pub detail: String,
}

/// The schema as the decoder is told it, where that differs from what the footer says.
///
/// Parquet defines ENUM and JSON as UTF-8 text; restated as strings their bytes are checked by the decoder and become text at any
/// depth.
pub fn restated(schema: &SchemaDescriptor) -> Result<Option<SchemaDescPtr>, ParquetError> {
    let root = schema.root_schema_ptr();
    let restated = restate(&root)?;
    Ok((!Arc::ptr_eq(&root, &restated)).then(|| Arc::new(SchemaDescriptor::new(restated))))
}

fn restate(of: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = of.get_basic_info();
    if of.is_primitive() {
        return restate_leaf(of);
    }
    let fields: Vec<TypePtr> = of.get_fields().iter().map(restate).collect::<Result<_, _>>()?;
    if fields.iter().zip(of.get_fields()).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(of.clone());
    }
    let mut builder = Type::group_type_builder(info.name())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(info.has_id().then(|| info.id()))
        .with_fields(fields);
    if info.has_repetition() {
        builder = builder.with_repetition(info.repetition());
    }
    builder.build().map(Arc::new)
}

fn restate_leaf(of: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = of.get_basic_info();
    if of.get_physical_type() != PhysicalType::BYTE_ARRAY || !is_unchecked_text(info) {
        return Ok(of.clone());
    }
    let mut builder = Type::primitive_type_builder(info.name(), PhysicalType::BYTE_ARRAY)
        .with_logical_type(Some(LogicalType::String))
        .with_id(info.has_id().then(|| info.id()));
    if info.has_repetition() {
        builder = builder.with_repetition(info.repetition());
    }
    builder.build().map(Arc::new)
}

/// Text that the decoder does not check, or calls binary.
fn is_unchecked_text(info: &BasicTypeInfo) -> bool {
    match info.logical_type_ref() {
        Some(logical) => matches!(logical, LogicalType::Enum | LogicalType::Json),
        None => matches!(info.converted_type(), ConvertedType::ENUM | ConvertedType::JSON),
    }
}

/// What the decoder starts from, with the columns' types; the schema of `metadata` is restated.
pub fn typed_columns(metadata: &Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, Unreadable> {
    let schema = metadata.file_metadata().schema_descr();
    if let Some(column) = empty_group(schema.root_schema(), "") {
        return Err(Unreadable { column, detail: "a group without a field".to_owned() });
    }
    if let Some(unreadable) = unpackable(metadata) {
        return Err(unreadable);
    }
    let as_stored = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let stored = ArrowReaderMetadata::try_new(metadata.clone(), as_stored).map_err(|error| blame(schema, &error))?;
    let mut leaves = schema.columns().iter();
    let mut leaf = |data_type: &DataType| as_read(data_type, leaves.next().map(|leaf| leaf.physical_type()));
    let columns = Arc::new(Schema::new(each(stored.schema().fields(), &mut leaf)));
    let options = ArrowReaderOptions::new().with_schema(columns);
    ArrowReaderMetadata::try_new(metadata.clone(), options).map_err(|error| blame(schema, &error))
}

/// The first column with a codec that this build lacks. The decoder would only find it at the column's first page.
fn unpackable(metadata: &ParquetMetaData) -> Option<Unreadable> {
    let lacks = |codec: Compression| !cfg!(feature = "brotli") && matches!(codec, Compression::BROTLI(_));
    let mut columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let column = columns.find(|column| lacks(column.compression()))?.column_path().string();
    let detail = "it is packed with Brotli, which this build of the program lacks; build it with the feature `brotli`";
    Some(Unreadable { column, detail: detail.to_owned() })
}

/// The first group without a field; the decoder would leave it out.
fn empty_group(group: &Type, path: &str) -> Option<String> {
    let of = |field: &TypePtr| {
        let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        if !field.is_group() {
            None
        } else if field.get_fields().is_empty() {
            Some(path)
        } else {
            empty_group(field, &path)
        }
    };
    group.get_fields().iter().find_map(of)
}

/// The column that has no Arrow type: the first that fails alone.
fn blame(schema: &SchemaDescriptor, error: &ParquetError) -> Unreadable {
    let fails_alone = |column: &&TypePtr| {
        let alone = Type::group_type_builder("alone").with_fields(vec![(*column).clone()]).build();
        alone.is_ok_and(|alone| {
            let alone = SchemaDescriptor::new(Arc::new(alone));
            parquet_to_arrow_field_levels(&alone, ProjectionMask::all(), None).is_err()
        })
    };
    let column = schema.root_schema().get_fields().iter().find(fails_alone);
    let column = column.map_or_else(String::new, |column| column.name().to_owned());
    Unreadable { column, detail: error.to_string() }
}

/// These fields with each leaf's type as `leaf` has it; leaves come in the order of Parquet's.
fn each(fields: &Fields, leaf: &mut dyn FnMut(&DataType) -> DataType) -> Fields {
    fields.iter().map(|field| typed(field, leaf)).collect()
}

fn typed(field: &Field, leaf: &mut dyn FnMut(&DataType) -> DataType) -> Field {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(Arc::new(typed(item, leaf))),
        DataType::Struct(fields) => DataType::Struct(each(fields, leaf)),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(typed(entries, leaf)), *sorted),
        other => leaf(other),
    };
    field.clone().with_data_type(data_type)
}

/// Views share the page's bytes, so that a value is not copied, and a batch has no bound of 2 GiB. Nanoseconds of an INT96 would
/// wrap around in 1677 and 2262; what goes beyond microseconds is found in its page ([`parquet_read::chunk`](crate::parquet_read::chunk)).
fn as_read(stored: &DataType, physical: Option<PhysicalType>) -> DataType {
    match (stored, physical) {
        (DataType::Utf8, _) => DataType::Utf8View,
        (DataType::Binary, _) => DataType::BinaryView,
        (DataType::Timestamp(..), Some(PhysicalType::INT96)) => DataType::Timestamp(TimeUnit::Microsecond, None),
        (other, _) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::{BrotliLevel, ZstdLevel};
    use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData};
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn schema(text: &str) -> SchemaDescriptor {
        SchemaDescriptor::new(Arc::new(parse_message_type(text).unwrap()))
    }

    #[test]
    fn enum_and_json_are_restated_at_any_depth_and_nothing_else_is() {
        let stored = schema(
            "message m {
               optional binary e (ENUM); required int96 t; optional binary b; optional binary s (UTF8);
               optional group l (LIST) { repeated group list { optional binary element (ENUM); } }
               optional group m (MAP) { repeated group key_value { required binary key (JSON); optional int96 value; } }
               optional group plain { optional int64 x = 7; }
               repeated binary many (ENUM);
             }",
        );
        let restated = restated(&stored).unwrap().unwrap();
        let of = |path: &str| {
            let column = restated.columns().iter().find(|column| column.path().string() == path).unwrap();
            (column.physical_type(), column.logical_type_ref().cloned(), column.converted_type())
        };
        let text = (PhysicalType::BYTE_ARRAY, Some(LogicalType::String), ConvertedType::UTF8);
        for path in ["e", "l.list.element", "m.key_value.key", "many"] {
            assert_eq!(of(path), text, "{path}");
        }
        for path in ["t", "m.key_value.value"] {
            assert_eq!(of(path), (PhysicalType::INT96, None, ConvertedType::NONE), "{path}");
        }
        assert_eq!(of("b"), (PhysicalType::BYTE_ARRAY, None, ConvertedType::NONE));
        let levels = |schema: &SchemaDescriptor| {
            let levels = |column: &Arc<parquet::schema::types::ColumnDescriptor>| {
                (column.max_def_level(), column.max_rep_level(), column.path().string())
            };
            schema.columns().iter().map(levels).collect::<Vec<_>>()
        };
        assert_eq!(levels(&restated), levels(&stored));
        assert!(Arc::ptr_eq(&restated.root_schema().get_fields()[6], &stored.root_schema().get_fields()[6]));
        let plain = schema("message m { required binary s (UTF8); optional group g { required int64 x; } }");
        assert!(super::restated(&plain).unwrap().is_none());
    }

    #[test]
    fn a_codec_that_this_build_lacks_is_named_before_a_page_is_read() {
        let schema = Arc::new(schema("message m { required int64 a; required int64 b; }"));
        let packed = |codecs: [Compression; 2]| {
            let columns = schema.columns().iter().zip(codecs);
            let columns = columns.map(|(column, codec)| {
                ColumnChunkMetaData::builder(column.clone()).set_compression(codec).build().unwrap()
            });
            let group = RowGroupMetaData::builder(schema.clone()).set_column_metadata(columns.collect());
            let file = FileMetaData::new(1, 0, None, None, schema.clone(), None);
            ParquetMetaData::new(file, vec![group.build().unwrap()])
        };
        assert!(unpackable(&packed([Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())])).is_none());
        let brotli = unpackable(&packed([Compression::SNAPPY, Compression::BROTLI(BrotliLevel::default())]));
        let lacking = (!cfg!(feature = "brotli")).then_some("b");
        assert_eq!(brotli.as_ref().map(|unreadable| &*unreadable.column), lacking);
        assert!(brotli.is_none_or(|unreadable| unreadable.detail.contains("the feature `brotli`")));
    }

    #[test]
    fn a_group_without_a_field_is_named() {
        let leaf = Arc::new(Type::primitive_type_builder("x", PhysicalType::INT32).build().unwrap());
        let empty = Arc::new(Type::group_type_builder("none").build().unwrap());
        let outer = Arc::new(Type::group_type_builder("outer").with_fields(vec![leaf, empty]).build().unwrap());
        let root = Type::group_type_builder("m").with_fields(vec![outer]).build().unwrap();
        assert_eq!(empty_group(&root, ""), Some("outer.none".to_owned()));
    }
}

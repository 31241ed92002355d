//! The parts of one stream view, looked at by their footers alone: what planning checks before the
//! first event, and what reading starts from.
//!
//! ```text
//! ViewFiles ──inspect: footers──► View { parts, rows, schema } ──batches──► RowBatch …
//! ```

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use wsp::parquet_read::{Footer, times};
use wsp::store::ObjectStore;

use super::pins::{self, Claim};
use crate::model::{OutputId, Reason, Refusal};

pub use wsp::parquet_read::{ParquetObject as ViewFile, RowGroup};

/// The column that rows are ordered by (contract, section 4).
pub(super) const TIME_COLUMN: &str = "ts_utc";
/// The column that holds a whole row as JSON text, where a view has one (contract, section 4).
const PAYLOAD_JSON: &str = "payload_json";
/// Footers read at once.
const FOOTERS_IN_FLIGHT: usize = 8;

/// A stream view as it was found: its parts in the view's own order, and what its receipt promises.
#[derive(Debug, Clone)]
pub struct ViewFiles {
    /// The output's place in the run's order.
    pub rank: u16,
    /// The output.
    pub output_id: OutputId,
    /// Where the parts lie.
    pub store: Arc<dyn ObjectStore>,
    /// The parts, ascending.
    pub files: Vec<ViewFile>,
    /// The sort receipt's row count.
    pub expected_rows: u64,
}

/// A part whose footer was read.
#[derive(Debug, Clone)]
pub struct ViewPart {
    /// The file.
    pub file: ViewFile,
    /// Its full name.
    pub name: String,
    /// Rows, over all row groups.
    pub rows: u64,
    /// Its row groups in order.
    pub row_groups: Vec<RowGroup>,
    /// What its footer says about the columns that name the world of its rows.
    pub pins: Vec<Claim>,
    /// The sha256 of its footer's bytes.
    pub footer_sha256: [u8; 32],
}

/// A stream view whose parts fit together. Clones share nothing but the store.
#[derive(Debug, Clone)]
pub struct View {
    /// The output's place in the run's order.
    pub rank: u16,
    /// The output.
    pub output_id: OutputId,
    /// Where the parts lie.
    pub store: Arc<dyn ObjectStore>,
    /// The parts, ascending.
    pub parts: Vec<ViewPart>,
    /// Rows, over all parts.
    pub rows: u64,
    /// The columns that batches have: all of them, or `ts_utc` and `payload_json` alone where the
    /// view holds its rows as JSON text (contract, section 4).
    pub schema: SchemaRef,
}

impl ViewFiles {
    /// Reads every footer and checks that the parts make the view that the receipt speaks of. It
    /// costs one or two small reads a part, whatever their size. Whether each column has a JSON
    /// form is the envelope's to say: hand it [`View::schema`].
    ///
    /// # Errors
    ///
    /// `STREAM_VIEW_EMPTY` without parts; `STREAM_VIEW_UNREADABLE` where a part is no Parquet or
    /// has other columns than the first; `TS_UTC_INVALID` without a column of times;
    /// `STREAM_VIEW_ROWS_MISMATCH` against the receipt; `STREAM_VIEW_CHANGED` or
    /// `STORE_UNAVAILABLE` from the store.
    pub async fn inspect(self) -> Result<View, Refusal> {
        let Self { rank, output_id, store, files, expected_rows } = self;
        let parts: Vec<(ViewPart, SchemaRef)> =
            futures::stream::iter(files.into_iter().map(|file| inspect_part(store.clone(), file)))
                .buffered(FOOTERS_IN_FLIGHT)
                .try_collect()
                .await?;
        let Some((first, schema)) = parts.first() else {
            return Err(Refusal::new(Reason::StreamViewEmpty, format!("{output_id} has no Parquet part")));
        };
        check_time_column(schema).map_err(|refusal| refusal.file(first.name.clone()))?;
        for (part, columns) in &parts {
            if let Some((column, detail)) = difference(schema, columns) {
                return Err(Refusal::new(Reason::StreamViewUnreadable, detail).file(part.name.clone()).field(column));
            }
        }
        let schema = schema.clone();
        let parts: Vec<ViewPart> = parts.into_iter().map(|(part, _)| part).collect();
        // Each part's count is at most i64::MAX, so the sum of any real list fits.
        let rows = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.rows));
        if rows != expected_rows {
            let detail = format!("{} parts hold {rows} rows, the receipt says {expected_rows}", parts.len());
            let folder = parts.first().and_then(|part| part.name.rsplit_once('/')).map_or("", |(folder, _)| folder);
            return Err(Refusal::new(Reason::StreamViewRowsMismatch, format!("{output_id}: {detail}")).file(folder));
        }
        Ok(View { rank, output_id, store, parts, rows, schema })
    }
}

async fn inspect_part(store: Arc<dyn ObjectStore>, file: ViewFile) -> Result<(ViewPart, SchemaRef), Refusal> {
    let name = store.full_name(&file.key);
    let footer = Footer::read(store, file.clone()).await?;
    let stored = footer.metadata.schema();
    let columns = columns_to_read(stored);
    let fields: Vec<FieldRef> = columns.iter().map(|i| stored.fields()[*i].clone()).collect();
    let row_groups = footer.row_groups(&columns, TIME_COLUMN);
    let rows = row_groups.iter().map(|group| group.rows).sum();
    let pins = pins::claims(footer.metadata.metadata());
    let footer_sha256 = Sha256::digest(&footer.bytes).into();
    Ok((ViewPart { file, name, rows, row_groups, pins, footer_sha256 }, Arc::new(Schema::new(fields))))
}

/// Where a view holds its rows as JSON text, that column and the time are all that is needed.
pub(super) fn columns_to_read(schema: &Schema) -> Vec<usize> {
    let payload = schema.fields().iter().position(|field| {
        field.name() == PAYLOAD_JSON && matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView)
    });
    let all = 0..schema.fields().len();
    match payload {
        Some(payload) => all.filter(|i| *i == payload || schema.field(*i).name() == TIME_COLUMN).collect(),
        None => all.collect(),
    }
}

/// Whether `ts_utc` is there, once, and of a type that holds times.
fn check_time_column(schema: &Schema) -> Result<(), Refusal> {
    let invalid = |detail: String| Err(Refusal::new(Reason::TsUtcInvalid, detail).field(TIME_COLUMN));
    let mut columns = schema.fields().iter().filter(|field| field.name() == TIME_COLUMN);
    match (columns.next(), columns.next()) {
        (None, _) => invalid("the view has no such column".to_owned()),
        (Some(_), Some(_)) => invalid("the view has two such columns".to_owned()),
        (Some(field), None) if times::readable(field.data_type()) => Ok(()),
        (Some(field), None) => invalid(format!("{} is no time", field.data_type())),
    }
}

/// How `other` differs from `first` in names, types or order of columns. Nullability may differ: a part without a null is
/// often written as required.
fn difference(first: &Schema, other: &Schema) -> Option<(String, String)> {
    let (count, known) = (other.fields().len(), first.fields().len());
    let differ = |(a, b): (&FieldRef, &FieldRef)| {
        let same = a.name() == b.name() && are_alike(a.data_type(), b.data_type());
        let (a_type, b_type) = (a.data_type(), b.data_type());
        (!same).then(|| {
            let detail = format!("the column is {b_type}, in the first part there stands {} as {a_type}", a.name());
            (b.name().clone(), detail)
        })
    };
    first.fields().iter().zip(other.fields()).find_map(differ).or_else(|| {
        let extra = other.fields().get(known).or(first.fields().get(count))?;
        Some((extra.name().clone(), format!("{count} columns, the first part has {known}")))
    })
}

/// Whether the values of both types mean the same. What a list calls its items, or a map its pairs, has no part in it.
fn are_alike(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => are_alike(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && are_alike(a.data_type(), b.data_type());
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_alike(a.data_type(), b.data_type()))
            }
            (a, b) => are_alike(a, b),
        },
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    fn list(item: &str, of: DataType) -> DataType {
        DataType::List(Arc::new(field(item, of)))
    }

    fn object(fields: &[(&str, DataType)]) -> DataType {
        DataType::Struct(fields.iter().map(|(name, of)| field(name, of.clone())).collect())
    }

    fn map(entries: &str, key: &str, value: &str, of: DataType) -> DataType {
        let pair = object(&[(key, DataType::Utf8), (value, of)]);
        DataType::Map(Arc::new(Field::new(entries, pair, false)), false)
    }

    #[test]
    fn types_are_alike_where_their_values_mean_the_same() {
        use DataType::{Int32, Int64, Utf8};
        let nested = |name: &str, of: DataType| object(&[("a", Int32), (name, list("item", of))]);
        for (one, other, alike) in [
            (Int32, Int32, true),
            (Int32, Int64, false),
            (list("item", Int32), list("element", Int32), true),
            (list("item", Int32), list("item", Int64), false),
            (list("item", Int32), Int32, false),
            (nested("b", Utf8), nested("b", Utf8), true),
            (nested("b", Utf8), nested("c", Utf8), false),
            (nested("b", Utf8), nested("b", Int32), false),
            (object(&[("a", Int32)]), object(&[("a", Int32), ("b", Int32)]), false),
            (object(&[("a", Int32), ("b", Int64)]), object(&[("b", Int64), ("a", Int32)]), false),
            (map("entries", "key", "value", Int32), map("key_value", "keys", "values", Int32), true),
            (map("entries", "key", "value", Int32), map("entries", "key", "value", Int64), false),
        ] {
            assert_eq!((are_alike(&one, &other), are_alike(&other, &one)), (alike, alike), "{one} and {other}");
        }
    }

    #[test]
    fn the_first_column_that_differs_is_named() {
        let schema = |fields: &[(&str, DataType)]| -> Schema {
            Schema::new(fields.iter().map(|(name, of)| field(name, of.clone())).collect::<Vec<_>>())
        };
        let first = schema(&[("a", DataType::Int32), ("b", DataType::Utf8)]);
        let differs = |fields: &[(&str, DataType)]| difference(&first, &schema(fields)).map(|(column, _)| column);
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(differs(&[("a", DataType::Int32), ("b", DataType::Utf8)]), None);
        assert_eq!(differs(&[("a", DataType::Int32), ("c", DataType::Utf8)]), named("c"));
        assert_eq!(differs(&[("a", DataType::Int64), ("b", DataType::Utf8)]), named("a"));
        assert_eq!(differs(&[("a", DataType::Int32)]), named("b"), "missing");
        let more = [("a", DataType::Int32), ("b", DataType::Utf8), ("c", DataType::Utf8)];
        assert_eq!(differs(&more), named("c"), "not in the first part");
    }
}

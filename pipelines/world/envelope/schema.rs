//! Checks an output's columns before its first row is framed.

use arrow_schema::{DataType, Schema};
use wsp::cells::{check_type, repeated_name};

use super::key::can_be_key;
use super::refusal;
use crate::model::{Reason, Refusal};

/// The column that holds a whole row as a JSON object, where a view has one (contract, section 4).
pub(super) const PAYLOAD_JSON: &str = "payload_json";
/// The column of event times.
const TS_UTC: &str = "ts_utc";

/// Where the payload text stands, if the rows of this schema carry it ready made.
pub(super) fn payload_column(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| field.name() == PAYLOAD_JSON && is_text(field.data_type()))
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_text(value),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => true,
        _ => false,
    }
}

/// Checks at planning time that rows with these columns can be framed. Where the view carries its
/// rows as JSON text, keys are inside it and are checked row by row.
///
/// # Errors
///
/// `TS_UTC_INVALID` without `ts_utc`; `COLUMN_NOT_ENCODABLE` naming the column (and the way inside it)
/// whose type has no JSON form; `PRIMARY_KEY_MISSING` where a key column is not there or is neither
/// integer, string nor boolean, or where there is no key at all.
pub fn check_schema(schema: &Schema, primary_key: &[String], order_key: Option<&str>) -> Result<(), Refusal> {
    if schema.column_with_name(TS_UTC).is_none() {
        return Err(Refusal::new(Reason::TsUtcInvalid, "the view has no such column").field(TS_UTC));
    }
    if primary_key.is_empty() {
        return Err(Refusal::new(Reason::PrimaryKeyMissing, "the catalogue names no primary key"));
    }
    if payload_column(schema).is_some() {
        return Ok(());
    }
    if let Some(name) = repeated_name(schema.fields().iter().map(AsRef::as_ref)) {
        return Err(Refusal::new(Reason::ColumnNotEncodable, "two columns have this name").field(name));
    }
    for field in schema.fields() {
        check_type(field.data_type()).map_err(|unfit| refusal(unfit, Reason::ColumnNotEncodable, field.name()))?;
    }
    for name in primary_key.iter().map(String::as_str).chain(order_key) {
        key_column(schema, name)?;
    }
    Ok(())
}

/// The index of a key column.
pub(super) fn key_column(schema: &Schema, name: &str) -> Result<usize, Refusal> {
    let missing = |detail: String| Refusal::new(Reason::PrimaryKeyMissing, detail).field(name);
    let (i, field) = schema.column_with_name(name).ok_or_else(|| missing("the view has no such column".to_owned()))?;
    if !can_be_key(field.data_type()) {
        return Err(missing(format!("{} is neither integer, string nor boolean", field.data_type())));
    }
    Ok(i)
}

#[cfg(test)]
mod tests {
    use arrow_schema::{Field, TimeUnit};

    use super::*;

    fn refused(columns: &[(&str, DataType)], key: &[&str]) -> (Reason, Option<String>) {
        let fields: Vec<Field> =
            columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
        let key: Vec<String> = key.iter().map(ToString::to_string).collect();
        let refusal = check_schema(&Schema::new(fields), &key, None).unwrap_err();
        (refusal.reason, refusal.place.field)
    }

    #[test]
    fn each_fault_has_its_reason_and_column() {
        let ts = ("ts_utc", DataType::Utf8);
        let id = ("id", DataType::Int64);
        let lap = ("lap", DataType::Duration(TimeUnit::Second));
        let float = ("id", DataType::Float64);
        assert_eq!(refused(std::slice::from_ref(&id), &["id"]), (Reason::TsUtcInvalid, Some("ts_utc".into())));
        assert_eq!(refused(&[ts.clone(), id.clone()], &["no"]), (Reason::PrimaryKeyMissing, Some("no".into())));
        assert_eq!(refused(&[ts.clone(), float], &["id"]), (Reason::PrimaryKeyMissing, Some("id".into())));
        assert_eq!(refused(&[ts.clone(), id.clone()], &[]), (Reason::PrimaryKeyMissing, None));
        assert_eq!(refused(&[ts.clone(), id.clone(), lap], &["id"]), (Reason::ColumnNotEncodable, Some("lap".into())));
        assert_eq!(refused(&[ts, id.clone(), id], &["id"]), (Reason::ColumnNotEncodable, Some("id".into())));
    }

    #[test]
    fn a_json_payload_hides_its_keys() {
        let fields =
            vec![Field::new("ts_utc", DataType::Utf8, false), Field::new("payload_json", DataType::Binary, false)];
        assert_eq!(check_schema(&Schema::new(fields), &["id".to_owned()], None), Ok(()));
    }
}

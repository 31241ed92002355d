//! Checks that rows belong to the run's world, by the columns (or JSON keys) that name it.
//!
//! ```text
//! WorldPins ──once a batch: columns──► the first foreign row
//!           └─once a row: payload_json─► refused or not
//! ```
//!
//! A null names no world and passes; where the column is part of a key, the key refuses it. Any other value that
//! differs from the run's belongs to another world.

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use wsp::cells::Column;
use wsp::cells::verbatim::{self, Found};
use wsp::strict;

use super::key::{self, KeyValue};
use super::refusal;
use super::schema::{PAYLOAD_JSON, payload_column};
use crate::model::{PIN_NAMES, Pin, Reason, Refusal, WorldKey};

/// How many characters of a foreign value a refusal quotes.
const QUOTED_CHARS: usize = 80;

/// Compares rows with one world.
#[derive(Debug, Clone)]
pub struct WorldPins {
    pins: [Pin; 4],
}

/// The first row of a batch that names another world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRow {
    /// Its index in the batch.
    pub row: usize,
    /// `WORLD_KEY_MISMATCH` with the column, without file and row.
    pub refusal: Refusal,
}

impl WorldPins {
    /// For rows that have to be of `world`.
    #[must_use]
    pub fn new(world: &WorldKey) -> Self {
        Self { pins: world.pins() }
    }

    /// The columns that [`WorldPins::check`] looks at in rows of this schema.
    #[must_use]
    pub fn columns(schema: &Schema) -> Vec<String> {
        if Self::reads_json(schema) {
            return vec![PAYLOAD_JSON.to_owned()];
        }
        PIN_NAMES.iter().filter(|name| schema.column_with_name(name).is_some()).map(ToString::to_string).collect()
    }

    /// Whether rows of this schema name their world inside a JSON payload.
    #[must_use]
    pub fn reads_json(schema: &Schema) -> bool {
        payload_column(schema).is_some()
    }

    /// The first of `rows` that names another world.
    ///
    /// # Errors
    ///
    /// As framing: `COLUMN_NOT_ENCODABLE` and `VALUE_NOT_ENCODABLE`, naming the column.
    pub fn check(&self, rows: &RecordBatch) -> Result<Option<ForeignRow>, Refusal> {
        let schema = rows.schema_ref();
        let bind = |i: usize| {
            Column::bind(rows.column(i))
                .map_err(|unfit| refusal(unfit, Reason::ColumnNotEncodable, schema.field(i).name()))
        };
        if let Some(i) = payload_column(schema) {
            return self.check_json(&bind(i)?, rows.num_rows());
        }
        let mut first: Option<ForeignRow> = None;
        for (pin, i) in self.in_schema(schema) {
            first = earlier(first, foreign(pin, &bind(i)?, false, rows.num_rows()));
        }
        Ok(first)
    }

    /// The same for columns that are resolved already; `shared` says which of them hold one value in all rows.
    pub(super) fn check_columns(
        &self,
        schema: &Schema,
        columns: &[Column],
        shared: &[bool],
        rows: usize,
    ) -> Option<ForeignRow> {
        let found = self.in_schema(schema).map(|(pin, i)| foreign(pin, &columns[i], shared[i], rows));
        found.fold(None, earlier)
    }

    fn in_schema(&self, schema: &Schema) -> impl Iterator<Item = (&Pin, usize)> {
        self.pins.iter().filter_map(|pin| Some((pin, schema.column_with_name(pin.name)?.0)))
    }

    fn check_json(&self, column: &Column, rows: usize) -> Result<Option<ForeignRow>, Refusal> {
        let wanted = PIN_NAMES.map(str::to_owned);
        let mut found: Vec<Option<Found<'_>>> = Vec::new();
        for row in 0..rows {
            let refused = |detail| Refusal::new(Reason::ValueNotEncodable, detail).field(PAYLOAD_JSON);
            let bytes = column.bytes(row).ok_or_else(|| refused("null".to_owned()))?;
            verbatim::object(bytes, &wanted, &mut found).map_err(refused)?;
            if let Err(refusal) = self.check_found(|pin| found[pin].as_ref()) {
                return Ok(Some(ForeignRow { row, refusal }));
            }
        }
        Ok(None)
    }

    /// Whether the values that a JSON payload has for the pins, in the order of [`PIN_NAMES`], are the world's.
    ///
    /// # Errors
    ///
    /// `WORLD_KEY_MISMATCH`, naming the key.
    pub(super) fn check_found<'a>(&self, found: impl Fn(usize) -> Option<&'a Found<'a>>) -> Result<(), Refusal> {
        for (i, pin) in self.pins.iter().enumerate() {
            let Some(value) = found(i).map(key::of_member) else { continue };
            if !holds(pin, value) {
                return Err(mismatch(pin, &text_of(value)).field(format!("{PAYLOAD_JSON}.{}", pin.name)));
            }
        }
        Ok(())
    }
}

/// Whichever row stands first.
fn earlier(one: Option<ForeignRow>, other: Option<ForeignRow>) -> Option<ForeignRow> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.row < one.row { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// The first of `rows` rows of `column` that does not hold the pin.
fn foreign(pin: &Pin, column: &Column, shared: bool, rows: usize) -> Option<ForeignRow> {
    let looked_at = if shared { rows.min(1) } else { rows };
    let row = (0..looked_at).find(|row| !cell_holds(pin, column, *row))?;
    let mut text = Vec::new();
    let text = match (column.bytes(row), column.write(row, &mut text)) {
        (Some(bytes), _) => String::from_utf8_lossy(bytes),
        (None, Ok(())) => String::from_utf8_lossy(&text),
        (None, Err(_)) => "a value without a JSON form".into(),
    };
    Some(ForeignRow { row, refusal: mismatch(pin, &text).field(pin.name) })
}

fn cell_holds(pin: &Pin, column: &Column, row: usize) -> bool {
    match key::of_cell(column, row) {
        KeyValue::Other => {
            if let Some(bytes) = column.bytes(row) {
                return bytes == pin.text.as_bytes();
            }
            let mut text = Vec::new();
            pin.number.is_some() && column.write(row, &mut text).is_ok() && is_whole(&text, &pin.text)
        }
        value => holds(pin, value),
    }
}

/// Whether `text` is the integer `digits` as a decimal or a float: with nothing but zeros behind its point.
fn is_whole(text: &[u8], digits: &str) -> bool {
    let fraction = text.strip_prefix(digits.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    fraction.is_some_and(|fraction| fraction.iter().all(|digit| *digit == b'0'))
}

fn holds(pin: &Pin, value: KeyValue<'_>) -> bool {
    match value {
        KeyValue::Null => true,
        KeyValue::Unsigned(number) => pin.number == Some(number),
        KeyValue::Signed(number) => pin.number.is_some() && pin.number == u64::try_from(number).ok(),
        KeyValue::Text(text) => *text == *pin.text,
        KeyValue::Bool(_) | KeyValue::Digits(_) | KeyValue::Other => false,
    }
}

fn text_of(value: KeyValue<'_>) -> String {
    let mut text = Vec::new();
    if value.write(&mut text) {
        String::from_utf8_lossy(&text).into_owned()
    } else {
        "neither a text nor an integer".to_owned()
    }
}

#[cold]
fn mismatch(pin: &Pin, found: &str) -> Refusal {
    let (found, wanted) = (strict::excerpt(found, QUOTED_CHARS), strict::excerpt(&pin.text, QUOTED_CHARS));
    Refusal::new(Reason::WorldKeyMismatch, format!("the row has {found}, the run's world {wanted}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
        StringArray, StringViewArray, UInt64Array,
    };

    use super::*;

    const OTHER: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const OURS: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn world(seed: u64) -> WorldKey {
        WorldKey {
            manifest_fingerprint: OURS.parse().unwrap(),
            parameter_hash: OURS.parse().unwrap(),
            scenario_id: "baseline_v1".parse().unwrap(),
            seed,
        }
    }

    fn checked(seed: u64, columns: Vec<(&str, ArrayRef)>) -> Option<(usize, String)> {
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let foreign = WorldPins::new(&world(seed)).check(&rows).unwrap()?;
        assert_eq!(foreign.refusal.reason, Reason::WorldKeyMismatch);
        Some((foreign.row, foreign.refusal.to_string()))
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from(values.to_vec()))
    }

    #[test]
    fn the_first_foreign_row_is_found_whatever_holds_the_seed() {
        let foreign = |array: ArrayRef| checked(42, vec![("seed", array)]).map(|(row, _)| row);
        let decimals = |values: &[i128], scale| {
            Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, scale).unwrap()) as ArrayRef
        };
        let arrays: [(ArrayRef, Option<usize>); 16] = [
            (Arc::new(Int64Array::from(vec![42, 42, 43])), Some(2)),
            (Arc::new(Int64Array::from(vec![42, -42])), Some(1)),
            (Arc::new(UInt64Array::from(vec![42, u64::MAX])), Some(1)),
            (Arc::new(Int32Array::from(vec![42, 7])), Some(1)),
            (Arc::new(Int32Array::from(vec![42, 42])), None),
            (Arc::new(Int64Array::from(vec![Some(42), None])), None),
            (Arc::new(StringArray::from(vec!["42", "042"])), Some(1)),
            (Arc::new(StringArray::from(vec!["42", "42"])), None),
            (Arc::new(["42", "42", "4"].into_iter().collect::<DictionaryArray<Int8Type>>()), Some(2)),
            (Arc::new(Float64Array::from(vec![42.0, 42.5])), Some(1)),
            (Arc::new(Float64Array::from(vec![42.0, f64::NAN])), Some(1)),
            (decimals(&[42, 43], 0), Some(1)),
            (decimals(&[4200, 4201], 2), Some(1)),
            (Arc::new(BinaryArray::from(vec![&b"42"[..], b"43"])), Some(1)),
            (Arc::new(BooleanArray::from(vec![true])), Some(0)),
            (Arc::new(Int64Array::from(vec![42; 3])), None),
        ];
        for (array, expected) in arrays {
            assert_eq!(foreign(array.clone()), expected, "{array:?}");
        }
        let upper = Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 1]));
        assert_eq!(checked(u64::MAX, vec![("seed", upper)]).unwrap().0, 1);
    }

    #[test]
    fn each_pin_is_compared_and_the_earliest_row_counts() {
        for column in ["manifest_fingerprint", "parameter_hash"] {
            let (row, text) = checked(42, vec![(column, texts(&[Some(OURS), None, Some(OTHER)]))]).unwrap();
            assert_eq!(row, 2);
            let expected = format!("WORLD_KEY_MISMATCH, {column}: the row has {OTHER}, the run's world {OURS}");
            assert_eq!(text, expected);
        }
        let (row, text) = checked(
            42,
            vec![
                ("scenario_id", texts(&[Some("baseline_v1"), Some("baseline_v1"), Some("baseline_v2")])),
                ("seed", Arc::new(Int64Array::from(vec![42, 43, 42]))),
            ],
        )
        .unwrap();
        assert_eq!((row, text.contains("seed")), (1, true));
        assert_eq!(checked(42, vec![("seeds", Arc::new(Int64Array::from(vec![43])))]), None);
    }

    #[test]
    fn a_json_payload_is_looked_into() {
        let json = |texts: &[&str]| {
            let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            checked(42, vec![("payload_json", column)])
        };
        let good = format!(r#"{{"seed":42,"parameter_hash":"{OURS}","inner":{{"seed":43}}}}"#);
        assert_eq!(json(&[&good, r#"{"seed":null}"#, "{}"]), None);
        let (row, text) = json(&[&good, r#"{"s\u0065ed":43}"#]).unwrap();
        assert_eq!(row, 1);
        assert_eq!(text, "WORLD_KEY_MISMATCH, payload_json.seed: the row has 43, the run's world 42");
        for foreign in
            [r#"{"seed":42.5}"#, r#"{"seed":"43"}"#, r#"{"scenario_id":"baseline_v2"}"#, r#"{"scenario_id":["a"]}"#]
        {
            assert_eq!(json(&[foreign]).map(|(row, _)| row), Some(0), "{foreign}");
        }
    }

    #[test]
    fn a_long_foreign_value_is_quoted_in_part() {
        let long = "x".repeat(1 << 20);
        let (_, text) = checked(42, vec![("scenario_id", texts(&[Some(&long)]))]).unwrap();
        assert!(text.len() < 300, "{}", text.len());
    }
}

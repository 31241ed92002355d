//! A column whose type is resolved once a batch, so that a cell costs one branch and its text.
//!
//! ```text
//! ArrayRef ──bind──► Column ──write(row)──► JSON
//! ```

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array,
    Decimal64Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, FixedSizeListArray, Float16Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray, LargeListArray,
    LargeListViewArray, LargeStringArray, ListArray, ListViewArray, MapArray, StringArray, StringViewArray,
    StructArray, Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType as T, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::text;
use super::values::Unfit;
use crate::time::Micros;

const DAY_MICROS: i64 = 86_400_000_000;

/// A column of a batch. Arrays are shared, not copied.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each variant is the array that it holds")]
pub enum Column {
    Null,
    Bool(BooleanArray),
    I8(Int8Array),
    I16(Int16Array),
    I32(Int32Array),
    I64(Int64Array),
    U8(UInt8Array),
    U16(UInt16Array),
    U32(UInt32Array),
    U64(UInt64Array),
    F16(Float16Array),
    F32(Float32Array),
    F64(Float64Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedBinary(FixedSizeBinaryArray),
    Decimal32(Decimal32Array, i8),
    Decimal64(Decimal64Array, i8),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    Seconds(TimestampSecondArray),
    Millis(TimestampMillisecondArray),
    Micros(TimestampMicrosecondArray),
    Nanos(TimestampNanosecondArray),
    Date32(Date32Array),
    Date64(Date64Array),
    TimeSeconds(Time32SecondArray),
    TimeMillis(Time32MillisecondArray),
    TimeMicros(Time64MicrosecondArray),
    TimeNanos(Time64NanosecondArray),
    List(ListArray, Box<Column>),
    LargeList(LargeListArray, Box<Column>),
    FixedList(FixedSizeListArray, Box<Column>),
    ListView(ListViewArray, Box<Column>),
    LargeListView(LargeListViewArray, Box<Column>),
    /// With `"name":` of each field, commas included.
    Struct(StructArray, Vec<(Vec<u8>, Column)>),
    Map(MapArray, Box<(Column, Column)>),
    /// The dictionary, for its nulls; its keys, each within the values; the values.
    Dictionary(ArrayRef, Vec<usize>, Box<Column>),
}

impl Column {
    /// Resolves the type of `array`.
    ///
    /// # Errors
    ///
    /// For what [`super::values::check_type`] refuses.
    pub fn bind(array: &ArrayRef) -> Result<Self, Unfit> {
        super::values::check_type(array.data_type())?;
        Self::resolve(array)
    }

    fn resolve(array: &ArrayRef) -> Result<Self, Unfit> {
        Ok(match array.data_type() {
            T::Null => Self::Null,
            T::Boolean => Self::Bool(array.as_boolean().clone()),
            T::Int8 => Self::I8(array.as_primitive::<Int8Type>().clone()),
            T::Int16 => Self::I16(array.as_primitive::<Int16Type>().clone()),
            T::Int32 => Self::I32(array.as_primitive::<Int32Type>().clone()),
            T::Int64 => Self::I64(array.as_primitive::<Int64Type>().clone()),
            T::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().clone()),
            T::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().clone()),
            T::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().clone()),
            T::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().clone()),
            T::Float16 => Self::F16(array.as_primitive::<Float16Type>().clone()),
            T::Float32 => Self::F32(array.as_primitive::<Float32Type>().clone()),
            T::Float64 => Self::F64(array.as_primitive::<Float64Type>().clone()),
            T::Utf8 => Self::Text(array.as_string().clone()),
            T::LargeUtf8 => Self::LargeText(array.as_string().clone()),
            T::Utf8View => Self::TextView(array.as_string_view().clone()),
            T::Binary => Self::Binary(array.as_binary().clone()),
            T::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            T::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            T::FixedSizeBinary(_) => Self::FixedBinary(array.as_fixed_size_binary().clone()),
            T::Decimal32(_, scale) => Self::Decimal32(array.as_primitive::<Decimal32Type>().clone(), *scale),
            T::Decimal64(_, scale) => Self::Decimal64(array.as_primitive::<Decimal64Type>().clone(), *scale),
            T::Decimal128(_, scale) => Self::Decimal128(array.as_primitive::<Decimal128Type>().clone(), *scale),
            T::Decimal256(_, scale) => Self::Decimal256(array.as_primitive::<Decimal256Type>().clone(), *scale),
            T::Timestamp(TimeUnit::Second, _) => Self::Seconds(array.as_primitive::<TimestampSecondType>().clone()),
            T::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Millis(array.as_primitive::<TimestampMillisecondType>().clone())
            }
            T::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Micros(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            T::Timestamp(TimeUnit::Nanosecond, _) => {
                Self::Nanos(array.as_primitive::<TimestampNanosecondType>().clone())
            }
            T::Date32 => Self::Date32(array.as_primitive::<Date32Type>().clone()),
            T::Date64 => Self::Date64(array.as_primitive::<Date64Type>().clone()),
            T::Time32(TimeUnit::Second) => Self::TimeSeconds(array.as_primitive::<Time32SecondType>().clone()),
            T::Time32(TimeUnit::Millisecond) => Self::TimeMillis(array.as_primitive::<Time32MillisecondType>().clone()),
            T::Time64(TimeUnit::Microsecond) => Self::TimeMicros(array.as_primitive::<Time64MicrosecondType>().clone()),
            T::Time64(TimeUnit::Nanosecond) => Self::TimeNanos(array.as_primitive::<Time64NanosecondType>().clone()),
            T::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.clone(), Box::new(Self::resolve(list.values())?))
            }
            T::LargeList(_) => {
                let list = array.as_list::<i64>();
                Self::LargeList(list.clone(), Box::new(Self::resolve(list.values())?))
            }
            T::FixedSizeList(..) => {
                let list = array.as_fixed_size_list();
                Self::FixedList(list.clone(), Box::new(Self::resolve(list.values())?))
            }
            T::ListView(_) => {
                let list = array.as_list_view::<i32>();
                Self::ListView(list.clone(), Box::new(Self::resolve(list.values())?))
            }
            T::LargeListView(_) => {
                let list = array.as_list_view::<i64>();
                Self::LargeListView(list.clone(), Box::new(Self::resolve(list.values())?))
            }
            T::Struct(fields) => {
                let object = array.as_struct();
                let columns = fields
                    .iter()
                    .zip(object.columns())
                    .enumerate()
                    .map(|(i, (field, column))| Ok((text::key(field.name(), i == 0), Self::resolve(column)?)));
                Self::Struct(object.clone(), columns.collect::<Result<_, Unfit>>()?)
            }
            T::Map(..) => {
                let map = array.as_map();
                let sides = (Self::resolve(map.keys())?, Self::resolve(map.values())?);
                Self::Map(map.clone(), Box::new(sides))
            }
            T::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                if dictionary.values().is_empty() {
                    return Ok(Self::Null);
                }
                let values = Self::resolve(dictionary.values())?;
                Self::Dictionary(array.clone(), dictionary.normalized_keys(), Box::new(values))
            }
            other => return Err(Unfit::new(format!("{other} has no JSON form"))),
        })
    }

    /// Appends the JSON of row `row`. After an error, `out` ends in a fragment.
    #[allow(clippy::inline_always, reason = "the one caller is the loop over a row's columns")]
    #[inline(always)]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
        // The types that rows are mostly made of, ahead of the long list.
        match self {
            Self::TextView(array) if !array.is_null(row) => text::string(array.value(row), out),
            Self::I64(array) if !array.is_null(row) => text::signed(array.value(row), out),
            Self::U64(array) if !array.is_null(row) => text::unsigned(array.value(row), out),
            Self::F64(array) if !array.is_null(row) => return float(array.value(row), out),
            Self::TextView(_) | Self::I64(_) | Self::U64(_) | Self::F64(_) => out.extend_from_slice(b"null"),
            other => return other.write_any(row, out),
        }
        Ok(())
    }

    /// Whether all rows hold the same, as far as that is soon told: `false` may be wrong.
    pub fn is_shared(&self) -> bool {
        fn are_equal<T: PartialEq>(values: &[T]) -> bool {
            values.iter().all(|value| *value == values[0])
        }
        let is_shared = |array: &dyn Array, are_equal: &dyn Fn() -> bool| {
            !array.is_empty() && (array.null_count() == array.len() || (array.null_count() == 0 && are_equal()))
        };
        match self {
            Self::TextView(array) => is_shared(array, &|| {
                let (views, first) = (array.views(), array.value(0));
                // Texts of one entry of a dictionary are not looked at.
                (0..array.len()).all(|i| views[i] == views[0] || array.value(i) == first)
            }),
            Self::I64(array) => is_shared(array, &|| are_equal(array.values())),
            Self::U64(array) => is_shared(array, &|| are_equal(array.values())),
            _ => false,
        }
    }

    fn write_any(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::I8(array) => text::signed(array.value(row).into(), out),
            Self::I16(array) => text::signed(array.value(row).into(), out),
            Self::I32(array) => text::signed(array.value(row).into(), out),
            Self::I64(array) => text::signed(array.value(row), out),
            Self::U8(array) => text::unsigned(array.value(row).into(), out),
            Self::U16(array) => text::unsigned(array.value(row).into(), out),
            Self::U32(array) => text::unsigned(array.value(row).into(), out),
            Self::U64(array) => text::unsigned(array.value(row), out),
            // The shortest text of a narrow float is another double; widened first, it is the same one.
            Self::F16(array) => return float(array.value(row).to_f64(), out),
            Self::F32(array) => return float(f64::from(array.value(row)), out),
            Self::F64(array) => return float(array.value(row), out),
            Self::Text(array) => text::string(array.value(row), out),
            Self::LargeText(array) => text::string(array.value(row), out),
            Self::TextView(array) => text::string(array.value(row), out),
            Self::Binary(array) => base64(array.value(row), out),
            Self::LargeBinary(array) => base64(array.value(row), out),
            Self::BinaryView(array) => base64(array.value(row), out),
            Self::FixedBinary(array) => base64(array.value(row), out),
            Self::Decimal32(array, scale) => {
                text::decimal(itoa::Buffer::new().format(array.value(row)), *scale, out);
            }
            Self::Decimal64(array, scale) => {
                text::decimal(itoa::Buffer::new().format(array.value(row)), *scale, out);
            }
            Self::Decimal128(array, scale) => {
                text::decimal(itoa::Buffer::new().format(array.value(row)), *scale, out);
            }
            Self::Decimal256(array, scale) => text::decimal(&array.value(row).to_string(), *scale, out),
            Self::Seconds(array) => return instant(array.value(row).checked_mul(1_000_000), out),
            Self::Millis(array) => return instant(array.value(row).checked_mul(1_000), out),
            Self::Micros(array) => return instant(Some(array.value(row)), out),
            Self::Nanos(array) => return instant(Some(array.value(row).div_euclid(1_000)), out),
            Self::Date32(array) => return date(i64::from(array.value(row)), out),
            Self::Date64(array) => return date(array.value(row).div_euclid(86_400_000), out),
            Self::TimeSeconds(array) => return time(i64::from(array.value(row)) * 1_000_000, out),
            Self::TimeMillis(array) => return time(i64::from(array.value(row)) * 1_000, out),
            Self::TimeMicros(array) => return time(array.value(row), out),
            Self::TimeNanos(array) => return time(array.value(row).div_euclid(1_000), out),
            Self::List(array, items) => {
                let offsets = array.value_offsets();
                return list(items, offsets[row] as usize, offsets[row + 1] as usize, out);
            }
            Self::LargeList(array, items) => {
                let offsets = array.value_offsets();
                return list(items, offsets[row] as usize, offsets[row + 1] as usize, out);
            }
            Self::FixedList(array, items) => {
                let (from, len) = (array.value_offset_at(row), array.value_length() as usize);
                return list(items, from, from + len, out);
            }
            Self::ListView(array, items) => {
                let (from, len) = (array.value_offset(row) as usize, array.value_size(row) as usize);
                return list(items, from, from + len, out);
            }
            Self::LargeListView(array, items) => {
                let (from, len) = (array.value_offset(row) as usize, array.value_size(row) as usize);
                return list(items, from, from + len, out);
            }
            Self::Struct(array, fields) => {
                out.push(b'{');
                for (i, (key, column)) in fields.iter().enumerate() {
                    out.extend_from_slice(key);
                    column
                        .write_any(row, out)
                        .map_err(|unfit| unfit.below(&format!(".{}", array.column_names()[i])))?;
                }
                out.push(b'}');
            }
            Self::Map(array, sides) => {
                let offsets = array.value_offsets();
                let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
                out.push(b'[');
                for i in from..to {
                    out.extend_from_slice(if i == from { b"[" } else { b",[" });
                    let below = |unfit: Unfit| unfit.below(&format!("[{}]", i - from));
                    sides.0.write_any(i, out).map_err(below)?;
                    out.push(b',');
                    sides.1.write_any(i, out).map_err(below)?;
                    out.push(b']');
                }
                out.push(b']');
            }
            Self::Dictionary(_, keys, values) => return values.write_any(keys[row], out),
        }
        Ok(())
    }

    /// Whether row `row` holds nothing.
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::I8(array) => array.is_null(row),
            Self::I16(array) => array.is_null(row),
            Self::I32(array) => array.is_null(row),
            Self::I64(array) => array.is_null(row),
            Self::U8(array) => array.is_null(row),
            Self::U16(array) => array.is_null(row),
            Self::U32(array) => array.is_null(row),
            Self::U64(array) => array.is_null(row),
            Self::F16(array) => array.is_null(row),
            Self::F32(array) => array.is_null(row),
            Self::F64(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::LargeText(array) => array.is_null(row),
            Self::TextView(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::LargeBinary(array) => array.is_null(row),
            Self::BinaryView(array) => array.is_null(row),
            Self::FixedBinary(array) => array.is_null(row),
            Self::Decimal32(array, _) => array.is_null(row),
            Self::Decimal64(array, _) => array.is_null(row),
            Self::Decimal128(array, _) => array.is_null(row),
            Self::Decimal256(array, _) => array.is_null(row),
            Self::Seconds(array) => array.is_null(row),
            Self::Millis(array) => array.is_null(row),
            Self::Micros(array) => array.is_null(row),
            Self::Nanos(array) => array.is_null(row),
            Self::Date32(array) => array.is_null(row),
            Self::Date64(array) => array.is_null(row),
            Self::TimeSeconds(array) => array.is_null(row),
            Self::TimeMillis(array) => array.is_null(row),
            Self::TimeMicros(array) => array.is_null(row),
            Self::TimeNanos(array) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::LargeList(array, _) => array.is_null(row),
            Self::FixedList(array, _) => array.is_null(row),
            Self::ListView(array, _) => array.is_null(row),
            Self::LargeListView(array, _) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
            Self::Map(array, _) => array.is_null(row),
            Self::Dictionary(array, keys, values) => array.is_null(row) || values.is_null(keys[row]),
        }
    }

    /// The bytes of a text or binary value; `None` for null and for every other type.
    pub fn bytes(&self, row: usize) -> Option<&[u8]> {
        if self.is_null(row) {
            return None;
        }
        match self {
            Self::Text(array) => Some(array.value(row).as_bytes()),
            Self::LargeText(array) => Some(array.value(row).as_bytes()),
            Self::TextView(array) => Some(array.value(row).as_bytes()),
            Self::Binary(array) => Some(array.value(row)),
            Self::LargeBinary(array) => Some(array.value(row)),
            Self::BinaryView(array) => Some(array.value(row)),
            Self::Dictionary(_, keys, values) => values.bytes(keys[row]),
            _ => None,
        }
    }
}

/// The shortest text that reads back as `value`; it has a point or an exponent, so it stays a float.
fn float(value: f64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if !value.is_finite() {
        return Err(Unfit::new(format!("{value} has no JSON form")));
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn instant(micros: Option<i64>, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let time = micros.and_then(Micros::checked).ok_or_else(|| Unfit::new("a time outside the years 0000 to 9999"))?;
    out.push(b'"');
    out.extend_from_slice(&time.write());
    out.push(b'"');
    Ok(())
}

fn date(days: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let midnight = days.checked_mul(DAY_MICROS).and_then(Micros::checked);
    let midnight = midnight.ok_or_else(|| Unfit::new("a date outside the years 0000 to 9999"))?;
    out.push(b'"');
    out.extend_from_slice(&midnight.write()[..10]);
    out.push(b'"');
    Ok(())
}

fn time(micros: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if text::time_of_day(micros, out) { Ok(()) } else { Err(Unfit::new("a time of day outside the day")) }
}

fn list(items: &Column, from: usize, to: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
    out.push(b'[');
    for i in from..to {
        if i > from {
            out.push(b',');
        }
        items.write_any(i, out).map_err(|unfit| unfit.below(&format!("[{}]", i - from)))?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
#[path = "column_tests.rs"]
mod tests;

//! Event times out of a column, whatever type it was stored as.
//!
//! ```text
//! Utf8 · Dictionary · Timestamp(s|ms|us|ns) ──► Vec<Micros>, and the first row that is none
//! ```

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayAccessor};
use arrow_schema::{DataType, TimeUnit};

use crate::minute::TimeReader;
use crate::time::Micros;

/// How many characters of an unreadable time a refusal quotes.
const QUOTED_CHARS: usize = 60;

/// The times of a batch up to the first row that has none.
#[derive(Debug)]
pub struct Times {
    /// One for each row before [`Times::bad`].
    pub good: Vec<Micros>,
    /// Why the row after them has no time.
    pub bad: Option<String>,
}

/// Whether a column of this type can hold event times.
pub fn readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Timestamp(..) => true,
        DataType::Dictionary(_, value) => readable(value),
        _ => false,
    }
}

/// Reads a column for which [`readable`] holds; any other has no readable row.
pub fn read(array: &dyn Array) -> Times {
    match array.data_type() {
        DataType::Utf8 => texts(array.as_string::<i32>()),
        DataType::LargeUtf8 => texts(array.as_string::<i64>()),
        DataType::Utf8View => texts(array.as_string_view()),
        DataType::Timestamp(TimeUnit::Second, _) => {
            numbers::<TimestampSecondType>(array, |seconds| seconds.checked_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            numbers::<TimestampMillisecondType>(array, |millis| millis.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers::<TimestampMicrosecondType>(array, Some),
        // Towards the past, as cutting digits off the text does: never into the next microsecond.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            numbers::<TimestampNanosecondType>(array, |nanos| Some(nanos.div_euclid(1_000)))
        }
        DataType::Dictionary(..) => through_dictionary(array),
        other => Times { good: Vec::new(), bad: Some(format!("{other} is no time")) },
    }
}

fn collect(len: usize, mut time: impl FnMut(usize) -> Result<Micros, String>) -> Times {
    let mut good = Vec::with_capacity(len);
    for row in 0..len {
        match time(row) {
            Ok(micros) => good.push(micros),
            Err(bad) => return Times { good, bad: Some(bad) },
        }
    }
    Times { good, bad: None }
}

fn texts<'a, A>(array: &'a A) -> Times
where
    &'a A: ArrayAccessor<Item = &'a str>,
{
    let mut reader = TimeReader::default();
    collect(array.len(), |row| {
        if array.is_null(row) {
            return Err("null".to_owned());
        }
        let text = array.value(row);
        reader
            .parse(text.as_bytes())
            .ok_or_else(|| format!("{:?} is no RFC 3339 time", text.chars().take(QUOTED_CHARS).collect::<String>()))
    })
}

fn numbers<T: ArrowTimestampType>(array: &dyn Array, micros: impl Fn(i64) -> Option<i64>) -> Times {
    let array = array.as_primitive::<T>();
    collect(array.len(), |row| {
        if array.is_null(row) {
            return Err("null".to_owned());
        }
        let stored = array.value(row);
        micros(stored)
            .and_then(Micros::checked)
            .ok_or_else(|| format!("{stored} ({:?}) lies outside the years 0000 to 9999", T::UNIT))
    })
}

/// The values are read once each; a bad one only matters where a row points to it.
fn through_dictionary(array: &dyn Array) -> Times {
    let dictionary = array.as_any_dictionary();
    let values = dictionary.values();
    if values.is_empty() {
        return collect(array.len(), |_| Err("null".to_owned()));
    }
    let times: Vec<Result<Micros, String>> = (0..values.len())
        .map(|i| {
            let one = read(&values.slice(i, 1));
            one.good.first().copied().ok_or_else(|| one.bad.unwrap_or_default())
        })
        .collect();
    let keys = dictionary.normalized_keys();
    collect(array.len(), |row| if array.is_null(row) { Err("null".to_owned()) } else { times[keys[row]].clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{
        ArrayRef, DictionaryArray, Int64Array, LargeStringArray, StringArray, StringViewArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    };

    use super::*;

    #[test]
    fn every_type_gives_the_same_instant() {
        let text = "1969-12-31T23:59:58Z";
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![text])),
            Arc::new(LargeStringArray::from(vec![text])),
            Arc::new(StringViewArray::from(vec![text])),
            Arc::new([text].into_iter().collect::<DictionaryArray<Int8Type>>()),
            Arc::new(TimestampSecondArray::from(vec![-2])),
            Arc::new(TimestampMillisecondArray::from(vec![-2_000]).with_timezone("+02:00")),
            Arc::new(TimestampMicrosecondArray::from(vec![-2_000_000]).with_timezone("UTC")),
            Arc::new(TimestampNanosecondArray::from(vec![-2_000_000_000])),
        ];
        for column in columns {
            let times = read(&column);
            assert_eq!(times.good, [Micros(-2_000_000)], "{}", column.data_type());
            assert_eq!(times.bad, None);
        }
    }

    #[test]
    fn nanoseconds_are_cut_towards_the_past() {
        let times = read(&TimestampNanosecondArray::from(vec![-1, 1, 999, 1_000]));
        assert_eq!(times.good, [Micros(-1), Micros(0), Micros(0), Micros(1)]);
    }

    #[test]
    fn the_rows_before_a_bad_one_are_kept() {
        let good = "2026-01-01T00:00:00Z";
        let dictionary: DictionaryArray<Int8Type> = [Some(good), None, Some("x")].into_iter().collect();
        for column in [
            Arc::new(StringArray::from(vec![Some(good), None])) as ArrayRef,
            Arc::new(StringArray::from(vec![good, "yesterday"])),
            Arc::new(dictionary),
            Arc::new(TimestampSecondArray::from(vec![0, i64::MAX])),
            Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX / 1_000])),
        ] {
            let times = read(&column);
            assert_eq!(times.good.len(), 1, "{column:?}");
            assert!(times.bad.is_some());
        }
        assert!(!readable(&DataType::Int64));
        assert!(read(&Int64Array::from(vec![1])).bad.is_some());
    }

    #[test]
    fn an_unused_dictionary_value_does_no_harm() {
        let dictionary: DictionaryArray<Int8Type> = ["x", "2026-01-01T00:00:00Z"].into_iter().collect();
        assert_eq!(read(&dictionary.slice(1, 1)).bad, None);
    }
}

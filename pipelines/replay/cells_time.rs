//! Event times out of a column of Arrow.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use wsp::cells::Column;
use wsp::minute::TimeReader;
use wsp::time::Micros;

use super::time::TimeForm;

const DAY_MICROS: i64 = 86_400_000_000;
const DAY_MILLIS: i64 = 86_400_000;

/// The times of all rows before the first that has none, and why it has none. `after` is the time of the row before them.
pub(super) fn times(array: &ArrayRef, form: &TimeForm, after: Option<Micros>) -> (Vec<Micros>, Option<String>) {
    use DataType as T;
    let instant = |zone: &Option<_>, micros: Option<i64>, after: Option<Micros>| {
        let micros = micros.ok_or("a time outside the years 0000 to 9999")?;
        if zone.is_none() && form.has_zone() {
            return form.local(micros, after);
        }
        Micros::checked(micros).ok_or_else(|| "a time outside the years 0000 to 9999".to_owned())
    };
    let date = |micros: Option<i64>, after| instant(&None::<std::sync::Arc<str>>, micros, after);
    match array.data_type() {
        T::Timestamp(TimeUnit::Second, zone) => {
            of::<TimestampSecondType>(array, after, |value, after| instant(zone, value.checked_mul(1_000_000), after))
        }
        T::Timestamp(TimeUnit::Millisecond, zone) => {
            of::<TimestampMillisecondType>(array, after, |value, after| instant(zone, value.checked_mul(1_000), after))
        }
        T::Timestamp(TimeUnit::Microsecond, zone) => {
            of::<TimestampMicrosecondType>(array, after, |value, after| instant(zone, Some(value), after))
        }
        T::Timestamp(TimeUnit::Nanosecond, zone) => of::<TimestampNanosecondType>(array, after, |value, after| {
            instant(zone, Some(value.div_euclid(1_000)), after)
        }),
        T::Date32 => of::<Date32Type>(array, after, |value, after| date(Some(i64::from(value) * DAY_MICROS), after)),
        T::Date64 => of::<Date64Type>(array, after, |value, after| {
            date(value.div_euclid(DAY_MILLIS).checked_mul(DAY_MICROS), after)
        }),
        T::Int8 => of::<Int8Type>(array, after, |value, _| form.integer(value.into())),
        T::Int16 => of::<Int16Type>(array, after, |value, _| form.integer(value.into())),
        T::Int32 => of::<Int32Type>(array, after, |value, _| form.integer(value.into())),
        T::Int64 => of::<Int64Type>(array, after, |value, _| form.integer(value.into())),
        T::UInt8 => of::<UInt8Type>(array, after, |value, _| form.integer(value.into())),
        T::UInt16 => of::<UInt16Type>(array, after, |value, _| form.integer(value.into())),
        T::UInt32 => of::<UInt32Type>(array, after, |value, _| form.integer(value.into())),
        T::UInt64 => of::<UInt64Type>(array, after, |value, _| form.integer(value.into())),
        T::Float32 => of::<Float32Type>(array, after, |value, _| form.float(value.into())),
        T::Float64 => of::<Float64Type>(array, after, |value, _| form.float(value)),
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Dictionary(..) => texts(array, form, after),
        other => (Vec::new(), Some(format!("a column of {other} holds no times"))),
    }
}

const NULL: &str = "no event time: it is null";

/// Each value by `read`, up to the first that is none.
fn of<P: ArrowPrimitiveType>(
    array: &ArrayRef,
    after: Option<Micros>,
    mut read: impl FnMut(P::Native, Option<Micros>) -> Result<Micros, String>,
) -> (Vec<Micros>, Option<String>) {
    let array = array.as_primitive::<P>();
    each(
        array.len(),
        after,
        |row, after| {
            if array.is_null(row) { Err(NULL.to_owned()) } else { read(array.value(row), after) }
        },
    )
}

fn texts(array: &ArrayRef, form: &TimeForm, after: Option<Micros>) -> (Vec<Micros>, Option<String>) {
    let Ok(column) = Column::bind(array) else {
        return (Vec::new(), Some(format!("a column of {} holds no times", array.data_type())));
    };
    let mut reader = TimeReader::default();
    each(array.len(), after, |row, after| {
        if column.is_null(row) {
            return Err(NULL.to_owned());
        }
        let text = column.bytes(row).and_then(|bytes| std::str::from_utf8(bytes).ok());
        form.text(&mut reader, text.ok_or("it is no text")?, after)
    })
}

fn each(
    rows: usize,
    after: Option<Micros>,
    mut read: impl FnMut(usize, Option<Micros>) -> Result<Micros, String>,
) -> (Vec<Micros>, Option<String>) {
    let mut times: Vec<Micros> = Vec::with_capacity(rows);
    for row in 0..rows {
        match read(row, times.last().copied().or(after)) {
            Ok(time) => times.push(time),
            Err(what) => return (times, Some(what)),
        }
    }
    (times, None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Date32Array, Float64Array, Int64Array, StringViewArray, TimestampMillisecondArray, TimestampNanosecondArray,
    };

    use super::super::time::TimeUnit as Unit;
    use super::*;

    const AT: i64 = 1_769_850_000_250_000;

    fn read(array: impl Array + 'static, form: &TimeForm) -> (Vec<i64>, Option<String>) {
        let (times, fault) = times(&(Arc::new(array) as ArrayRef), form, None);
        (times.into_iter().map(|time| time.0).collect(), fault)
    }

    #[test]
    fn columns_of_times_numbers_and_texts_are_read() {
        let plain = TimeForm::default();
        let millis = TimeForm::new(Some(Unit::Millis), None, None).unwrap();
        assert_eq!(read(TimestampNanosecondArray::from(vec![AT * 1000 + 999]), &plain), (vec![AT], None));
        assert_eq!(read(TimestampMillisecondArray::from(vec![AT / 1000]), &plain), (vec![AT], None));
        assert_eq!(read(Date32Array::from(vec![1, -1]), &plain), (vec![DAY_MICROS, -DAY_MICROS], None));
        assert_eq!(read(Int64Array::from(vec![AT / 1000]), &millis), (vec![AT], None));
        assert_eq!(read(Float64Array::from(vec![(AT / 1000) as f64]), &millis), (vec![AT], None));
        assert_eq!(read(StringViewArray::from(vec!["2026-01-31T09:00:00.25Z"]), &plain), (vec![AT], None));
    }

    #[test]
    fn a_zone_is_for_times_that_have_none() {
        let berlin = TimeForm::new(None, None, Some("Europe/Berlin")).unwrap();
        let array = TimestampMillisecondArray::from(vec![AT / 1000]);
        assert_eq!(read(array.clone(), &berlin).0, [AT - 3_600_000_000]);
        assert_eq!(read(array.with_timezone("UTC"), &berlin).0, [AT]);
    }

    #[test]
    fn the_first_row_without_a_time_ends_them() {
        let plain = TimeForm::default();
        let (times, fault) = read(TimestampMillisecondArray::from(vec![Some(1), None, Some(2)]), &plain);
        assert_eq!((times, fault.unwrap().as_str()), (vec![1000], NULL));
        assert!(read(Int64Array::from(vec![1]), &plain).1.unwrap().contains("--time-unit"));
        assert!(read(arrow_array::BooleanArray::from(vec![true]), &plain).1.unwrap().contains("holds no times"));
        assert!(read(TimestampMillisecondArray::from(vec![i64::MAX]), &plain).1.is_some());
    }
}

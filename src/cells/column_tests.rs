//! The JSON of every type that a column may have.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, LargeListBuilder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, LargeListViewArray, ListViewArray,
    NullArray, StringArray, StringViewArray, StructArray, Time32MillisecondArray, Time32SecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow_array::{Date32Array, Date64Array, Decimal128Array, FixedSizeBinaryArray, Float32Array};
use arrow_schema::{DataType, Field};

use super::*;

/// The way inside the column, and what is wrong there.
fn told(unfit: Unfit) -> String {
    let (path, what) = unfit.parts();
    format!("{path}: {what}")
}

fn write(array: &ArrayRef, row: usize) -> Result<String, String> {
    let column = Column::bind(array).map_err(told)?;
    let mut out = Vec::new();
    column.write(row, &mut out).map_err(told)?;
    Ok(String::from_utf8(out).unwrap())
}

fn all(array: impl Array + 'static) -> Vec<String> {
    let array: ArrayRef = Arc::new(array);
    (0..array.len()).map(|row| write(&array, row).unwrap()).collect()
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Int32, true))
}

fn numbers() -> ArrayRef {
    Arc::new(Int32Array::from(vec![Some(1), Some(2), None, Some(4)]))
}

const MICROS: i64 = 1_767_225_661_000_002;

#[test]
fn times_are_utc_to_the_microsecond() {
    for (array, text) in [
        (Arc::new(TimestampSecondArray::from(vec![MICROS / 1_000_000])) as ArrayRef, "2026-01-01T00:01:01.000000Z"),
        (Arc::new(TimestampMillisecondArray::from(vec![1_767_225_661_003])), "2026-01-01T00:01:01.003000Z"),
        (Arc::new(TimestampMicrosecondArray::from(vec![MICROS])), "2026-01-01T00:01:01.000002Z"),
        (Arc::new(TimestampNanosecondArray::from(vec![MICROS * 1_000 + 999])), "2026-01-01T00:01:01.000002Z"),
        (Arc::new(TimestampNanosecondArray::from(vec![-1])), "1969-12-31T23:59:59.999999Z"),
        (Arc::new(Date32Array::from(vec![20_454])), "2026-01-01"),
        (Arc::new(Date32Array::from(vec![-1])), "1969-12-31"),
        (Arc::new(Date64Array::from(vec![20_455 * 86_400_000 - 1])), "2026-01-01"),
        (Arc::new(Date64Array::from(vec![20_455 * 86_400_000])), "2026-01-02"),
        (Arc::new(Time32SecondArray::from(vec![3_661])), "01:01:01.000000"),
        (Arc::new(Time32MillisecondArray::from(vec![3_661_007])), "01:01:01.007000"),
        (Arc::new(Time64MicrosecondArray::from(vec![3_661_000_007])), "01:01:01.000007"),
        (Arc::new(Time64NanosecondArray::from(vec![3_661_000_007_999])), "01:01:01.000007"),
    ] {
        assert_eq!(write(&array, 0), Ok(format!("\"{text}\"")), "{}", array.data_type());
    }
}

#[test]
fn what_has_no_json_form_is_an_error() {
    for array in [
        Arc::new(TimestampSecondArray::from(vec![i64::MAX])) as ArrayRef,
        Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])),
        Arc::new(Date32Array::from(vec![i32::MAX])),
        Arc::new(Date64Array::from(vec![i64::MIN])),
        Arc::new(Time32SecondArray::from(vec![86_400])),
        Arc::new(Time64NanosecondArray::from(vec![-1])),
        Arc::new(Float32Array::from(vec![f32::NAN])),
    ] {
        assert!(write(&array, 0).is_err(), "{}", array.data_type());
    }
}

#[test]
fn lists_of_any_layout_hold_their_own_items() {
    let list = ListBuilder::new(Int32Builder::new());
    let filled = |mut list: ListBuilder<Int32Builder>| {
        list.append_value([Some(1), Some(2)]);
        list.append_null();
        list.append_value([None, Some(4)]);
        list.append_value([] as [Option<i32>; 0]);
        list.finish()
    };
    assert_eq!(all(filled(list)), ["[1,2]", "null", "[null,4]", "[]"]);
    let mut large = LargeListBuilder::new(Int32Builder::new());
    large.append_value([Some(1)]);
    large.append_value([Some(2), None]);
    assert_eq!(all(large.finish()), ["[1]", "[2,null]"]);
    assert_eq!(all(FixedSizeListArray::new(item(), 2, numbers(), None)), ["[1,2]", "[null,4]"]);
    let views = ListViewArray::new(item(), vec![2, 0].into(), vec![2, 3].into(), numbers(), None);
    assert_eq!(all(views), ["[null,4]", "[1,2,null]"]);
    let views = LargeListViewArray::new(item(), vec![1_i64, 0].into(), vec![1_i64, 4].into(), numbers(), None);
    assert_eq!(all(views), ["[2]", "[1,2,null,4]"]);
}

#[test]
fn objects_maps_and_dictionaries_nest() {
    let letters: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("\"")]));
    let object =
        StructArray::try_from(vec![("n", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef), ("s", letters)]);
    assert_eq!(all(object.unwrap()), [r#"{"n":1,"s":"a"}"#, r#"{"n":2,"s":null}"#, r#"{"n":3,"s":"\""}"#]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for pairs in [&[("a", 1), ("b", 2)][..], &[], &[("c", 3)]] {
        for (key, value) in pairs {
            map.keys().append_value(key);
            map.values().append_value(*value);
        }
        map.append(true).unwrap();
    }
    map.append(false).unwrap();
    assert_eq!(all(map.finish()), [r#"[["a",1],["b",2]]"#, "[]", r#"[["c",3]]"#, "null"]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("y"), Some("x")].into_iter().collect();
    assert_eq!(all(dictionary), [r#""x""#, "null", r#""y""#, r#""x""#]);
    let empty: DictionaryArray<Int32Type> = vec![None::<&str>; 2].into_iter().collect();
    assert_eq!(all(empty), ["null", "null"]);
}

#[test]
fn an_error_in_a_nested_value_names_its_place() {
    let days = |days: Vec<i32>| Arc::new(Date32Array::from(days)) as ArrayRef;
    let object: ArrayRef =
        Arc::new(StructArray::try_from(vec![("fine", days(vec![1])), ("bad", days(vec![i32::MAX]))]).unwrap());
    let item = Arc::new(Field::new("item", DataType::Date32, true));
    let list: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, days(vec![0, 0, 0, i32::MAX]), None));
    for (array, row, place) in [(object, 0, ".bad"), (list, 1, "[1]")] {
        let column = Column::bind(&array).unwrap();
        assert_eq!(column.write(row, &mut Vec::new()).unwrap_err().parts().0, place);
    }
}

#[test]
fn scalars_keep_what_they_are() {
    assert_eq!(all(Decimal128Array::from(vec![-12_345]).with_precision_and_scale(9, 2).unwrap()), ["-123.45"]);
    assert_eq!(all(Float32Array::from(vec![0.1, 1.0])), ["0.10000000149011612", "1.0"]);
    assert_eq!(all(FixedSizeBinaryArray::try_from_iter([[0_u8, 255]].into_iter()).unwrap()), [r#""AP8=""#]);
    assert_eq!(all(UInt64Array::from(vec![Some(u64::MAX), None])), ["18446744073709551615", "null"]);
}

#[test]
fn a_column_without_a_type_is_null_in_every_row() {
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    assert!(Column::bind(&nulls).unwrap().is_null(1));
    assert_eq!(all(NullArray::new(2)), ["null", "null"]);
}

#[test]
fn a_column_is_shared_only_where_all_rows_are_equal() {
    let shared = |array: ArrayRef| Column::bind(&array).unwrap().is_shared();
    let texts = |texts: Vec<Option<&str>>| shared(Arc::new(StringViewArray::from(texts)));
    let long = "a text that is longer than a view holds";
    assert!(texts(vec![Some("a"), Some("a")]) && texts(vec![Some(long), Some(long)]) && texts(vec![None, None]));
    assert!(!texts(vec![]) && !texts(vec![Some("a"), None]) && !texts(vec![Some("a"), Some("b")]));
    let numbers = |numbers: Vec<Option<i64>>| shared(Arc::new(Int64Array::from(numbers)));
    assert!(numbers(vec![Some(1), Some(1)]) && numbers(vec![None, None]));
    assert!(!numbers(vec![Some(0), None]) && !numbers(vec![Some(1), Some(2)]) && !numbers(vec![]));
    assert!(!shared(Arc::new(UInt64Array::from(vec![1, 2]))) && shared(Arc::new(UInt64Array::from(vec![2, 2]))));
    assert!(!shared(Arc::new(Int32Array::from(vec![1, 1]))), "not looked at");
}

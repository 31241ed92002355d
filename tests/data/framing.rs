//! Framing against a plain re-reading of each row, directly and through Parquet; and rows that can't be framed.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::{ArrowPrimitiveType, Decimal256Type, Float16Type, Int16Type};
use arrow_array::*;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveTime};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wsp_world::envelope::check_schema;
use wsp_world::model::{Event, Micros, Reason, Refusal, RowBatch};
use wsp_world::oracle::Scan;

use crate::kit::views::{assert_same, framed, framer, merged, parquet, pins, read, view_of};

/// What a row's cell has to look like in the payload.
#[derive(Debug, Clone)]
enum Expected {
    Value(Value),
    /// Decimals keep digits that no parser's number does.
    Text(String),
}

type Cells = (ArrayRef, Vec<Expected>);

/// How many rows in turn hold one value: one, a batch, a row group, or all of them.
fn lengths() -> impl Strategy<Value = usize> {
    proptest::sample::select(vec![1, 1, 1, 4, 7, 30])
}

/// Of each `length` values the first in the place of all.
fn repeated<T: Clone>(values: &[T], length: usize) -> Vec<T> {
    (0..values.len()).map(|i| values[i - i % length].clone()).collect()
}

/// A column with nulls in it: the array as Arrow makes it, each cell as it is expected.
fn column<T: Clone + std::fmt::Debug + 'static>(
    rows: usize,
    values: impl Strategy<Value = T> + 'static,
    array: impl Fn(Vec<Option<T>>) -> ArrayRef + 'static,
    expected: impl Fn(T) -> Value + 'static,
) -> BoxedStrategy<Cells> {
    (vec(proptest::option::weighted(0.8, values), rows), lengths())
        .prop_map(move |(values, length)| {
            let values = repeated(&values, length);
            let cells = values.iter().map(|value| Expected::Value(value.clone().map_or(Value::Null, &expected)));
            (array(values.clone()), cells.collect())
        })
        .boxed()
}

fn finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
        any::<i32>().prop_map(f64::from),
        proptest::sample::select(vec![0.1, 1e-7, 1e16, 1e22, -0.0, 100.0, 5e-324, f64::MAX]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    "(\\PC|[\\x00-\\x1f\"\\\\]){0,40}"
}

fn decimal(digits: &str, scale: usize) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{}", if scale == 0 { "0" } else { fraction })
}

fn decimals<T: Clone + std::fmt::Debug + ToString + 'static>(
    rows: usize,
    values: impl Strategy<Value = T> + 'static,
    scale: usize,
    array: impl Fn(Vec<Option<T>>) -> ArrayRef + 'static,
) -> BoxedStrategy<Cells> {
    vec(proptest::option::weighted(0.8, values), rows)
        .prop_map(move |values| {
            let text = |value: &Option<T>| value.as_ref().map_or("null".to_owned(), |v| decimal(&v.to_string(), scale));
            let cells = values.iter().map(|value| Expected::Text(text(value)));
            (array(values.clone()), cells.collect())
        })
        .boxed()
}

fn instant(seconds: i64, nanos: u32) -> Value {
    DateTime::from_timestamp(seconds, nanos).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
}

fn clock(micros: i64) -> Value {
    let time =
        NaiveTime::from_num_seconds_from_midnight_opt((micros / 1_000_000) as u32, (micros % 1_000_000) as u32 * 1_000);
    time.unwrap().format("%H:%M:%S%.6f").to_string().into()
}

fn day(days: i64) -> Value {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Duration::days(days);
    date.format("%Y-%m-%d").to_string().into()
}

fn base64(bytes: Vec<u8>) -> Value {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

type Half = <Float16Type as ArrowPrimitiveType>::Native;

fn scalars(n: usize) -> BoxedStrategy<Cells> {
    macro_rules! integers {
        ($($native:ty => $array:ty),*) => {
            prop_oneof![$(column(n, any::<$native>(), |v| Arc::new(<$array>::from(v)), |v| json!(v))),*]
        };
    }
    prop_oneof![
        4 => integers!(i8 => Int8Array, i16 => Int16Array, i32 => Int32Array, i64 => Int64Array,
            u8 => UInt8Array, u16 => UInt16Array, u32 => UInt32Array, u64 => UInt64Array),
        1 => column(n, any::<bool>(), |v| Arc::new(BooleanArray::from(v)), |v| json!(v)),
        2 => column(n, finite(), |v| Arc::new(Float64Array::from(v)), |v| json!(v)),
        1 => column(n, any::<f32>().prop_filter("finite", |v| v.is_finite()), |v| Arc::new(Float32Array::from(v)),
            |v| json!(f64::from(v))),
        1 => column(n, (-60_000_f32..60_000.0).prop_map(Half::from_f32), |v| Arc::new(Float16Array::from(v)),
            |v| json!(v.to_f64())),
        2 => column(n, text(), |v| Arc::new(StringArray::from(v)), |v| json!(v)),
        1 => column(n, text(), |v| Arc::new(LargeStringArray::from(v)), |v| json!(v)),
        1 => column(n, text(), |v| Arc::new(StringViewArray::from(v)), |v| json!(v)),
        1 => column(n, proptest::sample::select(vec!["a", "b\"", "ÿ"]),
            |v| Arc::new(v.into_iter().collect::<DictionaryArray<Int16Type>>()), |v| json!(v)),
        1 => column(n, vec(any::<u8>(), 0..20), |v| Arc::new(v.iter().map(Option::as_deref).collect::<BinaryArray>()), base64),
        1 => column(n, any::<[u8; 5]>(),
            |v| Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(v.into_iter(), 5).unwrap()),
            |v| base64(v.to_vec())),
    ]
    .boxed()
}

fn decimals_and_times(n: usize) -> BoxedStrategy<Cells> {
    prop_oneof![
        decimals(n, -(10_i128.pow(38) - 1)..10_i128.pow(38), 10, |v| {
            Arc::new(Decimal128Array::from(v).with_precision_and_scale(38, 10).unwrap())
        }),
        decimals(n, -99_999_i128..99_999, 0, |v| {
            Arc::new(Decimal128Array::from(v).with_precision_and_scale(5, 0).unwrap())
        }),
        decimals(n, -99_999_i128..99_999, 5, |v| {
            Arc::new(Decimal128Array::from(v).with_precision_and_scale(5, 5).unwrap())
        }),
        decimals(n, any::<i128>().prop_map(<Decimal256Type as ArrowPrimitiveType>::Native::from_i128), 3, |v| {
            Arc::new(Decimal256Array::from(v).with_precision_and_scale(60, 3).unwrap())
        }),
        column(n, -62_135_596_800_i64..253_402_300_799, |v| Arc::new(TimestampSecondArray::from(v)), |v| instant(v, 0)),
        column(
            n,
            -62_135_596_800_000_i64..253_402_300_799_999,
            |v| { Arc::new(TimestampMillisecondArray::from(v).with_timezone("America/New_York")) },
            |v| instant(v.div_euclid(1_000), v.rem_euclid(1_000) as u32 * 1_000_000)
        ),
        column(
            n,
            -62_135_596_800_000_000_i64..253_402_300_799_999_999,
            |v| Arc::new(TimestampMicrosecondArray::from(v)),
            |v| instant(v.div_euclid(1_000_000), v.rem_euclid(1_000_000) as u32 * 1_000)
        ),
        column(
            n,
            any::<i64>(),
            |v| Arc::new(TimestampNanosecondArray::from(v).with_timezone("UTC")),
            |v| instant(v.div_euclid(1_000_000_000), v.rem_euclid(1_000_000_000) as u32)
        ),
        column(n, -700_000..2_900_000_i32, |v| Arc::new(Date32Array::from(v)), |v| day(v.into())),
        column(
            n,
            -700_000..2_900_000_i64,
            |v| { Arc::new(v.into_iter().map(|v| v.map(|v| v * 86_400_000)).collect::<Date64Array>()) },
            day
        ),
        column(n, 0..86_400_i32, |v| Arc::new(Time32SecondArray::from(v)), |v| clock(i64::from(v) * 1_000_000)),
        column(n, 0..86_400_000_i32, |v| Arc::new(Time32MillisecondArray::from(v)), |v| clock(i64::from(v) * 1_000)),
        column(n, 0..86_400_000_000_i64, |v| Arc::new(Time64MicrosecondArray::from(v)), clock),
        column(n, 0..86_400_000_000_000_i64, |v| Arc::new(Time64NanosecondArray::from(v)), |v| clock(v / 1_000)),
    ]
    .boxed()
}

fn nested(n: usize) -> BoxedStrategy<Cells> {
    let numbers = || vec(proptest::option::of(any::<i64>()), 0..4);
    let pair = || (proptest::option::of(any::<u64>()), proptest::option::of(text()));
    let object = |(a, b): (Option<u64>, Option<String>)| json!({"a": a, "b": b});
    let fields: Fields = vec![
        Field::new("a", arrow_schema::DataType::UInt64, true),
        Field::new("b", arrow_schema::DataType::Utf8, true),
    ]
    .into();
    let pairs = move |values: Vec<Option<(Option<u64>, Option<String>)>>| {
        let a: UInt64Array = values.iter().map(|v| v.as_ref().and_then(|v| v.0)).collect();
        let b: StringArray = values.iter().map(|v| v.as_ref().and_then(|v| v.1.clone())).collect();
        let valid: Vec<bool> = values.iter().map(Option::is_some).collect();
        StructArray::new(fields.clone(), vec![Arc::new(a), Arc::new(b)], Some(valid.into()))
    };
    prop_oneof![
        column(
            n,
            numbers(),
            |v| {
                let mut builder = ListBuilder::new(Int64Builder::new());
                for row in v {
                    builder.append_option(row);
                }
                Arc::new(builder.finish())
            },
            |v| json!(v)
        ),
        column(
            n,
            numbers(),
            |v| {
                let mut builder = arrow_array::builder::ListViewBuilder::new(Int64Builder::new());
                for row in v {
                    builder.append_option(row);
                }
                Arc::new(builder.finish())
            },
            |v| json!(v)
        ),
        column(
            n,
            proptest::array::uniform3(any::<i64>()),
            |v| {
                let v = v.into_iter().map(|v| v.map(|v| v.map(Some)));
                Arc::new(FixedSizeListArray::from_iter_primitive::<types::Int64Type, _, _>(v, 3))
            },
            |v| json!(v)
        ),
        column(
            n,
            vec((text(), proptest::option::of(any::<i64>())), 0..4),
            |v| {
                let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
                for row in v {
                    for (key, value) in row.iter().flatten() {
                        builder.keys().append_value(key);
                        builder.values().append_option(*value);
                    }
                    builder.append(row.is_some()).unwrap();
                }
                Arc::new(builder.finish())
            },
            |v| json!(v)
        ),
        column(n, pair(), move |v| Arc::new(pairs(v)), object),
    ]
    .boxed()
}

/// A table of `n` rows: three or more columns of any type, and the ones that every output has.
fn tables() -> impl Strategy<Value = (RecordBatch, Vec<Vec<Expected>>)> {
    (1..30_usize).prop_flat_map(|n| {
        let any_column = prop_oneof![scalars(n), decimals_and_times(n), nested(n)];
        let keys = (vec(any::<u64>(), n), vec(text(), n), vec(any::<bool>(), n));
        let lengths = (lengths(), lengths(), lengths());
        (vec(any_column, 3..9), keys, lengths).prop_map(move |(columns, (numbers, texts, flags), lengths)| {
            let numbers = repeated(&numbers, lengths.0);
            let (texts, flags) = (repeated(&texts, lengths.1), repeated(&flags, lengths.2));
            let times: Vec<String> = (0..n).map(|i| Micros(i as i64 / 3 * 1_000).to_string()).collect();
            let plain = |values: Vec<Value>| values.into_iter().map(Expected::Value).collect::<Vec<_>>();
            let mut named: Vec<(String, ArrayRef)> = Vec::new();
            let mut cells = Vec::new();
            named.push(("ts_utc".to_owned(), Arc::new(StringArray::from(times.clone()))));
            cells.push(plain(times.into_iter().map(Into::into).collect()));
            named.push(("k \"1\"".to_owned(), Arc::new(UInt64Array::from(numbers.clone()))));
            cells.push(plain(numbers.into_iter().map(Into::into).collect()));
            named.push(("k2".to_owned(), Arc::new(StringArray::from(texts.clone()))));
            cells.push(plain(texts.into_iter().map(Into::into).collect()));
            named.push(("k3".to_owned(), Arc::new(BooleanArray::from(flags.clone()))));
            cells.push(plain(flags.into_iter().map(Into::into).collect()));
            for (i, (array, expected)) in columns.into_iter().enumerate() {
                named.push((format!("c{i}"), array));
                cells.push(expected);
            }
            let fields: Vec<Field> =
                named.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
            let arrays = named.into_iter().map(|(_, array)| array).collect();
            (RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap(), cells)
        })
    })
}

/// Whether Parquet has this type itself. What it lacks (seconds, dates in milliseconds) is stored as a number, and read as one.
fn is_parquets_own(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::Timestamp(TimeUnit::Second, _) | DataType::Time32(TimeUnit::Second) | DataType::Date64
    )
}

/// The rows of a batch as they come from any source.
async fn framed_directly(batch: RecordBatch, chunk_rows: usize, primary_key: &[&str]) -> (Vec<Event>, Option<Refusal>) {
    let times = (0..batch.num_rows()).map(|i| Micros(i as i64 / 3 * 1_000)).collect();
    let rows = RowBatch::new(0, 0, 0, 0, times, batch);
    framed(framer(primary_key, primary_key.first().copied()), merged(vec![rows], chunk_rows)).await
}

async fn sent(batch: RecordBatch, chunk_rows: usize, primary_key: &[&str]) -> (Vec<Event>, Option<Refusal>) {
    let rows = batch.num_rows() as u64;
    let view = view_of(vec![parquet(&[batch], 7)], rows).1.inspect().await.unwrap();
    let key: Vec<String> = primary_key.iter().map(ToString::to_string).collect();
    check_schema(&view.schema, &key, key.first().map(String::as_str)).unwrap();
    let (batches, refusal) = read(&view, Scan::new().batch_rows(4)).await;
    assert_eq!(refusal, None);
    framed(framer(primary_key, primary_key.first().copied()), merged(batches, chunk_rows)).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_body_says_what_its_row_says((batch, cells) in tables(), chunk_rows in 1..40_usize) {
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keys = ["k \"1\"", "k2", "k3"];
        let (events, refusal) = runtime.block_on(framed_directly(batch.clone(), chunk_rows, &keys));
        prop_assert_eq!(refusal, None);
        if batch.schema().fields().iter().all(|field| is_parquets_own(field.data_type())) {
            let (stored, refusal) = runtime.block_on(sent(batch, chunk_rows, &keys));
            prop_assert_eq!(refusal, None);
            let bodies = |events: &[Event]| events.iter().map(|event| event.body.clone()).collect::<Vec<_>>();
            prop_assert_eq!(bodies(&stored), bodies(&events), "through Parquet");
        }
        prop_assert_eq!(events.len(), cells[0].len());
        for (row, event) in events.iter().enumerate() {
            prop_assert_eq!(event.position.row, row as u64);
            let body: Value = serde_json::from_slice(&event.body).unwrap();
            let payload = body["payload"].as_object().unwrap();
            prop_assert!(payload.keys().eq(&names), "the columns in the file's order");
            let raw: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(
                serde_json::from_slice::<std::collections::HashMap<String, &RawValue>>(&event.body).unwrap()["payload"].get(),
            ).unwrap();
            for (name, cells) in names.iter().zip(&cells) {
                match &cells[row] {
                    Expected::Value(value) => assert_same(&payload[name], value),
                    Expected::Text(text) => prop_assert_eq!(raw[name].get(), text),
                }
            }
            let flag = if payload["k3"] == Value::Bool(true) { "True" } else { "False" };
            let world = pins().world;
            let preimage = format!(
                "an_output|{}|{}|{flag}|{}|{}|{}|{}",
                payload["k \"1\""].as_u64().unwrap(), payload["k2"].as_str().unwrap(),
                world.manifest_fingerprint, world.parameter_hash, world.seed, world.scenario_id,
            );
            prop_assert_eq!(event.event_id, <[u8; 32]>::from(Sha256::digest(preimage)));
        }
    }
}

#[tokio::test]
async fn an_envelope_has_its_keys_in_order_and_nothing_else() {
    let batch = table(vec![("id", Arc::new(Int64Array::from(vec![7])))]);
    let (events, _) = sent(batch, 1, &["id"]).await;
    let body: Value = serde_json::from_slice(&events[0].body).unwrap();
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    let expected = "event_id event_type schema_version ts_utc manifest_fingerprint parameter_hash seed scenario_id \
                    run_id platform_run_id scenario_run_id producer payload trace_id span_id";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!((&body["seed"], &body["schema_version"]), (&json!(42), &json!("v1")));
    assert!(!events[0].body.contains(&b' '), "compact");
}

/// `ts_utc` and these columns.
fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let rows = columns[0].1.len();
    let times: ArrayRef = Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z"; rows]));
    RecordBatch::try_from_iter(columns.into_iter().chain([("ts_utc", times)])).unwrap()
}

#[tokio::test]
async fn a_row_that_cannot_be_framed_stops_behind_those_before_it() {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let floats = |bad: f64| Arc::new(Float64Array::from(vec![0.5, 1.5, bad, 2.5])) as ArrayRef;
    let texts =
        |bad: &str| Arc::new(StringArray::from(vec!["{\"id\":1}", "{\"id\":\"x\"}", bad, "{\"id\":2}"])) as ArrayRef;
    let lists = |bad: f64| {
        let rows = [vec![1.0], vec![], vec![2.0, bad], vec![3.0]];
        let rows = rows.into_iter().map(|row| Some(row.into_iter().map(Some)));
        Arc::new(ListArray::from_iter_primitive::<types::Float64Type, _, _>(rows)) as ArrayRef
    };
    let cases: Vec<(RecordBatch, Reason, &str)> = vec![
        (table(vec![("id", id.clone()), ("x", floats(f64::NAN))]), Reason::ValueNotEncodable, "x"),
        (table(vec![("id", id.clone()), ("x", floats(f64::INFINITY))]), Reason::ValueNotEncodable, "x"),
        (table(vec![("id", id.clone()), ("x", floats(f64::NEG_INFINITY))]), Reason::ValueNotEncodable, "x"),
        (
            table(vec![("id", id.clone()), ("x", Arc::new(Float32Array::from(vec![1.0, 2.0, f32::NAN, 3.0])))]),
            Reason::ValueNotEncodable,
            "x",
        ),
        (table(vec![("id", id.clone()), ("x", lists(f64::NAN))]), Reason::ValueNotEncodable, "x[1]"),
        (
            table(vec![("id", id.clone()), ("x", Arc::new(TimestampMillisecondArray::from(vec![0, 1, i64::MAX, 2])))]),
            Reason::ValueNotEncodable,
            "x",
        ),
        (
            table(vec![("id", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)])))]),
            Reason::PrimaryKeyMissing,
            "id",
        ),
        (table(vec![("payload_json", texts("{\"id\":NaN}"))]), Reason::ValueNotEncodable, "payload_json"),
        (table(vec![("payload_json", texts("[1]"))]), Reason::ValueNotEncodable, "payload_json"),
        (table(vec![("payload_json", texts("{\"id\":null}"))]), Reason::PrimaryKeyMissing, "id"),
        (table(vec![("payload_json", texts("{\"id\":1.5}"))]), Reason::PrimaryKeyMissing, "id"),
        (table(vec![("payload_json", texts("{}"))]), Reason::PrimaryKeyMissing, "id"),
        (
            table(vec![(
                "payload_json",
                Arc::new(StringArray::from(vec![Some("{\"id\":1}"), Some("{\"id\":2}"), None, None])),
            )]),
            Reason::ValueNotEncodable,
            "payload_json",
        ),
    ];
    for (batch, reason, field) in cases {
        for chunk_rows in [1, 2, 3, 256] {
            let (events, refusal) = sent(batch.clone(), chunk_rows, &["id"]).await;
            let refusal = refusal.unwrap();
            assert_eq!((refusal.reason, refusal.place.field.as_deref()), (reason, Some(field)), "{refusal}");
            assert_eq!(refusal.place.file.as_deref(), Some("memory/part-000000.parquet"));
            assert_eq!(refusal.place.row, Some(2));
            assert_eq!(events.len(), 2, "{refusal}");
            for event in events {
                assert!(serde_json::from_slice::<Value>(&event.body).is_ok());
            }
        }
    }
}

#[tokio::test]
async fn a_json_payload_is_sent_as_it_stands() {
    let payload = "{ \"id\": 18446744073709551615, \"x\": 1.10, \"big\": 123456789012345678901234567890 }";
    for column in [
        Arc::new(StringArray::from(vec![payload])) as ArrayRef,
        Arc::new(BinaryArray::from(vec![payload.as_bytes()])),
        Arc::new([payload].into_iter().collect::<DictionaryArray<Int16Type>>()),
    ] {
        let (events, refusal) = sent(table(vec![("payload_json", column)]), 1, &["id"]).await;
        assert_eq!(refusal, None);
        assert!(String::from_utf8_lossy(&events[0].body).contains(&format!("\"payload\":{payload},\"trace_id\"")));
        let row = table(vec![("id", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
        let (plain, _) = sent(row, 1, &["id"]).await;
        assert_eq!(events[0].event_id, plain[0].event_id, "the id does not depend on how the row is held");
        assert_eq!(events[0].order_key, plain[0].order_key);
    }
}

#[tokio::test]
async fn a_type_without_a_json_form_is_refused_by_name_at_planning() {
    let laps: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
    let batch = table(vec![("id", Arc::new(Int64Array::from(vec![1]))), ("lap", laps)]);
    let view = view_of(vec![parquet(&[batch], 7)], 1).1.inspect().await.unwrap();
    let refusal = check_schema(&view.schema, &["id".to_owned()], None).unwrap_err();
    assert_eq!((refusal.reason, refusal.place.field.as_deref()), (Reason::ColumnNotEncodable, Some("lap")));
}

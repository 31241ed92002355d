//! What a column's type is, whatever a writer left beside it; and values at the ends of their types.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_array::{TimestampNanosecondArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, encode_arrow_schema};
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};
use wsp_world::model::{Micros, Reason};
use wsp_world::oracle::Scan;

use super::{START, int96, place};
use crate::kit::views::{framed, framer, merged, read, view_of};

const PART: &str = "memory/part-000000.parquet";

/// The payloads of a part, and the refusal that ended it.
async fn payloads(part: Bytes, rows: u64) -> (Vec<Value>, Option<wsp_world::model::Refusal>) {
    let view = view_of(vec![part], rows).1.inspect().await.unwrap();
    let (batches, refusal) = read(&view, Scan::new()).await;
    let (events, unframed) = framed(framer(&["id"], None), merged(batches, 64)).await;
    let payload = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["payload"].clone();
    (events.iter().map(|event| payload(&event.body)).collect(), refusal.or(unframed))
}

fn with_schema(rows: &RecordBatch, hint: Option<String>) -> Bytes {
    let metadata = hint.map(|hint| vec![KeyValue::new("ARROW:schema".to_owned(), hint)]);
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap().into()
}

#[tokio::test]
async fn an_arrow_schema_in_the_footer_changes_nothing() {
    let nanos = TimestampNanosecondArray::from(vec![START * 1_000, 157_766_400_000_000_999]);
    let rows = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(nanos.clone().with_timezone("UTC")) as ArrayRef),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![157_766_400_000_000_999; 2]))),
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("s", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let rows = rows.unwrap().slice(0, 1);
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let of = |t: DataType, u: DataType, s: (&str, DataType)| {
        let fields = vec![
            field("ts_utc", DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into()))),
            field("t", t),
            field("id", DataType::Timestamp(TimeUnit::Second, None)),
            field("u", u),
            field(s.0, s.1),
        ];
        Some(encode_arrow_schema(&Schema::new(fields)))
    };
    let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let hints = [
        None,
        of(micros.clone(), DataType::UInt64, ("s", DataType::LargeUtf8)),
        of(DataType::Timestamp(TimeUnit::Second, None), DataType::Date64, ("s", words)),
        of(micros, DataType::UInt64, ("renamed", DataType::Utf8)),
        Some(encode_arrow_schema(&Schema::new(vec![field("another", DataType::Int8)]))),
        Some("no base64".to_owned()),
    ];
    let expected = json!({
        "ts_utc": Micros(START).to_string(), "t": "1975-01-01T00:00:00.000000Z", "id": 1, "u": u64::MAX, "s": "a",
    });
    for hint in hints {
        let (payloads, refusal) = payloads(with_schema(&rows, hint.clone()), 1).await;
        assert_eq!(refusal, None, "{hint:?}");
        assert_eq!(payloads, std::slice::from_ref(&expected), "{hint:?}");
    }
}

/// A file of one row group, each leaf column with its levels, written below Arrow.
struct Raw {
    schema: &'static str,
    leaves: Vec<Leaf>,
    properties: WriterProperties,
}

enum Leaf {
    Texts(Vec<&'static [u8]>, &'static [i16], &'static [i16]),
    Times(Vec<Int96>, &'static [i16], &'static [i16]),
}

impl Raw {
    fn write(self) -> Bytes {
        let schema = Arc::new(parse_message_type(self.schema).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(self.properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for leaf in self.leaves {
            let mut column = group.next_column().unwrap().unwrap();
            match leaf {
                Leaf::Texts(texts, definitions, repetitions) => {
                    let texts: Vec<ByteArray> = texts.into_iter().map(ByteArray::from).collect();
                    let typed = column.typed::<ByteArrayType>();
                    typed.write_batch(&texts, Some(definitions), Some(repetitions)).unwrap();
                }
                Leaf::Times(times, definitions, repetitions) => {
                    let typed = column.typed::<Int96Type>();
                    typed.write_batch(&times, Some(definitions), Some(repetitions)).unwrap();
                }
            }
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }
}

const TS: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn enum_and_json_are_text_at_any_depth() {
    let raw = Raw {
        schema: "message m {
          required binary ts_utc (UTF8); required binary id (ENUM); optional binary none (ENUM);
          optional group l (LIST) { repeated group list { optional binary element (ENUM); } }
          optional group st { optional binary j (JSON); }
          optional group m (MAP) { repeated group key_value { required binary key (ENUM); optional binary value (JSON); } }
          repeated binary many (ENUM); optional binary plain; optional binary bson (BSON);
        }",
        leaves: vec![
            Leaf::Texts(vec![TS.as_bytes()], &[0], &[0]),
            Leaf::Texts(vec![b"RED"], &[0], &[0]),
            Leaf::Texts(vec![], &[0], &[0]),
            Leaf::Texts(vec![b"RED", b"BLUE"], &[3, 2, 3], &[0, 1, 1]),
            Leaf::Texts(vec![b"{\"x\":1}"], &[2], &[0]),
            Leaf::Texts(vec![b"RED"], &[2], &[0]),
            Leaf::Texts(vec![b"[]"], &[3], &[0]),
            Leaf::Texts(vec![b"A", b"B"], &[1, 1], &[0, 1]),
            Leaf::Texts(vec![b"\xff"], &[1], &[0]),
            Leaf::Texts(vec![b"a"], &[1], &[0]),
        ],
        properties: WriterProperties::default(),
    };
    let (payloads, refusal) = payloads(raw.write(), 1).await;
    assert_eq!(refusal, None);
    let expected = json!({
        "ts_utc": TS, "id": "RED", "none": null, "l": ["RED", null, "BLUE"], "st": {"j": "{\"x\":1}"},
        "m": [["RED", "[]"]], "many": ["A", "B"], "plain": "/w==", "bson": "YQ==",
    });
    assert_eq!(payloads, [expected]);
}

/// Two texts of one byte each that only together are a character, beside good ones.
#[tokio::test]
async fn a_character_cut_in_two_is_no_text() {
    for (annotation, encoding) in [
        ("UTF8", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("UTF8", Encoding::DELTA_BYTE_ARRAY),
        ("UTF8", Encoding::PLAIN),
        ("ENUM", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("JSON", Encoding::PLAIN),
    ] {
        for (open, path, close) in [("", "text", ""), ("required group s {", "s.text", "}")] {
            let texts = format!("required binary good (UTF8); required binary text ({annotation});");
            let schema = format!("message m {{ required binary ts_utc (UTF8); {open} {texts} {close} }}");
            let raw = Raw {
                schema: schema.leak(),
                leaves: vec![
                    Leaf::Texts(vec![TS.as_bytes(); 2], &[0, 0], &[0, 0]),
                    Leaf::Texts(vec![b"a", b"b"], &[0, 0], &[0, 0]),
                    Leaf::Texts(vec![b"\xc3", b"\xa9"], &[0, 0], &[0, 0]),
                ],
                properties: WriterProperties::builder()
                    .set_dictionary_enabled(false)
                    .set_column_encoding(ColumnPath::new(path.split('.').map(str::to_owned).collect()), encoding)
                    .build(),
            };
            let view = view_of(vec![raw.write()], 2).1.inspect().await.unwrap();
            for memory in [0, 1 << 20] {
                let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
                assert!(batches.is_empty(), "{annotation}, {encoding}, {path}");
                assert_eq!(place(&refusal.unwrap()), (Reason::StreamViewUnreadable, PART, None));
            }
        }
    }
}

#[tokio::test]
async fn int96_holds_every_year_that_has_a_text_at_any_depth() {
    let last = 253_402_300_799_999_999;
    let first = -62_167_219_200_000_000;
    let raw = |beyond: Int96| {
        Raw {
        schema: "message m {
          required binary ts_utc (UTF8); required binary id (UTF8); optional int96 t;
          optional group l (LIST) { repeated group list { optional int96 element; } }
          optional group m (MAP) { repeated group key_value { required int96 key; optional group st { optional int96 x; } } }
        }",
        leaves: vec![
            Leaf::Texts(vec![TS.as_bytes(); 3], &[0; 3], &[0; 3]),
            Leaf::Texts(vec![b"a", b"b", b"c"], &[0; 3], &[0; 3]),
            Leaf::Times(vec![int96(last), int96(first)], &[1, 0, 1], &[0; 3]),
            Leaf::Times(vec![int96(last), int96(first), beyond], &[3, 2, 3, 0, 3], &[0, 1, 1, 0, 0]),
            Leaf::Times(vec![int96(first)], &[2, 1, 0], &[0; 3]),
            Leaf::Times(vec![int96(last)], &[4, 1, 0], &[0; 3]),
        ],
        properties: WriterProperties::default(),
    }
    };
    let (last_text, first_text) = ("9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z");
    let (payloads, refusal) = payloads(raw(int96(last + 1)).write(), 3).await;
    assert_eq!(payloads.len(), 2);
    let expected = json!({
        "ts_utc": TS, "id": "a", "t": last_text, "l": [last_text, null, first_text],
        "m": [[first_text, {"x": last_text}]],
    });
    assert_eq!(payloads[0], expected);
    assert_eq!(payloads[1]["t"], Value::Null);
    let refusal = refusal.unwrap();
    assert_eq!(refusal.reason, Reason::ValueNotEncodable);
    assert_eq!((refusal.place.row, refusal.place.field.as_deref()), (Some(2), Some("l[0]")), "{refusal}");
}

/// 213,503,982 days behind the epoch, 64 bits of microseconds have gone round to January 1970.
#[tokio::test]
async fn an_int96_beyond_microseconds_is_refused_wherever_it_stands() {
    let mut wide = Int96::new();
    wide.set_data(0, 0, 2_440_588 + 213_503_982);
    for (dictionary, version) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
        for column in ["ts_utc", "t", "l.list.element"] {
            let time = |of: &str, usual: i64| if of == column { wide } else { int96(usual) };
            let raw = Raw {
                schema: "message m {
                  required int96 ts_utc; optional int96 t;
                  optional group l (LIST) { repeated group list { optional int96 element; } }
                }",
                leaves: vec![
                    Leaf::Times(vec![int96(START), time("ts_utc", START + 1)], &[0; 2], &[0; 2]),
                    Leaf::Times(vec![time("t", 1)], &[0, 1], &[0; 2]),
                    Leaf::Times(vec![int96(2), time("l.list.element", 3)], &[3, 2, 3, 0], &[0, 1, 1, 0]),
                ],
                properties: WriterProperties::builder()
                    .set_dictionary_enabled(dictionary)
                    .set_writer_version(if version == 1 {
                        WriterVersion::PARQUET_1_0
                    } else {
                        WriterVersion::PARQUET_2_0
                    })
                    .build(),
            };
            let view = view_of(vec![raw.write()], 2).1.inspect().await.unwrap();
            for memory in [0, 1 << 20] {
                let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
                let refusal = refusal.unwrap();
                assert!(batches.is_empty());
                assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None));
                assert_eq!(refusal.place.field.as_deref(), Some(column), "{refusal}");
                assert!(refusal.detail.contains("INT96"), "{refusal}");
            }
        }
    }
}

#[tokio::test]
async fn a_long_text_in_a_struct_is_held_once_however_often_it_occurs() {
    let rows = 4_096;
    let keys = arrow_array::Int32Array::from(vec![0; rows]);
    let text = "t".repeat(600_000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts).unwrap());
    let st = StructArray::from(vec![(Arc::new(Field::new("s", words.data_type().clone(), true)), words)]);
    let batch = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from(vec![TS; rows])) as ArrayRef),
        ("st", Arc::new(st)),
    ]);
    let view = view_of(vec![with_schema(&batch.unwrap(), None)], rows as u64).1.inspect().await.unwrap();
    let (batches, refusal) = read(&view, Scan::new().memory(64 << 20)).await;
    assert_eq!(refusal, None);
    assert_eq!(batches.iter().map(|batch| batch.times().len()).sum::<usize>(), rows);
    for batch in &batches {
        let held = batch.rows().get_array_memory_size();
        assert!(held < 2 << 20, "{held} bytes");
        let texts = batch.rows().column_by_name("st").unwrap().as_struct().column(0).as_string_view().clone();
        assert_eq!(texts.value(texts.len() - 1).len(), 600_000);
    }
}

#[tokio::test]
async fn a_batch_of_long_texts_has_few_rows() {
    let texts = (0..200).map(|i| format!("{i}").repeat(100_000)[..100_000].to_owned());
    let batch = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from(vec![TS; 200])) as ArrayRef),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ]);
    let batch = batch.unwrap();
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let view = view_of(vec![writer.into_inner().unwrap().into()], 200).1.inspect().await.unwrap();
    for (memory, most) in [(1 << 30, 4 << 20), (24 << 20, 3 << 20), (1 << 20, 1 << 20)] {
        let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
        assert_eq!(refusal, None);
        assert_eq!(batches.iter().map(|batch| batch.times().len()).sum::<usize>(), 200);
        let largest = batches.iter().map(|batch| batch.times().len() * 100_000).max().unwrap();
        assert!(largest <= most && largest > most / 2, "{largest} bytes of text in a batch, {memory} bytes of memory");
    }
}

#[tokio::test]
async fn a_schema_without_a_bottom_is_refused() {
    // 100,000 groups, each in the one before, as a footer may have them.
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc, 0xa1, 0x8d, 0x06];
    for _ in 0..100_000 {
        footer.extend([0x48, 0x01, b'g', 0x15, 0x02, 0x00]);
    }
    footer.extend([0x15, 0x02, 0x25, 0x00, 0x18, 0x01, b'x', 0x00, 0x16, 0x00, 0x19, 0x0c, 0x00]);
    let mut file = b"PAR1".to_vec();
    file.extend(&footer);
    file.extend((footer.len() as u32).to_le_bytes());
    file.extend(b"PAR1");
    let refusal = view_of(vec![file.into()], 0).1.inspect().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::StreamViewUnreadable);
    assert!(refusal.detail.contains("nested too deeply"), "{refusal}");
}

#[tokio::test]
async fn a_column_that_has_no_type_here_is_named() {
    let raw = Raw {
        schema: "message m { required binary ts_utc (UTF8); optional group l (LIST) { optional binary x; } }",
        leaves: vec![Leaf::Texts(vec![TS.as_bytes()], &[0], &[0]), Leaf::Texts(vec![b"a"], &[2], &[0])],
        properties: WriterProperties::default(),
    };
    let refusal = view_of(vec![raw.write()], 1).1.inspect().await.unwrap_err();
    assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None), "{refusal}");
    assert_eq!(refusal.place.field.as_deref(), Some("l"), "{refusal}");
}

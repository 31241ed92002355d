//! Files that lie, break off or were made to hurt: each is refused by file and row, whatever its format, behind the events
//! before it. Nothing panics.

use std::io::Write as _;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use super::{Folder, Intake, at, lines};
use crate::kit::process::Told;

/// What a replay of a file says, and how many events came.
fn replayed(name: &str, bytes: &[u8], args: &[&str]) -> (Told, usize) {
    let folder = Folder::new(&[]);
    std::fs::write(folder.path(name), bytes).unwrap();
    let intake = Intake::willing();
    let url = intake.url();
    let told = folder.replay(&[&[name, "--time", "at", "--to", &url, "--speedup", "0"], args].concat());
    assert!(matches!(told.code, Some(0..=2)) && !told.err.contains("panicked"), "{name}: {:?} {}", told.code, told.err);
    (told, intake.taken().len())
}

fn refused(name: &str, bytes: &[u8], args: &[&str], words: &str, came: usize) {
    let (told, events) = replayed(name, bytes, args);
    assert!(
        told.code == Some(1) && told.err.contains(words) && events == came,
        "{words:?} after {came}: {:?}, {events} came, {}",
        told.code,
        told.err
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Three good lines, and one more.
fn with(line: &[u8]) -> Vec<u8> {
    [lines(0..3).as_bytes(), line, b"\n", lines(5..6).as_bytes()].concat()
}

fn event(rest: &str) -> Vec<u8> {
    with(format!("{{\"at\":\"{}\",{rest}}}", at(4)).as_bytes())
}

#[test]
fn lines_that_are_no_events_are_named() {
    let row = "a.jsonl, row 4";
    for bytes in [
        event("\"n\":NaN"),
        event("\"n\":01"),
        event("\"n\":1,"),
        event("\"n\":\"\u{1}\""),
        event("\"n\":\"\\x\""),
        event("\"n\":1}{\"n\":2"),
        with(b"{\"at\":\"2026-01-01T00:00:04Z\",\"n\":\"\xff\"}"),
        with(b"{\"at\":\"2026-01-01T00:00:04Z\",\"n\":"),
        with(format!("{{\"n\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()),
        with(b"\0\0\0\0"),
        with(b"null"),
        with(b"[]"),
        with(b"{\"at\":1767225604}"),
        with(b"{\"at\":null}"),
        with(b"{\"at\":{\"$date\":\"2026-01-01T00:00:04Z\"}}"),
        with(b"{\"at\":\"2026-02-30T00:00:04Z\"}"),
        with(b"{\"at\":\"9999999-01-01T00:00:04Z\"}"),
        with(format!("{{\"at\":\"{}\",\"n\":\"{}\"}}", at(4), "x".repeat(17 << 20)).as_bytes()),
    ] {
        refused("a.jsonl", &bytes, &[], row, 3);
    }
    let utf_16: Vec<u8> = "\u{feff}{\"at\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused("a.jsonl", &utf_16, &[], "a.jsonl, row 1", 0);
    let twice = with(format!("{{\"at\":\"{}\",\"at\":\"{}\"}}", at(4), at(5)).as_bytes());
    refused("a.jsonl", &twice, &[], row, 3);
    for number in ["1e400", "-1e30", "1.5.2"] {
        let line = format!("{{\"at\":{number}}}\n");
        refused("a.jsonl", line.as_bytes(), &["--time-unit", "ns"], "a.jsonl, row 1", 0);
    }
}

#[test]
fn records_that_are_none_are_named() {
    let good = format!("at,n\n{},1\n", at(0));
    let with = |record: &str| format!("{good}{record}\n").into_bytes();
    for record in [
        format!("{},\"2", at(1)),
        format!("{},2,3", at(1)),
        at(1),
        String::from("soon,2"),
        String::from(",2"),
        format!("{},\"{}\"", at(1), "x".repeat(17 << 20)),
    ] {
        refused("a.csv", &with(&record), &[], "a.csv, row 2", 1);
    }
    let bad_text = [good.as_bytes(), at(1).as_bytes(), b",\xff\n"].concat();
    refused("a.csv", &bad_text, &[], "a.csv, row 2", 1);
    let twice = format!("at,n,n\n{},1,2\n", at(0));
    refused("a.csv", twice.as_bytes(), &[], "a.csv: ", 0);
    refused("a.csv", b"n,m\n1,2\n", &[], "a.csv: ", 0);
    refused("a.csv", b"", &[], "a.csv: ", 0);
}

#[test]
fn packed_files_that_break_off_or_swell_are_named() {
    let whole = gzip(lines(0..10_000).as_bytes());
    let (told, came) = replayed("a.jsonl.gz", &whole[..whole.len() / 2], &["--key", "n"]);
    // What was whole before the break may have been sent.
    assert!(told.code == Some(1) && told.err.contains("a.jsonl.gz, row ") && came < 10_000, "{came} {}", told.err);
    let bomb = gzip(&vec![b' '; 100 << 20]);
    refused("a.jsonl.gz", &bomb, &[], "a.jsonl.gz, row 1: a line of more than 16 MiB", 0);
    let mut damaged = gzip(lines(0..3).as_bytes());
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    let (told, _) = replayed("a.jsonl.gz", &damaged, &[]);
    assert!(told.code == Some(1) && told.err.contains("a.jsonl.gz"), "{}", told.err);
}

/// A Parquet file with times and `n`.
fn parquet(times: ArrayRef, n: ArrayRef) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([("at", times), ("n", n)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn micros(all: &[Option<i64>]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(all.to_vec()))
}

fn numbers(count: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..count))
}

#[test]
fn rows_of_columns_that_can_not_be_sent_are_named() {
    let float = |last: f64| Arc::new(Float64Array::from(vec![0.5, 1e300, last])) as ArrayRef;
    let sound = || micros(&[Some(1), Some(2), Some(3)]);
    for (file, words, came) in [
        (parquet(sound(), float(f64::NAN)), "a.parquet, row 3, column n", 2),
        (parquet(sound(), float(f64::NEG_INFINITY)), "a.parquet, row 3, column n", 2),
        (parquet(micros(&[Some(1), Some(3), Some(2)]), numbers(3)), "a.parquet, row 3: its time", 2),
        (parquet(micros(&[Some(1), None, Some(2)]), numbers(3)), "a.parquet, row 2", 1),
        (parquet(micros(&[Some(1), Some(i64::MAX)]), numbers(2)), "a.parquet, row 2", 1),
        (parquet(micros(&[Some(i64::MIN), Some(0)]), numbers(2)), "a.parquet, row 1", 0),
        (parquet(Arc::new(StringArray::from(vec!["soon"])), numbers(1)), "a.parquet, row 1", 0),
        (parquet(numbers(2), numbers(2)), "--time-unit", 0),
    ] {
        refused("a.parquet", &file, &[], words, came);
    }
    let whole = parquet(sound(), numbers(3));
    refused("a.parquet", &whole[..whole.len() - 9], &[], "a.parquet: it can't be read as Parquet", 0);
    let other = [("a.parquet", "--key", "m"), ("a.parquet", "--id", "m"), ("a.parquet", "--body-column", "m")];
    for (name, flag, column) in other {
        refused(name, &whole, &[flag, column], "a.parquet: ", 0);
    }
}

#[test]
fn a_damaged_file_of_columns_never_panics() {
    let feather = std::fs::read(crate::kit::repository("tests/written/by_default.pyarrow.feather")).unwrap();
    let parquet = parquet(micros(&[Some(1), Some(2), Some(3)]), numbers(3));
    for (name, whole, time) in [("a.feather", &feather, "t"), ("a.parquet", &parquet, "at")] {
        for at in (8..whole.len()).step_by(whole.len() / 12) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let (told, _) = replayed(name, &bytes, &["--time", time]);
            assert!(told.code == Some(0) || told.err.contains(name), "{name}, byte {at}: {}", told.err);
        }
        for length in (0..whole.len()).step_by(whole.len() / 6) {
            let (told, _) = replayed(name, &whole[..length], &["--time", time]);
            assert!(told.code == Some(1) && told.err.contains(name), "{name}, {length} bytes: {}", told.err);
        }
    }
}

#[test]
fn what_is_no_regular_file_is_refused_and_waited_for_by_nobody() {
    let folder = Folder::new(&[]);
    let made = std::process::Command::new("mkfifo").arg(folder.path("a.jsonl")).status().unwrap();
    assert!(made.success());
    let intake = Intake::willing();
    let url = intake.url();
    let mut seen = Vec::new();
    for input in ["a.jsonl", "/dev/null"] {
        let told = folder.replay(&[input, "--format", "jsonl", "--time", "at", "--to", &url, "--speedup", "0"]);
        seen.push((told.code, told.err.contains("no regular file")));
    }
    assert_eq!(seen, [(Some(2), true), (Some(2), true)]);
    // A folder that holds one is read without it being opened, too.
    let told = folder.replay(&[".", "--time", "at", "--to", &url, "--speedup", "0"]);
    assert!(told.code == Some(2) && told.err.contains("a.jsonl"), "{:?} {}", told.code, told.err);
}

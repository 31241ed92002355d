//! Parquet as other programs write it: each body is the row that was meant.

use serde_json::Value;

use super::{Folder, Intake};
use crate::kit::repository;

#[path = "../../data/reading/rows.rs"]
#[allow(dead_code, unused_imports, reason = "its other half is for the Oracle's reader")]
mod rows;

#[test]
fn files_of_four_writers_come_to_the_bodies_that_were_meant() {
    let files = [
        "pyarrow_v1",
        "pyarrow_v2",
        "pyarrow_int96",
        "polars",
        "duckdb_v1",
        "duckdb_v2",
        "fastparquet",
        "fastparquet_int96",
    ];
    for name in files {
        let folder = Folder::new(&[]);
        std::fs::write(folder.path("a.parquet"), rows::written(name)).unwrap();
        let intake = Intake::willing();
        let told = folder.replay(&["a.parquet", "--time", "ts_utc", "--to", &intake.url(), "--speedup", "0"]);
        assert_eq!(told.code, Some(0), "{name}: {}", told.err);
        let taken = intake.taken();
        assert_eq!(i64::try_from(taken.len()), Ok(rows::ROWS), "{name}");
        for (row, taken) in (0..).zip(&taken) {
            let Value::Object(body) = taken.json() else { panic!("{name}: {}", taken.body) };
            assert!(body.len() > 8, "{name}: {body:?}");
            for (column, value) in &body {
                assert_eq!(*value, rows::expected(column, row), "{name}, row {row}, column {column}");
            }
        }
    }
}

/// A file whose footer has 100,000 groups, each in the one before.
fn bottomless() -> Vec<u8> {
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc, 0xa1, 0x8d, 0x06];
    for _ in 0..100_000 {
        footer.extend([0x48, 0x01, b'g', 0x15, 0x02, 0x00]);
    }
    footer.extend([0x15, 0x02, 0x25, 0x00, 0x18, 0x01, b'x', 0x00, 0x16, 0x00, 0x19, 0x0c, 0x00]);
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1".to_vec(), footer, length.to_vec(), b"PAR1".to_vec()].concat()
}

#[test]
fn encrypted_and_damaged_files_are_refused_by_name() {
    let files = [
        (
            rows::written("encrypted_column").to_vec(),
            "a.parquet: it can't be read as Parquet: column secret is encrypted",
        ),
        (rows::written("encrypted_footer").to_vec(), "its footer is encrypted"),
        (bottomless(), "its schema is nested too deeply"),
        (rows::written("polars")[..3000].to_vec(), "it does not end like a Parquet file"),
    ];
    for (file, words) in files {
        let folder = Folder::new(&[]);
        std::fs::write(folder.path("a.parquet"), file).unwrap();
        let intake = Intake::willing();
        let told = folder.replay(&["a.parquet", "--time", "ts_utc", "--to", &intake.url(), "--speedup", "0"]);
        assert!(told.code == Some(1) && told.err.contains(words), "{words}: {}", told.err);
        assert!(intake.taken().is_empty());
    }
    // One bit of a file: a checksum tells, or a header that can't be read, or it changed nothing that is sent.
    let whole = rows::written("pyarrow_checked").to_vec();
    let mut refused = 0;
    for at in (60..whole.len()).step_by(whole.len() / 9) {
        let folder = Folder::new(&[]);
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(folder.path("a.parquet"), bytes).unwrap();
        let intake = Intake::willing();
        let told = folder.replay(&["a.parquet", "--time", "ts_utc", "--to", &intake.url(), "--speedup", "0"]);
        if told.code != Some(0) {
            assert!(told.code == Some(1) && told.err.contains("a.parquet"), "byte {at}: {}", told.err);
            refused += 1;
        }
        for (row, taken) in (0..).zip(intake.taken()) {
            let Value::Object(body) = taken.json() else { panic!("{}", taken.body) };
            for (column, value) in &body {
                assert_eq!(*value, rows::expected(column, row), "byte {at}, row {row}, column {column}");
            }
        }
    }
    assert!(refused >= 4, "{refused} of 9 were refused");
}

/// A file of `tests/written/by_default.py`.
fn by_default(name: &str) -> Vec<u8> {
    std::fs::read(repository(&format!("tests/written/by_default.{name}"))).unwrap()
}

/// The bodies that its rows have to become.
fn meant() -> Vec<String> {
    String::from_utf8(by_default("jsonl")).unwrap().lines().map(str::to_owned).collect()
}

/// The bodies of a file that is replayed with `args`.
fn bodies(name: &str, args: &[&str]) -> Vec<String> {
    let folder = Folder::new(&[]);
    std::fs::write(folder.path(name), by_default(name)).unwrap();
    let intake = Intake::willing();
    let url = intake.url();
    let told = folder.replay(&[&[name, "--time", "t", "--to", &url, "--speedup", "0"], args].concat());
    assert_eq!(told.code, Some(0), "{name}: {}", told.err);
    intake.bodies()
}

#[test]
fn tables_as_their_writers_write_them_by_default_come_to_the_bodies_that_were_meant() {
    let meant = meant();
    assert_eq!(meant.len(), 40);
    for name in ["pyarrow.parquet", "pyarrow.feather", "polars.parquet", "polars.arrow", "duckdb.parquet"] {
        let came = bodies(name, &[]);
        assert_eq!(came.len(), meant.len(), "{name}");
        for (row, (came, meant)) in came.iter().zip(&meant).enumerate() {
            assert_eq!(came, meant, "{name}, row {row}");
        }
    }
}

/// What `--time-format` has to say of `DuckDB`'s times in texts.
const DUCKDB: [&str; 2] = ["--time-format", "%Y-%m-%d %H:%M:%S%.f%#z"];

#[test]
fn lines_of_other_writers_are_sent_as_they_stand() {
    for (name, args) in [("polars.jsonl", &[][..]), ("duckdb.json", &DUCKDB)] {
        let lines = String::from_utf8(by_default(name)).unwrap();
        assert!(lines.contains(":9223372036854775806,"), "{name} has 64-bit integers");
        assert_eq!(bodies(name, args), lines.lines().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn records_with_quotes_line_breaks_and_nulls_come_to_the_bodies_that_were_meant() {
    let types = ["--csv-types", "n=number,amount=number,share=number,paid=bool"];
    for (name, form) in [("polars.csv", ["--time-format", "%Y-%m-%dT%H:%M:%S%.f%z"]), ("duckdb.csv", DUCKDB)] {
        let came = bodies(name, &[&types[..], &form].concat());
        let meant = meant();
        assert_eq!(came.len(), meant.len(), "{name}");
        for (row, (came, meant)) in came.iter().zip(&meant).enumerate() {
            // The time stands as its writer wrote it, and nested columns are not in CSV.
            let (_, columns) = came.split_once(",\"n\":").unwrap();
            let (meant, _) = meant.split_once(",\"shop\":").unwrap();
            assert_eq!(columns.strip_suffix('}').unwrap(), meant.split_once(",\"n\":").unwrap().1, "{name}, row {row}");
        }
    }
}

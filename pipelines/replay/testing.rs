//! What the tests of this folder have in common.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use wsp::time::Micros;

use super::event::{Event, Position};
use super::files::{CsvForm, Place, Reading};
use super::input::{At, Format, Input, Source};
use super::time::TimeForm;
use super::wanted::Wanted;

/// These columns are wanted, for nothing yet.
pub(super) fn wanted(names: &[&str]) -> Wanted {
    Wanted { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Wanted::default() }
}

/// Files are read with their times in `t`.
pub(super) fn reading(names: &[&str]) -> Reading {
    Reading { time: vec!["t".to_owned()], form: TimeForm::default(), wanted: wanted(names), csv: CsvForm::default() }
}

/// The place of a file `f.jsonl`.
pub(super) fn place() -> Place {
    Place { input: 0, file: 0, shown: "f.jsonl".to_owned() }
}

/// One input of one file.
pub(super) fn inputs() -> Arc<Vec<Arc<Input>>> {
    let name = || "f.jsonl".to_owned();
    let file =
        Source { at: At::File(PathBuf::from("f.jsonl")), shown: name(), within: name(), format: Format::JsonLines };
    Arc::new(vec![Arc::new(Input { name: "in".to_owned(), files: vec![file], rounds: 1, period: 0 })])
}

/// The event of a row, with id 7.
pub(super) fn event(row: u64, body: &'static str) -> Event {
    Event {
        position: Position { input: 0, file: 0, row, place: (0, row), seq: row, part: 0, is_last: true },
        ts: Micros(0),
        line: 0,
        id: [7; 32],
        head: Bytes::from_static(b"idempotency-key: 7\r\n"),
        line_bytes: 0,
        body: Bytes::from_static(body.as_bytes()),
        packing: None,
        due: None,
    }
}

//! What is kept beside the cursors: the event id of each cursor's row, the digest of the events up to it, and rows that were
//! answered beyond the cursors, which the next start need not send again.
//!
//! ```text
//! cursor ─┐   ┌─ unanswered
//!  x x x x · x x · · x          beyond: rows 5–6 and 9, of this file
//! ```
//!
//! All stores keep one JSON text a scope. The legacy producer neither knows nor needs it: without it some events are sent
//! once more.

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::model::{Digested, Hex64, OutputId};

/// The form that is written and read.
const VERSION: u32 = 1;

/// The rows of one output that were answered beyond its cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// The output.
    pub output_id: OutputId,
    /// The cursor that they stand beside; none where the output's first row is unanswered. A cursor found before it was
    /// taken back by somebody, and then these rows mean nothing.
    pub cursor: Option<Place>,
    /// Its files that have such rows, in the view's order.
    pub files: Vec<AnsweredRows>,
}

/// A row of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Full path or URI of the file, spelt as the run's view spells it.
    pub file: String,
    /// 0-based row in it.
    pub row: u64,
}

/// Answered rows of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRows {
    /// Full path or URI of the file, spelt as the run's view spells it.
    pub file: String,
    /// First and last row of each run, 0-based, ascending. Where the scope is a lane's, rows of other lanes between them
    /// are not meant.
    pub rows: Vec<(u64, u64)>,
}

/// What is kept of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Where its outputs stand, at most one an output.
    pub cursors: Vec<Cursor>,
    /// What was answered beyond, for outputs with such rows.
    pub beyond: Vec<Beyond>,
}

impl Kept {
    /// These cursors, with nothing beyond.
    #[must_use]
    pub fn at(cursors: impl Into<Vec<Cursor>>) -> Self {
        Self { cursors: cursors.into(), beyond: Vec::new() }
    }

    /// Whether nothing is kept: a run starts with its first event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.beyond.is_empty()
    }

    /// Whether anything has to be kept beside the cursors.
    pub(super) fn has_beside(&self) -> bool {
        !self.beyond.is_empty() || self.cursors.iter().any(|cursor| cursor.last_event_id.is_some())
    }
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    scope_key: &'a Hex64,
    outputs: &'a [Beyond],
    rows: Vec<CursorRow>,
}

/// The event id of the row that an output's cursor stands at, and the digest of the events up to it. They mean nothing to a
/// cursor that stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CursorRow {
    output_id: OutputId,
    #[serde(flatten)]
    place: Place,
    event_id: Hex64,
    /// An earlier version of this program wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digested: Option<Digested>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Keys that a later producer may add are left alone; the ones we know have to be there.
#[derive(Deserialize)]
struct Read {
    scope_key: Hex64,
    outputs: Vec<Beyond>,
    /// An earlier version of this program wrote none.
    #[serde(default)]
    rows: Vec<CursorRow>,
}

/// What such a text says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) beyond: Vec<Beyond>,
    rows: Vec<CursorRow>,
}

impl Beside {
    /// These cursors and what the text says beside them: event ids and digests for those that stand where they stood.
    pub(super) fn kept(self, mut cursors: Vec<Cursor>) -> Kept {
        for cursor in &mut cursors {
            let is_its = |row: &&CursorRow| row.output_id == cursor.output_id && row.place == Place::of(cursor);
            let row = self.rows.iter().find(is_its);
            cursor.last_event_id = row.map(|row| row.event_id.clone());
            cursor.digested = row.and_then(|row| row.digested);
        }
        Kept { cursors, beyond: self.beyond }
    }
}

/// Why a text is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not what we write.
    Damaged(String),
    /// It is another scope's.
    Foreign(Hex64),
}

/// The version that a kept JSON text has to be of.
pub(super) fn check_version(text: &[u8], known: u32) -> Result<(), Unfit> {
    let Version { version } = serde_json::from_slice(text).map_err(|error| Unfit::Damaged(error.to_string()))?;
    if version == known {
        return Ok(());
    }
    Err(Unfit::Damaged(format!("version {version} is not known here, {known} is")))
}

impl Beyond {
    /// The JSON text that keeps what is beside the `cursors`: all of the scope's.
    pub(super) fn write<'a>(
        scope: &Hex64,
        outputs: &[Beyond],
        cursors: impl IntoIterator<Item = &'a Cursor>,
    ) -> String {
        let row = |cursor: &Cursor| {
            let event_id = cursor.last_event_id.clone()?;
            let (output_id, place) = (cursor.output_id.clone(), Place::of(cursor));
            Some(CursorRow { output_id, place, event_id, digested: cursor.digested })
        };
        let rows = cursors.into_iter().filter_map(row).collect();
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&Written { version: VERSION, scope_key: scope, outputs, rows }).unwrap_or_default()
    }

    /// Reads such a text.
    pub(super) fn read(scope: &Hex64, text: &[u8]) -> Result<Beside, Unfit> {
        check_version(text, VERSION)?;
        let Read { scope_key, outputs: beyond, rows } =
            serde_json::from_slice(text).map_err(|error| Unfit::Damaged(error.to_string()))?;
        if scope_key != *scope {
            return Err(Unfit::Foreign(scope_key));
        }
        Self::check(&beyond).map_err(Unfit::Damaged)?;
        Ok(Beside { beyond, rows })
    }

    /// Says what is wrong with what was read.
    pub(super) fn check(outputs: &[Beyond]) -> Result<(), String> {
        for (i, output) in outputs.iter().enumerate() {
            let name = &output.output_id;
            if outputs[..i].iter().any(|before| before.output_id == *name) {
                return Err(format!("{name} is in it twice"));
            }
            if let Some((first, last)) =
                output.files.iter().flat_map(|file| &file.rows).find(|(first, last)| first > last)
            {
                return Err(format!("rows {first} to {last} of {name}"));
            }
        }
        Ok(())
    }

    /// How many rows lie in its runs.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let rows = self.files.iter().flat_map(|file| &file.rows);
        rows.fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Hex64 {
        Hex64::sha256("scope")
    }

    fn outputs() -> Vec<Beyond> {
        let place = |file: &str, row| Place { file: file.to_owned(), row };
        let answered = |file: &str, rows: &[(u64, u64)]| AnsweredRows { file: file.to_owned(), rows: rows.to_vec() };
        vec![
            Beyond {
                output_id: "traffic".parse().unwrap(),
                cursor: Some(place("v/é.parquet", 4)),
                files: vec![answered("v/é.parquet", &[(6, 9), (12, 12)]), answered("v/b.parquet", &[(0, u64::MAX)])],
            },
            Beyond { output_id: "context".parse().unwrap(), cursor: None, files: vec![answered("c", &[(1, 1)])] },
        ]
    }

    fn cursor(name: &str, row: u64, last_event_id: Option<Hex64>) -> Cursor {
        let (output_id, last_file) = (name.parse().unwrap(), "v/é.parquet".to_owned());
        let digested = last_event_id.clone().map(|id| Digested { from: 1, events: row, digest: id.into() });
        Cursor { output_id, last_file, last_row_index: row, last_ts_utc: None, last_event_id, digested }
    }

    fn beyond(text: &str) -> Result<Vec<Beyond>, Unfit> {
        Beyond::read(&scope(), text.as_bytes()).map(|beside| beside.beyond)
    }

    #[test]
    fn the_text_is_compact_and_comes_back() {
        let event_id = Hex64::sha256("event");
        let text = Beyond::write(&scope(), &outputs()[1..], &[cursor("context", 7, Some(event_id.clone()))]);
        let expected = format!(
            r#"{{"version":1,"scope_key":"{}","outputs":[{{"output_id":"context","cursor":null,"files":[{{"file":"c","rows":[[1,1]]}}]}}],"rows":[{{"output_id":"context","file":"v/é.parquet","row":7,"event_id":"{event_id}","digested":{{"from":1,"events":7,"digest":"{event_id}"}}}}]}}"#,
            scope()
        );
        assert_eq!(text, expected);
        let text = Beyond::write(&scope(), &outputs(), &[]);
        assert_eq!(beyond(&text), Ok(outputs()));
        assert_eq!(
            beyond(&text.replace(r#","rows":[]}"#, "}")),
            Ok(outputs()),
            "as it was before there were event ids"
        );
        assert_eq!(outputs()[1].rows(), 1);
        assert_eq!(outputs()[0].rows(), u64::MAX, "a count never wraps");
    }

    #[test]
    fn an_event_id_is_of_the_row_that_it_was_kept_for_alone() {
        let id = |text: &str| Some(Hex64::sha256(text));
        let saved = [cursor("traffic", 7, id("a")), cursor("context", 3, id("b")), cursor("flows", 1, None)];
        let text = Beyond::write(&scope(), &[], &saved);
        let beside = || Beyond::read(&scope(), text.as_bytes()).unwrap();
        let unknown = saved.clone().map(|cursor| Cursor { last_event_id: None, digested: None, ..cursor });
        assert_eq!(beside().kept(unknown.to_vec()).cursors, saved);
        let older = Beyond::write(&scope(), &[], &saved.clone().map(|cursor| Cursor { digested: None, ..cursor }));
        let of_older = Beyond::read(&scope(), older.as_bytes()).unwrap().kept(unknown.to_vec()).cursors;
        assert!(!older.contains("digested") && of_older[0].last_event_id == id("a") && of_older[0].digested.is_none());
        // Moved by the legacy producer, or by hand.
        let mut moved = unknown.clone();
        moved[0].last_row_index = 8;
        moved[1].last_file = "v/b.parquet".to_owned();
        assert_eq!(beside().kept(moved.to_vec()).cursors, moved);
    }

    #[test]
    fn nothing_is_kept_only_where_there_is_neither_a_cursor_nor_a_row_beyond_one() {
        let beyond = Kept { cursors: Vec::new(), beyond: outputs() };
        let kept = [Kept::default(), Kept::at([cursor("traffic", 7, None)]), beyond];
        assert_eq!(kept.map(|kept| kept.is_empty()), [true, false, false]);
    }

    #[test]
    fn what_is_not_ours_is_not_taken() {
        let good = Beyond::write(&scope(), &outputs(), &[]);
        let other = Hex64::sha256("other");
        assert_eq!(Beyond::read(&other, good.as_bytes()), Err(Unfit::Foreign(scope())));
        for bad in [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("[6,9]", "[9,6]"),
            good.replace("[6,9]", "[6]"),
            good.replace("[6,9]", "[-1,9]"),
            good.replace("\"context\"", "\"traffic\""),
            good.replace("\"files\"", "\"file\""),
        ] {
            assert!(matches!(Beyond::read(&scope(), bad.as_bytes()), Err(Unfit::Damaged(_))), "{bad}");
        }
    }
}

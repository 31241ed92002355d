//! What was answered beyond the cursors, as it is kept beside them: rows that the next start need not send again.
//!
//! ```text
//! cursor ─┐   ┌─ unanswered
//!  x x x x · x x · · x          beyond: rows 5–6 and 9, of this file
//! ```
//!
//! All stores keep one JSON text a scope. The producer in place doesn't know it and needs not: without it some events
//! are sent once more.

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::model::{Hex64, OutputId};

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
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    scope_key: &'a Hex64,
    outputs: &'a [Beyond],
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
}

/// Why a text is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not what we write.
    Damaged(String),
    /// It is another scope's.
    Foreign(Hex64),
}

impl Beyond {
    /// The JSON text that keeps them.
    pub(super) fn write(scope: &Hex64, outputs: &[Beyond]) -> String {
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&Written { version: VERSION, scope_key: scope, outputs }).unwrap_or_default()
    }

    /// Reads such a text.
    pub(super) fn read(scope: &Hex64, text: &[u8]) -> Result<Vec<Beyond>, Unfit> {
        let damaged = |error: serde_json::Error| Unfit::Damaged(error.to_string());
        let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
        if version != VERSION {
            return Err(Unfit::Damaged(format!("version {version} is not known here, {VERSION} is")));
        }
        let Read { scope_key, outputs } = serde_json::from_slice(text).map_err(damaged)?;
        if scope_key != *scope {
            return Err(Unfit::Foreign(scope_key));
        }
        Self::check(&outputs).map_err(Unfit::Damaged)?;
        Ok(outputs)
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

    #[test]
    fn the_text_is_compact_and_comes_back() {
        let text = Beyond::write(&scope(), &outputs()[1..]);
        let expected = format!(
            r#"{{"version":1,"scope_key":"{}","outputs":[{{"output_id":"context","cursor":null,"files":[{{"file":"c","rows":[[1,1]]}}]}}]}}"#,
            scope()
        );
        assert_eq!(text, expected);
        let text = Beyond::write(&scope(), &outputs());
        assert_eq!(Beyond::read(&scope(), text.as_bytes()), Ok(outputs()));
        assert_eq!(outputs()[1].rows(), 1);
        assert_eq!(outputs()[0].rows(), u64::MAX, "a count never wraps");
    }

    #[test]
    fn what_is_not_ours_is_not_taken() {
        let good = Beyond::write(&scope(), &outputs());
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

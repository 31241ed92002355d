//! Where a run goes on: from a cursor and the view's own list of files to the first row to deliver.

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// One output of a run, as far as its cursor needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFiles {
    /// The output.
    pub output_id: OutputId,
    /// Its files in the view's order.
    pub files: Vec<FileRows>,
}

/// One file of an output, and what identifies its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRows {
    /// Full path or URI, as the run's view spells it.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The sha256 of its footer's bytes.
    pub footer_sha256: Hex64,
    /// The store's own mark of its content, where the store has one that outlives a copy of the file (an object's `ETag`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
}

/// The first row that a run delivers of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Resume {
    /// Index into the output's files; one past the last where nothing is left.
    pub file: u32,
    /// 0-based row in that file; 0 where nothing is left.
    pub row: u64,
}

impl OutputFiles {
    /// The row after `cursor`, or the first row where there is none (contract, section 7).
    ///
    /// Files are found by equal text. A root spelt in another way is refused, as it is for the stream-view id;
    /// guessing that two spellings mean one file could skip rows.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_FOREIGN` where the cursor is of another output, its file is not in the list, or its row
    /// lies beyond that file.
    pub fn resume(&self, cursor: Option<&Cursor>) -> Result<Resume, Refusal> {
        let Some(cursor) = cursor else { return Ok(Resume::default()) };
        let foreign = |detail: String| {
            Refusal::new(Reason::CheckpointForeign, detail).file(&cursor.last_file).row(cursor.last_row_index)
        };
        if cursor.output_id != self.output_id {
            return Err(foreign(format!("a cursor of {}, not of {}", cursor.output_id, self.output_id)));
        }
        let Some(index) = self.files.iter().position(|file| file.name == cursor.last_file) else {
            let first = self.files.first().map_or("nothing", |file| &file.name);
            return Err(foreign(format!(
                "the cursor of {} names a file that is not among the {} of the view, the first of which is {first}",
                self.output_id,
                self.files.len()
            )));
        };
        let rows = self.files[index].rows;
        if cursor.last_row_index >= rows {
            return Err(foreign(format!("the cursor of {} is beyond the file's {rows} rows", self.output_id)));
        }
        let (file, row) = (index as u32, cursor.last_row_index + 1);
        Ok(if row < rows { Resume { file, row } } else { Resume { file: file + 1, row: 0 } })
    }

    /// Rows of all files before each file.
    #[must_use]
    pub fn rows_before_files(&self) -> Vec<u64> {
        let before = |rows: &mut u64, file: &FileRows| {
            let before = *rows;
            *rows = rows.saturating_add(file.rows);
            Some(before)
        };
        self.files.iter().scan(0, before).collect()
    }

    /// Rows before the place where a run resumes.
    pub(super) fn rows_before(&self, at: Resume) -> u64 {
        let files = self.files.iter().take(at.file as usize);
        files.fold(at.row, |sum, file| sum.saturating_add(file.rows))
    }

    /// The last row of all: index of its file, and the row. `None` where the output has none.
    pub(super) fn last_row(&self) -> Option<(u32, u64)> {
        let index = self.files.iter().rposition(|file| file.rows > 0)?;
        Some((index as u32, self.files[index].rows - 1))
    }
}

#[cfg(test)]
impl FileRows {
    /// A file of so many rows, with some content.
    pub(crate) fn of_rows(name: &str, rows: u64) -> Self {
        let footer_sha256 = Hex64::sha256(format!("{name} {rows}"));
        Self { name: name.to_owned(), rows, bytes: rows * 10, footer_sha256, e_tag: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(files: &[(&str, u64)]) -> OutputFiles {
        let files = files.iter().map(|(name, rows)| FileRows::of_rows(name, *rows)).collect();
        OutputFiles { output_id: "o".parse().unwrap(), files }
    }

    fn cursor(last_file: &str, last_row_index: u64) -> Cursor {
        let (output_id, last_file) = ("o".parse().unwrap(), last_file.to_owned());
        Cursor { output_id, last_file, last_row_index, last_ts_utc: None, last_event_id: None, digested: None }
    }

    #[test]
    fn goes_on_with_the_row_after() {
        // The list's order counts, whatever the names sort like.
        let output = output(&[("v/b", 3), ("v/a", 2)]);
        let at = |file, row| Ok(Resume { file, row });
        assert_eq!(output.resume(None), at(0, 0));
        assert_eq!(output.resume(Some(&cursor("v/b", 0))), at(0, 1));
        assert_eq!(output.resume(Some(&cursor("v/b", 2))), at(1, 0));
        assert_eq!(output.resume(Some(&cursor("v/a", 0))), at(1, 1));
        assert_eq!(output.resume(Some(&cursor("v/a", 1))), at(2, 0));
    }

    #[test]
    fn refuses_what_is_not_of_the_view() {
        let output = output(&[("v/b", 3)]);
        for (file, row) in [("/abs/v/b", 0), ("v/c", 0), ("v/b", 3), ("v/b", u64::MAX)] {
            let refusal = output.resume(Some(&cursor(file, row))).unwrap_err();
            assert_eq!((refusal.reason, refusal.place.row), (Reason::CheckpointForeign, Some(row)), "{file}");
        }
        let of_two = self::output(&[("v/b", 3), ("v/a", 2)]).resume(Some(&cursor("v/c", 0))).unwrap_err();
        assert!(of_two.detail.contains("not among the 2 of the view, the first of which is v/b"), "{of_two}");
        let other = Cursor { output_id: "p".parse().unwrap(), ..cursor("v/b", 0) };
        assert_eq!(output.resume(Some(&other)).unwrap_err().reason, Reason::CheckpointForeign);
    }

    #[test]
    fn rows_are_counted_over_the_files() {
        let output = output(&[("b", 3), ("none", 0), ("a", 2)]);
        assert_eq!(output.rows_before_files(), [0, 3, 3]);
        let before = |file, row| output.rows_before(Resume { file, row });
        assert_eq!([before(0, 0), before(0, 2), before(2, 1), before(3, 0)], [0, 2, 4, 5]);
    }

    #[test]
    fn empty_files_are_no_end() {
        assert_eq!(output(&[("a", 2), ("b", 0)]).last_row(), Some((0, 1)));
        assert_eq!(output(&[("a", 0)]).last_row(), None);
    }
}

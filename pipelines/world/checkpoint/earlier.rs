//! Rows that an earlier start saw answered beyond its cursors, found again in the view's files.
//!
//! ```text
//! Kept (cursors, rows beyond), the view's files ──► Earlier: per output, runs of (file, first row, last row)
//! ```

use std::collections::VecDeque;

use super::{Beyond, Cursor, Kept, OutputFiles, Place, Resume};
use crate::model::{Digested, Position, Reason, Refusal};

/// Rows of one file of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileRun {
    pub(super) file: u32,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Where an earlier start left each output of a run, in the order of ranks, and which rows beyond are not to be sent
/// again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    outputs: Vec<Left>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    cursor: Option<Place>,
    /// The first row behind the cursor.
    from: Resume,
    /// The events before that.
    digested: Digested,
    answered: VecDeque<FileRun>,
}

impl Earlier {
    /// Finds what `kept` says in the files of `outputs`. Rows up to an output's cursor are left out: whoever moved
    /// it there, they are before the place where the run resumes. Where a cursor was taken back behind the place that its
    /// rows were kept beside, somebody wants events again, and no row of any output is left out then.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_FOREIGN` where a file is not in the view's list, a row beyond that file, or more events digested than
    /// there are rows.
    pub fn new(outputs: &[OutputFiles], kept: &Kept) -> Result<Self, Refusal> {
        let mut found = Self { outputs: Vec::with_capacity(outputs.len()) };
        let mut taken_back = None;
        for output in outputs {
            let cursor = kept.cursors.iter().find(|cursor| cursor.output_id == output.output_id);
            let from = output.resume(cursor)?;
            let digested = digested(output, cursor, from)?;
            let mut left = Left { cursor: cursor.map(Place::of), from, digested, answered: VecDeque::new() };
            if let Some(beyond) = kept.beyond.iter().find(|beyond| beyond.output_id == output.output_id) {
                if left.from < output.behind(beyond.cursor.as_ref())? {
                    taken_back = Some(&output.output_id);
                }
                left.answered = output.rows_of(beyond, left.from)?.into();
            }
            found.outputs.push(left);
        }
        if let Some(output_id) = taken_back {
            tracing::warn!(%output_id, "its cursor was taken back; all that was answered beyond cursors is sent again");
            found.outputs.iter_mut().for_each(|left| left.answered.clear());
        }
        Ok(found)
    }

    /// The first row that is read of each output.
    #[must_use]
    pub fn from(&self) -> Vec<Resume> {
        self.outputs.iter().map(|left| left.from).collect()
    }

    /// Events that were answered before these rows, as far as the digests kept with the cursors say.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.outputs.iter().map(|left| left.digested.events).sum()
    }

    /// Whether all rows are to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.iter().all(|left| left.answered.is_empty())
    }

    /// Whether the row at `position` is not to be sent. Rows have to be asked for in the order of their output; what
    /// lies before is forgotten.
    pub fn take(&mut self, position: Position) -> bool {
        let Some(left) = self.outputs.get_mut(usize::from(position.rank)) else { return false };
        let at = (position.file, position.row);
        while left.answered.pop_front_if(|run| (run.file, run.last) < at).is_some() {}
        left.answered.front().is_some_and(|run| (run.file, run.first) <= at)
    }

    /// Those of output `rank` from `from` on, with `more` among them: ascending, and no two touch.
    pub(super) fn with(&self, rank: usize, from: Resume, more: impl Iterator<Item = FileRun>) -> Vec<FileRun> {
        let known = self.outputs.get(rank).into_iter().flat_map(|left| &left.answered);
        joined(known.filter_map(|run| behind(from, *run)).chain(more).collect())
    }

    /// What the events of output `rank` before the first row that is read are digested to.
    pub(super) fn digested(&self, rank: usize) -> Digested {
        self.outputs.get(rank).map_or_else(Digested::default, |left| left.digested)
    }

    /// The cursor that the earlier start left of output `rank`.
    pub(super) fn cursor(&self, rank: usize) -> Option<&Place> {
        self.outputs.get(rank)?.cursor.as_ref()
    }
}

/// What the events before `from` are digested to, if that was kept with `cursor`; else digesting begins at `from`.
fn digested(output: &OutputFiles, cursor: Option<&Cursor>, from: Resume) -> Result<Digested, Refusal> {
    let rows = output.rows_before(from);
    match cursor {
        Some(Cursor { digested: Some(digested), last_file, last_row_index, .. }) => {
            if digested.from.saturating_add(digested.events) <= rows {
                return Ok(*digested);
            }
            let detail = format!(
                "the digest kept with the cursor of {} covers {} events from row {} on; there are {rows} rows before the next one",
                output.output_id, digested.events, digested.from
            );
            Err(Refusal::new(Reason::CheckpointForeign, detail).file(last_file).row(*last_row_index))
        }
        _ => Ok(Digested::none_from(rows)),
    }
}

impl Place {
    pub(super) fn of(cursor: &Cursor) -> Self {
        Self { file: cursor.last_file.clone(), row: cursor.last_row_index }
    }
}

impl OutputFiles {
    /// The row after `place`, or the first row where there is none.
    fn behind(&self, place: Option<&Place>) -> Result<Resume, Refusal> {
        let cursor = place.map(|place| Cursor {
            output_id: self.output_id.clone(),
            last_file: place.file.clone(),
            last_row_index: place.row,
            last_ts_utc: None,
            last_event_id: None,
            digested: None,
        });
        self.resume(cursor.as_ref())
    }

    /// The rows of `beyond` from `from` on.
    fn rows_of(&self, beyond: &Beyond, from: Resume) -> Result<Vec<FileRun>, Refusal> {
        let mut runs = Vec::new();
        for answered in &beyond.files {
            for (first, last) in &answered.rows {
                let file = self.locate(&answered.file, *last)?;
                runs.extend(behind(from, FileRun { file, first: *first, last: *last }));
            }
        }
        Ok(joined(runs))
    }

    /// The index of `file`, if `row` is in it.
    fn locate(&self, file: &str, row: u64) -> Result<u32, Refusal> {
        let index = self.files.iter().position(|known| known.name == file && row < known.rows);
        index.map(|index| index as u32).ok_or_else(|| {
            let detail = format!("rows of {} kept as answered are not in the view", self.output_id);
            Refusal::new(Reason::CheckpointForeign, detail).file(file).row(row)
        })
    }
}

/// What of `run` is not before `from`.
fn behind(from: Resume, run: FileRun) -> Option<FileRun> {
    let first = if run.file == from.file { run.first.max(from.row) } else { run.first };
    (run.file >= from.file && first <= run.last).then_some(FileRun { first, ..run })
}

/// The same rows, sorted, with runs that touch put together.
fn joined(mut runs: Vec<FileRun>) -> Vec<FileRun> {
    runs.sort_unstable();
    runs.dedup_by(|next, run| {
        let touches = run.file == next.file && next.first <= run.last.saturating_add(1);
        if touches {
            run.last = run.last.max(next.last);
        }
        touches
    });
    runs
}

#[cfg(test)]
mod tests {
    use super::super::{AnsweredRows, FileRows};
    use super::*;
    use crate::model::EventDigest;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn output(name: &str) -> OutputFiles {
        let file = FileRows::of_rows;
        // The list's order counts, whatever the names sort like.
        OutputFiles { output_id: name.parse().unwrap(), files: vec![file("b", 10), file("none", 0), file("a", 10)] }
    }

    fn cursor(name: &str, row: u64) -> Cursor {
        let (file, row) = if row < 10 { ("b", row) } else { ("a", row - 10) };
        let output_id = name.parse().unwrap();
        Cursor {
            output_id,
            last_file: file.to_owned(),
            last_row_index: row,
            last_ts_utc: None,
            last_event_id: None,
            digested: None,
        }
    }

    fn beyond(name: &str, at: Option<u64>, files: &[(&str, &[(u64, u64)])]) -> Beyond {
        let cursor = at.map(|row| cursor(name, row));
        Beyond {
            output_id: name.parse().unwrap(),
            cursor: cursor.map(|cursor| Place { file: cursor.last_file, row: cursor.last_row_index }),
            files: files
                .iter()
                .map(|(file, rows)| AnsweredRows { file: (*file).to_owned(), rows: rows.to_vec() })
                .collect(),
        }
    }

    /// Rows of an output counted over its files, asked for in order.
    fn taken(earlier: &Earlier, rank: u16) -> Vec<u64> {
        let mut earlier = earlier.clone();
        let place = |row: u64| Position { rank, file: if row < 10 { 0 } else { 2 }, row: row % 10, seq: row };
        (0..20).filter(|row| earlier.take(place(*row))).collect()
    }

    fn found(cursors: Vec<Cursor>, beyond: Vec<Beyond>) -> Result<Earlier, Refusal> {
        Earlier::new(&[output("o"), output("p")], &Kept { cursors, beyond })
    }

    #[test]
    fn rows_beyond_the_cursor_are_found_in_the_views_order() {
        let kept = || vec![beyond("p", Some(3), &[("a", &[(0, 0), (4, 9)]), ("b", &[(5, 6), (6, 7), (9, 9)])])];
        let earlier = found(vec![cursor("p", 3)], kept()).unwrap();
        assert_eq!(taken(&earlier, 0), [] as [u64; 0]);
        assert_eq!(taken(&earlier, 1), [5, 6, 7, 9, 10, 14, 15, 16, 17, 18, 19]);
        // The producer in place went on in between.
        let earlier = found(vec![cursor("p", 15)], kept()).unwrap();
        assert_eq!(taken(&earlier, 1), [16, 17, 18, 19]);
        assert!(found(vec![cursor("p", 19)], kept()).unwrap().is_empty());
    }

    #[test]
    fn a_cursor_that_was_taken_back_voids_all_of_it() {
        let kept = || vec![beyond("o", None, &[("b", &[(2, 3)])]), beyond("p", Some(12), &[("a", &[(5, 5)])])];
        assert_eq!(taken(&found(vec![cursor("p", 12)], kept()).unwrap(), 0), [2, 3]);
        for back in [vec![], vec![cursor("p", 11)], vec![cursor("o", 19)], vec![cursor("p", 3)]] {
            assert!(found(back, kept()).unwrap().is_empty());
        }
    }

    #[test]
    fn rows_that_are_not_of_the_view_are_foreign() {
        for (file, rows) in [("c", (0, 1)), ("b", (5, 10)), ("none", (0, 0)), ("a", (0, u64::MAX))] {
            let refusal = found(vec![], vec![beyond("o", None, &[(file, &[rows])])]).unwrap_err();
            assert_eq!((refusal.reason, refusal.place.file.as_deref()), (Reason::CheckpointForeign, Some(file)));
        }
        let mut elsewhere = beyond("o", Some(3), &[("b", &[(5, 6)])]);
        elsewhere.cursor = Some(Place { file: "gone".to_owned(), row: 0 });
        assert_eq!(found(vec![], vec![elsewhere]).unwrap_err().reason, Reason::CheckpointForeign);
        // What is kept of an output that the run doesn't have is none of its business.
        assert!(found(vec![], vec![beyond("q", None, &[("c", &[(0, 1)])])]).unwrap().is_empty());
    }

    proptest! {
        /// Whatever is added to whatever was kept, against a plain set.
        #[test]
        fn kept_and_new_rows_are_one_set(
            kept in proptest::collection::vec((0_u64..20, 0_u64..4), 0..8),
            new in proptest::collection::vec((0_u64..20, 0_u64..4), 0..8),
            from in 0_u64..20,
        ) {
            let run = |(first, more): (u64, u64)| {
                let last = (first + more).min(first / 10 * 10 + 9);
                FileRun { file: (first / 10 * 2) as u32, first: first % 10, last: last % 10 }
            };
            let rows = |run: &FileRun| (run.first..=run.last).map(|row| u64::from(run.file / 2) * 10 + row).collect::<Vec<_>>();
            let kept: Vec<FileRun> = joined(kept.into_iter().map(run).collect());
            let new: Vec<FileRun> = new.into_iter().map(run).filter_map(|run| behind(at(from), run)).collect();
            let expected: BTreeSet<u64> = kept.iter().chain(&new).flat_map(rows).filter(|row| *row >= from).collect();
            let digested = Digested::default();
            let earlier = Earlier { outputs: vec![Left { cursor: None, from: at(0), digested, answered: kept.into() }] };
            let all = earlier.with(0, at(from), new.into_iter());
            prop_assert_eq!(all.iter().flat_map(rows).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
            prop_assert!(all.windows(2).all(|pair| (pair[0].file, pair[0].last + 1) < (pair[1].file, pair[1].first)));
        }
    }

    #[test]
    fn a_digest_goes_on_where_it_was_kept_and_begins_anew_elsewhere() {
        let kept = Digested { from: 0, events: 13, digest: EventDigest::of(&[1; 32], 7) };
        let at = |row, digested| Cursor { digested, ..cursor("p", row) };
        let digested = |cursors: Vec<Cursor>| found(cursors, vec![]).map(|earlier| earlier.digested(1));
        assert_eq!(digested(vec![]), Ok(Digested::default()));
        assert_eq!(digested(vec![at(12, Some(kept))]), Ok(kept));
        assert_eq!(digested(vec![at(14, Some(kept))]), Ok(kept), "a lane has fewer events than rows");
        assert_eq!(digested(vec![at(12, None)]), Ok(Digested::none_from(13)));
        for more in [Digested { events: 14, ..kept }, Digested { from: u64::MAX, ..kept }] {
            let refusal = digested(vec![at(12, Some(more))]).unwrap_err();
            assert_eq!((refusal.reason, refusal.place.row), (Reason::CheckpointForeign, Some(2)));
        }
    }

    fn at(row: u64) -> Resume {
        Resume { file: (row / 10 * 2) as u32, row: row % 10 }
    }

    #[test]
    fn a_row_of_an_output_without_a_past_is_to_be_sent() {
        assert!(!Earlier::default().take(Position { rank: 0, file: 0, row: 0, seq: 0 }));
    }
}

//! An input: its files one after the other, in order of time, within the times asked for, as often as asked for.
//!
//! ```text
//! file 0, file 1, … ──rows──► never back in time? ──► from..until ──► moved by the rounds before ──► Rows
//! ```

use std::sync::Arc;

use wsp::time::Micros;

use super::error::Error;
use super::files::{self, FileRows, Place, Reading, Step};
use super::input::Input;
use super::rows::Rows;

/// Which event times are replayed: from the first, up to before the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first time.
    pub from: Option<Micros>,
    /// The first time that is too late.
    pub until: Option<Micros>,
}

impl Span {
    /// Whether a time is within it.
    pub(super) fn contains(self, time: Micros) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) file: usize,
    /// Rows of that file that are not read.
    pub(super) row: u64,
    /// The time of the row before.
    pub(super) after: Option<Micros>,
}

/// An input being read.
pub(super) struct Chain {
    input: Arc<Input>,
    rank: u16,
    reading: Arc<Reading>,
    span: Span,
    open: Option<Box<dyn FileRows>>,
    start: Start,
    fault: Option<Error>,
    over: bool,
}

impl Chain {
    /// Input `rank`, from `start` on.
    pub(super) fn new(input: Arc<Input>, rank: u16, reading: Arc<Reading>, span: Span, mut start: Start) -> Self {
        let shift = input.shift(start.file as u32);
        start.after = start.after.map(|after| Micros(after.0 - shift));
        Self { input, rank, reading, span, open: None, start, fault: None, over: false }
    }

    /// The next rows; no rows and no fault is the end.
    fn step(&mut self) -> Step {
        loop {
            if self.start.file >= self.files() {
                return Step::default();
            }
            let source = self.input.file(self.start.file as u32);
            let file = match &mut self.open {
                Some(file) => file,
                closed => {
                    let place = Place { input: self.rank, file: self.start.file as u32, shown: source.shown.clone() };
                    match files::open(source, place, self.start.row, &self.reading) {
                        Ok(file) => closed.insert(file),
                        Err(error) => return Step::fault(error),
                    }
                }
            };
            let step = file.next(self.start.after);
            if step.rows.is_some() || step.fault.is_some() {
                return step;
            }
            self.open_next(self.start.file + 1);
        }
    }

    /// Its files, counted through all rounds.
    fn files(&self) -> usize {
        self.input.files.len() * self.input.rounds as usize
    }

    fn open_next(&mut self, file: usize) {
        self.open = None;
        // A round begins at its own first time.
        let after = if file.is_multiple_of(self.input.files.len()) { None } else { self.start.after };
        self.start = Start { file, row: 0, after };
    }

    /// Cuts rows at the first that goes back in time.
    fn check(&mut self, rows: &mut Rows) -> Option<Error> {
        let mut before = self.start.after;
        let back = rows.times.iter().position(|time| {
            let goes_back = before.is_some_and(|before| *time < before);
            if !goes_back {
                before = Some(*time);
            }
            goes_back
        });
        self.start.after = before;
        let at = back?;
        let (time, before) = (rows.times[at], before.unwrap_or_default());
        rows.times.truncate(at);
        let file = &self.input.file(rows.file).shown;
        let is_first = rows.first + at as u64 == 0 && rows.file > 0;
        let whose = if is_first { "the last row of the file before it" } else { "the row before it" };
        let what = format!(
            "its time {time} is before {before} of {whose}; the rows of an input have to be in order of time, file after \
             file by name: --reorder puts rows in order within a bound, --sort sorts all of them, and files that overlap in time \
             may be inputs of their own, which are merged"
        );
        Some(Error::row(file, rows.first + at as u64, None, what))
    }

    /// Leaves out what is not within the times asked for.
    fn cut(&mut self, rows: &mut Rows) {
        if let Some(until) = self.span.until {
            let end = rows.times.partition_point(|time| *time < until);
            if end < rows.times.len() {
                rows.times.truncate(end);
                // Nothing more of this round is read, and nothing that is wrong behind.
                self.fault = None;
                let round = self.input.round(rows.file) as usize + 1;
                self.open_next(round * self.input.files.len());
            }
        }
        if let Some(from) = self.span.from {
            rows.skip(rows.times.partition_point(|time| *time < from));
        }
    }
}

impl Iterator for Chain {
    type Item = Result<Rows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            if let Some(fault) = self.fault.take() {
                self.over = true;
                return Some(Err(fault));
            }
            let Step { rows, fault } = self.step();
            self.fault = fault;
            self.over = rows.is_none() && self.fault.is_none();
            let Some(mut rows) = rows else { continue };
            if let Some(back) = self.check(&mut rows) {
                self.fault = Some(back);
            }
            self.cut(&mut rows);
            let shift = self.input.shift(rows.file);
            if shift != 0 {
                rows.times.iter_mut().for_each(|time| time.0 += shift);
            }
            if !rows.times.is_empty() {
                return Some(Ok(rows));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::input::{InputSpec, resolve};
    use super::super::testing::reading;
    use super::*;

    fn line(second: u32) -> String {
        format!("{{\"t\":\"2026-01-01T00:00:{second:02}Z\"}}\n")
    }

    fn second(second: i64) -> Micros {
        Micros(1_767_225_600_000_000 + second * 1_000_000)
    }

    /// Seconds and places of the rows of these files, and what ended them.
    fn read(files: &[&[u32]], span: Span, start: Start) -> (Vec<(i64, u32, u64)>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (i, seconds) in files.iter().enumerate() {
            let lines: String = seconds.iter().map(|second| line(*second)).collect();
            fs::write(dir.path().join(format!("{i}.jsonl")), lines).unwrap();
        }
        let spec = InputSpec::plain(dir.path().to_str().unwrap());
        let input = Arc::new(resolve(&[spec], None, &wsp::store::StoreOptions::default()).unwrap().remove(0));
        let mut rows = Vec::new();
        for batch in Chain::new(input, 0, Arc::new(reading(&[])), span, start) {
            match batch {
                Ok(batch) => rows.extend(
                    batch
                        .times
                        .iter()
                        .zip(batch.first..)
                        .map(|(time, row)| ((time.0 - second(0).0) / 1_000_000, batch.file, row)),
                ),
                Err(error) => return (rows, Some(error.to_string())),
            }
        }
        (rows, None)
    }

    #[test]
    fn files_follow_one_another_from_any_place() {
        let files: [&[u32]; 3] = [&[1, 2], &[], &[2, 3, 5]];
        let all = [(1, 0, 0), (2, 0, 1), (2, 2, 0), (3, 2, 1), (5, 2, 2)];
        assert_eq!(read(&files, Span::default(), Start::default()), (all.to_vec(), None));
        for (i, (at, file, row)) in all.iter().enumerate() {
            let start = Start { file: *file as usize, row: row + 1, after: Some(second(*at)) };
            assert_eq!(read(&files, Span::default(), start), (all[i + 1..].to_vec(), None), "from {i}");
        }
    }

    #[test]
    fn times_are_cut_before_and_behind() {
        let span = Span { from: Some(second(2)), until: Some(second(5)) };
        let (rows, fault) = read(&[&[1, 2], &[2, 3, 5, 1]], span, Start::default());
        assert_eq!((rows, fault), (vec![(2, 0, 1), (2, 1, 0), (3, 1, 1)], None), "nothing behind the end is read");
    }

    #[test]
    fn a_row_that_goes_back_is_named_behind_those_before_it() {
        let (rows, fault) = read(&[&[1, 3, 2, 4]], Span::default(), Start::default());
        let fault = fault.unwrap();
        assert!(rows.len() == 2 && fault.contains("0.jsonl, row 3: its time 2026-01-01T00:00:02"), "{fault}");
        let (rows, fault) = read(&[&[1, 3], &[2]], Span::default(), Start::default());
        let fault = fault.unwrap();
        assert!(rows.len() == 2 && fault.contains("1.jsonl, row 1") && fault.contains("file before"), "{fault}");
        let resumed = Start { file: 0, row: 1, after: Some(second(9)) };
        assert!(read(&[&[1, 3]], Span::default(), resumed).1.is_some(), "across a resume, too");
    }
}

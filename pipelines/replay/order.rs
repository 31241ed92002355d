//! Inputs whose rows are not in order of time: put in order within a bound of event time, or sorted as a whole.
//!
//! ```text
//! file 0, file 1, … ─► Unsorted ─┬─ --reorder 30s ─► Reordered: rows wait until no earlier one may come ─┬─► Rows
//!                                └─ --sort ─► runs on disk, merged ──────────────────────────────────────┘
//! ```
//!
//! Rows come out by time, file and row, whatever the size of batches. So the n-th row is the same in every start: it is counted
//! as row n of the input, and a start goes on behind a row by reading all of it again and leaving the first n out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use wsp::time::Micros;

use super::chain::Span;
use super::error::Error;
use super::files::{self, BATCH_ROWS, FileRows, Place, Reading, Step};
use super::input::Input;
use super::rows::{Cells, Rows};

/// What is done about rows that are not in order of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The first of them ends the replay.
    #[default]
    AsRead,
    /// They are put in order, as far as none is later than this behind the latest before it.
    Within(Duration),
    /// All rows of an input are sorted before the first is sent.
    Sorted,
}

/// Rows of an input, in order.
pub(super) type RowStream = Pin<Box<dyn Stream<Item = Result<Rows, Error>> + Send>>;

/// Rows of an input as its files have them.
pub(super) struct Unsorted {
    input: Arc<Input>,
    rank: u16,
    reading: Arc<Reading>,
    file: usize,
    open: Option<Box<dyn FileRows>>,
    fault: Option<Error>,
    over: bool,
}

impl Unsorted {
    /// Input `rank`, from its first row on.
    pub(super) fn new(input: Arc<Input>, rank: u16, reading: Arc<Reading>) -> Self {
        Self { input, rank, reading, file: 0, open: None, fault: None, over: false }
    }

    fn step(&mut self) -> Step {
        loop {
            let Some(source) = self.input.files.get(self.file) else { return Step::default() };
            let file = match &mut self.open {
                Some(file) => file,
                closed => {
                    let place = Place { input: self.rank, file: self.file as u32, shown: source.shown.clone() };
                    match files::open(source, place, 0, &self.reading) {
                        Ok(file) => closed.insert(file),
                        Err(error) => return Step::fault(error),
                    }
                }
            };
            // No row tells which of two times is meant that an hour has twice.
            let step = file.next(None);
            if step.rows.is_some() || step.fault.is_some() {
                return step;
            }
            self.open = None;
            self.file += 1;
        }
    }
}

impl Iterator for Unsorted {
    type Item = Result<Rows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if self.fault.is_none() {
            let Step { rows, fault } = self.step();
            self.fault = fault;
            if let Some(rows) = rows {
                return Some(Ok(rows));
            }
        }
        self.over = true;
        self.fault.take().map(Err)
    }
}

/// A row that waits.
struct Waiting {
    time: Micros,
    file: u32,
    row: u64,
    rows: Arc<Rows>,
    at: usize,
}

impl Waiting {
    fn key(&self) -> (Micros, u32, u64) {
        (self.time, self.file, self.row)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Rows put in order within a bound of event time.
pub(super) struct Reordered<I> {
    rows: I,
    input: Arc<Input>,
    rank: u16,
    span: Span,
    bound: i64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// The latest time so far.
    latest: Option<Micros>,
    /// Rows up to this time may go: no earlier one may come.
    until: Option<Micros>,
    fault: Option<Error>,
    ended: bool,
    numbered: Numbered,
}

impl<I: Iterator<Item = Result<Rows, Error>>> Reordered<I> {
    /// `rows` of input `rank` in order, behind the first `skip` of those within `span`.
    pub(super) fn new(rows: I, input: Arc<Input>, rank: u16, span: Span, bound: Duration, skip: u64) -> Self {
        Self {
            rows,
            input,
            rank,
            span,
            bound: i64::try_from(bound.as_micros()).unwrap_or(i64::MAX),
            waiting: BinaryHeap::new(),
            latest: None,
            until: None,
            fault: None,
            ended: false,
            numbered: Numbered { next: 0, skip },
        }
    }

    /// Takes rows in, up to the first that comes too late.
    fn take(&mut self, rows: Rows) {
        let rows = Arc::new(rows);
        for (at, time) in rows.times.iter().enumerate() {
            let (file, row) = rows.origin(at);
            if let Some(latest) = self.latest.filter(|latest| time.0.saturating_add(self.bound) < latest.0) {
                let shown = &self.input.files[file as usize].shown;
                let what = format!(
                    "its time {time} is more than --reorder before {latest} of a row before it; raise --reorder, or take --sort"
                );
                self.fault = Some(Error::row(shown, row, None, what));
                self.ended = true;
                return;
            }
            self.latest = self.latest.max(Some(*time));
            if self.span.contains(*time) {
                self.waiting.push(Reverse(Waiting { time: *time, file, row, rows: rows.clone(), at }));
            }
        }
        self.until = self.latest.map(|latest| Micros(latest.0.saturating_sub(self.bound)));
        // What comes later is not asked for.
        let is_beyond = |until: Micros| self.span.until.is_some_and(|end| end <= until);
        if self.until.is_some_and(is_beyond) {
            self.ended = true;
        }
    }

    /// The next rows that may go.
    fn give(&mut self) -> Option<Rows> {
        let mut picked = Vec::new();
        while picked.len() < BATCH_ROWS
            && let Some(Reverse(first)) = self.waiting.peek()
            && self.until.is_some_and(|until| first.time <= until)
        {
            if let Some(Reverse(Waiting { rows, at, .. })) = self.waiting.pop() {
                picked.push((rows, at));
            }
        }
        (!picked.is_empty()).then(|| self.numbered.rows(self.rank, picked)).flatten()
    }

    fn may_give(&self) -> bool {
        self.waiting.peek().is_some_and(|Reverse(first)| self.until.is_some_and(|until| first.time <= until))
    }
}

impl<I: Iterator<Item = Result<Rows, Error>>> Iterator for Reordered<I> {
    type Item = Result<Rows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.may_give() {
                if let Some(rows) = self.give() {
                    return Some(Ok(rows));
                }
            }
            if self.ended {
                return self.fault.take().map(Err);
            }
            match self.rows.next() {
                Some(Ok(rows)) => self.take(rows),
                Some(Err(fault)) => {
                    // Rows that might have to stand behind the one that can't be read are not sent.
                    self.fault = Some(fault);
                    self.ended = true;
                }
                None => {
                    self.ended = true;
                    self.until = Some(Micros(i64::MAX));
                }
            }
        }
    }
}

/// Counts rows that are in order, and leaves the first out.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) next: u64,
    pub(super) skip: u64,
}

impl Numbered {
    /// Rows `picked` out of others as rows of the input, if some are not left out.
    pub(super) fn rows(&mut self, rank: u16, mut picked: Vec<(Arc<Rows>, usize)>) -> Option<Rows> {
        let left_out = self.skip.saturating_sub(self.next).min(picked.len() as u64);
        picked.drain(..left_out as usize);
        let first = self.next + left_out;
        self.next = first + picked.len() as u64;
        if picked.is_empty() {
            return None;
        }
        let times = picked.iter().map(|(rows, at)| rows.times[*at]).collect();
        Some(Rows { input: rank, file: 0, first, times, cells: Cells::Picked(picked) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rows::Texts;
    use super::super::testing::inputs;
    use super::*;

    /// Batches of `size` rows with these times, in seconds.
    fn batches(times: &[i64], size: usize) -> Vec<Result<Rows, Error>> {
        let rows = |(i, times): (usize, &[i64])| {
            let mut texts = Texts::new(0);
            for at in 0..times.len() {
                texts.body_mut().extend_from_slice(format!("{}", i * size + at).as_bytes());
                texts.end_row();
            }
            let times = times.iter().map(|second| Micros(second * 1_000_000)).collect();
            Ok(Rows { input: 0, file: 0, first: (i * size) as u64, times, cells: Cells::Texts { texts, from: 0 } })
        };
        times.chunks(size.max(1)).enumerate().map(rows).collect()
    }

    /// Rows as they come out, by their time, place and origin; and what ended them.
    fn reordered(times: &[i64], size: usize, bound: u64, skip: u64) -> (Vec<(i64, u64, u64)>, Option<String>) {
        let rows = batches(times, size).into_iter();
        let input = inputs()[0].clone();
        let mut out = Vec::new();
        for rows in Reordered::new(rows, input, 0, Span::default(), Duration::from_secs(bound), skip) {
            match rows {
                Ok(rows) => out.extend(
                    rows.times
                        .iter()
                        .enumerate()
                        .map(|(at, time)| (time.0 / 1_000_000, rows.first + at as u64, rows.origin(at).1)),
                ),
                Err(error) => return (out, Some(error.to_string())),
            }
        }
        (out, None)
    }

    #[test]
    fn rows_within_the_bound_are_put_in_order_and_a_later_one_is_refused() {
        let (rows, fault) = reordered(&[3, 1, 2, 1, 6, 4], 2, 2, 0);
        assert_eq!(fault, None);
        assert_eq!(rows, [(1, 0, 1), (1, 1, 3), (2, 2, 2), (3, 3, 0), (4, 4, 5), (6, 5, 4)]);
        let (rows, fault) = reordered(&[3, 1, 5, 2, 9], 2, 2, 0);
        let fault = fault.unwrap();
        assert!(fault.contains("f.jsonl, row 4: its time 1970-01-01T00:00:02") && fault.contains("--sort"), "{fault}");
        assert_eq!(rows, [(1, 0, 1)], "nothing is sent that the row may have to stand before");
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_a_sort_whatever_the_batches_and_the_start(
            late in proptest::collection::vec(0_i64..=5, 0..40),
            size in 1_usize..8,
            skip in 0_u64..50,
        ) {
            let times: Vec<i64> = late.iter().zip(10_i64..).map(|(late, time)| time - late).collect();
            let (rows, fault) = reordered(&times, size, 5, 0);
            prop_assert_eq!(fault, None);
            let mut expected: Vec<(i64, u64)> = times.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            prop_assert_eq!(rows.iter().map(|(time, _, origin)| (*time, *origin)).collect::<Vec<_>>(), expected);
            prop_assert!(rows.iter().zip(0..).all(|((_, place, _), i)| *place == i));
            let later = reordered(&times, size, 5, skip).0;
            prop_assert_eq!(&later[..], &rows[(skip as usize).min(rows.len())..]);
        }
    }
}

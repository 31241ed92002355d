//! Which rows of an input are answered: all up to a place, and some beyond it.
//!
//! ```text
//! answers in any order ──► Watermark: contiguous │ beyond, as ranges of rows ──► saved; a later start leaves both out
//! ```

use serde::{Deserialize, Serialize};
use wsp::checkpoint::{self, Watermark};
use wsp::time::Micros;

use super::chain::Start;
use super::event::Position;

/// Rows of an input, as ranges in order: file, first row, one past the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AnsweredRows(Vec<(u32, u64, u64)>);

impl AnsweredRows {
    /// Whether a row is among them.
    pub(super) fn contains(&self, file: u32, row: u64) -> bool {
        let behind = self.0.partition_point(|(other, from, _)| (*other, *from) <= (file, row));
        behind.checked_sub(1).is_some_and(|i| self.0[i].0 == file && row < self.0[i].2)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, from, to)| to.saturating_sub(*from)).sum()
    }

    /// Whether they are ranges in order.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(|(_, from, to)| from < to)
            && self.0.windows(2).all(|pair| (pair[0].0, pair[0].2) <= (pair[1].0, pair[1].1))
    }

    /// Those at or behind a place.
    fn from(&self, file: u32, row: u64) -> impl Iterator<Item = (u32, u64, u64)> {
        let behind = self.0.iter().filter(move |(other, _, to)| (*other, *to) > (file, row));
        behind.map(move |(other, from, to)| (*other, if *other == file { (*from).max(row) } else { *from }, *to))
    }

    /// These and others, which have no row in common with them.
    fn with(mut self, others: impl Iterator<Item = (u32, u64, u64)>) -> Self {
        self.0.extend(others);
        self.0.sort_unstable();
        self.0.dedup_by(|next, range| {
            let joins = range.0 == next.0 && range.2 == next.1;
            if joins {
                range.2 = next.2;
            }
            joins
        });
        self
    }
}

/// Where an input stands, as it is saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Where reading goes on.
    pub(super) start: Start,
    /// Rows answered, over all starts: a row is when all its events are.
    pub(super) answered: u64,
    /// Rows behind `start` that are answered.
    pub(super) beyond: AnsweredRows,
}

impl Standing {
    /// Answered rows that a start from here does not see again: those before it.
    pub(super) fn before(&self) -> u64 {
        self.answered.saturating_sub(self.beyond.count())
    }
}

/// An answered event, as far as it is kept; as [`checkpoint::Mark`] it stands for those before it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    position: Position,
    /// Rows whose last events are among them.
    rows: u64,
    /// Where reading goes on behind the last of these rows.
    behind: Option<Start>,
}

impl Mark {
    /// Of one event.
    pub(super) fn new(position: Position, ts: Micros) -> Self {
        let (file, row) = position.place;
        let behind = Start { file: file as usize, row: row + 1, after: Some(ts) };
        Self { position, rows: position.is_last.into(), behind: position.is_last.then_some(behind) }
    }
}

impl checkpoint::Mark for Mark {
    type Place = Position;

    fn place(&self) -> Position {
        self.position
    }

    fn after(self, before: Self) -> Self {
        Self { rows: self.rows + before.rows, behind: self.behind.or(before.behind), ..self }
    }
}

impl Standing {
    /// How input `input` stands with what was answered since.
    pub(super) fn with(&self, answered: &Watermark<Mark>, input: usize) -> Self {
        let passed = answered.prefix(input);
        // What a start finds in the middle of a row, it makes again.
        let start = passed.and_then(|mark| mark.behind).unwrap_or(self.start);
        let rows = answered.ahead(input).filter_map(|(first, last)| {
            let ((file, from), (_, to)) = (first.place, last.place);
            // A row whose first or last events are not among them is not answered.
            let (from, to) = (from + u64::from(first.part > 0), to + u64::from(last.is_last));
            (from < to).then_some((file, from, to))
        });
        let new = AnsweredRows(rows.collect());
        let count = self.answered + passed.map_or(0, |mark| mark.rows) + new.count();
        let beyond = new.with(self.beyond.from(start.file as u32, start.row));
        Self { start, answered: count, beyond }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_found_by_row() {
        let rows = AnsweredRows(vec![(0, 3, 5), (0, 6, 7), (2, 0, 1)]);
        assert_eq!((rows.count(), rows.is_sound()), (4, true));
        for (file, row, is_in) in
            [(0, 2, false), (0, 4, true), (0, 5, false), (1, 0, false), (2, 0, true), (2, 1, false)]
        {
            assert_eq!(rows.contains(file, row), is_in, "{file} {row}");
        }
        assert!(!AnsweredRows(vec![(0, 3, 3)]).is_sound() && !AnsweredRows(vec![(1, 0, 1), (0, 0, 1)]).is_sound());
    }

    proptest! {
        /// Rows of two files, each with some events or none; answers in any order, several starts, each cut off anywhere:
        /// every row whose events are all answered is left out by the next start, and no other.
        #[test]
        fn a_start_sees_what_is_not_answered(
            sent in proptest::collection::vec(0_u32..4, 1..60),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..5),
        ) {
            let rows: Vec<(u32, u64)> = sent.iter().enumerate().filter(|(_, sent)| **sent > 0)
                .map(|(i, _)| ((i % 60 / 30) as u32, (i % 30) as u64)).collect();
            let events_of = |(file, row): (u32, u64)| sent[file as usize * 30 + row as usize];
            let mut standing = Standing::default();
            let mut done = HashSet::new();
            for (cut, order) in cuts {
                let Standing { start, beyond, answered } = &standing;
                prop_assert!(beyond.is_sound());
                prop_assert_eq!(*answered, done.len() as u64);
                let left: Vec<(u32, u64)> = rows.iter().copied()
                    .filter(|(file, row)| (*file as usize, *row) >= (start.file, start.row) && !beyond.contains(*file, *row))
                    .collect();
                let expected: Vec<(u32, u64)> = rows.iter().copied().filter(|row| !done.contains(row)).collect();
                prop_assert_eq!(&left, &expected);
                let mut answered = Watermark::new([0]);
                let events: Vec<Position> = left.iter()
                    .flat_map(|(file, row)| (0..events_of((*file, *row))).map(move |part| (*file, *row, part)))
                    .zip(0..)
                    .map(|((file, row, part), seq)| {
                        let is_last = part + 1 == events_of((file, row));
                        Position { input: 0, file, row, place: (file, row), seq, part, is_last }
                    })
                    .collect();
                let mut order_of: Vec<usize> = (0..events.len()).collect();
                order_of.sort_by_key(|i| (*i as u64 / 7, (*i as u64).wrapping_mul(order | 1) % 101));
                let mut missing: HashMap<(u32, u64), u32> = left.iter().map(|row| (*row, events_of(*row))).collect();
                for i in order_of.iter().take(if events.is_empty() { 0 } else { cut.index(events.len() + 1) }) {
                    let position = events[*i];
                    answered.ack(Mark::new(position, Micros(0)));
                    let row = (position.file, position.row);
                    *missing.get_mut(&row).unwrap() -= 1;
                    if missing[&row] == 0 {
                        done.insert(row);
                    }
                }
                standing = standing.with(&answered, 0);
            }
        }
    }
}

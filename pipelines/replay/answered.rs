//! Which rows of an input are answered: all up to a place, and some beyond it.
//!
//! ```text
//! answers in any order ──► contiguous │ beyond: ranges of rows ──► saved; a later start leaves both out
//! ```

use serde::{Deserialize, Serialize};
use wsp::contiguous::Contiguous;
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

    /// Adds a row behind all of them.
    fn push(&mut self, file: u32, row: u64) {
        match self.0.last_mut() {
            Some((last, _, to)) if *last == file && *to == row => *to += 1,
            _ => self.0.push((file, row, row + 1)),
        }
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

/// Follows the answers of an input.
#[derive(Debug)]
pub(super) struct Answered {
    /// Where it stood at the start, with what was passed since.
    standing: Standing,
    line: Contiguous<(Position, Micros)>,
}

impl Answered {
    /// Nothing new is answered yet.
    pub(super) fn new(standing: Standing) -> Self {
        Self { standing, line: Contiguous::new() }
    }

    /// Notes an answer.
    pub(super) fn note(&mut self, position: Position, ts: Micros) {
        let Self { standing, line } = self;
        line.give(position.seq, (position, ts), |(position, ts)| {
            // What a start finds in the middle of a row, it makes again.
            if !position.is_last {
                return;
            }
            standing.answered += 1;
            let (file, row) = position.place;
            standing.start = Start { file: file as usize, row: row + 1, after: Some(ts) };
        });
    }

    /// How it stands now.
    pub(super) fn standing(&self) -> Standing {
        let Standing { start, answered, beyond } = &self.standing;
        let mut new = AnsweredRows::default();
        // A row whose first events are passed, or missing, is not answered.
        let mut next = None;
        for (Position { place: (file, row), part, is_last, .. }, _) in self.line.waiting() {
            let follows = *part == 0 || next == Some((*file, *row, *part));
            next = follows.then_some((*file, *row, part + 1));
            if follows && *is_last {
                new.push(*file, *row);
            }
        }
        let answered = answered + new.count();
        let beyond = new.with(beyond.from(start.file as u32, start.row));
        Standing { start: *start, answered, beyond }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_found_by_row() {
        let mut rows = AnsweredRows::default();
        for (file, row) in [(0, 3), (0, 4), (0, 6), (2, 0)] {
            rows.push(file, row);
        }
        assert_eq!(rows.0, [(0, 3, 5), (0, 6, 7), (2, 0, 1)]);
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
                let mut answered = Answered::new(standing.clone());
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
                    answered.note(position, Micros(0));
                    let row = (position.file, position.row);
                    *missing.get_mut(&row).unwrap() -= 1;
                    if missing[&row] == 0 {
                        done.insert(row);
                    }
                }
                standing = answered.standing();
            }
        }
    }
}

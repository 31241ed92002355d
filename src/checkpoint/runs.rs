//! Answered events beyond a hole, kept as runs.
//!
//! ```text
//! 9 4 7 5 8 ──► Runs: 4–5 · 7–9
//! ```
//!
//! A run costs the same however long it is. Events come near the end mostly, so finding their place is a few steps.

use std::collections::VecDeque;

use super::watermark::Mark;
use crate::model::Position;

/// Events of one output that stand side by side in its line, from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Position,
    pub(super) last: Mark,
}

/// Runs of one output, by [`Position::seq`]: ascending, and no two touch.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
}

impl Runs {
    /// Adds an event; says whether it is new.
    pub(super) fn add(&mut self, mark: Mark) -> bool {
        let (position, seq) = (mark.position, mark.position.seq);
        let at = self.runs.partition_point(|run| run.last.position.seq < seq);
        let joins_before = at > 0 && self.runs[at - 1].last.position.seq + 1 == seq;
        let joins_next = match self.runs.get(at) {
            Some(next) if next.first.seq <= seq => return false,
            next => next.is_some_and(|next| next.first.seq == seq + 1),
        };
        match (joins_before, joins_next) {
            (true, true) => {
                self.runs[at - 1].last = self.runs[at].last;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].last = mark,
            (false, true) => self.runs[at].first = position,
            (false, false) => self.runs.insert(at, Run { first: position, last: mark }),
        }
        true
    }

    /// Takes the first run, if it begins with event `seq`.
    pub(super) fn take_from(&mut self, seq: u64) -> Option<Run> {
        self.runs.pop_front_if(|run| run.first.seq == seq)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Micros;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_are_the_set_of_what_was_added(added in proptest::collection::vec(0_u64..40, 0..80), from in 0_u64..40) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            let at = |seq| Position { rank: 0, file: 0, row: seq * 3, seq };
            let mark = |seq: u64| Mark { position: at(seq), ts: Micros(seq.cast_signed()), event_id: [seq as u8; 32] };
            for seq in added {
                prop_assert_eq!(runs.add(mark(seq)), set.insert(seq));
            }
            let held: Vec<u64> = runs.iter().flat_map(|run| run.first.seq..=run.last.position.seq).collect();
            prop_assert_eq!(&held, &set.iter().copied().collect::<Vec<_>>());
            let spans: Vec<_> = runs.iter().copied().collect();
            let is_as_added = |run: &Run| (run.first, run.last) == (at(run.first.seq), mark(run.last.position.seq));
            prop_assert!(spans.iter().all(is_as_added));
            prop_assert!(spans.windows(2).all(|pair| pair[0].last.position.seq + 1 < pair[1].first.seq), "none touch");
            let expected = spans.first().copied().filter(|run| run.first.seq == from);
            prop_assert_eq!(runs.take_from(from), expected);
            prop_assert_eq!(runs.iter().count(), spans.len() - usize::from(expected.is_some()));
        }
    }
}

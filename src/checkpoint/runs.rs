//! Answered events beyond a hole, kept as runs.
//!
//! ```text
//! 9 4 7 5 8 ──► Runs: 4–5 · 7–9
//! ```
//!
//! A run costs the same however long it is. Events come near the end mostly, so finding their place is a few steps.

use std::collections::VecDeque;

use crate::model::{Micros, Position};

/// Events of one output that stand side by side in its line, from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Position,
    pub(super) last: Position,
    /// The last one's event time.
    pub(super) ts: Micros,
}

/// Runs of one output, by [`Position::seq`]: ascending, and no two touch.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
}

impl Runs {
    /// Adds an event; says whether it is new.
    pub(super) fn add(&mut self, position: Position, ts: Micros) -> bool {
        let seq = position.seq;
        let at = self.runs.partition_point(|run| run.last.seq < seq);
        let joins_before = at > 0 && self.runs[at - 1].last.seq + 1 == seq;
        let joins_next = match self.runs.get(at) {
            Some(next) if next.first.seq <= seq => return false,
            next => next.is_some_and(|next| next.first.seq == seq + 1),
        };
        match (joins_before, joins_next) {
            (true, true) => {
                let Run { last, ts, .. } = self.runs[at];
                (self.runs[at - 1].last, self.runs[at - 1].ts) = (last, ts);
                self.runs.remove(at);
            }
            (true, false) => (self.runs[at - 1].last, self.runs[at - 1].ts) = (position, ts),
            (false, true) => self.runs[at].first = position,
            (false, false) => self.runs.insert(at, Run { first: position, last: position, ts }),
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
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_are_the_set_of_what_was_added(added in proptest::collection::vec(0_u64..40, 0..80), from in 0_u64..40) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            let at = |seq| Position { rank: 0, file: 0, row: seq * 3, seq };
            for seq in added {
                prop_assert_eq!(runs.add(at(seq), Micros(seq.cast_signed())), set.insert(seq));
            }
            let held: Vec<u64> = runs.iter().flat_map(|run| run.first.seq..=run.last.seq).collect();
            prop_assert_eq!(&held, &set.iter().copied().collect::<Vec<_>>());
            let spans: Vec<_> = runs.iter().copied().collect();
            prop_assert!(spans.iter().all(|run| (run.first, run.last) == (at(run.first.seq), at(run.last.seq))));
            prop_assert!(spans.iter().all(|run| run.ts == Micros(run.last.seq.cast_signed())));
            prop_assert!(spans.windows(2).all(|pair| pair[0].last.seq + 1 < pair[1].first.seq), "none touch");
            let expected = spans.first().copied().filter(|run| run.first.seq == from);
            prop_assert_eq!(runs.take_from(from), expected);
            prop_assert_eq!(runs.iter().count(), spans.len() - usize::from(expected.is_some()));
        }
    }
}

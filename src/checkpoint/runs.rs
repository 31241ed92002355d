//! Answered items beyond a hole, kept as runs.
//!
//! ```text
//! 9 4 7 5 8 ──► Runs: 4–5 · 7–9
//! ```
//!
//! A run costs the same however long it is. Items come near the end mostly, so finding their place is a few steps.

use std::collections::VecDeque;

use super::mark::{Mark, Place};

/// Items of one source that stand side by side in its line, from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run<M: Mark> {
    pub(super) first: M::Place,
    /// It stands for all of them.
    pub(super) last: M,
}

/// Runs of one source, by [`Place::seq`]: ascending, and none [precedes](Place::precedes) the next.
#[derive(Debug)]
pub(super) struct Runs<M: Mark> {
    runs: VecDeque<Run<M>>,
}

impl<M: Mark> Run<M> {
    fn last_seq(&self) -> u64 {
        self.last.place().seq()
    }
}

impl<M: Mark> Runs<M> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { runs: VecDeque::new() }
    }

    /// Adds an item; says whether it is new.
    pub(super) fn add(&mut self, mark: M) -> bool {
        let place = mark.place();
        let seq = place.seq();
        let at = self.runs.partition_point(|run| run.last_seq() < seq);
        let joins_before = at > 0 && self.runs[at - 1].last.place().precedes(&place);
        let joins_next = match self.runs.get(at) {
            Some(next) if next.first.seq() <= seq => return false,
            next => next.is_some_and(|next| place.precedes(&next.first)),
        };
        match (joins_before, joins_next) {
            (true, true) => {
                self.runs[at - 1].last = self.runs[at].last.after(mark).after(self.runs[at - 1].last);
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].last = mark.after(self.runs[at - 1].last),
            (false, true) => {
                self.runs[at].first = place;
                self.runs[at].last = self.runs[at].last.after(mark);
            }
            (false, false) => self.runs.insert(at, Run { first: place, last: mark }),
        }
        true
    }

    /// Takes the first run, if it begins with item `seq`.
    pub(super) fn take_from(&mut self, seq: u64) -> Option<Run<M>> {
        self.runs.pop_front_if(|run| run.first.seq() == seq)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run<M>> {
        self.runs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::watermark::testing::Summed;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// An item whose line is cut before every multiple of 5.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct InFives(u64);

    impl Place for InFives {
        fn source(&self) -> usize {
            0
        }

        fn seq(&self) -> u64 {
            self.0
        }

        fn precedes(&self, next: &Self) -> bool {
            self.0 + 1 == next.0 && !next.0.is_multiple_of(5)
        }
    }

    proptest! {
        #[test]
        fn a_place_may_keep_runs_apart(added in proptest::collection::vec(0_u64..40, 0..80)) {
            let (mut runs, mut set) = (Runs::new(), BTreeSet::new());
            for seq in added {
                prop_assert_eq!(runs.add(InFives(seq)), set.insert(seq));
            }
            let held: Vec<(u64, u64)> = runs.iter().map(|run| (run.first.0, run.last.0)).collect();
            let starts = set.iter().filter(|seq| seq.is_multiple_of(5) || !set.contains(&(*seq - 1)));
            let last = |from: u64| (from..).take_while(move |seq| *seq == from || !seq.is_multiple_of(5));
            let expected: Vec<(u64, u64)> =
                starts.map(|from| (*from, last(*from).take_while(|seq| set.contains(seq)).last().unwrap())).collect();
            prop_assert_eq!(held, expected);
        }

        #[test]
        fn they_are_the_set_of_what_was_added(added in proptest::collection::vec(0_u64..40, 0..80), from in 0_u64..40) {
            let (mut runs, mut set) = (Runs::new(), BTreeSet::new());
            let mark = |seq: u64| Summed((0, seq), seq * seq);
            for seq in added {
                prop_assert_eq!(runs.add(mark(seq)), set.insert(seq));
            }
            let held: Vec<u64> = runs.iter().flat_map(|run| run.first.1..=run.last_seq()).collect();
            prop_assert_eq!(&held, &set.iter().copied().collect::<Vec<_>>());
            let spans: Vec<_> = runs.iter().copied().collect();
            let sum = |run: &Run<Summed>| (run.first.1..=run.last_seq()).map(|seq| seq * seq).sum();
            let is_as_added = |run: &Run<Summed>| run.last == Summed((0, run.last_seq()), sum(run));
            prop_assert!(spans.iter().all(is_as_added));
            prop_assert!(spans.windows(2).all(|pair| pair[0].last_seq() + 1 < pair[1].first.1), "none touch");
            let expected = spans.first().copied().filter(|run| run.first.1 == from);
            prop_assert_eq!(runs.take_from(from), expected);
            prop_assert_eq!(runs.iter().count(), spans.len() - usize::from(expected.is_some()));
        }
    }
}

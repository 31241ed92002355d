//! How far each source is answered: the item without a hole before it, and what was answered beyond.
//!
//! ```text
//! answers, any order ──► per source: seq 0 1 2 _ 4 5 ──► prefix = 2, ahead = 4–5, total = 5
//! ```
//!
//! A position may never pass an item that is not answered, so what was answered beyond a hole is kept beside it until the
//! hole is filled.

use super::mark::{Mark, Place};
use super::runs::Runs;

/// The answered items of every source of a run.
#[derive(Debug)]
pub struct Watermark<M: Mark> {
    sources: Vec<Source<M>>,
    total: u64,
}

#[derive(Debug)]
struct Source<M: Mark> {
    /// All items below are answered.
    next: u64,
    prefix: Option<M>,
    ahead: Runs<M>,
}

impl<M: Mark> Source<M> {
    fn starting(next: u64) -> Self {
        Self { next, prefix: None, ahead: Runs::new() }
    }

    fn ack(&mut self, mark: M) -> bool {
        let seq = mark.place().seq();
        if seq != self.next {
            return seq > self.next && self.ahead.add(mark);
        }
        let mut last = mark;
        while let Some(run) = self.ahead.take_from(last.place().seq() + 1) {
            last = run.last.after(last);
        }
        self.next = last.place().seq() + 1;
        self.prefix = Some(self.prefix.map_or(last, |prefix| last.after(prefix)));
        true
    }
}

impl<M: Mark> Watermark<M> {
    /// Nothing answered yet. `starts` holds the number of the first item of each source.
    #[must_use]
    pub fn new(starts: impl IntoIterator<Item = u64>) -> Self {
        Self { sources: starts.into_iter().map(Source::starting).collect(), total: 0 }
    }

    /// Notes that an item is answered; says whether that is news. An item noted before, or one of a source that the
    /// run doesn't have, changes nothing.
    pub fn ack(&mut self, mark: M) -> bool {
        let Some(source) = self.sources.get_mut(mark.place().source()) else { return false };
        let new = source.ack(mark);
        self.total += u64::from(new);
        new
    }

    /// How many sources there are.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The last item of `source` that is answered with all before it; its mark stands for all of them.
    #[must_use]
    pub fn prefix(&self, source: usize) -> Option<M> {
        self.sources.get(source)?.prefix
    }

    /// The number of the first item of `source` that is not answered; 0 where there is no such source.
    #[must_use]
    pub fn next(&self, source: usize) -> u64 {
        self.sources.get(source).map_or(0, |source| source.next)
    }

    /// What is answered of `source` beyond its prefix: the first and the last item of each run, ascending.
    pub fn ahead(&self, source: usize) -> impl Iterator<Item = (M::Place, M::Place)> {
        let source = self.sources.get(source);
        source.into_iter().flat_map(|source| source.ahead.iter()).map(|run| (run.first, run.last.place()))
    }

    /// How many items are answered, over all sources.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::Mark;

    /// An item, and the sum of the numbers of those that it stands for, each of them squared.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in super::super) struct Summed(pub(in super::super) (usize, u64), pub(in super::super) u64);

    impl Mark for Summed {
        type Place = (usize, u64);

        fn place(&self) -> (usize, u64) {
            self.0
        }

        fn after(self, before: Self) -> Self {
            Self(self.0, self.1 + before.1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Summed;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Any answers in any order, against a set of all that was answered.
        #[test]
        fn never_past_an_unanswered_event(
            acks in proptest::collection::vec((0_usize..4, 0_u64..25), 0..300),
            first in 0_u64..5,
        ) {
            let mut watermark = Watermark::new([0, first, 0]);
            let mut answered = BTreeSet::new();
            for (source, seq) in acks {
                let is_of_run = source < 3 && (source != 1 || seq >= first);
                let new = watermark.ack(Summed((source, seq), seq * seq));
                prop_assert_eq!(new, is_of_run && answered.insert((source, seq)));
                for source in 0..3 {
                    let start = if source == 1 { first } else { 0 };
                    let next = (start..=25).find(|seq| !answered.contains(&(source, *seq))).unwrap();
                    prop_assert_eq!(watermark.next(source), next);
                    let sum = (start..next).map(|seq| seq * seq).sum();
                    prop_assert_eq!(watermark.prefix(source), (next > start).then(|| Summed((source, next - 1), sum)));
                    let ahead: Vec<_> = watermark.ahead(source).flat_map(|(first, last)| first.1..=last.1).collect();
                    let expected: Vec<_> = (next..25).filter(|seq| answered.contains(&(source, *seq))).collect();
                    prop_assert_eq!(ahead, expected);
                }
                prop_assert_eq!(watermark.total(), answered.len() as u64);
            }
        }
    }
}

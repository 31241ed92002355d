//! How far each output is answered: the position without a hole before it, and what was answered beyond.
//!
//! ```text
//! answers, any order ──► per output: seq 0 1 2 _ 4 5 ──► prefix = 2, ahead = 4–5, total = 5
//! ```
//!
//! A cursor may never pass a row that IG has not answered (contract, section 7), so what was answered
//! beyond a hole is kept beside it until the hole is filled.

use super::runs::{Run, Runs};
use crate::model::{Micros, Position};

/// An answered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where its row stands.
    pub position: Position,
    /// Its event time.
    pub ts: Micros,
    /// Its event id before hex.
    pub event_id: [u8; 32],
}

/// The answered events of every output of a run.
#[derive(Debug, Default)]
pub struct Watermark {
    outputs: Vec<Output>,
    total: u64,
}

#[derive(Debug, Default)]
struct Output {
    /// All events below are answered.
    next: u64,
    prefix: Option<Mark>,
    ahead: Runs,
}

impl Output {
    fn ack(&mut self, mark: Mark) -> bool {
        let seq = mark.position.seq;
        if seq != self.next {
            return seq > self.next && self.ahead.add(mark);
        }
        let last = self.ahead.take_from(seq + 1).map_or(mark, |run: Run| run.last);
        (self.prefix, self.next) = (Some(last), last.position.seq + 1);
        true
    }
}

impl Watermark {
    /// Nothing answered, in a run of `outputs` outputs.
    #[must_use]
    pub fn new(outputs: usize) -> Self {
        Self { outputs: std::iter::repeat_with(Output::default).take(outputs).collect(), total: 0 }
    }

    /// Notes that an event is answered; says whether that is news. An event noted before, or one of an output that the
    /// run doesn't have, changes nothing.
    pub fn ack(&mut self, mark: Mark) -> bool {
        let Some(output) = self.outputs.get_mut(usize::from(mark.position.rank)) else { return false };
        let new = output.ack(mark);
        self.total += u64::from(new);
        new
    }

    /// The last event of output `rank` that is answered with all before it.
    #[must_use]
    pub fn prefix(&self, rank: u16) -> Option<Mark> {
        self.outputs.get(usize::from(rank))?.prefix
    }

    /// What is answered of output `rank` beyond its prefix: the first and the last event of each run, ascending.
    pub fn ahead(&self, rank: u16) -> impl Iterator<Item = (Position, Position)> {
        let output = self.outputs.get(usize::from(rank));
        output.into_iter().flat_map(|output| output.ahead.iter()).map(|run| (run.first, run.last.position))
    }

    /// How many events are answered, over all outputs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn mark(rank: u16, seq: u64) -> Mark {
        let position = Position { rank, file: (seq / 10) as u32, row: seq % 10, seq };
        Mark { position, ts: Micros(seq.cast_signed()), event_id: [seq as u8; 32] }
    }

    proptest! {
        /// Any answers in any order, against a set of all that was answered.
        #[test]
        fn never_past_an_unanswered_event(acks in proptest::collection::vec((0_u16..4, 0_u64..25), 0..300)) {
            let mut watermark = Watermark::new(3);
            let mut answered = BTreeSet::new();
            for (rank, seq) in acks {
                let new = watermark.ack(mark(rank, seq));
                prop_assert_eq!(new, rank < 3 && answered.insert((rank, seq)));
                for rank in 0..3 {
                    let prefix = (0..25).take_while(|seq| answered.contains(&(rank, *seq))).count() as u64;
                    let expected = prefix.checked_sub(1).map(|seq| mark(rank, seq));
                    prop_assert_eq!(watermark.prefix(rank), expected);
                    let ahead: Vec<_> = watermark.ahead(rank).flat_map(|(first, last)| first.seq..=last.seq).collect();
                    let expected: Vec<_> = (prefix..25).filter(|seq| answered.contains(&(rank, *seq))).collect();
                    prop_assert_eq!(ahead, expected);
                }
                prop_assert_eq!(watermark.total(), answered.len() as u64);
            }
        }
    }
}

//! How far each output is answered without a hole: the one position that may be saved.
//!
//! ```text
//! answers, any order ──► per output: seq 0 1 2 _ 4 5 ──► prefix = 2, total = 3
//! ```
//!
//! A cursor may never pass a row that IG has not answered (contract, section 7), so what was answered
//! beyond a hole waits here until the hole is filled.

use super::contiguous::Contiguous;
use crate::model::{Micros, Position};

/// A position and its event time.
pub type Mark = (Position, Micros);

/// The contiguous answered prefix of every output of a run.
#[derive(Debug, Default)]
pub struct Watermark {
    outputs: Vec<Output>,
    total: u64,
}

#[derive(Debug, Default)]
struct Output {
    line: Contiguous<Mark>,
    prefix: Option<Mark>,
}

impl Watermark {
    /// Nothing answered, in a run of `outputs` outputs.
    #[must_use]
    pub fn new(outputs: usize) -> Self {
        Self { outputs: std::iter::repeat_with(Output::default).take(outputs).collect(), total: 0 }
    }

    /// Notes that the event at `position` is answered; says whether its output's prefix grew. An event noted
    /// before, or one of an output that the run doesn't have, changes nothing.
    pub fn ack(&mut self, position: Position, ts: Micros) -> bool {
        let Some(output) = self.outputs.get_mut(usize::from(position.rank)) else { return false };
        let before = output.line.taken();
        let prefix = &mut output.prefix;
        output.line.give(position.seq, (position, ts), |mark| *prefix = Some(mark));
        let grown = output.line.taken() - before;
        self.total += grown;
        grown > 0
    }

    /// The last event of output `rank` that is answered with all before it.
    #[must_use]
    pub fn prefix(&self, rank: u16) -> Option<Mark> {
        self.outputs.get(usize::from(rank))?.prefix
    }

    /// How many events are within the prefixes of all outputs.
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

    fn position(rank: u16, seq: u64) -> Position {
        Position { rank, file: (seq / 10) as u32, row: seq % 10, seq }
    }

    proptest! {
        /// Any answers in any order, against a set of all that was answered.
        #[test]
        fn never_past_an_unanswered_event(acks in proptest::collection::vec((0_u16..4, 0_u64..25), 0..300)) {
            let mut watermark = Watermark::new(3);
            let mut answered = BTreeSet::new();
            for (rank, seq) in acks {
                let grew = watermark.ack(position(rank, seq), Micros(seq.cast_signed()));
                let before = naive(&answered, rank);
                if rank < 3 {
                    answered.insert((rank, seq));
                }
                prop_assert_eq!(grew, naive(&answered, rank) > before);
                for rank in 0..3 {
                    let expected = naive(&answered, rank).checked_sub(1);
                    let expected = expected.map(|seq| (position(rank, seq), Micros(seq.cast_signed())));
                    prop_assert_eq!(watermark.prefix(rank), expected);
                }
                prop_assert_eq!(watermark.total(), (0..3).map(|rank| naive(&answered, rank)).sum::<u64>());
            }
        }
    }

    fn naive(answered: &BTreeSet<(u16, u64)>, rank: u16) -> u64 {
        (0..25).take_while(|seq| answered.contains(&(rank, *seq))).count() as u64
    }
}

//! How far one partition (or shard) is settled when its messages are settled in any order.
//!
//! ```text
//! read:      0   1   2   3   4        settled up to = the message read just before the first open one,
//! state:     ✓   ✓  open ✓  open      or the last one read where none is open
//!                ▲ 1
//! ```

use std::collections::BTreeMap;

/// One partition's messages since it was assigned. Memory grows with the open ones alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger<O> {
    /// Open messages, each with the one that was read before it.
    open: BTreeMap<O, Option<O>>,
    last: Option<O>,
}

impl<O> Default for Ledger<O> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), last: None }
    }
}

impl<O: Ord + Clone> Ledger<O> {
    /// A message was read that will be settled later.
    ///
    /// `false`, and nothing is entered, where `offset` is not beyond all that were read: the partition was rewound
    /// (its topic made anew, say), and what is known about it no longer holds.
    #[must_use]
    pub fn read(&mut self, offset: O) -> bool {
        let before = self.last.clone();
        let forward = self.pass(offset.clone());
        if forward {
            self.open.insert(offset, before);
        }
        forward
    }

    /// A message was read that needs no settling. The result is as for [`Ledger::read`].
    #[must_use]
    pub fn pass(&mut self, offset: O) -> bool {
        let forward = self.last.as_ref().is_none_or(|last| offset > *last);
        if forward {
            self.last = Some(offset);
        }
        forward
    }

    /// A message is settled for good. One that isn't open is ignored.
    pub fn settle(&mut self, offset: &O) {
        self.open.remove(offset);
    }

    /// The last message that is settled with all before it; `None` where the first one read is open, or none was read.
    #[must_use]
    pub fn settled(&self) -> Option<&O> {
        match self.open.first_key_value() {
            Some((_, before)) => before.as_ref(),
            None => self.last.as_ref(),
        }
    }

    /// Whether no message is open.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_message_holds_back_what_comes_after_it() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.settled(), None);
        assert!(ledger.pass(4) && ledger.read(5) && ledger.read(6) && ledger.pass(7));
        ledger.settle(&6);
        assert_eq!((ledger.settled(), ledger.is_settled()), (Some(&4), false));
        ledger.settle(&5);
        assert_eq!((ledger.settled(), ledger.is_settled()), (Some(&7), true));
    }

    #[test]
    fn nothing_is_settled_while_the_first_message_is_open() {
        let mut ledger = Ledger::default();
        assert!(ledger.read(5));
        assert_eq!(ledger.settled(), None);
    }

    #[test]
    fn a_rewound_offset_is_reported() {
        let mut ledger = Ledger::default();
        assert!(ledger.read(5));
        assert!(!ledger.read(5) && !ledger.pass(0));
        assert_eq!(ledger.settled(), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read { gap: i64 },
        Pass { gap: i64 },
        Settle(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_i64..4).prop_map(|gap| Step::Read { gap }),
            (1_i64..4).prop_map(|gap| Step::Pass { gap }),
            any::<prop::sample::Index>().prop_map(Step::Settle),
        ]
    }

    proptest! {
        /// Against the plain list of what was read: never past an open message, never back, never behind for nothing.
        /// Gaps are those of compacted topics, and of sequence numbers.
        #[test]
        fn settled_is_safe_monotone_and_tight(start in 0_i64..1000, steps in prop::collection::vec(step(), 1..80)) {
            let mut ledger = Ledger::default();
            let mut all: Vec<(i64, bool)> = Vec::new();
            let mut offset = start;
            let mut last = None;
            for step in steps {
                match step {
                    Step::Read { gap } => {
                        offset += gap;
                        prop_assert!(ledger.read(offset));
                        all.push((offset, true));
                    }
                    Step::Pass { gap } => {
                        offset += gap;
                        prop_assert!(ledger.pass(offset));
                        all.push((offset, false));
                    }
                    Step::Settle(which) if !all.is_empty() => {
                        let at = which.index(all.len());
                        all[at].1 = false;
                        ledger.settle(&all[at].0);
                    }
                    Step::Settle(_) => {}
                }
                let settled = all.iter().take_while(|(_, open)| !open);
                let expected = settled.last().map(|(offset, _)| *offset);
                prop_assert_eq!(ledger.settled().copied(), expected);
                prop_assert_eq!(ledger.is_settled(), all.iter().all(|(_, open)| !open));
                prop_assert!(expected >= last);
                last = expected;
            }
        }
    }
}

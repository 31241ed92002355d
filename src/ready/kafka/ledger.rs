//! Which offset of a partition may be committed, when messages are settled in any order.
//!
//! ```text
//! read:      0   1   2   3   4        committable = the lowest open offset,
//! state:     ✓   ✓  open ✓  open      or one past the last read where none is open
//!                    ▲ 2
//! ```

use std::collections::BTreeSet;

/// One partition's messages since it was assigned. Memory grows with the open ones alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OffsetLedger {
    open: BTreeSet<i64>,
    next: Option<i64>,
}

impl OffsetLedger {
    /// A message was read that will be settled later.
    ///
    /// `false`, and nothing is entered, where `offset` is not beyond all that were read: the partition was rewound
    /// (its topic made anew, say), and what is known about it no longer holds.
    #[must_use]
    pub(super) fn read(&mut self, offset: i64) -> bool {
        let forward = self.pass(offset);
        if forward {
            self.open.insert(offset);
        }
        forward
    }

    /// A message was read that needs no settling. The answer is as for [`OffsetLedger::read`].
    #[must_use]
    pub(super) fn pass(&mut self, offset: i64) -> bool {
        let forward = self.next.is_none_or(|next| offset >= next);
        if forward {
            self.next = Some(offset.saturating_add(1));
        }
        forward
    }

    /// A message is settled for good. One that isn't open is ignored.
    pub(super) fn settle(&mut self, offset: i64) {
        self.open.remove(&offset);
    }

    /// Where a consumer that takes over may begin without missing an open message; `None` until one was read.
    #[must_use]
    pub(super) fn committable(&self) -> Option<i64> {
        self.open.first().copied().or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_message_holds_back_what_comes_after_it() {
        let mut ledger = OffsetLedger::default();
        assert_eq!(ledger.committable(), None);
        assert!(ledger.read(5) && ledger.read(6) && ledger.pass(7));
        ledger.settle(6);
        assert_eq!(ledger.committable(), Some(5));
        ledger.settle(5);
        assert_eq!(ledger.committable(), Some(8));
    }

    #[test]
    fn a_rewound_offset_is_told() {
        let mut ledger = OffsetLedger::default();
        assert!(ledger.read(5));
        assert!(!ledger.read(5) && !ledger.pass(0));
        assert_eq!(ledger.committable(), Some(5));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read { gap: i64 },
        Pass { gap: i64 },
        Settle(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_i64..3).prop_map(|gap| Step::Read { gap }),
            (0_i64..3).prop_map(|gap| Step::Pass { gap }),
            any::<prop::sample::Index>().prop_map(Step::Settle),
        ]
    }

    proptest! {
        /// Against the plain list of what was read: never past an open message, never back, never behind for nothing.
        #[test]
        fn commits_are_safe_monotone_and_tight(start in 0_i64..1000, steps in prop::collection::vec(step(), 1..80)) {
            let mut ledger = OffsetLedger::default();
            let mut all: Vec<(i64, bool)> = Vec::new();
            let mut offset = start;
            let mut last = None;
            for step in steps {
                match step {
                    Step::Read { gap } => {
                        offset += gap;
                        prop_assert!(ledger.read(offset));
                        all.push((offset, true));
                        offset += 1;
                    }
                    Step::Pass { gap } => {
                        offset += gap;
                        prop_assert!(ledger.pass(offset));
                        all.push((offset, false));
                        offset += 1;
                    }
                    Step::Settle(which) if !all.is_empty() => {
                        let at = which.index(all.len());
                        all[at].1 = false;
                        ledger.settle(all[at].0);
                    }
                    Step::Settle(_) => {}
                }
                let expected = all
                    .iter()
                    .find(|(_, open)| *open)
                    .map(|(offset, _)| *offset)
                    .or(all.last().map(|(offset, _)| offset + 1));
                prop_assert_eq!(ledger.committable(), expected);
                prop_assert!(ledger.committable() >= last);
                last = ledger.committable();
            }
        }
    }
}

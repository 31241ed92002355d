//! How far the newest event may be ahead of the oldest one without an answer.
//!
//! ```text
//!        oldest                 next
//!  ────────┼──x───xx──x───x──────┼───── sequence of the run
//!          └──── under `size` ───┘       x = answered out of order; all others, under `held`, are in memory
//! ```

/// The answered flags of the events between the oldest unanswered one and the newest one handed over.
///
/// Its size bounds how far one event that has to wait can be left behind. The number held bounds memory: an answered
/// event costs a flag, an unanswered one its body.
#[derive(Debug)]
pub struct Window {
    answered: Box<[bool]>,
    held: u64,
    oldest: u64,
    next: u64,
    /// Unanswered events.
    open: u64,
}

impl Window {
    /// A window of `size` events with at most `held` unanswered ones in it (0 counts as 1).
    #[must_use]
    pub fn new(size: usize, held: usize) -> Self {
        Self { answered: vec![false; size.max(1)].into(), held: held.max(1) as u64, oldest: 0, next: 0, open: 0 }
    }

    /// Whether another event may be handed over.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.open < self.held && self.next - self.oldest < self.answered.len() as u64
    }

    /// Takes in the next event, and says which number it has: 0, 1, 2, …
    ///
    /// Call it only while [`Window::may_send`] holds.
    pub fn send(&mut self) -> u64 {
        debug_assert!(self.may_send(), "the window is full");
        let seq = self.next;
        self.next += 1;
        self.open += 1;
        seq
    }

    /// Marks an event as answered. Numbers that are not in the window are passed over.
    pub fn answer(&mut self, seq: u64) {
        if seq < self.oldest || seq >= self.next {
            return;
        }
        let slot = self.slot(seq);
        if std::mem::replace(&mut self.answered[slot], true) {
            return;
        }
        self.open -= 1;
        while self.oldest < self.next {
            let slot = self.slot(self.oldest);
            if !std::mem::take(&mut self.answered[slot]) {
                break;
            }
            self.oldest += 1;
        }
    }

    /// How many events were handed over in all.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Whether every event handed over is answered.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.oldest == self.next
    }

    fn slot(&self, seq: u64) -> usize {
        (seq % self.answered.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_equals_a_set_of_unanswered_numbers(
            size in 1_usize..20, held in 1_usize..20, steps in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let mut window = Window::new(size, held);
            let mut open = BTreeSet::new();
            let mut next = 0;
            for step in steps {
                if step % 2 == 0 {
                    let near = open.first().is_none_or(|oldest| next - oldest < size as u64);
                    let free = near && open.len() < held;
                    prop_assert_eq!(window.may_send(), free);
                    if free {
                        prop_assert_eq!(window.send(), next);
                        open.insert(next);
                        next += 1;
                    }
                } else if let Some(seq) = open.iter().nth(usize::from(step) % open.len().max(1)).copied() {
                    open.remove(&seq);
                    window.answer(seq);
                }
                prop_assert_eq!(window.all_answered(), open.is_empty());
                prop_assert_eq!(window.sent(), next);
            }
        }
    }

    #[test]
    fn a_late_or_foreign_answer_changes_nothing() {
        let mut window = Window::new(2, 2);
        window.send();
        window.answer(0);
        window.answer(0);
        window.answer(1);
        window.answer(9);
        assert!(window.all_answered());
        window.send();
        assert!(!window.all_answered());
    }
}

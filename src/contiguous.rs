//! Puts what comes numbered, in any order, back in line.
//!
//! ```text
//! 3 0 1 4 2 ──► Contiguous ──► 0 · 1 · 2 3 4
//! ```

use std::collections::VecDeque;

/// Items numbered from 0 without a gap, given in any order and taken in order. It holds as many places as the
/// newest item given is ahead of the oldest one missing, so whoever numbers them bounds its memory.
#[derive(Debug)]
pub struct Contiguous<T> {
    /// The number of `ahead`'s first place: all below were taken.
    next: u64,
    ahead: VecDeque<Option<T>>,
}

impl<T> Contiguous<T> {
    /// Nothing given yet.
    #[must_use]
    pub fn new() -> Self {
        Self { next: 0, ahead: VecDeque::new() }
    }

    /// Gives item `seq`, and takes whatever is in line now. An item given before is dropped.
    pub fn give(&mut self, seq: u64, item: T, mut take: impl FnMut(T)) {
        let Some(distance) = seq.checked_sub(self.next) else { return };
        if distance == 0 && self.ahead.is_empty() {
            self.next += 1;
            return take(item);
        }
        let place = distance as usize;
        if place >= self.ahead.len() {
            self.ahead.resize_with(place + 1, || None);
        }
        self.ahead[place].get_or_insert(item);
        while let Some(Some(item)) = self.ahead.front_mut().map(Option::take) {
            self.ahead.pop_front();
            self.next += 1;
            take(item);
        }
    }

    /// The items that wait for one before them, in line.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.ahead.iter().flatten()
    }

    /// How many were taken: the number of the oldest one missing.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.next
    }
}

impl<T> Default for Contiguous<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    proptest! {
        #[test]
        fn any_order_comes_out_in_line(indexes in proptest::collection::vec(any::<Index>(), 0..60)) {
            // A random order by drawing from what is left, with every third item given twice.
            let mut left: Vec<u64> = (0..indexes.len() as u64).collect();
            let (mut given, mut taken) = (std::collections::BTreeSet::new(), Vec::new());
            let mut line = Contiguous::new();
            for index in indexes {
                let seq = left.remove(index.index(left.len()));
                for _ in 0..=u8::from(seq.is_multiple_of(3)) {
                    line.give(seq, seq, |item| taken.push(item));
                }
                given.insert(seq);
                let prefix = (0..=60).find(|seq| !given.contains(seq)).unwrap();
                prop_assert_eq!(line.taken(), prefix);
                prop_assert_eq!(&taken, &(0..prefix).collect::<Vec<_>>());
                let waiting = given.range(prefix..).copied().collect::<Vec<_>>();
                prop_assert_eq!(line.waiting().copied().collect::<Vec<_>>(), waiting);
            }
            prop_assert_eq!(line.ahead.len(), 0);
        }
    }
}

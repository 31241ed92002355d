//! Where events wait for another try, and behind each of them those of its line.
//!
//! ```text
//!  failed ──hold──► due (by time) ──take_due──► another attempt ─┬─ failed: hold
//!                     │ its line is blocked                      └─ answered: settle
//!  next of that line ──follow──► behind it ◄──────── settle: the first of them ──► take_free
//! ```
//!
//! A line is what must stay in order: an order key, or the whole stream. An event that waits holds up its own
//! line and no other, so a channel goes on with the events of other lines.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Items that wait, each with its line. Everything in it is of a blocked line.
#[derive(Debug)]
pub(super) struct Pen<T> {
    /// The blocked lines, each with what stands behind its first item. The first one is in `due`, in `free`, or out
    /// for its attempt.
    lines: BTreeMap<u64, VecDeque<T>>,
    /// First items that wait for their time; the number keeps those of one instant in the order they came.
    due: BTreeMap<(Duration, u64), (u64, T)>,
    /// First items that may be sent at once.
    free: VecDeque<(u64, T)>,
    held: u64,
}

impl<T> Pen<T> {
    pub(super) fn new() -> Self {
        Self { lines: BTreeMap::new(), due: BTreeMap::new(), free: VecDeque::new(), held: 0 }
    }

    /// Whether no line is blocked, so that nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether an item of `line` has to stand behind another.
    pub(super) fn blocks(&self, line: u64) -> bool {
        self.lines.contains_key(&line)
    }

    /// Takes in an item of a blocked line.
    pub(super) fn follow(&mut self, line: u64, item: T) {
        self.lines.entry(line).or_default().push_back(item);
    }

    /// Takes in the first item of `line`, for another try at `due`. The line is blocked from now on.
    pub(super) fn hold(&mut self, line: u64, item: T, due: Duration) {
        self.lines.entry(line).or_default();
        self.due.insert((due, self.held), (line, item));
        self.held += 1;
    }

    /// The item that has waited longest beyond its time, for its attempt. Its line stays blocked until
    /// [`Pen::settle`].
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(u64, T)> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// An item whose turn came because the one before it in its line was answered.
    pub(super) fn take_free(&mut self) -> Option<(u64, T)> {
        self.free.pop_front()
    }

    /// The first item of `line` was answered: the next one is free, or the line is no longer blocked.
    pub(super) fn settle(&mut self, line: u64) {
        let Some(behind) = self.lines.get_mut(&line) else { return };
        match behind.pop_front() {
            Some(next) => self.free.push_back((line, next)),
            None => {
                self.lines.remove(&line);
            }
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const LINES: u64 = 5;

    /// A channel that sends one item at a time, out of the pen or new; `fails` decides over each attempt. Says in
    /// which order items were answered.
    fn channel(items: &[u64], mut fails: impl FnMut() -> bool) -> Vec<(u64, usize)> {
        let (mut pen, mut now, mut answered) = (Pen::new(), Duration::ZERO, Vec::new());
        let mut new = items.iter().map(|line| line % LINES).zip(0..items.len());
        loop {
            now += Duration::from_millis(3);
            let sent = match pen.take_free().or_else(|| pen.take_due(now)) {
                Some(sent) => sent,
                None => match new.next() {
                    Some((line, item)) if pen.blocks(line) => {
                        pen.follow(line, item);
                        continue;
                    }
                    Some(sent) => sent,
                    None if pen.is_empty() => return answered,
                    None => {
                        now = pen.next_due().unwrap();
                        continue;
                    }
                },
            };
            if fails() {
                pen.hold(sent.0, sent.1, now + Duration::from_millis(10));
            } else {
                pen.settle(sent.0);
                answered.push(sent);
            }
        }
    }

    proptest! {
        #[test]
        fn every_item_comes_out_and_none_overtakes_its_line(
            items in proptest::collection::vec(0..LINES, 0..60), fails in proptest::collection::vec(any::<bool>(), 0..90)
        ) {
            let mut fails = fails.into_iter();
            let answered = channel(&items, || fails.next().unwrap_or(false));
            let all: BTreeSet<usize> = answered.iter().map(|(_, item)| *item).collect();
            prop_assert_eq!((all.len(), answered.len()), (items.len(), items.len()));
            for line in 0..LINES {
                let of_line: Vec<usize> = answered.iter().filter(|sent| sent.0 == line).map(|sent| sent.1).collect();
                prop_assert!(of_line.is_sorted(), "{of_line:?}");
            }
        }
    }

    #[test]
    fn another_line_goes_past_one_that_waits() {
        let mut fails = [true, true].into_iter();
        let answered = channel(&[0, 0, 1, 2, 1], || fails.next().unwrap_or(false));
        // Items 0 and 2 failed; 1 and 4 wait behind them, 3 does not.
        assert_eq!(answered.iter().map(|sent| sent.1).collect::<Vec<_>>(), [3, 0, 1, 2, 4]);
    }

    #[test]
    fn what_is_due_first_comes_first_and_not_before_its_time() {
        let ms = Duration::from_millis;
        let mut pen = Pen::new();
        for (line, due) in [(1, 30), (2, 10), (3, 10)] {
            pen.hold(line, line, ms(due));
        }
        assert_eq!(pen.next_due(), Some(ms(10)));
        assert_eq!(pen.take_due(ms(9)), None);
        let taken: Vec<_> = std::iter::from_fn(|| pen.take_due(ms(30))).map(|(line, _)| line).collect();
        assert_eq!(taken, [2, 3, 1]);
        assert!(pen.blocks(2) && !pen.is_empty(), "a line is blocked while its first item is out");
    }
}

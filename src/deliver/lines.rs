//! Which event goes next: the first in canonical order whose line is free.
//!
//! ```text
//!  add ──line free──► ready (by number) ──take──► on the way ─┬─ answered: settle ─► the next of its line is ready
//!   └──line taken──► behind the line's first item             └─ failed:   hold ──► due (by time) ──take_due──► on the way
//! ```
//!
//! A line is what must stay in order: an order key, or the whole stream. Its first item is ready, on the way or due for
//! another attempt; the others of the line wait behind it. A released item takes its place by number, in front of
//! younger items that are ready.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::random::mix;

/// An item behind so many others of its line waits long enough to be prepared for it: that many answers have to come first.
const LONG: usize = 16;
/// Emptied queues with at most this capacity are used again.
const SPARE: usize = 64;

/// An item with its place in the stream's order.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    /// 0, 1, 2, … in canonical order.
    pub(super) seq: u64,
    /// What it has to keep its order in; an item without a line waits for no other.
    pub(super) line: Option<u64>,
    /// The item.
    pub(super) item: T,
}

/// The items that wait, and the lines whose first item is out.
#[derive(Debug)]
pub(super) struct Lines<T> {
    /// Lines that have an item here or on the way, each with the items behind its first one.
    taken: HashMap<u64, Behind<T>, BuildHasherDefault<LineHasher>>,
    /// Ready items that came with a free line, ascending by number.
    fresh: VecDeque<Numbered<T>>,
    /// Ready items that waited behind their line's first one, by number.
    released: BinaryHeap<Oldest<T>>,
    /// Items that wait for their next attempt, by time, then number.
    due: BTreeMap<(Duration, u64), Numbered<T>>,
    /// Memory of queues that have emptied.
    spare: Vec<VecDeque<Numbered<T>>>,
}

#[derive(Debug)]
struct Behind<T> {
    items: VecDeque<Numbered<T>>,
    /// The first item failed before, so those behind it may wait for long.
    first_failed: bool,
}

/// The greatest is the one with the lowest number.
#[derive(Debug)]
struct Oldest<T>(Numbered<T>);

impl<T> Ord for Oldest<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.seq.cmp(&self.0.seq)
    }
}

impl<T> PartialOrd for Oldest<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Oldest<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.seq == other.0.seq
    }
}

impl<T> Eq for Oldest<T> {}

/// Order keys are hashes already. They are only spread anew: those of a lane have a remainder in common, and tests count
/// them up.
#[derive(Debug, Default)]
struct LineHasher(u64);

impl Hasher for LineHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, line: u64) {
        self.0 = mix(line);
    }
}

impl<T> Lines<T> {
    pub(super) fn new() -> Self {
        Self {
            taken: HashMap::default(),
            fresh: VecDeque::new(),
            released: BinaryHeap::new(),
            due: BTreeMap::new(),
            spare: Vec::new(),
        }
    }

    /// Takes in an item; their numbers ascend. `settle_in` prepares it for a long wait: its line's first item has failed,
    /// or many others of its line come before it.
    pub(super) fn add(&mut self, mut numbered: Numbered<T>, settle_in: impl FnOnce(&mut T)) {
        let Some(line) = numbered.line else { return self.fresh.push_back(numbered) };
        match self.taken.entry(line) {
            Entry::Vacant(free) => {
                let items = self.spare.pop().unwrap_or_default();
                free.insert(Behind { items, first_failed: false });
                self.fresh.push_back(numbered);
            }
            Entry::Occupied(mut behind) => {
                let behind = behind.get_mut();
                if behind.first_failed || behind.items.len() >= LONG {
                    settle_in(&mut numbered.item);
                }
                behind.items.push_back(numbered);
            }
        }
    }

    /// How many items may be sent for the first time now.
    pub(super) fn ready(&self) -> usize {
        self.fresh.len() + self.released.len()
    }

    /// The first item, by number, that may be sent for the first time.
    pub(super) fn take(&mut self) -> Option<Numbered<T>> {
        let Some(released) = self.released.peek() else { return self.fresh.pop_front() };
        match self.fresh.front() {
            Some(fresh) if fresh.seq < released.0.seq => self.fresh.pop_front(),
            _ => self.released.pop().map(|oldest| oldest.0),
        }
    }

    /// When the first of the failed items is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    /// The failed item that has been due for longest, if any is at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Numbered<T>> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Keeps an item that failed for another attempt at `due`. Its line stays taken. `settle_in` prepares an item for a
    /// long wait, this one and those behind it; it may see an item more than once.
    pub(super) fn hold(&mut self, mut numbered: Numbered<T>, due: Duration, settle_in: impl Fn(&mut T)) {
        settle_in(&mut numbered.item);
        if let Some(behind) = numbered.line.and_then(|line| self.taken.get_mut(&line))
            && !std::mem::replace(&mut behind.first_failed, true)
        {
            behind.items.iter_mut().for_each(|behind| settle_in(&mut behind.item));
        }
        self.due.insert((due, numbered.seq), numbered);
    }

    /// The first item of `line` was answered: the next one is ready, or the line is free. Says whether it held up a next one.
    pub(super) fn settle(&mut self, line: Option<u64>) -> bool {
        let Some(Entry::Occupied(mut taken)) = line.map(|line| self.taken.entry(line)) else { return false };
        if let Some(next) = taken.get_mut().items.pop_front() {
            taken.get_mut().first_failed = false;
            self.released.push(Oldest(next));
            return true;
        }
        let items = taken.remove().items;
        // No more than there are lines at once; a queue that was long once gives its memory back.
        if (1..=SPARE).contains(&items.capacity()) {
            self.spare.push(items);
        }
        false
    }

    /// Whether nothing waits: no item is ready or due. Items may still stand behind one that is on the way.
    pub(super) fn is_idle(&self) -> bool {
        self.ready() == 0 && self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const MS: Duration = Duration::from_millis(1);

    /// What a connection does next, in a sequence that proptest chooses.
    #[derive(Debug, Clone, Copy)]
    enum Move {
        Add(u64),
        Take,
        Answer(u8),
        Fail(u8),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => (0_u64..6).prop_map(Move::Add),
            3 => Just(Move::Take),
            2 => any::<u8>().prop_map(Move::Answer),
            1 => any::<u8>().prop_map(Move::Fail),
        ];
        proptest::collection::vec(one, 0..200)
    }

    /// The rule by itself: all items that are not answered, by number.
    #[derive(Default)]
    struct Model {
        waiting: BTreeMap<u64, Option<u64>>,
        out: BTreeMap<u64, Option<u64>>,
        due: BTreeMap<u64, Option<u64>>,
    }

    impl Model {
        /// Those that wait and have no older one of their line before them, by number.
        fn ready(&self) -> impl Iterator<Item = u64> {
            let older = |seq: u64, line: u64| {
                let all = self.waiting.iter().chain(&self.out).chain(&self.due);
                all.into_iter().any(|(other, of)| *other < seq && *of == Some(line))
            };
            self.waiting
                .iter()
                .filter(move |(seq, line)| line.is_none_or(|line| !older(**seq, line)))
                .map(|(seq, _)| *seq)
        }

        fn next(&self) -> Option<u64> {
            self.ready().next()
        }
    }

    proptest! {
        #[test]
        fn the_first_item_whose_line_is_free_goes_next(moves in moves(), lined in any::<bool>()) {
            let (mut lines, mut model) = (Lines::new(), Model::default());
            let (mut out, mut now, mut added) = (Vec::new(), Duration::ZERO, 0_u64);
            for step in moves {
                now += MS;
                match step {
                    Move::Add(line) => {
                        let line = lined.then_some(line);
                        lines.add(Numbered { seq: added, line, item: false }, |settled| *settled = true);
                        model.waiting.insert(added, line);
                        added += 1;
                    }
                    Move::Take => {
                        if let Some(due) = lines.take_due(now) {
                            prop_assert!(model.due.remove(&due.seq).is_some());
                            prop_assert!(due.item, "prepared for its wait");
                            model.out.insert(due.seq, due.line);
                            out.push(due);
                        }
                        let taken = lines.take();
                        prop_assert_eq!(taken.as_ref().map(|taken| taken.seq), model.next());
                        if let Some(taken) = taken {
                            model.waiting.remove(&taken.seq);
                            model.out.insert(taken.seq, taken.line);
                            out.push(taken);
                        }
                    }
                    Move::Answer(which) if !out.is_empty() => {
                        let answered = out.swap_remove(usize::from(which) % out.len());
                        model.out.remove(&answered.seq);
                        lines.settle(answered.line);
                    }
                    Move::Fail(which) if !out.is_empty() => {
                        let failed = out.swap_remove(usize::from(which) % out.len());
                        model.out.remove(&failed.seq);
                        model.due.insert(failed.seq, failed.line);
                        lines.hold(failed, now + MS * 5, |settled| *settled = true);
                    }
                    Move::Answer(_) | Move::Fail(_) => {}
                }
                let open: BTreeSet<_> = out.iter().filter_map(|out| out.line).collect();
                prop_assert_eq!(open.len(), out.iter().filter(|out| out.line.is_some()).count(), "one of a line at a time");
                prop_assert_eq!(lines.ready(), model.ready().count());
                prop_assert_eq!(lines.is_idle(), model.next().is_none() && model.due.is_empty());
            }
        }
    }

    #[test]
    fn whatever_waits_long_behind_its_line_is_prepared_for_it() {
        let mut lines = Lines::new();
        let one = |seq| Numbered { seq, line: Some(7), item: false };
        let settle = |settled: &mut bool| *settled = true;
        for seq in 0..40 {
            lines.add(one(seq), settle);
        }
        let mut settled = Vec::new();
        for _ in 0..20 {
            settled.push(lines.take().unwrap().item);
            lines.settle(Some(7));
        }
        // The first one and sixteen behind it came close to the front.
        assert_eq!(settled.iter().position(|settled| *settled), Some(1 + LONG));
        // The queue is short by now, but its first item fails.
        (20..25).for_each(|_| {
            assert!(lines.take().unwrap().item);
            lines.settle(Some(7));
        });
        (40..42).for_each(|seq| lines.add(one(seq), settle));
        assert!(lines.taken[&7].items.iter().rev().take(2).all(|behind| !behind.item), "nothing has failed yet");
        let first = lines.take().unwrap();
        lines.hold(first, MS, settle);
        lines.add(one(42), settle);
        while let Some(next) = lines.take_due(MS).or_else(|| lines.take()) {
            assert!(next.item, "{}", next.seq);
            lines.settle(Some(7));
        }
        assert!(lines.is_idle() && lines.taken.is_empty());
    }

    #[test]
    fn lines_that_end_on_the_same_bits_are_different_lines() {
        let mut lines = Lines::new();
        for (seq, line) in [0, 1 << 63, u64::MAX, 1].into_iter().enumerate() {
            lines.add(Numbered { seq: seq as u64, line: Some(line), item: () }, |()| {});
        }
        assert_eq!(lines.ready(), 4);
    }
}

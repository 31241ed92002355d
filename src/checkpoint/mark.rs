//! Where an item stands, and what is remembered of one that is answered.

use std::fmt;

/// Where an item stands among those of its source.
pub trait Place: Copy + PartialEq + fmt::Debug + Send {
    /// Its source: 0, 1, 2, …
    fn source(&self) -> usize;

    /// How many items of the source come before it: 0, 1, 2, … without a gap, from the first one of the run on. It lets a
    /// watermark see a hole without knowing what a place is.
    fn seq(&self) -> u64;

    /// Whether `next` follows it immediately. The numbers decide; a place may ask for more, and so keep runs of answered
    /// items apart that its producer writes down apart.
    fn precedes(&self, next: &Self) -> bool {
        self.seq() + 1 == next.seq()
    }
}

/// Source and number.
impl Place for (usize, u64) {
    fn source(&self) -> usize {
        self.0
    }

    fn seq(&self) -> u64 {
        self.1
    }
}

/// What is remembered of an answered item: its place, and what else is kept of the last one, or of all up to it.
pub trait Mark: Copy + fmt::Debug + Send {
    /// What its place is.
    type Place: Place;

    /// Where the item stands.
    fn place(&self) -> Self::Place;

    /// This mark, for the items that `before` stands for as well: it stands right before them. A mark that adds
    /// something up over items does so here; sums may be made in any order.
    #[must_use]
    fn after(self, _before: Self) -> Self {
        self
    }
}

/// A place alone.
impl<P: Place> Mark for P {
    type Place = P;

    fn place(&self) -> P {
        *self
    }
}

//! The digest of a run's events. Digests of parts add up to the digest of the whole.
//!
//! ```text
//! event id · row in the view ──sha256──► a number of 256 bits ──sum mod 2^256──► EventDigest
//! all events of one process = lane 0 + lane 1 + … + lane n - 1 = events before a crash + events after it
//! ```
//!
//! The row number binds an event to its place in the view's order, so the sum itself may run in any order and needs no
//! state for each key.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::Hex64;

/// A sum over events: of each the sha256 over its event id (32 bytes) and the number of rows of its output's view before it
/// (8 bytes, big-endian), as a number of 256 bits; mod 2^256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Hex64", into = "Hex64")]
pub struct EventDigest {
    high: u128,
    low: u128,
}

impl EventDigest {
    /// The digest of one event, which has `row` rows of its output's view before it.
    #[must_use]
    pub fn of(event_id: &[u8; 32], row: u64) -> Self {
        let mut text = [0; 40];
        let (id, place) = text.split_at_mut(32);
        id.copy_from_slice(event_id);
        place.copy_from_slice(&row.to_be_bytes());
        Self::of_bytes(Sha256::digest(text).into())
    }

    fn of_bytes(bytes: [u8; 32]) -> Self {
        let (halves, _) = bytes.as_chunks::<16>();
        Self { high: u128::from_be_bytes(halves[0]), low: u128::from_be_bytes(halves[1]) }
    }

    /// The number in hex, as evidence and checkpoints have it.
    #[must_use]
    pub fn to_hex(self) -> Hex64 {
        let mut bytes = [0; 32];
        let (high, low) = bytes.split_at_mut(16);
        high.copy_from_slice(&self.high.to_be_bytes());
        low.copy_from_slice(&self.low.to_be_bytes());
        Hex64::of_digest(bytes)
    }
}

impl From<Hex64> for EventDigest {
    fn from(hex: Hex64) -> Self {
        // 64 hex digits always are 32 bytes.
        const_hex::decode_to_array(hex.as_str()).map(Self::of_bytes).unwrap_or_default()
    }
}

impl From<EventDigest> for Hex64 {
    fn from(digest: EventDigest) -> Self {
        digest.to_hex()
    }
}

impl Add for EventDigest {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high.wrapping_add(other.high).wrapping_add(carry.into()), low }
    }
}

impl AddAssign for EventDigest {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for EventDigest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), Self::add)
    }
}

/// The answered events of one output that a digest covers: those of a run, or of one lane of it, from a row on and without a
/// hole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digested {
    /// Rows of the view before the first one that counts: 0, unless somebody else moved the checkpoint's position.
    pub from: u64,
    /// How many events there are.
    pub events: u64,
    /// Their digest.
    pub digest: EventDigest,
}

impl Digested {
    /// No event, from this row on.
    #[must_use]
    pub fn none_from(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// The events of several lanes of one run. `None` where there is no lane, or where lanes count from different rows: then
    /// the sum is the digest of no run.
    pub fn of_lanes(lanes: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut lanes = lanes.into_iter();
        let first = lanes.next()?;
        lanes.try_fold(first, |sum, lane| {
            let (events, digest) = (sum.events + lane.events, sum.digest + lane.digest);
            (lane.from == sum.from).then_some(Self { events, digest, ..sum })
        })
    }
}

/// What the outputs of a run are digested to, by rank. Clones share it: the checkpoint stage writes it when it ends, the
/// summary reads it then.
#[derive(Debug, Clone, Default)]
pub struct RunDigests(Arc<Mutex<Vec<Digested>>>);

impl RunDigests {
    /// Of a run that has not ended.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets those of all outputs.
    pub fn set(&self, outputs: Vec<Digested>) {
        *self.lock() = outputs;
    }

    /// That of output `rank`; none before the run has ended.
    #[must_use]
    pub fn of(&self, rank: usize) -> Option<Digested> {
        self.lock().get(rank).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Digested>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::model::{Lane, LaneKey};

    type Row = ([u8; 32], u64);

    /// The rows of a view: event id and order key of each.
    fn view() -> impl Strategy<Value = Vec<Row>> {
        let row = (any::<u64>(), 0_u64..6).prop_map(|(seed, key)| (Sha256::digest(seed.to_be_bytes()).into(), key));
        proptest::collection::vec(row, 2..60)
    }

    fn terms(rows: &[Row]) -> Vec<EventDigest> {
        rows.iter().zip(0..).map(|((id, _), row)| EventDigest::of(id, row)).collect()
    }

    fn digest(rows: &[Row]) -> EventDigest {
        terms(rows).into_iter().sum()
    }

    #[test]
    fn anybody_can_make_it_from_ids_and_row_numbers() {
        // python3 -c "import hashlib; h = lambda id, n: int.from_bytes(hashlib.sha256(id + n.to_bytes(8, 'big')).digest(), 'big');
        //   print(f'{h(bytes(32), 0):064x}\n{(h(bytes(32), 0) + h(bytes([255] * 32), 2**64 - 1)) % 2**256:064x}')"
        let first = EventDigest::of(&[0; 32], 0);
        let both = first + EventDigest::of(&[255; 32], u64::MAX);
        assert_eq!(first.to_hex().as_str(), "2c34ce1df23b838c5abf2a7f6437cca3d3067ed509ff25f11df6b11b582b51eb");
        assert_eq!(both.to_hex().as_str(), "9b01dd29ca0ad751c7e054016d496f13545fc8c3ee17f037d2ea88c36504bb92");
        assert_eq!(EventDigest::default().to_hex().as_str(), "0".repeat(64));
    }

    #[test]
    fn a_sum_wraps_at_256_bits_and_carries_between_the_halves() {
        let of = |hex: &str| EventDigest::from(hex.parse::<Hex64>().unwrap());
        let (most, one) = (of(&"f".repeat(64)), of(&format!("{:064x}", 1)));
        assert_eq!(most + one, EventDigest::default());
        let low = of(&format!("{:064x}", u128::MAX));
        assert_eq!((low + one).to_hex().as_str(), format!("{}1{}", "0".repeat(31), "0".repeat(32)));
    }

    #[test]
    fn lanes_that_count_from_different_rows_have_no_digest_in_common() {
        let lane = |from| Digested { from, events: 2, digest: EventDigest::of(&[1; 32], from) };
        let expected = Digested { from: 3, events: 4, digest: lane(3).digest + lane(3).digest };
        assert_eq!(Digested::of_lanes([lane(3), lane(3)]), Some(expected));
        assert_eq!(Digested::of_lanes([lane(3), lane(0)]), None);
        assert_eq!(Digested::of_lanes([]), None);
    }

    proptest! {
        #[test]
        fn any_number_of_lanes_of_either_kind_adds_up_to_one_process(rows in view(), count in 1_u32..70, by_key in any::<bool>()) {
            let by = if by_key { LaneKey::OrderKey } else { LaneKey::EventId };
            let first = Lane::new(NonZeroU32::new(count).unwrap(), 0, by).unwrap();
            let lanes = first.all().map(|lane| {
                let owned: Vec<_> = rows.iter().zip(terms(&rows)).filter(|((id, key), _)| lane.owns(id, *key)).collect();
                let digest = owned.iter().map(|(_, term)| *term).sum();
                Digested { from: 0, events: owned.len() as u64, digest }
            });
            let whole = Digested { from: 0, events: rows.len() as u64, digest: digest(&rows) };
            prop_assert_eq!(Digested::of_lanes(lanes), Some(whole));
        }

        #[test]
        fn the_order_of_summing_does_not_count(
            (terms, shuffled) in view().prop_flat_map(|rows| (Just(terms(&rows)), Just(terms(&rows)).prop_shuffle())),
        ) {
            prop_assert_eq!(terms.into_iter().sum::<EventDigest>(), shuffled.into_iter().sum());
        }

        #[test]
        fn another_order_of_the_view_a_loss_or_a_double_changes_it(rows in view(), one in any::<Index>(), other in any::<Index>()) {
            let (one, other) = (one.index(rows.len()), other.index(rows.len()));
            let whole = digest(&rows);
            let mut swapped = rows.clone();
            swapped.swap(one, other);
            // Whether the two have one key or not.
            prop_assert_eq!(digest(&swapped) == whole, rows[one].0 == rows[other].0);
            let lost: EventDigest = terms(&rows).into_iter().enumerate().filter(|(i, _)| *i != one).map(|(_, term)| term).sum();
            prop_assert_ne!(lost, whole);
            prop_assert_ne!(whole + terms(&rows)[one], whole);
            // One lost and another twice, so that the count is right.
            prop_assert_eq!(lost + terms(&rows)[other] == whole, one == other);
        }

        #[test]
        fn it_comes_back_from_its_text(bytes in any::<[u8; 32]>()) {
            let digest = EventDigest::of_bytes(bytes);
            let text = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(&text, &format!("\"{}\"", const_hex::encode(bytes)));
            prop_assert_eq!(serde_json::from_str::<EventDigest>(&text).unwrap(), digest);
        }
    }
}

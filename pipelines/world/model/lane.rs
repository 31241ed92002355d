//! One process's share of a run, where a run is spread over several (contract, section 10, "Lanes").
//!
//! ```text
//! event_id, order key ──► Lane::owns ──► this process's event, or another's
//! ```
//!
//! The lane of an event depends on the event alone, never on the process, the release or the machine: together the
//! lanes of a run own each event exactly once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wsp::random;

use super::identity::Hex64;

/// What decides on an event's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKey {
    /// Its id, as the legacy producer does it. Events of one order key are spread over all lanes.
    #[default]
    EventId,
    /// Its order column and value: what must stay in line stays in one lane.
    OrderKey,
}

impl LaneKey {
    /// The word in settings, scope keys and evidence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LaneKey::EventId => "event_id",
            LaneKey::OrderKey => "order_key",
        }
    }
}

impl FromStr for LaneKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "event_id" => Ok(LaneKey::EventId),
            "order_key" => Ok(LaneKey::OrderKey),
            _ => Err("neither `event_id` nor `order_key`"),
        }
    }
}

/// A lane: `index` of `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lane {
    count: NonZeroU32,
    index: u32,
    by: LaneKey,
}

impl Lane {
    /// The one lane of a run that is not spread.
    pub const WHOLE: Self = Self { count: NonZeroU32::MIN, index: 0, by: LaneKey::EventId };

    /// Lane `index` of `count`; `None` unless `index` is below `count`. A single lane is [`Lane::WHOLE`], whatever
    /// `by` says.
    #[must_use]
    pub fn new(count: NonZeroU32, index: u32, by: LaneKey) -> Option<Self> {
        let by = if count == NonZeroU32::MIN { LaneKey::EventId } else { by };
        (index < count.get()).then_some(Self { count, index, by })
    }

    /// Lanes of the run, 1 or more.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// This one, below [`Lane::count`].
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// All lanes of the run, this one among them, by index.
    pub fn all(self) -> impl Iterator<Item = Self> {
        Lanes { count: self.count, by: self.by }.lanes()
    }

    /// What decides.
    #[must_use]
    pub fn by(self) -> LaneKey {
        self.by
    }

    /// Whether every event of the run is in it.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.count == NonZeroU32::MIN
    }

    /// Whether the event with this id (before hex) and this [`Event::order_key`](super::Event::order_key) is in it.
    #[must_use]
    pub fn owns(self, event_id: &[u8; 32], order_key: u64) -> bool {
        self.is_whole()
            || match self.by {
                LaneKey::EventId => self.owns_event_id(event_id),
                LaneKey::OrderKey => self.owns_order_key(order_key),
            }
    }

    /// By event id: the first 8 bytes, big-endian, of the sha256 over the id's 64 hex digits, mod the count.
    #[must_use]
    pub fn owns_event_id(self, event_id: &[u8; 32]) -> bool {
        let digest: [u8; 32] = Sha256::digest(Hex64::of_digest(*event_id).as_str()).into();
        let (words, _) = digest.as_chunks::<8>();
        self.is(u64::from_be_bytes(words[0]))
    }

    /// By order key: the key's hash, mixed once more, mod the count.
    ///
    /// The hash itself decides on an event's connection within a process (mod their number); without the mixing
    /// a lane would use as few connections as its count and theirs have in common.
    #[must_use]
    pub fn owns_order_key(self, order_key: u64) -> bool {
        self.is(mix(order_key))
    }

    fn is(self, hash: u64) -> bool {
        hash % u64::from(self.count.get()) == u64::from(self.index)
    }

    /// The index as it stands in the checkpoint's scope key: `2`, the legacy producer's text, by event id;
    /// `order_key:2` by order key, so that the two never share cursors.
    #[must_use]
    pub fn scope_index(self) -> String {
        match self.by {
            LaneKey::EventId => self.index.to_string(),
            LaneKey::OrderKey => format!("order_key:{}", self.index),
        }
    }

    /// What sets this lane's evidence apart from the other lanes': `lane-2-of-3`, or `lane-2-of-3-by-order_key`.
    /// `None` where the lane is the whole run.
    #[must_use]
    pub fn label(self) -> Option<String> {
        (!self.is_whole()).then(|| self.to_string())
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane-{}-of-{}", self.index, self.count)?;
        match self.by {
            LaneKey::EventId => Ok(()),
            LaneKey::OrderKey => f.write_str("-by-order_key"),
        }
    }
}

/// How a run is spread over lanes that any worker can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    /// How many lanes there are; more than one.
    pub count: NonZeroU32,
    /// What decides on an event's lane.
    pub by: LaneKey,
}

impl Lanes {
    /// The lanes, by index.
    pub fn lanes(self) -> impl Iterator<Item = Lane> {
        (0..self.count.get()).filter_map(move |index| Lane::new(self.count, index, self.by))
    }

    /// The lane called so: see [`Lane::label`].
    #[must_use]
    pub fn find(self, label: &str) -> Option<Lane> {
        let index = label.strip_prefix("lane-")?.split_once('-')?.0.parse().ok()?;
        Lane::new(self.count, index, self.by).filter(|lane| lane.to_string() == label)
    }
}

/// One round of splitmix64. It is part of the lanes' definition: another one would move events between lanes.
fn mix(hash: u64) -> u64 {
    random::mix(hash.wrapping_add(random::GAMMA))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(count: u32, index: u32, by: LaneKey) -> Lane {
        Lane::new(NonZeroU32::new(count).unwrap(), index, by).unwrap()
    }

    #[test]
    fn an_index_is_below_its_count_and_one_lane_is_the_whole() {
        let three = NonZeroU32::new(3).unwrap();
        assert_eq!(Lane::new(three, 3, LaneKey::EventId), None);
        assert_eq!(lane(1, 0, LaneKey::OrderKey), Lane::WHOLE);
        assert!(Lane::WHOLE.owns(&[7; 32], 3) && Lane::WHOLE.label().is_none());
    }

    #[test]
    fn names_tell_lanes_and_kinds_apart() {
        let names =
            [LaneKey::EventId, LaneKey::OrderKey].map(|by| (lane(3, 2, by).scope_index(), lane(3, 2, by).label()));
        let [by_id, by_key] = names;
        assert_eq!(by_id, ("2".to_owned(), Some("lane-2-of-3".to_owned())));
        assert_eq!(by_key, ("order_key:2".to_owned(), Some("lane-2-of-3-by-order_key".to_owned())));
        assert_eq!("order_key".parse(), Ok(LaneKey::OrderKey));
        assert!("key".parse::<LaneKey>().is_err());
    }

    #[test]
    fn lanes_of_a_run_are_found_by_their_names() {
        let spread = Lanes { count: NonZeroU32::new(12).unwrap(), by: LaneKey::OrderKey };
        let lanes: Vec<_> = spread.lanes().collect();
        assert_eq!(lanes.len(), 12);
        for lane in lanes {
            assert_eq!(spread.find(&lane.to_string()), Some(lane));
        }
        for other in
            ["lane-12-of-12-by-order_key", "lane-1-of-12", "lane-1-of-13-by-order_key", "lane-01-of-12-by-order_key"]
        {
            assert_eq!(spread.find(other), None, "{other}");
        }
    }

    /// The lane in which an event is.
    fn index(count: u32, by: LaneKey, event_id: &[u8; 32], order_key: u64) -> u32 {
        let owners: Vec<_> = (0..count).filter(|index| lane(count, *index, by).owns(event_id, order_key)).collect();
        assert_eq!(owners.len(), 1, "in exactly one lane");
        owners[0]
    }

    #[test]
    fn lanes_by_event_id_are_those_of_the_contract() {
        // `python3 -c "import hashlib; print(int.from_bytes(hashlib.sha256(b'00'*32).digest()[:8], 'big'))"`
        let hash: u64 = 6_980_680_378_609_938_223;
        for count in [2, 3, 7, 64, 1000] {
            assert_eq!(u64::from(index(count, LaneKey::EventId, &[0; 32], 9)), hash % u64::from(count));
        }
    }

    #[test]
    fn lanes_by_order_key_stay_where_they_are() {
        let lanes = [0, 1, 2, u64::MAX].map(|key| index(1000, LaneKey::OrderKey, &[0; 32], key));
        assert_eq!(lanes, [535, 465, 110, 936]);
    }

    proptest! {
        #[test]
        fn an_event_is_in_one_lane_and_its_key_decides(
            count in 1_u32..50,
            ids in any::<[[u8; 32]; 2]>(),
            keys in any::<[u64; 2]>(),
        ) {
            let by_key = ids.map(|id| index(count, LaneKey::OrderKey, &id, keys[0]));
            prop_assert_eq!(by_key[0], by_key[1]);
            let by_id = keys.map(|key| index(count, LaneKey::EventId, &ids[0], key));
            prop_assert_eq!(by_id[0], by_id[1]);
        }
    }
}

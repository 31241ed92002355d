//! Which order key holds the run up: found with a few counters, and what it allows.
//!
//! ```text
//! answer while others of its key wait ──► HotKeys (space-saving) ──► HotKey ──► Bottleneck
//! ```

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Keys that are counted at once.
const KEPT: usize = 64;
/// The share of the time from which on a key is named.
const NAMED_FROM: f64 = 0.5;

/// An order key whose events waited for one another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HotKey {
    /// [`Item::line`](super::Item::line).
    pub order_key: u64,
    /// [`Item::source`](super::Item::source) of an item that has it: the rank of the output.
    pub rank: u16,
    /// Its events answered while others of the key waited.
    pub events: u64,
    /// How long these took one after the other, from first attempt to answer.
    pub busy: Duration,
    /// How long of that a connection rested: nothing but the key held its events up then.
    pub alone: Duration,
}

/// The keys that hold events up most: a new one takes the place of the least one, and its weight, so that a frequent key
/// stays ("space-saving").
#[derive(Debug, Default)]
pub(super) struct HotKeys(Vec<(u64, HotKey)>);

impl HotKeys {
    /// Notes an event that held up others of its key, as often as `times`, and took so long; `alone` while a connection
    /// rested.
    pub(super) fn note(&mut self, order_key: u64, rank: u16, (took, times): (Duration, u32), alone: bool) {
        let slot = match self.0.iter().position(|(_, key)| key.order_key == order_key) {
            Some(known) => known,
            None if self.0.len() < KEPT => {
                self.0.push((0, HotKey { order_key, rank, ..HotKey::default() }));
                self.0.len() - 1
            }
            None => {
                let least = (0..self.0.len()).min_by_key(|slot| self.0[*slot].0).unwrap_or(0);
                self.0[least].1 = HotKey { order_key, rank, ..HotKey::default() };
                least
            }
        };
        let (weight, key) = &mut self.0[slot];
        *weight += u64::from(times);
        key.events += u64::from(times);
        key.busy += took * times;
        if alone {
            key.alone += took * times;
        }
    }

    /// The key that alone held events up for longest.
    pub(super) fn hottest(&self) -> Option<HotKey> {
        self.0.iter().map(|(_, key)| *key).max_by_key(|key| (key.alone, key.busy))
    }
}

/// The order key that bounds a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// The column that has it.
    pub order_key: String,
    /// Its hash; the value may be personal data.
    pub key_hash: String,
    /// Its share of all events.
    pub share: f64,
    /// The share of the time for which its events alone held the run up.
    pub busy: f64,
    /// Events a second, those of all keys, that it allows at the latency seen.
    pub allows_per_second: f64,
}

impl HotKey {
    /// What the key makes of a run that has answered so many events in `elapsed`; `None` where it bounds it for less than
    /// half of that.
    #[must_use]
    pub fn bottleneck(&self, column: &str, answered: u64, elapsed: Duration) -> Option<Bottleneck> {
        let busy = self.alone.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        (busy >= NAMED_FROM && answered > 0).then(|| Bottleneck {
            order_key: column.to_owned(),
            key_hash: format!("{:016x}", self.order_key),
            share: self.events as f64 / answered as f64,
            busy: busy.min(1.0),
            // One at a time, it has so many a second, which are that share of all.
            allows_per_second: answered as f64 / self.busy.as_secs_f64(),
        })
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order_key, key_hash, share, busy, allows_per_second } = self;
        write!(
            f,
            "one {order_key} (hash {key_hash}) bounds the run: {:.1} % of the events, one after the other, allow {allows_per_second:.0} \
             events/s at the latency seen ({:.0} % of the time)",
            share * 100.0,
            busy * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_frequent_key_is_found_among_thousands() {
        let mut keys = HotKeys::default();
        assert_eq!(keys.hottest(), None);
        for i in 0..20_000_u64 {
            let key = if mix(i).is_multiple_of(20) { 7 } else { 1_000 + mix(i) % 5_000 };
            keys.note(key, 3, (MS, 1), true);
        }
        let found = keys.hottest().unwrap();
        assert_eq!((found.order_key, found.rank), (7, 3));
        let hot = (0..20_000_u64).filter(|i| mix(*i).is_multiple_of(20)).count() as u64;
        assert!(found.events <= hot && found.events * 10 > hot * 9, "{found:?} of {hot}");
        assert_eq!(found.busy, MS * found.events as u32);
    }

    #[test]
    fn what_takes_longest_counts_not_what_comes_most_often() {
        let mut keys = HotKeys::default();
        (0..10).for_each(|_| keys.note(1, 0, (MS, 1), true));
        (0..3).for_each(|_| keys.note(2, 1, (MS * 9, 1), true));
        // Others held these up as well.
        keys.note(3, 1, (MS * 9, 16), false);
        assert_eq!(keys.hottest().unwrap().order_key, 2);
    }

    #[test]
    fn a_key_is_named_with_its_share_and_the_rate_it_allows() {
        // A tenth of 10,000 events, 10 ms each.
        let key = HotKey { order_key: 0xab, rank: 0, events: 1_000, busy: MS * 10_000, alone: MS * 9_000 };
        let told = key.bottleneck("merchant_id", 10_000, MS * 10_000).unwrap();
        assert_eq!((told.share, told.allows_per_second), (0.1, 1_000.0));
        assert_eq!(
            told.to_string(),
            "one merchant_id (hash 00000000000000ab) bounds the run: 10.0 % of the events, one after the other, allow 1000 \
             events/s at the latency seen (90 % of the time)"
        );
        assert_eq!(key.bottleneck("merchant_id", 10_000, MS * 18_001), None);
        assert_eq!(key.bottleneck("merchant_id", 0, Duration::ZERO), None);
    }
}

//! The keys that most rows have, found in one pass with little memory.
//!
//! Misra and Gries: as many counters as fit; a key without one takes one from each. A count is too low by at most
//! rows / counters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counters.
const MOST: usize = 4096;

/// Counts keys; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct HotKeys(Arc<Mutex<HashMap<Vec<u8>, u64>>>);

impl HotKeys {
    /// Counts a key.
    pub(super) fn note(&self, key: &[u8]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(key) {
            *count += 1;
        } else if counts.len() < MOST {
            counts.insert(key.to_vec(), 1);
        } else {
            counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// The hottest keys with at least so many rows each, the hottest first.
    pub(super) fn hottest(&self, most: usize) -> Vec<(String, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |key: &[u8]| String::from_utf8_lossy(key).replace('\u{1f}', ", ").replace('\0', "null");
        let mut all: Vec<(String, u64)> = counts.iter().map(|(key, count)| (text(key), *count)).collect();
        all.sort_by(|(key, count), (other, more)| more.cmp(count).then_with(|| key.cmp(other)));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_many_rows_is_found_among_a_crowd() {
        let keys = HotKeys::default();
        for i in 0..20_000_u32 {
            keys.note(i.to_string().as_bytes());
            if i % 5 == 0 {
                keys.note(b"hot\x1fkey");
            }
        }
        let (key, count) = &keys.hottest(3)[0];
        assert_eq!(key, "hot, key");
        assert!((3_900..=4_000).contains(count), "{count}");
    }
}

//! Queues the appends of one process, so that they do not compete in the bucket.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

use super::super::Key;

/// As many appends go on at once; names that share a place only wait without need.
const PLACES: usize = 32;

/// Whose turn it is, in the order they came.
#[derive(Debug)]
pub(super) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Mutex::new(())).collect())
    }
}

impl Turns {
    /// Waits for the turn of `key`; over when the result is dropped.
    pub(super) async fn of(&self, key: &Key) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = self.0.get((hasher.finish() % PLACES as u64) as usize)?;
        Some(place.lock().await)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_key_has_one_turn_at_a_time() {
        let (turns, key) = (Turns::default(), "a/b".parse().unwrap());
        let first = turns.of(&key).await;
        assert!(first.is_some());
        assert!(turns.of(&key).now_or_never().is_none());
        drop(first);
        assert!(turns.of(&key).now_or_never().is_some());
    }
}

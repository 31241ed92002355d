//! The state of a feed whose topic is unreachable: what was logged, and when the feed gives up.
//!
//! ```text
//! failed ──first──► one line; retried              recovered ──► one line
//! refused(cause) ──for longer than the patience──► lost: the feed ends with an error
//! granted(cause) ──► forgotten
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

/// A refusal: when it began, and what was said last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    since: Duration,
    reason: String,
}

/// The state of one feed. `K` names what can be refused.
#[derive(Debug)]
pub struct Outage<K> {
    logged: bool,
    refused: BTreeMap<K, Refused>,
}

impl<K> Default for Outage<K> {
    fn default() -> Self {
        Self { logged: false, refused: BTreeMap::new() }
    }
}

impl<K: Ord> Outage<K> {
    /// Something failed. `true` for the first failure of an outage, which is the one to log.
    pub fn failed(&mut self) -> bool {
        !std::mem::replace(&mut self.logged, true)
    }

    /// The topic answers again. `true` where an outage ends with it.
    pub fn mended(&mut self) -> bool {
        self.refused.is_empty() && std::mem::take(&mut self.logged)
    }

    /// Something was refused that time alone does not mend.
    pub fn refused(&mut self, cause: K, now: Duration, reason: &str) {
        let refused = self.refused.entry(cause).or_insert_with(|| Refused { since: now, reason: String::new() });
        reason.clone_into(&mut refused.reason);
    }

    /// What was refused works.
    pub fn granted(&mut self, cause: &K) {
        self.refused.remove(cause);
    }

    /// Why the topic counts as lost: a refusal that has stayed for longer than `patience`.
    pub fn lost(&self, now: Duration, patience: Duration) -> Option<&str> {
        let over = |refused: &&Refused| now.saturating_sub(refused.since) > patience;
        self.refused.values().find(over).map(|refused| refused.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_logged_once_and_so_is_its_end() {
        let mut outage = Outage::<&str>::default();
        assert!(!outage.mended());
        assert!(outage.failed());
        assert!(!outage.failed());
        assert!(outage.mended());
        assert!(!outage.mended());
    }

    #[test]
    fn a_refusal_that_stays_loses_the_topic_and_one_that_passes_does_not() {
        let mut outage = Outage::default();
        outage.refused("login", SECOND, "first");
        outage.refused("login", 3 * SECOND, "second");
        assert_eq!(outage.lost(3 * SECOND, 2 * SECOND), None);
        assert_eq!(outage.lost(4 * SECOND, 2 * SECOND), Some("second"));
        outage.granted(&"rights");
        assert!(outage.lost(4 * SECOND, 2 * SECOND).is_some(), "another cause");
        outage.granted(&"login");
        assert_eq!(outage.lost(4 * SECOND, 2 * SECOND), None);
    }

    #[test]
    fn an_outage_does_not_end_while_something_is_refused() {
        let mut outage = Outage::default();
        assert!(outage.failed());
        outage.refused("read", SECOND, "no");
        assert!(!outage.mended());
        outage.granted(&"read");
        assert!(outage.mended());
    }
}

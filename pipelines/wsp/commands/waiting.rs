//! Log lines about what a service waits for, a READY's cause or the control topic: at once, when the cause changes, and once a minute in between.
//!
//! ```text
//! look ──who, cause──► WaitLog ──first · another cause · a minute later──► a line: what, since when, how often
//! ```
//!
//! A READY may be looked at twice a second for a day.

use std::collections::BTreeMap;

use wsp_world::model::Micros;

/// Between two lines about one wait.
const EVERY_MICROS: i64 = 60_000_000;
/// Waits that are remembered; of one that is forgotten, the next look counts as the first.
const REMEMBERED: usize = 1024;

/// The waits of a process.
#[derive(Debug, Default)]
pub(super) struct WaitLog(BTreeMap<String, Wait>);

/// One wait.
#[derive(Debug)]
struct Wait {
    cause: String,
    since: Micros,
    looks: u64,
    next: Micros,
}

/// A wait that is due for a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The first look that found it.
    pub(super) since: Micros,
    /// Looks so far.
    pub(super) looks: u64,
    /// The cause is new: this is more than a reminder.
    pub(super) news: bool,
}

impl WaitLog {
    /// Notes a look at `at` that found `who` waiting because of `cause`, and says whether a line is due.
    pub(super) fn note(&mut self, who: &str, cause: &str, at: Micros) -> Option<Due> {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(who) {
            self.0.pop_first();
        }
        let first = || Wait { cause: String::new(), since: at, looks: 0, next: at };
        let wait = self.0.entry(who.to_owned()).or_insert_with(first);
        wait.looks += 1;
        let news = wait.cause != cause;
        if !news && at < wait.next {
            return None;
        }
        cause.clone_into(&mut wait.cause);
        wait.next = Micros(at.0.saturating_add(EVERY_MICROS));
        Some(Due { since: wait.since, looks: wait.looks, news })
    }

    /// `who` has to wait no longer.
    pub(super) fn over(&mut self, who: &str) {
        self.0.remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_once_at_each_new_cause_and_once_a_minute() {
        let mut log = WaitLog::default();
        let mut at = |seconds: i64, cause| {
            let due = log.note("a", cause, Micros(seconds * 1_000_000));
            due.map(|due| (due.since.0 / 1_000_000, due.looks, due.news))
        };
        assert_eq!(at(100, "pack"), Some((100, 1, true)));
        assert_eq!([at(101, "pack"), at(159, "pack")], [None, None]);
        assert_eq!(at(160, "pack"), Some((100, 4, false)), "a reminder, with all looks since the first");
        assert_eq!(at(161, "lease"), Some((100, 5, true)));
        assert_eq!(at(162, "lease"), None);
    }

    #[test]
    fn a_wait_that_is_over_begins_anew_and_others_are_not_affected() {
        let mut log = WaitLog::default();
        assert!(log.note("a", "pack", Micros(1)).is_some());
        assert!(log.note("b", "pack", Micros(2)).is_some());
        log.over("a");
        assert_eq!(log.note("a", "pack", Micros(3)), Some(Due { since: Micros(3), looks: 1, news: true }));
        assert_eq!(log.note("b", "pack", Micros(4)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut log = WaitLog::default();
        for n in 0..3 * REMEMBERED {
            log.note(&format!("{n:064x}"), "pack", Micros(0));
        }
        assert_eq!(log.0.len(), REMEMBERED);
    }
}

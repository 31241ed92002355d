//! A line in the log about retries, at most one a second, with how many others it stands for.
//!
//! ```text
//! retry ──► RetryLog ──first of a second──► line, and the count of those since the last one
//! ```
//!
//! The stage's name stands before the words: `<name> retry attempt=`. While a gate fails, a line a retry would be thousands a
//! second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// When the last line was, and what it left out since.
#[derive(Debug)]
pub(super) struct RetryLog {
    /// What lines call the stage.
    pub(super) name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: Duration,
    left_out: u64,
}

impl RetryLog {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::default() }
    }

    /// Notes a retry; where a line is due, how many retries had none since the last one.
    pub(super) fn due(&self, now: Duration) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now < state.next {
            state.left_out += 1;
            return None;
        }
        state.next = now + EVERY;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_says_how_many_it_stands_for() {
        let log = RetryLog::new("push");
        let at = |millis| log.due(Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(10), at(999), at(1000), at(1001), at(5000)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}

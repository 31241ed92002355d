//! Logs that a run waits before its first item: a campaign that starts later looks like a run that hangs.

use std::time::Duration;

use crate::clock::Clock;

/// A shorter wait is not logged.
const LOGGED_FROM: Duration = Duration::from_secs(1);

/// Logs the wait for the first item of a stage, once.
#[derive(Debug, Default)]
pub(super) struct FirstWait {
    past: bool,
}

impl FirstWait {
    /// The first item waits until `until`, because of `what`.
    pub(super) fn log<C: Clock>(&mut self, clock: &C, until: Duration, what: &str) {
        let wait = until.saturating_sub(clock.now());
        if self.past || wait < LOGGED_FROM {
            return;
        }
        self.past = true;
        let starts_utc = clock.utc_at(until);
        tracing::info!(%starts_utc, wait_seconds = wait.as_secs(), "waiting for the first event: {what}");
    }

    /// An item went through: later waits are the run's own pace.
    pub(super) fn pass(&mut self) {
        self.past = true;
    }
}

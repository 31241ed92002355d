//! Log lines about a gate that takes nothing in the middle of a run: since when, and until when the run waits for it.
//!
//! ```text
//! Telemetry ──a look a second──► GateLog ──down · a minute later · up again──► a line
//! ```
//!
//! The push stage logs why it stopped sending. It knows no wall clock, and looks are too seldom to cost the run anything.

use std::time::Duration;

use tokio::task::JoinHandle;
use wsp::clock::{Clock, SystemClock};
use wsp_world::telemetry::{GateState, GateWait, Telemetry};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines about one wait.
const EVERY: Duration = Duration::from_mins(1);

/// A watch that ends when this is dropped.
pub(super) struct GateWatch(JoinHandle<()>);

impl GateWatch {
    /// Watches the runs of `telemetry`, from within a runtime.
    pub(super) fn start(telemetry: &Telemetry, clock: SystemClock) -> Self {
        let telemetry = telemetry.clone();
        Self(tokio::spawn(async move {
            let mut log = GateLog::default();
            loop {
                clock.sleep_until(clock.now() + LOOK).await;
                if let Some(line) = log.look(telemetry.gate(), clock.now()) {
                    line.log(&clock);
                }
            }
        }))
    }
}

impl Drop for GateWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known of the present wait.
#[derive(Debug, Default)]
struct GateLog {
    since: Option<Duration>,
    next: Duration,
}

/// A line that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Down(GateWait),
    StillDown(GateWait),
    /// It lasted this long.
    UpAgain(Duration),
}

impl GateLog {
    fn look(&mut self, gate: GateState, now: Duration) -> Option<Line> {
        let wait = match gate {
            GateState::Down(wait) => wait,
            GateState::Taking => return self.since.take().map(|since| Line::UpAgain(now.saturating_sub(since))),
            // Its end, and why, is the run's to say.
            GateState::Unasked => {
                self.since = None;
                return None;
            }
        };
        let news = self.since != Some(wait.since);
        if !news && now < self.next {
            return None;
        }
        (self.since, self.next) = (Some(wait.since), now + EVERY);
        Some(if news { Line::Down(wait) } else { Line::StillDown(wait) })
    }
}

impl Line {
    fn log(self, clock: &SystemClock) {
        match self {
            Self::Down(GateWait { since, until }) => {
                let (since, until) = (clock.utc_at(since), clock.utc_at(until));
                tracing::warn!(%since, %until, "the gate takes no event: the run waits for it, and fails with IG_UNAVAILABLE then");
            }
            Self::StillDown(GateWait { since, until }) => {
                let (since, until) = (clock.utc_at(since), clock.utc_at(until));
                tracing::info!(%since, %until, "the gate still takes no event");
            }
            Self::UpAgain(lasted) => tracing::info!(seconds = lasted.as_secs(), "the gate takes events again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_once_then_once_a_minute_and_so_is_its_end() {
        use GateState::{Down, Taking, Unasked};
        let wait = |since| GateWait { since: Duration::from_secs(since), until: Duration::from_secs(since + 300) };
        let mut log = GateLog::default();
        let mut look = |at, gate| log.look(gate, Duration::from_secs(at));
        assert_eq!([look(0, Unasked), look(1, Taking)], [None, None]);
        assert_eq!(look(11, Down(wait(10))), Some(Line::Down(wait(10))));
        assert_eq!([look(12, Down(wait(10))), look(70, Down(wait(10)))], [None, None]);
        assert_eq!(look(71, Down(wait(10))), Some(Line::StillDown(wait(10))));
        assert_eq!(look(90, Taking), Some(Line::UpAgain(Duration::from_secs(80))));
        assert_eq!(look(91, Taking), None);
        // Another outage between two looks is another one.
        assert_eq!(look(100, Down(wait(99))), Some(Line::Down(wait(99))));
        assert_eq!(look(101, Down(wait(101))), Some(Line::Down(wait(101))));
        // A run that ends is no gate that is up again.
        assert_eq!([look(102, Unasked), look(103, Taking)], [None, None]);
    }
}

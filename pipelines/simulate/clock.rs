//! Time as a simulated process sees it.

use std::time::Duration;

use wsp::clock::Clock;
use wsp_world::model::Micros;

use super::hub::{Hub, ProcessId};

/// The wall clock at the simulation's start: 2026-03-01T00:00:00Z.
const WALL: i64 = 1_772_323_200_000_000;

/// A process's clock: monotonic as the hub's, with a wall clock that is off by some amount of its own.
#[derive(Clone)]
pub(super) struct SimClock {
    hub: Hub,
    process: ProcessId,
    off: i64,
}

impl SimClock {
    /// The clock of `process`, whose wall clock is `off` microseconds ahead.
    pub(super) fn new(hub: Hub, process: ProcessId, off: i64) -> Self {
        Self { hub, process, off }
    }
}

impl std::fmt::Debug for SimClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimClock").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.hub.now()
    }

    fn utc(&self) -> Micros {
        Micros(WALL + self.hub.now().as_micros() as i64 + self.off)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.hub.sleep(self.process, deadline.saturating_sub(self.hub.now()))
    }
}

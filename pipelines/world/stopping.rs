//! How long the program goes on once a stop is requested. Whoever stops it (an orchestrator, a service manager) kills it after a
//! time of its own, so every step has a bound.
//!
//! ```text
//! SIGTERM ─► answers in flight ─► last save ─► evidence ─► the hold on the checkpoint ─► last figures ─► control topic ─► exit
//!            or the checks                    └─ else kept on this machine
//! ```

use std::time::Duration;

use wsp::clock::Clock;
use wsp::stop::Stop;

use crate::checkpoint;
use crate::profile::Profile;

/// For the end of a run to be written to the object store. What is not written is kept on this machine.
pub const EVIDENCE: Duration = Duration::from_secs(15);

/// For the hold on the checkpoint to be let go of. One that is not let go of ends with its lease.
pub const RELEASE: Duration = Duration::from_secs(5);

/// For the last spans and figures to be sent.
pub const LAST_FIGURES: Duration = Duration::from_secs(5);

/// For the control topic to take the last verdicts. What it has not taken comes again, and is a duplicate then.
pub const CONTROL_TOPIC: Duration = Duration::from_secs(20);

/// The time from a stop to the end of the process, at most. The checks of a READY, which send nothing, are given up after the
/// time that answers in flight have.
#[must_use]
pub fn longest(profile: &Profile) -> Duration {
    profile.delivery.drain_deadline + checkpoint::LAST_SAVE + EVIDENCE + RELEASE + LAST_FIGURES + CONTROL_TOPIC
}

/// What `work` comes to. It is given up, for `None`, when it takes longer than `limit` once `stop` is requested.
pub async fn within<T, C: Clock>(stop: &Stop, clock: &C, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = stop.overdue(clock.clone(), limit) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use wsp::clock::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_counts_from_the_stop_or_from_the_beginning_of_the_work() {
        let (clock, stop, second) = (SystemClock::new(), Stop::new(), Duration::from_secs(1));
        let slow = clock.sleep_until(100 * second);
        assert_eq!(within(&stop, &clock, second, slow).await, Some(()), "without a stop nothing is given up");
        let stopping = async {
            clock.sleep_until(130 * second).await;
            stop.request();
        };
        let (given_up, ()) = tokio::join!(within(&stop, &clock, 7 * second, pending::<()>()), stopping);
        assert_eq!((given_up, clock.now()), (None, 137 * second));
        assert_eq!(within(&stop, &clock, 7 * second, pending::<()>()).await, None);
        assert_eq!(clock.now(), 144 * second);
        assert_eq!(within(&stop, &clock, 7 * second, clock.sleep_until(150 * second)).await, Some(()));
    }
}

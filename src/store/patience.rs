//! How long requests wait for a server that is away: one bound over all requests of all stores that use it.
//!
//! ```text
//! request ──may it be made, for how long?──► Patience ◄──answered · failed, no answer yet── request
//!                                              │ the first failure, and the return, are logged
//!                                              └ a stop ends the wait
//! ```
//!
//! Each request of a store retries. If each had its own bound, the waits of consecutive requests would add up: reading
//! a run's facts alone takes several requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::stop::Stop;

/// How long a server that is away is waited for, unless set otherwise: as long as a restart takes, so that no run has to
/// be started again for one.
const LIMIT: Duration = Duration::from_secs(40);

/// The same once a stop is requested.
const WHEN_STOPPING: Duration = Duration::from_secs(1);

/// How long one request may take that asks whether a server is back after all.
const PROBE: Duration = Duration::from_secs(2);

/// How long after a failure a server that was waited for long enough is not asked again.
const REST: Duration = Duration::from_secs(1);

/// A failure that long ago says nothing about now.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// The log names a server that is away at most this often, however often it comes and goes.
const SAID: Duration = Duration::from_secs(10);

/// How long servers are waited for. Clones share what they know about the server, so they have to be about the same one.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    stop: Stop,
    clock: SystemClock,
    outage: Arc<Mutex<Outage>>,
}

/// Whether a request may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may take as long as it does.
    Open,
    /// It may take this long.
    Within(Duration),
    /// Not now: the server was waited for long enough, and failed like this a moment ago.
    No(String),
}

impl Patience {
    /// Waits as long as `limit` for a server, and not once `stop` is requested.
    #[must_use]
    pub fn new(limit: Duration, stop: Stop) -> Self {
        Self { limit, stop, clock: SystemClock::new(), outage: Arc::default() }
    }

    /// As long as by default, and not once `stop` is requested.
    #[must_use]
    pub fn until(stop: Stop) -> Self {
        Self::new(LIMIT, stop)
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Resolves when a stop is requested.
    pub(super) async fn stopped(&self) {
        self.stop.wait().await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.requested()
    }

    /// How long the server may be away, as things are.
    pub(super) fn limit(&self) -> Duration {
        if self.is_stopping() { self.limit.min(WHEN_STOPPING) } else { self.limit }
    }

    /// Whether a request may be made now.
    pub(super) fn leave(&self) -> Leave {
        let probe = if self.is_stopping() { WHEN_STOPPING } else { PROBE };
        self.outage().leave(self.now(), self.limit(), probe)
    }

    /// Until when a request whose first failure began at `first` is made again.
    pub(super) fn until_when(&self, first: Duration) -> Duration {
        let since = self.outage().since(self.now()).unwrap_or(first);
        since.min(first) + self.limit()
    }

    /// A request that began at `began` has failed, or has no answer yet; `what` says which one it is, `server` who is
    /// asked.
    pub(super) fn failed(&self, began: Duration, server: &str, what: &str, cause: &str) {
        let now = self.now();
        let (say, until) = {
            let mut outage = self.outage();
            let say = outage.failed(began, now, cause);
            (say, outage.since(now).unwrap_or(began) + self.limit())
        };
        if say {
            let until = self.clock.utc_at(until.max(now));
            tracing::warn!(%server, request = %what, error = %cause, %until, "the store does not answer as it should; it is tried until then");
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, server: &str) {
        if let Some(away) = self.outage().answered(self.now()) {
            tracing::info!(%server, seconds = away.as_secs_f64(), "the store answers again");
        }
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::until(Stop::new())
    }
}

/// What is known about a server's absence.
#[derive(Debug, Default)]
struct Outage {
    away: Option<Away>,
    /// When the log last named the server as away.
    said: Option<Duration>,
}

#[derive(Debug)]
struct Away {
    /// When the first request began that failed.
    since: Duration,
    /// The latest failure.
    last: Duration,
    cause: String,
    said: bool,
}

impl Outage {
    /// Since when the server is away, if it is.
    fn since(&self, now: Duration) -> Option<Duration> {
        self.away(now).map(|away| away.since)
    }

    fn away(&self, now: Duration) -> Option<&Away> {
        self.away.as_ref().filter(|away| now.saturating_sub(away.last) < FORGOTTEN)
    }

    fn leave(&self, now: Duration, limit: Duration, probe: Duration) -> Leave {
        let Some(away) = self.away(now) else { return Leave::Open };
        let left = (away.since + limit).saturating_sub(now);
        if left.is_zero() && now.saturating_sub(away.last) < REST {
            return Leave::No(away.cause.clone());
        }
        Leave::Within(left.max(probe))
    }

    /// Notes a failure; says whether it has to be logged.
    fn failed(&mut self, began: Duration, now: Duration, cause: &str) -> bool {
        let before = self.away(now).map(|away| (away.since, away.said));
        let (since, said) = before.unwrap_or((began, false));
        let say = !said && self.said.is_none_or(|at| now.saturating_sub(at) >= SAID);
        if say {
            self.said = Some(now);
        }
        self.away = Some(Away { since: since.min(began), last: now, cause: cause.to_owned(), said: said || say });
        say
    }

    /// Notes an answer; says how long the server was away, if its absence was logged.
    fn answered(&mut self, now: Duration) -> Option<Duration> {
        let Away { since, said, .. } = self.away.take()?;
        said.then(|| now.saturating_sub(since))
    }
}

/// Ends once so much time has passed since it was first polled.
pub(super) async fn sleep(time: Duration) {
    // A limit that is none is decades away, which the runtime's timers can hold.
    const FAR: Duration = Duration::from_hours(24 * 365 * 30);
    let clock = SystemClock::new();
    clock.sleep_until(clock.now() + time.min(FAR)).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const FORTY: Duration = Duration::from_secs(40);

    #[test]
    fn an_outage_counts_from_the_beginning_of_its_first_failure() {
        let mut outage = Outage::default();
        assert_eq!(outage.leave(s(9), FORTY, PROBE), Leave::Open);
        assert!(outage.failed(s(10), s(15), "refused"), "it is said at once");
        assert!(!outage.failed(s(16), s(21), "refused"), "and once");
        assert_eq!(outage.leave(s(21), FORTY, PROBE), Leave::Within(s(29)));
        assert_eq!(outage.leave(s(49), FORTY, PROBE), Leave::Within(PROBE));
        assert!(!outage.failed(s(49), s(51), "no answer"));
        // For now there is no more to be had; a little later one may look again.
        assert_eq!(outage.leave(s(51), FORTY, PROBE), Leave::No("no answer".to_owned()));
        assert_eq!(outage.leave(s(52), FORTY, PROBE), Leave::Within(PROBE));
        assert_eq!(outage.answered(s(53)), Some(s(43)));
        assert_eq!(outage.leave(s(53), FORTY, PROBE), Leave::Open);
        assert_eq!(outage.answered(s(54)), None);
    }

    #[test]
    fn a_failure_of_long_ago_does_not_shorten_the_patience_of_today() {
        let mut outage = Outage::default();
        outage.failed(s(10), s(10), "refused");
        let later = s(10) + FORGOTTEN;
        assert_eq!(outage.leave(later, FORTY, PROBE), Leave::Open);
        assert!(outage.failed(later, later, "refused"), "it is another outage");
        assert_eq!(outage.since(later), Some(later));
    }

    #[test]
    fn a_server_that_flickers_does_not_fill_the_log() {
        let mut outage = Outage::default();
        let mut said = 0;
        for second in 0..100 {
            said += u32::from(outage.failed(s(second), s(second), "503"));
            outage.answered(s(second));
        }
        assert_eq!(said, 10);
    }

    #[test]
    fn a_stop_leaves_a_second() {
        let stop = Stop::new();
        let patience = Patience::new(FORTY, stop.clone());
        assert_eq!(patience.limit(), FORTY);
        stop.request();
        assert_eq!(patience.limit(), WHEN_STOPPING);
        assert_eq!(Patience::new(Duration::ZERO, stop).limit(), Duration::ZERO);
    }

    proptest! {
        /// Whatever requests come and fail, one behind the other, all of them together take little more than the limit.
        #[test]
        fn the_waits_of_many_requests_do_not_add_up(
            takes in prop::collection::vec(0_u64..30_000, 1..200), wait in 0_u64..5_000, limit in 1_u64..60
        ) {
            let ms = Duration::from_millis;
            let (mut outage, mut now, limit) = (Outage::default(), s(100), s(limit));
            let mut probes = 0;
            for take in takes {
                let take = match outage.leave(now, limit, PROBE) {
                    Leave::Open => ms(take),
                    Leave::Within(most) => ms(take).min(most),
                    Leave::No(_) => continue,
                };
                probes += u32::from(now >= s(100) + limit);
                let began = now;
                now += take;
                outage.failed(began, now, "x");
                now += ms(wait).min((outage.since(now).unwrap() + limit).saturating_sub(now));
            }
            // The first request may take its own time; from the limit on each takes a probe at most, and another follows
            // only after a rest, which nobody here waits for.
            prop_assert!(now <= s(100) + ms(30_000).max(limit) + PROBE, "{now:?}");
            prop_assert!(probes <= 1);
        }
    }
}

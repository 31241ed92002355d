//! What the attempts of a run came to, counted where they happen.
//!
//! ```text
//! connections ──attempts, verdicts──► PushStats ──counts──► evidence, telemetry
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::gate::Attempt;
use super::hot_key::{HotKey, HotKeys};
use super::judge::Decided;

/// Of so many events that hold up others while no connection rests, one is looked at.
const SAMPLED: u64 = 16;

/// Counters of a push stage, readable at any time; clones share them. Unlike what flows out of the stage they
/// hold the attempts of events that were never answered, too.
#[derive(Debug, Clone, Default)]
pub struct PushStats {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    handed: AtomicU64,
    started: AtomicU64,
    attempts: AtomicU64,
    retries: AtomicU64,
    ambiguous: AtomicU64,
    sent_again: AtomicU64,
    connect_failed: AtomicU64,
    connection_lost: AtomicU64,
    timed_out: AtomicU64,
    throttled: AtomicU64,
    server_errors: AtomicU64,
    admitted: AtomicU64,
    duplicates: AtomicU64,
    quarantined: AtomicU64,
    rejected: AtomicU64,
    exhausted: AtomicU64,
    payload_mismatches: AtomicU64,
    retries_delayed: AtomicU64,
    circuit_opened: AtomicU64,
    /// Since when the gate has taken nothing, microseconds and one more; 0 while it is not thought down.
    gate_down: AtomicU64,
    /// Events that held up others of their key while no connection rested.
    held_up: AtomicU64,
    hot_keys: Mutex<HotKeys>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct PushCounts {
    /// Attempts started and ended.
    pub attempts: u64,
    /// Attempts beyond the first of an event.
    pub retries: u64,
    /// Attempts without an answer that the gate may have admitted.
    pub ambiguous: u64,
    /// Requests sent once more within their attempt, because the kept connection had been closed when they went out.
    pub sent_again: u64,
    /// Attempts that found no connection.
    pub connect_failed: u64,
    /// Attempts whose connection ended before a whole answer.
    pub connection_lost: u64,
    /// Attempts without an answer in time.
    pub timed_out: u64,
    /// Answers 429.
    pub throttled: u64,
    /// Answers 500 to 599.
    pub server_errors: u64,
    /// Events that the gate took (ADMIT).
    pub admitted: u64,
    /// Events that it had already (DUPLICATE).
    pub duplicates: u64,
    /// Events that it set aside (QUARANTINE), whether or not that stopped the run.
    pub quarantined: u64,
    /// Events refused for good.
    pub rejected: u64,
    /// Events tried as often as allowed.
    pub exhausted: u64,
    /// Those among the quarantined whose id the gate holds with another payload.
    pub payload_mismatches: u64,
    /// How often a connection found the gate's retry budget empty, and waited.
    pub retries_delayed: u64,
    /// How often the circuit opened.
    pub circuit_opened: u64,
}

impl std::ops::Add for PushCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            retries: self.retries + other.retries,
            ambiguous: self.ambiguous + other.ambiguous,
            sent_again: self.sent_again + other.sent_again,
            connect_failed: self.connect_failed + other.connect_failed,
            connection_lost: self.connection_lost + other.connection_lost,
            timed_out: self.timed_out + other.timed_out,
            throttled: self.throttled + other.throttled,
            server_errors: self.server_errors + other.server_errors,
            admitted: self.admitted + other.admitted,
            duplicates: self.duplicates + other.duplicates,
            quarantined: self.quarantined + other.quarantined,
            rejected: self.rejected + other.rejected,
            exhausted: self.exhausted + other.exhausted,
            payload_mismatches: self.payload_mismatches + other.payload_mismatches,
            retries_delayed: self.retries_delayed + other.retries_delayed,
            circuit_opened: self.circuit_opened + other.circuit_opened,
        }
    }
}

/// What is on its way at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnTheWay {
    /// Events taken in for delivery so far, answered or not.
    pub handed: u64,
    /// Events taken in for delivery and not yet answered.
    pub unanswered: u64,
    /// Requests without an answer yet.
    pub requests: u64,
}

impl PushCounts {
    /// Events that the gate decided about.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.admitted + self.duplicates + self.quarantined
    }
}

impl PushStats {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters now. Each is exact; while the stage runs they need not belong to one instant.
    #[must_use]
    pub fn counts(&self) -> PushCounts {
        let c = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PushCounts {
            attempts: read(&c.attempts),
            retries: read(&c.retries),
            ambiguous: read(&c.ambiguous),
            sent_again: read(&c.sent_again),
            connect_failed: read(&c.connect_failed),
            connection_lost: read(&c.connection_lost),
            timed_out: read(&c.timed_out),
            throttled: read(&c.throttled),
            server_errors: read(&c.server_errors),
            admitted: read(&c.admitted),
            duplicates: read(&c.duplicates),
            quarantined: read(&c.quarantined),
            rejected: read(&c.rejected),
            exhausted: read(&c.exhausted),
            payload_mismatches: read(&c.payload_mismatches),
            retries_delayed: read(&c.retries_delayed),
            circuit_opened: read(&c.circuit_opened),
        }
    }

    /// What is on its way now.
    #[must_use]
    pub fn on_the_way(&self) -> OnTheWay {
        let counts = self.counts();
        let ended = counts.admitted + counts.duplicates + counts.quarantined + counts.rejected + counts.exhausted;
        // Read after what ends them, so that neither difference is below zero for long.
        let handed = self.counters.handed.load(Ordering::Relaxed);
        let started = self.counters.started.load(Ordering::Relaxed);
        OnTheWay { handed, unanswered: handed.saturating_sub(ended), requests: started.saturating_sub(counts.attempts) }
    }

    /// The order key that held the others up for longest, if any did.
    #[must_use]
    pub fn hot_key(&self) -> Option<HotKey> {
        self.counters.hot_keys.lock().unwrap_or_else(PoisonError::into_inner).hottest()
    }

    /// Notes an event that held up others of its key, `alone` while a connection rested. Where none rests, as at a full
    /// rate, it looks at one in sixteen.
    pub(super) fn held_up(&self, order_key: u64, rank: u16, took: Duration, alone: bool) {
        let seen = if alone { 0 } else { self.counters.held_up.fetch_add(1, Ordering::Relaxed) };
        if seen.is_multiple_of(SAMPLED) {
            let times = if alone { 1 } else { SAMPLED as u32 };
            let mut keys = self.counters.hot_keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.note(order_key, rank, (took, times), alone);
        }
    }

    /// Since when the gate has taken nothing, on the stage's clock; `None` while it is not thought down.
    #[must_use]
    pub fn gate_down_since(&self) -> Option<Duration> {
        self.counters.gate_down.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// Notes since when the gate is thought down.
    pub(super) fn gate_down(&self, since: Option<Duration>) {
        let mark = since.map_or(0, |since| since.as_micros() as u64 + 1);
        self.counters.gate_down.store(mark, Ordering::Relaxed);
    }

    /// Counts an event that is taken in for delivery.
    pub(super) fn handed(&self) {
        add(&self.counters.handed);
    }

    /// Counts an attempt that begins.
    pub(super) fn started(&self) {
        add(&self.counters.started);
    }

    /// Counts an attempt, the `nth` (1, 2, …) of its event.
    pub(super) fn attempt(&self, nth: u32, attempt: &Attempt) {
        let c = &*self.counters;
        add(&c.attempts);
        if nth > 1 {
            add(&c.retries);
        }
        match attempt {
            Attempt::Answered(answer) => match answer.status() {
                429 => add(&c.throttled),
                500..=599 => add(&c.server_errors),
                _ => {}
            },
            Attempt::ConnectFailed(_) => add(&c.connect_failed),
            Attempt::ConnectionLost(_) => add(&c.connection_lost),
            Attempt::TimedOut => add(&c.timed_out),
        }
        if attempt.is_ambiguous() {
            add(&c.ambiguous);
        }
    }

    /// Counts a request that was sent once more within its attempt.
    pub(super) fn sent_again(&self) {
        add(&self.counters.sent_again);
    }

    pub(super) fn decided(&self, decided: &Decided) {
        add(match decided {
            Decided::Accepted => &self.counters.admitted,
            Decided::Duplicate => &self.counters.duplicates,
            Decided::Quarantined { differs, .. } => {
                if *differs {
                    add(&self.counters.payload_mismatches);
                }
                &self.counters.quarantined
            }
        });
    }

    pub(super) fn rejected(&self) {
        add(&self.counters.rejected);
    }

    pub(super) fn exhausted(&self) {
        add(&self.counters.exhausted);
    }

    pub(super) fn retry_delayed(&self) {
        add(&self.counters.retries_delayed);
    }

    pub(super) fn circuit_opened(&self) {
        add(&self.counters.circuit_opened);
    }

    /// Events of which an attempt has ended.
    pub(super) fn firsts(&self) -> u64 {
        let c = &*self.counters;
        // Retries first: the difference can't fall below nothing then.
        let retries = c.retries.load(Ordering::Relaxed);
        c.attempts.load(Ordering::Relaxed).saturating_sub(retries)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_way_is_what_was_begun_and_has_not_ended() {
        let stats = PushStats::new();
        (0..9).for_each(|_| stats.handed());
        (0..10).for_each(|_| stats.started());
        stats.attempt(1, &Attempt::TimedOut);
        stats.attempt(2, &Attempt::TimedOut);
        stats.attempt(1, &Attempt::TimedOut);
        assert_eq!(stats.firsts(), 2);
        stats.sent_again();
        let quarantined = Decided::Quarantined { why: String::new(), differs: false };
        for decided in [Decided::Accepted, Decided::Duplicate, quarantined] {
            stats.decided(&decided);
        }
        stats.rejected();
        stats.exhausted();
        let OnTheWay { handed, unanswered, requests } = stats.on_the_way();
        assert_eq!((handed, unanswered, requests), (9, 4, 7));
        let counts = stats.counts();
        assert_eq!((counts.attempts, counts.retries, counts.timed_out, counts.sent_again), (3, 1, 3, 1));
        assert_eq!((counts.admitted, counts.duplicates, counts.quarantined), (1, 1, 1));
        assert_eq!((counts.rejected, counts.exhausted), (1, 1));
    }

    #[test]
    fn the_gate_is_down_from_the_first_microsecond_on() {
        let stats = PushStats::new();
        for since in [None, Some(Duration::ZERO), Some(Duration::from_micros(7)), None] {
            stats.gate_down(since);
            assert_eq!(stats.gate_down_since(), since);
        }
    }
}

//! Whether the gate is there at all: a circuit over the gate as a whole.
//!
//! ```text
//!            failures in a row                pause over            gate is up
//!  Closed ─────────────────────► Open ────────────────► Asking ──────────────► Ramp: 1, 2, 4, … on the way
//!    ▲                            ▲ ▲                      │ down                │ │ as many failures in a row
//!    │                            │ └──────────────────────┘                     │ │ as may be on the way
//!    └────────────────────────────┼──────────────────────────────────────────────┘ │ (the first one, at 1)
//!      as many as there are       └────────────────────────────────────────────────┘
//!      connections: all good
//! ```
//!
//! While it is open nothing is sent, so nothing is charged to any event. It says how many requests may be on the
//! way; [`super::regulator`] counts them.

use std::time::Duration;

/// When the circuit opens, how it asks, and when the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitPolicy {
    /// Failures in a row, over all connections, that open it; 0 is never.
    pub failures: u32,
    /// How long nothing is sent before the gate is asked for the first time; doubles each time it is still down.
    pub first_pause: Duration,
    /// The longest such pause.
    pub max_pause: Duration,
    /// How long the gate may take nothing before the run is over.
    pub limit: Duration,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self {
            failures: 70,
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(5),
            limit: Duration::from_mins(5),
        }
    }
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// So many requests may be on the way; `u32::MAX` is as many as there are connections.
    Send(u32),
    /// Whoever hears this asks the gate how it is, and tells [`Circuit::asked`].
    Ask,
    /// Nothing before this time, unless something changes.
    Wait(Duration),
    /// The gate took nothing for too long: since then.
    GivenUp(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Asking,
    Ramp { limit: u32, good: u32 },
}

/// The circuit. Time comes in with every call and must not go back.
#[derive(Debug)]
pub(super) struct Circuit {
    policy: CircuitPolicy,
    connections: u32,
    state: State,
    in_row: u32,
    pause: Duration,
    /// Since when the gate took nothing, if it is not known to be up.
    down_since: Option<Duration>,
}

impl Circuit {
    pub(super) fn new(policy: CircuitPolicy, connections: u32) -> Self {
        let pause = policy.first_pause;
        Self { policy, connections, state: State::Closed, in_row: 0, pause, down_since: None }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// How many requests may be on the way; see [`Leave::Send`].
    pub(super) fn allows(&self) -> u32 {
        match self.state {
            State::Closed => u32::MAX,
            State::Ramp { limit, .. } => limit,
            State::Open { .. } | State::Asking => 0,
        }
    }

    /// Since when the gate has taken nothing, while it is thought down.
    pub(super) fn down_since(&self) -> Option<Duration> {
        self.down_since
    }

    /// Whether a good answer would change nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_closed() && self.in_row == 0
    }

    pub(super) fn leave(&mut self, now: Duration) -> Leave {
        let end = |since: Duration| since + self.policy.limit;
        match (self.state, self.down_since) {
            (State::Open { .. } | State::Asking, Some(since)) if now >= end(since) => Leave::GivenUp(since),
            (State::Open { until }, _) if now >= until => {
                self.state = State::Asking;
                Leave::Ask
            }
            (State::Open { until }, since) => Leave::Wait(since.map_or(until, |since| until.min(end(since)))),
            (State::Asking, since) => Leave::Wait(since.map_or(now + self.policy.max_pause, end)),
            (State::Closed | State::Ramp { .. }, _) => Leave::Send(self.allows()),
        }
    }

    /// The gate answered when asked: one event is tried. Or it did not.
    pub(super) fn asked(&mut self, now: Duration, up: bool) {
        if self.state != State::Asking {
            return;
        }
        if up {
            self.in_row = 0;
            self.state = State::Ramp { limit: 1, good: 0 };
        } else {
            self.open(now, None);
        }
    }

    /// The gate answered an event for good.
    pub(super) fn good(&mut self) {
        self.in_row = 0;
        if let State::Ramp { limit, good } = self.state {
            self.down_since = None;
            self.state = match good + 1 {
                all if all < limit => State::Ramp { limit, good: all },
                _ if limit >= self.connections => {
                    self.pause = self.policy.first_pause;
                    State::Closed
                }
                _ => State::Ramp { limit: limit * 2, good: 0 },
            };
        }
    }

    /// An attempt failed in a way that another may mend. Says whether that opened the circuit.
    pub(super) fn bad(&mut self, now: Duration, retry_after: Option<Duration>) -> bool {
        self.in_row = self.in_row.saturating_add(1);
        let enough = match self.state {
            State::Closed => self.policy.failures,
            State::Ramp { limit, .. } => limit,
            State::Open { .. } | State::Asking => return false,
        };
        if enough == 0 || self.in_row < enough {
            return false;
        }
        self.down_since.get_or_insert(now);
        self.open(now, retry_after);
        true
    }

    fn open(&mut self, now: Duration, retry_after: Option<Duration>) {
        let wanted = retry_after.unwrap_or_default().min(self.policy.limit);
        self.state = State::Open { until: now + self.pause.max(wanted) };
        self.pause = (self.pause * 2).min(self.policy.max_pause);
        self.in_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn circuit(failures: u32, connections: u32) -> Circuit {
        Circuit::new(CircuitPolicy { failures, ..CircuitPolicy::default() }, connections)
    }

    #[test]
    fn it_opens_on_failures_in_a_row_alone() {
        let mut circuit = circuit(3, 8);
        for bad in [true, true, false, true, true, false] {
            if bad { assert!(!circuit.bad(SECOND, None)) } else { circuit.good() }
        }
        assert!(circuit.is_quiet());
        assert!(!circuit.bad(SECOND, None) && !circuit.bad(SECOND, None) && circuit.bad(SECOND, None));
        assert_eq!(circuit.leave(SECOND), Leave::Wait(Duration::from_millis(1250)));
        let mut never = self::circuit(0, 8);
        assert!((0..1000).all(|_| !never.bad(SECOND, None)));
    }

    #[test]
    fn it_asks_once_a_pause_and_pauses_double() {
        let mut circuit = circuit(1, 8);
        circuit.bad(Duration::ZERO, None);
        let mut pauses = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..7 {
            let Leave::Wait(until) = circuit.leave(now) else { unreachable!() };
            pauses.push(until.saturating_sub(now).as_millis());
            now = until;
            assert_eq!(circuit.leave(now), Leave::Ask);
            assert!(matches!(circuit.leave(now), Leave::Wait(_)), "one asks, the others wait");
            circuit.asked(now, false);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn it_closes_step_by_step() {
        let mut circuit = circuit(1, 6);
        circuit.bad(Duration::ZERO, None);
        assert_eq!(circuit.leave(SECOND), Leave::Ask);
        circuit.asked(SECOND, true);
        for limit in [1, 2, 4, 8] {
            for _ in 0..limit {
                assert_eq!(circuit.leave(SECOND), Leave::Send(limit));
                circuit.good();
            }
        }
        assert!(circuit.is_quiet());
        assert_eq!(circuit.leave(SECOND), Leave::Send(u32::MAX));
    }

    #[test]
    fn the_one_event_that_is_tried_decides() {
        let mut circuit = circuit(1, 6);
        circuit.bad(Duration::ZERO, None);
        circuit.leave(SECOND);
        circuit.asked(SECOND, true);
        assert!(circuit.bad(SECOND, None), "the gate says it is up, and takes nothing");
        assert_eq!(circuit.leave(SECOND), Leave::Wait(SECOND + Duration::from_millis(500)));
    }

    #[test]
    fn the_gates_own_wish_makes_the_pause_longer() {
        let mut circuit = circuit(1, 6);
        circuit.bad(Duration::ZERO, Some(SECOND * 7));
        assert_eq!(circuit.leave(SECOND), Leave::Wait(SECOND * 7));
    }

    #[test]
    fn no_wish_of_the_gate_outlasts_the_limit() {
        let mut circuit = circuit(1, 6);
        assert!(circuit.bad(SECOND, Some(Duration::MAX)));
        assert_eq!(circuit.leave(SECOND), Leave::Wait(SECOND * 301));
    }

    #[test]
    fn a_gate_that_takes_nothing_for_too_long_is_given_up() {
        let mut circuit = circuit(1, 6);
        circuit.bad(SECOND, None);
        let mut now = SECOND;
        let since = loop {
            match circuit.leave(now) {
                Leave::Wait(until) => now = until,
                // Up each second time it is asked, and then it takes nothing all the same.
                Leave::Ask => circuit.asked(now, now.as_millis().is_multiple_of(2)),
                Leave::Send(_) => _ = circuit.bad(now, None),
                Leave::GivenUp(since) => break since,
            }
        };
        assert_eq!((since, now), (SECOND, SECOND * 301));
    }

    proptest! {
        #[test]
        fn it_never_lets_more_through_than_it_was_shown_to_take(
            connections in 1_u32..100, steps in proptest::collection::vec((0_u8..4, 0_u64..2000), 1..300)
        ) {
            let mut circuit = circuit(2, connections);
            let (mut now, mut good) = (Duration::ZERO, 0_u32);
            for (step, millis) in steps {
                now += Duration::from_millis(millis);
                let was_closed = circuit.is_closed();
                match (circuit.leave(now), step) {
                    (Leave::Ask, step) => {
                        circuit.asked(now, step % 2 == 0);
                        good = 0;
                    }
                    (Leave::Send(limit), _) => {
                        if limit != u32::MAX {
                            prop_assert!(limit <= good + 1, "{limit} after {good}");
                        }
                        if step == 0 { circuit.bad(now, None); } else { circuit.good(); good += 1; }
                    }
                    (Leave::Wait(until), _) => prop_assert!(until > now),
                    (Leave::GivenUp(since), _) => prop_assert!(now >= since + circuit.policy.limit),
                }
                if !was_closed && circuit.is_closed() {
                    prop_assert!(good >= connections);
                }
            }
        }
    }
}

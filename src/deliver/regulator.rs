//! How much may be on the way to the gate: the circuit and the adaptive limit, and the requests they allow, counted.
//!
//! ```text
//!  enter ──► Circuit (is it there?) ──► Aimd (how much can it take?) ──► Permit ──► attempt
//!               ▲                          ▲                                          │
//!               └──────────────────────────┴── good · bad ◄───────────────────────────┘
//! ```

use std::time::Duration;

use super::aimd::{Adaptive, Aimd};
use super::circuit::{Circuit, CircuitPolicy, Leave};

/// The right to make one attempt; it is given back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    /// How often the circuit had opened before: what an attempt from before says, it says of another gate.
    epoch: u64,
    counted: bool,
}

impl Permit {
    /// A permit of [`Regulator::calm`]'s epoch, which nobody counts.
    pub(super) fn calm(epoch: u64) -> Self {
        Self { epoch, counted: false }
    }
}

/// An answer to who wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Send.
    Go(Permit),
    /// Ask the gate how it is, and tell [`Regulator::asked`].
    Ask,
    /// Not before this time, or not before another attempt has ended.
    Wait(Option<Duration>),
    /// The gate has taken nothing since this time, and that is too long.
    GivenUp(Duration),
}

/// How a failed attempt looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// When it began.
    pub(super) started: Duration,
    /// It is a sign of overload: 429, 503, no answer in time.
    pub(super) overload: bool,
    /// What the gate asked for, within its bound.
    pub(super) retry_after: Option<Duration>,
}

/// See above. Time comes in with every call and must not go back.
#[derive(Debug)]
pub(super) struct Regulator {
    circuit: Circuit,
    aimd: Option<Aimd>,
    connections: u32,
    /// Counted permits of this epoch that are out.
    on_the_way: u32,
    epoch: u64,
}

impl Regulator {
    pub(super) fn new(circuit: CircuitPolicy, adaptive: Option<Adaptive>, connections: u32) -> Self {
        let connections = connections.max(1);
        Self {
            circuit: Circuit::new(circuit, connections),
            aimd: adaptive.map(|adaptive| Aimd::new(adaptive, connections)),
            connections,
            on_the_way: 0,
            epoch: 1,
        }
    }

    /// The epoch, while everybody may send and nobody need be counted: no connection has more than one request on the
    /// way anyway.
    pub(super) fn calm(&self) -> Option<u64> {
        (self.circuit.is_closed() && self.aimd.is_none()).then_some(self.epoch)
    }

    /// Whether in calm a good answer need not even be told.
    pub(super) fn quiet(&self) -> bool {
        self.aimd.is_none() && self.circuit.is_quiet()
    }

    /// Since when the gate has taken nothing, while it is thought down.
    pub(super) fn down_since(&self) -> Option<Duration> {
        self.circuit.down_since()
    }

    /// Whether a request may be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.on_the_way < self.circuit.allows().min(self.limit())
    }

    /// Asks for a permit.
    pub(super) fn enter(&mut self, now: Duration) -> Entry {
        match self.circuit.leave(now) {
            Leave::Send(limit) if self.on_the_way < limit.min(self.limit()) => {
                self.on_the_way += 1;
                Entry::Go(Permit { epoch: self.epoch, counted: true })
            }
            Leave::Send(_) => Entry::Wait(None),
            Leave::Ask => Entry::Ask,
            Leave::Wait(until) => Entry::Wait(Some(until)),
            Leave::GivenUp(since) => Entry::GivenUp(since),
        }
    }

    /// What the gate said when it was asked how it is.
    pub(super) fn asked(&mut self, now: Duration, up: bool) {
        self.circuit.asked(now, up);
    }

    /// The attempt of `permit`, begun at `started`, was answered for good.
    pub(super) fn good(&mut self, permit: Permit, started: Duration, now: Duration) {
        if permit.epoch != self.epoch {
            return;
        }
        let on_the_way = self.on_the_way;
        self.give_back(permit);
        self.circuit.good();
        if let Some(aimd) = &mut self.aimd {
            aimd.good(started, now, on_the_way);
        }
    }

    /// The attempt of `permit` failed in a way that another may mend. Says whether that opened the circuit.
    pub(super) fn bad(&mut self, permit: Permit, now: Duration, failure: Failure) -> bool {
        if permit.epoch != self.epoch {
            return false;
        }
        self.give_back(permit);
        if let Some(aimd) = self.aimd.as_mut().filter(|_| failure.overload) {
            aimd.overload(failure.started, now);
        }
        let opened = self.circuit.bad(now, failure.retry_after);
        if opened {
            self.epoch += 1;
            self.on_the_way = 0;
        }
        opened
    }

    /// A permit that was not used.
    pub(super) fn give_back(&mut self, permit: Permit) {
        if permit.counted && permit.epoch == self.epoch {
            self.on_the_way = self.on_the_way.saturating_sub(1);
        }
    }

    /// What the adaptive limit allows.
    pub(super) fn limit(&self) -> u32 {
        self.aimd.as_ref().map_or(self.connections, Aimd::limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy(failures: u32) -> CircuitPolicy {
        CircuitPolicy { failures, ..CircuitPolicy::default() }
    }

    fn failure(started: Duration) -> Failure {
        Failure { started, overload: true, retry_after: None }
    }

    #[test]
    fn without_trouble_everybody_may_send() {
        let mut regulator = Regulator::new(policy(3), None, 4);
        assert!(regulator.calm().is_some() && regulator.quiet());
        let permit = Permit::calm(regulator.calm().unwrap());
        assert!(!regulator.bad(permit, MS, failure(MS)));
        assert!(regulator.calm().is_some() && !regulator.quiet(), "one failure is to be forgotten by the next answer");
        regulator.good(permit, MS, MS);
        assert!(regulator.quiet());
    }

    #[test]
    fn as_many_may_send_as_there_are_connections_and_one_at_least() {
        let limits = [0, 1, 2, 7].map(|connections| Regulator::new(policy(3), None, connections).limit());
        assert_eq!(limits, [1, 1, 2, 7]);
    }

    #[test]
    fn what_was_sent_before_the_circuit_opened_says_nothing_of_the_gate_after_it() {
        let mut regulator = Regulator::new(policy(1), None, 4);
        let old = Permit::calm(regulator.calm().unwrap());
        assert!(regulator.bad(old, MS, failure(MS)));
        assert_eq!(regulator.calm(), None);
        assert_eq!(regulator.enter(MS * 251), Entry::Ask);
        regulator.asked(MS * 252, true);
        let Entry::Go(trial) = regulator.enter(MS * 252) else { unreachable!() };
        assert_eq!(regulator.enter(MS * 252), Entry::Wait(None), "one event is tried");
        assert!(!regulator.bad(old, MS * 253, failure(MS)), "a time-out from long ago");
        assert_eq!(regulator.enter(MS * 253), Entry::Wait(None));
        regulator.good(trial, MS * 252, MS * 254);
        assert!(matches!(regulator.enter(MS * 254), Entry::Go(_)) && matches!(regulator.enter(MS * 254), Entry::Go(_)));
        assert_eq!(regulator.enter(MS * 254), Entry::Wait(None));
    }

    proptest! {
        #[test]
        fn no_more_are_on_the_way_than_allowed(
            failures in 0_u32..4, adaptive in any::<bool>(), connections in 1_u32..20,
            steps in proptest::collection::vec((any::<u8>(), 0_u64..400), 1..300)
        ) {
            let adaptive = adaptive.then_some(Adaptive { min: 1, slow: MS * 50 });
            let mut regulator = Regulator::new(policy(failures), adaptive, connections);
            let (mut now, mut out) = (Duration::ZERO, Vec::new());
            for (step, millis) in steps {
                now += MS * u32::try_from(millis).unwrap();
                if step % 3 > 0 && (out.len() as u32) < connections {
                    let limit = regulator.limit();
                    match regulator.enter(now) {
                        Entry::Go(permit) => {
                            out.push((permit, now));
                            let counted = out.iter().filter(|(permit, _)| permit.epoch == regulator.epoch).count();
                            prop_assert!(counted as u32 <= limit.min(connections), "{counted} of {limit}");
                        }
                        Entry::Ask => regulator.asked(now, step % 2 == 0),
                        Entry::Wait(_) | Entry::GivenUp(_) => {}
                    }
                } else if !out.is_empty() {
                    let (permit, started) = out.remove(usize::from(step) % out.len());
                    if step % 2 == 0 {
                        regulator.good(permit, started, now);
                    } else {
                        regulator.bad(permit, now, failure(started));
                    }
                }
            }
            // However it stands: once all are back and the gate is well, somebody may send within a pause.
            for (permit, started) in out {
                regulator.good(permit, started, now);
            }
            now += Duration::from_secs(5);
            match regulator.enter(now) {
                Entry::Go(_) | Entry::GivenUp(_) => {}
                Entry::Ask => {
                    regulator.asked(now, true);
                    prop_assert!(matches!(regulator.enter(now), Entry::Go(_)));
                }
                Entry::Wait(until) => prop_assert!(until.is_some(), "a connection that asks is told when to ask again"),
            }
        }
    }
}

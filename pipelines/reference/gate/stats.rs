//! What the gate counted.

/// Counters since the gate was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateStats {
    /// Requests of any kind.
    pub requests: u64,
    /// Answers ADMIT (counted where the answer was cut, too).
    pub admitted: u64,
    /// Answers DUPLICATE.
    pub duplicates: u64,
    /// Answers QUARANTINE.
    pub quarantined: u64,
    /// Requests without the key.
    pub unauthorized: u64,
    /// Requests that were not an event: not JSON, no identity, too large, another path or method.
    pub unreadable: u64,
    /// Faults injected, by kind.
    pub faults: FaultStats,
    /// The most events that were in the gate at once.
    pub peak_in_flight: u32,
    /// The most events of one order key that were in the gate at once. It is meaningful only where answers take time (a
    /// latency fault): events that are answered at once never overlap.
    pub peak_in_flight_per_key: u32,
    /// Connections accepted.
    pub connections: u64,
}

/// How often each fault was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultStats {
    /// Statuses by share.
    pub status: u64,
    /// Statuses of brown-outs.
    pub brownout: u64,
    /// Connections cut before the event was admitted.
    pub cut_before: u64,
    /// Connections cut after.
    pub cut_after: u64,
    /// Requests left without an answer.
    pub hang: u64,
    /// Answers that were not JSON.
    pub garbage: u64,
    /// Answers cut in the middle.
    pub half: u64,
}

impl FaultStats {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.status + self.brownout + self.cut_before + self.cut_after + self.hang + self.garbage + self.half
    }
}

//! Checks what a gate admitted against what it should have: every event once, in order.
//!
//! ```text
//! Ledger (order of admission) ──┐
//! expected (canonical order) ───┴──► audit ──► AuditReport
//! ```
//!
//! It holds 4 bytes for an expected event and 16 for an order key.

use std::collections::HashMap;

use super::class::EventClass;
use super::ledger::Ledger;

/// An event that a run should have delivered, in canonical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its class, from the output's name ([`EventClass::of`]).
    pub class: EventClass,
    /// Its id.
    pub event_id: [u8; 32],
    /// A number that events of one order key share, such as [`wsp_world::model::Event::order_key`].
    pub order_key: u64,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Events expected.
    pub expected: u64,
    /// Of these, admitted.
    pub admitted: u64,
    /// Of these, not admitted.
    pub missing: u64,
    /// The first of the missing, by its place in canonical order.
    pub first_missing: Option<u64>,
    /// Admitted in this run but not expected.
    pub unexpected: u64,
    /// Repetitions of events of the run.
    pub duplicates: u64,
    /// Admissions ahead of an event of their order key that should have preceded them.
    pub order_violations: u64,
    /// Whether the order of admission is the canonical one, exactly.
    pub canonical: bool,
    /// The largest distance of an admitted event from its place in canonical order.
    pub max_displacement: u64,
}

impl AuditReport {
    /// Whether every event was admitted once (duplicates were recognised), none is foreign, and order is kept per key.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.unexpected == 0 && self.order_violations == 0
    }
}

/// Compares the admissions of one platform run with the events it should have delivered, in canonical order.
pub fn audit(ledger: &Ledger, platform_run_id: &str, expected: impl IntoIterator<Item = Expected>) -> AuditReport {
    let mut report = AuditReport { canonical: true, ..AuditReport::default() };
    let mut order: Vec<u32> = Vec::new();
    let mut last_of_key: HashMap<u64, u32> = HashMap::new();
    for event in expected {
        let place = report.expected;
        report.expected += 1;
        let Some(admission) = ledger.find_in(platform_run_id, event.class, &event.event_id) else {
            report.missing += 1;
            report.first_missing.get_or_insert(place);
            continue;
        };
        report.canonical &= order.last().is_none_or(|last| *last < admission.seq);
        order.push(admission.seq);
        let last = last_of_key.entry(event.order_key).or_insert(admission.seq);
        report.order_violations += u64::from(admission.seq < *last);
        *last = (*last).max(admission.seq);
    }
    report.admitted = order.len() as u64;
    report.canonical &= report.missing == 0;
    report.max_displacement = displacement(&order, ledger.len());
    for admission in ledger.admissions() {
        if ledger.runs().get(usize::from(admission.run)).is_some_and(|run| run == platform_run_id) {
            report.unexpected += 1;
            report.duplicates += u64::from(admission.duplicates);
        }
    }
    report.unexpected = report.unexpected.saturating_sub(report.admitted);
    report
}

/// The largest distance between an event's place in `order` and its rank among the numbers there.
fn displacement(order: &[u32], len: u32) -> u64 {
    let mut present = vec![0_u64; len as usize / 64 + 1];
    for seq in order {
        present[*seq as usize / 64] |= 1 << (seq % 64);
    }
    let mut before = Vec::with_capacity(present.len());
    let mut total = 0_u64;
    for word in &present {
        before.push(total);
        total += u64::from(word.count_ones());
    }
    let rank = |seq: u32| {
        let word = seq as usize / 64;
        before[word] + u64::from((present[word] & ((1 << (seq % 64)) - 1)).count_ones())
    };
    order.iter().enumerate().map(|(place, seq)| rank(*seq).abs_diff(place as u64)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Envelope;
    use super::*;
    use std::borrow::Cow;

    const RUN: &str = "platform_20260101T000000Z";

    fn id(n: u8) -> [u8; 32] {
        [n; 32]
    }

    fn ledger(order: &[u8]) -> Ledger {
        let mut ledger = Ledger::new();
        for n in order {
            let envelope = Envelope {
                event_id: id(*n),
                event_type: Cow::Borrowed("s3_event_stream_with_fraud_6B"),
                ts_utc: Cow::Borrowed("2026-01-01T00:00:00.000000Z"),
                platform_run_id: Cow::Borrowed(RUN),
                payload_hash: 0,
                flow_id: None,
                merchant_id: None,
                flaw: None,
            };
            ledger.judge(EventClass::TrafficFraud, &envelope);
        }
        ledger
    }

    /// Events 1 to `n`, two order keys in turn.
    fn expected(n: u8) -> impl Iterator<Item = Expected> {
        (1..=n).map(|n| Expected { class: EventClass::TrafficFraud, event_id: id(n), order_key: u64::from(n % 2) })
    }

    #[test]
    fn canonical_order_is_seen() {
        let report = audit(&ledger(&[1, 2, 3, 4, 4]), RUN, expected(4));
        assert!(report.is_clean() && report.canonical);
        assert_eq!((report.admitted, report.duplicates, report.max_displacement), (4, 1, 0));
    }

    #[test]
    fn order_within_keys_is_told_from_order_at_large() {
        let report = audit(&ledger(&[2, 4, 1, 3]), RUN, expected(4));
        assert!(report.is_clean() && !report.canonical);
        assert_eq!(report.max_displacement, 2);
        let report = audit(&ledger(&[3, 2, 1, 4]), RUN, expected(4));
        assert_eq!(report.order_violations, 1);
    }

    #[test]
    fn what_is_missing_or_foreign_is_counted() {
        let report = audit(&ledger(&[1, 3, 9]), RUN, expected(4));
        assert_eq!((report.missing, report.first_missing, report.unexpected), (2, Some(1), 1));
        assert!(!report.canonical && report.max_displacement == 0);
        assert_eq!(audit(&ledger(&[1]), "another", expected(1)).missing, 1);
    }
}

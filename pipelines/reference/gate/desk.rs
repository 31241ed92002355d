//! What the gate does with one request, without socket or clock: all of its behaviour, as plain code.
//!
//! ```text
//! (method, path, key, body, time) ──► Desk::receive ──► Action (wait, then answer, cut, hang or half an answer)
//! ```

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::class::EventClass;
use super::envelope::{Envelope, Flaw, Unreadable};
use super::faults::{FaultSpec, Outcome};
use super::journal::JournalFile;
use super::ledger::{Ledger, Verdict};
use super::scan::fold;
use super::stats::GateStats;
use super::{GateStyle, answer};

/// What the gate does with a request.
#[derive(Debug)]
pub(super) enum Action {
    /// Answers.
    Answer(Reply),
    /// Closes the connection without an answer.
    Cut,
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Sends the head and half the body, then closes the connection.
    Half(Reply),
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) retry_after: Option<String>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), retry_after: None }
    }
}

/// An event on its way through the gate: read, counted as in flight, not yet decided.
#[derive(Debug)]
pub(super) struct Pending {
    key: u64,
    outcome: Outcome,
    /// How long to wait before [`Desk::decide`].
    pub(super) latency: Duration,
    injected: Option<u16>,
}

/// Ledger, faults and counters.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    pub(super) stats: GateStats,
    pub(super) journal: Option<JournalFile>,
    pub(super) journal_error: Option<io::Error>,
    /// Flush after every decision rather than once a second.
    pub(super) eager: bool,
    faults: FaultSpec,
    seed: u64,
    style: GateStyle,
    any_event_type: bool,
    /// Attempts that are not in the ledger, for events that had some.
    failures: HashMap<[u8; 32], u32>,
    in_flight: HashMap<u64, u32>,
    in_flight_total: u32,
}

impl Desk {
    pub(super) fn new(faults: FaultSpec, seed: u64, style: GateStyle, any_event_type: bool) -> Self {
        Self {
            ledger: Ledger::new(),
            stats: GateStats::default(),
            journal: None,
            journal_error: None,
            eager: false,
            faults,
            seed,
            style,
            any_event_type,
            failures: HashMap::new(),
            in_flight: HashMap::new(),
            in_flight_total: 0,
        }
    }

    pub(super) fn faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The answer to a request that is not an event.
    pub(super) fn refuse(&mut self, problem: &Unreadable) -> Reply {
        self.stats.unreadable += 1;
        match problem {
            Unreadable::NotJson(problem) => Reply::new(400, answer::error("INVALID_JSON", Some(&problem.to_string()))),
            Unreadable::NoIdentity => Reply::new(500, br#"{"error":"INTERNAL_ERROR"}"#.as_slice()),
        }
    }

    /// Accepts an event, `elapsed` after the gate's first request, and returns how long it waits.
    pub(super) fn accept(&mut self, envelope: &Envelope<'_>, elapsed: Duration) -> Pending {
        let class = EventClass::of(&envelope.event_type);
        let column = class.order_column();
        let key = fold(envelope.order_value(column), column.len() as u64);
        let mut pending = Pending { key, outcome: Outcome::Answer, latency: Duration::ZERO, injected: None };
        if self.faulty() {
            let fate = self.faults.draw(self.seed, &envelope.event_id, self.attempt(class, envelope));
            pending.latency = fate.latency;
            pending.outcome = fate.outcome;
            if let Some(status) = self.faults.brownout(elapsed) {
                self.stats.faults.brownout += 1;
                pending.injected = Some(status);
            } else if let Outcome::Status(status) = fate.outcome {
                self.stats.faults.status += 1;
                pending.injected = Some(status);
            }
        }
        let here = self.in_flight.entry(key).or_default();
        *here += 1;
        self.in_flight_total += 1;
        self.stats.peak_in_flight_per_key = self.stats.peak_in_flight_per_key.max(*here);
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.in_flight_total);
        pending
    }

    /// Counts the event as no longer in flight, answered or not.
    pub(super) fn leave(&mut self, pending: &Pending) {
        self.in_flight_total -= 1;
        if let Some(here) = self.in_flight.get_mut(&pending.key) {
            *here -= 1;
            if *here == 0 {
                self.in_flight.remove(&pending.key);
            }
        }
    }

    /// Decides on an event once its wait is over.
    pub(super) fn decide(&mut self, envelope: &Envelope<'_>, pending: &Pending) -> Action {
        if let Some(status) = pending.injected {
            self.failed(envelope);
            let (error, detail) = match status {
                429 => ("RATE_LIMITED", None),
                503 => ("PUBLISH_IN_FLIGHT_RETRY", Some("retry_required")),
                _ => ("INJECTED", None),
            };
            let mut reply = Reply::new(status, answer::error(error, detail));
            reply.retry_after = self.faults.retry_after(status);
            return Action::Answer(reply);
        }
        match pending.outcome {
            Outcome::CutBefore => {
                self.stats.faults.cut_before += 1;
                self.failed(envelope);
                return Action::Cut;
            }
            Outcome::Hang => {
                self.stats.faults.hang += 1;
                self.failed(envelope);
                return Action::Hang;
            }
            _ => {}
        }
        let reply = self.judge(envelope);
        match pending.outcome {
            Outcome::CutAfter => {
                self.stats.faults.cut_after += 1;
                Action::Cut
            }
            Outcome::Garbage => {
                self.stats.faults.garbage += 1;
                Action::Answer(Reply::new(200, b"<html>502 upstream</html>".as_slice()))
            }
            Outcome::Half => {
                self.stats.faults.half += 1;
                Action::Half(reply)
            }
            _ => Action::Answer(reply),
        }
    }

    /// What is known of an event id, in any run.
    pub(super) fn lookup(&self, event_id: &[u8; 32]) -> Option<Vec<u8>> {
        let admission = self.ledger.find_anywhere(event_id)?;
        let run = self.ledger.runs().get(usize::from(admission.run))?;
        Some(answer::lookup(run, admission.class, event_id))
    }

    /// The state of the gate, `elapsed` after its first request.
    pub(super) fn health(&self, elapsed: Duration) -> Reply {
        let (status, body) = match (self.style, self.faults.brownout(elapsed)) {
            (GateStyle::Service, None) => (200, r#"{"reasons":[],"state":"GREEN"}"#),
            (GateStyle::Service, Some(_)) => (503, r#"{"reasons":["BROWNOUT"],"state":"RED"}"#),
            (GateStyle::Edge, None) => (200, r#"{"mode":"reference","service":"ingestion-gate","status":"ok"}"#),
            (GateStyle::Edge, Some(_)) => {
                (503, r#"{"mode":"reference","service":"ingestion-gate","status":"unavailable"}"#)
            }
        };
        Reply::new(status, body)
    }

    /// Hands the journal to the operating system; the first error is kept for the caller who asks.
    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.journal.as_mut().map(JournalFile::flush) {
            self.journal_error.get_or_insert(error);
        }
    }

    fn judge(&mut self, envelope: &Envelope<'_>) -> Reply {
        let class = EventClass::of(&envelope.event_type);
        let verdict = if class == EventClass::Traffic && !self.any_event_type && envelope.flaw.is_none() {
            Verdict::Quarantine { flaw: Flaw::SchemaPolicyMissing }
        } else {
            self.ledger.judge(class, envelope)
        };
        if let Some(journal) = &mut self.journal {
            if let Err(error) = journal.write(class, envelope, verdict) {
                self.journal_error.get_or_insert(error);
            }
            if self.eager {
                self.flush();
            }
        }
        let quarantined = matches!(verdict, Verdict::Quarantine { .. });
        match verdict {
            Verdict::Admit { .. } => self.stats.admitted += 1,
            Verdict::Duplicate { .. } => self.stats.duplicates += 1,
            Verdict::Quarantine { .. } => self.stats.quarantined += 1,
        }
        let status = match self.style {
            GateStyle::Service => 200,
            GateStyle::Edge if quarantined => 400,
            GateStyle::Edge => 202,
        };
        Reply::new(status, answer::decision(class, envelope, verdict))
    }

    /// Which attempt of its event this is, from 1.
    fn attempt(&self, class: EventClass, envelope: &Envelope<'_>) -> u32 {
        let failed = self.failures.get(&envelope.event_id).copied().unwrap_or_default();
        let seen = self.ledger.find_in(&envelope.platform_run_id, class, &envelope.event_id);
        failed + seen.map_or(0, |admission| 1 + u32::from(admission.duplicates)) + 1
    }

    fn failed(&mut self, envelope: &Envelope<'_>) {
        *self.failures.entry(envelope.event_id).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn envelope(id: u8, flow_id: u64) -> Envelope<'static> {
        Envelope {
            event_id: [id; 32],
            event_type: Cow::Borrowed("s3_event_stream_with_fraud_6B"),
            ts_utc: Cow::Borrowed("2026-01-01T00:00:00.000000Z"),
            platform_run_id: Cow::Borrowed("platform_20260101T000000Z"),
            payload_hash: 1,
            flow_id: Some(flow_id),
            merchant_id: None,
            flaw: None,
        }
    }

    fn desk(faults: &str) -> Desk {
        Desk::new(faults.parse().unwrap(), 9, GateStyle::Service, false)
    }

    fn status(action: &Action) -> Option<u16> {
        match action {
            Action::Answer(reply) => Some(reply.status),
            _ => None,
        }
    }

    #[test]
    fn events_of_one_key_are_counted_while_they_are_in_the_gate() {
        let mut desk = desk("");
        let first = desk.accept(&envelope(1, 7), Duration::ZERO);
        let other = desk.accept(&envelope(2, 8), Duration::ZERO);
        assert_eq!((desk.stats.peak_in_flight, desk.stats.peak_in_flight_per_key), (2, 1));
        desk.leave(&other);
        let second = desk.accept(&envelope(3, 7), Duration::ZERO);
        assert_eq!((desk.stats.peak_in_flight, desk.stats.peak_in_flight_per_key), (2, 2));
        desk.leave(&first);
        desk.leave(&second);
        assert!(desk.in_flight.is_empty());
    }

    #[test]
    fn an_anchor_and_its_flow_share_a_key() {
        let mut desk = desk("");
        let mut anchor = envelope(1, 7);
        anchor.event_type = Cow::Borrowed("s3_flow_anchor_with_fraud_6B");
        desk.accept(&anchor, Duration::ZERO);
        desk.accept(&envelope(2, 7), Duration::ZERO);
        assert_eq!(desk.stats.peak_in_flight_per_key, 2);
    }

    #[test]
    fn a_brownout_has_a_beginning_and_an_end() {
        let mut desk = desk("brownout=5s+2s:503,retry-after=1");
        let mut at = |seconds, id| {
            let pending = desk.accept(&envelope(id, 1), Duration::from_secs(seconds));
            let action = desk.decide(&envelope(id, 1), &pending);
            desk.leave(&pending);
            status(&action)
        };
        assert_eq!([at(4, 1), at(5, 2), at(6, 3), at(7, 2)], [Some(200), Some(503), Some(503), Some(200)]);
        assert_eq!((desk.stats.faults.brownout, desk.stats.admitted), (2, 2));
        assert_eq!(desk.health(Duration::from_secs(6)).status, 503);
    }

    #[test]
    fn attempts_are_numbered_over_failures_admissions_and_duplicates() {
        let mut desk = desk("cut-before=50%,cut-after=20%");
        let event = envelope(1, 1);
        let mut fates = Vec::new();
        for attempt in 1..=20 {
            let pending = desk.accept(&event, Duration::ZERO);
            assert_eq!(pending.outcome, desk.faults.draw(9, &event.event_id, attempt).outcome, "{attempt}");
            fates.push(pending.outcome);
            desk.decide(&event, &pending);
            desk.leave(&pending);
        }
        assert!(fates.contains(&Outcome::CutBefore) && fates.contains(&Outcome::Answer));
        assert_eq!(desk.stats.admitted, 1);
    }
}

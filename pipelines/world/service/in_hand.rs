//! A lane that a worker streams, and what the worker notes of it.

use std::time::Duration;

use crate::checkpoint::{Lease, LeaseState};
use crate::evidence::{LaneNote, Takeover};
use crate::lanes::{LaneMeter, Reached};
use crate::model::{Lane, Micros};

/// Takeovers of a lane that are kept.
const TAKEOVERS: usize = 16;

/// A lane that is streamed here.
pub(super) struct InHand {
    pub(super) lane: Lane,
    pub(super) reached: Reached,
    meter: LaneMeter,
    lease: Lease,
    note: LaneNote,
    /// The last takeover in the note is this worker's.
    took_over: bool,
}

/// The worker that had a lane before.
pub(super) struct Before {
    /// Its last note.
    pub(super) note: LaneNote,
    /// It left the lane in order.
    pub(super) left: bool,
    /// Its last save, where the checkpoint store keeps that.
    pub(super) saved: Option<Micros>,
}

impl Before {
    /// The takeovers so far, with that by `worker` at `held`.
    fn followed(self, worker: &str, held: Micros) -> Vec<Takeover> {
        let Self { note, left, saved } = self;
        let mut takeovers = note.takeovers;
        takeovers.drain(..takeovers.len().saturating_sub(TAKEOVERS - 1));
        takeovers.push(Takeover {
            from_worker: note.worker,
            left,
            // Its last note came after the last save.
            last_saved: saved.or(left.then_some(note.noted)),
            to_worker: worker.to_owned(),
            held,
            first_event: None,
        });
        takeovers
    }
}

impl InHand {
    /// A lane that was taken at `now`, of which `answered` events are answered.
    pub(super) fn new(
        lane: Lane,
        lease: Lease,
        worker: &str,
        before: Option<Before>,
        answered: u64,
        now: Micros,
    ) -> Self {
        let (epoch, took_over) = (lease.epoch(), before.is_some());
        let takeovers = before.map(|before| before.followed(worker, now)).unwrap_or_default();
        let worker = worker.to_owned();
        let note =
            LaneNote { worker, epoch, taken: now, noted: now, answered, rate: 0.0, reached_ts_utc: None, takeovers };
        Self { lane, reached: Reached::default(), meter: LaneMeter::default(), lease, note, took_over }
    }

    /// Where its streaming counts.
    pub(super) fn meter(&self) -> LaneMeter {
        self.meter.clone()
    }

    /// The note as it was last.
    pub(super) fn note(&self) -> &LaneNote {
        &self.note
    }

    /// Whether another worker had it before.
    pub(super) fn took_over(&self) -> bool {
        self.took_over
    }

    /// The note as of `now`, unless the last one is younger than `every`. One whose hold has lapsed at `mono`, on the service's
    /// clock, may be another worker's by now, with a note of its own.
    pub(super) fn due(&mut self, now: Micros, mono: Duration, every: Duration) -> Option<LaneNote> {
        let age = u128::try_from(now.0.saturating_sub(self.note.noted.0)).unwrap_or(0);
        let due = age >= every.as_micros() && self.lease.state(mono) == LeaseState::Held;
        due.then(|| self.renewed(now))
    }

    /// The note as of `now`.
    pub(super) fn renewed(&mut self, now: Micros) -> LaneNote {
        let reached = self.reached.get();
        let note = &mut self.note;
        // The meter begins with the streaming.
        let answered = self.meter.answered().max(note.answered);
        let seconds = now.0.saturating_sub(note.noted.0) as f64 / 1e6;
        if seconds > 0.0 {
            let rate = answered.saturating_sub(note.answered) as f64 / seconds;
            note.rate = (rate * 10.0).round() / 10.0;
        }
        (note.answered, note.noted) = (answered, now);
        note.reached_ts_utc = reached.map(|at| at.to_string());
        if self.took_over
            && let Some(takeover) = note.takeovers.last_mut()
        {
            takeover.first_event = self.meter.first_sent();
        }
        note.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{LiveTally, lane_tests};

    fn second(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    fn in_hand(before: Option<Before>) -> InHand {
        InHand::new(Lane::WHOLE, Lease::unlimited(), "b", before, 40, second(100))
    }

    #[test]
    fn a_note_has_progress_and_rate_since_the_one_before() {
        let mut lane = in_hand(None);
        assert!(!lane.took_over() && lane.note().takeovers.is_empty());
        lane.meter().begin(40, LiveTally::new(1).unwrap());
        let ten = Duration::from_secs(10);
        assert_eq!(lane.due(second(109), Duration::ZERO, ten), None, "it is young");
        let note = lane.due(second(110), Duration::ZERO, ten).unwrap();
        assert_eq!((note.answered, note.rate, note.noted, note.taken), (40, 0.0, second(110), second(100)));
        lane.meter.begin(65, LiveTally::new(1).unwrap());
        let next = lane.renewed(second(120));
        assert_eq!((next.answered, next.rate), (65, 2.5));
        assert_eq!(lane.renewed(second(120)), next, "no time has passed");
    }

    #[test]
    fn a_takeover_is_kept_with_those_before_it() {
        let dead =
            LaneNote { takeovers: vec![lane_tests::takeover([1, 2, 3]); 20], ..lane_tests::note("a", second(90)) };
        let before = |left, saved| Some(Before { note: dead.clone(), left, saved });
        let mut lane = in_hand(before(false, Some(second(80))));
        lane.meter().sent_at(second(101));
        let note = lane.renewed(second(102));
        let expected = Takeover {
            from_worker: "a".to_owned(),
            left: false,
            last_saved: Some(second(80)),
            to_worker: "b".to_owned(),
            held: second(100),
            first_event: Some(second(101)),
        };
        assert_eq!((note.takeovers.len(), note.takeovers.last()), (TAKEOVERS, Some(&expected)));
        assert_eq!(expected.recovery(), Some(Duration::from_secs(21)));
        let last_saved = |before| in_hand(before).note().takeovers.last().unwrap().last_saved;
        assert_eq!(last_saved(before(false, None)), None, "a note says nothing of saves");
        assert_eq!(last_saved(before(true, None)), Some(second(90)), "who leaves saves first");
    }
}

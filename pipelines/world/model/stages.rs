//! How the platform's rows, events and refusals go through the stages.
//!
//! ```text
//! RowBatch: merge · Event: pace, push · Position: checkpoint · Refusal: whatever ends a stage
//! ```

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use wsp::ahead::AheadError;
use wsp::checkpoint::Place;
use wsp::deliver::{Item, PushError};
use wsp::merge::Batch;
use wsp::pace::Timed;
use wsp::time::Micros;

use super::event::{Event, Position, RowBatch};
use super::reason::{Reason, Refusal};

impl Batch for RowBatch {
    /// Canonical: output rank, file, row.
    type Key = Position;

    fn times(&self) -> &[Micros] {
        self.times()
    }

    fn key(&self, row: usize) -> Position {
        self.position(row)
    }
}

impl Timed for Event {
    fn ts(&self) -> Micros {
        self.ts
    }

    fn set_due(&mut self, due: Duration) {
        self.due = Some(due);
    }
}

impl Item for Event {
    fn id(&self) -> &[u8; 32] {
        &self.event_id
    }

    fn line(&self) -> u64 {
        self.order_key
    }

    fn source(&self) -> u16 {
        self.position.rank
    }

    fn due(&self) -> Option<Duration> {
        self.due
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }
}

impl Place for Position {
    fn source(&self) -> usize {
        self.rank.into()
    }

    fn seq(&self) -> u64 {
        self.seq
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<AheadError> for Refusal {
    fn from(error: AheadError) -> Self {
        Self::new(Reason::InternalError, error.to_string())
    }
}

impl From<PushError> for Refusal {
    fn from(error: PushError) -> Self {
        let reason = match error {
            PushError::Stopped(_) => Reason::RunStopped,
            PushError::Thread(_) | PushError::Panicked(_) | PushError::Ended => Reason::InternalError,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_when_it_is_due() {
        let position = Position { rank: 0, file: 0, row: 0, seq: 0 };
        let mut event =
            Event { position, ts: Micros(7), order_key: 0, event_id: [0; 32], body: Bytes::new(), due: None };
        event.set_due(Duration::from_secs(3));
        assert_eq!((event.ts(), event.due), (Micros(7), Some(Duration::from_secs(3))));
    }

    #[test]
    fn a_stop_is_told_from_a_fault() {
        assert_eq!(Refusal::from(PushError::Stopped(3)).reason, Reason::RunStopped);
        for error in
            [PushError::Ended, PushError::Panicked("x".to_owned()), PushError::Thread(std::io::Error::other("x"))]
        {
            assert_eq!(Refusal::from(error).reason, Reason::InternalError);
        }
        assert_eq!(Refusal::from(AheadError::Panicked).reason, Reason::InternalError);
    }
}

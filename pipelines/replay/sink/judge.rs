//! What a write comes to, for sinks that have no statuses.
//!
//! ```text
//! 200 ─► delivered │ any other status ─► the sink refuses this event │ no connection ─► again │ connection lost ─► the end
//! ```

use wsp::deliver::{Answer, Attempt, Cause, Decided, Delivery, Judge, Stray, Verdict};

use super::super::error::Error;
use super::super::event::Event;
use super::super::judge::{Delivered, StatusJudge};

/// What a sink answers to an event that it has.
pub(super) fn taken() -> Attempt {
    Attempt::Answered(Answer::new(200, bytes::Bytes::new()))
}

/// What a sink answers to an event that it can never take; the next one it may.
pub(super) fn refused(why: impl Into<String>) -> Attempt {
    Attempt::Answered(Answer::new(422, why.into()))
}

/// What a sink answers that takes nothing any more.
pub(super) fn broken(why: impl Into<String>) -> Attempt {
    Attempt::ConnectionLost(why.into())
}

/// Judges what [`taken`], [`refused`] and [`broken`] make; anything else is tried again.
#[derive(Debug)]
pub(in super::super) struct SinkJudge(pub(in super::super) StatusJudge);

impl Judge<Event> for SinkJudge {
    type Delivered = Delivered;
    type Error = Error;

    fn judge(&self, event: &Event, attempt: &Attempt) -> Result<Verdict, Stray> {
        match attempt {
            Attempt::ConnectionLost(why) => Ok(Verdict::Rejected { why: why.clone() }),
            Attempt::ConnectFailed(why) => Ok(Verdict::Retry { why: why.clone(), retry_after: None }),
            Attempt::TimedOut => Ok(Verdict::Retry { why: "no answer in time".to_owned(), retry_after: None }),
            Attempt::Answered(answer) => {
                let verdict = self.0.judge(event, attempt)?;
                Ok(match verdict {
                    Verdict::Rejected { .. } => {
                        Verdict::Rejected { why: String::from_utf8_lossy(answer.body()).into_owned() }
                    }
                    other => other,
                })
            }
        }
    }

    fn delivered(&self, event: &Event, decided: &Decided, delivery: Delivery) -> Delivered {
        self.0.delivered(event, decided, delivery)
    }

    fn failed(&self, event: &Event, cause: Cause, why: &str) -> Error {
        self.0.failed(event, cause, why)
    }
}

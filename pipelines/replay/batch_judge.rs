//! What an attempt means for a batch: one status for all of its events, or a verdict for each.
//!
//! ```text
//! status ──Rules──► 2xx, and --verdicts: answer ──path──► a status or true/false an event ──Rules──► slots
//! ```
//!
//! Events that are to be tried again stay in the batch; the others leave it, so that nothing is sent twice that is decided.

use std::sync::Arc;

use serde_json::Value;
use wsp::deliver::{Answer, Attempt, Cause, Decided, Delivery, Judge, Stray, Verdict};
use wsp::strict::excerpt;

use super::answer_path::AnswerPath;
use super::batch::{Batch, Slot};
use super::error::Error;
use super::event::Event;
use super::input::Input;
use super::judge::{Delivered, Outcome, answered, describe, failed};
use super::rules::{Meaning, Rules};

/// How much of a verdict is repeated in a message, in bytes.
const QUOTE: usize = 200;

/// The judge of batches.
#[derive(Debug)]
pub(super) struct BatchJudge {
    pub(super) inputs: Arc<Vec<Arc<Input>>>,
    pub(super) rules: Rules,
    pub(super) verdicts: Option<AnswerPath>,
}

impl BatchJudge {
    /// The same for all events.
    fn all(&self, batch: &Batch, answer: &Answer, meaning: Meaning) -> Verdict {
        let slot = match meaning {
            Meaning::Again => return Verdict::Retry { why: describe(answer), retry_after: answer.retry_after() },
            Meaning::Refused if !self.rules.dead_letters => return Verdict::Rejected { why: describe(answer) },
            Meaning::Refused => Slot::Refused(answer.status(), String::from_utf8_lossy(answer.body()).into_owned()),
            Meaning::Delivered => Slot::Accepted,
            Meaning::Dropped => Slot::Dropped,
        };
        batch.decide(&slot);
        Verdict::Decided(Decided::Accepted)
    }

    /// A verdict for each event of the request.
    fn each(&self, batch: &Batch, answer: &Answer, path: &AnswerPath) -> Verdict {
        let rejected = |why: String| Verdict::Rejected { why: format!("status {}: {why}", answer.status()) };
        let Ok(json) = serde_json::from_slice::<Value>(answer.body()) else {
            if !answer.is_whole() {
                let why = "the answer was cut off before its verdicts ended".to_owned();
                return Verdict::Retry { why, retry_after: answer.retry_after() };
            }
            return rejected("the answer is no JSON with verdicts".to_owned());
        };
        let Some(verdicts) = path.each(&json) else {
            return rejected("the answer has no list where --verdicts says".to_owned());
        };
        let events = batch.sent().len();
        if verdicts.len() != events {
            return rejected(format!("the answer has {} verdicts for {events} events", verdicts.len()));
        }
        let (mut open, mut first) = (0, None);
        let mut slots = batch.slots();
        for ((place, event), (item, verdict)) in batch.sent().zip(verdicts) {
            let quoted = || excerpt(&item.to_string(), QUOTE).into_owned();
            let Some((status, meaning)) = self.verdict(answer, verdict) else {
                return rejected(format!(
                    "{}: neither a status nor true or false is the verdict {}",
                    self.row(event),
                    quoted()
                ));
            };
            slots[place] = match meaning {
                Meaning::Delivered => Slot::Accepted,
                Meaning::Dropped => Slot::Dropped,
                Meaning::Refused if self.rules.dead_letters => Slot::Refused(status, item.to_string()),
                Meaning::Refused => return rejected(format!("{}: verdict {}", self.row(event), quoted())),
                Meaning::Again => {
                    open += 1;
                    first = first.or_else(|| Some(quoted()));
                    Slot::Open
                }
            };
        }
        match first {
            None => Verdict::Decided(Decided::Accepted),
            Some(first) => {
                let why = format!("{open} of {events} events of the batch are to be sent again, the first by {first}");
                Verdict::Retry { why, retry_after: answer.retry_after() }
            }
        }
    }

    fn verdict(&self, answer: &Answer, verdict: Option<&Value>) -> Option<(u16, Meaning)> {
        match verdict? {
            Value::Bool(true) => Some((answer.status(), Meaning::Delivered)),
            Value::Bool(false) => Some((answer.status(), Meaning::Refused)),
            value => {
                let status = value.as_u64().and_then(|status| u16::try_from(status).ok());
                let status = status.filter(|status| (100..=599).contains(status))?;
                Some((status, self.rules.of_status(status)))
            }
        }
    }

    fn row(&self, event: &Event) -> String {
        let position = event.position;
        format!("{}, row {}", position.source_in(&self.inputs).shown, position.row + 1)
    }
}

impl Judge<Batch> for BatchJudge {
    type Delivered = Vec<Delivered>;
    type Error = Error;

    fn judge(&self, batch: &Batch, attempt: &Attempt) -> Result<Verdict, Stray> {
        let answer = match answered(attempt) {
            Ok(answer) => answer,
            Err(again) => return Ok(again),
        };
        let meaning = self.rules.meaning(answer);
        if meaning == Meaning::Delivered && answer.is_early() {
            return Err(Stray("the answer came before the request was all sent"));
        }
        Ok(match &self.verdicts {
            Some(path) if meaning == Meaning::Delivered => self.each(batch, answer, path),
            _ => self.all(batch, answer, meaning),
        })
    }

    fn again(&self, batch: &mut Batch) {
        batch.narrow();
    }

    fn delivered(&self, batch: &Batch, _: &Decided, delivery: Delivery) -> Vec<Delivered> {
        let Delivery { attempts, lag, latency, .. } = delivery;
        let delivered = batch.decided().into_iter().map(|(event, slot)| {
            let outcome = match slot {
                // Nothing is open in a batch that is decided.
                Slot::Accepted | Slot::Open => Outcome::Accepted,
                Slot::Dropped => Outcome::Dropped,
                Slot::Refused(status, answer) => Outcome::Refused(Box::new((event.clone(), status, answer))),
            };
            Delivered { position: event.position, ts: event.ts, outcome, attempts, lag, latency, ends_request: false }
        });
        let mut delivered: Vec<Delivered> = delivered.collect();
        if let Some(last) = delivered.last_mut() {
            last.ends_request = true;
        }
        delivered
    }

    fn failed(&self, batch: &Batch, cause: Cause, why: &str) -> Error {
        let events = batch.sent().len();
        failed(&self.inputs, batch.first_open(), cause, &format!("in a batch of {events}, {why}"))
    }
}

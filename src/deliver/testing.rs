//! An item and a judge for the tests of this room.

use bytes::Bytes;

use super::item::id_text;
use super::{Attempt, Cause, Decided, Delivery, Item, Judge, PushError, Stray, Verdict};

/// An item.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) id: [u8; 32],
    pub(super) order_key: u64,
    pub(super) body: Bytes,
}

impl Item for Event {
    fn id(&self) -> &[u8; 32] {
        &self.id
    }

    fn line(&self) -> u64 {
        self.order_key
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }
}

/// 2xx is delivered; what names another item, or sets aside one that was not all sent, is no answer.
pub(super) struct Named;

impl Judge<Event> for Named {
    type Delivered = u64;
    type Error = PushError;

    fn judge(&self, event: &Event, attempt: &Attempt) -> Result<Verdict, Stray> {
        let Attempt::Answered(answer) = attempt else {
            return Ok(Verdict::Retry { why: format!("{attempt:?}"), retry_after: None });
        };
        let (ours, body) = (id_text(&event.id), String::from_utf8_lossy(answer.body()));
        if body.contains("event_id") && !body.contains(&ours) {
            return Err(Stray("it names another event"));
        }
        if answer.is_early() && body.contains("decision\":\"Q") {
            return Err(Stray("it decides about an item that was not all sent"));
        }
        Ok(match answer.status() {
            200..300 => Verdict::Decided(Decided::Accepted),
            status => Verdict::Rejected { why: status.to_string() },
        })
    }

    fn delivered(&self, event: &Event, _: &Decided, _: Delivery) -> u64 {
        event.order_key
    }

    fn failed(&self, _: &Event, _: Cause, why: &str) -> PushError {
        PushError::Panicked(why.to_owned())
    }
}

//! Puts a message on the stream.

use std::sync::Arc;
use std::time::Duration;

use wsp::clock::Clock;

use super::api::Fault;
use super::client::Service;
use super::options::KinesisOptions;
use crate::model::{Reason, Refusal};
use crate::ready::publish::{Outgoing, Published};

/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(500);

impl KinesisOptions {
    /// Puts `ready` on the stream; attempts go on for [`KinesisOptions::reach_timeout`]. A stream has no way to look a record
    /// up, so one that is there already is put there again: READY is at-least-once, and its consumers know it by its id.
    ///
    /// # Errors
    ///
    /// `CONTROL_BUS_STREAM_MISSING` where no stream is named, `CONTROL_TOPIC_UNREACHABLE` where the service refuses us or does
    /// not take it in time.
    pub async fn publish<C: Clock>(&self, ready: &Outgoing, clock: &C) -> Result<Published, Refusal> {
        if self.stream.is_empty() {
            return Err(Refusal::new(Reason::ControlBusStreamMissing, "wiring.control_bus.stream: it is missing"));
        }
        let service = Service::new(Arc::new(self.clone()));
        let end = clock.now() + self.reach_timeout;
        loop {
            match service.clone().put(&ready.partition_key, ready.body.clone()).await {
                Ok((shard, sequence)) => {
                    return Ok(Published { place: format!("{}/{shard}/{sequence}", self.stream), new: true });
                }
                Err(Fault::Throttled(_) | Fault::Passing(_)) if clock.now() + PAUSE < end => {
                    clock.sleep_until(clock.now() + PAUSE).await;
                }
                Err(fault) => return Err(self.not_taken(fault.reason())),
            }
        }
    }
}

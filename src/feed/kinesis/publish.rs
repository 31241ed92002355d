//! Puts a message on the stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::{FeedError, Setting};
use super::api::Fault;
use super::client::Service;
use super::options::KinesisOptions;
use crate::clock::Clock;

/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(500);

impl KinesisOptions {
    /// Puts a message on the stream and says where it is: stream/shard/sequence number. Attempts go on for
    /// [`KinesisOptions::reach_timeout`]. A stream has no way to look a record up, so one that is there already is put there again.
    ///
    /// # Errors
    ///
    /// Where no stream is named, and where the service refuses us or does not accept the message in time.
    pub async fn publish<C: Clock>(&self, key: &str, payload: Bytes, clock: &C) -> Result<String, FeedError> {
        if self.stream.is_empty() {
            return Err(FeedError::Missing(vec![Setting::Stream]));
        }
        let service = Service::new(Arc::new(self.clone()));
        let end = clock.now() + self.reach_timeout;
        loop {
            match service.clone().put(key, payload.clone()).await {
                Ok((shard, sequence)) => return Ok(format!("{}/{shard}/{sequence}", self.stream)),
                Err(Fault::Throttled(_) | Fault::Passing(_)) if clock.now() + PAUSE < end => {
                    clock.sleep_until(clock.now() + PAUSE).await;
                }
                Err(fault) => return Err(self.not_accepted(fault.reason())),
            }
        }
    }
}

//! Puts messages on the topic, one after the other.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::super::{Fate, FeedError};
use super::context::{Event, Tokens, Trouble, Watch};
use super::options::KafkaOptions;
use super::topic::{partitions, without_value};
use crate::clock::Clock;

/// Between two looks at whether the message has arrived.
const LOOK: Duration = Duration::from_millis(100);
/// For the question whether the topic is there, once the message did not arrive.
const DIAGNOSIS: Duration = Duration::from_secs(2);

/// Partition and offset of a message, or why it has none.
type Delivery = Result<(i32, i64), KafkaError>;

/// What librdkafka reports to a producer.
struct Report {
    watch: Watch,
    delivered: Mutex<Option<Delivery>>,
}

impl ClientContext for Report {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.watch.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.watch.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Report {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivery = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        *self.delivered.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
    }
}

impl KafkaOptions {
    /// Puts a message on the topic, waits until its replicas have it ([`KafkaOptions::reach_timeout`] at most), and says where it is:
    /// topic/partition/offset. It blocks, so it is not for a runtime's threads. Kafka has no way to look a message up, so one that is
    /// there already is put there again.
    ///
    /// # Errors
    ///
    /// Where settings are missing or wrong, the broker refuses us, or it does not answer in time.
    pub fn publish<C: Clock>(&self, key: &str, payload: &[u8], clock: &C) -> Result<String, FeedError> {
        self.send(&self.producer(clock)?, key, payload, clock)
    }

    /// The same for each of these messages (key, payload), over one connection. The first that is not accepted ends it.
    ///
    /// # Errors
    ///
    /// As [`KafkaOptions::publish`].
    pub fn publish_each<'a, C: Clock>(
        &self,
        messages: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        clock: &C,
    ) -> Result<(), FeedError> {
        let producer = self.producer(clock)?;
        messages.into_iter().try_for_each(|(key, payload)| self.send(&producer, key, payload, clock).map(drop))
    }

    fn producer<C: Clock>(&self, clock: &C) -> Result<BaseProducer<Report>, FeedError> {
        let wall = clock.clone();
        let tokens = self.iam().map(|iam| Box::new(move || iam.token(wall.utc())) as Tokens);
        let report = Report { watch: Watch::with(tokens), delivered: Mutex::default() };
        let producer = self.producer_config()?.create_with_context(report);
        producer.map_err(|error| self.unreachable(without_value(&error)))
    }

    /// Sends a message and waits for its delivery. No other message of `producer` is on its way.
    fn send<C: Clock>(
        &self,
        producer: &BaseProducer<Report>,
        key: &str,
        payload: &[u8],
        clock: &C,
    ) -> Result<String, FeedError> {
        let record = BaseRecord::to(&self.topic).key(key).payload(payload);
        producer.send(record).map_err(|(error, _)| self.unreachable(error.to_string()))?;
        // librdkafka gives up by itself; the second bound is for one that doesn't.
        let end = clock.now() + self.reach_timeout + self.reach_timeout;
        let mut last = None;
        loop {
            producer.poll(LOOK);
            let report = producer.context();
            for event in report.watch.take() {
                if let Event::Failed(trouble, reason) = event {
                    last = Some((trouble, reason));
                }
            }
            let delivered = report.delivered.lock().unwrap_or_else(PoisonError::into_inner).take();
            match delivered {
                Some(Ok((partition, offset))) => return Ok(format!("{}/{partition}/{offset}", self.topic)),
                Some(Err(error)) => return Err(self.diagnosed(producer, last, &error.to_string())),
                None if clock.now() > end => return Err(self.diagnosed(producer, last, "no answer")),
                None => {}
            }
        }
    }

    /// Why the topic has not accepted the message: what a broker said last, else a topic that is missing, else what librdkafka
    /// made of it.
    fn diagnosed(&self, producer: &BaseProducer<Report>, last: Option<(Trouble, String)>, error: &str) -> FeedError {
        let is_missing = || matches!(partitions(producer.client(), &self.topic, DIAGNOSIS), Ok(None));
        match last {
            Some((Trouble::Login | Trouble::Rights | Trouble::NoTopic, reason)) => {
                self.not_accepted(reason, Fate::NotPublished)
            }
            Some((_, reason)) => self.not_accepted(reason, Fate::Unknown),
            None if is_missing() => self.not_accepted("there is no such topic; create it", Fate::NotPublished),
            None => self.not_accepted(error, Fate::Unknown),
        }
    }
}

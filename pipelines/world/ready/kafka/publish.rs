//! Puts messages on the topic, one after the other.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use wsp::clock::Clock;

use super::context::{Event, Tokens, Trouble, Watch};
use super::options::KafkaOptions;
use super::{partitions, unreachable, without_value};
use crate::model::Refusal;
use crate::ready::publish::{Outgoing, Published};

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
    /// Puts `ready` on the topic and waits until its replicas have it; [`KafkaOptions::reach_timeout`] at most. It blocks, so
    /// it is not for a runtime's threads. Kafka has no way to look a message up, so one that is there already is put there
    /// again: READY is at-least-once, and its consumers know it by its id.
    ///
    /// # Errors
    ///
    /// `CONTROL_TOPIC_UNREACHABLE` where settings are missing or wrong, the broker refuses us, or it does not answer in time.
    pub fn publish<C: Clock>(&self, ready: &Outgoing, clock: &C) -> Result<Published, Refusal> {
        self.send(&self.producer(clock)?, ready, clock)
    }

    /// The same for each of these messages, over one connection. The first that is not taken ends it.
    ///
    /// # Errors
    ///
    /// As [`KafkaOptions::publish`].
    pub fn publish_each<C: Clock>(&self, messages: &[Outgoing], clock: &C) -> Result<(), Refusal> {
        let producer = self.producer(clock)?;
        messages.iter().try_for_each(|message| self.send(&producer, message, clock).map(drop))
    }

    fn producer<C: Clock>(&self, clock: &C) -> Result<BaseProducer<Report>, Refusal> {
        let wall = clock.clone();
        let tokens = self.iam().map(|iam| Box::new(move || iam.token(wall.utc())) as Tokens);
        let report = Report { watch: Watch::with(tokens), delivered: Mutex::default() };
        let producer = self.producer_config()?.create_with_context(report);
        producer.map_err(|error| unreachable(self, &without_value(&error)))
    }

    /// Sends a message and waits for its delivery. No other message of `producer` is on its way.
    fn send<C: Clock>(
        &self,
        producer: &BaseProducer<Report>,
        ready: &Outgoing,
        clock: &C,
    ) -> Result<Published, Refusal> {
        let record = BaseRecord::to(&self.topic).key(&ready.partition_key).payload(&ready.body[..]);
        producer.send(record).map_err(|(error, _)| unreachable(self, &error.to_string()))?;
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
                Some(Ok((partition, offset))) => {
                    return Ok(Published { place: format!("{}/{partition}/{offset}", self.topic), new: true });
                }
                Some(Err(error)) => return Err(self.not_taken(producer, last, &error.to_string())),
                None if clock.now() > end => return Err(self.not_taken(producer, last, "no answer")),
                None => {}
            }
        }
    }

    /// Why the topic has not accepted the message: what a broker said last, else a topic that is missing, else what librdkafka
    /// made of it.
    fn not_taken(&self, producer: &BaseProducer<Report>, last: Option<(Trouble, String)>, error: &str) -> Refusal {
        let is_missing = || matches!(partitions(producer.client(), &self.topic, DIAGNOSIS), Ok(None));
        let reason = match last {
            Some((Trouble::Login | Trouble::Rights | Trouble::NoTopic, reason)) => {
                format!("{reason}; the READY was not published")
            }
            Some((_, reason)) => format!("{reason}; the READY may have been published all the same"),
            None if is_missing() => "there is no such topic, so the READY was not published; create it".to_owned(),
            None => format!("{error}; the READY may have been published all the same"),
        };
        unreachable(self, &reason)
    }
}

//! Events as records of a Kafka topic.
//!
//! ```text
//! Event ─► key: the order key · value: the body · headers: id, then those of --header ─► idempotent producer, acks=all ─► answer
//! ```
//!
//! The push stage sends the next event of a key once the one before it is acknowledged, and librdkafka's own repetitions are
//! idempotent: the records of a key are in order in their partition.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;
use wsp::deliver::{Attempt, Gate, GateConnection, Takes};
use wsp::disk::files::read_text;
use wsp::secret::Secret;

use super::super::error::Error;
use super::super::event::Event;
use super::super::template::Template;
use super::judge::{broken, refused, taken};

/// What a file of settings may hold, in bytes.
const FILE_LIMIT: u64 = 64 << 10;
/// Settings that the order, the delivery and the time of an attempt rest on.
const OURS: [&str; 13] = [
    "acks",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "dr_msg_cb",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
    "retries",
    "transactional.id",
];

/// A topic, and how it is reached.
#[derive(Debug, Clone)]
pub struct Topic {
    brokers: String,
    name: String,
    /// Settings of librdkafka, in the order in which they were given.
    settings: Vec<(String, Secret)>,
    /// Headers that all records have.
    headers: Vec<(String, Vec<u8>)>,
}

impl Topic {
    /// Reads `kafka://BROKERS/TOPIC`. `settings` are librdkafka's, as `KEY=VALUE`; those of `file` come first. `templates` with
    /// columns in them are left to each event.
    ///
    /// # Errors
    ///
    /// If a part can't be used, naming the flag. No message repeats the value of a setting.
    pub fn new(to: &str, settings: &[String], file: Option<&Path>, templates: &[Template]) -> Result<Self, Error> {
        let form = || Error::flag("--to", "a topic is given as kafka://HOST:PORT,HOST:PORT/TOPIC");
        let (brokers, name) = to.strip_prefix("kafka://").and_then(|rest| rest.split_once('/')).ok_or_else(form)?;
        if brokers.contains('@') {
            return Err(Error::flag(
                "--to",
                "a login in the address; put it into a file and name that by --kafka-file",
            ));
        }
        let is_topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_broker = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if !brokers.split(',').all(is_broker) || name.is_empty() || name.len() > 249 || !name.chars().all(is_topic) {
            return Err(form());
        }
        let text = match file {
            None => String::new(),
            Some(path) => read_text(path, FILE_LIMIT)
                .map_err(|error| Error::flag("--kafka-file", format!("{}: {error}", path.display())))?,
        };
        let of_file = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut all = Vec::new();
        for (flag, text) in of_file.map(|line| ("--kafka-file", line)).chain(settings.iter().map(|s| ("--kafka", &**s)))
        {
            all.push(setting(flag, text)?);
        }
        let fixed = templates.iter().filter_map(|template| Some((template, template.fixed()?)));
        let headers = fixed.map(|(template, value)| (template.name().to_string(), value.as_bytes().to_vec())).collect();
        Ok(Self { brokers: brokers.to_owned(), name: name.to_owned(), settings: all, headers })
    }

    /// The address.
    pub(super) fn url(&self) -> String {
        format!("kafka://{}/{}", self.brokers, self.name)
    }

    /// What records have in common, as lines for a person.
    pub(super) fn head(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
        format!("topic: {}\n{}", self.name, headers.collect::<String>())
    }

    /// librdkafka's configuration.
    fn config(&self, attempt_timeout: Duration) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("client.id", "wsp-replay")
            .set("socket.keepalive.enable", "true")
            // The partitions that clients in Java choose, so that topics with equal keys can be joined.
            .set("partitioner", "murmur2_random")
            .set("ssl.ca.location", "probe")
            // An event waits for its answer; waiting for others to share a batch with only costs time.
            .set("queue.buffering.max.ms", "1");
        if !self.settings.iter().any(|(key, _)| key == "security.protocol" || key.starts_with("ssl.")) {
            config.remove("ssl.ca.location");
        }
        for (key, value) in &self.settings {
            config.set(key, value.expose());
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", attempt_timeout.as_millis().to_string());
        config
    }
}

/// `KEY=VALUE`, as far as it may be set here.
fn setting(flag: &'static str, text: &str) -> Result<(String, Secret), Error> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Error::flag(flag, "a setting is given as KEY=VALUE, such as compression.type=zstd"));
    };
    let key = key.trim();
    if OURS.contains(&key) {
        let what = format!("{key} can't be set: the order and the delivery of events rest on it");
        return Err(Error::flag(flag, what));
    }
    let is_secret = ["password", "secret", ".pem"].iter().any(|part| key.contains(part));
    if is_secret && flag == "--kafka" {
        return Err(Error::flag(flag, format!("{key} is a secret; put it into a file and name that by --kafka-file")));
    }
    Ok((key.to_owned(), Secret::new(value.trim())))
}

/// What librdkafka reports.
struct Report {
    /// Why brokers were not reached, as it was said last.
    last: Mutex<Option<String>>,
}

impl ClientContext for Report {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel as Level;
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                tracing::debug!(target: "librdkafka", facility, "{line}");
            }
            Level::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
            Level::Notice | Level::Info | Level::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ProducerContext for Report {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let delivered = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Who asked may be gone by then.
        let _ = tell.send(delivered);
    }
}

/// A topic behind the push stage. Clones of its producer share one queue.
pub(in super::super) struct KafkaGate {
    producer: Arc<ThreadedProducer<Report>>,
    topic: Arc<Topic>,
}

impl fmt::Debug for KafkaGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGate").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl KafkaGate {
    /// A producer for `topic`. It connects by itself, and takes `attempt_timeout` for an event at most.
    ///
    /// # Errors
    ///
    /// If librdkafka does not take the settings.
    pub(in super::super) fn open(topic: &Topic, attempt_timeout: Duration) -> Result<Self, Error> {
        let report = Report { last: Mutex::default() };
        let producer = topic.config(attempt_timeout).create_with_context(report);
        let producer: ThreadedProducer<Report> = producer.map_err(|error| Error::flag("--kafka", words(&error)))?;
        Ok(Self { producer: Arc::new(producer), topic: Arc::new(topic.clone()) })
    }
}

/// An error without the value of a setting.
fn words(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => format!("{key}: {what}"),
        other => other.to_string(),
    }
}

/// One event on its way at most.
pub(in super::super) struct KafkaConnection {
    producer: Arc<ThreadedProducer<Report>>,
    topic: Arc<Topic>,
}

impl Gate for KafkaGate {
    type Connection = KafkaConnection;

    fn connection(&self) -> KafkaConnection {
        KafkaConnection { producer: self.producer.clone(), topic: self.topic.clone() }
    }
}

impl GateConnection for KafkaConnection {}

impl Takes<Event> for KafkaConnection {
    async fn push(&mut self, event: &Event) -> Attempt {
        let (tell, told) = oneshot::channel();
        let (head, key) = event.head_and_key();
        let record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.topic.name, Box::new(tell));
        let record = record.payload(&event.body[..]).headers(headers(&self.topic.headers, head));
        let record = if let Some(key) = key { record.key(key) } else { record };
        let sent = self.producer.send(record);
        if let Err((error, _)) = sent {
            return self.failed(&error);
        }
        match told.await {
            Ok(Ok(())) => taken(),
            Ok(Err(error)) => self.failed(&error),
            Err(_) => broken("the producer has ended"),
        }
    }
}

impl KafkaConnection {
    /// What a failed delivery means.
    fn failed(&self, error: &KafkaError) -> Attempt {
        use RDKafkaErrorCode as Code;
        let why = format!("Kafka: {error}");
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidRecord) => refused(why),
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InvalidTopic
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::Fatal,
            ) => broken(why),
            _ => {
                let last = self.producer_context().last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Attempt::ConnectFailed(last.map_or(why.clone(), |last| format!("{why}; last: {last}")))
            }
        }
    }

    fn producer_context(&self) -> &Report {
        use rdkafka::producer::Producer as _;
        self.producer.context()
    }
}

/// Headers that all records have, then those of an event's header lines.
fn headers(fixed: &[(String, Vec<u8>)], head: &[u8]) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in fixed {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    // Header lines are visible ASCII.
    for line in std::str::from_utf8(head).unwrap_or_default().lines() {
        if let Some((key, value)) = line.split_once(": ") {
            headers = headers.insert(Header { key, value: Some(value) });
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::*;

    fn topic(to: &str, settings: &[&str]) -> Result<Topic, String> {
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        Topic::new(to, &settings, None, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_names_brokers_and_topic() {
        let found = topic("kafka://a:9092,b:9092/orders.v1", &[]).unwrap();
        assert_eq!((found.brokers.as_str(), found.name.as_str()), ("a:9092,b:9092", "orders.v1"));
        assert_eq!(found.url(), "kafka://a:9092,b:9092/orders.v1");
        for to in ["kafka://a:9092", "kafka:///t", "kafka://a/", "kafka://a/b/c", "kafka://a,/t", "kafka://u:p@a/t"] {
            assert!(topic(to, &[]).unwrap_err().contains("--to"), "{to}");
        }
    }

    #[test]
    fn settings_reach_librdkafka_but_not_what_delivery_rests_on() {
        let found = topic("kafka://a/t", &["compression.type=zstd", "linger.ms = 5"]).unwrap();
        let config = found.config(Duration::from_secs(7));
        assert_eq!(config.get("compression.type"), Some("zstd"));
        assert_eq!(config.get("linger.ms"), Some("5"));
        assert_eq!((config.get("acks"), config.get("enable.idempotence")), (Some("all"), Some("true")));
        assert_eq!((config.get("message.timeout.ms"), config.get("ssl.ca.location")), (Some("7000"), None));
        KafkaGate::open(&found, Duration::from_secs(7)).unwrap();
        for (setting, words) in [
            ("acks=1", "acks can't be set"),
            ("enable.idempotence=false", "can't be set"),
            ("sasl.password=hunter2", "--kafka-file"),
            ("hunter2", "KEY=VALUE"),
        ] {
            let error = topic("kafka://a/t", &[setting]).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
        let unknown = topic("kafka://a/t", &["no.such=hunter2"]).unwrap();
        let error = KafkaGate::open(&unknown, Duration::from_secs(7)).unwrap_err().to_string();
        assert!(error.contains("no.such") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_file_may_hold_secrets_and_nothing_shows_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kafka");
        std::fs::write(&path, "# login\n\nsecurity.protocol=sasl_ssl\nsasl.password=hunter2=\n").unwrap();
        let topic = Topic::new("kafka://a/t", &[], Some(&path), &[Template::new("X-Source: replay").unwrap()]).unwrap();
        let config = topic.config(Duration::from_secs(1));
        assert_eq!((config.get("sasl.password"), config.get("ssl.ca.location")), (Some("hunter2="), Some("probe")));
        assert!(!format!("{topic:?} {} {}", topic.head(), topic.url()).contains("hunter2"));
        assert_eq!(topic.head(), "topic: t\nx-source: replay\n");
    }

    #[test]
    fn a_record_has_the_headers_of_all_and_its_own() {
        let fixed = [("x-source".to_owned(), b"replay".to_vec())];
        let made = headers(&fixed, b"idempotency-key: 7\r\nx-shop: a: b\r\n");
        let found: Vec<_> = made.iter().map(|header| (header.key.to_owned(), header.value.unwrap().to_vec())).collect();
        let expected = [("x-source", "replay"), ("idempotency-key", "7"), ("x-shop", "a: b")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
    }
}

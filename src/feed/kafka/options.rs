//! How a topic is reached, and what of it becomes librdkafka's configuration.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::super::brokers::without_prefixes;
use super::super::{Access, Fate, FeedError, SaslMechanism, SecurityProtocol, Setting};
use super::iam::{self, Iam};
use crate::secret::Secret;

/// Where the topic is and how it is read. It may be printed: the password can't be.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas. A `SASL_SSL://`-like prefix is dropped.
    pub bootstrap_servers: String,
    /// The topic.
    pub topic: String,
    /// The consumer group: those who share the work, each message going to one of them.
    pub group_id: String,
    /// What the broker's logs call this client.
    pub client_id: String,
    /// How the connection is made.
    pub security: SecurityProtocol,
    /// How the login is made, where there is one.
    pub mechanism: SaslMechanism,
    /// Who logs in.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// The region of the IAM login.
    pub aws_region: Option<String>,
    /// How long a token of that login is good for.
    pub token_lifetime: Duration,
    /// A file or folder of PEM certificates to trust; without it, the system's.
    pub ca_location: Option<PathBuf>,
    /// Ends when everything that was on the topic at the start was given out once.
    pub once: bool,
    /// Time before a deferred message comes again.
    pub defer_pause: Duration,
    /// Messages held in memory at most, deferred ones and those given out but not settled; 1 or more. At the bound
    /// nothing more is read until one is settled.
    pub max_held: usize,
    /// How long the group waits for a consumer that no longer polls. This one polls whatever the taker does.
    pub max_poll_interval: Duration,
    /// How long the group waits for a consumer that is silent: crashed, or cut off.
    pub session_timeout: Duration,
    /// Time between two looks at what topics and partitions there are.
    pub metadata_interval: Duration,
    /// How long [`KafkaOptions::once`] tries to reach a broker.
    pub reach_timeout: Duration,
    /// How long a refusal (login, rights) is borne once the group was joined; then the feed ends.
    pub lost_after: Duration,
    /// Further librdkafka settings. What the feed's guarantees rest on stays as it is.
    pub overrides: Vec<(String, String)>,
}

impl KafkaOptions {
    /// A plain connection with the defaults of everything else.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>, topic: impl Into<String>, group_id: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            topic: topic.into(),
            group_id: group_id.into(),
            client_id: "wsp".to_owned(),
            security: SecurityProtocol::Plaintext,
            mechanism: SaslMechanism::Plain,
            username: None,
            password: None,
            aws_region: None,
            token_lifetime: iam::LIFETIME,
            ca_location: None,
            once: false,
            defer_pause: Duration::from_secs(10),
            max_held: 64,
            max_poll_interval: Duration::from_mins(5),
            session_timeout: Duration::from_secs(45),
            metadata_interval: Duration::from_secs(10),
            reach_timeout: Duration::from_secs(30),
            lost_after: Duration::from_mins(2),
            overrides: Vec::new(),
        }
    }

    /// librdkafka's configuration of a consumer.
    ///
    /// # Errors
    ///
    /// Every setting that is missing.
    pub(super) fn client_config(&self) -> Result<ClientConfig, FeedError> {
        let mut config = self.base_config();
        config
            // Control messages are few and small: no need for librdkafka's 64 MiB a partition.
            .set("queued.max.messages.kbytes", "8192")
            // New groups know only how to hand partitions over one by one, so that work is not disturbed by a
            // rebalance that leaves its partition where it is.
            .set("partition.assignment.strategy", "cooperative-sticky")
            // How the feed learns that a broker is back.
            .set("statistics.interval.ms", "5000");
        for (key, value) in &self.overrides {
            config.set(key, value);
        }
        config
            .set("group.id", &self.group_id)
            .set("max.poll.interval.ms", millis(self.max_poll_interval))
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("topic.metadata.refresh.interval.ms", millis(self.metadata_interval))
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // Offsets are stored by verdict; what is stored is committed, again and again until the broker took it.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("allow.auto.create.topics", "false");
        self.connect(&mut config)?;
        Ok(config)
    }

    /// librdkafka's configuration of a producer, whose messages all replicas have before they count as sent.
    ///
    /// # Errors
    ///
    /// As [`KafkaOptions::client_config`].
    pub(super) fn producer_config(&self) -> Result<ClientConfig, FeedError> {
        let mut config = self.base_config();
        config
            .set("acks", "all")
            .set("message.timeout.ms", millis(self.reach_timeout))
            .set("queue.buffering.max.ms", "0");
        self.connect(&mut config)?;
        Ok(config)
    }

    fn base_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // All of librdkafka's lines come to us; what is shown is the log filter's business.
            .set_log_level(RDKafkaLogLevel::Info)
            .set("client.id", &self.client_id)
            .set("socket.keepalive.enable", "true");
        config
    }

    /// Where the brokers are and how the login is made.
    fn connect(&self, config: &mut ClientConfig) -> Result<(), FeedError> {
        let servers = without_prefixes(&self.bootstrap_servers);
        self.refuse_missing(&servers)?;
        config.set("bootstrap.servers", servers).set("security.protocol", self.security.name());
        if matches!(self.security, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl) {
            // OpenSSL is built in and knows no system's certificates: librdkafka looks at the usual places.
            let ca = self.ca_location.as_ref().map_or_else(|| "probe".to_owned(), |ca| ca.display().to_string());
            config.set("ssl.ca.location", ca);
        }
        if self.security.logs_in() {
            config.set("sasl.mechanism", self.mechanism.name());
            if let (true, Some(username), Some(password)) =
                (self.mechanism.wants_password(), &self.username, &self.password)
            {
                config.set("sasl.username", username).set("sasl.password", password.expose());
            }
        }
        Ok(())
    }

    /// Who signs the tokens of the IAM login, where that is the one.
    pub(super) fn iam(&self) -> Option<Iam> {
        let region = self.aws_region.clone().filter(|_| self.logs_in_by_iam())?;
        Some(Iam { region, lifetime: self.token_lifetime })
    }

    pub(super) fn logs_in_by_iam(&self) -> bool {
        self.security.logs_in() && self.mechanism == SaslMechanism::OauthBearer
    }

    fn refuse_missing(&self, servers: &str) -> Result<(), FeedError> {
        let empty_password = self.password.as_ref().is_none_or(|password| password.expose().is_empty());
        let by_password = self.security.logs_in() && self.mechanism.wants_password();
        let missing: Vec<Setting> = [
            (servers.is_empty(), Setting::BootstrapServers),
            (self.topic.is_empty(), Setting::Topic),
            (self.group_id.is_empty(), Setting::Group),
            (by_password && self.username.as_ref().is_none_or(String::is_empty), Setting::Username),
            (by_password && empty_password, Setting::Password),
            (self.logs_in_by_iam() && self.aws_region.as_ref().is_none_or(String::is_empty), Setting::IamRegion),
        ]
        .into_iter()
        .filter_map(|(missing, setting)| missing.then_some(setting))
        .collect();
        if missing.is_empty() { Ok(()) } else { Err(FeedError::Missing(missing)) }
    }

    /// The error of a topic that settings or broker keep from us.
    pub(super) fn unreachable(&self, why: impl Into<String>) -> FeedError {
        FeedError::Unreachable { log: self.topic.clone(), why: why.into(), access: Box::new(self.access()) }
    }

    /// The error of a message that the topic has not accepted.
    pub(super) fn not_accepted(&self, why: impl Into<String>, fate: Fate) -> FeedError {
        FeedError::NotAccepted { log: self.topic.clone(), why: why.into(), fate, access: Box::new(self.access()) }
    }

    fn access(&self) -> Access {
        Access::Kafka {
            servers: without_prefixes(&self.bootstrap_servers),
            group: self.group_id.clone(),
            security: self.security,
            mechanism: self.mechanism,
        }
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud() -> KafkaOptions {
        KafkaOptions {
            security: SecurityProtocol::SaslSsl,
            username: Some("key".to_owned()),
            password: Some(Secret::new("hunter2")),
            ..KafkaOptions::new("SASL_SSL://a.example:9092, b.example:9092,", "t", "g")
        }
    }

    #[test]
    fn a_prefix_is_dropped_from_every_server() {
        let config = cloud().client_config().unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("a.example:9092,b.example:9092"));
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("sasl.mechanism"), Some("PLAIN"));
        assert_eq!(config.get("ssl.ca.location"), Some("probe"));
    }

    #[test]
    fn a_producer_connects_like_a_consumer_and_has_no_settings_of_one() {
        let (consumer, producer) = (cloud().client_config().unwrap(), cloud().producer_config().unwrap());
        for shared in ["bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.password", "ssl.ca.location"] {
            assert!(producer.get(shared).is_some() && producer.get(shared) == consumer.get(shared), "{shared}");
        }
        assert_eq!(producer.get("acks"), Some("all"));
        // librdkafka warns about each of these in a producer.
        for other in ["group.id", "session.timeout.ms", "auto.offset.reset", "enable.auto.commit"] {
            assert_eq!(producer.get(other), None, "{other}");
        }
        assert!(KafkaOptions { password: None, ..cloud() }.producer_config().is_err());
    }

    #[test]
    fn the_password_is_neither_printed_nor_told() {
        let (options, error) = (cloud(), cloud().unreachable("no"));
        assert!(!format!("{options:?}{error}{error:?}").contains("hunter2"));
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let options = KafkaOptions { username: None, password: Some(Secret::new("")), ..cloud() };
        let error = options.client_config().unwrap_err();
        assert!(matches!(&error, FeedError::Missing(missing) if *missing == [Setting::Username, Setting::Password]));
    }

    #[test]
    fn overrides_reach_librdkafka_but_not_the_guarantees() {
        let overrides = [("fetch.wait.max.ms", "10"), ("enable.auto.offset.store", "true"), ("group.id", "other")];
        let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let config = KafkaOptions { overrides, ..cloud() }.client_config().unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("10"));
        assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(config.get("group.id"), Some("g"));
    }

    #[test]
    fn the_iam_login_needs_a_region_and_no_password() {
        let msk = KafkaOptions {
            mechanism: SaslMechanism::OauthBearer,
            username: None,
            password: None,
            aws_region: Some("eu-west-2".to_owned()),
            ..cloud()
        };
        let config = msk.client_config().unwrap();
        assert_eq!((config.get("sasl.mechanism"), config.get("sasl.username")), (Some("OAUTHBEARER"), None));
        assert_eq!(msk.iam().unwrap().region, "eu-west-2");
        let without = KafkaOptions { aws_region: None, ..msk.clone() };
        assert!(matches!(without.client_config(), Err(FeedError::Missing(missing)) if missing == [Setting::IamRegion]));
        let checked = msk.unreachable("no").to_string();
        assert!(checked.contains("region of the IAM login") && !checked.contains("password"), "{checked}");
        let plain = KafkaOptions { security: SecurityProtocol::Plaintext, ..msk };
        assert!(plain.iam().is_none(), "nobody logs in");
    }
}

//! Why a feed ends, or can't be opened: facts, which a producer turns into its own reasons and words.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use super::{SaslMechanism, SecurityProtocol};

/// A fault of a feed. `E` is that of the store in which a feed keeps its positions, where it has one.
#[derive(Debug, thiserror::Error)]
pub enum FeedError<E = Infallible> {
    /// Settings without which the log can't be reached.
    #[error("not configured: {}", listed(.0))]
    Missing(Vec<Setting>),
    /// The log can't be read or written with these settings.
    #[error("{log}: {why}; {access}")]
    Unreachable {
        /// The topic, or the stream.
        log: String,
        /// What the server, or its client, says.
        why: String,
        /// How it was to be reached.
        access: Box<Access>,
    },
    /// A message was not accepted.
    #[error("{log}: {why}; {fate}; {access}")]
    NotAccepted {
        /// The topic, or the stream.
        log: String,
        /// What the server, or its client, says.
        why: String,
        /// What is known of the message.
        fate: Fate,
        /// How the log was to be reached.
        access: Box<Access>,
    },
    /// The store of positions failed.
    #[error("the positions: {0}")]
    Positions(E),
    /// The folder of messages is there and can't be listed.
    #[error("{} can't be listed: {error}", .folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The feed has no thread of its own.
    #[error("no thread for the feed: {0}")]
    Thread(io::Error),
}

impl FeedError {
    /// The same fault of a feed with a store of positions.
    #[must_use]
    pub fn widen<E>(self) -> FeedError<E> {
        match self {
            Self::Missing(settings) => FeedError::Missing(settings),
            Self::Unreachable { log, why, access } => FeedError::Unreachable { log, why, access },
            Self::NotAccepted { log, why, fate, access } => FeedError::NotAccepted { log, why, fate, access },
            Self::Positions(never) => match never {},
            Self::Folder { folder, error } => FeedError::Folder { folder, error },
            Self::Thread(error) => FeedError::Thread(error),
        }
    }
}

/// What is known of a message that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not in the log.
    NotPublished,
    /// It may be there.
    Unknown,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublished => "the message was not published",
            Self::Unknown => "the message may have been published all the same",
        })
    }
}

/// A setting of a feed. A producer knows by which name its users set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Brokers of Kafka.
    BootstrapServers,
    /// A topic of Kafka.
    Topic,
    /// The consumer group.
    Group,
    /// How brokers are connected to.
    SecurityProtocol,
    /// How the login is made.
    SaslMechanism,
    /// Who logs in.
    Username,
    /// With what.
    Password,
    /// The AWS region of the login by IAM.
    IamRegion,
    /// A stream of Kinesis.
    Stream,
    /// Its AWS region.
    StreamRegion,
    /// The server that stands in for AWS.
    Endpoint,
}

impl Setting {
    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::BootstrapServers => "bootstrap servers",
            Self::Topic => "the topic",
            Self::Group => "the consumer group",
            Self::SecurityProtocol => "the security protocol",
            Self::SaslMechanism => "the SASL mechanism",
            Self::Username => "the user name",
            Self::Password => "the password",
            Self::IamRegion => "the region of the IAM login",
            Self::Stream => "the stream",
            Self::StreamRegion => "its region",
            Self::Endpoint => "its endpoint",
        }
    }
}

fn listed(settings: &[Setting]) -> String {
    settings.iter().map(|setting| setting.words()).collect::<Vec<_>>().join(", ")
}

/// How a log was to be reached. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// By Kafka.
    Kafka {
        /// The brokers.
        servers: String,
        /// The consumer group.
        group: String,
        /// How the connection is made.
        security: SecurityProtocol,
        /// How the login is made, where there is one.
        mechanism: SaslMechanism,
    },
    /// By Kinesis.
    Kinesis {
        /// The stream.
        stream: String,
        /// Its region; `None` is the environment's.
        region: Option<String>,
        /// The server; `None` is AWS itself.
        endpoint: Option<String>,
        /// The calls that have to be allowed.
        calls: &'static str,
    },
}

impl Access {
    /// What an operator compares when the server doesn't let us in; `name` is what the producer calls a setting.
    #[must_use]
    pub fn what_to_check(&self, name: impl Fn(Setting) -> &'static str) -> String {
        match self {
            Self::Kafka { servers, group, security, mechanism } => {
                let mut check = format!(
                    "check {} ({servers}) and {} ({})",
                    name(Setting::BootstrapServers),
                    name(Setting::SecurityProtocol),
                    security.name().to_ascii_uppercase()
                );
                // Writing to a String can't fail, here and below.
                if security.logs_in() {
                    let _ = write!(check, ", {} ({})", name(Setting::SaslMechanism), mechanism.name());
                    let _ = if mechanism.wants_password() {
                        write!(check, ", {} and {}", name(Setting::Username), name(Setting::Password))
                    } else {
                        let region = name(Setting::IamRegion);
                        write!(check, ", {region} and the AWS credentials (they have to allow kafka-cluster:Connect)")
                    };
                }
                let _ = write!(check, "; the topic and the consumer group {group} have to be open to us");
                check
            }
            Self::Kinesis { stream, region, endpoint, calls } => format!(
                "check {} ({stream}), {} ({}), {} ({}), and the AWS credentials: they have to allow {calls}, and the \
                 stream's key, if it has one",
                name(Setting::Stream),
                name(Setting::StreamRegion),
                region.as_deref().unwrap_or("from the environment"),
                name(Setting::Endpoint),
                endpoint.as_deref().unwrap_or("AWS"),
            ),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what_to_check(Setting::words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_what_to_check() {
        let access = |mechanism| {
            let (servers, group) = ("a:1".to_owned(), "g".to_owned());
            Box::new(Access::Kafka { servers, group, security: SecurityProtocol::SaslSsl, mechanism })
        };
        let unreachable = |mechanism| {
            let (log, why) = ("t".to_owned(), "no".to_owned());
            FeedError::<Infallible>::Unreachable { log, why, access: access(mechanism) }.to_string()
        };
        assert_eq!(
            unreachable(SaslMechanism::Plain),
            "t: no; check bootstrap servers (a:1) and the security protocol (SASL_SSL), the SASL mechanism (PLAIN), the \
             user name and the password; the topic and the consumer group g have to be open to us"
        );
        assert!(
            unreachable(SaslMechanism::OauthBearer).contains("the region of the IAM login and the AWS credentials")
        );
        let access = Access::Kinesis { stream: "s".to_owned(), region: None, endpoint: None, calls: "PutRecord" };
        let (log, why, access) = ("s".to_owned(), "no".to_owned(), Box::new(access));
        assert_eq!(
            FeedError::<Infallible>::NotAccepted { log, why, fate: Fate::NotPublished, access }.to_string(),
            "s: no; the message was not published; check the stream (s), its region (from the environment), its endpoint \
             (AWS), and the AWS credentials: they have to allow PutRecord, and the stream's key, if it has one"
        );
        let missing = FeedError::<Infallible>::Missing(vec![Setting::Topic, Setting::Password]);
        assert_eq!(missing.to_string(), "not configured: the topic, the password");
    }

    #[test]
    fn a_widened_error_is_the_same() {
        let error = || -> FeedError { FeedError::Folder { folder: "f".into(), error: io::Error::other("no") } };
        assert_eq!(error().to_string(), error().widen::<String>().to_string());
        assert_eq!(FeedError::Positions("away".to_owned()).to_string(), "the positions: away");
    }
}

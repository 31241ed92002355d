//! Kafka brokers as settings name them: their addresses, and how a client logs in.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// How the connection to a broker is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// No TLS, nobody logs in.
    Plaintext,
    /// TLS, nobody logs in.
    Ssl,
    /// Login over an open connection.
    SaslPlaintext,
    /// Login over TLS, as Confluent Cloud wants it.
    SaslSsl,
}

impl SecurityProtocol {
    /// Whether a login is needed.
    #[must_use]
    pub fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether what is said is encrypted, and the broker verified.
    #[must_use]
    pub fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

impl FromStr for SecurityProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| "not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL".to_owned())
    }
}

/// How a login proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// User name and password as they are.
    Plain,
    /// Challenge and response on SHA-256.
    ScramSha256,
    /// Challenge and response on SHA-512.
    ScramSha512,
    /// A token signed with AWS credentials: the IAM login of Amazon MSK. No user name, no password.
    OauthBearer,
}

impl SaslMechanism {
    const ALL: [Self; 4] = [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OauthBearer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// Whether user name and password are needed; otherwise it is AWS credentials and their region.
    #[must_use]
    pub fn wants_password(self) -> bool {
        self != Self::OauthBearer
    }
}

impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| "not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER".to_owned())
    }
}

/// The brokers that a client connects to first: `host:port`, several with commas, without the `SASL_SSL://`-like prefix
/// that consoles show. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapServers(String);

/// Why a text is no [`BootstrapServers`]. It never repeats the text: what stands before an `@` may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapServersError {
    /// No broker at all.
    #[error("it names no broker")]
    Empty,
    /// Something beside host and port.
    #[error("broker {0} is not host:port; user and password have settings of their own")]
    Server(usize),
    /// A port that can't be connected to.
    #[error("broker {0} has a port that is not 1 to 65535")]
    Port(usize),
}

impl BootstrapServers {
    /// As librdkafka takes them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BootstrapServers {
    type Err = BootstrapServersError;

    fn from_str(text: &str) -> Result<Self, BootstrapServersError> {
        let servers = without_prefixes(text);
        if servers.is_empty() {
            return Err(BootstrapServersError::Empty);
        }
        for (server, number) in servers.split(',').zip(1..) {
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
                _ => (server, None),
            };
            let is_host = match host.strip_prefix('[') {
                Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
                None => !host.is_empty() && !host.contains([':', '[', ']']),
            };
            if !is_host || !server.chars().all(bare) {
                return Err(BootstrapServersError::Server(number));
            }
            if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(BootstrapServersError::Port(number));
            }
        }
        Ok(Self(servers))
    }
}

/// The servers without prefixes and blanks.
pub(super) fn without_prefixes(servers: &str) -> String {
    let servers = servers.split(',').map(|server| {
        let server = server.trim();
        server.split_once("://").map_or(server, |(_, address)| address)
    });
    servers.filter(|server| !server.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        use BootstrapServersError as E;
        let servers = |text: &str| text.parse::<BootstrapServers>();
        assert_eq!(servers("SASL_SSL://a.example:9092, b:1,").unwrap().as_str(), "a.example:9092,b:1");
        for good in ["localhost", "127.0.0.1:9092", "[::1]:9092", "[::1]", "broker_1:65535"] {
            assert_eq!(servers(good).unwrap().as_str(), good);
        }
        for (bad, error) in [
            ("", E::Empty),
            (" , ", E::Empty),
            ("SASL_SSL://", E::Empty),
            ("user:hunter2@broker:9092", E::Server(1)),
            ("a:1,SASL_SSL://user:hunter2@broker:9092", E::Server(2)),
            ("a:1/hunter2", E::Server(1)),
            ("::1:9092", E::Server(1)),
            ("[::x]:9092", E::Server(1)),
            (":9092", E::Server(1)),
            ("a b:9092", E::Server(1)),
            ("a:0", E::Port(1)),
            ("a:65536", E::Port(1)),
            ("a:1,b:", E::Port(2)),
            ("a:hunter2", E::Port(1)),
        ] {
            assert_eq!(servers(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn names_are_read_in_either_case() {
        assert_eq!("SASL_SSL".parse(), Ok(SecurityProtocol::SaslSsl));
        assert_eq!("plaintext".parse(), Ok(SecurityProtocol::Plaintext));
        assert_eq!("SCRAM-SHA-512".parse(), Ok(SaslMechanism::ScramSha512));
        assert_eq!("OAUTHBEARER".parse(), Ok(SaslMechanism::OauthBearer));
        assert!("GSSAPI".parse::<SaslMechanism>().is_err());
    }
}

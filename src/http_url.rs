//! The address of an HTTP server, parsed once and safe to show.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

/// An absolute `http` or `https` URL without user, password, query and fragment, and with a port that can be
/// connected to. It holds no secret, so it may be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Url);

/// Why a text is no [`HttpUrl`]. It never repeats the text: what stands there may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpUrlError {
    /// The URL syntax is broken: scheme, host name or port.
    #[error("it can't be read as a URL like https://host:port/path")]
    Syntax,
    /// Another scheme.
    #[error("its scheme is neither http nor https")]
    Scheme,
    /// It holds a user name or a password.
    #[error("it holds a user or password; credentials have settings of their own")]
    Credentials,
    /// Port 0.
    #[error("its port is 0")]
    Port,
    /// Something behind the path.
    #[error("it holds a query or a fragment")]
    Query,
    /// White space or a control character, which a URL parser would drop silently.
    #[error("it holds a blank or a control character")]
    Blank,
}

impl HttpUrl {
    /// Whether requests go out without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether the host is this machine: a loopback address, or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
            None => false,
        }
    }

    /// The host as the `Host` header has it: an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(if self.is_plain() { 80 } else { 443 })
    }

    /// Host and port as the `Host` header has them: the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        self.0.port().map_or_else(|| self.host().to_owned(), |port| format!("{}:{port}", self.host()))
    }

    /// The path without a slash at its end; empty for a bare host.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// The whole URL as it was given, a slash at its end included.
    #[must_use]
    pub fn given(&self) -> &str {
        self.0.as_str()
    }

    /// The whole URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        let text = text.trim();
        // The URL standard drops tabs and line breaks wherever they stand, and encodes blanks.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(HttpUrlError::Blank);
        }
        let url = Url::parse(text).map_err(|_| HttpUrlError::Syntax)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpUrlError::Scheme);
        }
        // The standard reads `http:host`, `http:///host` and backslashes as well; nobody means an address by them.
        let behind = text[url.scheme().len()..].strip_prefix("://").ok_or(HttpUrlError::Syntax)?;
        if behind.starts_with('/') || text.contains('\\') {
            return Err(HttpUrlError::Syntax);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(HttpUrlError::Query);
        }
        if url.port() == Some(0) {
            return Err(HttpUrlError::Port);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<HttpUrl, HttpUrlError> {
        text.parse()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = parse(" HTTP://Ig.Example:8081/stage/ ").unwrap();
        assert_eq!((url.host(), url.port(), url.path()), ("ig.example", 8081, "/stage"));
        assert_eq!(url.authority(), "ig.example:8081");
        assert_eq!(url.to_string(), "http://ig.example:8081/stage");
        assert!(url.is_plain() && !url.is_loopback());
        let url = parse("https://[::1]").unwrap();
        assert_eq!((url.host(), url.port(), url.authority(), url.path()), ("[::1]", 443, "[::1]".to_owned(), ""));
        assert!(!url.is_plain() && url.is_loopback());
    }

    #[test]
    fn this_machine_is_loopback_in_every_spelling() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(parse(&format!("http://{host}:1")).unwrap().is_loopback(), "{host}");
        }
        for host in ["127.0.0.1.example", "localhost.example", "10.0.0.1", "0.0.0.0", "[fd00::1]"] {
            assert!(!parse(&format!("http://{host}")).unwrap().is_loopback(), "{host}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_fault() {
        use HttpUrlError as E;
        for (text, fault) in [
            ("", E::Syntax),
            ("ig:8081", E::Scheme),
            ("http://", E::Syntax),
            ("http:ig", E::Syntax),
            ("http:/ig", E::Syntax),
            ("http:\\\\ig", E::Syntax),
            ("http:///ig", E::Syntax),
            ("http://ig\\path", E::Syntax),
            ("ftp://ig", E::Scheme),
            ("http://ig:0", E::Port),
            ("http://ig:65536", E::Syntax),
            ("http://ig:80a", E::Syntax),
            ("http://u@ig", E::Credentials),
            ("http://:p@ig", E::Credentials),
            ("http://u:p@ig", E::Credentials),
            ("http://ig/?a=b", E::Query),
            ("http://ig/#x", E::Query),
            ("http://i g", E::Blank),
            ("ht\ntp://ig", E::Blank),
            ("http://ig/a b", E::Blank),
        ] {
            assert_eq!(parse(text), Err(fault), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_password_is_never_shown(prefix in "(https?|HTTP|ftp|s3)?(://|:/|:|//)?", tail in "[a-z:/@?#%\\[\\] ]{0,12}") {
            let shown = |text: &str| match parse(text) {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            let text = format!("{prefix}user:hunter2@{tail}");
            prop_assert!(!shown(&text).contains("hunter2"), "{text:?}: {}", shown(&text));
        }
    }
}

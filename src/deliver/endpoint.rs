//! Where the gate is: its URL, and method, path and headers of every request.
//!
//! ```text
//! HttpUrl, headers ─┬─► host, port, path, headers
//! key, its header ──┤
//! health question ──┘
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Method;
use http::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::PathAndQuery;

use super::headers::{is_reserved, is_value};
use super::proxy::HttpProxy;
use crate::http_url::{HttpUrl, HttpUrlError};

/// Headers that the key can't be in besides those that are reserved: they mean something else, are taken off by proxies, or are
/// set by us.
const NOT_FOR_KEYS: [&str; 4] = ["content-type", "proxy-authenticate", "proxy-authorization", "tracestate"];

/// What is wrong with a gate's address or key. It repeats neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not the base URL of a gate.
    #[error("not the base URL of a gate: {0}")]
    Url(#[from] HttpUrlError),
    /// A path that no request line can carry.
    #[error("not the base URL of a gate: its path can't be sent")]
    Path,
    /// The name of the key's header.
    #[error(transparent)]
    HeaderName(#[from] KeyHeaderError),
    /// The key itself.
    #[error(transparent)]
    Key(#[from] ApiKeyError),
}

/// The name of the header that carries the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader(HeaderName);

/// Why a text is no [`KeyHeader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyHeaderError {
    /// Not the characters of a header name.
    #[error("it is not a header name")]
    Name,
    /// A header that means something else to HTTP.
    #[error("this header frames the message, belongs to the connection or is set by WSP; it can't carry the key")]
    Reserved,
}

impl FromStr for KeyHeader {
    type Err = KeyHeaderError;

    fn from_str(text: &str) -> Result<Self, KeyHeaderError> {
        let name: HeaderName = text.parse().map_err(|_| KeyHeaderError::Name)?;
        if is_reserved(&name) || NOT_FOR_KEYS.contains(&name.as_str()) {
            Err(KeyHeaderError::Reserved)
        } else {
            Ok(Self(name))
        }
    }
}

/// The key, in a form that a header carries unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

/// Why a text is no [`ApiKey`]. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Nothing.
    #[error("the API key is empty")]
    Empty,
    /// A character that would end the header or arrive as another one.
    #[error("the API key holds a control character (a line break?) or one beyond ASCII, which no header carries")]
    Character,
    /// Blanks that HTTP takes off.
    #[error("the API key begins or ends with a blank, which HTTP takes off")]
    Blank,
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, ApiKeyError> {
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if !is_value(text.as_bytes()) {
            return Err(ApiKeyError::Character);
        }
        if text.trim_matches(' ') != text {
            return Err(ApiKeyError::Blank);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| ApiKeyError::Character)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// What an answer to the question for a gate's health means: `Ok` if it may be tried, or what is wrong with it, for a person.
type ReadHealth = dyn Fn(u16, &[u8]) -> Result<(), String> + Send + Sync;

/// How a gate is asked how it is: `GET` of a path, and what status and body of the answer mean.
#[derive(Clone)]
pub(super) struct HealthQuestion {
    pub(super) path: PathAndQuery,
    pub(super) read: Arc<ReadHealth>,
}

/// What the settings that a connection depends on are called, for the words about its failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingNames {
    /// The URL.
    pub url: &'static str,
    /// The authorities that are trusted in place of the platform's.
    pub ca_file: &'static str,
    /// The certificate that the gate may ask for.
    pub client_certificate: &'static str,
}

impl Default for SettingNames {
    fn default() -> Self {
        Self { url: "the URL", ca_file: "a CA file", client_certificate: "none is set" }
    }
}

/// A gate's address with all that its requests have in common.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    /// How the gate is asked how it is, if it can be.
    pub(super) health: Option<HealthQuestion>,
    pub(super) headers: HeaderMap,
    /// What stands between us and it.
    pub(super) proxy: Option<HttpProxy>,
    pub(super) names: SettingNames,
    base: HttpUrl,
    key_header: Option<HeaderName>,
}

impl Endpoint {
    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// An intake that takes a `POST` of each item at `url`, with these headers.
    ///
    /// # Errors
    ///
    /// If the URL's path can't be sent.
    pub fn post(url: &HttpUrl, mut headers: HeaderMap) -> Result<Self, EndpointError> {
        headers.insert(HOST, HeaderValue::from_str(&url.authority()).map_err(|_| HttpUrlError::Syntax)?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let path = if url.path().is_empty() { "/" } else { url.path() };
        Ok(Self {
            tls: !url.is_plain(),
            host: url.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port(),
            method: Method::POST,
            path: path.parse().map_err(|_| EndpointError::Path)?,
            health: None,
            headers,
            proxy: None,
            names: SettingNames::default(),
            base: url.clone(),
            key_header: None,
        })
    }

    /// The same intake, asked with another method than `POST`.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The same intake at exactly this path and query.
    #[must_use]
    pub fn at(mut self, path: PathAndQuery) -> Self {
        self.path = path;
        self
    }

    /// The same intake behind a proxy.
    #[must_use]
    pub fn through(mut self, proxy: HttpProxy) -> Self {
        if let (false, Some(login)) = (self.tls, proxy.login()) {
            self.headers.insert(PROXY_AUTHORIZATION, login.clone());
        }
        self.proxy = Some(proxy);
        self
    }

    /// What a request line names: the path, and the whole address where a proxy has to read it.
    pub(super) fn request_target(&self, path: &PathAndQuery) -> String {
        format!("{}{path}", self.origin())
    }

    /// What stands before a path in a request line: nothing, or the origin where a proxy has to read it.
    pub(super) fn origin(&self) -> String {
        if self.proxy.is_some() && !self.tls { format!("http://{}", self.base.authority()) } else { String::new() }
    }

    /// The same intake with `key` in the header named `header`.
    #[must_use]
    pub fn keyed(mut self, header: &KeyHeader, key: &ApiKey) -> Self {
        self.headers.insert(header.0.clone(), key.0.clone());
        self.key_header = Some(header.0.clone());
        self
    }

    /// The same intake with another key, if it has one.
    #[must_use]
    pub fn with_key(mut self, key: &ApiKey) -> Self {
        if let Some(header) = self.key_header.clone() {
            self.headers.insert(header, key.0.clone());
        }
        self
    }

    /// The same intake, which can be asked how it is: by `GET` of `path`; `read` says what status and body of its answer mean,
    /// `Ok` if it may be tried with an item. A gate that gives no answer is not tried; one that can't be asked is.
    #[must_use]
    pub fn asked(
        mut self,
        path: PathAndQuery,
        read: impl Fn(u16, &[u8]) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.health = Some(HealthQuestion { path, read: Arc::new(read) });
        self
    }

    /// The same intake; words about its failures call settings by these names.
    #[must_use]
    pub fn named(mut self, names: SettingNames) -> Self {
        self.names = names;
        self
    }

    /// The address it was made of.
    #[must_use]
    pub fn base(&self) -> &HttpUrl {
        &self.base
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        let key = ("X-IG-Api-Key".parse().unwrap(), "hunter2".parse().unwrap());
        Endpoint::post(&url.parse().unwrap(), HeaderMap::new()).unwrap().keyed(&key.0, &key.1)
    }

    #[test]
    fn host_and_port_are_told_as_they_were_given() {
        for (base, host, port, header) in [
            ("http://ig:8081", "ig", 8081, "ig:8081"),
            ("http://ig", "ig", 80, "ig"),
            ("https://ig.example", "ig.example", 443, "ig.example"),
            ("https://[::1]:9443/x", "::1", 9443, "[::1]:9443"),
            ("http://[2001:db8::1]", "2001:db8::1", 80, "[2001:db8::1]"),
        ] {
            let endpoint = endpoint(base);
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{base}");
            assert_eq!(endpoint.headers[HOST], header, "{base}");
        }
    }

    #[test]
    fn secrets_are_not_told() {
        let endpoint = endpoint("http://ig");
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("hunter2"));
    }

    #[test]
    fn a_key_header_is_one_that_nobody_else_reads() {
        for name in ["X-IG-Api-Key", "x-key", "Authorization", "Cookie", "api_key"] {
            assert!(name.parse::<KeyHeader>().is_ok(), "{name}");
        }
        for name in ["", " ", "bad header", "X-Key:", "X-Kéy", "a\r\nb", "a\0"] {
            assert_eq!(name.parse::<KeyHeader>(), Err(KeyHeaderError::Name), "{name:?}");
        }
        for name in NOT_FOR_KEYS.iter().map(|name| name.to_ascii_uppercase()).chain(["Content-Length".to_owned()]) {
            assert_eq!(name.parse::<KeyHeader>(), Err(KeyHeaderError::Reserved), "{name}");
        }
    }

    #[test]
    fn a_key_arrives_as_it_is_or_is_refused_without_being_shown() {
        for key in ["k", "00123456", "Bearer abc", "~!@#$%^&*()"] {
            let keyed = endpoint("http://ig").keyed(&"X-Key".parse().unwrap(), &key.parse().unwrap());
            assert_eq!(keyed.headers["x-key"], key);
        }
        for (key, fault) in [
            ("", ApiKeyError::Empty),
            ("a\nb", ApiKeyError::Character),
            ("a\r\nX-Admin: 1", ApiKeyError::Character),
            ("a\0", ApiKeyError::Character),
            ("a\tb", ApiKeyError::Character),
            ("a\x7f", ApiKeyError::Character),
            ("schlüssel", ApiKeyError::Character),
            (" a", ApiKeyError::Blank),
            ("a ", ApiKeyError::Blank),
        ] {
            assert_eq!(key.parse::<ApiKey>(), Err(fault), "{key:?}");
        }
        let other = endpoint("http://ig").with_key(&"other".parse().unwrap());
        assert_eq!(other.headers["x-ig-api-key"], "other");
        assert_eq!(other.headers.len(), 3);
    }
}

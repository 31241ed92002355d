//! Where the gate is: its URL and the headers of every request (contract, section 6).
//!
//! ```text
//! base URL, header name, key ──► host, port, path, headers
//! ```

use std::fmt;

use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use reqwest::Url;

use crate::model::Secret;

/// The path that events are pushed to, below the base.
const PUSH: &str = "/v1/ingest/push";
const HEALTH: &str = "/v1/ops/health";
const LOOKUP: &str = "/v1/ops/lookup";

/// What is wrong with a gate's address or key. It never repeats the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an absolute http or https URL without user, password, query and fragment.
    #[error("{url:?} is not the base URL of a gate: {why}")]
    Url {
        /// The text, cut.
        url: String,
        /// The fault.
        why: String,
    },
    /// The name of the key's header.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// The key itself.
    #[error("the API key holds characters that no header can carry, or is empty")]
    Key,
}

/// A gate's address with all that its requests have in common.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) tls: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
    pub(super) health: PathAndQuery,
    pub(super) headers: HeaderMap,
    base: Url,
}

impl Endpoint {
    /// Reads `base` (with or without `/v1/ingest/push` at its end); the key goes out in the header named `key_header`.
    ///
    /// # Errors
    ///
    /// If one of the three can't be used.
    pub fn new(base: &str, key_header: &str, key: &Secret) -> Result<Self, EndpointError> {
        let fault = |why: &str| EndpointError::Url { url: base.chars().take(200).collect(), why: why.to_owned() };
        let mut url: Url = base.trim().parse().map_err(|_| fault("it can't be read as a URL"))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(fault("its scheme is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted: what stands there is a password.
            return Err(EndpointError::Url { url: url.scheme().to_owned(), why: "it holds a user or password".into() });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fault("it holds a query or a fragment"));
        }
        let authority = url.host_str().ok_or_else(|| fault("it names no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| fault("it names no port"))?;
        let host_header = url.port().map_or_else(|| authority.clone(), |port| format!("{authority}:{port}"));
        let host = authority.trim_start_matches('[').trim_end_matches(']').to_owned();

        let path = url.path().trim_end_matches('/');
        let root = path.strip_suffix(PUSH).unwrap_or(path).to_owned();
        let below = |path: &str| format!("{root}{path}").parse().map_err(|_| fault("its path can't be sent"));
        let (path, health) = (below(PUSH)?, below(HEALTH)?);
        url.set_path(&root);

        let key_name = HeaderName::from_bytes(key_header.as_bytes())
            .map_err(|_| EndpointError::HeaderName(key_header.chars().take(80).collect()))?;
        let mut key = HeaderValue::from_str(key.expose()).map_err(|_| EndpointError::Key)?;
        if key.is_empty() {
            return Err(EndpointError::Key);
        }
        key.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(HOST, HeaderValue::from_str(&host_header).map_err(|_| fault("its host can't be sent"))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(key_name, key);
        Ok(Self { tls, host, port, path, health, headers, base: url })
    }

    /// Where the gate says what became of an event; `None` for an id that no path can carry.
    pub(super) fn lookup(&self, event_id: &str) -> Option<PathAndQuery> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{LOOKUP}", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("event_id", event_id);
        format!("{}?{}", url.path(), url.query()?).parse().ok()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint::new(base, "X-IG-Api-Key", &Secret::new("hunter2")).unwrap()
    }

    #[test]
    fn the_push_path_is_added_once() {
        for (base, root) in [
            ("http://ig:8081", ""),
            ("http://ig:8081/", ""),
            ("https://edge/stage", "/stage"),
            ("https://edge/stage/v1/ingest/push", "/stage"),
            ("http://ig/v1/ingest/push/", ""),
        ] {
            let endpoint = endpoint(base);
            assert_eq!(endpoint.path.as_str(), format!("{root}/v1/ingest/push"), "{base}");
            assert_eq!(endpoint.health.as_str(), format!("{root}/v1/ops/health"), "{base}");
            let lookup = endpoint.lookup("a&b").unwrap();
            assert_eq!(lookup.as_str(), format!("{root}/v1/ops/lookup?event_id=a%26b"), "{base}");
        }
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
    fn what_is_no_gate_is_refused_without_telling_secrets() {
        for base in ["", "ig:8081", "ftp://ig", "http://", "http://u:hunter2@ig", "http://ig/?a=b", "http://ig/#x"] {
            let error = Endpoint::new(base, "X-IG-Api-Key", &Secret::new("k")).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(Endpoint::new("http://ig", "bad header", &Secret::new("k")).is_err());
        assert_eq!(Endpoint::new("http://ig", "k", &Secret::new("a\nb")).unwrap_err(), EndpointError::Key);
        assert_eq!(Endpoint::new("http://ig", "k", &Secret::new("")).unwrap_err(), EndpointError::Key);
        let endpoint = endpoint("http://ig");
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers).contains("hunter2"));
    }
}

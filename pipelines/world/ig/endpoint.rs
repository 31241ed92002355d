//! Where IG is: its three paths below a base URL, and the key's header (contract, section 6).
//!
//! ```text
//! base ──► <base>/v1/ingest/push · <base>/v1/ops/health · <base>/v1/ops/lookup
//! ```

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use wsp::deliver::{ApiKey, Endpoint, EndpointError, KeyHeader, SettingNames};
use wsp::http_url::HttpUrl;
use wsp::secret::Secret;

use super::health::is_up;
use super::routes::Routes;

/// What a profile calls the settings of the way to IG.
const NAMES: SettingNames = SettingNames {
    url: "ig_ingest_url",
    ca_file: "wsp_delivery.ca_file",
    client_certificate: "wsp_delivery.client_cert_file",
};

/// The IG at `base` (with or without `/v1/ingest/push` at its end); the key goes out in the header `key_header`.
///
/// # Errors
///
/// If the URL's path can't be sent.
pub fn ig_endpoint(base: &HttpUrl, key_header: &KeyHeader, key: &ApiKey) -> Result<Endpoint, EndpointError> {
    let routes = Routes::of(base);
    let (Some(push), Some(health)) = (routes.push(), routes.health()) else { return Err(EndpointError::Path) };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Ok(Endpoint::post(base, headers)?.keyed(key_header, key).at(push).asked(health, is_up).named(NAMES))
}

/// The same, of texts.
///
/// # Errors
///
/// If one of the three can't be used.
pub fn parse_ig_endpoint(base: &str, key_header: &str, key: &Secret) -> Result<Endpoint, EndpointError> {
    ig_endpoint(&base.parse()?, &key_header.parse()?, &key.expose().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_gate_is_refused_without_telling_secrets() {
        for base in ["", "ig:8081", "ftp://ig", "http://", "http://u:hunter2@ig", "http://ig/?a=b", "http://ig/#x"] {
            let error = parse_ig_endpoint(base, "X-IG-Api-Key", &Secret::new("k")).unwrap_err();
            assert!(matches!(error, EndpointError::Url(_)) && !error.to_string().contains("hunter2"), "{error}");
        }
        let error = parse_ig_endpoint("http://ig", "X-Key", &Secret::new("a\nb")).unwrap_err();
        assert!(matches!(error, EndpointError::Key(_)), "{error}");
    }
}

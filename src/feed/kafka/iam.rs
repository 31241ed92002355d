//! The login to Amazon MSK by IAM: SASL/OAUTHBEARER whose token is a signed URL.
//!
//! ```text
//! credentials ──SigV4──► https://kafka.<region>.amazonaws.com/?Action=kafka-cluster:Connect&X-Amz-…&User-Agent=…
//!                                                   └── base64url without padding ──► the token, good for 15 minutes
//! ```
//!
//! librdkafka asks for a token at the start and again after four fifths of its lifetime.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use rdkafka::client::OAuthToken;

use crate::aws;
use crate::time::Micros;

/// How long a token is good for; MSK takes no longer ones.
pub(super) const LIFETIME: Duration = Duration::from_mins(15);

/// How long the search for credentials may take.
const SEARCH: Duration = Duration::from_secs(20);

/// Who signs.
#[derive(Debug, Clone)]
pub(super) struct Iam {
    pub(super) region: String,
    pub(super) lifetime: Duration,
}

/// Why there is no token. It holds no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoToken(String);

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoToken {}

impl Iam {
    /// A token as of now, signed with what the AWS environment holds at this moment. Blocks; not for a runtime's threads.
    pub(super) fn token(&self, now: Micros) -> Result<OAuthToken, NoToken> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| NoToken(format!("no runtime for the search for credentials: {error}")))?;
        let credentials = runtime.block_on(credentials(&self.region))?;
        let (token, ends) = self.signed(&credentials, now)?;
        let lifetime_ms = ends.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        tracing::debug!(region = self.region, lifetime_ms, "a token for the login to MSK is signed");
        Ok(OAuthToken {
            token,
            // Only the broker's view of who logs in counts; it takes that from the signature.
            principal_name: "wsp".to_owned(),
            lifetime_ms: i64::try_from(lifetime_ms).unwrap_or(i64::MAX),
        })
    }

    /// The token, and when it ends: with the credentials it is signed by, at the latest.
    fn signed(&self, credentials: &Credentials, now: Micros) -> Result<(String, SystemTime), NoToken> {
        let failed = |error: String| NoToken(format!("the token can't be signed: {error}"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or_default());
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(self.lifetime);
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("kafka-cluster")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| failed(error.to_string()))?
            .into();
        let url = format!("https://kafka.{}.amazonaws.com/?Action=kafka-cluster%3AConnect", self.region);
        let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]));
        let signable = signable.map_err(|error| failed(error.to_string()))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| failed(error.to_string()))?.into_parts();
        let mut request = Request::get(&url).body(()).map_err(|error| failed(error.to_string()))?;
        instructions.apply_to_request_http1x(&mut request);
        let url = format!("{}&User-Agent=wsp%2F{}", request.uri(), env!("CARGO_PKG_VERSION"));
        let ends = now + self.lifetime;
        Ok((URL_SAFE_NO_PAD.encode(url), credentials.expiry().map_or(ends, |expiry| expiry.min(ends))))
    }
}

async fn credentials(region: &str) -> Result<Credentials, NoToken> {
    let found = async {
        let environment = aws_config::defaults(BehaviorVersion::latest()).http_client(aws::http_client(1));
        let environment = environment.region(Region::new(region.to_owned())).load().await;
        let Some(provider) = environment.credentials_provider() else {
            return Err(NoToken("there are no AWS credentials".to_owned()));
        };
        let failed = |error| NoToken(format!("no AWS credentials: {}", aws::causes_of(&error)));
        provider.provide_credentials().await.map_err(failed)
    };
    let none = |_| NoToken(format!("no AWS credentials within {} s", SEARCH.as_secs()));
    tokio::time::timeout(SEARCH, found).await.map_err(none)?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AKIDEXAMPLE";
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn iam() -> Iam {
        Iam { region: "eu-west-2".to_owned(), lifetime: LIFETIME }
    }

    fn at(text: &str) -> Micros {
        Micros::parse(text.as_bytes()).unwrap()
    }

    fn url(session: Option<&str>) -> String {
        let credentials = Credentials::new(ID, KEY, session.map(str::to_owned), None, "test");
        let (token, ends) = iam().signed(&credentials, at("2026-11-29T12:00:00Z")).unwrap();
        assert_eq!(ends.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_795_954_500);
        assert!(!token.contains(['=', '+', '/']), "{token}");
        String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
    }

    #[test]
    fn the_token_is_the_signed_url_that_msk_expects() {
        let url = url(None);
        let (base, query) = url.split_once('?').unwrap();
        assert_eq!(base, "https://kafka.eu-west-2.amazonaws.com/");
        let pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        let names: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
        assert_eq!(pairs[0], ("Action", "kafka-cluster%3AConnect"));
        assert_eq!(pairs.last(), Some(&("User-Agent", concat!("wsp%2F", env!("CARGO_PKG_VERSION")))));
        let value = |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
        assert_eq!(value("X-Amz-Algorithm"), Some("AWS4-HMAC-SHA256"));
        assert_eq!(
            value("X-Amz-Credential"),
            Some("AKIDEXAMPLE%2F20261129%2Feu-west-2%2Fkafka-cluster%2Faws4_request")
        );
        assert_eq!(value("X-Amz-Date"), Some("20261129T120000Z"));
        assert_eq!(value("X-Amz-Expires"), Some("900"));
        assert_eq!(value("X-Amz-SignedHeaders"), Some("host"));
        assert_eq!(value("X-Amz-Signature").map(str::len), Some(64));
        assert_eq!(names.len(), 8, "{names:?}");
    }

    /// The signature as the procedure of `SigV4` gives it, computed by another implementation.
    #[test]
    fn the_signature_is_sigv4() {
        assert!(
            url(None).contains("X-Amz-Signature=3458df47207f83a48b6444b6cb5c455267445d4d71d884005fcc7d7b0ca006b2"),
            "{}",
            url(None)
        );
        let url = url(Some("a/session+token=="));
        assert!(url.contains("X-Amz-Security-Token=a%2Fsession%2Btoken%3D%3D"), "{url}");
        assert!(
            url.contains("X-Amz-Signature=bdfe2f7dfb86e1b1ec9f0ae5b5b7b67774c74aa5c3f8a2ca616f4c4f38df7536"),
            "{url}"
        );
    }

    #[test]
    fn a_token_ends_with_the_credentials_that_signed_it() {
        let now = at("2026-11-29T12:00:00Z");
        let soon = SystemTime::UNIX_EPOCH + Duration::from_micros(now.0 as u64) + Duration::from_mins(1);
        let credentials = Credentials::new(ID, KEY, None, Some(soon), "test");
        assert_eq!(iam().signed(&credentials, now).unwrap().1, soon);
    }

    #[test]
    fn neither_key_nor_session_is_printed() {
        let region = "not a region".to_owned();
        let credentials = Credentials::new(ID, KEY, Some("session".to_owned()), None, "test");
        let error = Iam { region, lifetime: LIFETIME }.signed(&credentials, at("2026-11-29T12:00:00Z")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(KEY));
    }
}

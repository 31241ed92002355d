//! Signatures of AWS, version 4: of each attempt, since they hold for some minutes only.
//!
//! ```text
//! method, URL, host, x-amz-… headers, SHA-256 of the body, the time ──credentials of the environment──► Authorization, X-Amz-Date
//! ```

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use wsp::aws;
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{Authorize, Unsigned};

use super::super::error::Error;
use super::super::target::Target;

/// How long the search for credentials may take.
const SEARCH: Duration = Duration::from_secs(20);
/// Credentials are looked for anew so long before they end.
const BEFORE_END: Duration = Duration::from_mins(5);

/// What a signature is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigv4 {
    service: String,
    region: String,
}

impl Sigv4 {
    /// Reads `SERVICE/REGION`.
    ///
    /// # Errors
    ///
    /// If it is not of that form.
    pub fn new(text: &str) -> Result<Self, Error> {
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        match text.split_once('/') {
            Some((service, region)) if is_name(service) && is_name(region) => {
                Ok(Self { service: service.to_owned(), region: region.to_owned() })
            }
            _ => Err(Error::flag(
                "--aws-sigv4",
                format!("{text:?} is not SERVICE/REGION, such as execute-api/eu-west-2"),
            )),
        }
    }

    /// Looks for credentials.
    pub(super) async fn signer(&self, target: &Target, clock: SystemClock) -> Result<Signer, Error> {
        let region = Region::new(self.region.clone());
        let environment = aws_config::defaults(BehaviorVersion::latest()).http_client(aws::http_client(1));
        let environment = environment.region(region).load().await;
        let none = || Error::flag("--aws-sigv4", "there are no AWS credentials");
        let provider = environment.credentials_provider().ok_or_else(none)?;
        let signer = Signer { request: Request::new(self, target), provider, clock, held: Mutex::default() };
        signer.credentials().await.map_err(|error| Error::flag("--aws-sigv4", error))?;
        Ok(signer)
    }
}

/// What all requests have in common.
#[derive(Debug, Clone)]
struct Request {
    scope: Sigv4,
    method: String,
    url: String,
    /// What of the URL stands before the path.
    origin: String,
    /// Those that are signed.
    headers: Vec<(String, String)>,
}

impl Request {
    fn new(scope: &Sigv4, target: &Target) -> Self {
        let (method, url, fixed) = target.request();
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let host = ("host".to_owned(), target.url().authority());
        let headers = std::iter::once(host).chain(fixed.filter(|(name, _)| is_signed(name))).collect();
        Self { scope: scope.clone(), method, url, origin, headers }
    }

    /// The header lines of a request of `now`.
    fn signed(&self, credentials: &Credentials, now: SystemTime, request: Unsigned<'_>) -> Result<Bytes, String> {
        let failed = |error: &dyn fmt::Display| format!("the request can't be signed: {error}");
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.scope.region)
            .name(&self.scope.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let own = std::str::from_utf8(request.head).unwrap_or_default().lines();
        let own = own.filter_map(|line| line.split_once(": ")).filter(|(name, _)| is_signed(name));
        let fixed = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(request.body);
        let line = request.request_line.and_then(|line| std::str::from_utf8(line).ok()?.split_once(' '));
        let (method, url) = line.map_or_else(
            || (self.method.as_str(), self.url.clone()),
            |(method, path)| (method, format!("{}{path}", self.origin)),
        );
        let signable = SignableRequest::new(method, url.as_str(), fixed.chain(own), body);
        let signed = sign(signable.map_err(|error| failed(&error))?, &params).map_err(|error| failed(&error))?;
        let (instructions, _) = signed.into_parts();
        let lines = instructions.headers().map(|(name, value)| format!("{name}: {value}\r\n"));
        Ok(lines.collect::<String>().into())
    }
}

/// Whether a header of ours belongs to what is signed: proxies may change others.
fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-") || name == "content-type"
}

/// Who signs.
pub(super) struct Signer {
    request: Request,
    provider: SharedCredentialsProvider,
    clock: SystemClock,
    held: Mutex<Option<Credentials>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Signer {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(self.clock.utc().0).unwrap_or_default())
    }

    async fn credentials(&self) -> Result<Credentials, String> {
        let soon = self.now() + BEFORE_END;
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(held) = held.filter(|held| held.expiry().is_none_or(|ends| soon < ends)) {
            return Ok(held);
        }
        let failed = |error| format!("no AWS credentials: {}", aws::causes_of(&error));
        let found = tokio::time::timeout(SEARCH, self.provider.provide_credentials()).await;
        let found = found.map_err(|_| format!("no AWS credentials within {} s", SEARCH.as_secs()))?.map_err(failed)?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }
}

impl Authorize for Signer {
    fn authorize<'a>(&'a self, request: Unsigned<'a>) -> BoxFuture<'a, Result<Bytes, String>> {
        async move { self.request.signed(&self.credentials().await?, self.now(), request) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::template::Template;
    use super::*;

    #[test]
    fn a_scope_is_a_service_and_a_region() {
        assert!(Sigv4::new("execute-api/eu-west-2").is_ok());
        for text in ["", "execute-api", "/eu", "a/", "a/b/c", "A/b"] {
            assert!(Sigv4::new(text).unwrap_err().to_string().contains("SERVICE/REGION"), "{text}");
        }
    }

    /// The signature by the procedure of AWS's documentation, step by step, as another implementation of it.
    #[test]
    fn a_signature_is_sigv4_of_what_is_sent() {
        use sha2::{Digest, Sha256};
        let templates = [Template::new("X-Amz-Target: a.B").unwrap(), Template::new("X-Other: c").unwrap()];
        let target = Target::new("https://api.example:8443/v1/events?b=2&a=1", "PUT", &templates, &[]).unwrap();
        let request = Request::new(&Sigv4::new("execute-api/eu-west-2").unwrap(), &target);
        let credentials = Credentials::new("AKIDEXAMPLE", "hunter2", Some("session".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(490_896);
        let head = b"idempotency-key: 7\r\nx-amz-own: 9\r\n";
        let lines = request.signed(&credentials, now, Unsigned { request_line: None, head, body: b"{}" }).unwrap();
        let columns = Target::new("https://api.example:8443/{x}", "{op}", &templates, &[]).unwrap();
        let columns = Request::new(&Sigv4::new("execute-api/eu-west-2").unwrap(), &columns);
        let own = Unsigned { request_line: Some(b"PUT /v1/events?b=2&a=1"), head, body: b"{}" };
        assert_eq!(columns.signed(&credentials, now, own).unwrap(), lines, "a request line of its own is signed");
        let lines = std::str::from_utf8(&lines).unwrap();
        let hex = |bytes: &[u8]| const_hex::encode(bytes);
        let hash = |text: &str| hex(&Sha256::digest(text));
        let canonical = format!(
            "PUT\n/v1/events\na=1&b=2\ncontent-type:application/json\nhost:api.example:8443\nx-amz-date:20260101T000000Z\n\
             x-amz-own:9\nx-amz-security-token:session\nx-amz-target:a.B\n\n\
             content-type;host;x-amz-date;x-amz-own;x-amz-security-token;x-amz-target\n{}",
            hash("{}")
        );
        let scope = "20260101/eu-west-2/execute-api/aws4_request";
        let to_sign = format!("AWS4-HMAC-SHA256\n20260101T000000Z\n{scope}\n{}", hash(&canonical));
        let mut key = b"AWS4hunter2".to_vec();
        for part in ["20260101", "eu-west-2", "execute-api", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, to_sign.as_bytes()));
        assert!(lines.contains(&format!("Signature={signature}\r\n")), "{lines}");
        assert!(lines.contains("x-amz-date: 20260101T000000Z\r\n"), "{lines}");
        assert!(lines.contains("x-amz-security-token: session\r\n") && !lines.contains("hunter2"), "{lines}");
    }

    /// HMAC with SHA-256 (RFC 2104).
    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        let pad = |with: u8| -> Vec<u8> { (0..64).map(|i| key.get(i).copied().unwrap_or_default() ^ with).collect() };
        let inner = Sha256::digest([&pad(0x36)[..], text].concat());
        Sha256::digest([&pad(0x5c)[..], &inner[..]].concat()).to_vec()
    }
}

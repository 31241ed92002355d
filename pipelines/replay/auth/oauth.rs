//! Tokens of OAuth 2.0 by client credentials (RFC 6749, 4.4).
//!
//! ```text
//! POST token URL, grant_type=client_credentials ─► access_token, expires_in ─► Authorization: Bearer …
//! shortly before it expires, or after a 401 ─► another one
//! ```

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::uri::PathAndQuery;
use serde::Deserialize;
use url::form_urlencoded::{Serializer, byte_serialize};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::headers::is_value;
use wsp::deliver::{Answer, Attempt, Authorize, Endpoint, Gate as _, HttpGate, Item, Takes, Unsigned};
use wsp::http_url::HttpUrl;
use wsp::secret::Secret;

use super::super::error::Error;
use super::super::target::{Place, address, insert_secret};
use super::Way;

/// How long a token may take to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A token is replaced so long before it expires, or a fifth of its time where that is less.
const BEFORE_END: Duration = Duration::from_mins(1);
/// A token that is refused sooner after it was fetched was not refused for its age.
const YOUNG: Duration = Duration::from_secs(1);
/// After a fetch that failed, a token that is still good is used so long before another is asked for.
const PAUSE: Duration = Duration::from_secs(5);
/// How much of an answer is repeated, in characters.
const QUOTE: usize = 200;

/// What tokens are asked for with.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Where.
    pub url: String,
    /// The client's id.
    pub id: String,
    /// Its secret.
    pub secret: Place,
    /// What the token has to allow, with blanks between.
    pub scope: Option<String>,
    /// Whom it is for.
    pub audience: Option<String>,
    /// Id and secret go into the body, not into the header of basic authentication.
    pub in_body: bool,
}

/// A client that tokens are handed out to.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    url: HttpUrl,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Secret,
}

impl ClientCredentials {
    /// Reads the secret.
    ///
    /// # Errors
    ///
    /// If a part can't be used, naming the flag. No message repeats the secret.
    pub fn new(grant: &Grant) -> Result<Self, Error> {
        let Grant { url, id, secret, scope, audience, in_body } = grant;
        let (url, path) = address("--oauth-url", url)?;
        let flag = secret.flag("--oauth-secret-env", "--oauth-secret-file");
        let secret = secret.read(flag)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut body = Serializer::new(String::new());
        body.append_pair("grant_type", "client_credentials");
        if *in_body {
            body.append_pair("client_id", id).append_pair("client_secret", secret.expose());
        } else {
            // Both are encoded before they are joined (RFC 6749, 2.3.1).
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let login = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret.expose())));
            insert_secret(&mut headers, flag, AUTHORIZATION, &Secret::new(format!("Basic {login}")))?;
        }
        for (name, value) in [("scope", scope), ("audience", audience)] {
            if let Some(value) = value {
                body.append_pair(name, value);
            }
        }
        Ok(Self { url, path, headers, body: Secret::new(body.finish()) })
    }

    /// Fetches a first token.
    pub(super) async fn tokens(&self, way: &Way, clock: SystemClock) -> Result<Tokens, Error> {
        let failed = |error: &dyn fmt::Display| Error::flag("--oauth-url", error);
        let endpoint = Endpoint::post(&self.url, self.headers.clone()).map_err(|error| failed(&error))?;
        let gate = way.gate(endpoint.at(self.path.clone()), clock)?.attempt_timeout(PATIENCE);
        let request = TokenRequest(Bytes::copy_from_slice(self.body.expose().as_bytes()));
        let turn = tokio::sync::Mutex::new(());
        let tokens = Tokens { gate, request, clock, held: Mutex::default(), turn };
        tokens.lines().await.map_err(|error| failed(&error))?;
        Ok(tokens)
    }
}

/// The request for a token.
struct TokenRequest(Bytes);

impl Item for TokenRequest {
    fn id(&self) -> &[u8; 32] {
        &[0; 32]
    }

    fn line(&self) -> u64 {
        0
    }

    fn body(&self) -> &Bytes {
        &self.0
    }

    fn set_body(&mut self, body: Bytes) {
        self.0 = body;
    }
}

/// A token as a header line.
#[derive(Clone)]
struct Held {
    lines: Bytes,
    since: Duration,
    /// When another is fetched, and when it is good for nothing any more; `None` where that was not said.
    refresh: Option<Duration>,
    ends: Option<Duration>,
}

/// Tokens, one at a time: all connections use the same.
pub(super) struct Tokens {
    gate: HttpGate<SystemClock>,
    request: TokenRequest,
    clock: SystemClock,
    held: Mutex<Option<Held>>,
    /// Held while a token is fetched.
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Tokens {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token, unless it is time for another.
    fn fresh(&self) -> Option<Bytes> {
        let now = self.clock.now();
        let held = self.held();
        held.as_ref().filter(|held| held.refresh.is_none_or(|refresh| now < refresh)).map(|held| held.lines.clone())
    }

    async fn lines(&self) -> Result<Bytes, String> {
        if let Some(lines) = self.fresh() {
            return Ok(lines);
        }
        let _turn = self.turn.lock().await;
        if let Some(lines) = self.fresh() {
            return Ok(lines);
        }
        match self.fetch().await {
            Ok(new) => {
                let lines = new.lines.clone();
                *self.held() = Some(new);
                Ok(lines)
            }
            Err(why) => {
                let now = self.clock.now();
                let mut held = self.held();
                let held = held.as_mut().filter(|held| held.ends.is_none_or(|ends| now < ends)).ok_or(why)?;
                held.refresh = Some(now + PAUSE);
                Ok(held.lines.clone())
            }
        }
    }

    async fn fetch(&self) -> Result<Held, String> {
        let since = self.clock.now();
        let mut connection = self.gate.connection();
        let answer = match connection.push(&self.request).await {
            Attempt::Answered(answer) => answer,
            Attempt::ConnectFailed(why) | Attempt::ConnectionLost(why) => return Err(format!("no token: {why}")),
            Attempt::TimedOut => return Err("no token: no answer in time".to_owned()),
        };
        let (token, life) = read(&answer)?;
        let ends = life.map(|life| since + life);
        let refresh = life.map(|life| since + life.saturating_sub(BEFORE_END.min(life / 5)));
        Ok(Held { lines: format!("authorization: Bearer {token}\r\n").into(), since, refresh, ends })
    }
}

impl Authorize for Tokens {
    fn authorize<'a>(&'a self, _: Unsigned<'a>) -> BoxFuture<'a, Result<Bytes, String>> {
        self.lines().boxed()
    }

    fn refused(&self, lines: &Bytes) -> bool {
        let now = self.clock.now();
        let mut held = self.held();
        match &*held {
            // Another connection has seen to it.
            Some(current) if current.lines != lines => true,
            Some(current) if now.saturating_sub(current.since) < YOUNG => false,
            _ => {
                *held = None;
                true
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The token of an answer, and how long it is good for.
fn read(answer: &Answer) -> Result<(String, Option<Duration>), String> {
    if answer.status() != 200 {
        let refusal: Refusal = serde_json::from_slice(answer.body()).unwrap_or_default();
        let words = format!("{} {}", refusal.error, refusal.error_description);
        let words: String = words.trim().chars().filter(|c| !c.is_control()).take(QUOTE).collect();
        let colon = if words.is_empty() { "" } else { ": " };
        return Err(format!("no token: status {}{colon}{words}", answer.status()));
    }
    // An error of the reader may repeat the token.
    let read = serde_json::from_slice::<TokenAnswer>(answer.body());
    let TokenAnswer { access_token, token_type, expires_in } =
        read.map_err(|_| "no token: the answer has no access_token")?;
    if token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("no token: it is of another type than Bearer".to_owned());
    }
    if access_token.is_empty() || !is_value(access_token.as_bytes()) {
        return Err("no token: it is empty, or holds what no header carries".to_owned());
    }
    let seconds = match &expires_in {
        Some(serde_json::Value::String(text)) => text.parse::<f64>().ok(),
        Some(value) => value.as_f64(),
        None => None,
    };
    let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok((access_token, life))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn grant(secret: &str) -> (tempfile::NamedTempFile, Grant) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{secret}").unwrap();
        let secret = Place::File(file.path().to_owned());
        let url = "https://login.example/oauth/token?tenant=7".to_owned();
        let grant = Grant { url, id: "me:x".to_owned(), secret, scope: None, audience: None, in_body: false };
        (file, grant)
    }

    #[test]
    fn a_client_says_who_it_is_in_a_header_or_in_the_body() {
        let (_file, grant) = grant("hunter 2&");
        let header = ClientCredentials::new(&Grant { scope: Some("a b".to_owned()), ..grant.clone() }).unwrap();
        assert_eq!(header.path, "/oauth/token?tenant=7");
        let login = STANDARD.encode("me%3Ax:hunter+2%26");
        assert_eq!(header.headers[AUTHORIZATION], format!("Basic {login}"));
        assert_eq!(header.body.expose(), "grant_type=client_credentials&scope=a+b");
        let audience = Some("https://api".to_owned());
        let body = ClientCredentials::new(&Grant { in_body: true, audience, ..grant.clone() }).unwrap();
        let expected =
            "grant_type=client_credentials&client_id=me%3Ax&client_secret=hunter+2%26&audience=https%3A%2F%2Fapi";
        assert_eq!((body.body.expose(), body.headers.get(AUTHORIZATION)), (expected, None));
        for client in [header, body] {
            assert!(!format!("{client:?}").contains("hunter"), "{client:?}");
        }
        let error = ClientCredentials::new(&Grant { url: "login".to_owned(), ..grant }).unwrap_err().to_string();
        assert!(error.contains("--oauth-url"), "{error}");
    }

    #[test]
    fn an_answer_is_a_token_or_says_why_not() {
        let of = |status, body: &'static str| read(&Answer::new(status, body));
        let token = |text: &str, seconds: Option<u64>| Ok((text.to_owned(), seconds.map(Duration::from_secs)));
        assert_eq!(
            of(200, r#"{"access_token":"t","token_type":"bearer","expires_in":3600,"x":[]}"#),
            token("t", Some(3600))
        );
        assert_eq!(of(200, r#"{"access_token":"t","expires_in":"60"}"#), token("t", Some(60)));
        assert_eq!(of(200, r#"{"access_token":"t","expires_in":-1}"#), token("t", None));
        for (status, body, words) in [
            (401, r#"{"error":"invalid_client","error_description":"no\nsuch"}"#, "status 401: invalid_client nosuch"),
            (503, "<html>", "status 503"),
            (200, r#"{"access_token":["hunter2"]}"#, "no access_token"),
            (200, r#"{"access_token":"hunter2","token_type":"mac"}"#, "another type"),
            (200, r#"{"access_token":"hunter2\n"}"#, "no header carries"),
        ] {
            let error = of(status, body).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}

//! Where events go: URL, method, headers that all requests have, and who we are.
//!
//! ```text
//! --to, --method, --header, --bearer-env … ──► Target ──► Endpoint
//! ```

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IntoHeaderName,
};
use hyper::http::uri::PathAndQuery;
use wsp::clock::SystemClock;
use wsp::deliver::headers::is_value;
use wsp::deliver::{Endpoint, HttpGate, HttpProxy, SettingNames, TlsFiles};
use wsp::disk::files::read_text;
use wsp::http_url::HttpUrl;
use wsp::secret::Secret;

use super::auth::{Auth, Way};
use super::batch::BatchForm;
use super::error::Error;
use super::pack::Packing;
use super::request_line::{METHODS, RequestLine};
use super::template::{Template, header_name};

/// What a file with a secret may hold, in bytes.
const SECRET_LIMIT: u64 = 64 << 10;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a variable of the environment.
    Variable(String),
    /// In a file; a line break at its end is no part of it.
    File(PathBuf),
}

/// How the receiver knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Bearer` and a token.
    Bearer(Place),
    /// `Authorization: Basic`, of `user:password`.
    Basic(Place),
    /// A header of its own.
    Key(String, Place),
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Target {
    url: HttpUrl,
    /// Path and query, exactly as they were given.
    path: PathAndQuery,
    method: Method,
    /// Method and URL of each event, where columns are in them.
    line: Option<RequestLine>,
    headers: HeaderMap,
    auth: Option<Auth>,
    proxy: Option<HttpProxy>,
}

impl Target {
    /// A target. Method and URL may have columns in them; `templates` with columns in them are left to each event.
    ///
    /// # Errors
    ///
    /// If a part of it can't be used, naming the flag. No message repeats a secret.
    pub fn new(to: &str, method: &str, templates: &[Template], logins: &[Login]) -> Result<Self, Error> {
        let (url, path, line) = address_with_columns(to, method)?;
        let method = if line.is_some() { Method::POST } else { fixed_method(method)? };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for template in templates {
            if let Some(value) = template.fixed() {
                headers.insert(template.name(), value);
            }
        }
        for login in logins {
            let (flag, name, value) = login.header()?;
            insert_secret(&mut headers, flag, name, &value)?;
        }
        Ok(Self { url, path, method, line, headers, auth: None, proxy: None })
    }

    /// The same target for bodies that are packed so, and batches of this form. `has_type` says that its content type was
    /// chosen by the caller.
    pub(super) fn take(&mut self, packing: Option<Packing>, form: Option<BatchForm>, has_type: bool) {
        if let Some(packing) = packing {
            self.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(packing.name()));
        }
        if let (Some(form), false) = (form, has_type) {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        }
    }

    /// Method and URL of each event, where columns are in them.
    pub(super) fn line(&self) -> Option<&RequestLine> {
        self.line.as_ref()
    }

    /// The same, where each attempt says by itself who we are.
    ///
    /// # Errors
    ///
    /// If a header says it already.
    pub fn authorized(self, flag: &'static str, auth: Auth) -> Result<Self, Error> {
        if self.headers.contains_key(AUTHORIZATION) {
            return Err(Error::flag(flag, "another flag sets the header Authorization; leave one of them out"));
        }
        Ok(Self { auth: Some(auth), ..self })
    }

    /// The same, behind a proxy.
    #[must_use]
    pub fn through(self, proxy: Option<HttpProxy>) -> Self {
        Self { proxy, ..self }
    }

    /// The address, without the query, which may hold a secret.
    #[must_use]
    pub fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Method, URL and headers of all requests.
    #[cfg(feature = "aws")]
    pub(super) fn request(&self) -> (String, String, impl Iterator<Item = (String, String)>) {
        let scheme = if self.url.is_plain() { "http" } else { "https" };
        let url = format!("{scheme}://{}{}", self.url.authority(), self.path);
        let headers = self.headers.iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        (self.method.to_string(), url, headers)
    }

    /// The gate, with what it takes to be let in.
    pub(super) async fn gate(&self, tls: &TlsFiles, clock: SystemClock) -> Result<HttpGate<SystemClock>, Error> {
        let way = Way { tls: tls.clone(), proxy: self.proxy.clone() };
        let gate = way.gate(self.endpoint()?, clock)?;
        Ok(match &self.auth {
            Some(auth) => gate.authorized(auth.open(self, &way, clock).await?),
            None => gate,
        })
    }

    /// What requests have in common.
    ///
    /// # Errors
    ///
    /// If the URL's path can't be sent.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        let endpoint = Endpoint::post(&self.url, self.headers.clone()).map_err(|error| Error::flag("--to", error))?;
        let names = SettingNames { url: "--to", ca_file: "--ca-file", client_certificate: "--client-cert" };
        Ok(endpoint.method(self.method.clone()).at(self.path.clone()).named(names))
    }

    /// A request's head as it would be sent, without what is secret. `line` is its request line if it has one of its own.
    #[must_use]
    pub fn head(&self, line: Option<&str>) -> String {
        let line = line.map_or_else(|| format!("{} {}", self.method, self.path), str::to_owned);
        let line = line.split_once('?').map_or_else(|| line.clone(), |(line, _)| format!("{line}?***"));
        let mut head = format!("{line} HTTP/1.1\nhost: {}\n", self.url.authority());
        for (name, value) in &self.headers {
            let value = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("***") };
            head.extend([name.as_str(), ": ", value, "\n"]);
        }
        head
    }
}

fn fixed_method(method: &str) -> Result<Method, Error> {
    let refused = || Error::flag("--method", format!("{method}: an event goes by POST, PUT, PATCH or DELETE"));
    if METHODS.contains(&method) { method.parse().map_err(|_| refused()) } else { Err(refused()) }
}

impl Login {
    fn header(&self) -> Result<(&'static str, HeaderName, Secret), Error> {
        Ok(match self {
            Self::Bearer(place) => {
                let flag = place.flag("--bearer-env", "--bearer-file");
                let token = place.read(flag)?;
                (flag, AUTHORIZATION, Secret::new(format!("Bearer {}", token.expose())))
            }
            Self::Basic(place) => {
                let flag = place.flag("--basic-env", "--basic-file");
                (flag, AUTHORIZATION, basic(flag, place)?)
            }
            Self::Key(name, place) => {
                let flag = place.flag("--api-key-env", "--api-key-file");
                let name = header_name(name).map_err(|what| Error::flag("--api-key-header", what))?;
                (flag, name, place.read(flag)?)
            }
        })
    }
}

/// An address with its path and query; with the request line of each event in their place where columns are in them or in the
/// method.
fn address_with_columns(to: &str, method: &str) -> Result<(HttpUrl, PathAndQuery, Option<RequestLine>), Error> {
    if ![to, method].iter().any(|text| text.contains(['{', '}'])) {
        return address("--to", to).map(|(url, path)| (url, path, None));
    }
    let (base, query) = to.split_once('?').map_or((to, None), |(base, query)| (base, Some(query)));
    let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    if origin.contains(['{', '}']) {
        return Err(Error::flag("--to", "columns are for path and query; a row must not decide which host gets it"));
    }
    let (url, _) = address("--to", base)?;
    let path = Some(&base[origin.len()..]).filter(|path| !path.is_empty()).unwrap_or("/");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let line = RequestLine::new(method, &format!("{path}{query}"));
    let line = line.map_err(|(flag, what)| Error::flag(flag, what))?;
    Ok((url, PathAndQuery::from_static("/"), Some(line)))
}

/// An address, and its path and query exactly as they were given.
pub(super) fn address(flag: &'static str, to: &str) -> Result<(HttpUrl, PathAndQuery), Error> {
    let (base, query) = to.split_once('?').map_or((to, None), |(base, query)| (base, Some(query)));
    let url: HttpUrl = base.parse().map_err(|error| Error::flag(flag, error))?;
    if query.is_some_and(|query| query.contains('#')) {
        return Err(Error::flag(flag, "it holds a fragment, which is never sent"));
    }
    // As the URL was given: a slash at its end is a part of it.
    let given = url.given().splitn(4, '/').nth(3).unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{given}{query}").parse();
    let path = path.map_err(|_| Error::flag(flag, "its path or query holds what no request carries; encode it"))?;
    Ok((url, path))
}

/// A proxy at an address without a login in it.
///
/// # Errors
///
/// If it can't be used, naming the flag.
pub fn proxy(url: &str, login: Option<&Place>) -> Result<HttpProxy, Error> {
    let url: HttpUrl = url.parse().map_err(|error| Error::flag("--proxy", error))?;
    if !url.is_plain() {
        return Err(Error::flag("--proxy", "a proxy is spoken to over http://; TLS goes through it to the intake"));
    }
    if !url.path().is_empty() {
        return Err(Error::flag("--proxy", "a proxy has no path"));
    }
    let login = login.map(|place| {
        let flag = place.flag("--proxy-login-env", "--proxy-login-file");
        basic(flag, place)
    });
    let login = login.transpose()?;
    HttpProxy::new(&url, login.as_ref()).map_err(|error| Error::flag("--proxy", error))
}

/// The value of a header that logs in by `user:password`.
fn basic(flag: &'static str, place: &Place) -> Result<Secret, Error> {
    let login = place.read(flag)?;
    if !login.expose().contains(':') {
        return Err(Error::flag(flag, "it has to hold user:password"));
    }
    Ok(Secret::new(format!("Basic {}", STANDARD.encode(login.expose()))))
}

impl Place {
    pub(super) fn flag(&self, variable: &'static str, file: &'static str) -> &'static str {
        if matches!(self, Self::Variable(_)) { variable } else { file }
    }

    pub(super) fn read(&self, flag: &'static str) -> Result<Secret, Error> {
        let text = match self {
            Self::Variable(name) => std::env::var(name)
                .map_err(|_| Error::flag(flag, format!("the environment has no variable {name}, or it is no text")))?,
            Self::File(path) => secret_file(path).map_err(|error| Error::flag(flag, error))?,
        };
        if text.is_empty() { Err(Error::flag(flag, "the secret is empty")) } else { Ok(Secret::new(text)) }
    }
}

fn secret_file(path: &Path) -> Result<String, String> {
    let text = read_text(path, SECRET_LIMIT).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

pub(super) fn insert_secret(
    headers: &mut HeaderMap,
    flag: &'static str,
    name: impl IntoHeaderName,
    secret: &Secret,
) -> Result<(), Error> {
    let value = secret.expose();
    let what = "the secret holds a control character (a line break?) or one beyond ASCII, which no header carries";
    let mut value = HeaderValue::from_str(value)
        .ok()
        .filter(|_| is_value(secret.expose().as_bytes()))
        .ok_or_else(|| Error::flag(flag, what))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn target(to: &str) -> Result<Target, String> {
        Target::new(to, "POST", &[], &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn path_and_query_are_sent_as_they_were_given() {
        for (to, path) in [
            ("http://a", "/"),
            ("http://a/", "/"),
            ("https://a:8443/v1/events", "/v1/events"),
            ("http://a/hook/", "/hook/"),
            ("http://a/x?tenant=7&b=/", "/x?tenant=7&b=/"),
        ] {
            assert_eq!(target(to).unwrap().path, path, "{to}");
        }
        for to in ["", "a/b", "ftp://a", "http://u:p@a", "http://a/?x#y", "http://a/?x y"] {
            assert!(target(to).unwrap_err().contains("--to"), "{to}");
        }
    }

    #[test]
    fn columns_are_for_path_and_query_alone() {
        let line = target("https://a:8443/{shop}/orders?c={customer}").unwrap();
        assert_eq!(line.line().unwrap().columns().collect::<Vec<_>>(), ["shop", "customer"]);
        assert_eq!(
            line.head(Some("POST /s1/orders?c=7")),
            "POST /s1/orders?*** HTTP/1.1\nhost: a:8443\ncontent-type: application/json\n"
        );
        assert!(target("http://a/x").unwrap().line().is_none());
        let by_method = Target::new("http://a/x?y=1", "{op}", &[], &[]).unwrap();
        assert_eq!(by_method.line().unwrap().columns().collect::<Vec<_>>(), ["op"]);
        for to in ["https://{shop}.example/x", "https://a:{port}/x", "{url}", "https://{shop}"] {
            let fault = target(to).unwrap_err();
            assert!(fault.contains("--to: columns are for path and query"), "{to}: {fault}");
        }
    }

    #[test]
    fn a_secret_is_sent_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join(format!("secret-{}", text.len()));
            fs::write(&path, text).unwrap();
            Place::File(path)
        };
        let with = |login: Login| Target::new("http://a/?k=hunter2", "PUT", &[], &[login]);
        let key = with(Login::Key("X-Key".to_owned(), file("hunter2\n"))).unwrap();
        assert_eq!(key.headers["x-key"], "hunter2");
        let basic = with(Login::Basic(file("u:hunter2"))).unwrap();
        assert_eq!(basic.headers["authorization"], "Basic dTpodW50ZXIy");
        let bearer = with(Login::Bearer(file("hunter2"))).unwrap();
        assert_eq!(bearer.headers["authorization"], "Bearer hunter2");
        for target in [key, basic, bearer] {
            let shown = format!("{target:?} {}", target.head(None));
            // Its query is the caller's own, and only the head leaves it out.
            assert!(!target.head(None).contains("hunter2") && shown.contains("PUT"), "{shown}");
            assert!(target.head(None).starts_with("PUT /?*** HTTP/1.1\nhost: a\n"));
        }
        for (login, words) in [
            (Login::Basic(file("hunter2")), "--basic-file: it has to hold user:password"),
            (Login::Bearer(file("")), "--bearer-file: the secret is empty"),
            (Login::Bearer(file("hunter2\nx")), "control character"),
            (Login::Key("Host".to_owned(), file("hunter2")), "--api-key-header"),
            (Login::Bearer(Place::Variable("WSP_NO_SUCH_VARIABLE".to_owned())), "WSP_NO_SUCH_VARIABLE"),
        ] {
            let error = with(login).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn fixed_headers_are_for_all_requests() {
        let templates = [Template::new("Content-Type: text/plain").unwrap(), Template::new("X: {id}").unwrap()];
        let target = Target::new("http://a", "PATCH", &templates, &[]).unwrap();
        assert_eq!(target.head(None), "PATCH / HTTP/1.1\nhost: a\ncontent-type: text/plain\n");
        target.endpoint().unwrap();
        assert!(Target::new("http://a", "GET", &[], &[]).unwrap_err().to_string().contains("--method"));
    }
}

//! An S3 server in this process: as much of the protocol as the store uses, and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use wsp::store::{Backoff, S3Credentials, S3Options, S3Store};
use wsp_world::model::Secret;

pub(crate) const BUCKET: &str = "world";
pub(crate) const KEY_ID: &str = "AKIAFAKE";
pub(crate) const KEY: &str = "hunter2hunter2";

/// What happens to one request in place of the usual.
pub(crate) enum Fault {
    /// Answered so, with nothing done.
    Answer(u16, &'static str),
    /// The connection is closed with nothing done.
    Cut,
    /// Done, and the connection closed.
    Lost,
    /// The body breaks off after so many bytes.
    Short(usize),
    /// No answer ever.
    Stuck,
    /// Done without a look at its conditions and its range.
    Careless,
    /// Something else is done first.
    Meanwhile(Box<dyn FnOnce(&mut Objects) + Send>),
}

pub(crate) type Objects = BTreeMap<String, Bytes>;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) range: Option<String>,
    pub(crate) if_match: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    faults: VecDeque<(Method, Fault)>,
    pub(crate) seen: Vec<Seen>,
}

/// The server; runs as long as the test's runtime.
pub(crate) struct FakeS3 {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

impl FakeS3 {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(state.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { endpoint, state }
    }

    /// A store on this server that waits no longer than a test wants to.
    pub(crate) fn store(&self, prefix: &str) -> S3Store {
        S3Store::open(&format!("s3://{BUCKET}{prefix}"), self.options()).unwrap()
    }

    pub(crate) fn options(&self) -> S3Options {
        let short = std::time::Duration::from_millis(2);
        S3Options {
            endpoint: Some(self.endpoint.parse().unwrap()),
            path_style: true,
            credentials: S3Credentials::Keys { id: Secret::new(KEY_ID), key: Secret::new(KEY), session_token: None },
            retry: Backoff { attempts: 3, base: short, max: short },
            conflict: Backoff { attempts: 30, base: short, max: 5 * short },
            ..S3Options::default()
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next request of this method meets this fault; further faults wait for further requests.
    pub(crate) fn fault(&self, method: Method, fault: Fault) {
        self.state().faults.push_back((method, fault));
    }

    /// The requests of this method so far.
    pub(crate) fn seen(&self, method: &Method) -> Vec<Seen> {
        self.state().seen.iter().filter(|seen| seen.method == method).cloned().collect()
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let fault = {
        let mut state = state.lock().unwrap();
        let header =
            |name| head.headers.get(name).map(|value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned());
        let seen = Seen { method: head.method.clone(), range: header("range"), if_match: header("if-match") };
        state.seen.push(seen);
        let due = state.faults.iter().position(|(method, _)| *method == head.method);
        due.and_then(|due| state.faults.remove(due)).map(|(_, fault)| fault)
    };
    let usual = |headers: &HeaderMap| {
        let mut state = state.lock().unwrap();
        handle(&mut state.objects, &head.method, &head.uri, headers, body.clone())
    };
    match fault {
        None => Ok(usual(&head.headers)),
        Some(Fault::Answer(status, code)) => Ok(error(status, code)),
        Some(Fault::Cut) => Err(io::Error::other("cut")),
        Some(Fault::Lost) => {
            usual(&head.headers);
            Err(io::Error::other("lost"))
        }
        Some(Fault::Short(bytes)) => {
            let (mut parts, body) = usual(&head.headers).into_parts();
            let body = body.collect().await?.to_bytes();
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
            let frames =
                stream::once(std::future::ready(Ok(Frame::data(body.slice(..bytes))))).chain(stream::once(async {
                    // Time for what is there to go out; a server that fails at once sends nothing at all.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    Err(io::Error::other("short"))
                }));
            Ok(Response::from_parts(parts, BodyExt::boxed(StreamBody::new(frames))))
        }
        Some(Fault::Stuck) => std::future::pending().await,
        Some(Fault::Careless) => {
            let mut headers = head.headers.clone();
            for name in ["range", "if-match", "if-none-match"] {
                headers.remove(name);
            }
            Ok(usual(&headers))
        }
        Some(Fault::Meanwhile(change)) => {
            change(&mut state.lock().unwrap().objects);
            Ok(usual(&head.headers))
        }
    }
}

fn handle(objects: &mut Objects, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Answer {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    if uri.path() == "/container-credentials" {
        let text = format!(
            r#"{{"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{KEY}","Token":"t","Expiration":"2999-01-01T00:00:00Z"}}"#
        );
        return reply(200, text.into(), &[]);
    }
    // The kinds of header that S3-compatible servers stumble over.
    let checksum = |name: &HeaderName| name.as_str().contains("checksum") || name.as_str() == "x-amz-trailer";
    let signed = header("authorization").is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 Credential=AKIAFAKE/"));
    if headers.keys().any(checksum) || !signed {
        return error(400, "InvalidRequest");
    }
    let path = decoded(uri.path());
    let Some(rest) = path.strip_prefix(&format!("/{BUCKET}")) else { return error(404, "NoSuchBucket") };
    let name = rest.trim_start_matches('/').to_owned();
    let found = objects.get(&name).cloned();
    match *method {
        Method::GET if name.is_empty() => list(objects, uri.query().unwrap_or_default()),
        Method::GET | Method::HEAD => {
            let Some(object) = found else {
                return if method == Method::HEAD { reply(404, Bytes::new(), &[]) } else { error(404, "NoSuchKey") };
            };
            let tag = tag_of(&object);
            if header("if-match").is_some_and(|wanted| wanted != tag) {
                return error(412, "PreconditionFailed");
            }
            let size = object.len();
            let Some(range) = header("range") else {
                let mut answer = reply(200, object, &[("etag", tag)]);
                if method == Method::HEAD {
                    answer.headers_mut().insert(CONTENT_LENGTH, size.into());
                }
                return answer;
            };
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last) = (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
            if first >= size {
                return error(416, "InvalidRange");
            }
            let end = size.min(last + 1);
            let range = format!("bytes {first}-{}/{size}", end - 1);
            reply(206, object.slice(first..end), &[("etag", tag), ("content-range", range)])
        }
        Method::PUT => {
            if header("if-none-match").is_some() && found.is_some() {
                return error(412, "PreconditionFailed");
            }
            match (header("if-match"), found) {
                (Some(_), None) => return error(404, "NoSuchKey"),
                (Some(wanted), Some(object)) if wanted != tag_of(&object) => return error(412, "PreconditionFailed"),
                _ => {}
            }
            let tag = tag_of(&body);
            objects.insert(name, body);
            reply(200, Bytes::new(), &[("etag", tag)])
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

/// `ListObjectsV2`; a page holds three entries, so that every listing of a test has several.
fn list(objects: &Objects, query: &str) -> Answer {
    let argument = |name: &str| {
        let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        found.map(|(_, value)| decoded(&value.replace('+', " ")))
    };
    let prefix = argument("prefix").unwrap_or_default();
    let after = argument("continuation-token").unwrap_or_default();
    let most = argument("max-keys").map_or(1000, |text| text.parse::<usize>().unwrap()).min(3);
    let mut entries: Vec<(String, Option<usize>)> = Vec::new();
    for (name, object) in objects.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
        let entry = match name[prefix.len()..].split_once('/') {
            Some((folder, _)) => (format!("{prefix}{folder}/"), None),
            None => (name.clone(), Some(object.len())),
        };
        if entry.0 > after && entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let more = entries.len() > most;
    entries.truncate(most);
    let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    if let Some((last, _)) = entries.last().filter(|_| more) {
        write!(text, "<NextContinuationToken>{}</NextContinuationToken>", escaped(last)).unwrap();
    }
    for (name, size) in &entries {
        let name = escaped(name);
        match size {
            Some(size) => write!(text, "<Contents><Key>{name}</Key><Size>{size}</Size></Contents>").unwrap(),
            None => write!(text, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>").unwrap(),
        }
    }
    text.push_str("</ListBucketResult>");
    reply(200, text.into(), &[])
}

/// An error as S3 puts it; the message repeats the access key, as some servers do.
fn error(status: u16, code: &str) -> Answer {
    reply(status, format!("<Error><Code>{code}</Code><Message>{KEY_ID} may not</Message></Error>").into(), &[])
}

fn reply(status: u16, body: Bytes, headers: &[(&str, String)]) -> Answer {
    let builder =
        headers.iter().fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, value));
    builder.body(Full::new(body).map_err(|never: Infallible| match never {}).boxed()).unwrap()
}

fn tag_of(object: &[u8]) -> String {
    let hash = Sha256::digest(object);
    hash[..16].iter().fold("\"".to_owned(), |text, byte| format!("{text}{byte:02x}")) + "\""
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

//! The listener: metrics for Prometheus, probes for an orchestrator, page and status for people.
//!
//! ```text
//! GET /metrics ──► families ──► text        GET /livez  ──► 200 while the runtime runs
//! GET /status  ──► Status ──► JSON          GET /readyz ──► 200, or 503 with the part that isn't ready
//! GET /        ──► page ──► HTML            GET /page.css, /page.js, /icon.svg ──► what the page is made with
//! ```
//!
//! It runs on the service's own runtime, so an answer shows that this runtime is alive.
//!
//! There is no login. Each peer therefore gets a share of the connections, and each connection a bounded time: probes from
//! other addresses are answered whatever one peer does.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wsp::clock::Clock;
use wsp::telemetry::prometheus;
use wsp_world::telemetry::Telemetry;

use crate::page::{self, Page};
use crate::peers::Peers;
use crate::readiness::Readiness;
use crate::status::StatusPage;

/// Most connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// Most connections of one peer at once; further ones are closed. Prometheus and a kubelet have three at most.
const SHARE: usize = 8;
/// How long a peer may take to send its request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may take in all: its head, the answer (which waits for the parts), and reading it.
const CONNECTION: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Between two samples of the run's progress.
const LOOK: Duration = Duration::from_secs(1);

/// A running listener. It ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    tasks: Vec<AbortHandle>,
}

/// What a producer answers to requests.
pub trait Answers: Send + Sync + 'static {
    /// The answer to GET or HEAD of a path.
    fn get(&self, path: &str) -> impl Future<Output = Answer> + Send;
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    /// With this status, type and body.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    /// A line of text.
    #[must_use]
    pub fn text(status: StatusCode, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.to_owned())
    }

    /// A value as JSON.
    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self::new(status, "application/json", body + "\n"),
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let Self { status, content_type, body } = self;
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.extend(guards().map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

struct Desk<C> {
    telemetry: Telemetry,
    readiness: Readiness<C>,
    clock: C,
    page: Page,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Where the address can't be bound.
    pub async fn start<C: Clock>(
        address: SocketAddr,
        telemetry: Telemetry,
        readiness: Readiness<C>,
        clock: C,
    ) -> io::Result<Self> {
        let desk = Desk { telemetry: telemetry.clone(), readiness, clock: clock.clone(), page: Page::default() };
        let mut listener = Self::serving(address, desk, clock.clone()).await?;
        listener.tasks.push(tokio::spawn(sample(telemetry, clock)).abort_handle());
        Ok(listener)
    }

    /// Listens on `address` with the answers of any producer; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Where the address can't be bound.
    pub async fn serving(address: SocketAddr, answers: impl Answers, clock: impl Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(accept(listener, Arc::new(answers), clock)).abort_handle();
        Ok(Self { address, tasks: vec![serving] })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Samples progress, so that the first request for the status has rates.
async fn sample<C: Clock>(telemetry: Telemetry, clock: C) {
    loop {
        telemetry.look(&clock);
        clock.sleep_until(clock.now() + LOOK).await;
    }
}

async fn accept(listener: TcpListener, answers: Arc<impl Answers>, clock: impl Clock) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Peers::new(SHARE);
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(share) = peers.admit(peer.ip()) else {
                    tracing::debug!(%peer, "a connection to the telemetry listener was closed: the peer has too many");
                    continue;
                };
                let answers = answers.clone();
                tokio::spawn(async move {
                    serve(stream, answers).await;
                    drop((place, share));
                });
            }
            // Too many open files is temporary; an immediate retry would only burn CPU.
            Err(error) => {
                tracing::debug!(%error, "a connection to the telemetry listener could not be accepted");
                clock.sleep_until(clock.now() + LOOK).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, answers: Arc<impl Answers>) {
    let service = service_fn(move |request| answer(request, answers.clone()));
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(HEAD_BYTES);
    let serving = connection.serve_connection(TokioIo::new(stream), service);
    // An error here is a peer that disconnected, sent no request, or does not read its answer.
    let _ = timeout(CONNECTION, serving).await;
}

async fn answer(request: Request<Incoming>, answers: Arc<impl Answers>) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n").response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    Ok(answers.get(request.uri().path()).await.response())
}

impl<C: Clock> Answers for Desk<C> {
    async fn get(&self, path: &str) -> Answer {
        match path {
            "/metrics" => {
                // The metric of each part has to be current, also where nobody else asks.
                self.readiness.report().await;
                let body = prometheus::text(&self.telemetry.families(&self.clock));
                Answer::new(StatusCode::OK, prometheus::CONTENT_TYPE, body)
            }
            "/livez" => Answer::text(StatusCode::OK, "alive\n"),
            "/readyz" => {
                let report = self.readiness.report().await;
                let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Answer::json(status, &report)
            }
            "/status" => {
                let readiness = self.readiness.report().await;
                let page = StatusPage { status: self.telemetry.status_with_lanes(&self.clock).await, readiness };
                Answer::json(StatusCode::OK, &page)
            }
            "/" => match self.page.html(&self.telemetry, &self.readiness, &self.clock).await {
                Ok(page) => Answer::new(StatusCode::OK, "text/html; charset=utf-8", page),
                Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the page: {error}\n")),
            },
            "/page.css" => Answer::new(StatusCode::OK, "text/css; charset=utf-8", page::style()),
            "/page.js" => Answer::new(StatusCode::OK, "text/javascript; charset=utf-8", page::SCRIPT),
            "/icon.svg" => Answer::new(StatusCode::OK, "image/svg+xml", page::ICON),
            _ => Answer::text(StatusCode::NOT_FOUND, "there is /, /metrics, /livez, /readyz and /status\n"),
        }
    }
}

/// Headers of every answer: no caching, no content but the page's own files, no sniffing of types, no referrer.
fn guards() -> [(HeaderName, &'static str); 5] {
    [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, page::POLICY),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
}

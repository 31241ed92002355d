//! The gate over HTTP: a hyper connection a channel, driven by the channel itself.
//!
//! ```text
//! Event ──► request ──► Link (hyper, Wire) ──► status, Retry-After, body ──► Attempt
//! circuit ──ask──► GET health, on a connection of its own ──► up, or what is wrong
//! ```
//!
//! There is no pool and no task a connection: whoever waits for the answer polls the connection. That
//! saves the two wake-ups an answer that go through a connection task, and lets a closed connection be
//! noticed right before it would be used.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Uri};
use rustls::ClientConfig;

use super::endpoint::Endpoint;
use super::gate::{Answer, Attempt, Gate, GateChannel};
use super::health::{Health, Probe, ProbeError};
use super::retry_after::retry_after;
use super::timer::Timer;
use super::wire::{self, Wire};
use crate::clock::Clock;
use crate::model::Event;
use crate::telemetry::{TraceMark, trace_mark};

/// The most of an answer's body that is read, in bytes.
const BODY_LIMIT: usize = 1 << 20;

/// How long the gate may take to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// An Ingestion Gate over HTTP/1.1, plain or TLS. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct HttpGate<C> {
    settings: Arc<Settings<C>>,
}

#[derive(Debug, Clone)]
struct Settings<C> {
    clock: C,
    endpoint: Endpoint,
    uri: Uri,
    tls: Option<Arc<ClientConfig>>,
    attempt_timeout: Duration,
    idle_limit: Duration,
    trace: TraceMark,
}

impl<C: Clock> HttpGate<C> {
    /// A gate whose certificate, if its URL is https, the platform's trust has to vouch for.
    ///
    /// # Errors
    ///
    /// If the platform's trust can't be loaded.
    pub fn new(endpoint: Endpoint, clock: C) -> Result<Self, rustls::Error> {
        let tls = if endpoint.tls { Some(Arc::new(wire::platform_tls()?)) } else { None };
        Ok(Self::build(endpoint, clock, tls))
    }

    /// A gate with a TLS configuration of the caller's, used if its URL is https. Its ALPN list has to be
    /// empty or hold `http/1.1` alone.
    #[must_use]
    pub fn with_tls(endpoint: Endpoint, clock: C, tls: Arc<ClientConfig>) -> Self {
        let tls = endpoint.tls.then_some(tls);
        Self::build(endpoint, clock, tls)
    }

    fn build(endpoint: Endpoint, clock: C, tls: Option<Arc<ClientConfig>>) -> Self {
        let uri = Uri::from(endpoint.path.clone());
        let attempt_timeout = Duration::from_secs(30);
        // Below the 60 s after which load balancers drop idle connections.
        let idle_limit = Duration::from_secs(50);
        let trace = TraceMark::default();
        Self { settings: Arc::new(Settings { clock, endpoint, uri, tls, attempt_timeout, idle_limit, trace }) }
    }

    /// How long an attempt may last: connection, request and answer together (30 s unless told).
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.settings).attempt_timeout = timeout;
        self
    }

    /// Marks requests by the trace they belong to, while there is one.
    #[must_use]
    pub fn traced(mut self, trace: TraceMark) -> Self {
        Arc::make_mut(&mut self.settings).trace = trace;
        self
    }

    /// Somebody to ask the same gate how it is, under the same TLS configuration.
    ///
    /// # Errors
    ///
    /// If TLS can't be set up.
    pub fn probe(&self) -> Result<Probe, ProbeError> {
        Probe::new(self.settings.endpoint.clone(), self.settings.tls.as_deref())
    }

    /// How long a connection may lie idle and still be used (50 s unless told).
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.settings).idle_limit = limit;
        self
    }
}

impl<C: Clock> Gate for HttpGate<C> {
    type Channel = HttpChannel<C>;

    fn channel(&self) -> Self::Channel {
        HttpChannel { settings: self.settings.clone(), link: None, timer: Timer::new(self.settings.clock.clone()) }
    }
}

/// One connection to an [`HttpGate`], made when it is needed.
pub struct HttpChannel<C> {
    settings: Arc<Settings<C>>,
    link: Option<Box<Link>>,
    timer: Timer<C>,
}

impl<C: Clock> GateChannel for HttpChannel<C> {
    async fn push(&mut self, event: &Event) -> Attempt {
        let Self { settings, link, timer } = self;
        let started = settings.clock.now();
        let deadline = started + settings.attempt_timeout;
        let answered = within(timer, deadline, attempt(settings, link, event, started, deadline)).await;
        answered.unwrap_or_else(|| {
            // The answer may still come, and must not be taken for that of the next event.
            *link = None;
            Attempt::TimedOut
        })
    }

    /// Over a connection of its own: the channel's may be what is wrong.
    async fn ask(&mut self) -> Result<(), String> {
        let Self { settings, timer, .. } = self;
        let deadline = settings.clock.now() + HEALTH_TIMEOUT;
        let answered = within(timer, deadline, health(settings, deadline)).await;
        answered.unwrap_or_else(|| Err("health: no answer in time".to_owned()))
    }
}

/// What `work` comes to, unless `deadline` comes before it.
async fn within<C: Clock, T>(timer: &mut Timer<C>, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => timer.poll(cx, deadline).map(|()| None),
    })
    .await
}

/// Whether the gate may be tried with an event: not if nobody answers, not on an answer that asks for another try,
/// and not if it says itself that it is `RED`. A gate without this question, or with other words, is tried.
async fn health<C: Clock>(settings: &Settings<C>, deadline: Duration) -> Result<(), String> {
    let mut link = Link::connect(settings, deadline).await.map_err(|cause| format!("health: {cause}"))?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = Uri::from(settings.endpoint.health.clone());
    *request.headers_mut() = settings.endpoint.headers.clone();
    let Exchange { status, body, .. } =
        link.exchange(request).await.map_err(|error| format!("health: {}", chain(&error)))?;
    match serde_json::from_slice::<Health>(&body) {
        _ if matches!(status, 408 | 429 | 500..=599) => Err(format!("health: status {status}")),
        Ok(health) if health.state == "RED" => Err(format!("health: RED {}", health.reasons.join(", "))),
        _ => Ok(()),
    }
}

async fn attempt<C: Clock>(
    settings: &Settings<C>,
    slot: &mut Option<Box<Link>>,
    event: &Event,
    now: Duration,
    deadline: Duration,
) -> Attempt {
    // Taken out of its slot, the connection is closed by every way out of here but the last.
    let mut link = match usable(slot.take(), now, settings.idle_limit).await {
        Some(link) => link,
        None => match Link::connect(settings, deadline).await {
            Ok(link) => Box::new(link),
            Err(cause) => return Attempt::ConnectFailed(cause),
        },
    };
    let mut request = Request::new(Full::new(event.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = settings.uri.clone();
    *request.headers_mut() = settings.endpoint.headers.clone();
    if let Some(value) = settings.trace.header(&event.event_id).and_then(|mark| HeaderValue::from_bytes(&mark).ok()) {
        request.headers_mut().insert(trace_mark::HEADER, value);
    }
    match link.exchange(request).await {
        Ok(exchange) => {
            let retry_after = exchange.refused.and_then(|head| {
                let text = |name| head.get(name)?.to_str().ok();
                retry_after(text(RETRY_AFTER)?, text(DATE), || settings.clock.utc())
            });
            if exchange.keep {
                link.used = settings.clock.now();
                *slot = Some(link);
            }
            Attempt::Answered(Answer { status: exchange.status, retry_after, body: exchange.body })
        }
        Err(error) => Attempt::ConnectionLost(chain(&error)),
    }
}

async fn usable(link: Option<Box<Link>>, now: Duration, idle_limit: Duration) -> Option<Box<Link>> {
    let mut link = link?;
    if now.saturating_sub(link.used) > idle_limit {
        return None;
    }
    poll_fn(|cx| link.poll_ready(cx)).await.then_some(link)
}

/// A live connection. It is boxed where it is kept, because hyper's part of it is large and moves with every event.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<Wire, Full<Bytes>>,
    /// When its last answer came.
    used: Duration,
}

/// An answer with what decides over the connection's future.
struct Exchange {
    status: u16,
    /// The head of an answer that is no success.
    refused: Option<HeaderMap>,
    body: Bytes,
    keep: bool,
}

impl Link {
    async fn connect<C: Clock>(settings: &Settings<C>, deadline: Duration) -> Result<Self, String> {
        let endpoint = &settings.endpoint;
        let wire = wire::connect(&endpoint.host, endpoint.port, settings.tls.as_ref(), &settings.clock, deadline)
            .await
            .map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(wire).await.map_err(|error| chain(&error))?;
        Ok(Self { sender, connection, used: Duration::ZERO })
    }

    /// Whether a request may be sent; `false` once the peer has closed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if Pin::new(&mut self.connection).poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(cx).map(|ready| ready.is_ok())
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Exchange, hyper::Error> {
        let Self { sender, connection, .. } = self;
        // Unconstrained, because it is polled with a waker that wakes nobody: a pause for the scheduler's
        // sake would never end.
        let mut answer = pin!(tokio::task::unconstrained(receive(sender.send_request(request))));
        let mut closed = None;
        poll_fn(|cx| {
            if closed.is_none()
                && let Poll::Ready(end) = Pin::new(&mut *connection).poll(cx)
            {
                closed = Some(end);
            }
            // All that the answer waits for comes out of polling the connection, which was just done: a
            // waker of its own would only wake this task a second time.
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(mut exchange)) => {
                    exchange.keep &= closed.is_none();
                    Poll::Ready(Ok(exchange))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(match closed.take() {
                    Some(Err(cause)) => cause,
                    _ => error,
                })),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

async fn receive(
    response: impl Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>>,
) -> hyper::Result<Exchange> {
    let (parts, mut incoming) = response.await?.into_parts();
    let mut keep = true;
    let mut whole = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let have = whole.len() + more.len();
        let room = BODY_LIMIT - have;
        if have == 0 {
            // Most answers come in one piece, which is passed on as it is.
            whole = data.slice(..data.len().min(room));
        } else {
            more.extend_from_slice(&data[..data.len().min(room)]);
        }
        if data.len() > room {
            keep = false;
            break;
        }
    }
    if !more.is_empty() {
        whole = [whole, more.freeze()].concat().into();
    }
    let refused = (!parts.status.is_success()).then_some(parts.headers);
    Ok(Exchange { status: parts.status.as_u16(), refused, body: whole, keep })
}

/// An error with its causes: hyper tells the cause of most things only one level down.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;

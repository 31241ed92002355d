//! The gate's sockets: hyper on a thread of its own, the desk behind a lock.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use wsp::clock::{Clock, SystemClock};
use wsp::pem;
use wsp::stop::Stop;
use wsp_world::model::Secret;

use super::desk::{Action, Desk, Pending, Reply};
use super::envelope::{Envelope, hex32};
use super::journal::JournalFile;
use super::ledger::Ledger;
use super::stats::GateStats;
use super::{GateOptions, GateStyle, answer};

/// The largest body, 1 MiB (contract, section 6).
const MAX_BODY: usize = 1 << 20;
const PUSH: &str = "/v1/ingest/push";
const HEALTH: &str = "/v1/ops/health";
const LOOKUP: &str = "/v1/ops/lookup";

/// Starts gates.
#[derive(Debug)]
pub struct GateServer;

impl GateServer {
    /// Binds and serves, on a thread of its own. The gate is up when this returns.
    ///
    /// # Errors
    ///
    /// If the address can't be bound, the header name is invalid, the journal can't be opened or is not a journal, or
    /// certificate and key can't be used.
    pub fn start(options: GateOptions) -> io::Result<GateHandle> {
        let invalid = |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let header = HeaderName::from_bytes(options.api_key_header.as_bytes()).map_err(|error| invalid(&error))?;
        let tls = options.tls.as_ref().map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        let mut desk = Desk::new(options.faults, options.seed, options.style, options.any_event_type);
        if let Some(path) = &options.journal {
            desk.journal = Some(JournalFile::open(path, &mut desk.ledger)?);
        }
        desk.eager = options.journal_before_answer;
        let faulty = desk.faulty();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            let socket = if options.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(options.listen)?;
            socket.listen(4096)?
        };
        let addr = listener.local_addr()?;
        let stop = Stop::new();
        let shared = Arc::new(Shared {
            desk: Mutex::new(desk),
            header,
            key: options.api_key,
            close: options.close_after_answer,
            style: options.style,
            tls,
            faulty,
            clock: SystemClock::new(),
            origin: Mutex::new(None),
        });
        let (serve, until) = (shared.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("reference-gate".to_owned()).spawn(move || {
            runtime.block_on(accept(listener, serve.clone(), until));
            // Dropping the runtime closes the connections; what they decided is in the journal's buffer by then.
            drop(runtime);
            serve.desk().flush();
        })?;
        Ok(GateHandle { addr, shared, stop, thread: Some(thread) })
    }
}

/// A running gate. Dropping it stops it.
pub struct GateHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl GateHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://…` or `https://…`, as a profile's `ig_ingest_url` has it.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// What it counted so far.
    #[must_use]
    pub fn stats(&self) -> GateStats {
        self.shared.desk().stats
    }

    /// Reads what it admitted. The gate answers no request meanwhile.
    pub fn journal<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.shared.desk().ledger)
    }

    /// Asks it to stop and returns at once; connections are closed soon after.
    pub fn stop_serving(&self) {
        self.stop.request();
    }

    /// Stops it: connections are closed, the journal is flushed.
    ///
    /// # Errors
    ///
    /// The first error of writing the journal.
    pub fn shutdown(mut self) -> io::Result<GateStats> {
        self.end();
        let mut desk = self.shared.desk();
        match desk.journal_error.take() {
            Some(error) => Err(error),
            None => Ok(desk.stats),
        }
    }

    fn end(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl Drop for GateHandle {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for GateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

struct Shared {
    desk: Mutex<Desk>,
    header: HeaderName,
    key: Secret,
    close: bool,
    style: GateStyle,
    tls: Option<TlsAcceptor>,
    faulty: bool,
    clock: SystemClock,
    /// When the first request came; only asked for where faults depend on it.
    origin: Mutex<Option<Duration>>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        if !self.faulty {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let mut origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_sub(*origin.get_or_insert(now))
    }

    fn knows(&self, request: &Request<Incoming>) -> bool {
        request.headers().get(&self.header).is_some_and(|key| key.as_bytes() == self.key.expose().as_bytes())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: Stop) {
    let mut flush = tokio::time::interval(Duration::from_secs(1));
    let stopped = stop.wait();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return,
            _ = flush.tick() => shared.desk().flush(),
            accepted = listener.accept() => {
                // An accept that fails (the peer is gone, too many files) says nothing about the next one.
                if let Ok((stream, _)) = accepted {
                    shared.desk().stats.connections += 1;
                    tokio::spawn(serve(stream, shared.clone()));
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small answers wait for the peer's delayed acknowledgement; the answer is right either way.
    let _ = stream.set_nodelay(true);
    match shared.tls.clone() {
        None => spoken_to(stream, shared).await,
        Some(tls) => {
            // A peer that does not trust us leaves here.
            if let Ok(stream) = tls.accept(stream).await {
                spoken_to(stream, shared).await;
            }
        }
    }
}

async fn spoken_to(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| handle(request, shared.clone()));
    // An error here is a peer that left, or a cut of our own.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let named = |path: &Path, error: &dyn fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", path.display()))
    };
    let chain = pem::certificates(certificate).map_err(|error| named(certificate, &error))?;
    let read = pem::private_key(key).map_err(|error| named(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, read))
        .map_err(|error| named(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on request")
    }
}

impl std::error::Error for Cut {}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<AnswerBody>, Cut> {
    shared.desk().stats.requests += 1;
    let reply = match (request.method(), request.uri().path()) {
        (&Method::POST, PUSH) => match push(request, &shared).await {
            Action::Answer(reply) => reply,
            Action::Cut => return Err(Cut),
            Action::Hang => std::future::pending().await,
            Action::Half(reply) => return Ok(response(reply, &shared, true)),
        },
        (&Method::GET, HEALTH | LOOKUP) if !shared.knows(&request) => unauthorized(&shared),
        (&Method::GET, HEALTH) => {
            let elapsed = shared.elapsed();
            shared.desk().health(elapsed)
        }
        (&Method::GET, LOOKUP) if shared.style == GateStyle::Edge => {
            Reply::new(501, br#"{"error":"not_supported"}"#.as_slice())
        }
        (&Method::GET, LOOKUP) => lookup(&request, &shared),
        // Of the edge a route is path and method together.
        _ if shared.style == GateStyle::Edge => {
            shared.desk().stats.unreadable += 1;
            Reply::new(404, br#"{"error":"route_not_found"}"#.as_slice())
        }
        (_, PUSH | HEALTH | LOOKUP) => unreadable(&shared, 405, "METHOD_NOT_ALLOWED"),
        _ => unreadable(&shared, 404, "NOT_FOUND"),
    };
    Ok(response(reply, &shared, false))
}

async fn push(request: Request<Incoming>, shared: &Arc<Shared>) -> Action {
    let known = shared.knows(&request);
    let body = match whole(request.into_body()).await {
        Ok(body) => body,
        Err(Unfinished::TooLarge) => return Action::Answer(unreadable(shared, 413, "PAYLOAD_TOO_LARGE")),
        Err(Unfinished::Gone) => return Action::Cut,
    };
    let read = Envelope::read(&body);
    // IG reads the body before it looks at the key: bad JSON is 400 without one (golden cases).
    if !known && !matches!(read, Err(super::envelope::Unreadable::NotJson(_))) {
        return Action::Answer(unauthorized(shared));
    }
    let envelope = match read {
        Ok(envelope) => envelope,
        Err(problem) => return Action::Answer(shared.desk().refuse(&problem)),
    };
    let elapsed = shared.elapsed();
    let pending = {
        let mut desk = shared.desk();
        let pending = desk.accept(&envelope, elapsed);
        if pending.latency.is_zero() {
            let action = desk.decide(&envelope, &pending);
            desk.leave(&pending);
            return action;
        }
        pending
    };
    let inside = Inside { pending, shared };
    shared.clock.sleep_until(shared.clock.now() + inside.pending.latency).await;
    shared.desk().decide(&envelope, &inside.pending)
}

/// An event in the gate. Dropping it takes the event out, whether it was answered or its sender disconnected.
struct Inside<'a> {
    pending: Pending,
    shared: &'a Shared,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.shared.desk().leave(&self.pending);
    }
}

enum Unfinished {
    TooLarge,
    Gone,
}

/// The whole body; not copied where it arrived in one piece, as small ones do.
async fn whole(mut body: Incoming) -> Result<Bytes, Unfinished> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unfinished::Gone)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > MAX_BODY {
            return Err(Unfinished::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn lookup(request: &Request<Incoming>, shared: &Shared) -> Reply {
    let query = request.uri().query().unwrap_or_default();
    let id = query.split('&').find_map(|pair| pair.strip_prefix("event_id="));
    match id.map(hex32) {
        None => Reply::new(400, br#"{"error":"MISSING_QUERY"}"#.as_slice()),
        Some(id) => match id.and_then(|id| shared.desk().lookup(&id)) {
            Some(body) => Reply::new(200, body),
            None => Reply::new(404, br#"{"error":"NOT_FOUND"}"#.as_slice()),
        },
    }
}

fn unauthorized(shared: &Shared) -> Reply {
    shared.desk().stats.unauthorized += 1;
    Reply::new(401, answer::error("UNAUTHORIZED", None))
}

fn unreadable(shared: &Shared, status: u16, error: &str) -> Reply {
    shared.desk().stats.unreadable += 1;
    Reply::new(status, answer::error(error, None))
}

fn response(reply: Reply, shared: &Shared, half: bool) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody { data: Some(reply.body), half });
    // Statuses are constants here or were checked when the faults were parsed.
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = reply.retry_after.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(RETRY_AFTER, after);
    }
    if shared.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that is whole, or breaks off in the middle of what its length promised.
#[derive(Debug)]
struct AnswerBody {
    data: Option<Bytes>,
    half: bool,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let half = self.half;
        Poll::Ready(match self.data.take() {
            Some(data) if half => Some(Ok(Frame::data(data.slice(..data.len() / 2)))),
            Some(data) => Some(Ok(Frame::data(data))),
            None if half => Some(Err(Cut)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && !self.half
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

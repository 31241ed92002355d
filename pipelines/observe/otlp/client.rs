//! Posts spans and metrics, on a thread of its own: a run never waits for a collector.
//!
//! ```text
//! spans ──a second or 512 of them──► encode ─┐
//! metrics ───────────────────────────────────┴─► POST, again after 429, 502, 503, 504 or no answer, within the timeout
//! ```

use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{TlsFiles, unused_tls};
use wsp::telemetry::Family;
use wsp_world::model::Micros;

use super::encode;
use super::env::{Endpoint, Settings};
use super::span::SpanData;

/// What may wait; anything further is given up at once.
const WAITING: usize = 4096;
/// Spans that go out together at most.
const TOGETHER: usize = 512;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Before the first repetition; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);

enum Job {
    Span(Box<SpanData>),
    Metrics {
        families: Vec<Family>,
        started: Micros,
    },
    /// Says when all that came before has been sent or given up.
    Flush(oneshot::Sender<()>),
}

/// Who hands over. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Client {
    jobs: mpsc::Sender<Job>,
}

impl Client {
    /// Starts the thread; it ends when the last clone is dropped.
    pub(super) fn start(settings: Settings) -> Result<Self, String> {
        let tls = TlsFiles::default().client_config().or_else(|_| unused_tls()).map_err(|error| error.to_string())?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (jobs, waiting) = mpsc::channel(WAITING);
        let work = async move {
            let clock = SystemClock::new();
            Worker { http, clock, settings, failing: false }.run(waiting).await;
        };
        std::thread::Builder::new()
            .name("wsp-otlp".to_owned())
            .spawn(move || runtime.block_on(work))
            .map_err(|error| error.to_string())?;
        Ok(Self { jobs })
    }

    pub(super) fn span(&self, span: SpanData) {
        // Too many wait: the collector is away, and the log says so.
        let _ = self.jobs.try_send(Job::Span(Box::new(span)));
    }

    pub(super) fn metrics(&self, families: Vec<Family>, started: Micros) {
        let _ = self.jobs.try_send(Job::Metrics { families, started });
    }

    /// Resolves when all that came before has been sent or given up.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // An error is a thread that has ended; there is nothing to wait for then.
            let _ = flushed.await;
        }
    }
}

struct Worker {
    http: reqwest::Client,
    clock: SystemClock,
    settings: Settings,
    /// The last export failed, and the log says so.
    failing: bool,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut spans = Vec::new();
        while let Some(job) = waiting.recv().await {
            let mut next = Some(job);
            let gathered = self.clock.now() + GATHER;
            while let Some(job) = next {
                match job {
                    Job::Span(span) => spans.push(*span),
                    Job::Metrics { families, started } => self.send_metrics(&families, started).await,
                    Job::Flush(done) => {
                        self.send_spans(&mut spans).await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    }
                }
                next = match waiting.try_recv() {
                    Ok(job) => Some(job),
                    Err(TryRecvError::Empty) if !spans.is_empty() && spans.len() < TOGETHER => {
                        tokio::select! {
                            job = waiting.recv() => job,
                            () = self.clock.sleep_until(gathered) => None,
                        }
                    }
                    Err(_) => None,
                };
            }
            self.send_spans(&mut spans).await;
        }
    }

    async fn send_spans(&mut self, spans: &mut Vec<SpanData>) {
        let Some(endpoint) = self.settings.traces.clone() else { return spans.clear() };
        for together in std::mem::take(spans).chunks(TOGETHER) {
            self.send(&endpoint, encode::spans(&self.settings.resource, together)).await;
        }
    }

    async fn send_metrics(&mut self, families: &[Family], started: Micros) {
        let Some(endpoint) = self.settings.metrics.clone() else { return };
        let body = encode::metrics(&self.settings.resource, families, started, self.clock.utc());
        self.send(&endpoint, body).await;
    }

    async fn send(&mut self, endpoint: &Endpoint, body: Vec<u8>) {
        let taken = self.post(endpoint, body.into()).await;
        // Once an outage: whoever reads the log wants to know, not to be flooded.
        if !taken && !self.failing {
            tracing::warn!(url = %endpoint.url, "a collector does not take telemetry; the run goes on without");
        }
        self.failing = !taken;
    }

    async fn post(&self, endpoint: &Endpoint, body: bytes::Bytes) -> bool {
        let give_up = self.clock.now() + endpoint.timeout;
        let mut pause = PAUSE;
        loop {
            let left = give_up.saturating_sub(self.clock.now());
            let request =
                self.http.post(endpoint.url.given()).timeout(left).header(CONTENT_TYPE, "application/x-protobuf");
            let request =
                endpoint.headers.iter().fold(request, |request, (name, value)| request.header(name, value.expose()));
            let again = match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return true,
                Ok(answer) => matches!(answer.status().as_u16(), 429 | 502..=504),
                Err(_) => true,
            };
            if !again || self.clock.now() + pause >= give_up {
                return false;
            }
            self.clock.sleep_until(self.clock.now() + pause).await;
            pause *= 2;
        }
    }
}

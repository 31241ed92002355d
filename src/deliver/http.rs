//! The gate over HTTP: a connection of our own a channel, driven by the channel itself.
//!
//! ```text
//! Event ──► RequestHead, body ──► Link over Wire ──► status, Retry-After, body ──► Attempt
//! circuit ──ask──► Probe: GET health, on a connection of its own ──► up, or what is wrong
//! ```
//!
//! There is no pool and no task a connection: whoever waits for the answer polls the connection. That
//! saves the two wake-ups an answer that go through a connection task, and lets a closed connection be
//! noticed right before it would be used.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConfig;

use super::endpoint::Endpoint;
use super::gate::{Answer, Attempt, Gate, GateChannel};
use super::health::Probe;
use super::http1::{Link, RequestHead};
use super::retry_after::retry_after;
use super::wire::{self, Dialer, Wire};
use crate::clock::{Clock, Timer};
use crate::model::Event;
use crate::telemetry::TraceMark;

/// An Ingestion Gate over HTTP/1.1, plain or TLS. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct HttpGate<C> {
    settings: Arc<Settings<C>>,
}

#[derive(Debug, Clone)]
struct Settings<C> {
    dialer: Arc<Dialer<C>>,
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
        let dialer = Arc::new(Dialer { clock, endpoint, tls });
        let attempt_timeout = Duration::from_secs(30);
        // Below the 60 s after which load balancers drop idle connections.
        let idle_limit = Duration::from_secs(50);
        let trace = TraceMark::default();
        Self { settings: Arc::new(Settings { dialer, attempt_timeout, idle_limit, trace }) }
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
    #[must_use]
    pub fn probe(&self) -> Probe<C> {
        Probe::new(self.settings.dialer.clone())
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
        let settings = self.settings.clone();
        let Dialer { clock, endpoint, .. } = &*settings.dialer;
        let head = RequestHead::new("POST", &endpoint.path, &endpoint.headers);
        HttpChannel { head, slot: None, timer: Timer::new(clock.clone()), settings }
    }
}

/// One connection to an [`HttpGate`], made when it is needed.
pub struct HttpChannel<C> {
    settings: Arc<Settings<C>>,
    head: RequestHead,
    slot: Option<Kept>,
    timer: Timer<C>,
}

/// A connection between two events.
struct Kept {
    link: Link<Wire>,
    /// When its last answer came.
    used: Duration,
}

impl<C: Clock> GateChannel for HttpChannel<C> {
    async fn push(&mut self, event: &Event) -> Attempt {
        let Self { settings, head, slot, timer } = self;
        let started = settings.dialer.clock.now();
        let deadline = started + settings.attempt_timeout;
        // An attempt that is given up takes its connection with it: the answer may still come, and must not be taken
        // for that of the next event.
        let answered = within(timer, deadline, attempt(settings, slot, head, event, started, deadline)).await;
        answered.unwrap_or(Attempt::TimedOut)
    }

    /// Over a connection of its own: the channel's may be what is wrong.
    async fn ask(&mut self) -> Result<(), String> {
        Probe::new(self.settings.dialer.clone()).ask().await
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

async fn attempt<C: Clock>(
    settings: &Settings<C>,
    slot: &mut Option<Kept>,
    head: &mut RequestHead,
    event: &Event,
    now: Duration,
    deadline: Duration,
) -> Attempt {
    let dialer = &*settings.dialer;
    // Taken out of its slot, the connection is closed by every way out of here but the last.
    let mut link = match usable(slot.take(), now, settings.idle_limit).await {
        Some(link) => link,
        None => match dialer.connect(deadline).await {
            Ok(wire) => Link::new(wire),
            Err(error) => return Attempt::ConnectFailed(error.to_string()),
        },
    };
    let mark = settings.trace.header(&event.event_id);
    let head = head.before_body(event.body.len(), mark.as_ref());
    match link.exchange(head, &event.body).await {
        Ok(received) => {
            if received.keep {
                *slot = Some(Kept { link, used: dialer.clock.now() });
            }
            let utc = || dialer.clock.utc();
            let later = received.later.and_then(|later| retry_after(&later.retry_after, later.date.as_deref(), utc));
            Attempt::Answered(Answer { status: received.status, retry_after: later, body: received.body })
        }
        Err(lost) => Attempt::ConnectionLost(lost.to_string()),
    }
}

async fn usable(kept: Option<Kept>, now: Duration, idle_limit: Duration) -> Option<Link<Wire>> {
    let Kept { mut link, used } = kept?;
    (now.saturating_sub(used) <= idle_limit && link.is_quiet().await).then_some(link)
}

#[cfg(test)]
mod tests;

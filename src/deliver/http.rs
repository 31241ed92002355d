//! The gate over HTTP: connections of our own, each driven by the task that sends over it.
//!
//! ```text
//! Item ──► RequestHead, body ──► Link over Wire ──► status, Retry-After, body ──► Attempt
//! circuit ──ask──► Probe: the health question, on a connection of its own ──► up, or what is wrong
//! ```
//!
//! There is no pool and no task per connection: whoever waits for the answer polls the connection. That saves the two
//! wake-ups per answer that go through a connection task. A connection that its peer ends while it rests is closed at once.
//!
//! Whatever is not plainly the answer to the request at hand ends the connection, so that no answer can be taken for
//! that of another item.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::authorize::{Authorize, Unsigned};
use super::endpoint::Endpoint;
use super::gate::{Answer, Attempt, Gate, GateConnection, Takes};
use super::health::Probe;
use super::http1::{Exchanged, Link, RequestHead};
use super::item::{Item, id_text};
use super::retry_after::retry_after;
use super::tls::{self, Config, TlsError};
use super::wire::{Dialer, Wire};
use crate::clock::{Clock, Timer};
use crate::telemetry::TraceMark;

/// How soon the end of a kept connection has to come after a request for it to be a close that crossed the request.
/// Later, the gate may have failed over the item.
const CROSSED: Duration = Duration::from_secs(1);

/// A gate over HTTP/1.1, plain or TLS. Clones are the same gate.
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
    authorize: Option<Arc<dyn Authorize>>,
}

impl<C: Clock> HttpGate<C> {
    /// A gate whose certificate, if its URL is https, the platform's trust has to vouch for.
    ///
    /// # Errors
    ///
    /// If the platform's trust can't be loaded, or the build is without TLS and needs it.
    pub fn new(endpoint: Endpoint, clock: C) -> Result<Self, TlsError> {
        let tls = if endpoint.tls { Some(Arc::new(tls::usual()?)) } else { None };
        Ok(Self::build(endpoint, clock, tls))
    }

    /// A gate with a TLS configuration of the caller's, used if its URL is https. Its ALPN list has to be
    /// empty or hold `http/1.1` alone.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(endpoint: Endpoint, clock: C, tls: Arc<Config>) -> Self {
        let tls = endpoint.tls.then_some(tls);
        Self::build(endpoint, clock, tls)
    }

    fn build(endpoint: Endpoint, clock: C, tls: Option<Arc<Config>>) -> Self {
        let dialer = Arc::new(Dialer { clock, endpoint, tls });
        let attempt_timeout = Duration::from_secs(30);
        // Below the 60 s after which load balancers drop idle connections.
        let idle_limit = Duration::from_secs(50);
        let trace = TraceMark::default();
        Self { settings: Arc::new(Settings { dialer, attempt_timeout, idle_limit, trace, authorize: None }) }
    }

    /// How long an attempt may last: connection, request and answer together (30 s unless told).
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.settings).attempt_timeout = timeout;
        self
    }

    /// Tells the gate who we are by header lines that are made for each attempt.
    #[must_use]
    pub fn authorized(mut self, authorize: Arc<dyn Authorize>) -> Self {
        Arc::make_mut(&mut self.settings).authorize = Some(authorize);
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
    type Connection = HttpConnection<C>;

    fn connection(&self) -> Self::Connection {
        let settings = self.settings.clone();
        let Dialer { clock, endpoint, .. } = &*settings.dialer;
        let head =
            RequestHead::new(endpoint.method.as_str(), &endpoint.request_target(&endpoint.path), &endpoint.headers);
        let head = head.from(endpoint.origin());
        HttpConnection { head, slot: None, timer: Timer::new(clock.clone()), sent_again: false, settings }
    }
}

/// One connection to an [`HttpGate`], opened when it is needed and closed when it has been idle.
pub struct HttpConnection<C> {
    settings: Arc<Settings<C>>,
    head: RequestHead,
    slot: Option<Kept>,
    timer: Timer<C>,
    sent_again: bool,
}

/// A connection between two events.
struct Kept {
    link: Link<Wire>,
    /// When its last answer came.
    used: Duration,
}

impl<C: Clock> GateConnection for HttpConnection<C> {
    async fn rest(&mut self) {
        let Self { settings, slot, timer, .. } = self;
        let Some(Kept { link, used }) = slot else { return };
        let until = *used + settings.idle_limit;
        poll_fn(|cx| if link.poll_disturbed(cx).is_ready() { Poll::Ready(()) } else { timer.poll(cx, until) }).await;
        *slot = None;
    }

    fn sent_again(&self) -> bool {
        self.sent_again
    }

    fn close(&mut self) {
        self.slot = None;
    }

    /// Over another connection: this one may be what is wrong.
    async fn ask(&mut self) -> Result<(), String> {
        Probe::new(self.settings.dialer.clone()).ask().await
    }
}

impl<T: Item, C: Clock> Takes<T> for HttpConnection<C> {
    async fn push(&mut self, item: &T) -> Attempt {
        let Self { settings, head, slot, timer, sent_again } = self;
        *sent_again = false;
        let started = settings.dialer.clock.now();
        let deadline = started + settings.attempt_timeout;
        let sending = Sending { settings, item, started, deadline, sent_again };
        // An attempt that is given up takes its connection with it: the answer may still come, and must not be taken
        // for that of the next item.
        let answered = within(timer, deadline, sending.attempt(slot, head)).await;
        answered.unwrap_or(Attempt::TimedOut)
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

/// An attempt under way.
struct Sending<'a, T, C> {
    settings: &'a Settings<C>,
    item: &'a T,
    started: Duration,
    deadline: Duration,
    sent_again: &'a mut bool,
}

impl<T: Item, C: Clock> Sending<'_, T, C> {
    async fn attempt(mut self, slot: &mut Option<Kept>, head: &mut RequestHead) -> Attempt {
        let Some(authorize) = &self.settings.authorize else { return self.exchange(slot, head, &[]).await };
        let (request_line, head_lines) = (self.item.request_line(), self.item.head());
        let request = Unsigned { request_line, head: head_lines, body: self.item.body() };
        let lines = match authorize.authorize(request).await {
            Ok(lines) => lines,
            Err(why) => return Attempt::ConnectFailed(why),
        };
        let first = self.exchange(slot, head, &lines).await;
        let is_refused = matches!(&first, Attempt::Answered(answer) if answer.status() == 401);
        if !is_refused || !authorize.refused(&lines) {
            return first;
        }
        match authorize.authorize(request).await {
            Ok(lines) => self.exchange(slot, head, &lines).await,
            Err(why) => Attempt::ConnectFailed(why),
        }
    }

    /// Sends the request with these header lines besides, and reads its answer.
    async fn exchange(&mut self, slot: &mut Option<Kept>, head: &mut RequestHead, lines: &[u8]) -> Attempt {
        let Settings { dialer, idle_limit, trace, .. } = self.settings;
        // Taken out of its slot, the connection is closed by every way out of here but the last.
        let kept = usable(slot.take(), self.started, *idle_limit).await;
        let was_kept = kept.is_some();
        let mut link = match kept {
            Some(link) => link,
            None => match dialer.connect(self.deadline).await {
                Ok(wire) => Link::new(wire),
                Err(error) => return Attempt::ConnectFailed(error),
            },
        };
        let body = self.item.body();
        let mark = trace.header(self.item.id());
        let head = head.before_body(self.item.request_line(), self.item.head(), lines, body.len(), mark.as_ref());
        let mut exchanged = link.exchange(head, body).await;
        if let Err(lost) = &exchanged
            && was_kept
            && lost.silent
            && dialer.clock.now().saturating_sub(self.started) <= CROSSED
        {
            // The peer closed the connection while the request was on its way, which is nobody's fault: the same bytes go
            // out once more. It may have read them the first time all the same, so what comes of it stays ambiguous.
            *self.sent_again = true;
            tracing::debug!(event_id = %id_text(self.item.id()), %lost, "the connection had been closed; the event is sent again");
            link = match dialer.connect(self.deadline).await {
                Ok(wire) => Link::new(wire),
                Err(error) => {
                    let lost = lost.words(&dialer.endpoint.names);
                    return Attempt::ConnectionLost(format!("{lost}; then no connection: {error}"));
                }
            };
            exchanged = link.exchange(head, body).await;
        }
        match exchanged {
            Ok(exchanged) => self.answered(exchanged, link, slot),
            Err(lost) => Attempt::ConnectionLost(lost.words(&dialer.endpoint.names)),
        }
    }

    /// The answer; the connection is kept for the next item if it can be.
    fn answered(&self, Exchanged { received, sent }: Exchanged, link: Link<Wire>, slot: &mut Option<Kept>) -> Attempt {
        let clock = &self.settings.dialer.clock;
        let (keep, later) = (received.keep, received.later);
        let later = later.and_then(|later| retry_after(&later.retry_after, later.date.as_deref(), || clock.utc()));
        let answer = Answer::new(received.status, received.body).after(later);
        let answer = if received.whole { answer } else { answer.perhaps_cut() };
        if keep {
            *slot = Some(Kept { link, used: clock.now() });
        }
        Attempt::Answered(if sent { answer } else { answer.early() })
    }
}

async fn usable(kept: Option<Kept>, now: Duration, idle_limit: Duration) -> Option<Link<Wire>> {
    let Kept { mut link, used } = kept?;
    (now.saturating_sub(used) <= idle_limit && link.is_quiet().await).then_some(link)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod rest_tests;

#[cfg(test)]
mod odd_tests;

#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;

//! The push stage: events in, the gate's answers out.
//!
//! ```text
//!          window                 ┌─► connection ─┐
//! events ────┬───► Dispatch ──────┼─► connection ─┼──► answers, as they come
//!                  order, credit  └─► connection ─┘
//! ```
//!
//! Connections are driven by tasks of their own, so requests on the way move on whatever the stages around them wait
//! for. Answers that are there are passed on before new events are taken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

use super::admission::Admission;
use super::budget::Purse;
use super::connection::{Connection, Done, Shared};
use super::dispatch::Dispatch;
use super::gate::Gate;
use super::options::{DeliveryMode, PushOptions};
use super::regulator::Regulator;
use super::retry_log::RetryLog;
use super::threads::Threads;
use super::window::Window;
use crate::clock::Clock;
use crate::model::{Delivered, Event, Reason, Refusal};
use crate::stop::Stop;

/// How many events may be taken before the connections get their turn, on a runtime of one thread.
const TAKE_AT_ONCE: usize = 64;

/// Streams of events that can be pushed.
pub trait PushExt: Stream<Item = Result<Event, Refusal>> + Sized {
    /// Pushes every event to `gate` and yields its answers as they come, not in the order of the events.
    ///
    /// The stream ends after the last answer, or with one error as its last item:
    /// - an error of the stream before it, after the answers of all events that precede it;
    /// - `IG_PUSH_REJECTED`, `IG_PAYLOAD_MISMATCH`, `IG_PUSH_RETRY_EXHAUSTED` or `IG_UNAVAILABLE`: nothing more is
    ///   sent, answers on the way come first;
    /// - `RUN_STOPPED` after a stop, unless everything was answered all the same;
    /// - `INTERNAL_ERROR` if a connection panicked, or the system gave no thread.
    ///
    /// It needs a tokio runtime when first polled. Dropping the stage aborts the requests on the way.
    fn push<G: Gate, C: Clock>(self, gate: G, options: PushOptions<C>) -> Push<Self, G, C> {
        Push { upstream: self, core: Core::Idle { gate, options: Box::new(options) } }
    }
}

impl<S: Stream<Item = Result<Event, Refusal>> + Sized> PushExt for S {}

pin_project! {
    /// The stage that [`PushExt::push`] makes.
    #[must_use = "streams do nothing unless polled"]
    pub struct Push<S, G, C> {
        #[pin]
        upstream: S,
        core: Core<G, C>,
    }
}

enum Core<G, C> {
    Idle { gate: G, options: Box<PushOptions<C>> },
    Running(Box<Running<C>>),
    Over,
}

/// Where the stage stands with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Events are taken.
    Taking,
    /// The input is over; what was handed over is delivered, retries included.
    Finishing,
    /// Nothing is sent any more; answers on the way are awaited.
    Draining,
}

struct Running<C> {
    shared: Arc<Shared<C>>,
    done: UnboundedReceiver<Done>,
    tasks: JoinSet<()>,
    /// Where they run; kept until the stage ends.
    _threads: Threads,
    window: Window,
    stop_wait: Option<BoxFuture<'static, ()>>,
    deadline: Option<BoxFuture<'static, ()>>,
    drain_deadline: Duration,
    phase: Phase,
    upstream_ended: bool,
    /// What the stream before this one ended with.
    upstream_error: Option<Refusal>,
    error: Option<Refusal>,
}

impl<C: Clock> Running<C> {
    fn start<G: Gate>(gate: &G, options: PushOptions<C>) -> io::Result<Self> {
        let n = options.mode.in_flight();
        let (report, done) = mpsc::unbounded_channel();
        let stop_wait: BoxFuture<'static, ()> = Box::pin(options.stop.wait());
        let connections = u32::try_from(n).unwrap_or(u32::MAX);
        let regulator = Regulator::new(options.circuit, options.adaptive, connections);
        let shared = Arc::new(Shared {
            clock: options.clock,
            retry: options.retry,
            event_deadline: options.event_deadline,
            mode: options.mode,
            admission: Admission::new(regulator, Purse::new(options.budget), options.stats.clone()),
            stop_on_quarantine: options.stop_on_quarantine,
            stats: options.stats,
            dispatch: Dispatch::new(n, options.credit),
            bodies: options.bodies,
            names: options.names,
            stop: options.stop,
            halt: Stop::new(),
            retry_log: RetryLog::default(),
        });
        let threads = Threads::start(options.threads)?;
        let mut tasks = JoinSet::new();
        for i in 0..n {
            let connection = Connection::new(i, gate.connection(), report.clone(), shared.clone());
            threads.spawn(&mut tasks, i, connection.run());
        }
        tasks.spawn(shared.clone().keep());
        let free = matches!(options.mode, DeliveryMode::Free(_));
        Ok(Self {
            shared,
            done,
            tasks,
            _threads: threads,
            window: if free { Window::new(n, n) } else { Window::new(options.window, options.held) },
            stop_wait: Some(stop_wait),
            deadline: None,
            drain_deadline: options.drain_deadline,
            phase: Phase::Taking,
            upstream_ended: false,
            upstream_error: None,
            error: None,
        })
    }

    /// What is answered, or the end with its error once every connection has ended.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivered, Refusal>>> {
        loop {
            match self.done.poll_recv(cx) {
                Poll::Ready(Some(Done { seq, outcome })) => match outcome {
                    Ok(delivered) => {
                        self.window.answer(seq);
                        return Poll::Ready(Some(Ok(delivered)));
                    }
                    Err(refusal) => self.fail(refusal),
                },
                Poll::Ready(None) => return Poll::Ready(self.conclude().map(Err)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes events as far as window and input allow, and says whether it broke off only to let
    /// others run.
    fn take_events<S>(&mut self, mut upstream: Pin<&mut S>, cx: &mut Context<'_>) -> bool
    where
        S: Stream<Item = Result<Event, Refusal>>,
    {
        if self.shared.stop.requested() || self.shared.halt.requested() {
            self.drain();
            return false;
        }
        for _ in 0..TAKE_AT_ONCE {
            if !self.window.may_send() {
                return false;
            }
            match upstream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => self.hand(event),
                Poll::Ready(Some(Err(refusal))) => {
                    self.upstream_error = Some(refusal);
                    self.finish();
                    return false;
                }
                Poll::Ready(None) => {
                    self.upstream_ended = true;
                    self.finish();
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }

    fn hand(&mut self, event: Event) {
        let seq = self.window.send();
        self.shared.hand(seq, event);
    }

    fn finish(&mut self) {
        self.phase = Phase::Finishing;
        self.shared.dispatch.close();
    }

    fn fail(&mut self, refusal: Refusal) {
        self.error.get_or_insert(refusal);
        self.drain();
    }

    fn drain(&mut self) {
        if self.phase != Phase::Draining {
            self.phase = Phase::Draining;
            self.shared.halt.request();
            self.shared.dispatch.halt();
            let deadline = self.shared.clock.now() + self.drain_deadline;
            self.deadline = Some(Box::pin(self.shared.clock.sleep_until(deadline)));
        }
    }

    /// Looks at what may end the stage, and arranges to be woken by it. Says whether anything changed.
    fn poll_ends(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            if let Err(error) = ended
                && error.is_panic()
            {
                self.fail(Refusal::new(Reason::InternalError, format!("a push connection's task panicked: {error}")));
                changed = true;
            }
        }
        if self.phase != Phase::Draining
            && self.stop_wait.as_mut().is_some_and(|wait| wait.as_mut().poll(cx).is_ready())
        {
            self.stop_wait = None;
            self.drain();
            changed = true;
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            self.deadline = None;
            self.tasks.abort_all();
        }
        changed
    }

    /// The last item, once every connection has ended.
    fn conclude(&mut self) -> Option<Refusal> {
        if let Some(error) = self.error.take() {
            return Some(error);
        }
        if self.window.all_answered() {
            // An event that failed stands before what the stream before this one failed at, so it was told of first.
            if self.upstream_ended || self.upstream_error.is_some() {
                return self.upstream_error.take();
            }
        }
        if self.shared.stop.requested() {
            let detail = format!("{} events were handed over, not all are answered or sent", self.window.sent());
            return Some(Refusal::new(Reason::RunStopped, detail));
        }
        Some(Refusal::new(Reason::InternalError, "the push connections ended before the events did"))
    }
}

impl<S, G, C> Stream for Push<S, G, C>
where
    S: Stream<Item = Result<Event, Refusal>>,
    G: Gate,
    C: Clock,
{
    type Item = Result<Delivered, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if matches!(this.core, Core::Idle { .. })
            && let Core::Idle { gate, options } = std::mem::replace(this.core, Core::Over)
        {
            match Running::start(&gate, *options) {
                Ok(running) => *this.core = Core::Running(Box::new(running)),
                Err(error) => {
                    let refusal = Refusal::new(Reason::InternalError, format!("no thread for the push stage: {error}"));
                    return Poll::Ready(Some(Err(refusal)));
                }
            }
        }
        let Core::Running(running) = this.core else { return Poll::Ready(None) };
        loop {
            if let Poll::Ready(item) = running.poll_answers(cx) {
                if !matches!(item, Some(Ok(_))) {
                    // The last one, with or without an error.
                    *this.core = Core::Over;
                }
                return Poll::Ready(item);
            }
            let phase = running.phase;
            if phase == Phase::Taking && running.take_events(this.upstream.as_mut(), cx) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !running.poll_ends(cx) && running.phase == phase {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod overload_tests;

#[cfg(test)]
mod rule_tests;

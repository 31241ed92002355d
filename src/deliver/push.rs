//! The push stage: items in, the gate's answers out.
//!
//! ```text
//!          window                 ┌─► connection ─┐
//!  items ────┬───► Dispatch ──────┼─► connection ─┼──► answers, as they come
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
use super::gate::{Gate, Takes};
use super::item::Item;
use super::judge::{Judge, PushError};
use super::options::{DeliveryMode, PushOptions};
use super::regulator::Regulator;
use super::retry_log::RetryLog;
use super::threads::Threads;
use super::window::Window;
use crate::clock::Clock;
use crate::stop::Stop;

/// How many items may be taken before the connections get their turn, on a runtime of one thread.
const TAKE_AT_ONCE: usize = 64;

/// Streams of items that can be pushed.
pub trait PushExt<T: Item, E>: Stream<Item = Result<T, E>> + Sized {
    /// Pushes every item to `gate` and yields what `judge` makes of its answers as they come, not in the order of the items.
    ///
    /// The stream ends after the last answer, or with one error as its last item:
    /// - an error of the stream before it, after the answers of all items that precede it;
    /// - an item's own ([`Cause`](super::Cause)): nothing more is sent, answers on the way come first;
    /// - [`PushError::Stopped`] after a stop, unless everything was answered all the same;
    /// - another [`PushError`] if a connection panicked, or the system gave no thread.
    ///
    /// It needs a tokio runtime when first polled. Dropping the stage aborts the requests on the way.
    fn push<G, J, C>(self, gate: G, judge: J, options: PushOptions<C>) -> Push<Self, T, G, J, C>
    where
        G: Gate<Connection: Takes<T>>,
        J: Judge<T, Error = E>,
        C: Clock,
    {
        Push { upstream: self, core: Core::Idle { gate, judge, options: Box::new(options) } }
    }
}

impl<T: Item, E, S: Stream<Item = Result<T, E>> + Sized> PushExt<T, E> for S {}

pin_project! {
    /// The stage that [`PushExt::push`] makes.
    #[must_use = "streams do nothing unless polled"]
    pub struct Push<S, T, G, J: Judge<T>, C> {
        #[pin]
        upstream: S,
        core: Core<T, G, J, C>,
    }
}

enum Core<T, G, J: Judge<T>, C> {
    Idle { gate: G, judge: J, options: Box<PushOptions<C>> },
    Running(Box<Running<T, J, C>>),
    Over,
}

/// Where the stage stands with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Items are taken.
    Taking,
    /// The input is over; what was handed over is delivered, retries included.
    Finishing,
    /// Nothing is sent any more; answers on the way are awaited.
    Draining,
}

struct Running<T, J: Judge<T>, C> {
    shared: Arc<Shared<T, J, C>>,
    done: UnboundedReceiver<Done<J::Delivered, J::Error>>,
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
    upstream_error: Option<J::Error>,
    error: Option<J::Error>,
}

impl<T: Item, J: Judge<T>, C: Clock> Running<T, J, C> {
    fn start<G: Gate<Connection: Takes<T>>>(gate: &G, judge: J, options: PushOptions<C>) -> io::Result<Self> {
        let n = options.mode.in_flight();
        let (report, done) = mpsc::unbounded_channel();
        let stop_wait: BoxFuture<'static, ()> = Box::pin(options.stop.wait());
        let connections = u32::try_from(n).unwrap_or(u32::MAX);
        let regulator = Regulator::new(options.circuit, options.adaptive, connections);
        let shared = Arc::new(Shared {
            judge,
            clock: options.clock,
            retry: options.retry,
            event_deadline: options.event_deadline,
            mode: options.mode,
            admission: Admission::new(regulator, Purse::new(options.budget), options.stats.clone()),
            stop_on_quarantine: options.stop_on_quarantine,
            stats: options.stats,
            dispatch: Dispatch::new(n, options.credit),
            bodies: options.bodies,
            stop: options.stop,
            halt: Stop::new(),
            retry_log: RetryLog::new(options.name),
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
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<J::Delivered, J::Error>>> {
        loop {
            match self.done.poll_recv(cx) {
                Poll::Ready(Some(Done { seq, outcome })) => match outcome {
                    Ok(delivered) => {
                        self.window.answer(seq);
                        return Poll::Ready(Some(Ok(delivered)));
                    }
                    Err(error) => self.fail(error),
                },
                Poll::Ready(None) => return Poll::Ready(self.conclude().map(Err)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes items as far as window and input allow, and says whether it broke off only to let
    /// others run.
    fn take_events<S>(&mut self, mut upstream: Pin<&mut S>, cx: &mut Context<'_>) -> bool
    where
        S: Stream<Item = Result<T, J::Error>>,
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
                Poll::Ready(Some(Ok(item))) => self.hand(item),
                Poll::Ready(Some(Err(error))) => {
                    self.upstream_error = Some(error);
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

    fn hand(&mut self, item: T) {
        let seq = self.window.send();
        self.shared.hand(seq, item);
    }

    fn finish(&mut self) {
        self.phase = Phase::Finishing;
        self.shared.dispatch.close();
    }

    fn fail(&mut self, error: J::Error) {
        self.error.get_or_insert(error);
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
                self.fail(PushError::Panicked(error.to_string()).into());
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
    fn conclude(&mut self) -> Option<J::Error> {
        if let Some(error) = self.error.take() {
            return Some(error);
        }
        if self.window.all_answered() {
            // An item that failed stands before what the stream before this one failed at, so it was reported first.
            if self.upstream_ended || self.upstream_error.is_some() {
                return self.upstream_error.take();
            }
        }
        if self.shared.stop.requested() {
            return Some(PushError::Stopped(self.window.sent()).into());
        }
        Some(PushError::Ended.into())
    }
}

impl<S, T, G, J, C> Stream for Push<S, T, G, J, C>
where
    S: Stream<Item = Result<T, J::Error>>,
    T: Item,
    G: Gate<Connection: Takes<T>>,
    J: Judge<T>,
    C: Clock,
{
    type Item = Result<J::Delivered, J::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if matches!(this.core, Core::Idle { .. })
            && let Core::Idle { gate, judge, options } = std::mem::replace(this.core, Core::Over)
        {
            match Running::start(&gate, judge, *options) {
                Ok(running) => *this.core = Core::Running(Box::new(running)),
                Err(error) => {
                    return Poll::Ready(Some(Err(PushError::Thread(error).into())));
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

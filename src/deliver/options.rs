//! What a push stage can be told.
//!
//! ```text
//! PushOptions::new(clock) ──mode, retry, window, credit, stop, …──► push
//! ```

use std::num::NonZeroUsize;
use std::time::Duration;

use super::aimd::Adaptive;
use super::backoff::RetryPolicy;
use super::budget::RetryBudget;
use super::circuit::CircuitPolicy;
use super::stats::PushStats;
use crate::byte_budget::ByteBudget;
use crate::clock::Clock;
use crate::credit::Credit;
use crate::stop::Stop;

/// Which order the gate sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// Exactly the order of the stream: one request on the way.
    #[default]
    Strict,
    /// The stream's order within an order key: as many requests on the way as given, never two of one key.
    Keyed(NonZeroUsize),
    /// As many requests on the way as given; an event is displaced by less than that number.
    Free(NonZeroUsize),
}

impl DeliveryMode {
    /// How many requests are on the way at most, which is the number of connections.
    #[must_use]
    pub fn in_flight(self) -> usize {
        match self {
            DeliveryMode::Strict => 1,
            DeliveryMode::Keyed(n) | DeliveryMode::Free(n) => n.get(),
        }
    }
}

/// What a push stage can be told; see [`PushExt::push`](super::PushExt::push).
#[derive(Debug, Clone)]
pub struct PushOptions<C> {
    pub(super) clock: C,
    pub(super) mode: DeliveryMode,
    pub(super) threads: NonZeroUsize,
    pub(super) retry: RetryPolicy,
    pub(super) budget: RetryBudget,
    pub(super) circuit: CircuitPolicy,
    pub(super) adaptive: Option<Adaptive>,
    pub(super) event_deadline: Option<Duration>,
    pub(super) window: usize,
    pub(super) held: usize,
    pub(super) bodies: ByteBudget,
    pub(super) credit: Option<Credit>,
    pub(super) stop: Stop,
    pub(super) drain_deadline: Duration,
    pub(super) stop_on_quarantine: bool,
    pub(super) stats: PushStats,
    pub(super) name: &'static str,
}

impl<C: Clock> PushOptions<C> {
    /// Strict order, the retries of the contract, a window of 65,536 events of which 8,192 may be unanswered, no credit,
    /// 20 s to drain, and the first QUARANTINE ends the run.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self {
            clock,
            mode: DeliveryMode::default(),
            threads: NonZeroUsize::MIN,
            retry: RetryPolicy::default(),
            budget: RetryBudget::default(),
            circuit: CircuitPolicy::default(),
            adaptive: None,
            event_deadline: None,
            window: 65_536,
            held: 8_192,
            bodies: ByteBudget::unlimited(),
            credit: None,
            stop: Stop::new(),
            drain_deadline: Duration::from_secs(20),
            stop_on_quarantine: true,
            stats: PushStats::new(),
            name: "push",
        }
    }

    /// The order the gate sees.
    #[must_use]
    pub fn mode(mut self, mode: DeliveryMode) -> Self {
        self.mode = mode;
        self
    }

    /// What lines in the log call the stage: "push" unless told.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// How many threads connections are spread over, the caller's included (1 unless told). More pay where one thread's CPU
    /// bounds the rate and cores are free.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// How often and after which delays an event is tried.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How many retries the gate as a whole is given.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// When the gate is taken for down, and how long it may be.
    #[must_use]
    pub fn circuit(mut self, circuit: CircuitPolicy) -> Self {
        self.circuit = circuit;
        self
    }

    /// Requests in flight that follow what the gate can take, up to those of the mode, which they are without it.
    #[must_use]
    pub fn adaptive(mut self, adaptive: Option<Adaptive>) -> Self {
        self.adaptive = adaptive;
        self
    }

    /// How long after its first attempt an event may still be tried again; without it, its attempts are the bound.
    #[must_use]
    pub fn event_deadline(mut self, deadline: Option<Duration>) -> Self {
        self.event_deadline = deadline;
        self
    }

    /// How far the newest event taken in may be ahead of the oldest unanswered one, in events
    /// (0 counts as 1). It is what others go on by while an event waits for its next attempt. Under
    /// [`DeliveryMode::Free`] it is the number of connections whatever is given here, because that is what bounds the
    /// displacement.
    #[must_use]
    pub fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// How many events may be handed over and not answered (0 counts as 1): what the stage holds in memory.
    #[must_use]
    pub fn held(mut self, held: usize) -> Self {
        self.held = held;
        self
    }

    /// What bodies in memory are counted against. An event that has to wait gets a body of its own, counted there too, so
    /// that it doesn't keep the buffer that it came in.
    #[must_use]
    pub fn bodies(mut self, budget: ByteBudget) -> Self {
        self.bodies = budget;
        self
    }

    /// The account that bounds what is sent beyond the durable checkpoint. Each event's first attempt is spent from it.
    #[must_use]
    pub fn credit(mut self, credit: Credit) -> Self {
        self.credit = Some(credit);
        self
    }

    /// The wish to stop that the stage heeds.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// How long answers on the way are awaited after a stop or a failure.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Whether a QUARANTINE ends the run (`stop_on_nonretryable`) or flows on as an answer.
    #[must_use]
    pub fn stop_on_quarantine(mut self, stop: bool) -> Self {
        self.stop_on_quarantine = stop;
        self
    }

    /// Where attempts are counted.
    #[must_use]
    pub fn stats(mut self, stats: PushStats) -> Self {
        self.stats = stats;
        self
    }
}

//! One channel: a short queue, one request on the way, retries in place.
//!
//! ```text
//! push ──Handed──► queue ──► attempt ──► taxonomy ──► Done ──► push
//!                              ▲            │ retry
//!                              └── backoff ◄┘
//! ```
//!
//! Events of one channel never overtake each other: the next is not looked at before the one in front has
//! its answer. That is what keeps the order of a key.

use std::fmt::Write as _;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::backoff::RetryPolicy;
use super::gate::{Attempt, GateChannel};
use super::stats::PushStats;
use super::taxonomy::{self, Verdict};
use crate::clock::Clock;
use crate::credit::Credit;
use crate::model::{Decision, Delivered, Event, Reason, Refusal};
use crate::stop::Stop;

/// An event on its way to a channel.
pub(super) struct Handed {
    pub(super) seq: u64,
    pub(super) event: Event,
}

/// What a channel reports of an event.
pub(super) struct Done {
    pub(super) seq: u64,
    pub(super) channel: usize,
    pub(super) outcome: Result<Delivered, Refusal>,
}

/// What all channels of a stage share.
pub(super) struct Shared<C> {
    pub(super) clock: C,
    pub(super) retry: RetryPolicy,
    pub(super) stop_on_quarantine: bool,
    pub(super) stats: PushStats,
    /// What an event's first attempt is spent from.
    pub(super) credit: Option<Credit>,
    /// The run's wish to stop.
    pub(super) stop: Stop,
    /// The stage's own: some event failed, or nobody wants more.
    pub(super) halt: Stop,
}

impl<C> Shared<C> {
    fn halted(&self) -> bool {
        self.halt.requested() || self.stop.requested()
    }

    /// Waits until one more event may be sent; says whether it may, or sending has to stop. Events that wait in a queue
    /// have spent nothing: a crash can't repeat them.
    async fn may_send(&self) -> bool {
        let Some(credit) = self.credit.as_ref().filter(|credit| !credit.try_spend()) else { return true };
        tokio::select! {
            biased;
            () = self.halt.wait() => false,
            () = self.stop.wait() => false,
            () = credit.spend() => true,
        }
    }
}

/// Delivers what comes through `queue` until it is closed and empty, an event fails, or sending has to stop.
/// Events that are still queued then are dropped unsent.
pub(super) async fn run<G: GateChannel, C: Clock>(
    channel: usize,
    mut gate: G,
    mut queue: UnboundedReceiver<Handed>,
    done: UnboundedSender<Done>,
    shared: std::sync::Arc<Shared<C>>,
) {
    while let Some(Handed { seq, event }) = queue.recv().await {
        let Some(outcome) = deliver(&mut gate, &event, &shared).await else { return };
        let failed = outcome.is_err();
        if failed {
            // Before the report: the other channels shall not wait for the stage to be looked at.
            shared.halt.request();
        }
        if done.send(Done { seq, channel, outcome }).is_err() || failed {
            return;
        }
    }
}

/// Tries until there is a verdict; `None` if sending had to stop before there was one.
async fn deliver<G: GateChannel, C: Clock>(
    gate: &mut G,
    event: &Event,
    shared: &Shared<C>,
) -> Option<Result<Delivered, Refusal>> {
    let mut attempts = 0;
    let mut ambiguous = false;
    let mut first_start = None;
    if !shared.may_send().await {
        return None;
    }
    loop {
        if shared.halted() {
            return None;
        }
        let started = *first_start.get_or_insert_with(|| shared.clock.now());
        attempts += 1;
        shared.stats.started();
        let attempt = gate.push(event).await;
        shared.stats.attempt(attempts, &attempt);
        let (why, retry_after) = match taxonomy::judge(&attempt) {
            Verdict::Decided(decision) => {
                shared.stats.decided(decision);
                if decision == Decision::Quarantine && shared.stop_on_quarantine {
                    return Some(Err(refusal(Reason::IgPushRejected, event, attempts, &describe(&attempt))));
                }
                return Some(Ok(Delivered {
                    position: event.position,
                    ts: event.ts,
                    event_id: event.event_id,
                    decision,
                    attempts,
                    ambiguous,
                    latency: shared.clock.now().saturating_sub(started),
                    lag: event.due.map_or_else(Default::default, |due| started.saturating_sub(due)),
                }));
            }
            Verdict::Rejected { why } => {
                shared.stats.rejected();
                return Some(Err(refusal(Reason::IgPushRejected, event, attempts, &why)));
            }
            Verdict::Retry { why, retry_after } => (why, retry_after),
        };
        if !shared.retry.allows_another(attempts) {
            shared.stats.exhausted();
            return Some(Err(refusal(Reason::IgPushRetryExhausted, event, attempts, &why)));
        }
        ambiguous |= taxonomy::is_ambiguous(&attempt);
        let delay = shared.retry.delay(&event.event_id, attempts, retry_after);
        tracing::debug!(event_id = %hex(&event.event_id), attempts, %why, ?delay, "push is tried again");
        tokio::select! {
            biased;
            () = shared.halt.wait() => return None,
            () = shared.stop.wait() => return None,
            () = shared.clock.sleep_until(shared.clock.now() + delay) => {}
        }
    }
}

fn describe(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Answered(answer) => taxonomy::describe(answer),
        other => format!("{other:?}"),
    }
}

fn refusal(reason: Reason, event: &Event, attempts: u32, why: &str) -> Refusal {
    let position = event.position;
    let detail = format!(
        "after {attempts} attempt{}: {why} (output of rank {}, file {}, {})",
        if attempts == 1 { "" } else { "s" },
        position.rank,
        position.file,
        event.ts
    );
    Refusal::new(reason, detail).row(position.row).field(hex(&event.event_id))
}

fn hex(id: &[u8; 32]) -> String {
    id.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! How a run is streamed: what the profile and the command say, as the types that the stages take.
//!
//! ```text
//! Profile, Caps ──► Settings ──► Pacing · PushOptions · CheckpointOptions, RunLayout · caps
//! ```

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use wsp::clock::Clock;
use wsp::deliver::{Adaptive, CircuitPolicy, DeliveryMode, PushOptions, RetryBudget, RetryPolicy};
use wsp::pace::{Anchor, Pacing, RatePlan};

use crate::checkpoint::{CheckpointOptions, RunLayout};
use crate::lanes::SharedPace;
use crate::model::Micros;
use crate::profile::Profile;

use super::prepare::Prepared;

/// How a run is streamed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Event time against the wall.
    pub pacing: Pacing,
    /// When the first event time is due, where a campaign says so.
    pub campaign_start: Option<Micros>,
    /// Rates, where there are any.
    pub rate: Option<RatePlan>,
    /// What the rates' offsets count from.
    pub rate_start: Option<Micros>,
    /// Order, and requests in flight.
    pub mode: DeliveryMode,
    /// Threads that connections are spread over.
    pub threads: NonZeroUsize,
    /// Events between the newest sent and the oldest unanswered one.
    pub window: usize,
    /// Unanswered events in memory.
    pub held: usize,
    /// Bytes of request bodies in memory.
    pub body_memory: u64,
    /// Attempts and delays.
    pub retry: RetryPolicy,
    /// Time for all attempts of an event.
    pub event_deadline: Option<Duration>,
    /// Retries of all events together.
    pub budget: RetryBudget,
    /// When IG is taken for down.
    pub circuit: CircuitPolicy,
    /// Requests in flight that follow what IG can take.
    pub adaptive: Option<Adaptive>,
    /// Time for answers in flight on a stop.
    pub drain_deadline: Duration,
    /// QUARANTINE ends the run.
    pub stop_on_quarantine: bool,
    /// Answered events between two saves.
    pub flush_every: u64,
    /// Cap over all outputs.
    pub max_events: Option<u64>,
    /// Cap an output.
    pub max_events_per_output: Option<u64>,
    /// Bytes that reading all outputs may take.
    pub read_memory: u64,
    /// What it shares with other lanes of its run.
    pub shared: SharedPace,
}

/// Caps that a command gives. 0 is no cap; `None` leaves it to the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    /// Over all outputs.
    pub max_events: Option<u64>,
    /// An output.
    pub max_events_per_output: Option<u64>,
}

impl Settings {
    /// What the profile says, with the caps of the command.
    #[must_use]
    pub fn new(profile: &Profile, caps: Caps) -> Self {
        let Profile { policy, delivery, checkpoint, rate, .. } = profile;
        let per_output = match caps.max_events_per_output {
            Some(cap) => NonZeroU64::new(cap),
            None => profile.max_events_per_output,
        };
        Self {
            pacing: rate.pacing,
            campaign_start: rate.campaign_start,
            rate: rate.plan.clone(),
            rate_start: rate.plan_start,
            mode: delivery.mode,
            threads: delivery.threads,
            window: delivery.window,
            held: delivery.held,
            body_memory: delivery.memory,
            retry: delivery.retry,
            event_deadline: delivery.event_deadline,
            budget: delivery.budget,
            circuit: delivery.circuit,
            adaptive: delivery.adaptive,
            drain_deadline: delivery.drain_deadline,
            stop_on_quarantine: policy.stop_on_nonretryable,
            flush_every: checkpoint.flush_every,
            max_events: caps.max_events.and_then(NonZeroU64::new).map(NonZeroU64::get),
            max_events_per_output: per_output.map(NonZeroU64::get),
            read_memory: profile.oracle.read_memory,
            shared: SharedPace::default(),
        }
    }

    /// Whether a run may end before its last event.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.max_events.is_some() || self.max_events_per_output.is_some()
    }

    /// The same for one of `count` lanes that this worker streams at a time: they share its memory, and what `shared` says.
    #[must_use]
    pub fn of_lane(&self, count: NonZeroUsize, shared: SharedPace) -> Self {
        let part = |bytes: u64| (bytes / count.get() as u64).max(1);
        Self { body_memory: part(self.body_memory), read_memory: part(self.read_memory), shared, ..self.clone() }
    }

    /// The pacing, fixed to what the lanes of a run share, or to the campaign's start and the world's first event, where
    /// there is either.
    #[must_use]
    pub fn pacing_of(&self, run: &Prepared) -> Pacing {
        if let Some(anchor) = self.shared.anchor {
            return self.pacing.anchor(anchor);
        }
        self.pacing.anchor(match (self.campaign_start, run.first_ts()) {
            (Some(utc), Some(ts)) => Anchor::At { utc, ts },
            _ => Anchor::First,
        })
    }

    /// How far sending may run ahead of what is saved, and so what a crash can repeat: `flush_every` + the requests in
    /// flight, however large the window.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.flush_every + self.mode.in_flight() as u64
    }

    /// Order, retries and bounds of the push stage.
    pub(super) fn push<C: Clock>(&self, clock: C) -> PushOptions<C> {
        PushOptions::new(clock)
            // The platform's evidence looks for these words.
            .name("WSP IG push")
            .mode(self.mode)
            .threads(self.threads)
            .retry(self.retry)
            .window(self.window)
            .held(self.held)
            .event_deadline(self.event_deadline)
            .budget(self.budget)
            .circuit(self.circuit)
            .adaptive(self.adaptive)
            .drain_deadline(self.drain_deadline)
            .stop_on_quarantine(self.stop_on_quarantine)
    }

    /// When positions are saved.
    pub(super) fn checkpoint<C: Clock>(&self, clock: C) -> CheckpointOptions<C> {
        CheckpointOptions::new(clock).flush_every(self.flush_every)
    }

    /// What positions of `run` are kept as.
    pub(super) fn layout(&self, run: &Prepared) -> RunLayout {
        // A lane's last event is rarely its view's last row; without a cap, the end of the stream is the outputs' end.
        RunLayout::new(run.output_files()).ends_complete(!self.is_capped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags and environment alike: 0 is no cap, and a flag wins over the environment.
    #[test]
    fn a_cap_of_zero_is_no_cap() {
        let caps = |env: &str, max_events, max_events_per_output| {
            let vars = |name: &str| match name {
                "WSP_MAX_EVENTS_PER_OUTPUT" => Some(env.to_owned()),
                "IG_API_KEY" => Some("k".to_owned()),
                _ => None,
            };
            let profile = "profile_id: local\nwiring: {control_bus: {kind: file}}";
            let profile = Profile::parse(profile, std::path::Path::new("."), &vars).unwrap();
            let settings = Settings::new(&profile, Caps { max_events, max_events_per_output });
            assert_eq!(settings.is_capped(), (settings.max_events, settings.max_events_per_output) != (None, None));
            (settings.max_events, settings.max_events_per_output)
        };
        assert_eq!(caps("", None, None), (None, None));
        assert_eq!(caps("0", None, None), (None, None));
        assert_eq!(caps("7", None, None), (None, Some(7)));
        assert_eq!(caps("7", None, Some(3)), (None, Some(3)));
        assert_eq!(caps("7", None, Some(0)), (None, None));
        assert_eq!(caps("0", Some(0), Some(0)), (None, None));
        assert_eq!(caps("0", Some(9), Some(0)), (Some(9), None));
    }
}

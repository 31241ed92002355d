//! What a seed stands for: the world, how it is streamed, and everything that goes wrong on the way.
//!
//! ```text
//! seed ──► Plan { world · settings · lines (runs, lanes, attempts) · gate · store · blows }
//! ```

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use wsp::deliver::{Adaptive, CircuitPolicy, DeliveryMode, RetryBudget, RetryPolicy};
use wsp::pace::{Pacing, RateLimit, RatePlan};
use wsp::random::Random;
use wsp_world::model::{Lane, LaneKey};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::{ConfigError, Profile};

use super::hub::Blow;

/// A case.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) world: WorldPlan,
    pub(super) settings: Settings,
    pub(super) lines: Vec<LinePlan>,
    pub(super) gate: GatePlan,
    pub(super) store: StorePlan,
    /// Of a thousand reads of the world, so many fail.
    pub(super) failing_reads: u64,
    /// Another producer is started on a run whose own one is stalled.
    pub(super) rivals: bool,
}

/// The world's rows.
#[derive(Debug, Clone)]
pub(super) struct WorldPlan {
    pub(super) seed: u64,
    /// Rows of each output.
    pub(super) rows: Vec<usize>,
    /// Parts an output has at most.
    pub(super) parts: u64,
    pub(super) row_group_rows: usize,
    /// Different order keys.
    pub(super) keys: u64,
    /// Of ten rows, so many have the time of the row before.
    pub(super) ties: u64,
    /// The longest time between two rows of an output, in microseconds.
    pub(super) gap: u64,
    /// What is wrong with the world, and at which share of it (of 1,000).
    pub(super) flaw: Option<(Flaw, u64)>,
}

/// A row that must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A value without a JSON form.
    NotANumber,
    /// A null in the primary key.
    NoKey,
    /// A row before its predecessor's time.
    Disorder,
}

/// One stream of a world: a run, a lane or an attempt, with a checkpoint of its own.
#[derive(Debug, Clone)]
pub(super) struct LinePlan {
    /// Which platform run.
    pub(super) run: u32,
    pub(super) lane: Lane,
    pub(super) attempt_id: &'static str,
    /// What befalls its processes, one after the other, each at one of its steps.
    pub(super) blows: Vec<(u64, Blow)>,
    /// Over which changed world its processes are started, one after the other, once there are saved positions.
    pub(super) changes: Vec<Option<Change>>,
}

/// What has become of a world between two starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The same rows are cut into other parts.
    Recut,
    /// A part was written by another program.
    Rewritten,
    /// All rows have other keys, and nothing in the footers says so.
    OtherRows,
    /// A row came at the end.
    Grown,
    /// An output came before the others.
    Added,
    /// The first output is gone.
    Removed,
    /// The first two outputs changed places.
    Reordered,
}

impl Change {
    pub(super) const ALL: [Self; 7] =
        [Self::Recut, Self::Rewritten, Self::OtherRows, Self::Grown, Self::Added, Self::Removed, Self::Reordered];
}

/// How the gate behaves: shares of a thousand attempts.
#[derive(Debug, Clone, Default)]
pub(super) struct GatePlan {
    /// No connection.
    pub(super) unreachable: u64,
    /// The connection breaks before the gate has the event.
    pub(super) cut_before: u64,
    /// The connection breaks after the gate has admitted the event.
    pub(super) cut_after: u64,
    /// No answer in time; the gate has, gets or never gets the event.
    pub(super) unanswered: u64,
    /// 429, often with `Retry-After`.
    pub(super) throttled: u64,
    /// One of `statuses`, such as 503 or a 400 that asks for a retry; half of them after the event was admitted.
    pub(super) failing: u64,
    pub(super) statuses: [u16; 5],
    /// An answer that is none.
    pub(super) garbage: u64,
    /// Of a thousand events, so many are quarantined, always the same.
    pub(super) quarantined: u64,
    /// From the attempt to the gate, and back, in milliseconds at most.
    pub(super) latency: u64,
    /// From and to: nobody gets through.
    pub(super) outages: Vec<(Duration, Duration)>,
    /// How long an attempt waits for its answer.
    pub(super) timeout: Duration,
}

/// Where positions are saved.
#[derive(Debug, Clone)]
pub(super) struct StorePlan {
    /// Under a lease that lasts so long, else on a disk.
    pub(super) lease: Option<Duration>,
    /// Of a thousand requests, so many fail.
    pub(super) failing: u64,
    /// Of the failing ones, so many of ten are carried out all the same.
    pub(super) carried_out: u64,
    /// A request takes so many milliseconds at most.
    pub(super) latency: u64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Result<Self, ConfigError> {
        let mut random = Random::of(&[seed, 0x70_6c_61_6e]);
        let r = &mut random;
        let flaw = r.chance(1, 12).then(|| {
            let kind = *pick(r, &[Flaw::NotANumber, Flaw::NoKey, Flaw::Disorder]);
            (kind, 50 + r.below(900))
        });
        let world = WorldPlan::draw(r, flaw);
        let store = StorePlan {
            lease: r.chance(1, 2).then(|| Duration::from_millis(1_500 + r.below(6_000))),
            failing: if r.chance(1, 3) { r.below(60) } else { 0 },
            carried_out: r.below(11),
            latency: *pick(r, &[1, 5, 40, 400]),
        };
        let rivals = r.chance(1, 2);
        let settings = overload(&mut Random::of(&[seed, 0x6c6f_6164]), settings(r, &world)?);
        // A few bodies fill it in half of the cases.
        let m = &mut Random::of(&[seed, 0x6d65_6d6f]);
        let body_memory = if m.chance(1, 2) { 1 + below(m, &[1, 2_000, 50_000]) } else { settings.body_memory };
        let settings = Settings { body_memory, ..settings };
        let gate = GatePlan::draw(r, settings.stop_on_quarantine);
        let power = &mut Random::of(&[seed, 0x706f_7765]);
        let mut lines = lines(r, power, flaw.is_some(), rivals, store.lease);
        let changes = &mut Random::of(&[seed, 0x6368_616e_6765]);
        if changes.chance(1, 3) {
            for line in &mut lines {
                line.changes = draw_changes(changes);
            }
        }
        let failing_reads = if r.chance(1, 8) { r.below(40) } else { 0 };
        Ok(Self { world, settings, lines, gate, store, failing_reads, rivals })
    }
}

impl WorldPlan {
    fn draw(r: &mut Random, flaw: Option<(Flaw, u64)>) -> Self {
        let outputs = 1 + r.below(4);
        let size = *pick(r, &[12, 40, 40, 90]);
        Self {
            seed: r.next(),
            rows: (0..outputs).map(|_| 1 + r.below(size) as usize).collect(),
            parts: 1 + r.below(3),
            row_group_rows: 1 + r.below(60) as usize,
            keys: *pick(r, &[1, 3, 12, 1_000]),
            ties: r.below(9),
            gap: *pick(r, &[1_000, 50_000, 400_000]),
            flaw,
        }
    }
}

impl GatePlan {
    /// Of a gate; where a quarantined event ends a run, hardly one is.
    pub(super) fn draw(r: &mut Random, stop_on_quarantine: bool) -> Self {
        // Each kind of fault is absent from most cases, so that it is seen alone as well as among others.
        let mut share = |most: u64| if r.chance(2, 5) { r.below(most) } else { 0 };
        let (unreachable, cut_before, cut_after) = (share(100), share(100), share(150));
        let (unanswered, throttled, failing) = (share(60), share(150), share(150));
        let garbage = share(3);
        let quarantined = share(if stop_on_quarantine { 3 } else { 80 });
        let latency = *pick(r, &[1, 4, 30, 300]);
        let mut outages = Vec::new();
        let mut at = Duration::ZERO;
        for _ in 0..r.below(3) {
            let from = at + Duration::from_millis(r.below(8_000));
            at = from + Duration::from_millis(50 + below(r, &[300, 20_000]));
            outages.push((from, at));
        }
        let timeout = Duration::from_millis(*pick(r, &[200, 1_000, 30_000]));
        Self {
            unreachable,
            cut_before,
            cut_after,
            unanswered,
            throttled,
            failing,
            statuses: [500, 502, 503, 408, 400],
            garbage,
            quarantined,
            latency,
            outages,
            timeout,
        }
    }
}

/// A profile that says nothing about delivery: what it leaves out is as it is for everybody.
const PROFILE: &str = "
profile_id: local_simulation
policy: {traffic_output_ids: [s3_event_stream_with_fraud_6B]}
wiring:
  control_bus: {kind: file, root: bus}
  engine_catalogue_path: catalogue.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_producer: {producer_id: simulation, allowlist_ref: producers.txt}
  security: {wsp_auth_token: none}
";

fn settings(r: &mut Random, world: &WorldPlan) -> Result<Settings, ConfigError> {
    let base = Settings::new(&Profile::parse(PROFILE, Path::new("."), &|_| None)?, Caps::default());
    let rows = world.rows.iter().sum::<usize>() as u64;
    let n = NonZeroUsize::MIN.saturating_add(1 + r.below(15) as usize);
    let mode = *pick(r, &[DeliveryMode::Strict, DeliveryMode::Keyed(n), DeliveryMode::Keyed(n), DeliveryMode::Free(n)]);
    let paced = r.chance(1, 2);
    let speedup = if paced { *pick(r, &[1.0, 7.0, 250.0]) } else { 0.0 };
    let gap = r.chance(1, 4).then(|| Duration::from_millis(200));
    let pacing = Pacing::new(speedup).map_err(|error| ConfigError::new(error.to_string()))?.max_idle_gap(gap);
    let rate = r.chance(1, 4).then(|| RateLimit::new(20.0 + r.below(400) as f64, None, None).ok()).flatten();
    let millis = Duration::from_millis;
    Ok(Settings {
        pacing,
        rate: rate.map(RatePlan::steady),
        mode,
        window: 1 + below(r, &[4, 40, 400]) as usize,
        retry: RetryPolicy {
            max_attempts: 3 + r.below(5) as u32,
            base_delay: millis(1 + r.below(300)),
            max_delay: millis(50 + r.below(5_000)),
            max_retry_after: millis(500 + r.below(5_000)),
        },
        drain_deadline: millis(*pick(r, &[0, 500, 20_000])),
        stop_on_quarantine: r.chance(1, 2),
        flush_every: 1 + below(r, &[2, 20, 2 * rows]),
        ..base
    })
}

/// How a gate that fails is met: as by default in half of the cases, and tightly in the others.
fn overload(r: &mut Random, base: Settings) -> Settings {
    if r.chance(1, 2) {
        return base;
    }
    let millis = Duration::from_millis;
    Settings {
        held: 1 + below(r, &[2, 20, 400]) as usize,
        event_deadline: r.chance(1, 4).then(|| millis(500 + below(r, &[5_000, 60_000]))),
        budget: RetryBudget { share: r.unit(), floor: 1.0 + below(r, &[4, 100]) as f64 },
        circuit: CircuitPolicy {
            failures: below(r, &[6, 40]) as u32,
            first_pause: millis(1 + below(r, &[50, 1_000])),
            max_pause: millis(1 + below(r, &[1_000, 5_000])),
            limit: millis(2_000 + below(r, &[10_000, 300_000])),
        },
        adaptive: r
            .chance(1, 2)
            .then(|| Adaptive { min: 1 + r.below(3) as u32, slow: millis(1 + below(r, &[20, 800])) }),
        ..base
    }
}

fn lines(r: &mut Random, power: &mut Random, flawed: bool, rivals: bool, lease: Option<Duration>) -> Vec<LinePlan> {
    let two = NonZeroU32::MIN.saturating_add(1);
    let lane = |index, by| Lane::new(two, index, by).unwrap_or_default();
    // A flaw is seen by the lane that has the row; the whole run is what fails closed for certain.
    let lines = match if flawed { 0 } else { r.below(10) } {
        0..=4 => vec![(0, Lane::WHOLE, "")],
        5 => vec![(0, lane(0, LaneKey::EventId), ""), (0, lane(1, LaneKey::EventId), "")],
        6 => vec![(0, lane(0, LaneKey::OrderKey), ""), (0, lane(1, LaneKey::OrderKey), "")],
        7 => vec![(0, Lane::WHOLE, ""), (0, Lane::WHOLE, "again")],
        _ => vec![(0, Lane::WHOLE, ""), (1, Lane::WHOLE, "")],
    };
    // Of ten crashes on a disk, so many lose the power.
    let cuts = if lease.is_none() { power.below(11) } else { 0 };
    let mut cut = |blow| if blow == Blow::Crash && power.chance(cuts, 10) { Blow::PowerLoss } else { blow };
    let mut blows =
        || (0..r.below(10)).map(|_| (1 + below(r, &[5, 20, 60, 300]), cut(blow(r, rivals, lease)))).collect();
    lines
        .into_iter()
        .map(|(run, lane, attempt_id)| LinePlan { run, lane, attempt_id, blows: blows(), changes: vec![] })
        .collect()
}

/// Half of the first starts are over a changed world.
fn draw_changes(r: &mut Random) -> Vec<Option<Change>> {
    (0..8).map(|_| r.chance(1, 2).then(|| *pick(r, &Change::ALL))).collect()
}

pub(super) fn blow(r: &mut Random, rivals: bool, lease: Option<Duration>) -> Blow {
    let lease = lease.unwrap_or(Duration::from_secs(3)).as_millis() as u64;
    match r.below(if rivals { 8 } else { 6 }) {
        0..=3 => Blow::Crash,
        4 => Blow::Stop,
        _ => Blow::Stall(Duration::from_millis(r.below(4 * lease))),
    }
}

pub(super) fn pick<'a, T>(r: &mut Random, from: &'a [T]) -> &'a T {
    &from[r.below(from.len() as u64) as usize]
}

/// A number below one of these bounds: small ones are as likely as large ones.
pub(super) fn below(r: &mut Random, bounds: &[u64]) -> u64 {
    let bound = *pick(r, bounds);
    r.below(bound)
}

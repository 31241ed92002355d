//! What a run would check and do, without sending: the service's steps up to the first event, with all checks reported.
//!
//! ```text
//! READY ─► scope, facts, age, record, checks ─► footers, checkpoint (read, not held) ─► event times, merged ─► Plan
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use wsp::clock::Clock;
use wsp::merge::merge;
use wsp::pace::Schedule;
use wsp::store::ObjectStore;

use crate::checkpoint::{Cursor, Earlier};
use crate::envelope::WorldPins;
use crate::model::{CheckList, Hex64, Lane, Micros, OutputId, PIN_NAMES, Reason, Refusal, RowBatch};
use crate::oracle::{Resume, Scan};
use crate::profile::{Profile, active_run};
use crate::ready::Ready;

use super::admission::{self, Admitted, Asked, Known};
use super::first_rows;
use super::positions::{checkpoints, resumed_at};
use super::prepare::{self, Prepared, PreparedOutput};
use super::producer::Settings;
use super::resuming::{self, Resumed};
use super::run_evidence::rows_before;
use super::telemetry::{RunMeter, Telemetry};

/// A run as it would be.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The READY.
    pub message_id: Hex64,
    /// Whether it would be streamed.
    pub admitted: bool,
    /// Each check with its result.
    pub checks: CheckList,
    /// What there is to stream, where all of it could be read.
    pub run: Option<PlannedRun>,
}

/// What there is to stream.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRun {
    /// The world.
    pub engine_run_root: String,
    /// The key its cursors are kept under.
    pub checkpoint_scope: Hex64,
    /// The share of it that this process would stream; absent where that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// The outputs, by rank, with all lanes' rows.
    pub outputs: Vec<PlannedOutput>,
    /// Events to send, those of the lane, caps included.
    pub events: u64,
    /// Events left that an earlier start saw answered. They are not sent again, and not among `events`.
    pub answered_earlier: u64,
    /// First and last event time of what is left.
    pub first_ts_utc: Option<String>,
    /// See above.
    pub last_ts_utc: Option<String>,
    /// The longest time without an event, in event seconds.
    pub largest_idle_gap_seconds: f64,
    /// When that gap begins.
    pub largest_idle_gap_from: Option<String>,
    /// Event seconds a second; 0 is without pacing.
    pub speedup: f64,
    /// When its first event is due, where a campaign or a rate plan says so and that is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_utc: Option<String>,
    /// Seconds until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_in_seconds: Option<f64>,
    /// Seconds that pacing by event time takes; `None` without pacing.
    pub paced_seconds: Option<f64>,
    /// Seconds that a steady rate takes; `None` without one, or with a rate plan.
    pub rated_seconds: Option<f64>,
}

/// One output of it.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedOutput {
    /// The output.
    pub output_id: OutputId,
    /// Its files.
    pub files: usize,
    /// Its rows.
    pub rows: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    /// First event time, by its receipt.
    pub first_ts_utc: Option<String>,
    /// Last event time, by its receipt.
    pub last_ts_utc: Option<String>,
    /// Rows before the place where it resumes.
    pub resumed_at: u64,
    /// The saved position.
    pub cursor: Option<Cursor>,
}

/// Chunks of rows that are looked at before others get their turn: some ten thousand rows.
const CHUNKS_AT_ONCE: u64 = 64;

/// Plans the run of `ready`, and tells `telemetry` how far the look at its event times is.
///
/// # Errors
///
/// `STORE_UNAVAILABLE` where the profile's store can't be opened. Everything else is a check of the plan.
pub async fn plan<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    settings: &Settings,
    ready: &Ready,
    clock: C,
    telemetry: &Telemetry,
) -> Result<Plan, Refusal> {
    let store = prepare::open_own(profile)?;
    let mut checks = CheckList::new();
    let prepared = check(profile, &store, ready, &clock, &mut checks).await;
    let run = match prepared {
        None => None,
        Some(prepared) => match resume(profile, &prepared, clock.clone()).await {
            Ok((Resumed { from, earlier, .. }, cursors)) => {
                checks.pass("checkpoint", format!("{} rows delivered before", rows_before(&prepared, &from)));
                let meter = telemetry.look_ahead(&prepared, &from, settings, ready, &clock);
                let run = look_ahead(profile, settings, &prepared, &from, (earlier, &cursors), &meter, &clock).await;
                telemetry.over(&meter);
                checks.note("event times", run, |run| format!("{} events in order", run.events))
            }
            Err(refusal) => {
                checks.refuse("checkpoint", refusal);
                None
            }
        },
    };
    Ok(Plan { message_id: ready.payload.message_id.clone(), admitted: checks.verdict().is_ok(), checks, run })
}

async fn check<C: Clock>(
    profile: &Profile,
    store: &Arc<dyn ObjectStore>,
    ready: &Ready,
    clock: &C,
    checks: &mut CheckList,
) -> Option<Prepared> {
    let active = active_run(profile.platform_run_id.as_ref(), Path::new(""))
        .map_err(|error| Refusal::new(Reason::PlatformRunScopeMismatch, error.to_string()));
    let active = checks.note("active run", active, |active| {
        active.as_ref().map_or("none; a READY of any is taken".to_owned(), ToString::to_string)
    })?;
    let asked = Asked {
        profile,
        store,
        ready,
        active: active.as_ref(),
        folder: Path::new(""),
        now: clock.utc(),
        deferred: false,
    };
    let Admitted { run: Known { identity, .. }, engine_root, .. } = admission::look(asked, checks).await?;
    prepare::prepare(profile, ready.payload.oracle_pack_ref.as_ref(), identity, engine_root, checks).await
}

/// Where the run would go on, and its cursors.
///
/// # Errors
///
/// As [`resuming::look`].
async fn resume<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    run: &Prepared,
    clock: C,
) -> Result<(Resumed, Vec<Cursor>), Refusal> {
    let store = checkpoints(profile, &run.identity.platform_run_id, clock)?;
    resuming::look(run, &*store, &run.scope(&profile.checkpoint.attempt_id)).await
}

/// The event times of all that is left, with its world where footers don't tell it, and nothing else of it.
fn look_at(
    settings: &Settings,
    run: &Prepared,
    from: &[Resume],
) -> Result<Vec<impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<>>, Refusal> {
    let world = &run.identity.world;
    let mut open = false;
    for output in &run.outputs {
        open |= !output.view.open_parts(world)?.is_empty();
    }
    let pins = if open { PIN_NAMES.map(str::to_owned).to_vec() } else { Vec::new() };
    let scan = Scan::new().times_and(&pins).limit(settings.max_events_per_output.unwrap_or(u64::MAX));
    let outputs = run.batches(scan, from).into_iter().zip(&run.outputs);
    let outputs = outputs.map(|(batches, output)| {
        let (view, pins) = (output.view.clone(), WorldPins::new(world));
        batches.map(move |batch| batch.and_then(|batch| first_rows::check_batch(&batch, &view, &pins).map(|()| batch)))
    });
    Ok(outputs.collect())
}

/// Reads the event times of all that is left.
async fn look_ahead(
    profile: &Profile,
    settings: &Settings,
    run: &Prepared,
    from: &[Resume],
    (mut earlier, cursors): (Earlier, &[Cursor]),
    meter: &RunMeter,
    clock: &impl Clock,
) -> Result<PlannedRun, Refusal> {
    use wsp::merge::SlicesExt;
    let mut merged = merge(look_at(settings, run, from)?).take_rows(settings.max_events.unwrap_or(u64::MAX));
    let (mut events, mut first, mut last) = (0, None, None);
    let mut answered_earlier = 0;
    let mut gap = (Duration::ZERO, None);
    let (mut paced, longest) = (Duration::ZERO, profile.policy.max_idle_gap.unwrap_or(Duration::MAX));
    let mut chunks = 0_u64;
    while let Some(runs) = merged.try_next().await? {
        chunks += 1;
        if chunks.is_multiple_of(CHUNKS_AT_ONCE) {
            // Rows that are at hand come without a pause, and whoever draws the progress is on this thread.
            tokio::task::yield_now().await;
        }
        for run in runs {
            meter.looked_at(run.batch.rank(), &run.batch.times()[run.from..run.to]);
            for i in run.from..run.to {
                if earlier.take(run.batch.position(i)) {
                    answered_earlier += 1;
                    continue;
                }
                let ts = &run.batch.times()[i];
                let before: Micros = last.unwrap_or(*ts);
                let idle = Duration::from_micros(ts.0.abs_diff(before.0));
                if idle > gap.0 {
                    gap = (idle, Some(before));
                }
                paced += idle.min(longest);
                first.get_or_insert(*ts);
                last = Some(*ts);
                events += 1;
            }
        }
    }
    let speedup = profile.policy.stream_speedup;
    let starts = first.and_then(|ts| later_start(settings, run, ts, clock));
    let text = |ts: Option<Micros>| ts.map(|ts| ts.to_string());
    Ok(PlannedRun {
        engine_run_root: run.engine_root.clone(),
        checkpoint_scope: run.scope(&profile.checkpoint.attempt_id),
        lane: Some(run.lane).filter(|lane| !lane.is_whole()),
        outputs: run.outputs.iter().zip(from).map(|(output, from)| planned(output, *from, cursors)).collect(),
        events,
        answered_earlier,
        first_ts_utc: text(first),
        last_ts_utc: text(last),
        largest_idle_gap_seconds: gap.0.as_secs_f64(),
        largest_idle_gap_from: text(gap.1),
        speedup,
        starts_utc: text(starts.map(|(utc, _)| utc)),
        starts_in_seconds: starts.map(|(_, wait)| wait.as_secs_f64()),
        paced_seconds: (!settings.pacing.is_off()).then(|| paced.as_secs_f64() / speedup),
        rated_seconds: profile.rate.target_eps.map(|eps| events as f64 / eps),
    })
}

/// When a start now would send its first event, which is at `ts`, and how long it would wait; `None` where it would not.
fn later_start(settings: &Settings, run: &Prepared, ts: Micros, clock: &impl Clock) -> Option<(Micros, Duration)> {
    let (now, utc) = (clock.now(), clock.utc());
    let due = Schedule::new(settings.pacing_of(run)).due(ts, || (now, utc)).unwrap_or_default();
    let rate_start = settings.rate.as_ref().and(settings.rate_start).map_or(0, |start| start.0.saturating_sub(utc.0));
    let wait = due.saturating_sub(now).max(Duration::from_micros(u64::try_from(rate_start).unwrap_or(0)));
    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    (micros > 0).then(|| (Micros(utc.0.saturating_add(micros)), wait))
}

fn planned(output: &PreparedOutput, from: Resume, cursors: &[Cursor]) -> PlannedOutput {
    let view = &output.view;
    PlannedOutput {
        output_id: view.output_id.clone(),
        files: view.parts.len(),
        rows: view.rows,
        bytes: view.parts.iter().map(|part| part.file.meta.size).sum(),
        first_ts_utc: output.span.map(|(first, _)| first.to_string()),
        last_ts_utc: output.span.map(|(_, last)| last.to_string()),
        resumed_at: resumed_at(view, from),
        cursor: cursors.iter().find(|cursor| cursor.output_id == view.output_id).cloned(),
    }
}

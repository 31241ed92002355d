//! The summary of a run that was spread over lanes, made of theirs.
//!
//! ```text
//! wsp_start.json ─┐
//! end of lane 0 ──┤
//!  …              ├─► Summary: counts and times added up, one verdict
//! end of lane n ──┘
//! ```
//!
//! A lane that resumed counts the events of its last start alone; its digest says how many there were over all starts. When all
//! lanes are streamed, they have brought every row of a view. Where a digest is not known (another producer began the lane), what is
//! missing was answered before.

use std::cmp::{max, min};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wsp::deliver::PushCounts;

use super::lane_note::LaneNote;
use super::record::Verdict;
use super::series::{BUCKETS, EventTimeSeries, RunSeries, WallSeries};
use super::start::{Start, StartOutput};
use super::status::{End, Status};
use super::summary::{LaneSummary, LanesSummary, OutputSummary, SUMMARY_SCHEMA, Summary, digest_of};
use super::tally::{Counts, Spread};
use crate::model::{Digested, Lane, Lanes, Micros, Reason, Refusal};

/// How one lane of a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneEnd {
    /// The lane.
    pub lane: Lane,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its summary, where it got as far as streaming.
    pub summary: Option<Box<Summary>>,
    /// The last note of the worker that ended it, where it held the lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<LaneNote>,
}

impl LanesSummary {
    fn of(lanes: Lanes, ends: &[LaneEnd]) -> Self {
        Self { count: lanes.count.get(), by: lanes.by, ends: ends.iter().map(LaneSummary::of).collect() }
    }
}

impl LaneSummary {
    /// The lane of this end.
    #[must_use]
    pub fn of(end: &LaneEnd) -> Self {
        let LaneEnd { lane, verdict, summary, note } = end;
        // A digest counts the events of all starts, the counts are those of the last one.
        let events = |output: &OutputSummary| output.event_id_digest_events.max(output.counts.settled());
        Self {
            index: lane.index(),
            status: verdict.status,
            reason: verdict.reason,
            answered: summary.as_ref().map_or(0, |summary| summary.totals.answered),
            events: summary.as_ref().map_or(0, |summary| summary.outputs.iter().map(events).sum()),
            resumed: summary.as_ref().is_some_and(|summary| summary.outputs.iter().any(resumed)),
            worker: note.as_ref().map(|note| note.worker.clone()),
            epoch: note.as_ref().and_then(|note| note.epoch),
            held: note.as_ref().map(|note| note.taken),
            takeovers: note.as_ref().map(|note| note.takeovers.clone()).unwrap_or_default(),
            ended: verdict.ts,
        }
    }
}

fn resumed(output: &OutputSummary) -> bool {
    output.start.resumed_at > 0 || output.counts.answered_earlier > 0
}

impl Summary {
    /// The summary of a run that set out as `start` and whose lanes have all ended so; `ends` has each of them once, by index.
    #[must_use]
    pub fn of_lanes(start: Start, lanes: Lanes, ends: &[LaneEnd]) -> Self {
        let parts: Vec<&Summary> = ends.iter().filter_map(|end| end.summary.as_deref()).collect();
        let refused = ends.iter().find_map(|LaneEnd { lane, verdict, summary, .. }| {
            let reason = verdict.reason.filter(|_| verdict.status != Status::Streamed)?;
            let words = summary.as_ref().and_then(|summary| summary.refusal.clone());
            Some((reason, format!("{lane}: {}", words.unwrap_or_else(|| reason.to_string()))))
        });
        let streamed = refused.is_none() && ends.iter().all(|end| end.verdict.status == Status::Streamed);
        let mut outputs: Vec<_> =
            (0..).zip(&start.outputs).map(|(rank, output)| output_of(rank, output, &parts)).collect();
        let uneven = streamed.then(|| complete(&mut outputs, &parts)).flatten();
        let refused = refused.or_else(|| uneven.map(|refusal| (refusal.reason, refusal.to_string())));
        let status = if streamed && refused.is_none() { Status::Streamed } else { Status::Failed };
        let mut totals = Counts::default();
        for output in &outputs {
            totals.add(&output.counts);
        }
        let spread = |of: fn(&Summary) -> Spread| parts.iter().map(|part| of(part)).fold(Spread::default(), longest);
        Self {
            schema: SUMMARY_SCHEMA.to_owned(),
            ready: start.ready,
            run: start.run,
            producer: start.producer,
            delivery: start.delivery,
            limits: start.limits,
            checks: start.checks,
            status,
            end: if status == Status::Streamed { End::Complete } else { End::Failed },
            reason: refused.as_ref().map(|(reason, _)| *reason),
            refusal: refused.map(|(_, words)| words),
            failures: parts.iter().map(|part| part.failures).sum(),
            emitted: totals.emitted() + totals.answered_earlier,
            totals,
            pushes: parts.iter().fold(PushCounts::default(), |sum, part| sum + part.pushes),
            bottleneck: parts.iter().find_map(|part| part.bottleneck.clone()),
            event_id_digest: digest_of(&outputs),
            latency: spread(|part| part.latency),
            lag: spread(|part| part.lag),
            series: series_of(start.started, &parts, outputs.len()),
            outputs,
            lanes: Some(LanesSummary::of(lanes, ends)),
            started: start.started,
            ended: ends.iter().map(|end| end.verdict.ts).max().unwrap_or(start.started).max(start.started),
        }
    }
}

/// One output over all lanes.
fn output_of(rank: usize, start: &StartOutput, parts: &[&Summary]) -> OutputSummary {
    let of_lanes = || parts.iter().filter_map(|part| part.outputs.get(rank));
    let mut counts = Counts::default();
    of_lanes().for_each(|output| counts.add(&output.counts));
    let Digested { from, events, digest } = digested(of_lanes());
    // A digest counts the events of all starts of a lane, the counts are those of its last one.
    counts.answered_earlier += events.saturating_sub(counts.settled());
    OutputSummary {
        start: start.clone(),
        counts,
        // Event times have one form, so that their order as texts is their order in time.
        first_ts_utc: of_lanes().filter_map(|output| output.first_ts_utc.clone()).min(),
        last_ts_utc: of_lanes().filter_map(|output| output.last_ts_utc.clone()).max(),
        event_id_digest: digest.to_hex(),
        event_id_digest_events: events,
        event_id_digest_from: Some(from),
    }
}

/// Accounts for every row of a run whose lanes are all streamed: what their last starts did not bring, earlier ones did. Where no
/// lane had an earlier start, nothing may be missing.
fn complete(outputs: &mut [OutputSummary], parts: &[&Summary]) -> Option<Refusal> {
    for (rank, output) in outputs.iter_mut().enumerate() {
        let (rows, settled) = (output.start.rows, output.counts.settled());
        let any_resumed = parts.iter().filter_map(|part| part.outputs.get(rank)).any(|part| part.start.resumed_at > 0);
        match rows.checked_sub(settled) {
            Some(missing) if missing == 0 || any_resumed => output.counts.answered_earlier += missing,
            _ => {
                let detail = format!("{}: its lanes brought {settled} of {rows} rows", output.start.output_id);
                return Some(Refusal::new(Reason::InternalError, detail));
            }
        }
    }
    None
}

/// What the lanes' digests of one output come to: those of all starts of each lane are in them. Nothing, where they don't count
/// from the same row.
fn digested<'a>(lanes: impl Iterator<Item = &'a OutputSummary>) -> Digested {
    let of_lane = |output: &OutputSummary| {
        let (from, events) = (output.event_id_digest_from?, output.event_id_digest_events);
        Some(Digested { from, events, digest: output.event_id_digest.clone().into() })
    };
    let lanes: Option<Vec<_>> = lanes.map(of_lane).collect();
    lanes.and_then(Digested::of_lanes).unwrap_or_else(|| Digested::none_from(0))
}

/// A quantile of all events is at most the largest of the parts'.
fn longest(a: Spread, b: Spread) -> Spread {
    Spread {
        p50_us: max(a.p50_us, b.p50_us),
        p90_us: max(a.p90_us, b.p90_us),
        p99_us: max(a.p99_us, b.p99_us),
        p999_us: max(a.p999_us, b.p999_us),
        max_us: max(a.max_us, b.max_us),
    }
}

/// The widest of the parts' buckets, doubled until `span` fits.
fn width(widths: impl Iterator<Item = u64>, span: u64) -> u64 {
    let mut width = widths.max().unwrap_or(0).max(1);
    while span / width >= BUCKETS as u64 {
        width = width.saturating_mul(2);
    }
    width
}

fn since(from: Micros, to: Micros) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

fn series_of(started: Micros, parts: &[&Summary], outputs: usize) -> RunSeries {
    RunSeries { wall: wall_of(started, parts), event_time: event_time_of(parts, outputs) }
}

/// Wall time counts from the run's start. A part's bucket goes into the one that its beginning lies in.
fn wall_of(started: Micros, parts: &[&Summary]) -> WallSeries {
    let end = |part: &&Summary| {
        let wall = &part.series.wall;
        since(started, part.started) + wall.bucket_us * wall.admitted.len() as u64
    };
    let bucket_us =
        width(parts.iter().map(|part| part.series.wall.bucket_us), parts.iter().map(end).max().unwrap_or(0));
    let mut merged = WallSeries { bucket_us, ..WallSeries::default() };
    let length = parts.iter().map(|part| (end(part) / bucket_us) as usize + 1).max().unwrap_or(0);
    let place = |part: &Summary, i: u64| (since(started, part.started) + i * part.series.wall.bucket_us) / bucket_us;
    let counts = |column| column_of(parts, length, place, column, |a: u64, b| a + b);
    let times = |column| column_of(parts, length, place, column, max);
    merged.admitted = counts(|wall| &wall.admitted);
    merged.duplicates = counts(|wall| &wall.duplicates);
    merged.quarantined = counts(|wall| &wall.quarantined);
    merged.retries = counts(|wall| &wall.retries);
    merged.latency_p50_us = times(|wall| &wall.latency_p50_us);
    merged.latency_p99_us = times(|wall| &wall.latency_p99_us);
    merged.lag_p50_us = times(|wall| &wall.lag_p50_us);
    merged.lag_p99_us = times(|wall| &wall.lag_p99_us);
    merged
}

/// One column of all parts: each of their buckets is added to that at its `place`.
fn column_of<T: Copy + Default>(
    parts: &[&Summary],
    length: usize,
    place: impl Fn(&Summary, u64) -> u64,
    column: fn(&WallSeries) -> &Vec<T>,
    add: fn(T, T) -> T,
) -> Vec<T> {
    let mut all = vec![T::default(); length];
    for part in parts {
        for (i, value) in (0_u64..).zip(column(&part.series.wall)) {
            let sum = &mut all[place(part, i) as usize];
            *sum = add(*sum, *value);
        }
    }
    all
}

fn event_time_of(parts: &[&Summary], outputs: usize) -> EventTimeSeries {
    let told: Vec<(Micros, &EventTimeSeries)> = parts
        .iter()
        .map(|part| &part.series.event_time)
        .filter_map(|series| Some((Micros::parse(series.from_ts_utc.as_ref()?.as_bytes())?, series)))
        .collect();
    let Some(first) = told.iter().map(|(from, _)| *from).reduce(min) else {
        let bucket_us = width(parts.iter().map(|part| part.series.event_time.bucket_us), 0);
        return EventTimeSeries { from_ts_utc: None, bucket_us, outputs: vec![Vec::new(); outputs] };
    };
    let end = |(from, series): &(Micros, &EventTimeSeries)| {
        since(first, *from) + series.bucket_us * series.outputs.first().map_or(0, Vec::len) as u64
    };
    let span = told.iter().map(end).max().unwrap_or(0);
    let bucket_us = width(told.iter().map(|(_, series)| series.bucket_us), span);
    let of_output = |rank: usize| {
        let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
        for (from, series) in &told {
            for (i, count) in (0_u64..).zip(series.outputs.get(rank).into_iter().flatten()) {
                *buckets.entry((since(first, *from) + i * series.bucket_us) / bucket_us).or_default() += count;
            }
        }
        (0..=span / bucket_us).map(|place| buckets.get(&place).copied().unwrap_or(0)).collect()
    };
    EventTimeSeries { from_ts_utc: Some(first.to_string()), bucket_us, outputs: (0..outputs).map(of_output).collect() }
}

#[cfg(test)]
mod tests;

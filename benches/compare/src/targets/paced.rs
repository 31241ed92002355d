//! Target 5: when events are sent, against when they were to be.
//!
//! ```text
//! paced run ───► off from due, each event ─────────────┐
//! the same world unpaced ──► what the gate takes a second ──► Line: what of it no sender could have kept
//! ```
//!
//! A world has bursts. Sped up, many events are due in less time than the gate can take them, and the last of them are late
//! whoever sends. The figures are of all events; beside them stands how many that is, and how far off the others are.

use std::collections::VecDeque;

use wsp_reference::world::WorldSpec;

use super::Bench;
use super::one_in_flight::quantile;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::parts::Streaming;
use crate::stage::Stage;
use crate::timed::{self, Sent};

const RATE: u64 = 5_000;
/// Connections of target 15.
const IN_FLIGHT: usize = 64;
const SPEEDUP: f64 = 600.0;
/// Events of the world that is sped up.
const EVENTS: u64 = 100_000;
/// What the target allows, milliseconds.
const ALLOWED: f64 = 1.0;

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let seconds = bench.options.pace_seconds;
    let spec = WorldSpec::new(RATE * seconds);
    let stage = bench.stage("paced", &spec)?;
    // The world's days in so many seconds: 5,000/s on average.
    let speedup = spec.days * 86_400.0 / seconds as f64;
    let env = [("WSP_TARGET_EPS", RATE.to_string())];
    let [mut by_rate, mut by_time] = [Steady::default(), Steady::default()];
    let mut line = Line::default();
    for round in 0..bench.options.rounds {
        bench.round("pace", round);
        let of = Streaming::new(bench.program(), &stage);
        let sent = timed::measure(&of, "timed", |run| run.speedup = speedup)?;
        line.count(&sent, taken(bench, &stage)?);
        by_time.count(sent.iter().map(|sent| sent.lag));
        by_rate.count(behind_rate(&timed::measure(&Streaming { env: &env, ..of }, "timed", |_| ())?));
    }
    let mut rows = Vec::new();
    let how = format!("speed-up {speedup:.0}, {RATE}/s on average, for {seconds} s; {}", line.told());
    rows.extend(by_time.rows("by event time", &how));
    rows.extend(by_rate.rows(
        "at a fixed rate",
        &format!("`WSP_TARGET_EPS={RATE}` for {seconds} s; due is n / {RATE} s after the first send"),
    ));
    rows.push(sped_up(bench)?);
    Ok(rows)
}

/// How far from due the events of some rounds were sent, milliseconds.
#[derive(Default)]
struct Steady {
    median: Spread,
    p99: Spread,
    drift: Spread,
}

impl Steady {
    /// Counts one round, of events in the order they were sent: nanoseconds behind due.
    fn count(&mut self, late: impl Iterator<Item = i64>) {
        let late: Vec<f64> = late.map(|nanos| nanos as f64 / 1e6).collect();
        let tenth = late.len() / 10;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        self.drift.0.push(mean(&late[late.len() - tenth..]) - mean(&late[..tenth]));
        let mut sizes: Vec<f64> = late.iter().map(|late| late.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        self.median.0.push(quantile(&sizes, 500));
        self.p99.0.push(quantile(&sizes, 990));
    }

    fn rows(&self, name: &str, how: &str) -> [Row; 2] {
        let row = |what: String, spread: &Spread, met: bool, how: String| Row {
            target: 5,
            what,
            figure: spread.told(3, " ms"),
            met: Met::from(met),
            how,
        };
        let worst = self.drift.0.iter().map(|drift| drift.abs()).fold(0.0, f64::max);
        [
            row(
                format!("{name}: intended and real send time differ by under 1 ms at p99"),
                &self.p99,
                self.p99.median() < ALLOWED,
                format!("{how}; noted at the gate port, 64 in flight; at the median {}", self.median.told(3, " ms")),
            ),
            row(
                format!("{name}: no drift, under 1 ms"),
                &self.drift,
                worst < 1.0,
                "mean lateness of the last tenth of the events less that of the first tenth, the same runs".to_owned(),
            ),
        ]
    }
}

/// What the gate takes of a world a second, from the first send to the last, where nothing paces.
fn taken(bench: &Bench, stage: &Stage) -> Result<f64> {
    let sent = timed::measure(&Streaming::new(bench.program(), stage), "timed", |_| ())?;
    let (first, last) = sent.first().zip(sent.last()).ok_or("nothing was sent")?;
    Ok((sent.len() - 1) as f64 / ((last.at - first.at) as f64 / 1e9))
}

/// What a gate of some rate makes wait, whoever sends: who is due stands in line behind all that were due before.
#[derive(Default)]
struct Line {
    /// Events a second.
    rate: Spread,
    /// Percent of the events that wait for longer than the target allows.
    held: Spread,
    /// How long at the 99th percentile, of all events, milliseconds.
    wait: Spread,
    /// How far from due the events were sent that have not to wait so long, at the 99th percentile, milliseconds.
    others: Spread,
}

impl Line {
    /// Counts one round: what was sent, and what the gate takes a second.
    fn count(&mut self, sent: &[Sent], rate: f64) {
        let (mut waits, mut others) = (Vec::new(), Vec::new());
        for (wait, lag) in at_best(sent, rate, 1) {
            if wait <= ALLOWED {
                others.push(lag.abs() as f64 / 1e6);
            }
            waits.push(wait);
        }
        self.rate.0.push(rate);
        self.held.0.push(100.0 - others.len() as f64 * 100.0 / waits.len() as f64);
        for (mut figures, into) in [(waits, &mut self.wait), (others, &mut self.others)] {
            figures.sort_by(f64::total_cmp);
            into.0.push(if figures.is_empty() { f64::NAN } else { quantile(&figures, 990) });
        }
    }

    fn told(&self) -> String {
        format!(
            "unpaced the gate takes {} of this world, at which rate {} of the events have to wait in line for more than \
             {ALLOWED} ms, whoever sends (p99 of all {}); the others are off by {} at p99",
            self.rate.told(0, "/s"),
            self.held.told(1, " %"),
            self.wait.told(2, " ms"),
            self.others.told(3, " ms"),
        )
    }
}

/// Target 15: how late the made-up world's bursts are sent, beside the least that a client with as many connections could
/// reach before a gate of this rate.
pub(super) fn bursts(bench: &Bench) -> Result<Vec<Row>> {
    let seconds = bench.options.pace_seconds;
    let spec = WorldSpec::new(RATE * seconds);
    let stage = bench.stage("bursts", &spec)?;
    let speedup = spec.days * 86_400.0 / seconds as f64;
    let [mut own, mut least, mut rate] = <[Spread; 3]>::default();
    for round in 0..bench.options.rounds {
        bench.round("bursts", round);
        let sent = timed::measure(&Streaming::new(bench.program(), &stage), "timed", |run| run.speedup = speedup)?;
        let takes = taken(bench, &stage)?;
        let mut late: Vec<f64> = sent.iter().map(|sent| sent.lag.max(0) as f64 / 1e6).collect();
        late.sort_by(f64::total_cmp);
        own.0.push(quantile(&late, 990));
        let mut best: Vec<f64> = at_best(&sent, takes, IN_FLIGHT).map(|(wait, _)| wait).collect();
        best.sort_by(f64::total_cmp);
        least.0.push(quantile(&best, 990));
        rate.0.push(takes);
    }
    let ratio = own.over(&least);
    Ok(vec![Row {
        target: 15,
        what: "by event time: late at p99, at most 1.2 times the least that any client could reach".to_owned(),
        figure: ratio.told(2, ""),
        met: Met::from(ratio.median() <= 1.2),
        how: format!(
            "speed-up {speedup:.0}, {RATE}/s on average, for {seconds} s, 64 in flight: {}; at best {}, simulated with 64 in \
             flight before a gate that takes {}",
            own.told(3, " ms"),
            least.told(3, " ms"),
            rate.told(0, "/s")
        ),
    }])
}

/// By due time, how late each event is sent at best, milliseconds, and its lag: at its due time, or when one of so many
/// requests before a gate of this rate is answered.
fn at_best(sent: &[Sent], rate: f64, in_flight: usize) -> impl Iterator<Item = (f64, i64)> {
    let mut due: Vec<(i64, i64)> = sent.iter().map(|sent| (sent.at as i64 - sent.lag, sent.lag)).collect();
    due.sort_unstable();
    let mut on_the_way = VecDeque::new();
    let mut served = f64::MIN;
    due.into_iter().map(move |(due, lag)| {
        let due = due as f64;
        let free = if on_the_way.len() < in_flight { None } else { on_the_way.pop_front() };
        let at = due.max(free.unwrap_or(f64::MIN));
        served = at.max(served) + 1e9 / rate;
        on_the_way.push_back(served);
        ((at - due) / 1e6, lag)
    })
}

/// How far behind a fixed rate each event was sent, nanoseconds.
fn behind_rate(sent: &[Sent]) -> impl Iterator<Item = i64> {
    let due = |n: usize| n as i64 * (1_000_000_000 / RATE as i64);
    sent.iter().enumerate().map(move |(n, now)| (now.at - sent[0].at) as i64 - due(n))
}

/// Event time, faster: once, as it takes minutes.
fn sped_up(bench: &Bench) -> Result<Row> {
    let hours = bench.options.hours;
    let stage = bench.stage("day", &WorldSpec { days: hours / 24.0, ..WorldSpec::new(EVENTS) })?;
    eprintln!("pace: {hours} hours of event time in {:.0} s", hours * 3_600.0 / SPEEDUP);
    let sent = timed::measure(&Streaming::new(bench.program(), &stage), "timed", |run| run.speedup = SPEEDUP)?;
    let mut line = Line::default();
    line.count(&sent, taken(bench, &stage)?);
    let (first, last) = sent.first().zip(sent.last()).ok_or("nothing was sent")?;
    let due = (last.ts - first.ts) as f64 / SPEEDUP / 1e6;
    let took = (last.at - first.at) as f64 / 1e9;
    let off = (took - due).abs() / due * 100.0;
    let mut lags: Vec<f64> = sent.iter().map(|sent| sent.lag.abs() as f64 / 1e6).collect();
    lags.sort_by(f64::total_cmp);
    Ok(Row {
        target: 5,
        what: "the end at speed-up 600 within 0.1 % of due".to_owned(),
        figure: format!("{off:.4} % off, one run"),
        met: if hours < 24.0 { Met::Open } else { Met::from(off <= 0.1) },
        how: format!(
            "{} events over {hours} hours of event time{}: last send {took:.3} s after the first, due after \
             {due:.3} s; each event off by p50 {:.3} ms, p99 {:.3} ms; {}",
            sent.len(),
            if hours < 24.0 { " (a day is meant)" } else { "" },
            quantile(&lags, 500),
            quantile(&lags, 990),
            line.told()
        ),
    })
}

//! Target 5: when events are sent, against when they were to be.

use wsp::reference::world::WorldSpec;

use super::Bench;
use super::one_in_flight::quantile;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::timed::{self, Sent};

const RATE: u64 = 5_000;
const SPEEDUP: f64 = 600.0;
/// Events of the world that is sped up.
const EVENTS: u64 = 100_000;

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let seconds = bench.options.pace_seconds;
    let spec = WorldSpec::new(RATE * seconds);
    let stage = bench.stage("paced", &spec)?;
    // The world's days in so many seconds: 5,000/s on average.
    let speedup = spec.days * 86_400.0 / seconds as f64;
    let env = [("WSP_TARGET_EPS", RATE.to_string())];
    let [mut by_rate, mut by_time] = [Steady::default(), Steady::default()];
    for round in 0..bench.options.rounds {
        bench.round("pace", round);
        let of = (bench.program(), &stage);
        by_time.count(timed::measure(of, "timed", &[], |run| run.speedup = speedup)?.iter().map(|sent| sent.lag));
        by_rate.count(behind_rate(&timed::measure(of, "timed", &env, |_| ())?));
    }
    let mut rows = Vec::new();
    rows.extend(by_time.rows("by event time", &format!("speed-up {speedup:.0}, {RATE}/s on average, for {seconds} s")));
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
                self.p99.median() < 1.0,
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
    let sent = timed::measure((bench.program(), &stage), "timed", &[], |run| run.speedup = SPEEDUP)?;
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
            "{} events over {hours} hours of event time (a day is meant): last send {took:.3} s after the first, due after \
             {due:.3} s; each event off by p50 {:.2} ms, p99 {:.2} ms",
            sent.len(),
            quantile(&lags, 500),
            quantile(&lags, 990)
        ),
    })
}

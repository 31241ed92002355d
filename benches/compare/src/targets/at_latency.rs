//! Targets 11, 12 and 14: a gate that takes its time to answer.
//!
//! ```text
//! wsp run --once ─┐
//! bare hyper      ┴─► wsp gate --faults latency=…
//! ```
//!
//! A client of n connections reaches n answers per round trip. One key allows one event per round trip, so the hottest key of
//! a world bounds every client that keeps the order within keys: the reference is the lesser of that and the bare client.

use wsp_reference::world::WorldSpec;

use super::Bench;
use super::end_to_end::rate;
use super::one_in_flight::quantile;
use super::table::{Met, Row, Spread};
use crate::parts::Streaming;
use crate::timed::{self, Sent};
use crate::{Result, stage};

/// Merchants as evenly busy as in a world of millions.
pub(crate) const EVENNESS: u32 = 70;
/// Connections, and the events of the world that they are measured on: some ten seconds each.
pub(super) const SIZES: [(u32, u64); 3] = [(64, 60_000), (256, 160_000), (1_024, 1_000_000)];

pub(super) fn constant(bench: &Bench) -> Result<Vec<Row>> {
    rows(bench, (11, "latency=const(10ms)", 0.97, 0.010))
}

pub(super) fn spread(bench: &Bench) -> Result<Vec<Row>> {
    rows(bench, (12, "latency=lognormal(8ms,0.7)", 0.95, 0.0102))
}

/// The target's number, the gate's faults, the least ratio, and the mean latency in seconds.
type Asked<'a> = (u8, &'a str, f64, f64);

fn rows(bench: &Bench, asked: Asked<'_>) -> Result<Vec<Row>> {
    let gate = ["--faults", asked.1];
    SIZES.into_iter().map(|size| row(bench, asked, &gate, size)).collect()
}

fn row(bench: &Bench, asked: Asked<'_>, gate: &[&str], (in_flight, events): (u32, u64)) -> Result<Row> {
    let (target, faults, least, latency) = asked;
    let stage = bench
        .stage(&format!("late-{target}-{in_flight}"), &WorldSpec { evenness: EVENNESS, ..WorldSpec::new(events) })?;
    let profile = stage.run("http://127.0.0.1:1", |_| ())?;
    let share = stage::hottest(&profile)?;
    stage.clear(&profile)?;
    let run = Streaming { gate, ..Streaming::new(bench.program(), &stage) };
    let [mut own, mut bare, mut allowed, mut ratio, mut cpu] = <[Spread; 5]>::default();
    for round in 0..bench.options.rounds {
        bench.round(&format!("{faults}, {in_flight} in flight"), round);
        let mut samples = [None, None];
        for side in 0..2 {
            let side = (side + round) % 2;
            let (sample, _) = if side == 0 {
                run.run(|run| (run.in_flight, run.window) = (in_flight, 8 * in_flight))?
            } else {
                run.bare(events, in_flight)?
            };
            samples[side] = Some(sample);
        }
        let [Some(sample), Some(partner)] = samples else { return Err("a side was not run".into()) };
        let (own_rate, bare_rate) = (rate(&sample)?, rate(&partner)?);
        // One event of the key after the other, each at least the latency.
        let key_allows = 1.0 / (share * latency);
        own.0.push(own_rate);
        bare.0.push(bare_rate);
        allowed.0.push(key_allows);
        ratio.0.push(own_rate / bare_rate.min(key_allows));
        cpu.0.push(sample.cpu);
    }
    Ok(Row {
        target,
        what: format!(
            "{faults}, {in_flight} in flight: rate of a bare hyper client, or what the hottest key allows, at least {least}"
        ),
        figure: ratio.told(2, ""),
        met: Met::from(ratio.median() >= least),
        how: format!(
            "{events} events, evenness {EVENNESS}, window {}; wsp {} from start to end ({} of CPU an event), bare {}; the \
             hottest key has {:.2} % of the events, which allows {}",
            8 * in_flight,
            own.told(0, "/s"),
            cpu.told(1, " µs"),
            bare.told(0, "/s"),
            share * 100.0,
            allowed.told(0, "/s"),
        ),
    })
}

/// How far from its place in canonical order each event was sent.
pub(super) fn displacement(bench: &Bench) -> Result<Vec<Row>> {
    let (in_flight, events) = SIZES[0];
    let stage = bench.stage("places", &WorldSpec { evenness: EVENNESS, ..WorldSpec::new(events) })?;
    let mut rows = Vec::new();
    for (name, gate) in [("no latency", &[][..]), ("latency=const(10ms)", &["--faults", "latency=const(10ms)"][..])] {
        let run = Streaming { gate, ..Streaming::new(bench.program(), &stage) };
        let [mut far, mut farthest] = <[Spread; 2]>::default();
        for round in 0..bench.options.rounds {
            bench.round(&format!("displacement, {name}"), round);
            let sent = timed::measure(&run, "timed", |run| (run.in_flight, run.window) = (in_flight, 8 * in_flight))?;
            let places = places(&sent);
            far.0.push(quantile(&places, 999));
            farthest.0.push(quantile(&places, 1000));
        }
        let most = f64::from(4 * in_flight);
        rows.push(Row {
            target: 14,
            what: format!("{name}, {in_flight} in flight: places from canonical order at p99.9, at most {most}"),
            figure: far.told(0, ""),
            met: Met::from(far.median() <= most),
            how: format!(
                "{events} events, evenness {EVENNESS}, first attempts noted at the gate port; farthest {}",
                farthest.told(0, "")
            ),
        });
    }
    Ok(rows)
}

/// How many places from its own each event was sent, ascending. `sent` is in the order of sending.
fn places(sent: &[Sent]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..sent.len()).collect();
    order.sort_by_key(|&at| (sent[at].ts, sent[at].row));
    let mut places: Vec<f64> = order.iter().enumerate().map(|(own, &at)| own.abs_diff(at) as f64).collect();
    places.sort_by(f64::total_cmp);
    places
}

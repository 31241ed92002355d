//! Targets 1 and 3: a whole run beside wrk and a bare hyper client, and its CPU beside the old producer's.

use super::Bench;
use super::table::{Met, Row, Spread, said};
use crate::parts::{self, Streaming};
use crate::{Result, figures::Sample};

const CONNECTIONS: u32 = 64;
/// CPU an event of the producer that WSP takes the place of, microseconds: least and most that the issue gives.
const OLD_CPU: [f64; 2] = [1_100.0, 2_600.0];

/// All rounds of the three.
pub(super) struct EndToEnd {
    /// Events a second of `wsp run --once`, the whole process.
    pub(super) rate: Spread,
    cpu: Spread,
    wrk: Spread,
    bare: Spread,
}

impl EndToEnd {
    pub(super) fn measure(bench: &Bench) -> Result<Self> {
        let (stage, events) = (bench.world()?, bench.options.events);
        let bodies = parts::bodies_file(stage, &bench.folder)?;
        // About as long as a run takes.
        let seconds = (events / 80_000).clamp(3, 15);
        let mut rounds =
            Self { rate: Spread::default(), cpu: Spread::default(), wrk: Spread::default(), bare: Spread::default() };
        for round in 0..bench.options.rounds {
            bench.round("end to end", round);
            for side in 0..3 {
                // No side is always the first.
                match (side + round) % 3 {
                    0 => {
                        let (sample, _) = Streaming::new(bench.program(), stage).run(|_| ())?;
                        rounds.rate.0.push(rate(&sample)?);
                        rounds.cpu.0.push(sample.cpu);
                    }
                    1 => {
                        rounds.bare.0.push(rate(&Streaming::new(bench.program(), stage).bare(events, CONNECTIONS)?.0)?)
                    }
                    _ => rounds.wrk.0.push(parts::wrk(bench.program(), &bodies, seconds, CONNECTIONS)?),
                }
            }
        }
        Ok(rounds)
    }
}

pub(super) fn rate(sample: &Sample) -> Result<f64> {
    Ok(sample.rate.ok_or("a client without a rate")?)
}

pub(super) fn ratios(bench: &Bench) -> Result<Vec<Row>> {
    let EndToEnd { rate, cpu, wrk, bare } = bench.end_to_end()?;
    let row = |what: &str, name: &str, partner: &Spread, least: f64, how: String| {
        let ratio = rate.over(partner);
        Row {
            target: 1,
            what: format!("{what}, at least {least:.2}"),
            figure: ratio.told(2, ""),
            met: Met::from(ratio.median() >= least),
            how: format!("wsp {}, {name} {}; {how}", rate.told(0, "/s"), partner.told(0, "/s")),
        }
    };
    let version = said("wrk", &["-v"]);
    let version = version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(vec![
        row(
            "rate of wrk",
            "wrk",
            wrk,
            0.60,
            format!(
                "`wsp run --once` from start to end ({} of CPU an event), keyed, 64 in flight, cursors saved durably every \
                 1,000; {version}, one thread, 64 connections, bodies of the run, an id each; the gate a process of its own",
                cpu.told(1, " µs")
            ),
        ),
        row(
            "rate of a bare hyper client",
            "bare",
            bare,
            0.75,
            "the same bodies from memory, a hyper sender a connection, 64 of them, counted from its first connection on".to_owned(),
        ),
    ])
}

pub(super) fn per_core(bench: &Bench) -> Result<Vec<Row>> {
    let cpu = &bench.end_to_end()?.cpu;
    let [least, most] = OLD_CPU.map(|old| cpu.0.iter().map(|own| old / own).collect::<Spread>());
    Ok(vec![Row {
        target: 3,
        what: "CPU an event, at least 70 times less than the old producer's".to_owned(),
        figure: format!("{} times less", least.told(0, "")),
        met: Met::from(least.median() >= 70.0),
        how: format!(
            "the process's CPU, start and end included ({}), beside 1,100 µs, the least that the issue gives for the old \
             producer; with the most, 2,600 µs, {}; not run side by side here",
            cpu.told(1, " µs"),
            most.told(0, "")
        ),
    }])
}

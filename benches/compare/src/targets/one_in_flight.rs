//! Target 4: what WSP adds to a bare hyper client's round trip with one request in flight.

use wsp_reference::LocalRun;

use super::Bench;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::parts::Streaming;
use crate::timed::{self, Sent};

const EVENTS: u64 = 30_000;
/// Sends before these open the connection and warm the caches.
const WARM: usize = 500;

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let stage = bench.stage("one", &wsp_reference::world::WorldSpec::new(EVENTS))?;
    let of = Streaming::new(bench.program(), &stage);
    let strict = |run: &mut LocalRun<'_>| run.in_flight = 1;
    let mut own: [Spread; 2] = Default::default();
    let mut bare: [Spread; 2] = Default::default();
    for round in 0..bench.options.rounds {
        bench.round("one in flight", round);
        for side in 0..2 {
            let (part, into) = if (side + round) % 2 == 0 { ("timed", &mut own) } else { ("lone", &mut bare) };
            let cycles = cycles(&timed::measure(&of, part, strict)?);
            for (into, per_mille) in into.iter_mut().zip([500, 990]) {
                into.0.push(quantile(&cycles, per_mille) / 1e3);
            }
        }
    }
    let row = |name: &str, i: usize, most: f64| {
        let added: Spread = own[i].0.iter().zip(&bare[i].0).map(|(own, bare)| own - bare).collect();
        Row {
            target: 4,
            what: format!("added to a bare round trip at the {name}, under {most} µs"),
            figure: added.told(1, " µs"),
            met: Met::from(added.median() < most),
            how: format!(
                "from one send to the next, {EVENTS} events, in flight 1: {} and bare hyper {}; the program's chain with \
                 times noted at its gate port, cursors saved durably every 1,000, gates in processes of their own",
                own[i].told(1, " µs"),
                bare[i].told(1, " µs")
            ),
        }
    };
    Ok(vec![row("median", 0, 40.0), row("99th percentile", 1, 200.0)])
}

/// From each send to the next, nanoseconds, ascending.
fn cycles(sent: &[Sent]) -> Vec<f64> {
    let mut cycles: Vec<f64> = sent[WARM..].windows(2).map(|pair| (pair[1].at - pair[0].at) as f64).collect();
    cycles.sort_by(f64::total_cmp);
    cycles
}

/// What so many of 1,000 are at most; `sorted` must not be empty.
pub(super) fn quantile(sorted: &[f64], per_mille: usize) -> f64 {
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)]
}

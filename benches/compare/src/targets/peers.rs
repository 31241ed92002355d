//! Target 19: a stream processor and a load generator on the same bodies, before the same gate that takes its time.
//!
//! ```text
//! wsp run --once (Parquet, order within keys, cursors) ─┐
//! Benthos        (lines of a file, no order)            ├─► wsp gate --faults latency=const(10ms)
//! vegeta         (lines of a file, no order)            ┘
//! ```
//!
//! After each side the gate must have admitted every event once.

use wsp_reference::world::WorldSpec;

use super::Bench;
use super::at_latency::{EVENNESS, SIZES};
use super::end_to_end::rate;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::figures::Sample;
use crate::parts::{self, Streaming};
use crate::peers::{self, Bodies, Peer};

const TARGET: u8 = 19;
const FAULTS: &str = "latency=const(10ms)";
/// The limit of every client is its requests in flight over the latency. From this ratio of the rates on, both reach it.
const EQUAL: f64 = 0.97;

/// The figures of one program over the rounds.
#[derive(Default)]
struct Side {
    rate: Spread,
    cpu: Spread,
}

impl Side {
    fn told(&self) -> String {
        format!("{} at {} of CPU an event", self.rate.told(0, "/s"), self.cpu.told(1, " µs"))
    }
}

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let Some(peers) = peers::installed()? else { return Ok(vec![skipped()]) };
    let (in_flight, events) = SIZES[0];
    let stage = bench.stage("peers", &WorldSpec { evenness: EVENNESS, ..WorldSpec::new(events) })?;
    let bodies = Bodies::write(&stage, &bench.folder)?;
    let run = Streaming { gate: &["--faults", FAULTS], ..Streaming::new(bench.program(), &stage) };
    let mut own = Side::default();
    let mut others = <[Side; 2]>::default();
    for round in 0..bench.options.rounds {
        bench.round("peers", round);
        // No side is always the first.
        for side in 0..=peers.len() {
            let (sample, into) = match (side + round) % (peers.len() + 1) {
                0 => (own_run(&run, bodies.events(), in_flight)?, &mut own),
                nth => (peers[nth - 1].run(&run, &bodies, in_flight)?, &mut others[nth - 1]),
            };
            into.rate.0.push(rate(&sample)?);
            into.cpu.0.push(sample.cpu);
        }
    }
    Ok(peers.iter().zip(&others).flat_map(|(peer, other)| compared(&own, peer, other, in_flight, events)).collect())
}

fn own_run(run: &Streaming<'_>, events: u64, in_flight: u32) -> Result<Sample> {
    let (sample, gate, _) = run.streamed(|run| (run.in_flight, run.window) = (in_flight, 8 * in_flight))?;
    parts::admitted(gate, events)?;
    Ok(sample)
}

fn compared(own: &Side, peer: &Peer, other: &Side, in_flight: u32, events: u64) -> [Row; 2] {
    let (rates, cpu) = (own.rate.over(&other.rate), own.cpu.over(&other.cpu));
    let name = peer.name();
    let how = format!(
        "wsp {}; {name} {} ({}); each a whole process from start to end, {events} events, evenness {EVENNESS}, the \
         same bodies, every event admitted once; wsp keyed, window {}, from Parquet with cursors saved; {name} from a \
         file of bodies, without any order",
        own.told(),
        other.told(),
        peer.settings(),
        8 * in_flight,
    );
    let row = |what: String, ratio: &Spread, met: bool| Row {
        target: TARGET,
        what,
        figure: ratio.told(2, ""),
        met: met.into(),
        how: how.clone(),
    };
    let at = format!("{FAULTS}, {in_flight} in flight");
    [
        row(format!("{at}: rate over that of {name}, at least {EQUAL}"), &rates, rates.median() >= EQUAL),
        row(format!("{at}: CPU an event over that of {name}, less than 1"), &cpu, cpu.median() < 1.0),
    ]
}

fn skipped() -> Row {
    let how = "skipped: the peers are built with Go, and there is no `go` on the PATH";
    eprintln!("target {TARGET}: {how}");
    Row {
        target: TARGET,
        what: format!("{FAULTS}: rate and CPU an event over those of Benthos and vegeta"),
        figure: "not measured".to_owned(),
        met: Met::Open,
        how: how.to_owned(),
    }
}

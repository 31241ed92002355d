//! `compare workers`: one process, one worker with all lanes, and several workers with a part of the lanes each, as a Markdown table.
//!
//! ```text
//! wsp run --once                ─┐
//! wsp run --once, 16 lanes       ├─► wsp gate --faults latency=…, a process and a ledger of its own each time
//! 4 × wsp run --once, 16 lanes  ─┘
//! ```
//!
//! All sides have the same number of requests in flight in sum. The clock runs from the first start to the last end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use wsp_reference::LocalRun;
use wsp_reference::world::WorldSpec;

use crate::figures::{machine, median};
use crate::process::{Of, Running, cpu};
use crate::stage::{self, Stage};
use crate::targets::EVENNESS;
use crate::{Result, parts};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events of the run.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Rounds; five or more make a median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests in flight in sum, which are connections.
    #[arg(long, default_value_t = 256)]
    in_flight: u32,
    #[arg(long, default_value_t = 16)]
    lanes: u32,
    #[arg(long, default_value_t = 4)]
    workers: u32,
    /// The gate's faults.
    #[arg(long, default_value = "latency=const(10ms)")]
    faults: String,
    /// The program, where it shall not be built here.
    #[arg(long)]
    wsp: Option<PathBuf>,
}

/// How a run is streamed: by so many processes, over lanes or not.
struct Side {
    name: String,
    processes: u32,
    lanes: Option<(u32, u32)>,
    in_flight: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { events, rounds, in_flight, lanes, workers, .. } = options;
    let wsp = match &options.wsp {
        Some(wsp) => wsp.canonicalize()?,
        None => parts::build()?,
    };
    let folder = tempfile::tempdir()?;
    println!("{}; {events} events, {in_flight} in flight in sum, {}, {rounds} rounds\n", machine(), options.faults);
    let stage = Stage::set(folder.path(), &WorldSpec { evenness: EVENNESS, ..WorldSpec::new(*events) })?;
    let shared = |processes: u32| Side {
        name: format!("{lanes} lanes, workers: {processes}"),
        processes,
        lanes: Some((*lanes, lanes.div_ceil(processes))),
        in_flight: (in_flight / lanes).max(1),
    };
    let whole = Side { name: "one process, no lanes".to_owned(), processes: 1, lanes: None, in_flight: *in_flight };
    let sides = [whole, shared(1), shared(*workers)];
    let mut figures = sides.each_ref().map(|_| [const { Vec::new() }; 2]);
    for round in 0..*rounds {
        eprintln!("workers: round {} of {rounds}", round + 1);
        // No side is always the first.
        for place in 0..sides.len() {
            let at = (place + round) % sides.len();
            let (rate, cost) = streamed(options, &wsp, &stage, &sides[at])?;
            figures[at][0].push(rate);
            figures[at][1].push(cost);
        }
    }
    println!("| | events/s | to one process | CPU an event |\n|---|---|---|---|");
    for (side, [rates, costs]) in sides.iter().zip(&figures) {
        let ratio = median(rates.iter().zip(&figures[0][0]).map(|(rate, one)| rate / one).collect());
        println!("| {} | {:.0} | {ratio:.2} | {:.1} µs |", side.name, median(rates.clone()), median(costs.clone()));
    }
    Ok(())
}

/// Events a second, and microseconds of CPU an event of all processes of the side.
fn streamed(options: &Options, wsp: &Path, stage: &Stage, side: &Side) -> Result<(f64, f64)> {
    let (gate, url) = parts::gate(wsp, &["--faults", &options.faults])?;
    let change = |run: &mut LocalRun<'_>| {
        (run.in_flight, run.window, run.lanes) = (side.in_flight, 8 * side.in_flight, side.lanes);
    };
    let profile = stage.run(&url, change)?;
    let (started, before) = (Instant::now(), cpu(Of::Children)?);
    let mut processes = Vec::new();
    for _ in 0..side.processes {
        let mut command = Command::new(wsp);
        command.args(["--log", "error", "run", "--once", "--profile"]).arg(&profile);
        command.current_dir(stage::folder_of(&profile)?);
        processes.push(Running::start(command)?);
    }
    for process in processes {
        process.end()?;
    }
    let (wall, cost) = (started.elapsed(), cpu(Of::Children)?.saturating_sub(before));
    parts::admitted(gate, options.events)?;
    stage.clear(&profile)?;
    let events = options.events as f64;
    Ok((events / wall.as_secs_f64(), cost.as_secs_f64() * 1e6 / events))
}

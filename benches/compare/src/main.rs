//! What does WSP cost beside the least that HTTP can cost, and does it meet its targets?
//!
//! ```text
//! one world ─┬─► wsp run --once ──────────────────────┐
//!            │   (Parquet to answers, checkpoints)    ├──► wsp gate, a process and a ledger of its own each time
//!            └─► bodies in memory ─► bare hyper client┤
//!                                                     └──► bare hyper server
//! compare targets ─► a Markdown table of the targets, further partners are wrk, DataFusion, arrow-json, peers
//! compare peers-replay ─► wsp replay beside Benthos, vegeta, syslog-ng and wsp run
//! compare workers ─► a run by one process, and by workers that share its lanes
//! ```
//!
//! Every round runs all sides, one after the other, on the same machine; ratios are taken within a round, and their
//! medians over the rounds are printed. Each client is a process of its own, and its CPU time is what the operating
//! system counted for it.

mod bare;
mod figures;
mod intake;
mod parts;
mod peers;
mod process;
mod replays;
mod rows;
mod servers;
mod stage;
mod targets;
mod timed;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wsp_reference::world::WorldSpec;

use figures::Figures;
use parts::Streaming;
use stage::Stage;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, Parser)]
#[command(about = "wsp run beside a bare HTTP client, in turns")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// Events over the four outputs.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Rounds; five or more make a median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests in flight, which are connections.
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// The program, where it shall not be built here.
    #[arg(long)]
    wsp: Option<PathBuf>,
    /// A second build of the program, to be run in the same rounds.
    #[arg(long)]
    other: Option<PathBuf>,
    /// Where world, checkpoints and evidence lie. Default: a temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The table, and the other processes of a round, which the driver starts.
#[derive(Debug, Subcommand)]
enum Part {
    /// Measures the targets and prints their table (Markdown).
    Targets(targets::Options),
    /// Measures `wsp replay` beside other senders of lines, and beside `wsp run`, and prints tables (Markdown).
    PeersReplay(replays::Options),
    /// Measures a run by one process beside the same run by workers that share its lanes, and prints a table (Markdown).
    Workers(workers::Options),
    /// Takes any body, and keeps account.
    #[command(hide = true)]
    Intake(intake::Faults),
    /// Sends the bodies of a profile's run to an address.
    #[command(hide = true)]
    Client { profile: PathBuf, url: String, connections: usize },
    /// Answers everything at once.
    #[command(hide = true)]
    Server,
    /// Streams a profile's run and tells when each event was sent.
    #[command(hide = true)]
    Timed { profile: PathBuf },
    /// Sends the bodies of a profile's run one at a time and tells when.
    #[command(hide = true)]
    Lone { profile: PathBuf, address: SocketAddr },
    /// Times one way from rows to something, on this thread.
    #[command(hide = true)]
    Rows { way: rows::Way, profiles: Vec<PathBuf> },
}

fn main() -> Result<()> {
    let Cli { part, options } = Cli::parse();
    match part {
        None => compare(&options),
        Some(Part::Targets(options)) => targets::run(options),
        Some(Part::PeersReplay(options)) => replays::run(&options),
        Some(Part::Workers(options)) => workers::run(&options),
        Some(Part::Intake(faults)) => intake::serve(faults),
        Some(Part::Server) => bare::serve(),
        Some(Part::Client { profile, url, connections }) => {
            let bodies = stage::bodies(&profile, u64::MAX)?;
            println!("{}", bare::client(&url, connections, bodies)?);
            Ok(())
        }
        Some(Part::Timed { profile }) => timed::run(&profile),
        Some(Part::Lone { profile, address }) => timed::lone(&profile, address),
        Some(Part::Rows { way, profiles }) => rows::run(way, &profiles),
    }
}

fn compare(options: &Options) -> Result<()> {
    let Options { events, rounds, in_flight, other, .. } = options;
    let wsp = match &options.wsp {
        Some(wsp) => wsp.clone(),
        None => parts::build()?,
    };
    let temporary = tempfile::tempdir()?;
    let folder = options.dir.as_deref().unwrap_or(temporary.path());
    println!("{}", figures::machine());
    println!("{events} events, {in_flight} in flight, {rounds} rounds");
    let stage = Stage::set(folder, &WorldSpec::new(*events))?;
    let mut figures = Figures::default();
    for round in 1..=*rounds {
        let mut row = Vec::new();
        for (name, at, program) in [("wsp", "its gate", Some(&wsp)), ("other wsp", "other gate", other.as_ref())] {
            let Some(program) = program else { continue };
            let (client, gate) = Streaming::new(program, &stage).run(|run| run.in_flight = *in_flight)?;
            row.extend([(name, client), (at, gate)]);
        }
        let (client, gate) = Streaming::new(&wsp, &stage).bare(*events, *in_flight)?;
        row.extend([("bare client", client), ("gate of bare", gate)]);
        let (client, server) = parts::echo(&stage, *events, *in_flight)?;
        row.extend([("bare pair", client), ("bare server", server)]);
        println!("round {round}");
        for (name, sample) in &row {
            println!("  {name:<14} {sample}");
        }
        figures.round(row);
    }
    println!("{figures}");
    Ok(())
}

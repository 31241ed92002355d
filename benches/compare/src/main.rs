//! What does WSP cost beside the least that HTTP can cost?
//!
//! ```text
//! one world ─┬─► wsp run --once ──────────────────────┐
//!            │   (Parquet to answers, checkpoints)    ├──► wsp gate, a process and a ledger of its own each time
//!            └─► bodies in memory ─► bare hyper client┤
//!                                                     └──► bare hyper server
//! ```
//!
//! Every round runs all three, one after the other, on the same machine; ratios are taken within a round, and their
//! medians over the rounds are printed. Each client is a process of its own, and its CPU time is what the operating
//! system counted for it.

mod bare;
mod figures;
mod process;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Parser, Subcommand};

use figures::{Figures, Sample};
use process::Running;
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
    in_flight: usize,
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

/// The other processes of a round; the driver starts them.
#[derive(Debug, Subcommand)]
enum Part {
    /// Sends the bodies of a profile's run to an address.
    #[command(hide = true)]
    Client { profile: PathBuf, address: std::net::SocketAddr, connections: usize },
    /// Answers everything at once.
    #[command(hide = true)]
    Server,
}

fn main() -> Result<()> {
    let Cli { part, options } = Cli::parse();
    match part {
        None => compare(&options),
        Some(Part::Server) => bare::serve(),
        Some(Part::Client { profile, address, connections }) => {
            let bodies = stage::bodies(&profile)?;
            println!("{}", bare::client(address, connections, bodies)?);
            Ok(())
        }
    }
}

fn compare(options: &Options) -> Result<()> {
    let wsp = match &options.wsp {
        Some(wsp) => wsp.clone(),
        None => build()?,
    };
    let temporary = tempfile::tempdir()?;
    let folder = options.dir.as_deref().unwrap_or(temporary.path());
    println!("{}", figures::machine());
    println!("{} events, {} in flight, {} rounds", options.events, options.in_flight, options.rounds);
    let stage = Stage::set(folder, options.events, options.in_flight)?;
    let mut figures = Figures::default();
    for round in 1..=options.rounds {
        let mut row = Vec::new();
        for (name, at, program) in
            [("wsp", "its gate", Some(&wsp)), ("other wsp", "other gate", options.other.as_ref())]
        {
            let Some(program) = program else { continue };
            let (client, gate) = stream(program, &stage, options)?;
            row.extend([(name, client), (at, gate)]);
        }
        let (client, gate) = send(&wsp, &stage, options)?;
        row.extend([("bare client", client), ("gate of bare", gate)]);
        let (client, server) = echo(&stage, options)?;
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

/// The program, built as it is shipped.
fn build() -> Result<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--release", "--locked", "--bin", "wsp"]).current_dir(&root).status()?;
    if !built.success() {
        return Err("the program could not be built".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/wsp"))
}

/// `wsp run --once` into a new gate: the whole process, start and end included.
fn stream(program: &Path, stage: &Stage, options: &Options) -> Result<(Sample, Sample)> {
    let (gate, url) = gate(program)?;
    let profile = stage.run(&url)?;
    let mut command = Command::new(program);
    command.args(["--log", "error", "run", "--once", "--profile"]).arg(&profile).current_dir(stage.folder());
    let (output, cost) = Running::start(command)?.end()?;
    if !output.contains(r#""STREAMED""#) {
        return Err(format!("the run was not streamed: {output}").into());
    }
    Ok((Sample::of(&cost, options.events), gate_cost(gate, options.events)?))
}

/// The same bodies from the bare client, into a new gate. Its clock and CPU count from the first connection on.
fn send(program: &Path, stage: &Stage, options: &Options) -> Result<(Sample, Sample)> {
    let (gate, url) = gate(program)?;
    let sample = client(&url, stage, options)?;
    Ok((sample, gate_cost(gate, options.events)?))
}

/// The bare client and a bare server: what the machine gives at all.
fn echo(stage: &Stage, options: &Options) -> Result<(Sample, Sample)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("server");
    let mut server = Running::start(command)?;
    let url = server.line()?;
    let sample = client(&url, stage, options)?;
    Ok((sample, gate_cost(server, options.events)?))
}

fn client(url: &str, stage: &Stage, options: &Options) -> Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("client").arg(stage.run(url)?);
    command.args([url.trim_start_matches("http://"), &options.in_flight.to_string()]);
    let (output, cost) = Running::start(command)?.end()?;
    Sample::told(&output, &cost, options.events)
}

fn gate(program: &Path) -> Result<(Running, String)> {
    let mut command = Command::new(program);
    command.args(["--log", "error", "gate", "--listen", "127.0.0.1:0", "--api-key", stage::KEY]);
    let mut gate = Running::start(command)?;
    let url = gate.line()?;
    Ok((gate, url))
}

fn gate_cost(gate: Running, events: u64) -> Result<Sample> {
    gate.terminate()?;
    let (_, cost) = gate.end()?;
    Ok(Sample::of(&cost, events).without_rate())
}

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wsp_matrix::MAX_EVENTS;
use wsp_reference::gate::faults;
use wsp_reference::world::WorldSpec;
use wsp_world::model::{Hex32, OutputId, PlatformRunId, ScenarioId};
use wsp_world::profile::draft::DraftBus;
use wsp_world::profile::settings::TELEMETRY_LISTEN;

use super::replay_args::ReplayArgs;

/// Replays a sealed world of recorded events, in order and at a chosen pace, into a live HTTP intake.
///
/// Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 a run failed, 2 usage or
/// configuration, 3 stopped before the end, or nothing there to stream yet.
#[derive(Debug, Parser)]
#[command(name = "wsp", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// What is logged to stderr: error, warn, info, debug, trace, or a tracing filter. Default: info; warn for `demo` and `replay`.
    #[arg(long, global = true, env = "WSP_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// Form of the log on stderr. Default: text where stdout or stderr is a terminal, and for `replay`; JSON lines elsewhere.
    #[arg(long, global = true, env = "WSP_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text for people: time, level, message.
    Text,
    /// A JSON object a line, with the run's spans.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a world, start a gate, publish a READY, stream it, and check what the gate admitted.
    Demo(Demo),
    /// Take READYs as they come and stream their runs, one at a time; or stream one world without READY.
    Run(Run),
    /// Replay events out of any files into any HTTP intake: at their own pace or another, in order per key, and going on
    /// after a crash where it was.
    #[command(args_override_self = true)]
    Replay(Box<ReplayArgs>),
    /// Publish a READY for a world: make the run's facts, check both as a run would, store the facts, then the READY.
    Ready(Ready),
    /// Show everything a run would check and do, without sending anything.
    Plan(ReadyArgs),
    /// Ask a running `wsp run` how it stands.
    Status(Status),
    /// Make a run's report again from its evidence: one HTML page that needs nothing else.
    Report(Report),
    /// Check that a run's evidence holds together: with itself, the Oracle, the checkpoint, and the gate if asked.
    Verify(Verify),
    /// Try every requirement on a profile's own parts, sending a few events of one run, and write what came of each.
    Matrix(Matrix),
    /// Write a commented profile for given parts.
    Init(Init),
    /// Check a profile and its environment.
    Validate(Validate),
    /// Look at, or drop, the checkpoint of a run.
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Serve the reference Ingestion Gate, with faults on request.
    Gate(Gate),
    /// Write a sealed world with its stream views.
    World(World),
    /// Run the producer in a simulation ruled by seeds, with faults and crashes, and check what it promises.
    Simulate(Simulate),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write `wsp.1` and a page for each command (`wsp-run.1`, …) into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Print a reference page that is made from the code.
    Docs {
        /// Which page.
        #[arg(value_enum)]
        page: DocsPage,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DocsPage {
    /// docs/reasons.md: the reason codes.
    Reasons,
    /// docs/profile.md: the settings.
    Profile,
    /// docs/profile.schema.json: the settings as a JSON Schema, for editors.
    Schema,
    /// docs/replay.schema.json: the file of `wsp replay --config` as a JSON Schema, for editors.
    ReplaySchema,
    /// docs/telemetry.md: the metrics.
    Telemetry,
    /// docs/matrix.md: the rows of `wsp matrix`.
    Matrix,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArg {
    /// The profile (YAML).
    #[arg(long, value_name = "FILE", env = "WSP_PROFILE")]
    pub(crate) profile: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Print each setting in force, its value and where it comes from; secrets are hidden.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print that as JSON.
    #[arg(long, requires = "explain")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What the profile is for.
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) kind: InitKind,
    /// The engine run root of the world that every run streams: a folder, or `s3://bucket/prefix`. Default: each READY
    /// names its own.
    #[arg(long, value_name = "ROOT")]
    pub(crate) world: Option<String>,
    /// The Ingestion Gate. Default: `IG_INGEST_URL`, in a local profile else `http://127.0.0.1:8081`.
    #[arg(long, value_name = "URL")]
    pub(crate) gate: Option<String>,
    /// Where READYs come from: file[:FOLDER], kafka[:BROKERS] or kinesis[:STREAM]. Default: file; kafka for `dev_min`.
    #[arg(long, value_name = "BUS", value_parser = draft_bus)]
    pub(crate) control_bus: Option<DraftBus>,
    /// Where checkpoints are kept. Default: file; postgres for `dev_min`.
    #[arg(long, value_enum)]
    pub(crate) checkpoints: Option<InitCheckpoints>,
    /// The file to write; `-` is stdout.
    #[arg(long, value_name = "FILE", default_value = "wsp.yaml")]
    pub(crate) output: PathBuf,
    /// Overwrite the file.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InitKind {
    /// One machine.
    Local,
    /// Remote parts alone: a strict profile.
    #[value(name = "dev_min")]
    DevMin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InitCheckpoints {
    /// Files.
    File,
    /// A Postgres database.
    Postgres,
}

fn draft_bus(text: &str) -> Result<DraftBus, String> {
    let (kind, part) = text.split_once(':').map_or((text, None), |(kind, part)| (kind, Some(part)));
    let part = part.filter(|part| !part.is_empty()).map(str::to_owned);
    match kind {
        "file" => Ok(DraftBus::File(part)),
        "kafka" => Ok(DraftBus::Kafka(part)),
        "kinesis" => Ok(DraftBus::Kinesis(part)),
        _ => Err("it begins with none of file, kafka, kinesis".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ready {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// The engine run root of the world: a folder, or `s3://bucket/prefix`.
    #[arg(long, value_name = "ROOT")]
    pub(crate) world: String,
    /// The platform run. Default: the active one, else a new one named after the time.
    #[arg(long, value_name = "ID")]
    pub(crate) platform_run_id: Option<PlatformRunId>,
    /// The scenario run. Default: made from platform run and world, so that the same command again publishes the same
    /// READY.
    #[arg(long, value_name = "HEX32")]
    pub(crate) run_id: Option<Hex32>,
    /// The world's scenario. Default: the pack manifest's, else `wiring.oracle_scenario_id`.
    #[arg(long, value_name = "ID")]
    pub(crate) scenario_id: Option<ScenarioId>,
    /// Make all checks and print both documents as JSON; store and publish nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

// A READY, and how to tell what is known of its run.
#[derive(Debug, Args)]
pub(crate) struct ReadyArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// The READY whose run is meant. Default: the newest on the control bus.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Take what is there and leave: exit 0 only if a run was there and all of them are streamed.
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two looks at the file control bus, and at a READY that waits. Default: 0.1 s, and
    /// 0.5 s (on Kafka 10 s).
    #[arg(long, value_name = "S", value_parser = poll_seconds)]
    pub(crate) poll_seconds: Option<Duration>,
    /// Leave after this many READYs whose runs were streamed or failed; 0: never.
    #[arg(long, value_name = "N")]
    pub(crate) max_messages: Option<u64>,
    /// Cap of events per run, over all outputs, in canonical order; 0: none.
    #[arg(long, value_name = "N")]
    pub(crate) max_events: Option<u64>,
    /// Cap of events per output and run; 0: none. Default: `WSP_MAX_EVENTS_PER_OUTPUT`.
    #[arg(long, value_name = "N")]
    pub(crate) max_events_per_output: Option<u64>,
    #[command(flatten)]
    pub(crate) by_hand: ByHand,
}

// A run without READY.
#[derive(Debug, Args)]
#[command(next_help_heading = "Without READY")]
pub(crate) struct ByHand {
    /// Stream this world once, without READY: no facts, no record; the world's own documents are the identity.
    #[arg(long, value_name = "ROOT", conflicts_with_all = ["once", "max_messages", "poll_seconds"])]
    pub(crate) engine_run_root: Option<String>,
    /// Its scenario. Default: `wiring.oracle_scenario_id`.
    #[arg(long, value_name = "ID", requires = "engine_run_root")]
    pub(crate) scenario_id: Option<ScenarioId>,
    /// The scenario run of its events. Default: the engine's run id.
    #[arg(long, value_name = "HEX32", requires = "engine_run_root")]
    pub(crate) scenario_run_id: Option<Hex32>,
    /// The outputs, with commas, a part of the policy's. Default: all of them.
    #[arg(long, value_name = "IDS", value_delimiter = ',', requires = "engine_run_root")]
    pub(crate) output_ids: Option<Vec<OutputId>>,
    /// Do it in a strict profile, too.
    #[arg(long, requires = "engine_run_root")]
    pub(crate) without_ready: bool,
}

/// A pause in seconds; a look costs a listing, so they are 10 ms apart at least.
fn poll_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("not between 0 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds).max(Duration::from_millis(10)))
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Where it listens: its `wiring.wsp_telemetry.listen`.
    #[arg(long, value_name = "ADDR", env = "WSP_TELEMETRY_LISTEN", default_value = TELEMETRY_LISTEN.default)]
    pub(crate) address: SocketAddr,
    /// As JSON; with --watch one object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask again and again, this many seconds apart (1 unless told), until a run ends. Exit codes: 0 it streamed, 1 it failed,
    /// 3 it was stopped or the watch was, or nobody answers any more.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = watch_seconds)]
    pub(crate) watch: Option<Duration>,
}

/// A pause between two looks at a process that has other work.
fn watch_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("not between 0.1 and 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// The platform run. Default: the active one, else the newest that left evidence.
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<PlatformRunId>,
    /// Write the page here. Default: to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// The platform run. Default: the active one, else the newest that left evidence.
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<PlatformRunId>,
    /// Don't read the Oracle's rows again to compare digests.
    #[arg(long)]
    pub(crate) no_digest: bool,
    /// Ask the gate about this many events, spread over the run; reads the rows too.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) sample: u64,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Matrix {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Say that you mean it: <platform run>@<host of the gate>. The run is used up: its READY then counts as streamed.
    #[arg(long, value_name = "RUN@HOST")]
    pub(crate) send: Option<String>,
    /// The run's READY. Default: the newest of the run on the control topic.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready: Option<PathBuf>,
    /// Events that are sent at most; the first few of them twice.
    #[arg(long, value_name = "N", default_value_t = MAX_EVENTS, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) max_events: u64,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Checkpoint {
    /// Print the saved position of each output.
    Show(ReadyArgs),
    /// Drop the saved positions; the run then starts from the beginning.
    Reset(CheckpointReset),
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointReset {
    #[command(flatten)]
    pub(crate) which: ReadyArgs,
    /// Say that you mean it.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", env = "WSP_GATE_LISTEN", default_value = "127.0.0.1:8081")]
    pub(crate) listen: SocketAddr,
    /// The key that requests have to carry.
    #[arg(long, value_name = "KEY", env = "IG_API_KEY", hide_env_values = true)]
    pub(crate) api_key: String,
    /// Write admissions, in order, to this file; read again on start.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Faults, as `status=503:2%,latency=10ms,cut-after=0.5%`; `--help` shows all of them.
    #[arg(long, value_name = "SPEC", default_value = "", long_help = faults_help())]
    pub(crate) faults: String,
    /// Seed of the faults.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Answer like the managed edge instead of the service: 202, and 400 for QUARANTINE; `status` ok for its health, 501
    /// to a lookup, 404 for every other route.
    #[arg(long)]
    pub(crate) edge: bool,
    /// Close the connection after each answer, as the service wrapper does.
    #[arg(long)]
    pub(crate) close: bool,
    /// Speak TLS with the certificate (and those behind it) in this PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct World {
    /// Folder to write; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) made: Made,
    /// Days of event time.
    #[arg(long, value_name = "D", default_value_t = 2.0)]
    pub(crate) days: f64,
    /// Files an output.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) parts: u32,
    /// Rows a Parquet row group.
    #[arg(long, value_name = "R", default_value_t = 122_880)]
    pub(crate) row_group_rows: usize,
}

/// The help of `--faults`, with its grammar.
fn faults_help() -> String {
    format!("Faults of the gate: items joined by commas.\n\n{}", faults::GRAMMAR)
}

/// What a made-up world is like.
#[derive(Debug, Args)]
pub(crate) struct Made {
    /// Events over the four outputs of a run.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) events: u64,
    /// How alike merchants are: the n-th is visited as often as 1 / (n + this) says. 0: a few favourites; 70: as in a real
    /// world; 1000000: all alike.
    #[arg(long, value_name = "Q", default_value_t = 0)]
    pub(crate) evenness: u32,
    /// Seed of the world, and of the faults where there are any; the same seed gives the same bytes.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
}

impl Made {
    /// It as the generator takes it.
    pub(crate) fn spec(&self) -> WorldSpec {
        WorldSpec { seed: self.seed, evenness: self.evenness, ..WorldSpec::new(self.events) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) made: Made,
    /// Event seconds a wall second; 0 = as fast as it goes.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) speedup: f64,
    /// Events a second, at most.
    #[arg(long, value_name = "EPS")]
    pub(crate) rate: Option<f64>,
    /// Requests in flight; 1 is strict order, more is order per key.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Faults of the gate, as `status=503:2%,latency=10ms,cut-after=0.5%`; `--help` shows all of them.
    #[arg(long, value_name = "SPEC", default_value = "", long_help = faults_help())]
    pub(crate) faults: String,
    /// Where to put world, evidence and checkpoints. Default: a new folder under the system's temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The platform run it plays in.
    #[arg(long, value_name = "ID", default_value = "platform_20260101T000000Z")]
    pub(crate) platform_run_id: PlatformRunId,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Cases to run.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) seeds: u64,
    /// The first one's seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) from: u64,
    /// This one case alone.
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from"])]
    pub(crate) seed: Option<u64>,
    /// Print all that happens in it.
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// Run each case twice and compare the traces.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Cases of `wsp replay` in place of those of `wsp run`.
    #[arg(long)]
    pub(crate) replay: bool,
}

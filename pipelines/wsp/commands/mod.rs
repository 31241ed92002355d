//! The commands of `wsp`, one a file.

pub(crate) mod args;
mod bounded;
mod bus;
mod checkpoint;
mod checkpoint_found;
mod checkpoint_lanes;
mod demo;
mod direct;
mod docs;
pub(crate) mod folder;
mod gate;
mod gate_watch;
mod init;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
mod lanes_view;
pub(crate) mod logs;
mod matrix;
mod plan;
mod ready;
mod replay;
mod replay_args;
pub(crate) mod replay_config;
mod replay_listen;
mod replay_schema;
mod report;
pub(crate) mod screen;
mod service;
mod simulate;
mod status;
mod table;
mod validate;
mod verify;
mod view;
mod waiting;
mod watch;
mod world;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use std::time::Duration;

use clap::CommandFactory;
use wsp::clock::Clock;
use wsp_observe::otlp::Otlp;
use wsp_world::model::Refusal;
use wsp_world::profile::{ConfigError, Profile, References};
use wsp_world::telemetry::Telemetry;

use args::{Cli, Command, ProfileArg};
use screen::Screen;

/// READYs on a topic that are looked at; older ones of a fuller topic have to be named with `--ready`.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
const LOOKED_AT: usize = 1 << 20;
/// How long the control topic is tried to be reached.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
const REACH: Duration = Duration::from_secs(10);

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// A run failed.
    Failed,
    /// Usage or configuration.
    Usage,
    /// Stopped before the end.
    Stopped,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Stopped => 3,
        })
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// A refusal, and what to do about it.
    #[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::failed(format!("{refusal}\n{}", refusal.reason.next()))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<Exit, Failure>;

/// What a command tells of itself through, beside stdout.
#[derive(Debug)]
pub(crate) struct Around {
    /// The terminal.
    pub(crate) screen: Screen,
    /// A collector, where the environment names one.
    pub(crate) otlp: Option<Otlp>,
}

impl Around {
    /// For a process whose runs are traced if a collector wants them.
    pub(crate) fn telemetry(&self, clock: &impl Clock) -> Telemetry {
        Telemetry::traced(clock, self.otlp.as_ref().is_some_and(Otlp::traces))
    }
}

pub(crate) fn run(command: Command, around: &Around) -> Outcome {
    match command {
        Command::Demo(args) => demo::run(&args, around),
        Command::Run(args) => service::run(&args, around),
        Command::Replay(args) => replay::run(&args, around),
        Command::Ready(args) => ready::run(&args),
        Command::Plan(args) => plan::run(&args, around),
        Command::Status(args) => status::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::Gate(args) => gate::run(args),
        Command::World(args) => world::run(args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "wsp", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        Command::Man { out } => {
            let written = if let Some(folder) = &out {
                std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            } else {
                clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())
            };
            let place = out.map_or_else(|| "stdout".into(), |folder| folder.display().to_string());
            written.map_err(|error| Failure::failed(format!("the manual in {place}: {error}")))?;
            Ok(Exit::Done)
        }
        Command::Docs { page } => {
            say(docs::page(page))?;
            Ok(Exit::Done)
        }
    }
}

/// A profile with the process's environment.
pub(crate) fn load(args: &ProfileArg) -> Result<Profile, Failure> {
    Ok(Profile::load(&args.profile, &variable)?)
}

/// A profile with the process's environment, and with what `also` finds in the same message.
pub(crate) fn load_checked(
    args: &ProfileArg,
    also: impl FnOnce(&References<'_>) -> Vec<String>,
) -> Result<Profile, Failure> {
    Ok(Profile::load_checked(&args.profile, &variable, also)?)
}

/// A variable of the environment. One that is no Unicode is there all the same, and wrong wherever it is read.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

/// Writes data to stdout. A pipe that was closed or a disk that is full is an error, not a panic as with `print!`.
pub(crate) fn say(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::failed(format!("stdout: {error}")))
}

/// Says something beside the data. stderr that is gone is no reason to fail.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A single-threaded runtime: delivery is fastest on one thread, and nothing else here needs more.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?.block_on(future))
}

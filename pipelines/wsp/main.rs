//! `wsp`: the program. Each command puts stages together; see `pipelines/world/producer.rs` for the main chain.

#![forbid(unsafe_code)]

mod commands;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use wsp_observe::otlp::Otlp;

use commands::args::{Cli, Command, LogFormat};
use commands::screen::Screen;
use commands::{Around, Failure, folder, logs, replay_config, run};

/// glibc's own tears its heap to pieces between row groups, pages and bodies: the longer a run, the more memory (see
/// docs/performance.md).
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match replay_config::expanded(std::env::args_os()) {
        Ok(args) => args,
        Err(failure) => return told(&failure),
    };
    let Cli { mut command, log, log_format } = Cli::parse_from(args);
    // A demo and a replay report by themselves.
    let usual = if matches!(command, Command::Demo(_) | Command::Replay(_)) { "warn" } else { "info" };
    // Who replays files is a person.
    let log_format = log_format.or(matches!(command, Command::Replay(_)).then_some(LogFormat::Text));
    let done = around(log.as_deref().unwrap_or(usual), log_format).and_then(|around| {
        folder::enter(&mut command)?;
        run(command, &around)
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

/// Terminal, logs and collector, before anything else happens.
fn around(log: &str, format: Option<LogFormat>) -> Result<Around, Failure> {
    let otlp = Otlp::from_env(&|name| std::env::var(name).ok())?;
    let around = Around { screen: Screen::of_stderr(), otlp };
    logs::start(log, format, &around).map_err(|error| Failure::usage(format!("--log: {error}")))?;
    logs::log_panics();
    Ok(around)
}

fn told(failure: &Failure) -> ExitCode {
    // As far as it can be said: stderr may be what failed.
    let _ = writeln!(std::io::stderr(), "wsp: {}", failure.message);
    failure.exit.into()
}

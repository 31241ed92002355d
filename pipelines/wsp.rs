//! `wsp`: the program. Each command puts stages together; see `pipelines/producer.rs` for the main chain.

#![forbid(unsafe_code)]

mod commands;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use commands::args::Cli;
use commands::{Exit, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = log_to_stderr(&cli.log) {
        eprintln!("wsp: --log: {error}");
        return Exit::Usage.into();
    }
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("wsp: {}", failure.message);
            failure.exit.into()
        }
    }
}

/// People read text on a terminal; machines read JSON lines elsewhere.
fn log_to_stderr(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}

//! `wsp`: the program. Each command puts stages together; see `pipelines/producer.rs` for the main chain.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::Parser;

use commands::args::Cli;
use commands::screen::Screen;
use commands::{Exit, Failure, logs, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::of_stderr();
    if let Err(error) = logs::start(&cli.log, &screen) {
        return told(&Failure { exit: Exit::Usage, message: format!("--log: {error}") });
    }
    match run(cli.command, &screen) {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

fn told(failure: &Failure) -> ExitCode {
    eprintln!("wsp: {}", failure.message);
    failure.exit.into()
}

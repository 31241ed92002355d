//! The flags about state: what is kept between starts, and the plan.

use std::path::PathBuf;

use clap::Args;
use wsp_replay::{Error, Place, StatePlace};

use super::place;

// What is kept between starts.
#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateArgs {
    /// The folder that says how far the replay is, or a database: `postgres://USER@HOST/DATABASE?sslmode=verify-full`, without the
    /// password. Default: the folder .wsp/replay-HASH, by target and inputs.
    #[arg(long, value_name = "PLACE")]
    state: Option<PathBuf>,
    /// A variable of the environment with the database's password.
    #[arg(long, value_name = "VARIABLE", requires = "state", conflicts_with = "state_password_file")]
    state_password_env: Option<String>,
    /// A file with the database's password.
    #[arg(long, value_name = "FILE", requires = "state")]
    state_password_file: Option<PathBuf>,
    /// Begin anew, whatever earlier starts did.
    #[arg(long)]
    pub(super) fresh: bool,
    /// A crash may repeat so many events, and those in flight.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    pub(super) save_every: u64,
    /// Read all of it, send nothing, and say what would be done.
    #[arg(long)]
    pub(crate) plan: bool,
    /// The plan as JSON.
    #[arg(long, requires = "plan")]
    pub(crate) json: bool,
}

impl StateArgs {
    /// Where the state is, if that was said.
    pub(super) fn place(&self) -> Result<Option<StatePlace>, Error> {
        let password: Option<Place> = place(self.state_password_env.as_ref(), self.state_password_file.as_ref());
        self.state.as_ref().map(|at| StatePlace::new(at, password.as_ref())).transpose()
    }
}

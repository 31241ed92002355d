//! The flags about state: what is kept between starts, and the plan.

use std::path::PathBuf;

use clap::Args;

// What is kept between starts.
#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateArgs {
    /// The folder that says how far the replay is. Default: .wsp/replay-HASH, by target and inputs.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
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

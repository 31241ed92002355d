//! What is seen of a replay while it runs.

use std::net::SocketAddr;

use clap::Args;

// What is seen of a replay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
pub(crate) struct WatchArgs {
    /// Serve /metrics (Prometheus), /status (JSON) and /livez on this address, such as 127.0.0.1:9465, while the replay runs.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}

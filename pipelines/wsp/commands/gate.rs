//! `wsp gate`: serves the reference Ingestion Gate until it is told to stop.

use wsp_reference::gate::{GateOptions, GateServer, GateStats, GateStyle};
use wsp_world::model::Secret;

use super::args::Gate;
use super::service::stop_on_signals;
use super::{Exit, Failure, Outcome, block_on, say};

pub(crate) fn run(args: Gate) -> Outcome {
    let options = GateOptions {
        listen: args.listen,
        journal: args.journal,
        faults: args.faults.parse().map_err(|error| Failure::usage(format!("--faults: {error}")))?,
        seed: args.seed,
        style: if args.edge { GateStyle::Edge } else { GateStyle::Service },
        close_after_answer: args.close,
        tls: args.tls_cert.zip(args.tls_key),
        ..GateOptions::new(Secret::new(args.api_key))
    };
    let gate = GateServer::start(options).map_err(|error| Failure::usage(format!("the gate can't start: {error}")))?;
    // Whoever started us reads the address from the first line, above all with port 0.
    say(format_args!("{}\n", gate.base_url()))?;
    block_on(async {
        let stop = stop_on_signals(|| {})?;
        stop.wait().await;
        Ok::<_, Failure>(())
    })??;
    let stats = gate.shutdown().map_err(|error| Failure::failed(format!("the journal is not whole: {error}")))?;
    say(format_args!("{}\n", told(&stats)))?;
    Ok(Exit::Done)
}

fn told(stats: &GateStats) -> String {
    format!(
        "{} requests on {} connections: {} admitted, {} duplicates, {} quarantined, {} unauthorized, {} unreadable, {} faults",
        stats.requests,
        stats.connections,
        stats.admitted,
        stats.duplicates,
        stats.quarantined,
        stats.unauthorized,
        stats.unreadable,
        stats.faults.total()
    )
}

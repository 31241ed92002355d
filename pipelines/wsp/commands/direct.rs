//! `wsp run --engine-run-root …`: one run without READY. Its result goes to stdout as one JSON object.

use wsp::clock::SystemClock;
use wsp::store::Patience;
use wsp_world::evidence::Status;
use wsp_world::model::{Reason, Refusal};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::service::{Direct, Directed, Service};

use super::args::{ByHand, Run};
use super::service::{gate, stop_on_signals, watched};
use super::{Around, Exit, Failure, Outcome, block_on, say};

pub(super) fn run(args: &Run, engine_run_root: &str, mut profile: Profile, around: &Around) -> Outcome {
    let ByHand { scenario_id, scenario_run_id, output_ids, without_ready, .. } = &args.by_hand;
    let direct =
        Direct::new(&profile, engine_run_root, scenario_id.as_ref(), scenario_run_id.as_ref(), *without_ready)?;
    profile.policy.only.clone_from(output_ids);
    let caps = Caps { max_events: args.max_events, max_events_per_output: args.max_events_per_output };
    let settings = Settings::new(&profile, caps);
    let clock = SystemClock::new().fine();
    block_on(async {
        let stop = stop_on_signals(|| std::process::exit(3))?;
        profile.store.patience = Patience::until(stop.clone());
        let telemetry = around.telemetry(&clock);
        let gate = gate(&profile, clock)?.traced(telemetry.trace_mark());
        let service = Service::new(profile, settings, gate, clock, stop)?.telemetry(telemetry.clone());
        let streaming = Box::pin(service.direct(&direct));
        let directed = watched(streaming, &telemetry, &clock, &around.screen, around.otlp.as_ref()).await;
        tell(&directed.map_err(|refusal| Failure::usage(refusal.to_string()))?, around)
    })?
}

/// The result as data, its reason as a line for people; and how the program ends.
fn tell(directed: &Directed, around: &Around) -> Outcome {
    let Directed { status, refusal, unwritten, .. } = directed;
    around.screen.aside(|| say(directed.line()))?;
    if let Some(refusal) = refusal {
        tracing::warn!(%status, %refusal, next = refusal.reason.next(), "not streamed to its end");
    }
    let stopped = |refusal: &Refusal| refusal.reason == Reason::RunStopped;
    match unwritten {
        Some(refusal) => Err(Failure::failed(format!("the run's summary could not be written: {refusal}"))),
        None if refusal.as_ref().is_some_and(stopped) => Ok(Exit::Stopped),
        None => Ok(match status {
            Status::Streamed => Exit::Done,
            Status::DeferredDownstreamNotReady => Exit::Stopped,
            _ => Exit::Failed,
        }),
    }
}

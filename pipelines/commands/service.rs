//! `wsp run`: the service. READYs come in, verdicts go out on stdout, one JSON line each.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use wsp::clock::SystemClock;
use wsp::deliver::{Endpoint, HttpGate};
use wsp::evidence::Status;
use wsp::model::Reason;
use wsp::pipelines::producer::Settings;
use wsp::pipelines::service::{Service, Taken};
use wsp::profile::{ConfigError, ControlBus, Profile, active_run, run_scoped};
use wsp::ready::{FileFeed, FileFeedOptions, Settlement};
use wsp::stop::Stop;

use super::args::Run;
use super::{Exit, Failure, Outcome, block_on, load};

/// Between two looks at the control bus.
const POLL: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &Run) -> Outcome {
    let profile = load(&args.profile)?;
    let settings = Settings::new(&profile, args.max_events, args.max_events_per_output)?;
    let clock = SystemClock::new();
    block_on(async {
        let stop = stop_on_signals(|| std::process::exit(3))?;
        let gate = gate(&profile, clock)?;
        let feed = feed(&profile, clock, args.once)?;
        let service = Service::new(profile, settings, gate, clock, stop.clone())?;
        serve(&service, feed, args, &stop).await
    })?
}

async fn serve(
    service: &Service<HttpGate<SystemClock>, SystemClock>,
    feed: FileFeed<SystemClock>,
    args: &Run,
    stop: &Stop,
) -> Outcome {
    let mut taken = 0;
    let mut failed = false;
    let mut readies = pin!(feed.stream().take_until(stop.wait()));
    while let Some(incoming) = readies.next().await {
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(refusal) if args.once => return Err(Failure::failed(refusal.to_string())),
            Err(refusal) => {
                tracing::error!(%refusal, "the control topic can't be read; trying again");
                continue;
            }
        };
        let outcome = service.take(&incoming).await;
        let settlement = match &outcome {
            Ok(taken) if taken.verdict.status == Status::DeferredDownstreamNotReady => Settlement::Deferred,
            Ok(_) => Settlement::Verdict,
            Err(_) => Settlement::Deferred,
        };
        match &outcome {
            Ok(taken) => tell(taken),
            Err(refusal) => tracing::error!(%refusal, "no verdict; the READY is looked at again"),
        }
        if outcome.as_ref().is_ok_and(|taken| taken.verdict.reason == Some(Reason::RunStopped)) {
            return Ok(Exit::Stopped);
        }
        failed |= !matches!(&outcome, Ok(taken) if taken.verdict.status != Status::Failed);
        incoming.settle(settlement);
        taken += 1;
        if args.max_messages == Some(taken) {
            break;
        }
    }
    // A service that runs on has told of each run; what it is asked for in the end is to end.
    let bounded = args.once || args.max_messages.is_some();
    Ok(if failed && bounded { Exit::Failed } else { Exit::Done })
}

/// A verdict as data, and its reason as a line for people.
fn tell(taken: &Taken) {
    print!("{}", taken.verdict.line());
    if let Some(refusal) = &taken.refusal {
        tracing::warn!(status = %taken.verdict.status, %refusal, next = refusal.reason.next(), "not streamed to its end");
    }
}

/// The gate that the profile names.
pub(crate) fn gate(profile: &Profile, clock: SystemClock) -> Result<HttpGate<SystemClock>, Failure> {
    let delivery = &profile.delivery;
    let endpoint = Endpoint::new(&delivery.ig_ingest_url, &delivery.api_key_header, &delivery.api_key)
        .map_err(|error| Failure::usage(format!("the Ingestion Gate: {error}")))?;
    let gate = HttpGate::new(endpoint, clock).map_err(|error| Failure::usage(format!("TLS: {error}")))?;
    Ok(gate.attempt_timeout(delivery.attempt_timeout))
}

/// The folder of the file control bus, scoped to the active run.
pub(crate) fn control_root(profile: &Profile) -> Result<PathBuf, ConfigError> {
    let active = active_run(profile.platform_run_id.as_ref(), "".as_ref())?;
    let ControlBus::File { root } = &profile.control_bus;
    Ok(run_scoped(root, active.as_ref()))
}

fn feed(profile: &Profile, clock: SystemClock, once: bool) -> Result<FileFeed<SystemClock>, ConfigError> {
    let options =
        FileFeedOptions { root: control_root(profile)?, topic: profile.topic.clone(), once, poll_interval: POLL };
    Ok(FileFeed::new(options, clock))
}

/// A stop that the first SIGTERM or ^C requests; `leave` is called on the second.
pub(crate) fn stop_on_signals(leave: impl FnOnce() + Send + 'static) -> Result<Stop, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let stop = Stop::new();
    let requested = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping: answers in flight are awaited; once more leaves at once");
        requested.request();
        next().await;
        leave();
    });
    Ok(stop)
}

//! `wsp run`: the service. READYs come in, verdicts go out on stdout, one JSON line each.

use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use wsp::clock::SystemClock;
use wsp::deliver::{Endpoint, HttpGate};
use wsp::evidence::Status;
use wsp::model::{Reason, Refusal, Secret};
use wsp::pipelines::positions::shard_positions;
use wsp::pipelines::prepare;
use wsp::pipelines::producer::Settings;
use wsp::pipelines::service::{Service, Taken};
use wsp::pipelines::telemetry::Telemetry;
use wsp::pipelines::telemetry::listener::Listener;
use wsp::pipelines::telemetry::otlp::Otlp;
use wsp::pipelines::telemetry::readiness::{ControlTopic, Readiness};
use wsp::profile::settings::TELEMETRY_LISTEN;
use wsp::profile::{ConfigError, ControlBus, KafkaWiring, KinesisWiring, Profile, active_run, run_scoped};
use wsp::ready::{
    FileFeed, FileFeedOptions, Incoming, KafkaFeed, KafkaOptions, KinesisFeed, KinesisOptions, Settlement,
};
use wsp::stop::Stop;
use wsp::store::Patience;

use super::args::Run;
use super::screen::Screen;
use super::{Around, Exit, Failure, Outcome, block_on, load, say};

pub(crate) fn run(args: &Run, around: &Around) -> Outcome {
    let mut profile = load(&args.profile)?;
    let settings = Settings::new(&profile, args.max_events, args.max_events_per_output)?;
    // Events leave by it, so it is the finest there is.
    let clock = SystemClock::new().fine();
    block_on(async {
        let stop = stop_on_signals(|| std::process::exit(3))?;
        profile.store.patience = Patience::until(stop.clone());
        let telemetry = around.telemetry(&clock);
        let gate = gate(&profile, clock)?.traced(telemetry.trace_mark());
        let Feed { readies, closed, control } = feed(&profile, clock, args.once)?;
        let _listener = listen(&profile, &telemetry, control, &gate, clock).await?;
        let service = Service::new(profile, settings, gate, clock, stop.clone())?.telemetry(telemetry.clone());
        let serving = serve(&service, readies, args, &stop, around);
        let outcome = watched(Box::pin(serving), &telemetry, &clock, &around.screen, around.otlp.as_ref()).await;
        // Verdicts reach the control topic before the process ends, if it can be reached.
        closed.await;
        outcome
    })?
}

async fn serve(
    service: &Service<HttpGate<SystemClock>, SystemClock>,
    readies: Readies,
    args: &Run,
    stop: &Stop,
    around: &Around,
) -> Outcome {
    let mut taken = 0;
    let mut failed = false;
    let mut readies = pin!(readies.take_until(stop.wait()));
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
        let deferred = |taken: &Taken| taken.verdict.status == Status::DeferredDownstreamNotReady;
        let settlement = match &outcome {
            Ok(taken) if taken.unwritten.is_none() && !deferred(taken) => Settlement::Verdict,
            // An end that the store did not take, a wait, or no verdict at all.
            _ => Settlement::Deferred,
        };
        match &outcome {
            Ok(Taken { unwritten: Some(refusal), .. }) => {
                tracing::error!(%refusal, "the verdict is told when the store has it; the READY is looked at again");
            }
            Ok(taken) => {
                if let Err(failure) = around.screen.aside(|| tell(taken)) {
                    tracing::error!(error = failure.message, "the verdict is on record and could not be told");
                    failed = true;
                }
            }
            Err(refusal) => tracing::error!(%refusal, "no verdict; the READY is looked at again"),
        }
        if outcome.as_ref().is_ok_and(|taken| taken.verdict.reason == Some(Reason::RunStopped)) {
            return Ok(Exit::Stopped);
        }
        failed |= !matches!(
            &outcome,
            Ok(Taken { verdict, unwritten: None, .. }) if verdict.status != Status::Failed
        );
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

/// `work`, with its progress on the terminal and its figures sent to the collector meanwhile.
pub(crate) async fn watched<T>(
    work: impl Future<Output = T>,
    telemetry: &Telemetry,
    clock: &SystemClock,
    screen: &Screen,
    otlp: Option<&Otlp>,
) -> T {
    let send = async {
        match otlp {
            Some(otlp) => otlp.send_metrics(telemetry, clock).await,
            None => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        () = screen.follow(telemetry, clock) => std::future::pending().await,
        () = send => std::future::pending().await,
    };
    screen.aside(|| ());
    if let Some(otlp) = otlp {
        otlp.send_figures(telemetry, clock);
        otlp.finish(clock).await;
    }
    done
}

/// A verdict as data, and its reason as a line for people. The verdict is on record by then, told or not.
fn tell(taken: &Taken) -> Result<(), Failure> {
    let told = say(taken.verdict.line());
    if let Some(refusal) = &taken.refusal {
        tracing::warn!(status = %taken.verdict.status, %refusal, next = refusal.reason.next(), "not streamed to its end");
    }
    told
}

/// Serves what the process tells of itself, where the profile says so.
async fn listen(
    profile: &Profile,
    telemetry: &Telemetry,
    control: ControlTopic,
    gate: &HttpGate<SystemClock>,
    clock: SystemClock,
) -> Result<Option<Listener>, Failure> {
    let Some(address) = profile.telemetry.listen else { return Ok(None) };
    let store = prepare::open_own(profile).map_err(|refusal| Failure::usage(refusal.to_string()))?;
    let readiness = Readiness::new(telemetry.clone(), control, store, gate.probe(), clock);
    match Listener::start(address, telemetry.clone(), readiness, clock).await {
        Ok(listener) => {
            tracing::info!(address = %listener.address(), "telemetry is served");
            Ok(Some(listener))
        }
        Err(error) if profile.telemetry.asked_for => {
            Err(Failure::usage(format!("{}: {address}: {error}", TELEMETRY_LISTEN.name())))
        }
        Err(error) => {
            let setting = TELEMETRY_LISTEN.name();
            tracing::warn!(%address, %error, %setting, "telemetry is not served: the default address can't be had");
            Ok(None)
        }
    }
}

/// The gate that the profile names.
pub(crate) fn gate(profile: &Profile, clock: SystemClock) -> Result<HttpGate<SystemClock>, Failure> {
    gate_with(profile, &profile.delivery.api_key, clock)
}

/// The same, with another key.
pub(crate) fn gate_with(profile: &Profile, key: &Secret, clock: SystemClock) -> Result<HttpGate<SystemClock>, Failure> {
    let delivery = &profile.delivery;
    let endpoint = Endpoint::new(&delivery.ig_ingest_url, &delivery.api_key_header, key)
        .map_err(|error| Failure::usage(format!("the Ingestion Gate: {error}")))?;
    let gate = HttpGate::new(endpoint, clock).map_err(|error| Failure::usage(format!("TLS: {error}")))?;
    Ok(gate.attempt_timeout(delivery.attempt_timeout).idle_limit(delivery.idle_limit))
}

/// The folder of the file control bus, scoped to the active run.
pub(crate) fn control_root(profile: &Profile, root: &Path) -> Result<PathBuf, ConfigError> {
    let active = active_run(profile.platform_run_id.as_ref(), Path::new(""))?;
    Ok(run_scoped(root, active.as_ref()))
}

type Readies = Pin<Box<dyn Stream<Item = Result<Incoming, Refusal>> + Send>>;

/// The profile's control bus.
struct Feed {
    readies: Readies,
    /// What to wait for in the end, so that the last verdicts are committed.
    closed: BoxFuture<'static, ()>,
    /// For readiness.
    control: ControlTopic,
}

fn feed(profile: &Profile, clock: SystemClock, once: bool) -> Result<Feed, Failure> {
    match &profile.control_bus {
        ControlBus::File { root } => {
            let root = control_root(profile, root)?;
            let control = ControlTopic::Folder(root.join(&profile.topic));
            let options = FileFeedOptions { once, ..FileFeedOptions::new(root, &profile.topic) };
            let readies = Box::pin(FileFeed::new(options, clock).stream());
            Ok(Feed { readies, closed: Box::pin(std::future::ready(())), control })
        }
        ControlBus::Kafka(wiring) => {
            let feed = KafkaFeed::open(kafka_options(profile, wiring, once)?, clock)
                .map_err(|refusal| Failure::usage(refusal.to_string()))?;
            let (closed, control) = (Box::pin(feed.closed()), ControlTopic::Remote(feed.probe()));
            Ok(Feed { readies: Box::pin(feed.stream()), closed, control })
        }
        ControlBus::Kinesis(wiring) => {
            let active = active_run(profile.platform_run_id.as_ref(), Path::new(""))?;
            let positions = shard_positions(profile, wiring, active.as_ref(), clock)
                .map_err(|refusal| Failure::usage(refusal.to_string()))?;
            let feed = KinesisFeed::open(kinesis_options(profile, wiring, once), positions, clock)
                .map_err(|refusal| Failure::usage(refusal.to_string()))?;
            let (closed, control) = (Box::pin(feed.closed()), ControlTopic::Remote(feed.probe()));
            Ok(Feed { readies: Box::pin(feed.stream()), closed, control })
        }
    }
}

/// How the profile's stream is reached.
pub(crate) fn kinesis_options(profile: &Profile, wiring: &KinesisWiring, once: bool) -> KinesisOptions {
    KinesisOptions {
        region: wiring.region.clone(),
        endpoint: wiring.endpoint_url.as_ref().map(ToString::to_string),
        once,
        ..KinesisOptions::new(&wiring.stream, &profile.topic)
    }
}

pub(crate) fn kafka_options(profile: &Profile, wiring: &KafkaWiring, once: bool) -> Result<KafkaOptions, Failure> {
    let parsed = |name: &str, error: String| Failure::usage(format!("{name}: {error}"));
    Ok(KafkaOptions {
        security: wiring.security_protocol.parse().map_err(|error| parsed("KAFKA_SECURITY_PROTOCOL", error))?,
        mechanism: wiring.sasl_mechanism.parse().map_err(|error| parsed("KAFKA_SASL_MECHANISM", error))?,
        username: wiring.username.clone(),
        password: wiring.password.clone(),
        aws_region: wiring.aws_region.clone(),
        ca_location: wiring.ca_location.clone(),
        once,
        session_timeout: wiring.session_timeout,
        ..KafkaOptions::new(&wiring.bootstrap_servers, &profile.topic, &wiring.group_id)
    })
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

//! `wsp run`: the service. READYs come in, verdicts go out on stdout: one JSON line each as they come, or with `--once` one
//! JSON array at the end, as the legacy producer prints them.

use std::pin::{Pin, pin};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::signal::unix::{SignalKind, signal};
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{Endpoint, HttpGate};
use wsp::stop::Stop;
use wsp::store::Patience;
use wsp_observe::listener::Listener;
use wsp_observe::otlp::Otlp;
use wsp_observe::readiness::{ControlTopic, Readiness};
use wsp_world::evidence::Status;
use wsp_world::ig::IgProbe;
use wsp_world::model::{Bus, Reason, Refusal};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::settings::{LANES_COUNT, TELEMETRY_LISTEN};
use wsp_world::profile::{ControlBus, Profile};
use wsp_world::ready::{FileFeed, FileFeedOptions, Incoming, Met, Settlement};
use wsp_world::service::{Service, Taken};
use wsp_world::telemetry::Telemetry;
use wsp_world::{preflight, prepare, stopping};

use super::args::Run;
use super::bounded::{Bound, Came, NoMore, Seen};
use super::bus;
use super::bus::active;
use super::gate_watch::GateWatch;
use super::screen::Screen;
use super::waiting::WaitLog;
use super::{Around, Exit, Failure, Outcome, block_on, direct, load_checked, say};

pub(crate) fn run(args: &Run, around: &Around) -> Outcome {
    let mut profile = load_checked(&args.profile, preflight::machine)?;
    if let Some(root) = &args.by_hand.engine_run_root {
        return direct::run(args, root, profile, around);
    }
    let caps = Caps { max_events: args.max_events, max_events_per_output: args.max_events_per_output };
    let settings = Settings::new(&profile, caps);
    if profile.lanes.is_some() && settings.is_capped() {
        let why = "they count in the order of the whole run, which no lane sees";
        let lanes = LANES_COUNT.name();
        return Err(Failure::usage(format!("--max-events, --max-events-per-output: not with {lanes}: {why}")));
    }
    // Events leave by it, so it is the finest there is.
    let clock = SystemClock::new().fine();
    block_on(async {
        let stop = stop_on_signals(|| std::process::exit(3))?;
        profile.store.patience = Patience::until(stop.clone());
        let telemetry = around.telemetry(&clock);
        let gate = gate(&profile, clock)?.traced(telemetry.trace_mark());
        let Feed { readies, met, bus, closed, control } = feed(&profile, clock, args)?;
        let (kind, run) = (bus::kind(&profile), active(&profile)?);
        let caller = bus::caller(&profile, clock);
        let _listener = listen(&profile, &telemetry, control, &gate, clock).await?;
        let mut service = Service::new(profile, settings, gate, clock, stop.clone())?.telemetry(telemetry.clone());
        if let Some(caller) = caller {
            service = service.calling(caller);
        }
        let bound = Bound::of(args);
        let run = run.map_or_else(|| "any platform run".to_owned(), |run| run.to_string());
        let waited_for = format!("READYs of {run} on {bus}");
        if !bound.is_once() {
            // A service may have nothing to do for hours, and looks as if it hung.
            tracing::info!("waiting for {waited_for}");
        }
        telemetry.waits_for(waited_for);
        let serving = Serving {
            service: &service,
            bound,
            kind,
            clock,
            stop: &stop,
            around,
            seen: Seen::default(),
            waiting: WaitLog::default(),
            results: Vec::new(),
        };
        let serving = serving.serve(readies, &met, &bus);
        let outcome = watched(Box::pin(serving), &telemetry, &clock, &around.screen, around.otlp.as_ref()).await;
        // Verdicts reach the control topic before the process ends, if it can be reached.
        let closing = stopping::within(&stop, &clock, stopping::CONTROL_TOPIC, closed);
        if closing.await.is_none() {
            tracing::warn!("the control topic has not taken the last verdicts in time; it delivers their READYs again");
        }
        outcome
    })?
}

/// The control topic among those who wait.
const TOPIC: &str = "the control topic";

/// READYs as they are taken, and what they came to.
struct Serving<'a> {
    service: &'a Service<HttpGate<SystemClock>, SystemClock>,
    bound: Bound,
    kind: Bus,
    clock: SystemClock,
    stop: &'a Stop,
    around: &'a Around,
    seen: Seen,
    waiting: WaitLog,
    /// The verdicts of `--once`, to be printed at the end.
    results: Vec<String>,
}

impl Serving<'_> {
    async fn serve(mut self, readies: Readies, met: &Met, bus: &str) -> Outcome {
        let stop = self.stop;
        let mut readies = pin!(readies.take_until(stop.wait()));
        let mut unread = None;
        let mut end = None;
        while end.is_none()
            && let Some(incoming) = readies.next().await
        {
            match incoming {
                Ok(incoming) => {
                    unread = None;
                    self.waiting.over(TOPIC);
                    end = self.take(incoming).await;
                }
                Err(refusal) => {
                    // A folder is looked at ten times a second.
                    if let Some(due) = self.waiting.note(TOPIC, &refusal.to_string(), self.clock.utc()) {
                        tracing::error!(%refusal, since = %due.since, looks = due.looks, "the control topic can't be read");
                    }
                    unread = Some(refusal);
                    if self.bound.is_once() {
                        break;
                    }
                }
            }
        }
        // What was taken is printed whatever comes after it.
        if self.bound.is_once() && (unread.is_none() || !self.results.is_empty()) {
            let results = std::mem::take(&mut self.results).join(",");
            self.print(format!("[{results}]\n"));
        }
        match end {
            Some(Exit::Done) => Ok(self.seen.at_limit()),
            Some(exit) => Ok(exit),
            None => {
                let unreadable = met.counts().invalid;
                NoMore { stopped: stop.requested(), unread, unreadable, bus }.end(self.bound, &self.seen)
            }
        }
    }

    /// Takes one READY; says how the program ends where this was the last one.
    async fn take(&mut self, incoming: Incoming) -> Option<Exit> {
        let outcome = self.service.take(&incoming).await;
        self.report(incoming.message.payload.message_id.as_str(), &outcome);
        let came = Came::of(&outcome);
        self.seen.note(came);
        if came == Came::Stopped || (came == Came::Open && self.stop.requested()) {
            // The READY stays unsettled: the next start takes it up.
            return Some(Exit::Stopped);
        }
        incoming.settle(settlement(&outcome));
        self.bound.is_reached(&self.seen).then_some(Exit::Done)
    }

    /// Reports what a look at a READY came to: the verdict as data, its reason as a line for people.
    fn report(&mut self, message_id: &str, outcome: &Result<Taken, Refusal>) {
        let taken = match outcome {
            Ok(Taken { unwritten: Some(refusal), .. }) => {
                return self.report_no_verdict(
                    message_id,
                    refusal,
                    "the store has not accepted the run's end; the READY waits for it",
                );
            }
            Err(refusal) => return self.report_no_verdict(message_id, refusal, "a READY has no verdict yet and waits"),
            Ok(taken) => taken,
        };
        let line = taken.verdict.line();
        if self.bound.is_once() {
            self.results.push(line.trim_end().to_owned());
        } else {
            self.print(line);
        }
        let (status, waits) = (taken.verdict.status, taken.verdict.status == Status::DeferredDownstreamNotReady);
        if !waits {
            self.waiting.over(message_id);
        }
        let Some(refusal) = &taken.refusal else { return };
        let next = refusal.reason.next_on(self.kind);
        if !waits {
            tracing::warn!(%status, %refusal, next, "not streamed to its end");
            return;
        }
        // The detail differs from look to look (when a lease ends, how an outage shows) and the cause does not.
        let cause = format!("{} {}", refusal.reason, taken.verdict.waits_for.join(";"));
        let Some(due) = self.waiting.note(message_id, &cause, taken.verdict.ts) else { return };
        let (since, looks) = (due.since, due.looks);
        if due.news {
            tracing::warn!(%message_id, %status, %refusal, next, %since, looks, "a READY waits until this is over");
        } else {
            tracing::info!(%message_id, %status, %refusal, %since, looks, "a READY still waits");
        }
    }

    /// Reports a READY that has no verdict on record, because a store is away.
    fn report_no_verdict(&mut self, message_id: &str, refusal: &Refusal, what: &str) {
        let cause = format!("{} {what}", refusal.reason);
        let Some(due) = self.waiting.note(message_id, &cause, self.clock.utc()) else { return };
        let (since, looks, next) = (due.since, due.looks, refusal.reason.next());
        if due.news {
            tracing::error!(%message_id, %refusal, next, %since, looks, "{what}");
        } else {
            tracing::info!(%message_id, %refusal, %since, looks, "{what}");
        }
    }

    /// Verdicts are on record before they are printed, so the service outlives a stdout that is gone.
    fn print(&mut self, text: String) {
        if let Err(failure) = self.around.screen.aside(|| say(text)) {
            tracing::error!(error = failure.message, "a verdict is on record and could not be printed");
            self.seen.note_untold();
        }
    }
}

/// What the control topic is to do with a READY after this.
fn settlement(outcome: &Result<Taken, Refusal>) -> Settlement {
    match outcome {
        Ok(Taken { verdict, unwritten: None, .. }) => match verdict.status {
            Status::DeferredDownstreamNotReady => Settlement::Deferred,
            Status::Failed if verdict.reason.is_some_and(Reason::may_pass) => Settlement::MayPass,
            _ => Settlement::Verdict,
        },
        // An end that the store did not take, or no verdict at all.
        _ => Settlement::Deferred,
    }
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
    let _gate = GateWatch::start(telemetry, *clock);
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
    let readiness = Readiness::new(telemetry.clone(), control, store, IgProbe::of(gate), clock);
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
    gate_at(profile, profile.delivery.endpoint.clone(), clock)
}

/// The same at another endpoint.
pub(crate) fn gate_at(
    profile: &Profile,
    endpoint: Endpoint,
    clock: SystemClock,
) -> Result<HttpGate<SystemClock>, Failure> {
    let delivery = &profile.delivery;
    let gate = match &delivery.tls {
        Some(tls) => HttpGate::with_tls(endpoint, clock, tls.clone()),
        None => HttpGate::new(endpoint, clock).map_err(|error| Failure::usage(format!("TLS: {error}")))?,
    };
    Ok(gate.attempt_timeout(delivery.attempt_timeout).idle_limit(delivery.idle_limit))
}

pub(super) type Readies = Pin<Box<dyn Stream<Item = Result<Incoming, Refusal>> + Send>>;

/// The profile's control bus.
pub(super) struct Feed {
    pub(super) readies: Readies,
    /// What it has met.
    pub(super) met: Met,
    /// What it reads, in words.
    pub(super) bus: String,
    /// What to wait for in the end, so that the last verdicts are committed.
    pub(super) closed: BoxFuture<'static, ()>,
    /// For readiness.
    pub(super) control: ControlTopic,
}

fn feed(profile: &Profile, clock: SystemClock, args: &Run) -> Result<Feed, Failure> {
    let (once, pause) = (args.once, args.poll_seconds);
    match &profile.control_bus {
        ControlBus::File { root } => {
            let root = bus::control_root(profile, root)?;
            let folder = root.join(&profile.topic);
            let bus = bus::words(profile)?;
            let options = FileFeedOptions { once, ..FileFeedOptions::new(root, &profile.topic) };
            let feed = FileFeed::new(pause.map_or(options.clone(), |pause| options.every(pause)), clock);
            let (met, closed) = (feed.met(), Box::pin(std::future::ready(())));
            let readies = Box::pin(feed.stream().map_err(Refusal::from));
            Ok(Feed { readies, met, bus, closed, control: ControlTopic::Folder(folder) })
        }
        #[cfg(feature = "kafka")]
        ControlBus::Kafka(wiring) => super::kafka::feed(profile, wiring, clock, args),
        #[cfg(feature = "kinesis")]
        ControlBus::Kinesis(wiring) => super::kinesis::feed(profile, wiring, clock, args),
    }
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

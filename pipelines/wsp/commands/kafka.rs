//! The Kafka control topic, as the commands read it.

use futures::TryStreamExt;
use futures::future::BoxFuture;
use wsp::clock::SystemClock;
use wsp_observe::readiness::ControlTopic;
use wsp_world::lanes::Caller;
use wsp_world::model::{PlatformRunId, Reason, Refusal};
use wsp_world::profile::{KafkaWiring, LanesWiring, Profile};
use wsp_world::ready::{KafkaFeed, KafkaOptions, Outgoing, Ready, publish};

use super::args::Run;
use super::matrix::{self, Topic};
use super::service::Feed;
use super::{Failure, LOOKED_AT, REACH, block_on, bus};

/// READYs for the service.
pub(super) fn feed(profile: &Profile, wiring: &KafkaWiring, clock: SystemClock, args: &Run) -> Result<Feed, Failure> {
    let mut options = options(profile, wiring, args.once);
    options.defer_pause = args.poll_seconds.unwrap_or(options.defer_pause);
    let bus = bus::words(profile)?;
    let calls = profile.lanes.as_ref().map(|lanes| of_calls(options.clone(), lanes));
    let open = |options| KafkaFeed::open(options, clock).map_err(bus::unreachable);
    let feed = open(options)?;
    let (met, closed, control) = (feed.met(), feed.closed(), ControlTopic::Remote(feed.probe()));
    let Some(calls) = calls else {
        let readies = Box::pin(feed.stream().map_err(Refusal::from));
        return Ok(Feed { readies, met, bus, closed: Box::pin(closed), control });
    };
    let calls = open(calls)?;
    let both = futures::future::join(closed, calls.closed());
    let readies = Box::pin(futures::stream::select(feed.stream(), calls.stream()).map_err(Refusal::from));
    Ok(Feed {
        readies,
        met,
        bus,
        closed: Box::pin(async move {
            let ((), ()) = both.await;
        }),
        control,
    })
}

/// The lanes topic: its group shares out the calls to a run as that of READY shares out READYs.
fn of_calls(control: KafkaOptions, lanes: &LanesWiring) -> KafkaOptions {
    KafkaOptions { topic: lanes.topic.clone(), group_id: format!("{}-lanes", control.group_id), ..control }
}

/// Calls workers over the lanes topic.
#[derive(Debug)]
pub(super) struct Calls {
    options: KafkaOptions,
    clock: SystemClock,
}

impl Calls {
    pub(super) fn new(profile: &Profile, wiring: &KafkaWiring, lanes: &LanesWiring, clock: SystemClock) -> Self {
        Self { options: of_calls(options(profile, wiring, false), lanes), clock }
    }
}

impl Caller for Calls {
    fn topic(&self) -> &str {
        &self.options.topic
    }

    fn call(&self, calls: Vec<Outgoing>) -> BoxFuture<'_, Result<(), Refusal>> {
        let (options, clock) = (self.options.clone(), self.clock);
        Box::pin(async move {
            let published = tokio::task::spawn_blocking(move || publish::each_to_kafka(&options, &calls, &clock)).await;
            published.unwrap_or_else(|error| Err(Refusal::new(Reason::InternalError, error.to_string())))
        })
    }
}

/// The topic as the matrix looks at it: in groups of its own, so that the service's READYs stay the service's.
pub(super) async fn topic(
    profile: &Profile,
    wiring: &KafkaWiring,
    run: &PlatformRunId,
    named: Option<&Ready>,
    clock: SystemClock,
) -> Result<Topic, Failure> {
    let kept = look(profile, wiring, clock, false, "matrix-look")?;
    let found = matrix::newest(look(profile, wiring, clock, true, "matrix")?.stream(), run, named).await;
    Ok(Topic { control: ControlTopic::Remote(kept.probe()), found, look: Some(Box::new(kept)) })
}

/// The newest READY on the topic.
pub(super) fn newest(profile: &Profile, wiring: &KafkaWiring) -> Result<Ready, Failure> {
    let feed = look(profile, wiring, SystemClock::new(), true, "look")?;
    let closed = feed.closed();
    block_on(async {
        let newest = bus::newest(profile, feed.stream()).await;
        closed.await;
        newest
    })?
}

/// A look at the topic in a group of its own, which commits nothing: the service's READYs stay the service's.
fn look(
    profile: &Profile,
    wiring: &KafkaWiring,
    clock: SystemClock,
    once: bool,
    group: &str,
) -> Result<KafkaFeed, Failure> {
    let options = options(profile, wiring, once);
    let group_id = format!("{}-{group}", options.group_id);
    let options = KafkaOptions { group_id, max_held: LOOKED_AT, reach_timeout: REACH, ..options };
    KafkaFeed::open(options, clock).map_err(bus::unreachable)
}

/// The topic as the profile reaches it.
pub(super) fn options(profile: &Profile, wiring: &KafkaWiring, once: bool) -> KafkaOptions {
    KafkaOptions {
        security: wiring.security_protocol,
        mechanism: wiring.sasl_mechanism,
        username: wiring.username.clone(),
        password: wiring.password.clone(),
        aws_region: wiring.aws_region.clone(),
        ca_location: wiring.ca_location.clone(),
        once,
        session_timeout: wiring.session_timeout,
        ..KafkaOptions::new(wiring.bootstrap_servers.as_str(), &profile.topic, &wiring.group_id)
    }
}

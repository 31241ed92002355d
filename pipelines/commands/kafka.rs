//! The Kafka control topic, as the commands read it.

use wsp::clock::SystemClock;
use wsp::model::PlatformRunId;
use wsp::pipelines::telemetry::readiness::ControlTopic;
use wsp::profile::{KafkaWiring, Profile};
use wsp::ready::{KafkaFeed, KafkaOptions, Ready};

use super::args::Run;
use super::matrix::{Topic, newest};
use super::service::Feed;
use super::{Failure, LOOKED_AT, REACH};

/// READYs for the service.
pub(super) fn feed(profile: &Profile, wiring: &KafkaWiring, clock: SystemClock, args: &Run) -> Result<Feed, Failure> {
    let mut options = options(profile, wiring, args.once);
    options.defer_pause = args.poll_seconds.unwrap_or(options.defer_pause);
    let bus = format!("the control topic {} (Kafka at {})", profile.topic, wiring.bootstrap_servers.as_str());
    let feed = KafkaFeed::open(options, clock).map_err(|refusal| Failure::usage(refusal.to_string()))?;
    let (met, closed, control) = (feed.met(), Box::pin(feed.closed()), ControlTopic::Remote(feed.probe()));
    Ok(Feed { readies: Box::pin(feed.stream()), met, bus, closed, control })
}

/// The topic as the matrix looks at it: in groups of its own, so that the service's READYs stay the service's.
pub(super) async fn topic(
    profile: &Profile,
    wiring: &KafkaWiring,
    run: &PlatformRunId,
    named: Option<&Ready>,
    clock: SystemClock,
) -> Result<Topic, Failure> {
    let open = |once, group: &str| {
        let options = options(profile, wiring, once);
        let group_id = format!("{}-{group}", options.group_id);
        let options = KafkaOptions { group_id, max_held: LOOKED_AT, reach_timeout: REACH, ..options };
        KafkaFeed::open(options, clock).map_err(|refusal| Failure::usage(refusal.to_string()))
    };
    let look = open(false, "matrix-look")?;
    let found = newest(open(true, "matrix")?.stream(), run, named).await;
    Ok(Topic { control: ControlTopic::Remote(look.probe()), found, look: Some(Box::new(look)) })
}

fn options(profile: &Profile, wiring: &KafkaWiring, once: bool) -> KafkaOptions {
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

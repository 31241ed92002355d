//! The Kinesis control stream, as the commands read it.

use std::convert::Infallible;
use std::sync::Arc;

use futures::TryStreamExt;
use wsp::clock::SystemClock;
use wsp_observe::readiness::ControlTopic;
use wsp_world::model::{PlatformRunId, Refusal};
use wsp_world::positions::shard_positions;
use wsp_world::profile::{KinesisWiring, Profile};
use wsp_world::ready::{KinesisFeed, KinesisOptions, Ready, Unkept};

use super::args::Run;
use super::matrix::{self, Topic};
use super::service::Feed;
use super::{Failure, LOOKED_AT, REACH, block_on, bus};

/// READYs for the service.
pub(super) fn feed(profile: &Profile, wiring: &KinesisWiring, clock: SystemClock, args: &Run) -> Result<Feed, Failure> {
    let active = bus::active(profile)?;
    let positions = shard_positions(profile, wiring, active.as_ref(), clock).map_err(bus::unreachable)?;
    let mut options = options(profile, wiring, args.once);
    options.defer_pause = args.poll_seconds.unwrap_or(options.defer_pause);
    let bus = bus::words(profile)?;
    let feed = KinesisFeed::open(options, positions, clock).map_err(bus::unreachable)?;
    let (met, closed, control) = (feed.met(), Box::pin(feed.closed()), ControlTopic::Remote(feed.probe()));
    Ok(Feed { readies: Box::pin(feed.stream().map_err(Refusal::from)), met, bus, closed, control })
}

/// The stream as the matrix looks at it.
pub(super) async fn topic(
    profile: &Profile,
    wiring: &KinesisWiring,
    run: &PlatformRunId,
    named: Option<&Ready>,
) -> Result<Topic, Failure> {
    let kept = look(profile, wiring, false)?;
    let found = matrix::newest(look(profile, wiring, true)?.stream(), run, named).await;
    Ok(Topic { control: ControlTopic::Remote(kept.probe()), found, look: Some(Box::new(kept)) })
}

/// The newest READY on the stream.
pub(super) fn newest(profile: &Profile, wiring: &KinesisWiring) -> Result<Ready, Failure> {
    let feed = look(profile, wiring, true)?;
    block_on(bus::newest(profile, feed.stream()))?
}

/// A look at the profile's stream that settles nothing: what is kept for the service stays as it is.
fn look(profile: &Profile, wiring: &KinesisWiring, once: bool) -> Result<KinesisFeed<Infallible>, Failure> {
    let options = KinesisOptions { max_held: LOOKED_AT, reach_timeout: REACH, ..options(profile, wiring, once) };
    KinesisFeed::open(options, Arc::new(Unkept), SystemClock::new()).map_err(bus::unreachable)
}

/// The stream as the profile reaches it.
pub(super) fn options(profile: &Profile, wiring: &KinesisWiring, once: bool) -> KinesisOptions {
    KinesisOptions {
        region: wiring.region.clone(),
        endpoint: wiring.endpoint_url.as_ref().map(ToString::to_string),
        once,
        ..KinesisOptions::new(&wiring.stream, &profile.topic)
    }
}

//! The profile's control bus, as all commands name and read it.

use std::path::{Path, PathBuf};
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use std::pin::pin;
use std::sync::Arc;

#[cfg(any(feature = "kafka", feature = "kinesis"))]
use futures::{Stream, StreamExt};
use wsp::clock::SystemClock;
use wsp_world::lanes::Caller;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use wsp_world::model::Refusal;
use wsp_world::model::{Bus, PlatformRunId};
use wsp_world::profile::{ConfigError, ControlBus, Profile, active_run, run_scoped};
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use wsp_world::ready::{Incoming, Ready};

use super::Failure;

/// What to do about a control bus without a READY.
pub(super) const PUBLISH: &str = "publish a READY (`wsp ready --world ROOT` makes one)";

/// The bus in words: which topic, and where.
pub(super) fn words(profile: &Profile) -> Result<String, ConfigError> {
    let place = match &profile.control_bus {
        ControlBus::File { root } => {
            format!("files in {}", control_root(profile, root)?.join(&profile.topic).display())
        }
        #[cfg(feature = "kafka")]
        ControlBus::Kafka(wiring) => format!("Kafka at {}", wiring.bootstrap_servers.as_str()),
        #[cfg(feature = "kinesis")]
        ControlBus::Kinesis(wiring) => format!("Kinesis stream {}", wiring.stream),
    };
    Ok(format!("the control topic {} ({place})", profile.topic))
}

/// Which of the three it is.
pub(super) fn kind(profile: &Profile) -> Bus {
    match &profile.control_bus {
        ControlBus::File { .. } => Bus::File,
        #[cfg(feature = "kafka")]
        ControlBus::Kafka(_) => Bus::Kafka,
        #[cfg(feature = "kinesis")]
        ControlBus::Kinesis(_) => Bus::Kinesis,
    }
}

/// What calls other workers to a run, where the bus gives READY to one of them alone.
pub(super) fn caller(profile: &Profile, clock: SystemClock) -> Option<Arc<dyn Caller>> {
    match (&profile.control_bus, &profile.lanes) {
        #[cfg(feature = "kafka")]
        (ControlBus::Kafka(wiring), Some(lanes)) => {
            Some(Arc::new(super::kafka::Calls::new(profile, wiring, lanes, clock)))
        }
        _ => {
            let _ = clock;
            None
        }
    }
}

/// The folder of the file control bus, scoped to the active run.
pub(super) fn control_root(profile: &Profile, root: &Path) -> Result<PathBuf, ConfigError> {
    Ok(run_scoped(root, active(profile)?.as_ref()))
}

/// The active run, where there is one.
pub(super) fn active(profile: &Profile) -> Result<Option<PlatformRunId>, ConfigError> {
    active_run(profile.platform_run_id.as_ref(), Path::new(""))
}

/// The newest of the READYs that a bus gives out in one pass. Several partitions or shards have no order between them, so it
/// is the one that was emitted last. None is settled.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
pub(super) async fn newest(
    profile: &Profile,
    readies: impl Stream<Item = Result<Incoming, impl Into<Refusal>>>,
) -> Result<Ready, Failure> {
    let mut readies = pin!(readies);
    let mut newest: Option<Ready> = None;
    while let Some(incoming) = readies.next().await {
        let incoming = incoming.map_err(unreachable)?;
        if newest.as_ref().is_none_or(|newest| newest.emitted_at() <= incoming.message.emitted_at()) {
            newest = Some(incoming.message.clone());
        }
    }
    newest.ok_or_else(|| none_there(profile))
}

/// The failure of a command whose control bus can't be read with these settings.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
pub(super) fn unreachable(error: impl Into<Refusal>) -> Failure {
    let refusal: Refusal = error.into();
    Failure::usage(refusal.to_string())
}

/// The failure of a command that needs a READY where none is.
pub(super) fn none_there(profile: &Profile) -> Failure {
    match words(profile) {
        Ok(bus) => Failure::usage(format!("there is no READY on {bus}; {PUBLISH}, or name its file with --ready")),
        Err(error) => error.into(),
    }
}

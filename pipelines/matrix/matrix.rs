//! The environment to try, and the run that it uses up.

use std::path::PathBuf;

use wsp::deliver::HttpGate;
use wsp_observe::readiness::ControlTopic;
use wsp_world::model::{PlatformRunId, Refusal, Secret};
use wsp_world::profile::Profile;
use wsp_world::ready::{Ready, Source};

/// Events that are sent at most by default.
pub const MAX_EVENTS: u64 = 20;

/// An environment to try.
pub struct Matrix<C> {
    /// The environment.
    pub profile: Profile,
    /// The run that it uses up.
    pub run: PlatformRunId,
    /// The READY that was named, where one was.
    pub named: Option<Ready>,
    /// The run's newest READY on the control topic and its position; none where there is none.
    pub on_topic: Result<Option<(Ready, Source)>, Refusal>,
    /// The control topic.
    pub control: ControlTopic,
    /// The profile's gate.
    pub gate: HttpGate<C>,
    /// The same with a key that the gate never issued.
    pub stranger: HttpGate<C>,
    /// Events to send at most; 2 or more.
    pub max_events: u64,
    /// Secrets that no evidence may show, beside the profile's own.
    pub secrets: Vec<Secret>,
    /// A folder of its own, for the session logs of doctored READYs.
    pub scratch: PathBuf,
    /// The time.
    pub clock: C,
}

impl<C> Matrix<C> {
    /// The READY that is tried: the one named, else the one on the topic.
    pub(super) fn ready(&self) -> Option<(Ready, Source)> {
        let on_topic = self.on_topic.as_ref().ok().and_then(Option::as_ref);
        match (&self.named, on_topic) {
            (Some(named), Some((ready, source))) if ready.payload.message_id == named.payload.message_id => {
                Some((named.clone(), source.clone()))
            }
            (Some(named), _) => {
                let topic = self.profile.topic.clone();
                Some((named.clone(), Source { topic, partition: None, offset: None, name: "--ready".to_owned() }))
            }
            (None, found) => found.cloned(),
        }
    }
}

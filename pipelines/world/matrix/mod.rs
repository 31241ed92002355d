//! What an operator wants to see green before an environment is trusted: each requirement tried on the profile's own
//! parts, one row each.
//!
//! ```text
//! READY ─┬─ doctored, one thing each ──► service, its store an Aside, its gate a ShutGate ──► refused as it has to be
//!        └─ as it is, capped ──► service on the real parts: stopped, resumed, again, resent ──► verify
//! control topic · store · gate · checkpoint ──► asked by themselves first: what hangs on a broken one is red untried
//!                                                   └────────► Report: the table, <prefix>/wsp/matrix.json
//! ```
//!
//! The rows are in `rows`; the rest of the folder fills them. C1 is READY and its identity, C2 the world, C3 delivery,
//! C4 what a run tells and waits for, C5 the evidence it leaves.

mod aside;
mod delivery;
mod doctor;
mod evidence;
mod gates;
mod operated;
mod parts;
mod places;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use wsp::clock::Clock;
use wsp::deliver::HttpGate;

use crate::model::{PlatformRunId, Refusal, Secret};
use crate::profile::Profile;
use crate::ready::{Ready, Source};

use super::telemetry::Telemetry;
use super::telemetry::readiness::ControlTopic;

pub use report::{MATRIX_SCHEMA, Outcome, Report, Row};
pub use rows::{Need, ROWS, Spec};

/// Events that are sent at most, unless told.
pub const MAX_EVENTS: u64 = 20;

/// What a matrix is made of.
pub struct Matrix<C> {
    /// The environment.
    pub profile: Profile,
    /// The run that is used up by it.
    pub run: PlatformRunId,
    /// The READY that was named, where one was.
    pub named: Option<Ready>,
    /// The run's newest READY on the control topic and where it stood; none where there is none.
    pub on_topic: Result<Option<(Ready, Source)>, Refusal>,
    /// For the look at the control topic.
    pub control: ControlTopic,
    /// The profile's gate.
    pub gate: HttpGate<C>,
    /// The same with a key that nobody was given.
    pub stranger: HttpGate<C>,
    /// Events to send at most; 2 or more.
    pub max_events: u64,
    /// What may stand in no evidence, beside what the profile holds.
    pub secrets: Vec<Secret>,
    /// A folder that nobody else uses, for what the doctored READYs' sessions tell.
    pub scratch: PathBuf,
    /// By which time.
    pub clock: C,
}

impl<C: Clock + std::fmt::Debug> Matrix<C> {
    /// Fills every row and writes the report; says where it is kept.
    ///
    /// # Errors
    ///
    /// Where the report can be kept nowhere. All else is a row.
    pub async fn run(mut self) -> Result<(Report, String), Refusal> {
        // The run that is meant, and no other, whatever the machine's files say meanwhile.
        self.profile.platform_run_id = Some(self.run.clone());
        let mut report = Report::new(&self.profile, &self.run, self.max_events, self.clock.utc());
        let telemetry = Telemetry::new(&self.clock);
        parts::ask(&self, &mut report).await;
        let ready = self.ready();
        report.ready(ready.as_ref().map(|(ready, _)| ready));
        let world = match &ready {
            Some((ready, _)) => doctor::refused(&self, ready, &mut report).await,
            None => None,
        };
        let streamed = match (&ready, &world) {
            (Some((ready, source)), Some(world)) => {
                delivery::streamed(&self, (ready, source), world, &telemetry, &mut report).await
            }
            _ => None,
        };
        operated::told(&self, streamed.as_ref(), &telemetry, &mut report).await;
        evidence::verified(&self, streamed.as_ref(), &mut report).await;
        report.finish(self.clock.utc());
        let kept = evidence::keep(&self, &report).await?;
        Ok((report, kept))
    }

    /// The READY that all of it is about: the one named, else the one on the topic.
    fn ready(&self) -> Option<(Ready, Source)> {
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

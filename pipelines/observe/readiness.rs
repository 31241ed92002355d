//! Whether a READY that arrived now could be streamed.
//!
//! ```text
//! /readyz ──► control topic · store · gate · lease, asked side by side ──► Report (kept for a second)
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, TryFutureExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use wsp::clock::Clock;
use wsp::store::ObjectStore;
use wsp_world::checkpoint::LeaseState;
use wsp_world::ig::IgProbe;
use wsp_world::model::Refusal;
use wsp_world::ready;
use wsp_world::telemetry::Telemetry;

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a report is valid; later questions within it get the same one.
const KEPT: Duration = Duration::from_secs(1);

/// Where READYs come from.
#[derive(Debug, Clone)]
pub enum ControlTopic {
    /// A folder. One that does not exist yet is in order: nothing was published.
    Folder(PathBuf),
    /// A topic of Kafka, or a stream of Kinesis.
    Remote(ready::Probe),
}

/// The parts that readiness depends on.
#[derive(Debug)]
pub struct Readiness<C> {
    /// Whose run has the lease, and which records the answers.
    telemetry: Telemetry,
    control: ControlTopic,
    store: Arc<dyn ObjectStore>,
    gate: IgProbe<C>,
    clock: C,
    last: Mutex<Option<(Duration, Report)>>,
}

/// What the parts answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether all of them are ready.
    pub ready: bool,
    /// One by one.
    pub parts: Vec<PartReport>,
}

/// What a part answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// Which: a value of the metric's label `part`.
    pub part: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Its answer in words.
    pub detail: String,
}

impl<C: Clock> Readiness<C> {
    /// The parts of a process, none asked yet.
    #[must_use]
    pub fn new(
        telemetry: Telemetry,
        control: ControlTopic,
        store: Arc<dyn ObjectStore>,
        gate: IgProbe<C>,
        clock: C,
    ) -> Self {
        Self { telemetry, control, store, gate, clock, last: Mutex::new(None) }
    }

    /// Asks every part, or repeats answers that are less than a second old.
    pub async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && self.clock.now().saturating_sub(*at) < KEPT
        {
            return report.clone();
        }
        let parts: Vec<(&'static str, BoxFuture<'_, Result<String, String>>)> = vec![
            ("control_topic", self.control().boxed()),
            ("store", self.store.check().map_ok(|()| "reachable".to_owned()).map_err(|e| e.to_string()).boxed()),
            ("gate", self.gate().boxed()),
            ("lease", std::future::ready(self.lease()).boxed()),
        ];
        let asked = parts.into_iter().map(|(part, ask)| async move {
            let answer = tokio::select! {
                answer = ask => answer,
                () = self.clock.sleep_until(self.clock.now() + PATIENCE) => Err(format!("no answer in {PATIENCE:?}")),
            };
            let ready = answer.is_ok();
            self.telemetry.part(part, ready);
            PartReport { part: part.to_owned(), ready, detail: answer.unwrap_or_else(|error| error) }
        });
        let parts = join_all(asked).await;
        let report = Report { ready: parts.iter().all(|part| part.ready), parts };
        *last = Some((self.clock.now(), report.clone()));
        report
    }

    async fn control(&self) -> Result<String, String> {
        match &self.control {
            ControlTopic::Folder(folder) => match tokio::fs::read_dir(folder).await {
                Ok(_) => Ok("readable".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("nothing published yet".to_owned()),
                Err(error) => Err(format!("{}: {error}", folder.display())),
            },
            ControlTopic::Remote(probe) => match probe.look(PATIENCE).await {
                Ok(0) => Err("the topic does not exist".to_owned()),
                Ok(parts) => Ok(format!("{parts} {}", probe.counted())),
                Err(error) => Err(Refusal::from(error).to_string()),
            },
        }
    }

    async fn gate(&self) -> Result<String, String> {
        match self.gate.health().await {
            Ok(health) if health.is_good() => Ok(health.words()),
            Ok(health) => Err(health.words()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn lease(&self) -> Result<String, String> {
        match self.telemetry.lease().map(|lease| lease.state(self.clock.now())) {
            None => Ok("idle".to_owned()),
            Some(LeaseState::Held) => Ok("held".to_owned()),
            Some(LeaseState::Lapsed) => Err("lapsed: it could not be renewed in time".to_owned()),
            Some(LeaseState::Lost(refusal)) => Err(refusal.to_string()),
        }
    }
}

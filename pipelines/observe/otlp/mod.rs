//! Traces and metrics over OTLP (http/protobuf), where the standard `OTEL_*` variables ask for them.
//!
//! ```text
//! spans ──► SpanLayer ───────┐
//!                            ├─► Client (a thread, reqwest) ──► encode (wire) ──POST──► collector
//! Telemetry ──each minute────┘
//! ```
//!
//! A collector that is unreachable costs its data and a line in the log; it never holds up a run.

mod client;
mod encode;
mod env;
mod layer;
mod span;
mod wire;

use std::time::Duration;

use wsp::clock::{Clock, SystemClock};
use wsp_world::profile::{ConfigError, Environment};
use wsp_world::stopping::LAST_FIGURES;
use wsp_world::telemetry::Telemetry;

use client::Client;
use env::Settings;
pub use layer::SpanLayer;

/// The exporters of a process.
#[derive(Debug)]
pub struct Otlp {
    client: Client,
    interval: Duration,
    traces: bool,
}

impl Otlp {
    /// What the environment asks for; `None` where it names no endpoint.
    ///
    /// # Errors
    ///
    /// Variables that can't be used, all in one message.
    pub fn from_env(env: Environment<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(settings) = Settings::read(env)? else { return Ok(None) };
        let (interval, traces) = (settings.interval, settings.traces.is_some());
        let client = Client::start(settings).map_err(|error| ConfigError::new(format!("OTLP: {error}")))?;
        Ok(Some(Self { client, interval, traces }))
    }

    /// The layer that turns a run's spans into a trace, where traces are asked for.
    #[must_use]
    pub fn layer(&self) -> Option<SpanLayer> {
        self.traces.then(|| SpanLayer::new(self.client.clone()))
    }

    /// Whether runs are traced.
    #[must_use]
    pub fn traces(&self) -> bool {
        self.traces
    }

    /// Sends the figures each interval, for as long as it is polled.
    pub async fn send_metrics<C: Clock>(&self, telemetry: &Telemetry, clock: &C) {
        let mut next = clock.now();
        loop {
            next += self.interval;
            clock.sleep_until(next).await;
            self.send_figures(telemetry, clock);
        }
    }

    /// Sends the figures as they are now.
    pub fn send_figures(&self, telemetry: &Telemetry, clock: &impl Clock) {
        self.client.metrics(telemetry.families(clock), telemetry.started());
    }

    /// Resolves when everything queued is sent, or after [`LAST_FIGURES`].
    pub async fn finish(&self, clock: &SystemClock) {
        tokio::select! {
            () = self.client.flush() => {}
            () = clock.sleep_until(clock.now() + LAST_FIGURES) => {}
        }
    }
}

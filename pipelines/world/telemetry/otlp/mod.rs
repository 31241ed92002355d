//! Traces and metrics over OTLP (http/protobuf), where the standard `OTEL_*` variables ask for them.
//!
//! ```text
//! spans ──► SpanLayer ───────┐
//!                            ├─► Client (a thread, reqwest) ──► encode (wire) ──POST──► collector
//! Telemetry ──each minute────┘
//! ```
//!
//! A collector that is away costs its data and a line in the log; it never holds up a run.

mod client;
mod encode;
mod env;
mod layer;
mod wire;

use std::time::Duration;

use wsp::clock::{Clock, SystemClock};

use crate::profile::{ConfigError, Environment};

use super::Telemetry;
use client::Client;
use env::Settings;
pub use layer::SpanLayer;

/// How long the last spans and figures may take.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

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

    /// What makes a run's spans to a trace, where traces are asked for.
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
        self.client.metrics(telemetry.families(clock), telemetry.shared.started);
    }

    /// Resolves when all that was handed over is sent, or after some seconds.
    pub async fn finish(&self, clock: &SystemClock) {
        tokio::select! {
            () = self.client.flush() => {}
            () = clock.sleep_until(clock.now() + LAST_WORDS) => {}
        }
    }
}

//! Where logs and spans go: text to a terminal, JSON lines elsewhere, and traces to a collector where one is named.

use std::io::IsTerminal;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};
use wsp::pipelines::telemetry::otlp::Otlp;

use super::Around;

/// Starts logging what `filter` lets through.
pub(crate) fn start(filter: &str, around: &Around) -> Result<(), ParseError> {
    let Around { screen, otlp } = around;
    let filter = EnvFilter::try_new(filter)?;
    // A line that can't be written is lost; the crate's own complaint about it would panic on the same stderr.
    let logs = fmt::layer().with_writer(screen.clone()).log_internal_errors(false);
    // People read text on a terminal, where the spans around a line would only make it long. Machines read JSON.
    let logs = if std::io::stderr().is_terminal() {
        let text = logs.with_target(false).with_ansi(screen.color());
        text.with_filter(filter).boxed()
    } else {
        logs.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
    };
    // A trace has the spans of a run, not those of libraries.
    let spans = Targets::new().with_target("wsp", tracing::Level::INFO);
    let traces = otlp.as_ref().and_then(Otlp::layer).map(|layer| layer.with_filter(spans));
    tracing_subscriber::registry().with(logs).with(traces).init();
    Ok(())
}

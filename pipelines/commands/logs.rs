//! Where logs go: text to a terminal, JSON lines elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::screen::Screen;

/// Starts logging what `filter` lets through.
pub(crate) fn start(filter: &str, screen: &Screen) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let logs = fmt::layer().with_writer(screen.clone());
    // People read text on a terminal, where the spans around a line would only make it long. Machines read JSON.
    let logs = if std::io::stderr().is_terminal() {
        let text = logs.with_target(false).with_ansi(screen.color());
        text.with_filter(filter).boxed()
    } else {
        logs.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(logs).init();
    Ok(())
}

//! Where logs and spans go: text where a person watches, JSON lines elsewhere, and traces to a collector where one is named.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};
use wsp_observe::otlp::Otlp;

use super::Around;
use super::args::LogFormat;

/// Starts logging what `filter` lets through, in `format` where one is asked for.
pub(crate) fn start(filter: &str, format: Option<LogFormat>, around: &Around) -> Result<(), ParseError> {
    let Around { screen, otlp } = around;
    let filter = EnvFilter::try_new(filter)?;
    // A line that can't be written is lost; the crate's own complaint about it would panic on the same stderr.
    let logs = fmt::layer().with_writer(screen.clone()).log_internal_errors(false);
    // People read text, where the spans around a line would only make it long. Machines read JSON.
    let logs = match form(format, io::stdout().is_terminal(), io::stderr().is_terminal()) {
        LogFormat::Text => logs.with_ansi(screen.color()).event_format(ForPeople).with_filter(filter).boxed(),
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed(),
    };
    // A trace has the spans of a run, not those of libraries.
    let spans = Targets::new().with_target("wsp", tracing::Level::INFO);
    let traces = otlp.as_ref().and_then(Otlp::layer).map(|layer| layer.with_filter(spans));
    tracing_subscriber::registry().with(logs).with(traces).init();
    Ok(())
}

/// The form of the log: the one asked for, else text where somebody watches. Where only stdout is a terminal, stderr may well
/// end on the same one, by way of a pipe: JSON lines would stand between the lines of a table.
fn form(asked: Option<LogFormat>, stdout_is_terminal: bool, stderr_is_terminal: bool) -> LogFormat {
    let watched = stdout_is_terminal || stderr_is_terminal;
    asked.unwrap_or(if watched { LogFormat::Text } else { LogFormat::Json })
}

/// From now on a panic is a line of the log, in its form, with the thread and the place. One that the Oracle's reading catches is
/// left to the refusal that it becomes.
pub(crate) fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if wsp::caught::catches_panic() {
            return;
        }
        if !tracing::enabled!(Level::ERROR) {
            return before(panic);
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
        tracing::error!(thread, place, backtrace, "panicked: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
}

/// A line for people: when, how bad, what. Which run it is stands in the progress below and, for machines, in the spans.
struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        // `2026-01-01T12:34:56.789012Z`: the day is known, and less than a second nobody sees.
        let time = time.get(11..19).unwrap_or(&time);
        let level = event.metadata().level();
        let color = match *level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            _ => "34",
        };
        if out.has_ansi_escapes() {
            write!(out, "\x1b[2m{time}\x1b[0m \x1b[{color}m{level:>5}\x1b[0m ")?;
        } else {
            write!(out, "{time} {level:>5} ")?;
        }
        context.format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_reads_text_unless_another_form_is_asked_for() {
        for (stdout, stderr, expected) in [
            (true, true, LogFormat::Text),
            (true, false, LogFormat::Text),
            (false, true, LogFormat::Text),
            (false, false, LogFormat::Json),
        ] {
            assert_eq!(form(None, stdout, stderr), expected, "{stdout} {stderr}");
            for asked in [LogFormat::Text, LogFormat::Json] {
                assert_eq!(form(Some(asked), stdout, stderr), asked);
            }
        }
    }
}

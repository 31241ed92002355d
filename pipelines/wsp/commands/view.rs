//! A run's progress as lines of text, no wider than the terminal.
//!
//! ```text
//! RunStatus ──► a line for the run, a line an output; columns that don't fit are left out, the least telling first
//! ```

use wsp_world::telemetry::status::{OutputStatus, Progress, RunStatus};

use super::table::grouped;

/// Widest bar, in characters.
const BAR: usize = 20;

/// How text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// With colours, that is.
    pub(crate) color: bool,
}

impl Style {
    pub(super) fn bold(self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The lines of a run, none longer than `width` characters.
pub(crate) fn lines(run: &RunStatus, width: usize, style: Style) -> Vec<String> {
    let names = run.outputs.iter().map(|output| output.output_id.as_str().len()).max().unwrap_or(0);
    let mut lines = vec![style.bold(&cut(&headline(run, width), width))];
    lines.extend(run.outputs.iter().map(|output| cut(&output_line(output, names, width), width)));
    lines.extend(run.bottleneck.iter().map(|bottleneck| cut(&format!("  {bottleneck}"), width)));
    lines
}

fn headline(run: &RunStatus, width: usize) -> String {
    let Progress { answered, due, rate, eta_seconds } = run.total;
    let events = match due {
        Some(due) => format!("{} of {} events", grouped(answered), grouped(due)),
        None => format!("{} events", grouped(answered)),
    };
    let columns = [
        run.platform_run_id.to_string(),
        events,
        format!("{}/s", grouped(rate.round() as u64)),
        format!("{} left", left(eta_seconds)),
        format!("lag {:.2} s", run.lag_seconds),
        format!("{} unanswered", grouped(run.unanswered)),
        format!("{} retries", grouped(run.retries)),
    ];
    joined(columns.iter().map(String::as_str), width)
}

fn output_line(output: &OutputStatus, names: usize, width: usize) -> String {
    let Progress { answered, due, rate, eta_seconds } = output.progress;
    let share = due.map(|due| if due == 0 { 1.0 } else { answered as f64 / due as f64 });
    // Seconds are enough for people.
    let time = output.event_time_utc.as_deref().and_then(|time| time.get(..19)).unwrap_or("-").replace('T', " ");
    let percent = share.map_or_else(|| grouped(answered), |share| format!("{:3.0}%", (share * 100.0).floor()));
    let columns = [
        format!("  {:names$}", output.output_id.as_str()),
        format!("{percent:>4}"),
        format!("{time:19}"),
        format!("{:>8}/s", grouped(rate.round() as u64)),
        format!("{:>8} left", left(eta_seconds)),
        share.map_or_else(String::new, bar),
    ];
    joined(columns.iter().map(String::as_str), width)
}

/// As many columns as fit, the first in any case.
fn joined<'a>(columns: impl Iterator<Item = &'a str>, width: usize) -> String {
    let mut out = String::new();
    for column in columns.filter(|column| !column.is_empty()) {
        let gap = if out.is_empty() { 0 } else { 2 };
        if gap > 0 && out.chars().count() + gap + column.chars().count() > width {
            break;
        }
        out.extend(std::iter::repeat_n(' ', gap));
        out.push_str(column);
    }
    out
}

fn bar(share: f64) -> String {
    let full = ((share * BAR as f64) as usize).min(BAR);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}

/// A time as `1:02:03` or `2:03`.
pub(super) fn left(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds.filter(|seconds| *seconds < 1e9) else { return "?".to_owned() };
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

pub(super) fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wsp::deliver::Bottleneck;
    use wsp_world::telemetry::status::{Answers, Saves};

    use super::*;

    fn run() -> RunStatus {
        let progress = Progress { answered: 250, due: Some(1000), rate: 1234.4, eta_seconds: Some(61.2) };
        let output = |id: &str| OutputStatus {
            output_id: id.parse().unwrap(),
            event_time_utc: Some("2026-01-01T05:12:33.000000Z".to_owned()),
            end_utc: None,
            progress,
        };
        RunStatus {
            message_id: None,
            platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
            started_utc: String::new(),
            outputs: vec![output("arrival_events_5B"), output("s3_event_stream_with_fraud_6B")],
            total: Progress { eta_seconds: None, ..progress },
            lag_seconds: 0.25,
            unanswered: 64,
            in_flight: 64,
            attempts: 253,
            retries: 3,
            answers: Answers::default(),
            saves: Saves::default(),
            waits_for: None,
            bottleneck: None,
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let lines = lines(&run(), 200, Style { color: false });
        let expected =
            "platform_20260101T000000Z  250 of 1,000 events  1,234/s  ? left  lag 0.25 s  64 unanswered  3 retries";
        assert_eq!(lines[0], expected);
        assert_eq!(
            lines[1],
            "  arrival_events_5B               25%  2026-01-01 05:12:33     1,234/s      1:02 left  [#####...............]"
        );
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_key_that_bounds_the_run_is_named() {
        let bottleneck = Bottleneck {
            order_key: "merchant_id".to_owned(),
            key_hash: "ab".to_owned(),
            share: 0.1,
            busy: 0.97,
            allows_per_second: 870.4,
        };
        let run = RunStatus { bottleneck: Some(bottleneck), ..run() };
        let lines = lines(&run, 200, Style { color: false });
        assert_eq!(
            lines[3],
            "  one merchant_id (hash ab) bounds the run: 10.0 % of the events, one after the other, allow 870 events/s at the \
             latency seen (97 % of the time)"
        );
    }

    #[test]
    fn color_is_only_where_it_is_asked_for() {
        assert!(lines(&run(), 80, Style { color: true })[0].starts_with("\x1b[1m"));
        assert!(!lines(&run(), 80, Style { color: false }).concat().contains('\x1b'));
    }

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!([Some(0.0), Some(59.1), Some(3661.0), None].map(left), ["0:00", "1:00", "1:01:01", "?"]);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(width in 1_usize..160) {
            for line in lines(&run(), width, Style { color: false }) {
                prop_assert!(line.chars().count() <= width);
            }
        }
    }
}

//! Metrics as the Prometheus text format (version 0.0.4) has them.

use std::fmt::Write;

use super::family::{Family, Metric, Value};
use super::histogram::{BOUNDS, HistogramCounts};

/// The format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of `families`, each with its help and type. One without samples is left out.
#[must_use]
pub fn text(families: &[Family]) -> String {
    let mut out = String::with_capacity(8192);
    for Family { metric, samples } in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a String can't fail, here and below.
        let _ = writeln!(out, "# HELP {} {}", metric.name, escaped(metric.help, false));
        let _ = writeln!(out, "# TYPE {} {}", metric.name, metric.kind.as_str());
        for sample in samples {
            match &sample.value {
                Value::Number(number) => line(&mut out, metric, "", &sample.labels, None, *number),
                Value::Histogram(counts) => histogram(&mut out, metric, &sample.labels, counts),
            }
        }
    }
    out
}

fn histogram(out: &mut String, metric: &Metric, labels: &[String], counts: &HistogramCounts) {
    let mut upto = 0;
    for (count, bound) in counts.buckets.iter().zip(BOUNDS) {
        upto += count;
        let bound = (bound as f64 / 1e6).to_string();
        line(out, metric, "_bucket", labels, Some(&bound), upto as f64);
    }
    line(out, metric, "_bucket", labels, Some("+Inf"), counts.count() as f64);
    line(out, metric, "_sum", labels, None, counts.sum_seconds());
    line(out, metric, "_count", labels, None, counts.count() as f64);
}

fn line(out: &mut String, metric: &Metric, suffix: &str, labels: &[String], bound: Option<&str>, number: f64) {
    let _ = write!(out, "{}{suffix}", metric.name);
    let named = metric.labels.iter().copied().zip(labels.iter().map(String::as_str));
    let mut open = '{';
    for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(out, "{open}{name}=\"{}\"", escaped(value, true));
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {number}");
}

/// Backslashes and line ends, and in labels quotes, as the format wants them.
fn escaped(text: &str, label: bool) -> String {
    let text = text.replace('\\', r"\\").replace('\n', r"\n");
    if label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::*;
    use crate::telemetry::{Kind, Metric};
    use std::time::Duration;

    const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str]) -> Metric {
        Metric { name, kind, labels, help: "What it says." }
    }

    static ANSWERED: Metric = metric("answered_events_total", Kind::Counter, &["output", "decision"]);
    static DUE: Metric = metric("due_events", Kind::Gauge, &["output"]);
    static LATENCY: Metric = metric("answer_latency_seconds", Kind::Histogram, &[]);

    #[test]
    fn a_counter_has_help_type_and_escaped_labels() {
        let samples = [(vec!["a\\b\"c\nd".to_owned(), "ADMIT".to_owned()], 1e15)];
        let text = text(&[Family::labelled(&ANSWERED, samples), Family::labelled(&DUE, [])]);
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap(), "# HELP answered_events_total What it says.");
        assert_eq!(lines.next().unwrap(), "# TYPE answered_events_total counter");
        let expected = r#"answered_events_total{output="a\\b\"c\nd",decision="ADMIT"} 1000000000000000"#;
        assert_eq!(lines.next().unwrap(), expected);
        assert_eq!(lines.next(), None, "a metric without figures is left out");
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for millis in [1, 3, 3, 60_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let text = text(&[Family::histogram(&LATENCY, histogram.counts())]);
        let has = |line: &str| text.lines().any(|told| told == line);
        assert!(has(r#"answer_latency_seconds_bucket{le="0.0005"} 0"#), "{text}");
        assert!(has(r#"answer_latency_seconds_bucket{le="0.005"} 3"#), "{text}");
        assert!(has(r#"answer_latency_seconds_bucket{le="+Inf"} 4"#), "{text}");
        assert!(has("answer_latency_seconds_sum 60.007") && has("answer_latency_seconds_count 4"), "{text}");
    }
}

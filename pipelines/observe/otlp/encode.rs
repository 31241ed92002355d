//! Spans and metrics as OTLP's messages (opentelemetry-proto 1.x; the numbers are its fields').

use wsp::telemetry::{BOUNDS, Family, HistogramCounts, Kind, Sample, Value};
use wsp_world::model::Micros;

use super::span::{Attribute, SpanData};
use super::wire::Wire;

/// Who sends: `service.name` and the like.
pub(super) type Resource = [(String, String)];

/// An `ExportTraceServiceRequest`.
pub(super) fn spans(resource: &Resource, spans: &[SpanData]) -> Vec<u8> {
    let scope_spans = Wire::default().message(1, scope()).messages(2, spans.iter().map(span));
    let resource_spans = Wire::default().message(1, resource_message(resource)).message(2, scope_spans);
    Wire::default().message(1, resource_spans).into_bytes()
}

/// An `ExportMetricsServiceRequest` that tells of `families` at `now`, counted since `started`.
pub(super) fn metrics(resource: &Resource, families: &[Family], started: Micros, now: Micros) -> Vec<u8> {
    let times = Times { started: nanos(started), now: nanos(now) };
    let told = families.iter().filter(|family| !family.samples.is_empty());
    let scope_metrics = Wire::default().message(1, scope()).messages(2, told.map(|family| metric(family, times)));
    let resource_metrics = Wire::default().message(1, resource_message(resource)).message(2, scope_metrics);
    Wire::default().message(1, resource_metrics).into_bytes()
}

fn resource_message(resource: &Resource) -> Wire {
    Wire::default().messages(1, resource.iter().map(|(key, value)| text_attribute(key, value)))
}

fn scope() -> Wire {
    Wire::default().text(1, "wsp").text(2, env!("CARGO_PKG_VERSION"))
}

fn span(span: &SpanData) -> Wire {
    let ids = Wire::default().bytes(1, &span.trace_id).bytes(2, &span.span_id);
    let ids = span.parent.iter().fold(ids, |wire, parent| wire.bytes(4, parent));
    // Of the kind INTERNAL.
    let named = ids.text(5, span.name).varint(6, 1);
    let timed = named.fixed(7, nanos(span.started)).fixed(8, nanos(span.ended));
    timed.messages(9, span.attributes.iter().map(|(key, value)| attribute(key, value)))
}

fn attribute(key: &str, value: &Attribute) -> Wire {
    match value {
        Attribute::Text(text) => text_attribute(key, text),
        // Two's complement, as the format has signed integers.
        Attribute::Integer(number) => {
            Wire::default().text(1, key).message(2, Wire::default().varint(3, number.cast_unsigned()))
        }
    }
}

fn text_attribute(key: &str, value: &str) -> Wire {
    Wire::default().text(1, key).message(2, Wire::default().text(1, value))
}

#[derive(Clone, Copy)]
struct Times {
    started: u64,
    now: u64,
}

/// CUMULATIVE: counts are those since the start.
const CUMULATIVE: u64 = 2;

fn metric(family: &Family, times: Times) -> Wire {
    let metric = family.metric;
    let points = family.samples.iter().map(|sample| point(family, sample, times));
    let points = Wire::default().messages(1, points);
    let named = Wire::default().text(1, metric.name).text(2, metric.help).text(3, &unit(metric.unit()));
    match metric.kind {
        Kind::Gauge => named.message(5, points),
        Kind::Counter => named.message(7, points.varint(2, CUMULATIVE).varint(3, 1)),
        Kind::Histogram => named.message(9, points.varint(2, CUMULATIVE)),
    }
}

fn point(family: &Family, sample: &Sample, times: Times) -> Wire {
    let dated = Wire::default().fixed(2, times.started).fixed(3, times.now);
    let labels = family.metric.labels.iter().zip(&sample.labels).map(|(key, value)| text_attribute(key, value));
    match &sample.value {
        Value::Number(number) => dated.double(4, *number).messages(7, labels),
        Value::Histogram(counts) => {
            let HistogramCounts { buckets, .. } = counts;
            let bounds = BOUNDS.iter().map(|micros| (*micros as f64 / 1e6).to_bits());
            let counted = dated.fixed(4, counts.count()).double(5, counts.sum_seconds());
            counted.packed(6, buckets.iter().copied()).packed(7, bounds).messages(9, labels)
        }
    }
}

/// The unit in UCUM, as OTLP has it: what is counted stands in braces.
fn unit(unit: &str) -> String {
    match unit {
        "seconds" => "s".to_owned(),
        "bytes" => "By".to_owned(),
        "info" | "ready" | "epoch" => "1".to_owned(),
        counted => format!("{{{counted}}}"),
    }
}

fn nanos(at: Micros) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1000)
}

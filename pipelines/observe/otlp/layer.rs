//! Turns the spans of a run into spans of a trace.
//!
//! ```text
//! span "run" with a trace_id ──► root; spans below it ──► children ──ended──► Client
//! ```
//!
//! A span outside any run belongs to no trace and is left out.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use wsp::clock::{Clock, SystemClock};

use super::client::Client;
use super::span::{Attribute, SpanData};

/// See the module.
#[derive(Debug)]
pub struct SpanLayer {
    client: Client,
    clock: SystemClock,
    /// Spans so far.
    count: AtomicU64,
}

impl SpanLayer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, clock: SystemClock::new(), count: AtomicU64::new(0) }
    }

    /// Unlike all others of the trace; the trace's id is unlike all others anyway.
    fn span_id(&self, trace_id: [u8; 16]) -> [u8; 8] {
        let nth = self.count.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::new().chain_update(trace_id).chain_update(nth.to_be_bytes()).finalize();
        std::array::from_fn(|i| digest[i])
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = span.parent();
        let above = parent.as_ref().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<SpanData>().map(|data| (data.trace_id, data.span_id))
        });
        let Some(trace_id) = above.map(|(trace_id, _)| trace_id).or(fields.trace_id) else { return };
        let now = self.clock.utc();
        let data = SpanData {
            trace_id,
            span_id: self.span_id(trace_id),
            parent: above.map(|(_, span_id)| span_id),
            name: span.name(),
            started: now,
            ended: now,
            attributes: fields.attributes,
        };
        span.extensions_mut().insert(data);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(data) = extensions.get_mut::<SpanData>() else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        data.attributes.extend(fields.attributes);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let data = span.extensions_mut().remove::<SpanData>();
        if let Some(data) = data {
            self.client.span(SpanData { ended: self.clock.utc(), ..data });
        }
    }
}

/// The fields of a span, with its trace's id apart.
#[derive(Default)]
struct Fields {
    trace_id: Option<[u8; 16]>,
    attributes: Vec<(&'static str, Attribute)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "trace_id" => self.trace_id = u128::from_str_radix(&text, 16).ok().map(u128::to_be_bytes),
            name => self.attributes.push((name, Attribute::Text(text))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.attributes.push((field.name(), Attribute::Text(value.to_owned())));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push((field.name(), Attribute::Integer(value)));
    }
}

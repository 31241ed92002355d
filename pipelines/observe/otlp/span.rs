//! A span as it is exported.

use wsp_world::model::Micros;

/// A span of a trace.
#[derive(Debug, Clone)]
pub(super) struct SpanData {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) started: Micros,
    pub(super) ended: Micros,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(String),
    Integer(i64),
}

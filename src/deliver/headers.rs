//! Which header fields may be set from outside, and what their values may hold.

use http::header::HeaderName;

/// Headers that frame the message, belong to one connection, or are made by the sender.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header frames the message, belongs to one connection, or is made by the sender.
#[must_use]
pub fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
}

/// Whether a header carries these bytes unchanged, but for blanks at its ends.
#[must_use]
pub fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

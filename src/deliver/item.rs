//! What the push stage has to know of the items that it delivers.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

/// Something that is delivered as the body of a request.
pub trait Item: Send + Sync + 'static {
    /// Names it, the same on every attempt: a receiver that knows the id already has the item.
    fn id(&self) -> &[u8; 32];

    /// Items of one line never overtake each other where the order is by line
    /// ([`DeliveryMode::Keyed`](super::DeliveryMode::Keyed)): a hash of their order key.
    fn line(&self) -> u64;

    /// Which source its order key is from: [`HotKey`](super::HotKey) repeats it.
    fn source(&self) -> u16 {
        0
    }

    /// When the schedule wanted it sent, on the stage's clock; `None` without pacing.
    fn due(&self) -> Option<Duration> {
        None
    }

    /// Method and target of its own, such as `PUT /orders/7`, where the request line is not the endpoint's.
    fn request_line(&self) -> Option<&[u8]> {
        None
    }

    /// Header lines of its own, each ended by CRLF; they follow those that all requests have in common. Empty unless told.
    fn head(&self) -> &[u8] {
        &[]
    }

    /// The body. Every attempt sends exactly these bytes.
    fn body(&self) -> &Bytes;

    /// Puts a copy of the same bytes in the body's place: one that shares no memory with other items.
    fn set_body(&mut self, body: Bytes);
}

/// An id as logs and requests show it: 64 hexadecimal digits.
pub(super) fn id_text(id: &[u8; 32]) -> String {
    id.iter().fold(String::with_capacity(64), |mut text, byte| {
        // A string takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! The mark by which a gate's own traces find the run that its requests belong to.
//!
//! ```text
//! run's trace id ──► TraceMark ──event id──► traceparent: 00-<trace>-<first 8 bytes of the event id>-01
//! ```

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header's name (W3C Trace Context).
pub const HEADER: &str = "traceparent";

/// Bytes of the header's value.
pub const LENGTH: usize = 55;

/// The trace that requests belong to at present, if any. Clones share it.
///
/// It changes between runs alone, when no request is on its way; so its parts need not change at once.
#[derive(Debug, Clone, Default)]
pub struct TraceMark {
    trace: Arc<[AtomicU64; 2]>,
}

impl TraceMark {
    /// Marks requests from now on; 0 marks none.
    pub fn set(&self, trace_id: u128) {
        self.trace[0].store((trace_id >> 64) as u64, Ordering::Relaxed);
        self.trace[1].store(trace_id as u64, Ordering::Relaxed);
    }

    /// The value of `traceparent` for the event with this id; `None` where nothing is traced. All attempts of an event
    /// have one span id, the first 16 digits of the event id, so that one is found by the other.
    #[must_use]
    pub fn header(&self, event_id: &[u8; 32]) -> Option<[u8; LENGTH]> {
        let (high, low) = (self.trace[0].load(Ordering::Relaxed), self.trace[1].load(Ordering::Relaxed));
        if high == 0 && low == 0 {
            return None;
        }
        let span = u64::from_be_bytes(*event_id.first_chunk().unwrap_or(&[0; 8]));
        let mut out = [0; LENGTH];
        // As many bytes as there are places.
        let _ = write!(&mut out[..], "00-{high:016x}{low:016x}-{span:016x}-01");
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_traceparent() {
        let mark = TraceMark::default();
        assert_eq!(mark.header(&[7; 32]), None);
        mark.clone().set(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let value = mark.header(&[0xab; 32]).unwrap();
        assert_eq!(std::str::from_utf8(&value).unwrap(), "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01");
        mark.set(0);
        assert_eq!(mark.header(&[7; 32]), None);
    }
}

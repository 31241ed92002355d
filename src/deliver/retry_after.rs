//! When the gate wants to be asked again: `Retry-After`, in seconds or as a date.
//!
//! ```text
//! "7" ──────────────────────────────────────────► 7 s
//! "Sun, 06 Nov 1994 08:49:37 GMT" − the answer's `Date`, else our wall clock ──► 7 s
//! ```

use std::time::{Duration, SystemTime};

use crate::time::Micros;

/// Reads `Retry-After`; not clamped, nothing if it can't be read. A date counts from the answer's own `Date`, so that
/// a wall clock that differs from the gate's does no harm; `utc` is asked where there is none.
pub(super) fn retry_after(text: &str, date: Option<&str>, utc: impl FnOnce() -> Micros) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = http_date(text)?;
    let now = date
        .and_then(http_date)
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(utc().0).unwrap_or(0)));
    Some(at.duration_since(now).unwrap_or_default())
}

fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Micros {
        Micros::parse(b"1994-11-06T08:49:30Z").unwrap()
    }

    #[allow(clippy::unnecessary_wraps, reason = "as what it is compared with")]
    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn it_is_seconds_or_a_date_in_any_of_three_forms() {
        assert_eq!(retry_after(" 120 ", None, now), secs(120));
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(retry_after(date, None, now), secs(7), "{date}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", None, now), secs(0), "a date that has passed");
        for nonsense in ["", "-5", "soon", "1.5", "Mon, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(nonsense, None, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_counts_from_the_gates_own_clock() {
        // The gate's clock is a day ahead of ours.
        let (date, until) = ("Mon, 07 Nov 1994 08:49:30 GMT", "Mon, 07 Nov 1994 08:49:42 GMT");
        assert_eq!(retry_after(until, Some(date), now), secs(12));
        assert_eq!(retry_after("5", Some(date), now), secs(5));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", Some("what?"), now), secs(7));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}", date in proptest::option::of(".{0,40}")) {
            let _ = retry_after(&text, date.as_deref(), now);
        }
    }
}

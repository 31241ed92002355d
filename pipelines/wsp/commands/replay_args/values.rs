//! How values of flags are written: durations, times, shares, sizes.

use std::time::Duration;

use wsp::time::Micros;

/// `250ms`, `30s`, `5m`, `2h`, `1d`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("not a duration such as 250ms, 30s, 5m, 2h or 1d".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|error| error.to_string())? * factor;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("not above 0, or too long".to_owned())
    }
}

/// RFC 3339, or a date: its midnight in UTC.
pub(super) fn instant(text: &str) -> Result<Micros, String> {
    let time = Micros::parse(text.as_bytes()).or_else(|| Micros::parse(format!("{text}T00:00:00Z").as_bytes()));
    time.ok_or_else(|| "not a time such as 2026-01-31T09:00:00Z, or a date".to_owned())
}

/// Bytes: `65536`, `512k`, `4m`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let size = digits.parse::<usize>().ok().and_then(|size| size.checked_mul(factor));
    size.filter(|size| *size > 0).ok_or_else(|| "not a number of bytes such as 65536, 512k or 4m".to_owned())
}

/// `10%` or `0.1`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "not a share such as 10% or 0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_shares_sizes_and_times_are_read_as_people_write_them() {
        for (text, millis) in [("250ms", 250), ("1.5", 1500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1 s", "0", "-1s", "1w", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((share("10%"), share("0.1"), share("100%")), (Ok(0.1), Ok(0.1), Ok(1.0)));
        for text in ["0", "101%", "x", "NaN"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!((size("7"), size("512k"), size("4M")), (Ok(7), Ok(524_288), Ok(4_194_304)));
        for text in ["", "0", "k", "-1", "1g", "1.5m", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(instant("2026-01-31"), instant("2026-01-31T00:00:00Z"));
        assert!(instant("soon").is_err());
    }
}

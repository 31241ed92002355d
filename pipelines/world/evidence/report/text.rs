//! Numbers, times and texts as people read them.

/// A count in groups of three, set apart by narrow spaces.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A number in few characters: `950`, `1.2k`, `80k`, `3.4M`.
#[must_use]
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", trimmed(scaled))
}

/// A length of time in the unit that suits it: `0`, `180 µs`, `2.5 ms`, `14 s`, `3 min`, `5 h`, `2 d`.
#[must_use]
pub fn span(us: f64) -> String {
    let (scaled, unit) = match us.abs() {
        0.0 => return "0".to_owned(),
        v if v < 1e3 => (us, "µs"),
        v if v < 1e6 => (us / 1e3, "ms"),
        v if v < 120e6 => (us / 1e6, "s"),
        v if v < 7200e6 => (us / 60e6, "min"),
        v if v < 172_800e6 => (us / 3600e6, "h"),
        _ => (us / 86_400e6, "d"),
    };
    format!("{}\u{a0}{unit}", trimmed(scaled))
}

/// Three figures at most, no zeros at the end.
fn trimmed(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    match text.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            rest => format!("{whole}.{rest}"),
        },
        None => text,
    }
}

/// A time of day without what nobody reads: `2026-01-01 00:00:05.25` from the text in evidence.
#[must_use]
pub fn moment(utc: &str) -> String {
    let (date, time) = utc.split_once('T').unwrap_or((utc, ""));
    let time = time.trim_end_matches('Z').trim_end_matches("+00:00");
    let time = if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time };
    // Milliseconds are what a person compares.
    let time = time.get(..12).unwrap_or(time);
    format!("{date} {time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_honest() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        for (value, text) in [(0.0, "0"), (0.25, "0.25"), (950.0, "950"), (1234.0, "1.23k"), (80_000.0, "80k")] {
            assert_eq!(short(value), text);
        }
        for (us, text) in [
            (0.0, "0"),
            (180.0, "180 µs"),
            (2500.0, "2.5 ms"),
            (14e6, "14 s"),
            (180e6, "3 min"),
            (2.0 * 86_400e6, "2 d"),
        ] {
            assert_eq!(span(us).replace('\u{a0}', " "), text);
        }
        assert_eq!(moment("2026-01-01T00:00:05.250000Z"), "2026-01-01 00:00:05.25");
        assert_eq!(moment("2026-01-01T00:00:05.123456+00:00"), "2026-01-01 00:00:05.123");
        assert_eq!(moment("2026-01-01T00:00:10Z"), "2026-01-01 00:00:10");
    }
}

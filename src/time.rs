//! Event time: microseconds since 1970-01-01T00:00:00Z, and its text forms.
//!
//! `parse` accepts what stream views contain (contract, section 4, and RFC 3339 in general); `write` produces the
//! one form of the envelope: six fractional digits and `Z`.

use std::fmt;

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// Length of the canonical text, `2026-01-01T00:00:00.000000Z`.
pub const TEXT_LEN: usize = 27;

const DAY: i64 = 86_400_000_000;
/// 0000-01-01T00:00:00Z, the first instant that four year digits can write.
const MIN: i64 = -719_528 * DAY;
/// 9999-12-31T23:59:59.999999Z, the last one.
const MAX: i64 = 2_932_897 * DAY - 1;

impl Micros {
    /// An instant within the years 0000 to 9999, which are what the canonical text can hold.
    #[must_use]
    pub fn checked(micros: i64) -> Option<Self> {
        (MIN..=MAX).contains(&micros).then_some(Self(micros))
    }

    /// Reads RFC 3339: `T`, `t` or a space between date and time, 0 to 9 fractional digits (cut to
    /// microseconds), `Z`, an offset, or nothing, which is read as UTC. A leap second (`:60`) is refused.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let b = text;
        if b.len() < 19
            || b[4] != b'-'
            || b[7] != b'-'
            || b[13] != b':'
            || b[16] != b':'
            || !matches!(b[10], b'T' | b't' | b' ')
        {
            return None;
        }
        let (year, month, day) = (digits(&b[0..4])?, digits(&b[5..7])?, digits(&b[8..10])?);
        let (hour, minute, second) = (digits(&b[11..13])?, digits(&b[14..16])?, digits(&b[17..19])?);
        if !(1..=12).contains(&month)
            || day < 1
            || day > days_in_month(year, month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let mut rest = &b[19..];
        let mut micros = 0;
        if let [b'.', fraction @ ..] = rest {
            let len = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
            if len == 0 || len > 9 {
                return None;
            }
            let kept = len.min(6);
            micros = digits(&fraction[..kept])? * 10_i64.pow(6 - kept as u32);
            rest = &fraction[len..];
        }
        let offset_minutes = match rest {
            [] | b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let minutes = hours * 60 + minutes;
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
        Self::checked(seconds * 1_000_000 + micros)
    }

    /// The canonical text.
    #[must_use]
    pub fn write(self) -> [u8; TEXT_LEN] {
        let (days, in_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let (seconds, micros) = (in_day / 1_000_000, in_day % 1_000_000);
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        put(&mut out[0..4], year);
        put(&mut out[5..7], month);
        put(&mut out[8..10], day);
        put(&mut out[11..13], seconds / 3600);
        put(&mut out[14..16], seconds / 60 % 60);
        put(&mut out[17..19], seconds % 60);
        put(&mut out[20..26], micros);
        out
    }

    /// The same instant with `+00:00` in the place of `Z`, as cursors, records and the session log have it.
    #[must_use]
    pub fn offset_text(self) -> String {
        let mut text = self.to_string();
        text.truncate(TEXT_LEN - 1);
        text.push_str("+00:00");
        text
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.write()).map_err(|_| fmt::Error)?)
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0;
    for b in bytes {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(b - b'0');
    }
    Some(value)
}

fn put(out: &mut [u8], mut value: i64) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch of a proleptic Gregorian date, by eras of 400 years counted from March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_the_forms_of_the_contract() {
        let expected = Micros::parse(b"2026-01-01T00:00:00.500000Z");
        for text in [
            "2026-01-01T00:00:00.5Z",
            "2026-01-01 00:00:00.500",
            "2026-01-01t00:00:00.500000999z",
            "2026-01-01T02:00:00.5+02:00",
            "2025-12-31T22:30:00.5-01:30",
        ] {
            assert_eq!(Micros::parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(expected, Some(Micros(1_767_225_600_500_000)));
    }

    #[test]
    fn evidence_writes_the_offset_out() {
        assert_eq!(Micros(1_767_225_600_500_000).offset_text(), "2026-01-01T00:00:00.500000+00:00");
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00Zx",
            "0000-01-01T00:00:00+00:01",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(Micros::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_number_are_one(micros in MIN..=MAX) {
            let text = Micros(micros).write();
            prop_assert_eq!(Micros::parse(&text), Some(Micros(micros)));
            let chrono = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), chrono.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Micros::parse(&bytes);
        }
    }
}

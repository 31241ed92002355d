//! How a cell becomes an event time.
//!
//! ```text
//! text: RFC 3339, or --time-format, or a number with --time-unit ─┐
//! integer, float: --time-unit ────────────────────────────────────┼─► Micros
//! timestamp, date: as it is; without a zone in --time-zone ───────┘
//! ```

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use wsp::minute::TimeReader;
use wsp::time::Micros;

use super::error::Error;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// Nanoseconds since 1970.
    Nanos,
}

impl TimeUnit {
    /// So many of them are a second: as a power of ten.
    pub(super) fn digits(self) -> u32 {
        match self {
            Self::Seconds => 0,
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

/// How times are read.
#[derive(Debug, Clone, Default)]
pub struct TimeForm {
    unit: Option<TimeUnit>,
    format: Option<Vec<Item<'static>>>,
    zone: Option<Tz>,
}

const OUT_OF_RANGE: &str = "a time outside the years 0000 to 9999";

impl TimeForm {
    /// Times in these forms.
    ///
    /// # Errors
    ///
    /// If the format or the zone can't be read.
    pub fn new(unit: Option<TimeUnit>, format: Option<&str>, zone: Option<&str>) -> Result<Self, Error> {
        if unit.is_some() && format.is_some() {
            return Err(Error::flag("--time-format", "a number with --time-unit has no format; leave one of them out"));
        }
        let format = format.map(|format| {
            StrftimeItems::new(format)
                .parse_to_owned()
                .map_err(|_| Error::flag("--time-format", format!("{format:?} is no format such as %Y-%m-%d %H:%M:%S")))
        });
        let zone = zone.map(|zone| {
            zone.parse::<Tz>()
                .map_err(|_| Error::flag("--time-zone", format!("{zone:?} is no zone such as Europe/Berlin or UTC")))
        });
        Ok(Self { unit, format: format.transpose()?, zone: zone.transpose()? })
    }

    /// Whether times without a zone are in one that was named.
    pub(super) fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// A text. `after` is the time of the row before: of the two times that an hour has when clocks are set back, it
    /// decides.
    pub(super) fn text(&self, reader: &mut TimeReader, text: &str, after: Option<Micros>) -> Result<Micros, String> {
        if let Some(items) = &self.format {
            return self.formatted(items, text, after);
        }
        if let Some(unit) = self.unit {
            return decimal(text, unit);
        }
        let time = reader.parse(text.as_bytes()).ok_or_else(|| {
            format!(
                "{:?} is no time of RFC 3339 such as 2026-01-31T09:00:00Z; --time-format or --time-unit say what it is",
                shortened(text)
            )
        })?;
        if self.zone.is_some() && !has_offset(text) { self.local(time.0, after) } else { Ok(time) }
    }

    /// The format of texts, where one was given.
    pub(super) fn items(&self) -> Option<&[Item<'static>]> {
        self.format.as_deref()
    }

    /// What a number counts.
    pub(super) fn number_unit(&self) -> Result<TimeUnit, String> {
        self.unit()
    }

    /// What a number in a text counts, where texts are numbers.
    pub(super) fn text_unit(&self) -> Option<TimeUnit> {
        self.unit
    }

    /// A text in the given format, with its offset where it has one.
    pub(super) fn parsed(&self, text: &str) -> Result<(Micros, Option<FixedOffset>), String> {
        let Some(items) = &self.format else { return Err("no format is given".to_owned()) };
        let time = self.formatted(items, text, None)?;
        let mut parsed = Parsed::new();
        let offset = parse(&mut parsed, text, items.iter()).ok().and(parsed.offset());
        Ok((time, offset.and_then(FixedOffset::east_opt)))
    }

    /// A time as clocks show it where times without a zone are.
    pub(super) fn wall(&self, micros: i64) -> Result<NaiveDateTime, String> {
        let time = Micros::checked(micros).and_then(|time| DateTime::from_timestamp_micros(time.0));
        let time = time.ok_or_else(|| OUT_OF_RANGE.to_owned())?;
        Ok(self.zone.map_or(time.naive_utc(), |zone| time.with_timezone(&zone).naive_local()))
    }

    fn formatted(&self, items: &[Item<'static>], text: &str, after: Option<Micros>) -> Result<Micros, String> {
        let refused = || format!("{:?} is not of the form that --time-format says", shortened(text));
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, items.iter()).map_err(|_| refused())?;
        if parsed.offset().is_some() {
            let time: DateTime<_> = parsed.to_datetime().map_err(|_| refused())?;
            return Micros::checked(time.timestamp_micros()).ok_or_else(|| OUT_OF_RANGE.to_owned());
        }
        let naive = parsed.to_naive_datetime_with_offset(0);
        let naive = naive.or_else(|_| parsed.to_naive_date().map(|date| date.and_time(NaiveTime::MIN)));
        let naive = naive.map_err(|_| refused())?.and_utc().timestamp_micros();
        // Seconds since 1970 are in no zone.
        if parsed.timestamp().is_some() {
            return Micros::checked(naive).ok_or_else(|| OUT_OF_RANGE.to_owned());
        }
        self.local(naive, after)
    }

    /// An integer.
    pub(super) fn integer(&self, value: i128) -> Result<Micros, String> {
        let unit = self.unit()?;
        checked(match unit.digits() {
            digits @ 0..=6 => value.checked_mul(10_i128.pow(6 - digits)),
            _ => Some(value.div_euclid(1000)),
        })
    }

    /// A float.
    pub(super) fn float(&self, value: f64) -> Result<Micros, String> {
        let micros = value * 10_f64.powi(6 - self.unit()?.digits().cast_signed());
        // What is no number or beyond the range becomes a number that is out of it, too.
        if micros.is_nan() { Err("no number".to_owned()) } else { checked(Some(micros.round() as i128)) }
    }

    /// A number as it stands in a text.
    pub(super) fn number(&self, text: &str) -> Result<Micros, String> {
        decimal(text, self.unit()?)
    }

    fn unit(&self) -> Result<TimeUnit, String> {
        self.unit.ok_or_else(|| "a number is a time only with --time-unit s, ms, us or ns".to_owned())
    }

    /// A time without a zone, as microseconds that it would be in UTC.
    pub(super) fn local(&self, micros: i64, after: Option<Micros>) -> Result<Micros, String> {
        let out_of_range = || OUT_OF_RANGE.to_owned();
        let Some(zone) = self.zone else { return Micros::checked(micros).ok_or_else(out_of_range) };
        let naive: NaiveDateTime = DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)?.naive_utc();
        let time = match zone.from_local_datetime(&naive) {
            MappedLocalTime::Single(time) => time.timestamp_micros(),
            MappedLocalTime::Ambiguous(first, second) => {
                let first = first.timestamp_micros();
                if after.is_some_and(|after| first < after.0) { second.timestamp_micros() } else { first }
            }
            MappedLocalTime::None => {
                return Err(format!("{naive} is a time that {zone} skips when clocks are set forward"));
            }
        };
        Micros::checked(time).ok_or_else(out_of_range)
    }
}

fn checked(micros: Option<i128>) -> Result<Micros, String> {
    let micros = micros.and_then(|micros| i64::try_from(micros).ok());
    micros.and_then(Micros::checked).ok_or_else(|| format!("{OUT_OF_RANGE}; is --time-unit right?"))
}

/// `1767225600.25` of a unit: exact, cut to microseconds.
fn decimal(text: &str, unit: TimeUnit) -> Result<Micros, String> {
    let refused = || format!("{:?} is no number", shortened(text));
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 25 || !are_digits(whole) || !are_digits(fraction) {
        // An exponent, or no number at all.
        let value: f64 = text.parse().map_err(|_| refused())?;
        let form = TimeForm { unit: Some(unit), ..TimeForm::default() };
        return if value.is_finite() { form.float(value) } else { Err(refused()) };
    }
    let places = fraction.len().min(12) as u32;
    let scaled: i128 = format!("{whole}{}", &fraction[..places as usize]).parse().map_err(|_| refused())?;
    // `scaled` counts 10^-(places + digits) seconds.
    let below = places + unit.digits();
    checked(if below <= 6 {
        (sign * scaled).checked_mul(10_i128.pow(6 - below))
    } else {
        Some((sign * scaled).div_euclid(10_i128.pow(below - 6)))
    })
}

/// Whether an RFC 3339 text says its offset.
fn has_offset(text: &str) -> bool {
    text.as_bytes().get(19..).is_some_and(|rest| rest.iter().any(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')))
}

fn shortened(text: &str) -> String {
    wsp::strict::excerpt(text, 60).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(unit: Option<TimeUnit>, format: Option<&str>, zone: Option<&str>) -> TimeForm {
        TimeForm::new(unit, format, zone).unwrap()
    }

    fn read(form: &TimeForm, text: &str) -> Result<String, String> {
        form.text(&mut TimeReader::default(), text, None).map(|time| time.to_string())
    }

    #[test]
    fn texts_are_rfc_3339_where_nothing_else_is_said() {
        let plain = TimeForm::default();
        assert_eq!(read(&plain, "2026-01-31 09:00:00").unwrap(), "2026-01-31T09:00:00.000000Z");
        assert_eq!(read(&plain, "2026-01-31T09:00:00.25+01:00").unwrap(), "2026-01-31T08:00:00.250000Z");
        assert!(read(&plain, "31/01/2026").unwrap_err().contains("--time-format"));
        assert!(plain.integer(7).unwrap_err().contains("--time-unit"));
    }

    #[test]
    fn a_zone_counts_where_the_text_has_none() {
        let berlin = form(None, None, Some("Europe/Berlin"));
        assert_eq!(read(&berlin, "2026-07-01T12:00:00").unwrap(), "2026-07-01T10:00:00.000000Z");
        assert_eq!(read(&berlin, "2026-07-01T12:00:00Z").unwrap(), "2026-07-01T12:00:00.000000Z");
        assert!(read(&berlin, "2026-03-29T02:30:00").unwrap_err().contains("skips"));
        // Clocks go back at 03:00: the hour from 2 to 3 is there twice, and rows in order say which one is meant.
        let at = |text: &str, after| berlin.text(&mut TimeReader::default(), text, after).unwrap();
        let first = at("2026-10-25T02:30:00", None);
        assert_eq!(first.to_string(), "2026-10-25T00:30:00.000000Z");
        assert_eq!(at("2026-10-25T02:10:00", Some(first)).to_string(), "2026-10-25T01:10:00.000000Z");
        assert!(TimeForm::new(None, None, Some("Berlin")).unwrap_err().to_string().contains("--time-zone"));
    }

    #[test]
    fn a_format_may_have_an_offset_a_date_alone_or_seconds() {
        let read = |format: &str, text: &str| read(&form(None, Some(format), None), text);
        assert_eq!(read("%d/%b/%Y:%H:%M:%S %z", "31/Jan/2026:09:00:00 +0100").unwrap(), "2026-01-31T08:00:00.000000Z");
        assert_eq!(read("%Y%m%d", "20260131").unwrap(), "2026-01-31T00:00:00.000000Z");
        assert_eq!(read("%m/%d/%Y %H:%M", "01/31/2026 09:05").unwrap(), "2026-01-31T09:05:00.000000Z");
        assert_eq!(read("%s", "1769850000").unwrap(), "2026-01-31T09:00:00.000000Z");
        assert!(read("%Y%m%d", "2026-01-31").unwrap_err().contains("--time-format"));
        assert!(TimeForm::new(None, Some("%Y-%Q!"), None).is_err());
        assert!(TimeForm::new(Some(TimeUnit::Millis), Some("%Y"), None).is_err());
    }

    #[test]
    fn numbers_are_exact() {
        let at = "2026-01-31T09:00:00.250000Z";
        for (unit, text) in [
            (TimeUnit::Seconds, "1769850000.25"),
            (TimeUnit::Millis, "1769850000250"),
            (TimeUnit::Micros, "1769850000250000.9"),
            (TimeUnit::Nanos, "1769850000250000999"),
            (TimeUnit::Seconds, "1.76985000025e9"),
        ] {
            assert_eq!(read(&form(Some(unit), None, None), text).unwrap(), at, "{text}");
        }
        let nanos = form(Some(TimeUnit::Nanos), None, None);
        assert_eq!(nanos.integer(1_769_850_000_250_000_999).unwrap().to_string(), at);
        assert_eq!(nanos.integer(-1).unwrap(), Micros(-1), "cut towards the past, as everywhere");
        assert_eq!(read(&nanos, "-0.5").unwrap(), Micros(-1).to_string());
        let seconds = form(Some(TimeUnit::Seconds), None, None);
        assert_eq!(seconds.float(1_769_850_000.25).unwrap().to_string(), at);
        assert!(seconds.integer(1_769_850_000_250).unwrap_err().contains("--time-unit"));
        for bad in ["", "x", "1x", "NaN", "inf", "1e400"] {
            assert!(read(&seconds, bad).is_err(), "{bad}");
        }
        assert!(seconds.float(f64::NAN).is_err() && seconds.float(f64::INFINITY).is_err());
    }
}

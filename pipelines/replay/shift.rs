//! `--shift-to now`: the named time columns of a body move with the schedule, and nothing else does.
//!
//! ```text
//! body ──top-level members──► "2026-01-31T09:00:00+01:00" ──wall time of the event − its recorded time──► the same form
//! ```

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use chrono::format::{DelayedFormat, Item};
use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use wsp::byte_budget::ByteBudget;
use wsp::strict::excerpt;
use wsp::time::Micros;

use super::time::{TimeForm, TimeUnit};

/// Digits of a second that microseconds have.
const MICRO_DIGITS: u32 = 6;

/// Moves the times of bodies.
#[derive(Debug, Clone)]
pub struct Shift {
    columns: Vec<String>,
    form: TimeForm,
}

impl Shift {
    /// Moves these columns, which are read in this form.
    #[must_use]
    pub fn new(columns: Vec<String>, form: TimeForm) -> Self {
        Self { columns, form }
    }

    /// The body with its times moved by so many microseconds; the column and what is wrong where one is no time. Columns that
    /// are not there, or null, stay as they are.
    pub(super) fn moved(&self, body: &Bytes, by: i64, bodies: &ByteBudget) -> Result<Bytes, (String, String)> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let found = Members(&self.columns).deserialize(&mut json);
        let found = found.map_err(|_| (String::new(), "the body is no JSON object".to_owned()))?;
        if found.is_empty() {
            return Ok(body.clone());
        }
        let mut out = Vec::with_capacity(body.len() + 8 * found.len());
        let mut done = 0;
        for (column, value) in found {
            let from = value.get().as_ptr().addr() - body.as_ptr().addr();
            out.extend_from_slice(&body[done..from]);
            let name = || self.columns[column].clone();
            out.extend_from_slice(self.value(value.get(), by).map_err(|what| (name(), what))?.as_bytes());
            done = from + value.get().len();
        }
        out.extend_from_slice(&body[done..]);
        Ok(bodies.hold(out))
    }

    /// A value of JSON, moved.
    fn value<'a>(&self, value: &'a str, by: i64) -> Result<Cow<'a, str>, String> {
        if value == "null" {
            return Ok(Cow::Borrowed(value));
        }
        if !value.starts_with('"') {
            let unit = self.form.number_unit()?;
            return number(value, unit, by).map(Cow::Owned);
        }
        let text: String = serde_json::from_str(value).map_err(|error| error.to_string())?;
        let moved = match self.form.items() {
            Some(items) => self.formatted(items, &text, by),
            None => match self.form.text_unit() {
                Some(unit) => number(&text, unit, by),
                None => self.rfc_3339(&text, by),
            },
        };
        // It has no character that JSON escapes, unless the format has.
        serde_json::to_string(&moved?).map(Cow::Owned).map_err(|error| error.to_string())
    }

    fn formatted(&self, items: &[Item<'static>], text: &str, by: i64) -> Result<String, String> {
        let (time, offset) = self.form.parsed(text)?;
        let moved = time.0.checked_add(by).ok_or(OUT_OF_RANGE)?;
        let written = if let Some(offset) = offset {
            naive(moved)?.and_utc().with_timezone(&offset).format_with_items(items.iter()).to_string()
        } else {
            let local = self.form.wall(moved)?;
            DelayedFormat::new(Some(local.date()), Some(local.time()), items.iter()).to_string()
        };
        Ok(written)
    }

    /// RFC 3339, or a date. Separator, digits of the second and offset stay.
    fn rfc_3339(&self, text: &str, by: i64) -> Result<String, String> {
        let refused = || format!("{:?} is no time of RFC 3339", excerpt(text, 60));
        if text.len() == 10 {
            let day = Micros::parse(format!("{text}T00:00:00").as_bytes()).ok_or_else(refused)?;
            return Ok(naive(day.0.checked_add(by).ok_or(OUT_OF_RANGE)?)?.format("%Y-%m-%d").to_string());
        }
        Micros::parse(text.as_bytes()).ok_or_else(refused)?;
        let rest = &text[19..];
        let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        let end = 19 + digits + usize::from(digits > 0);
        let (written, offset) = text.split_at(end);
        let read = Micros::parse(written.as_bytes()).ok_or_else(refused)?;
        let local = if offset.is_empty() && self.form.has_zone() {
            let time = self.form.local(read.0, None)?;
            self.form.wall(time.0.checked_add(by).ok_or(OUT_OF_RANGE)?)?
        } else {
            naive(read.0.checked_add(by).ok_or(OUT_OF_RANGE)?)?
        };
        let mut moved = local.format("%Y-%m-%dT%H:%M:%S").to_string();
        moved.replace_range(10..11, &text[10..11]);
        if digits > 0 {
            let micros = format!("{:06}", local.and_utc().timestamp_subsec_micros());
            let kept = digits.min(MICRO_DIGITS as usize);
            // Digits below microseconds are not moved.
            moved.extend([".", &micros[..kept], &text[20 + kept..20 + digits]]);
        }
        Ok(moved + offset)
    }
}

const OUT_OF_RANGE: &str = "moved, it is a time outside the years 0000 to 9999";

fn naive(micros: i64) -> Result<NaiveDateTime, String> {
    let time = Micros::checked(micros).and_then(|time| DateTime::from_timestamp_micros(time.0));
    time.map(|time| time.naive_utc()).ok_or_else(|| OUT_OF_RANGE.to_owned())
}

/// A number that counts `unit`, moved by microseconds, with as many digits behind the point as it had.
fn number(text: &str, unit: TimeUnit, by: i64) -> Result<String, String> {
    let refused = || format!("{:?} is no number of digits", excerpt(text, 60));
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || digits.len() > 30 {
        return Err(refused());
    }
    let places = fraction.len() as u32;
    let value = sign * format!("{whole}{fraction}").parse::<i128>().map_err(|_| refused())?;
    // The value counts 10^-(places + digits) seconds.
    let below = places + unit.digits();
    let by = if below >= MICRO_DIGITS {
        i128::from(by) * 10_i128.pow(below - MICRO_DIGITS)
    } else {
        i128::from(by).div_euclid(10_i128.pow(MICRO_DIGITS - below))
    };
    let moved = value.checked_add(by).ok_or(OUT_OF_RANGE)?;
    let sign = if moved < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", moved.unsigned_abs(), width = places as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places as usize);
    Ok(if places > 0 { format!("{sign}{whole}.{fraction}") } else { format!("{sign}{whole}") })
}

/// Finds the top-level members with these names, each with its place among them.
struct Members<'c>(&'c [String]);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> DeserializeSeed<'a> for Members<'_> {
    type Value = Vec<(usize, &'a RawValue)>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_> {
    type Value = Vec<(usize, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(Name(name)) = members.next_key::<Name<'a>>()? {
            match self.0.iter().position(|column| *column == name) {
                Some(column) => found.push((column, members.next_value::<&'a RawValue>()?)),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn form(unit: Option<TimeUnit>, format: Option<&str>, zone: Option<&str>) -> TimeForm {
        TimeForm::new(unit, format, zone).unwrap()
    }

    fn moved(form: TimeForm, body: &str, by: i64) -> Result<String, String> {
        let shift = Shift::new(vec!["t".to_owned(), "u v".to_owned()], form);
        let body = Bytes::copy_from_slice(body.as_bytes());
        let moved = shift.moved(&body, by, &ByteBudget::unlimited());
        moved
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
            .map_err(|(column, what)| format!("{column}: {what}"))
    }

    #[test]
    fn named_members_move_and_nothing_else_changes() {
        let body = r#" {"a": {"t": "2026-01-01T00:00:00Z"}, "t" : "2026-01-01T00:00:00Z","n":1.10, "u\u0020v":null } "#;
        let expected =
            r#" {"a": {"t": "2026-01-01T00:00:00Z"}, "t" : "2026-01-01T01:00:00Z","n":1.10, "u\u0020v":null } "#;
        assert_eq!(moved(TimeForm::default(), body, HOUR).unwrap(), expected);
        assert_eq!(moved(TimeForm::default(), r#"{"b":7}"#, HOUR).unwrap(), r#"{"b":7}"#);
        let both = r#"{"u v":"2026-01-01T23:30:00Z","t":"2026-01-01T00:00:00Z"}"#;
        let expected = r#"{"u v":"2026-01-02T00:30:00Z","t":"2026-01-01T01:00:00Z"}"#;
        assert_eq!(moved(TimeForm::default(), both, HOUR).unwrap(), expected);
    }

    #[test]
    fn the_form_of_a_time_is_kept() {
        let berlin = || form(None, None, Some("Europe/Berlin"));
        for (form, before, by, after) in [
            (TimeForm::default(), "\"2026-01-01 00:00:00\"", HOUR, "\"2026-01-01 01:00:00\""),
            (TimeForm::default(), "\"2026-01-01t00:00:00.5z\"", 250_000, "\"2026-01-01t00:00:00.7z\""),
            (
                TimeForm::default(),
                "\"2026-01-01T00:00:00.123456789+01:00\"",
                -1,
                "\"2026-01-01T00:00:00.123455789+01:00\"",
            ),
            (TimeForm::default(), "\"2026-01-01T00:00:00.000Z\"", 1_500, "\"2026-01-01T00:00:00.001Z\""),
            (TimeForm::default(), "\"2026-01-01\"", 25 * HOUR, "\"2026-01-02\""),
            // The zone's clocks are set forward in between.
            (berlin(), "\"2026-03-29T01:30:00\"", HOUR, "\"2026-03-29T03:30:00\""),
            (berlin(), "\"2026-03-29T01:30:00Z\"", HOUR, "\"2026-03-29T02:30:00Z\""),
            (form(Some(TimeUnit::Seconds), None, None), "1769850000", 1_900_000, "1769850001"),
            (form(Some(TimeUnit::Seconds), None, None), "1769850000.25", 1_900_000, "1769850002.15"),
            (form(Some(TimeUnit::Millis), None, None), "1769850000250", 1_900, "1769850000251"),
            (form(Some(TimeUnit::Millis), None, None), "\"1769850000250\"", 1_900, "\"1769850000251\""),
            (form(Some(TimeUnit::Nanos), None, None), "1769850000250000999", 1, "1769850000250001999"),
            (form(Some(TimeUnit::Seconds), None, None), "-0.50", 1_000_000, "0.50"),
            (form(Some(TimeUnit::Seconds), None, None), "0.50", -1_000_000, "-0.50"),
            (form(None, Some("%d/%m/%Y %H:%M"), None), "\"31/12/2025 23:30\"", HOUR, "\"01/01/2026 00:30\""),
            (
                form(None, Some("%d/%b/%Y:%T %z"), None),
                "\"31/Dec/2025:23:30:00 +0100\"",
                HOUR,
                "\"01/Jan/2026:00:30:00 +0100\"",
            ),
            (
                form(None, Some("%Y-%m-%d %H:%M:%S"), Some("Europe/Berlin")),
                "\"2026-03-29 01:30:00\"",
                HOUR,
                "\"2026-03-29 03:30:00\"",
            ),
        ] {
            let body = |value: &str| format!("{{\"t\":{value}}}");
            assert_eq!(moved(form, &body(before), by).unwrap(), body(after), "{before}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_by_column() {
        let seconds = || form(Some(TimeUnit::Seconds), None, None);
        for (form, body, words) in [
            (TimeForm::default(), r#"{"t":"soon"}"#, "t: \"soon\" is no time of RFC 3339"),
            (TimeForm::default(), r#"{"t":"2026-13-01"}"#, "t: \"2026-13-01\""),
            (TimeForm::default(), r#"{"t":7}"#, "--time-unit"),
            (TimeForm::default(), r#"{"u v":true}"#, "u v: "),
            (TimeForm::default(), r#"{"t":"9999-12-31T23:59:59Z"}"#, "outside the years"),
            (TimeForm::default(), "[]", "the body is no JSON object"),
            (seconds(), r#"{"t":1e9}"#, "is no number of digits"),
            (seconds(), r#"{"t":true}"#, "is no number of digits"),
            (form(None, Some("%Y"), None), r#"{"t":"x"}"#, "--time-format"),
        ] {
            let error = moved(form, body, HOUR).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}

//! What an answer means: its status decides, and what its JSON says where that was asked for.
//!
//! ```text
//! drop-on, drop-if ─► dropped │ retry-on, retry-if ─► again │ accept-on, delivered-if ─► delivered
//! 2xx ─► delivered, with delivered-if refused │ 408 425 429 5xx ─► again │ else refused
//! ```

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;
use wsp::deliver::Answer;

use super::answer_path::Condition;

/// Statuses, as `409`, `500-504` or `5xx`, joined by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// This one alone.
    #[must_use]
    pub fn one(status: u16) -> Self {
        Self(vec![status..=status])
    }

    fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let number = |text: &str| text.parse::<u16>().ok().filter(|status| (200..=599).contains(status));
            if let Some(class) = part.strip_suffix("xx") {
                let class = class.parse::<u16>().ok().filter(|class| (2..=5).contains(class));
                return class.map(|class| class * 100..=class * 100 + 99);
            }
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some(number(from)?..=number(to)?).filter(|range| !range.is_empty())
        };
        let ranges = text.split(',').map(|part| range(part.trim()));
        let ranges = ranges.collect::<Option<_>>();
        ranges.map(Self).ok_or_else(|| format!("{text:?} is no list of statuses such as 409,500-504,5xx"))
    }
}

/// What answers mean. What is said here goes before the usual meaning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// The event is left out, and the replay goes on.
    pub drop: Statuses,
    /// The event is tried again.
    pub retry: Statuses,
    /// The event is delivered.
    pub accept: Statuses,
    /// The event is left out where one of these holds of the answer.
    pub drop_if: Vec<Condition>,
    /// The event is tried again where one of these holds.
    pub retry_if: Vec<Condition>,
    /// The event is delivered where one of these holds. Where there are any, 2xx alone is no delivery.
    pub delivered_if: Vec<Condition>,
    /// Refused events are written down, and the replay goes on.
    pub dead_letters: bool,
}

/// What becomes of an event by an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Delivered,
    Again,
    Dropped,
    Refused,
}

impl Rules {
    /// The meaning of an answer.
    pub(super) fn meaning(&self, answer: &Answer) -> Meaning {
        let has_conditions = [&self.drop_if, &self.retry_if, &self.delivered_if].iter().any(|all| !all.is_empty());
        if !has_conditions {
            return self.of_status(answer.status());
        }
        let json: Option<Value> = serde_json::from_slice(answer.body()).ok();
        let holds = |all: &[Condition]| json.as_ref().is_some_and(|json| all.iter().any(|one| one.holds(json)));
        let status = answer.status();
        match status {
            _ if self.drop.contains(status) || holds(&self.drop_if) => Meaning::Dropped,
            _ if self.retry.contains(status) || holds(&self.retry_if) => Meaning::Again,
            _ if self.accept.contains(status) || holds(&self.delivered_if) => Meaning::Delivered,
            // What was cut off may have said it.
            200..=299 if json.is_none() && !answer.is_whole() => Meaning::Again,
            200..=299 if !self.delivered_if.is_empty() => Meaning::Refused,
            _ => self.of_status(status),
        }
    }

    /// The meaning of a status alone.
    pub(super) fn of_status(&self, status: u16) -> Meaning {
        match status {
            _ if self.drop.contains(status) => Meaning::Dropped,
            _ if self.retry.contains(status) => Meaning::Again,
            _ if self.accept.contains(status) => Meaning::Delivered,
            200..=299 => Meaning::Delivered,
            408 | 425 | 429 | 500..=599 => Meaning::Again,
            _ => Meaning::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<Condition> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn conditions_stand_beside_statuses() {
        let rules = Rules {
            drop: "410".parse().unwrap(),
            retry: "404".parse().unwrap(),
            accept: "409".parse().unwrap(),
            drop_if: all(&["code = gone"]),
            retry_if: all(&["code = busy", "wait != null"]),
            delivered_if: all(&["ok = true"]),
            dead_letters: false,
        };
        for (status, body, expected) in [
            (200, r#"{"ok":true}"#, Meaning::Delivered),
            (422, r#"{"ok":true}"#, Meaning::Delivered),
            (503, r#"{"ok":true}"#, Meaning::Delivered),
            (200, r#"{"ok":false}"#, Meaning::Refused),
            (200, "", Meaning::Refused),
            (200, "ok", Meaning::Refused),
            (200, r#"{"ok":true,"wait":5}"#, Meaning::Again),
            (200, r#"{"ok":true,"code":"busy"}"#, Meaning::Again),
            (200, r#"{"ok":true,"code":"gone","wait":5}"#, Meaning::Dropped),
            (410, r#"{"ok":true}"#, Meaning::Dropped),
            (404, r#"{"ok":true}"#, Meaning::Again),
            (409, r#"{"ok":false}"#, Meaning::Delivered),
            (503, "{}", Meaning::Again),
            (400, "{}", Meaning::Refused),
        ] {
            assert_eq!(rules.meaning(&Answer::new(status, body)), expected, "{status} {body}");
        }
        let cut = Answer::new(200, r#"{"ok":tr"#).perhaps_cut();
        assert_eq!(rules.meaning(&cut), Meaning::Again);
        let refuse_alone = Rules { retry_if: all(&["code = busy"]), ..Rules::default() };
        assert_eq!(refuse_alone.meaning(&Answer::new(200, "")), Meaning::Delivered);
    }

    #[test]
    fn statuses_are_read_strictly() {
        for text in ["", "x", "99", "600", "504-500", "9xx", "200,", "4x"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}

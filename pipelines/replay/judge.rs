//! What an answer means: its status decides.
//!
//! ```text
//! --drop-on ─► dropped │ --retry-on ─► again │ --accept-on, 2xx ─► delivered │ 408 425 429 5xx ─► again │ else refused
//! ```

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use wsp::deliver::{Answer, Attempt, Cause, Decided, Delivery, Judge, Stray, Verdict};
use wsp::time::Micros;

use super::error::{Error, EventFault};
use super::event::{Event, Position};
use super::input::Input;

/// How much of a receiver's own words is repeated in a message, in bytes.
const QUOTE: usize = 300;

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

/// What statuses mean. What is said here goes before the usual meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The event is left out, and the replay goes on.
    pub drop: Statuses,
    /// The event is tried again.
    pub retry: Statuses,
    /// The event is delivered.
    pub accept: Statuses,
    /// Refused events are written down, and the replay goes on.
    pub dead_letters: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Delivered,
    Again,
    Dropped,
    Refused,
}

impl Rules {
    fn meaning(&self, status: u16) -> Meaning {
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

/// An event that is done with.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) position: Position,
    pub(super) ts: Micros,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    /// How much later than due its first attempt started.
    pub(super) lag: Duration,
    /// From its first attempt to its answer.
    pub(super) latency: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The receiver took it.
    Accepted,
    /// The receiver refused it, and that was said to be no matter.
    Dropped,
    /// The receiver refused it: with this status and answer.
    Refused(Box<(Event, u16, String)>),
}

/// The judge by status.
#[derive(Debug)]
pub(super) struct StatusJudge {
    inputs: Arc<Vec<Arc<Input>>>,
    rules: Rules,
}

impl StatusJudge {
    pub(super) fn new(inputs: Arc<Vec<Arc<Input>>>, rules: Rules) -> Self {
        Self { inputs, rules }
    }
}

impl Judge<Event> for StatusJudge {
    type Delivered = Delivered;
    type Error = Error;

    fn judge(&self, _: &Event, attempt: &Attempt) -> Result<Verdict, Stray> {
        let answer = match attempt {
            Attempt::Answered(answer) => answer,
            Attempt::ConnectFailed(cause) => return Ok(again(format!("no connection: {cause}"))),
            Attempt::ConnectionLost(cause) => return Ok(again(format!("connection lost: {cause}"))),
            Attempt::TimedOut => return Ok(again("no answer in time".to_owned())),
        };
        Ok(match self.rules.meaning(answer.status()) {
            Meaning::Delivered if answer.is_early() => {
                return Err(Stray("the answer came before the request was all sent"));
            }
            Meaning::Delivered => Verdict::Decided(Decided::Accepted),
            Meaning::Again => Verdict::Retry { why: describe(answer), retry_after: answer.retry_after() },
            Meaning::Refused if !self.rules.dead_letters => Verdict::Rejected { why: describe(answer) },
            Meaning::Dropped | Meaning::Refused => {
                Verdict::Decided(Decided::Quarantined { why: set_aside(answer), differs: false })
            }
        })
    }

    fn delivered(&self, event: &Event, decided: &Decided, delivery: Delivery) -> Delivered {
        let outcome = match decided {
            Decided::Accepted | Decided::Duplicate => Outcome::Accepted,
            Decided::Quarantined { why, .. } => {
                let (status, answer) = status_and_answer(why);
                match self.rules.meaning(status) {
                    Meaning::Dropped => Outcome::Dropped,
                    _ => Outcome::Refused(Box::new((event.clone(), status, answer.to_owned()))),
                }
            }
        };
        let Delivery { attempts, lag, latency, .. } = delivery;
        Delivered { position: event.position, ts: event.ts, outcome, attempts, lag, latency }
    }

    fn failed(&self, event: &Event, cause: Cause, why: &str) -> Error {
        let Position { input, file, row, .. } = event.position;
        let file = self.inputs[usize::from(input)].files[file as usize].shown.clone();
        let next = match cause {
            Cause::Rejected | Cause::Differs => {
                "--dead-letter FILE keeps refused events and goes on, --drop-on leaves them out; the same command goes on \
                 from here"
            }
            Cause::Exhausted => "raise --attempts, or name the status by --drop-on; the same command goes on from here",
            Cause::Unavailable => "the receiver takes nothing; when it does again, the same command goes on from here",
        };
        Error::Event(Box::new(EventFault { file, row: row + 1, id: event.id_text(), what: why.to_owned(), next }))
    }
}

fn again(why: String) -> Verdict {
    Verdict::Retry { why, retry_after: None }
}

/// Status and answer as one text, which [`status_and_answer`] takes apart again.
fn set_aside(answer: &Answer) -> String {
    format!("{} {}", answer.status(), String::from_utf8_lossy(answer.body()))
}

fn status_and_answer(why: &str) -> (u16, &str) {
    let (status, answer) = why.split_once(' ').unwrap_or((why, ""));
    (status.parse().unwrap_or(0), answer)
}

/// Status and the beginning of the answer, for a person.
fn describe(answer: &Answer) -> String {
    let status = answer.status();
    let text = String::from_utf8_lossy(&answer.body()[..answer.body().len().min(QUOTE)]);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if answer.body().len() > QUOTE { "…" } else { "" };
    match (text.trim(), status) {
        (_, 300..=399) => format!("status {status}: redirects are not followed, --to has to name the place itself"),
        ("", _) => format!("status {status}"),
        (text, _) => format!("status {status}: {text}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, inputs};
    use super::*;

    fn rules(drop: &str, retry: &str, accept: &str, dead_letters: bool) -> Rules {
        let read = |text: &str| if text.is_empty() { Statuses::default() } else { text.parse().unwrap() };
        Rules { drop: read(drop), retry: read(retry), accept: read(accept), dead_letters }
    }

    fn judged(rules: Rules, status: u16) -> String {
        let attempt = Attempt::Answered(Answer::new(status, "no\nsuch").after(Some(Duration::from_secs(7))));
        let judge = StatusJudge::new(inputs(), rules);
        match judge.judge(&event(3, "{}"), &attempt).unwrap() {
            Verdict::Decided(Decided::Accepted) => "delivered".to_owned(),
            Verdict::Decided(decided) => {
                let delivery = Delivery { attempts: 1, ambiguous: false, latency: Duration::ZERO, lag: Duration::ZERO };
                match judge.delivered(&event(3, "{}"), &decided, delivery).outcome {
                    Outcome::Dropped => "dropped".to_owned(),
                    Outcome::Refused(refused) => format!("letter {} {}", refused.1, refused.2),
                    Outcome::Accepted => unreachable!(),
                }
            }
            Verdict::Retry { retry_after, .. } => format!("again in {} s", retry_after.unwrap().as_secs()),
            Verdict::Rejected { why } => why,
        }
    }

    #[test]
    fn a_status_means_what_it_usually_does_unless_something_is_said() {
        let usual = Rules::default;
        for (status, expected) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "status 301: redirects are not followed, --to has to name the place itself"),
            (400, "status 400: no such"),
            (408, "again in 7 s"),
            (425, "again in 7 s"),
            (429, "again in 7 s"),
            (503, "again in 7 s"),
        ] {
            assert_eq!(judged(usual(), status), expected);
        }
        let said = || rules("400,501", "404,200-201", "409,5xx", true);
        for (status, expected) in [
            (400, "dropped"),
            (501, "dropped"),
            (404, "again in 7 s"),
            (200, "again in 7 s"),
            (202, "delivered"),
            (409, "delivered"),
            (503, "delivered"),
            (422, "letter 422 no\nsuch"),
        ] {
            assert_eq!(judged(said(), status), expected, "{status}");
        }
    }

    #[test]
    fn no_answer_is_no_decision_and_an_early_one_is_none_either() {
        let judge = StatusJudge::new(inputs(), Rules::default());
        for attempt in [Attempt::ConnectFailed("x".into()), Attempt::ConnectionLost("x".into()), Attempt::TimedOut] {
            assert!(matches!(judge.judge(&event(0, "{}"), &attempt), Ok(Verdict::Retry { .. })), "{attempt:?}");
        }
        assert!(judge.judge(&event(0, "{}"), &Attempt::Answered(Answer::new(200, "").early())).is_err());
        let early = Attempt::Answered(Answer::new(413, "").early());
        assert!(matches!(judge.judge(&event(0, "{}"), &early), Ok(Verdict::Rejected { .. })));
    }

    #[test]
    fn statuses_are_read_strictly() {
        for text in ["", "x", "99", "600", "504-500", "9xx", "200,", "4x"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_names_file_row_id_and_what_to_do() {
        let judge = StatusJudge::new(inputs(), Rules::default());
        let error = judge.failed(&event(3, "{}"), Cause::Rejected, "after 1 attempt: status 400").to_string();
        for words in ["f.jsonl, row 4, id 7", "status 400", "--dead-letter"] {
            assert!(error.contains(words), "{error}");
        }
    }
}

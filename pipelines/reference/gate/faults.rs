//! Injected faults: which, how often and when; reproducible from a seed.
//!
//! ```text
//! (seed, event id, attempt) ──► FaultPlan::draw ──► Fate { latency, outcome }
//! time since the first request ──► FaultPlan::brownout ──► status
//! ```
//!
//! # Grammar
//!
//! Items joined by commas; an empty text is no fault at all.
//!
#![doc = concat!("```text\n", include_str!("faults.txt"), "```")]

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use wsp::random::Random;

/// The grammar of a list of faults, for help texts. A test parses every example in it.
pub const GRAMMAR: &str = include_str!("faults.txt");

/// A text that is not a list of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("faults: {item:?}: {problem}")]
pub struct FaultError {
    item: String,
    problem: String,
}

/// What goes wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing.
    Answer,
    /// This status, and the event is not admitted.
    Status(u16),
    /// Connection closed, event not admitted.
    CutBefore,
    /// Event admitted, connection closed.
    CutAfter,
    /// Silence, event not admitted.
    Hang,
    /// Event admitted, an answer that is not JSON.
    Garbage,
    /// Event admitted, connection closed in the middle of the answer.
    Half,
}

/// What happens to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// How long the gate holds the attempt before it does anything.
    pub latency: Duration,
    /// What it does then.
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Latency {
    Const(f64),
    Uniform(f64, f64),
    Exp(f64),
    LogNormal(f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Brownout {
    from: Duration,
    to: Duration,
    status: u16,
}

/// The faults of a gate, parsed from the grammar above. The default is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FaultSpec {
    shares: Vec<(Outcome, f64)>,
    latencies: Vec<(Latency, f64)>,
    brownouts: Vec<Brownout>,
    retry_after: Vec<(Option<u16>, f64)>,
}

impl FaultSpec {
    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.latencies.is_empty() && self.brownouts.is_empty()
    }

    /// What happens to attempt `attempt` (1, 2, …) of an event: always the same for the same arguments.
    #[must_use]
    pub fn draw(&self, seed: u64, event_id: &[u8; 32], attempt: u32) -> Fate {
        let mut parts = [seed, u64::from(attempt), 0, 0, 0, 0];
        for (part, bytes) in parts[2..].iter_mut().zip(event_id.chunks_exact(8)) {
            *part = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let mut random = Random::of(&parts);
        let mut point = random.unit();
        let mut outcome = Outcome::Answer;
        for (fault, share) in &self.shares {
            if point < *share {
                outcome = *fault;
                break;
            }
            point -= share;
        }
        let mut seconds = 0.0;
        for (latency, share) in &self.latencies {
            if random.unit() < *share {
                seconds += latency.draw(&mut random);
            }
        }
        Fate { latency: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX), outcome }
    }

    /// The status of the brown-out at `elapsed` after the first request, if there is one then.
    #[must_use]
    pub fn brownout(&self, elapsed: Duration) -> Option<u16> {
        self.brownouts.iter().find(|window| (window.from..window.to).contains(&elapsed)).map(|window| window.status)
    }

    /// The `Retry-After` of an injected answer with this status.
    #[must_use]
    pub fn retry_after(&self, status: u16) -> Option<String> {
        let exact = self.retry_after.iter().find(|(of, _)| *of == Some(status));
        exact.or_else(|| self.retry_after.iter().find(|(of, _)| of.is_none())).map(|(_, seconds)| seconds.to_string())
    }

    fn add(&mut self, item: &str) -> Result<(), String> {
        let (name, value) = item.split_once('=').ok_or("a fault is written name=value")?;
        match name {
            "status" => {
                let (status, of) = value.split_once(':').ok_or("status=CODE:SHARE, as status=503:2%")?;
                self.shares.push((Outcome::Status(code(status)?), share(of)?));
            }
            "cut-before" => self.shares.push((Outcome::CutBefore, share(value)?)),
            "cut-after" => self.shares.push((Outcome::CutAfter, share(value)?)),
            "hang" => self.shares.push((Outcome::Hang, share(value)?)),
            "garbage" => self.shares.push((Outcome::Garbage, share(value)?)),
            "half" => self.shares.push((Outcome::Half, share(value)?)),
            "retry-after" => {
                let (of, seconds) = match value.split_once(':') {
                    Some((status, seconds)) => (Some(code(status)?), seconds),
                    None => (None, value),
                };
                self.retry_after.push((of, time(seconds).or_else(|_| number(seconds))?));
            }
            "latency" => {
                let (latency, of) = match value.rsplit_once(':') {
                    Some((latency, of)) => (latency, share(of)?),
                    None => (value, 1.0),
                };
                self.latencies.push((latency.parse()?, of));
            }
            "brownout" => {
                let usage = "brownout=OFFSET+DURATION:CODE, as brownout=5s+2s:503";
                let (window, status) = value.split_once(':').ok_or(usage)?;
                let (offset, duration) = window.split_once('+').ok_or(usage)?;
                let from = Duration::try_from_secs_f64(time(offset)?).map_err(text)?;
                let to = from.saturating_add(Duration::try_from_secs_f64(time(duration)?).map_err(text)?);
                self.brownouts.push(Brownout { from, to, status: code(status)? });
            }
            _ => {
                return Err("not a fault; there are status, retry-after, latency, cut-before, cut-after, hang, \
                            garbage, half and brownout: `wsp gate --help` shows each"
                    .to_owned());
            }
        }
        let total: f64 = self.shares.iter().map(|(_, share)| share).sum();
        if total > 1.0 + 1e-9 { Err(format!("the shares add up to {} %", total * 100.0)) } else { Ok(()) }
    }
}

impl FromStr for FaultSpec {
    type Err = FaultError;

    fn from_str(list: &str) -> Result<Self, FaultError> {
        let mut spec = Self::default();
        for item in split_outside_brackets(list) {
            spec.add(item).map_err(|problem| FaultError { item: item.to_owned(), problem })?;
        }
        Ok(spec)
    }
}

impl Latency {
    /// Seconds.
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Latency::Const(seconds) => seconds,
            Latency::Uniform(from, to) => from + (to - from) * random.unit(),
            Latency::Exp(mean) => -mean * (1.0 - random.unit()).ln(),
            Latency::LogNormal(median, sigma) => {
                let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
                median * (sigma * radius * (std::f64::consts::TAU * random.unit()).cos()).exp()
            }
        }
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let usage =
            "a latency is a time such as 10ms, const(T), uniform(FROM,TO), exp(MEAN) or lognormal(MEDIAN,SIGMA)";
        let Some((name, rest)) = value.split_once('(') else {
            return time(value).map(Latency::Const).map_err(|_| usage.to_owned());
        };
        let arguments: Vec<&str> = rest.strip_suffix(')').ok_or(usage)?.split(',').map(str::trim).collect();
        match (name, arguments.as_slice()) {
            ("const", [at]) => Ok(Latency::Const(time(at)?)),
            ("uniform", [from, to]) => Ok(Latency::Uniform(time(from)?, time(to)?)),
            ("exp", [mean]) => Ok(Latency::Exp(time(mean)?)),
            ("lognormal", [median, sigma]) => Ok(Latency::LogNormal(time(median)?, number(sigma)?)),
            _ => Err(usage.to_owned()),
        }
    }
}

fn split_outside_brackets(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    list.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn number(value: &str) -> Result<f64, String> {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("{value:?} is not a number from 0 up")),
    }
}

fn share(value: &str) -> Result<f64, String> {
    let share = match value.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(value)?,
    };
    if share > 1.0 { Err(format!("{value} is more than all")) } else { Ok(share) }
}

fn time(value: &str) -> Result<f64, String> {
    for (unit, seconds) in [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)] {
        if let Some(count) = value.strip_suffix(unit) {
            return Ok(number(count)? * seconds);
        }
    }
    Err(format!("{value:?} is not a time, as 2ms, 0.5s or 1m"))
}

fn code(value: &str) -> Result<u16, String> {
    match value.parse() {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(format!("{value:?} is not a status from 200 to 599")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u64) -> [u8; 32] {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&n.to_be_bytes());
        id
    }

    #[test]
    fn the_whole_grammar_is_read() {
        let spec: FaultSpec = "status=503:2%, status=429:1%,retry-after=0.2,retry-after=429:1,\
            latency=lognormal(2ms,0.5),latency=const(1s):0.01,cut-before=0.5%,cut-after=0.5%,\
            brownout=5s+2s:503,hang=0.1%,garbage=0.1%,half=0.1%"
            .parse()
            .unwrap();
        assert_eq!(spec.shares.len(), 7);
        assert_eq!(spec.latencies.len(), 2);
        assert_eq!(spec.retry_after(429).as_deref(), Some("1"));
        assert_eq!(spec.retry_after(503).as_deref(), Some("0.2"));
        assert_eq!(spec.brownout(Duration::from_secs(4)), None);
        assert_eq!(spec.brownout(Duration::from_secs(5)), Some(503));
        assert_eq!(spec.brownout(Duration::from_secs(7)), None);
        assert!("".parse::<FaultSpec>().unwrap().is_empty());
    }

    #[test]
    fn a_plain_time_is_a_constant_latency() {
        let same = |plain: &str, full: &str| {
            assert_eq!(plain.parse::<FaultSpec>().unwrap(), full.parse().unwrap(), "{plain}");
        };
        same("latency=10ms", "latency=const(10ms)");
        same("latency=0.5s:10%", "latency=const(0.5s):10%");
        same("retry-after=200ms,retry-after=429:1s", "retry-after=0.2,retry-after=429:1");
        let spec: FaultSpec = "latency=10ms".parse().unwrap();
        assert_eq!(spec.draw(7, &id(1), 1), Fate { latency: Duration::from_millis(10), outcome: Outcome::Answer });
    }

    /// What the help shows is what is read.
    #[test]
    fn every_example_of_the_grammar_is_read() {
        let words = GRAMMAR.split_whitespace().map(|word| word.trim_matches(['\'', ';', '.', ',']));
        let examples: Vec<&str> = words.filter(|word| word.contains('=')).collect();
        assert!(examples.len() > 12, "{examples:?}");
        for example in &examples {
            let spec = example.parse::<FaultSpec>().unwrap_or_else(|error| panic!("{error}"));
            assert!(!spec.is_empty() || example.starts_with("retry-after="), "{example}");
        }
        for fault in
            ["status", "retry-after", "latency", "cut-before", "cut-after", "hang", "garbage", "half", "brownout"]
        {
            assert!(examples.iter().any(|example| example.starts_with(&format!("{fault}="))), "{fault}");
        }
        assert!(GRAMMAR.lines().all(|line| line.len() <= 70), "an 80-column terminal indents it by ten");
    }

    #[test]
    fn errors_name_the_item() {
        for (bad, word) in [
            ("latency=10", "a time such as 10ms"),
            ("latency=soon", "a time such as 10ms"),
            ("retry-after=soon", "not a number"),
            ("status=503", "status=CODE:SHARE"),
            ("status=99:1%", "200 to 599"),
            ("latency=lognormal(2ms)", "lognormal(MEDIAN,SIGMA)"),
            ("latency=const(2)", "not a time"),
            ("cut-before=120%", "more than all"),
            ("hang=60%,half=60%", "add up"),
            ("nonsense=1", "not a fault"),
            ("hang", "name=value"),
            ("brownout=5s:503", "OFFSET+DURATION"),
            ("hang=-1%", "not a number"),
        ] {
            let error = bad.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn shares_are_met() {
        let spec: FaultSpec = "status=503:10%,cut-after=5%,latency=exp(2ms)".parse().unwrap();
        let fates: Vec<Fate> = (0..20_000).map(|n| spec.draw(7, &id(n), 1)).collect();
        let count = |outcome| fates.iter().filter(|fate| fate.outcome == outcome).count();
        assert!((1_800..2_200).contains(&count(Outcome::Status(503))));
        assert!((850..1_150).contains(&count(Outcome::CutAfter)));
        let mean = fates.iter().map(|fate| fate.latency.as_secs_f64()).sum::<f64>() / 20_000.0;
        assert!((0.0019..0.0021).contains(&mean), "{mean}");
    }

    proptest! {
        #[test]
        fn a_fate_depends_on_its_arguments_alone(seed: u64, n: u64, attempt in 1_u32..9) {
            let spec: FaultSpec = "status=503:30%,hang=30%,latency=uniform(1ms,2ms)".parse().unwrap();
            let fate = spec.draw(seed, &id(n), attempt);
            prop_assert_eq!(fate, spec.clone().draw(seed, &id(n), attempt));
            prop_assert_ne!(fate.latency, spec.draw(seed.wrapping_add(1), &id(n), attempt).latency);
            prop_assert!(fate.latency >= Duration::from_millis(1) && fate.latency < Duration::from_millis(2));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-z=:,.()%0-9+ -]{0,40}") {
            let _ = text.parse::<FaultSpec>();
        }
    }
}

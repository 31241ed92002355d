//! The report: rows, each with what was done, expected and seen.
//!
//! ```text
//! Spec + Seen ──► Row ──► Report ──► stdout, <prefix>/wsp/matrix.json (docs/schema/wsp_matrix.v1.schema.json)
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use wsp_world::evidence::Verdict;
use wsp_world::model::{Hex64, Micros, PlatformRunId, Reason, Refusal};
use wsp_world::profile::Profile;
use wsp_world::ready::Ready;

use super::rows::{Need, ROWS, Spec, spec};

/// The version of `matrix.json`.
pub const MATRIX_SCHEMA: &str = "wsp_matrix.v1";

/// The outcome of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As expected.
    Green,
    /// Not as expected, or not tried because something it needs is red.
    Red,
    /// The profile does not require it.
    NotRun,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name, as `C1.foreign`.
    pub id: &'static str,
    /// What has to hold.
    pub requirement: &'static str,
    /// What it can't be tried without.
    pub needs: &'static [Need],
    /// What was done.
    pub done: &'static str,
    /// What the result has to be.
    pub expected: String,
    /// What the result was.
    pub seen: String,
    /// Whether these agree.
    pub result: Outcome,
    /// Why it is not green.
    pub why: Option<String>,
    /// The object that shows it.
    pub evidence: Option<String>,
}

/// The result of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) result: Outcome,
    /// The result in words.
    pub(super) told: String,
    pub(super) why: Option<String>,
    pub(super) evidence: Option<String>,
}

impl Seen {
    /// As expected.
    pub(super) fn green(seen: impl Into<String>) -> Self {
        Self { result: Outcome::Green, told: seen.into(), why: None, evidence: None }
    }

    /// Not as expected.
    pub(super) fn red(seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self { result: Outcome::Red, told: seen.into(), why: Some(why.into()), evidence: None }
    }

    /// Not required by the profile.
    pub(super) fn not_run(why: impl Into<String>) -> Self {
        Self { result: Outcome::NotRun, told: "–".to_owned(), why: Some(why.into()), evidence: None }
    }

    /// Green if `holds`.
    pub(super) fn of(holds: bool, seen: impl Into<String>, why: impl Into<String>) -> Self {
        if holds { Self::green(seen) } else { Self::red(seen, why) }
    }

    /// Red, with the refusal's words and what to do.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::red(refusal.to_string(), refusal.reason.next())
    }

    /// With the object that shows it.
    #[must_use]
    pub(super) fn shown_by(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }

    pub(super) fn is_green(&self) -> bool {
        self.result == Outcome::Green
    }
}

/// What was seen, or the refusal that prevented the attempt.
impl From<Result<Self, Refusal>> for Seen {
    fn from(result: Result<Self, Refusal>) -> Self {
        result.unwrap_or_else(|refusal| Self::refused(&refusal))
    }
}

/// Green with these words, or the refusal.
impl From<Result<String, Refusal>> for Seen {
    fn from(result: Result<String, Refusal>) -> Self {
        result.map(Self::green).into()
    }
}

/// A verdict in words: status, and the reason where there is one.
pub(super) fn verdict_words(verdict: &Verdict) -> String {
    let reason = verdict.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("{}{reason}", verdict.status)
}

/// All rows.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version, [`MATRIX_SCHEMA`].
    pub schema: &'static str,
    /// The run.
    pub platform_run_id: PlatformRunId,
    /// Its READY; none where there was none.
    pub message_id: Option<Hex64>,
    /// The profile.
    pub profile_id: String,
    /// The gate that received the events.
    pub ig_ingest_url: String,
    /// Events that could be sent at most.
    pub max_events: u64,
    /// The version of this program.
    pub version: &'static str,
    /// When it began.
    pub started_at_utc: String,
    /// When it was done.
    pub ended_at_utc: String,
    /// Whether no row is red.
    pub green: bool,
    /// The rows, in the order of [`ROWS`].
    pub rows: Vec<Row>,
    /// What is unavailable, and the row that found out.
    #[serde(skip)]
    down: BTreeMap<Need, &'static str>,
}

impl Report {
    pub(super) fn new(profile: &Profile, run: &PlatformRunId, max_events: u64, started: Micros) -> Self {
        Self {
            schema: MATRIX_SCHEMA,
            platform_run_id: run.clone(),
            message_id: None,
            profile_id: profile.profile_id.clone(),
            ig_ingest_url: profile.delivery.endpoint.base().to_string(),
            max_events,
            version: env!("CARGO_PKG_VERSION"),
            started_at_utc: started.to_string(),
            ended_at_utc: String::new(),
            green: false,
            rows: Vec::with_capacity(ROWS.len()),
            down: BTreeMap::new(),
        }
    }

    /// Sets the READY to try; without one, rows that need a READY are not tried.
    pub(super) fn ready(&mut self, ready: Option<&Ready>) {
        match ready {
            Some(ready) => self.message_id = Some(ready.payload.message_id.clone()),
            None => _ = self.down.insert(Need::Ready, "C1.ready"),
        }
    }

    /// Fills the row `id` with the result of `attempt`, unless something it needs is unavailable; returns whether it is green.
    pub(super) async fn fill(&mut self, id: &str, attempt: impl Future<Output: Into<Seen>>) -> bool {
        let spec = spec(id);
        let seen = match self.missing(spec) {
            Some(seen) => seen,
            None => attempt.await.into(),
        };
        self.note(spec, seen)
    }

    /// Whether everything that the row needs is available.
    pub(super) fn can(&self, id: &str) -> bool {
        self.missing(spec(id)).is_none()
    }

    fn missing(&self, spec: &Spec) -> Option<Seen> {
        let (need, row) = spec.needs.iter().find_map(|need| self.down.get_key_value(need))?;
        Some(Seen::red("not tried", format!("{row} is red, and this needs the {}", need.words())))
    }

    fn note(&mut self, spec: &'static Spec, seen: Seen) -> bool {
        let green = seen.is_green();
        if let Some(gives) = spec.gives.filter(|_| !green) {
            self.down.entry(gives).or_insert(spec.id);
        }
        let Seen { result, told: seen, why, evidence } = seen;
        let expected = spec.expected.replace("{N}", &self.max_events.to_string());
        let Spec { id, requirement, needs, done, .. } = spec;
        self.rows.push(Row { id, requirement, needs, done, expected, seen, result, why, evidence });
        green
    }

    /// Fills the rows that nothing filled with red, and sorts all.
    pub(super) fn finish(&mut self, ended: Micros) {
        for spec in ROWS {
            if self.rows.iter().all(|row| row.id != spec.id) {
                let refusal = Refusal::new(Reason::InternalError, "nothing filled this row");
                let seen = self.missing(spec).unwrap_or_else(|| Seen::refused(&refusal));
                self.note(spec, seen);
            }
        }
        let place = |row: &Row| ROWS.iter().position(|spec| spec.id == row.id);
        self.rows.sort_by_key(place);
        self.green = self.rows.iter().all(|row| row.result != Outcome::Red);
        self.ended_at_utc = ended.to_string();
    }

    /// How many rows have this outcome.
    #[must_use]
    pub fn count(&self, result: Outcome) -> usize {
        self.rows.iter().filter(|row| row.result == result).count()
    }
}

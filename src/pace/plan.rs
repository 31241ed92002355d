//! A plan of rates over the course of a campaign (contract, section 10, `WSP_RATE_PLAN_JSON`).
//!
//! ```text
//! plan start ──offset──► segment 1 ──────► segment 2 (0: pause) ──► segment 3 … to the end
//! ```

use std::time::Duration;

use serde::Deserialize;

use super::limit::{RateError, RateLimit};

/// What holds from its offset on until the next segment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From the plan's start.
    pub start_offset: Duration,
    /// The rate; `None` (`target_eps` 0) lets nothing through.
    pub limit: Option<RateLimit>,
}

/// Segments in ascending order. Before the first one nothing is sent; the last one has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatePlan(Vec<Segment>);

/// What is wrong with a plan. Segments are numbered from 1.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not a list of segments.
    #[error(
        "the rate plan is not a JSON list of {{start_offset_seconds, target_eps, burst_seconds, initial_tokens}}: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// No segment at all.
    #[error("the rate plan is empty")]
    Empty,
    /// A rate that can't be held.
    #[error("rate plan, segment {segment}: {error}")]
    Rate {
        /// Which.
        segment: usize,
        /// Why.
        error: RateError,
    },
    /// An offset out of bounds.
    #[error("rate plan, segment {0}: start_offset_seconds has to be between 0 and 1e9")]
    Offset(usize),
    /// An offset that is not above the one before.
    #[error("rate plan, segment {0}: it does not start after the segment before it")]
    Order(usize),
    /// A last segment that lets nothing through.
    #[error("the rate plan ends with target_eps 0, which would never let the run end")]
    Closed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    start_offset_seconds: f64,
    target_eps: f64,
    burst_seconds: Option<f64>,
    initial_tokens: Option<f64>,
}

impl RatePlan {
    /// One rate from the start to the end.
    #[must_use]
    pub fn steady(limit: RateLimit) -> Self {
        Self(vec![Segment { start_offset: Duration::ZERO, limit: Some(limit) }])
    }

    /// A plan of these segments.
    ///
    /// # Errors
    ///
    /// If there is none, their offsets do not ascend, or the last one lets nothing through.
    pub fn new(segments: Vec<Segment>) -> Result<Self, PlanError> {
        if let Some(i) = segments.windows(2).position(|pair| pair[0].start_offset >= pair[1].start_offset) {
            return Err(PlanError::Order(i + 2));
        }
        match segments.last() {
            None => Err(PlanError::Empty),
            Some(Segment { limit: None, .. }) => Err(PlanError::Closed),
            Some(_) => Ok(Self(segments)),
        }
    }

    /// Reads `WSP_RATE_PLAN_JSON`. A `target_eps` of 0 lets nothing through until the next segment.
    ///
    /// # Errors
    ///
    /// If it is not such a list, or not a plan.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let lines: Vec<Line> = serde_json::from_str(text)?;
        let segments = lines.iter().zip(1..).map(|(line, segment)| {
            if !(0.0..=1e9).contains(&line.start_offset_seconds) {
                return Err(PlanError::Offset(segment));
            }
            let limit = if line.target_eps == 0.0 {
                None
            } else {
                let limit = RateLimit::new(line.target_eps, line.burst_seconds, line.initial_tokens);
                Some(limit.map_err(|error| PlanError::Rate { segment, error })?)
            };
            Ok(Segment { start_offset: Duration::from_secs_f64(line.start_offset_seconds), limit })
        });
        Self::new(segments.collect::<Result<_, _>>()?)
    }

    /// The segments, ascending.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The segment that holds `nanos` after the plan's start, and when the next one begins.
    pub(super) fn at(&self, nanos: i64) -> (Option<Segment>, Option<i64>) {
        let offset = |segment: &Segment| i64::try_from(segment.start_offset.as_nanos()).unwrap_or(i64::MAX);
        let next = self.0.partition_point(|segment| offset(segment) <= nanos);
        (next.checked_sub(1).map(|i| self.0[i]), self.0.get(next).map(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_with_its_defaults() {
        let plan = RatePlan::from_json(
            r#"[{"start_offset_seconds":0,"target_eps":3030},
                {"start_offset_seconds":60.5,"target_eps":0},
                {"start_offset_seconds":90,"target_eps":10,"burst_seconds":2,"initial_tokens":5}]"#,
        )
        .unwrap();
        let [first, pause, last] = plan.segments() else { unreachable!("{plan:?}") };
        assert_eq!(first.limit, Some(RateLimit::new(3030.0, Some(0.25), Some(1.0)).unwrap()));
        assert_eq!((pause.start_offset, pause.limit), (Duration::from_millis(60_500), None));
        assert_eq!(last.limit.unwrap().burst(), 20);
    }

    #[test]
    fn what_is_no_plan_is_refused_with_its_place() {
        for (text, word) in [
            ("", "not a JSON list"),
            ("{}", "not a JSON list"),
            ("[]", "empty"),
            (r#"[{"target_eps":1}]"#, "start_offset_seconds"),
            (r#"[{"start_offset_seconds":0,"target_eps":1,"eps":2}]"#, "eps"),
            (r#"[{"start_offset_seconds":-1,"target_eps":1}]"#, "segment 1"),
            (r#"[{"start_offset_seconds":0,"target_eps":-5}]"#, "segment 1: target_eps"),
            (r#"[{"start_offset_seconds":0,"target_eps":0}]"#, "never"),
            (r#"[{"start_offset_seconds":0,"target_eps":1},{"start_offset_seconds":5,"target_eps":0}]"#, "never"),
            (
                r#"[{"start_offset_seconds":5,"target_eps":1},{"start_offset_seconds":5,"target_eps":2}]"#,
                "segment 2: it does not start after",
            ),
        ] {
            let error = RatePlan::from_json(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

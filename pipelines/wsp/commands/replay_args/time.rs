//! The flags about time: when events are sent.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use wsp::pace::{Pacing, RateLimit, RatePlan};
use wsp::time::Micros;
use wsp_replay::{Error, Flag, Shift, TimeForm};

use super::values::{duration, instant};

// When events are sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Time")]
pub(crate) struct TimeArgs {
    /// How many times as fast as recorded; 0: as fast as it goes. Default: 1, and 0 with --rate or --rate-plan.
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    speedup: Option<f64>,
    /// Events a second at most.
    #[arg(long, value_name = "N", conflicts_with = "rate_plan")]
    rate: Option<f64>,
    /// A file with a plan of rates: a JSON list of `{"start_offset_seconds", "target_eps"}`.
    #[arg(long, value_name = "FILE")]
    rate_plan: Option<PathBuf>,
    /// A longer time without events counts as this.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_idle_gap: Option<Duration>,
    /// Send all of it so many times, each round after the one before by the span of the events. Ids of later rounds are others.
    #[arg(long = "loop", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// now: move times in bodies, so that each event has the time at which it is due.
    #[arg(long, value_name = "TIME")]
    shift_to: Option<ShiftArg>,
    /// The columns that --shift-to moves, with commas: members of the body. Default: those of --time.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "shift_to")]
    shift: Vec<String>,
    /// Send nothing before this time on the wall (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) start_at: Option<Micros>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShiftArg {
    Now,
}

impl TimeArgs {
    /// Times of bodies move with the schedule: those of `time`, unless others are named.
    pub(super) fn shift(&self, time: &[String], form: &TimeForm) -> Option<Shift> {
        let columns = if self.shift.is_empty() { time } else { &self.shift };
        self.shift_to.map(|ShiftArg::Now| Shift::new(columns.to_vec(), form.clone()))
    }

    /// Those that decide which events there are.
    pub(super) fn pinned(&self) -> Vec<Flag> {
        vec![("--loop", if self.rounds > 1 { self.rounds.to_string() } else { String::new() })]
    }

    pub(super) fn rate(&self) -> Result<Option<RatePlan>, Error> {
        if let Some(rate) = self.rate {
            let limit = RateLimit::new(rate, None, None).map_err(|error| Error::flag("--rate", error))?;
            return Ok(Some(RatePlan::steady(limit)));
        }
        let Some(path) = &self.rate_plan else { return Ok(None) };
        let refused = |what: String| Error::flag("--rate-plan", format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        RatePlan::from_json(&text).map(Some).map_err(|error| refused(error.to_string()))
    }

    pub(super) fn pacing(&self, has_rate: bool) -> Result<Pacing, Error> {
        let speedup = self.speedup.unwrap_or(if has_rate { 0.0 } else { 1.0 });
        let pacing = Pacing::new(speedup).map_err(|error| Error::flag("--speedup", error))?;
        Ok(pacing.max_idle_gap(self.max_idle_gap))
    }
}

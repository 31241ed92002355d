//! The report of a run: one HTML page that needs nothing else, neither network nor script.
//!
//! ```text
//! Told ─► head: verdict, figures ─► timeline ─► charts (over wall time, over event time) ─► outputs, checks, identities
//! ```
//!
//! It is made of the run's evidence alone, so that it can be made again at any time. Whatever stands in the evidence is
//! escaped: it came from messages and files of others.

mod charts;
mod parts;
mod plot;
mod scale;
mod text;

use std::fmt::Write;

use super::{Summary, Told};
use crate::model::Lane;
use text::Escaped;

const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn page(told: &Told) -> String {
    let run = &told.start.run;
    let lane = run.lane.and_then(Lane::label).map(|lane| format!(", {lane}")).unwrap_or_default();
    let title = format!("{}{lane}", run.platform_run_id);
    let mut out = String::with_capacity(128 << 10);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{} · run report</title>\n<style>\n{STYLE}</style></head>\n<body>\n",
        Escaped(&title)
    );
    parts::head(&mut out, told, &title);
    out.push_str("<main>\n");
    parts::timeline(&mut out, told);
    if let Some(summary) = &told.summary {
        charts::over_time(&mut out, summary);
        charts::over_event_time(&mut out, summary);
        parts::outputs(&mut out, summary);
    }
    parts::checks(&mut out, &told.start);
    parts::about(&mut out, &told.start, told.summary.as_ref());
    out.push_str("</main>\n");
    let _ = writeln!(
        out,
        "<footer>World Streamer Producer {} · made from the run’s evidence alone</footer>\n</body></html>",
        Escaped(&told.start.producer.version)
    );
    out
}

/// How long it ran, in microseconds.
fn elapsed(summary: &Summary) -> f64 {
    (summary.ended.0 - summary.started.0).max(1) as f64
}

#[cfg(test)]
mod tests;

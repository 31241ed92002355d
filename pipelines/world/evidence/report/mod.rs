//! The report of a run: one HTML page that needs nothing else, neither network nor script.
//!
//! ```text
//! Told ─► head: verdict, figures ─► timeline ─► charts (over wall time, over event time) ─► outputs, checks, identities
//! ```
//!
//! It is made of the run's evidence alone, so that it can be made again at any time. `maud` escapes whatever stands in the
//! evidence: it came from messages and files of others. The live page of the telemetry listener shows the same charts and
//! figures of a run that goes on.

mod charted;
mod charts;
mod lanes;
mod parts;
mod plot;
mod scale;
pub mod text;

use maud::{DOCTYPE, PreEscaped, html};

use super::Told;
use crate::model::Lane;
pub use charted::Charted;
pub use charts::charts;
pub use lanes::lanes_section;
pub use parts::{Figure, figures, figures_of, outcome};

/// The style sheet of the page.
pub const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn page(told: &Told) -> String {
    let run = &told.start.run;
    let lane = run.lane.and_then(Lane::label).map(|lane| format!(", {lane}")).unwrap_or_default();
    let title = format!("{}{lane}", run.platform_run_id);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · run report" }
                style { (PreEscaped(STYLE)) }
            }
            "\n"
            body {
                (parts::head(told, &title))
                main {
                    (parts::timeline(told))
                    @if let Some(summary) = &told.summary {
                        (charts(&Charted::of_summary(summary)))
                        (parts::outputs(summary))
                    }
                    @if let Some(lanes) = told.lanes() { (lanes_section(&lanes)) }
                    (parts::checks(&told.start))
                    (parts::about(&told.start, told.summary.as_ref()))
                }
                footer {
                    "World Streamer Producer " (told.start.producer.version) " · made from the run’s evidence alone"
                }
            }
        }
        "\n"
    };
    page.into_string()
}

#[cfg(test)]
mod tests;

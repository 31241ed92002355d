//! The lanes of a run that workers share: how each stands, and how lanes changed their workers.

use maud::{Markup, html};

use super::text::{count, moment, short, span};
use crate::evidence::{LaneState, LaneStatus, LanesStatus, Takeover};

/// The section of a page.
#[must_use]
pub fn lanes_section(status: &LanesStatus) -> Markup {
    html! {
        section aria-labelledby="lanes" {
            h2 id="lanes" { "Lanes" }
            p.note { (words(status)) }
            div.scroll tabindex="0" role="region" aria-labelledby="lanes" { table { (all(&status.lanes)) } }
            @if status.lanes.iter().any(|lane| !lane.takeovers.is_empty()) {
                h3 id="takeovers" { "Takeovers" }
                p.note {
                    "A lane makes no progress from the last save of one worker to the first event of the next. What was sent after that save is sent again."
                }
                div.scroll tabindex="0" role="region" aria-labelledby="takeovers" { table { (takeovers(&status.lanes)) } }
            }
        }
        "\n"
    }
}

fn words(status: &LanesStatus) -> String {
    let LanesStatus { count: lanes, by, round, answered, due, rate, eta_seconds, .. } = status;
    let attempt = if *round > 0 { format!(", attempt {}", round + 1) } else { String::new() };
    let (by, how_many) = (by.as_str(), status.words());
    let left = eta_seconds.filter(|left| *left > 0.0).map(|left| span(left * 1e6));
    let left = left.map(|left| format!(", {}/s, {left} left", short(*rate))).unwrap_or_default();
    let (answered, due) = (count(*answered), count(*due));
    format!("{lanes} lanes by {by}{attempt}: {how_many}. {answered} of {due} events answered{left}.")
}

fn all(lanes: &[LaneStatus]) -> Markup {
    let class = |state| match state {
        LaneState::Running | LaneState::Streamed => "good",
        LaneState::Waiting => "",
        LaneState::Silent => "warn",
        LaneState::Failed => "bad",
    };
    html! {
        thead {
            tr {
                th scope="col" { "lane" }
                th scope="col" { "state" }
                th scope="col" { "worker" }
                @for name in ["hold", "events", "rate"] { th.n scope="col" { (name) } }
                @for name in ["event time", "since", "noted", "ended"] { th scope="col" { (name) } }
            }
        }
        tbody {
            @for lane in lanes {
                tr {
                    th scope="row" { (lane.index) }
                    td class=(class(lane.state)) {
                        (lane.state.as_str())
                        @if let Some(reason) = lane.reason { " " (reason.code()) }
                    }
                    td { (lane.worker.as_deref().unwrap_or("–")) }
                    td.n { @if let Some(epoch) = lane.epoch { (count(epoch)) } @else { "–" } }
                    td.n { (count(lane.answered)) }
                    td.n { @if lane.rate > 0.0 { (short(lane.rate)) "/s" } @else { "–" } }
                    @for time in [&lane.event_time_utc, &lane.since_utc, &lane.noted_utc, &lane.ended_utc] {
                        td.t { @if let Some(time) = time { (moment(time)) } @else { "–" } }
                    }
                }
            }
        }
    }
}

fn takeovers(lanes: &[LaneStatus]) -> Markup {
    let recovery =
        |takeover: &Takeover| takeover.recovery().map_or_else(|| "–".to_owned(), |time| span(time.as_micros() as f64));
    html! {
        thead {
            tr {
                th scope="col" { "lane" }
                @for name in ["from", "which", "last save", "to", "held", "first event"] { th scope="col" { (name) } }
                th.n scope="col" { "recovery" }
            }
        }
        tbody {
            @for lane in lanes {
                @for takeover in &lane.takeovers {
                    tr {
                        th scope="row" { (lane.index) }
                        td { (takeover.from_worker) }
                        td { @if takeover.left { "left" } @else { "lost it" } }
                        td.t { @if let Some(at) = takeover.last_saved { (moment(&at.to_string())) } @else { "–" } }
                        td { (takeover.to_worker) }
                        td.t { (moment(&takeover.held.to_string())) }
                        td.t { @if let Some(at) = takeover.first_event { (moment(&at.to_string())) } @else { "–" } }
                        td.n { (recovery(takeover)) }
                    }
                }
            }
        }
    }
}

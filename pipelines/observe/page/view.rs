//! The HTML of the live page. `maud` escapes all texts: ids, reasons and refusals come from messages and systems of others.

use maud::{DOCTYPE, Markup, html};
use wsp_world::evidence::report::text::{count, moment, short, span};
use wsp_world::evidence::report::{Charted, Figure, charts, figures, figures_of, lanes_section, outcome};
use wsp_world::telemetry::Shown;
use wsp_world::telemetry::status::{
    DeferredReady, LastRun, OutputStatus, Progress, RunStatus, Stage, Status, TakenUpStatus, VerdictCount,
};

use crate::readiness::Report;
use crate::status::StatusPage;

/// Seconds after which a browser without script reloads the page.
const AGAIN: u32 = 10;

pub(super) fn page(told: &StatusPage, shown: &Shown) -> Markup {
    let status = &told.status;
    let state = State::of(status);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (state.word) " · " (state.title) }
                link rel="icon" href="icon.svg";
                link rel="stylesheet" href="page.css";
                noscript { meta http-equiv="refresh" content=(AGAIN); }
                script src="page.js" defer {}
            }
            "\n"
            body {
                div id="live" {
                    (head(status, &state, shown))
                    main {
                        @if let Some(lanes) = &status.lanes { (lanes_section(lanes)) }
                        @if let Some(run) = &status.run { (outputs(&run.outputs)) }
                        @match shown {
                            Shown::Nothing => {}
                            Shown::Live(charted) => { (charts(charted)) }
                            Shown::Ended(summary) => { (charts(&Charted::of_summary(summary))) }
                        }
                        (waiting(&status.deferred))
                        (parts(&told.readiness))
                        (verdicts(&status.verdicts))
                    }
                    p.note {
                        "WSP " (status.version) ", up since " (moment(&status.started_utc)) " UTC. As of "
                        time { (moment(&status.now_utc)) } " UTC."
                    }
                }
                p.unseen id="announcement" role="status" {}
                footer {
                    span id="connection" { noscript { "Without script the page is loaded again every " (AGAIN) " s." } }
                    button id="pause" type="button" hidden { "Pause" }
                }
            }
        }
        "\n"
    }
}

/// What the process does.
struct State<'a> {
    /// In a word.
    word: &'static str,
    /// A colour's class.
    class: &'static str,
    /// The run that it is about.
    title: &'a str,
    /// More.
    words: String,
}

impl<'a> State<'a> {
    fn of(status: &'a Status) -> Self {
        match (&status.run, &status.taken_up, &status.last) {
            (Some(run), ..) => Self::streaming(run),
            (None, Some(taken_up), last) => Self::at_work(taken_up, last.as_ref()),
            (None, None, Some(last)) => Self::ended(last),
            (None, None, None) => Self::idle(status),
        }
    }

    fn streaming(run: &'a RunStatus) -> Self {
        let stuck = run.waits_for.as_ref().is_some_and(|wait| wait.until_utc.is_some());
        let (word, class) = if stuck { ("waiting", "warn") } else { ("streaming", "good") };
        let words = format!("since {} UTC", moment(&run.started_utc));
        Self { word, class, title: run.platform_run_id.as_str(), words }
    }

    fn at_work(taken_up: &TakenUpStatus, last: Option<&'a LastRun>) -> Self {
        let since = moment(&taken_up.since_utc);
        let last = last.map_or("", |last| last.platform_run_id.as_str());
        match taken_up.stage {
            Stage::Checking => {
                let words = format!("a run before its first event, since {since} UTC");
                Self { word: "checking", class: "plain", title: "a new run", words }
            }
            Stage::Sharing => {
                let words = format!("whose lanes other workers stream, since {since} UTC");
                Self { word: "sharing", class: "good", title: "a shared run", words }
            }
            Stage::Ending => {
                Self { word: "ending", class: "plain", title: last, words: "its end is being recorded".to_owned() }
            }
        }
    }

    fn ended(last: &'a LastRun) -> Self {
        let (word, class) = outcome(last.status, last.end, last.reason);
        let words = format!("started {} UTC · ended {} UTC", moment(&last.started_utc), moment(&last.ended_utc));
        Self { word, class, title: last.platform_run_id.as_str(), words }
    }

    fn idle(status: &Status) -> Self {
        let words = format!("no run yet, up since {} UTC", moment(&status.started_utc));
        let class = if status.deferred.is_empty() { "plain" } else { "warn" };
        Self { word: "waiting", class, title: "no run", words }
    }
}

fn head(status: &Status, state: &State<'_>, shown: &Shown) -> Markup {
    let message_id = match (&status.run, &status.taken_up, &status.last) {
        (Some(run), ..) => run.message_id.as_ref(),
        (None, Some(taken_up), _) => taken_up.message_id.as_ref(),
        (None, None, last) => last.as_ref().and_then(|last| last.message_id.as_ref()),
    };
    html! {
        header {
            p.eyebrow { "World Streamer Producer" }
            h1 { (state.title) }
            p.lead { span class={ "pill " (state.class) } { (state.word) } " " (state.words) }
            @if let Some(message_id) = message_id { p.note { "READY " code { (message_id.as_str()) } } }
            @match &status.run {
                Some(run) => { (of_run(run)) }
                None => { (without_run(status, shown)) }
            }
        }
        "\n"
    }
}

fn of_run(run: &RunStatus) -> Markup {
    html! {
        @if let Some(wait) = &run.waits_for {
            p class=(if wait.until_utc.is_some() { "wait" } else { "note" }) {
                "Waits for " (wait.what)
                @if let Some(since) = &wait.since_utc { ", since " (moment(since)) " UTC" }
                @if let Some(until) = &wait.until_utc { ", until " (moment(until)) " UTC at most" }
                "."
            }
        }
        @if let Some(due) = run.total.due {
            progress aria-label="share of the run that is answered" value=(run.total.answered) max=(due.max(1)) {
                (percent(&run.total))
            }
        }
        (figures(&live_figures(run)))
        @if let Some(bottleneck) = &run.bottleneck { p.bound { (bottleneck.to_string()) } }
    }
}

fn without_run(status: &Status, shown: &Shown) -> Markup {
    html! {
        @if status.taken_up.is_none() {
            @if let Some(refusal) = status.last.as_ref().and_then(|last| last.refusal.as_ref()) { p.refusal { (refusal) } }
            @if let Some(first) = status.deferred.first() {
                p.wait {
                    "The READY that has waited longest waits since " (moment(&first.since_utc)) " UTC, because of "
                    (first.reason) "."
                }
            }
            @if let Some(what) = &status.waits_for { p.note { "The service waits for " (what) "." } }
        }
        @if let Shown::Ended(summary) = shown { (figures(&figures_of(summary))) }
    }
}

fn live_figures(run: &RunStatus) -> Vec<Figure> {
    let Progress { answered, due, rate, eta_seconds } = run.total;
    let of = due
        .map_or_else(|| "since it was started".to_owned(), |due| format!("{} of {}", percent(&run.total), count(due)));
    let left = eta_seconds.map_or_else(|| "–".to_owned(), seconds);
    let (time, date) = position(&run.outputs);
    let saved = run.saves.age_seconds.map_or_else(|| "–".to_owned(), seconds);
    let answers = &run.answers;
    let mut all = vec![
        Figure::new("Events answered", count(answered), of),
        Figure::new("Rate", format!("{}/s", short(rate)), "over the last seconds"),
        Figure::new("Time left", left, "if it goes on like this"),
        Figure::new("Event time", time, date),
        Figure::new("Lateness", seconds(run.lag_seconds), "of the latest event answered"),
        Figure::new("In flight", count(run.in_flight), format!("{} events unanswered", count(run.unanswered))),
        Figure::new("Admitted", count(answers.admitted), format!("{} duplicates", count(answers.duplicates))),
        Figure::new("Retries", count(run.retries), format!("of {} attempts", count(run.attempts))),
        Figure::new("Since the last save", saved, format!("{} cursors saved", count(run.saves.cursors))),
        Figure::new("Not saved yet", seconds(run.saves.unsaved_seconds), "age of the oldest answer"),
    ];
    if answers.quarantined > 0 || answers.failed > 0 {
        let failed = format!("{} refused", count(answers.failed));
        all.push(Figure::new("Quarantined", count(answers.quarantined), failed));
    }
    all
}

/// The time and the date of the latest answered event, and where the run ends.
fn position(outputs: &[OutputStatus]) -> (String, String) {
    // Texts of one form: the latest is the greatest.
    let latest = outputs.iter().filter_map(|output| output.event_time_utc.as_deref()).max();
    let end = outputs.iter().filter_map(|output| output.end_utc.as_deref()).max();
    let end = end.map(|end| format!(", ends {}", to_the_second(end))).unwrap_or_default();
    let Some(latest) = latest else { return ("–".to_owned(), format!("no answer yet{end}")) };
    let latest = to_the_second(latest);
    let (date, time) = latest.split_once(' ').unwrap_or(("", &latest));
    (time.to_owned(), format!("{date}{end}"))
}

fn to_the_second(utc: &str) -> String {
    let moment = moment(utc);
    moment.split('.').next().unwrap_or_default().to_owned()
}

fn seconds(seconds: f64) -> String {
    span((seconds * 1e6).round())
}

/// The share of events answered; never 100 % before the end.
fn percent(progress: &Progress) -> String {
    match progress.due {
        None => "–".to_owned(),
        Some(0) => "100 %".to_owned(),
        Some(due) => format!("{:.1} %", (progress.answered as f64 * 1000.0 / due as f64).floor() / 10.0),
    }
}

fn outputs(outputs: &[OutputStatus]) -> Markup {
    let cells = |output: &OutputStatus| {
        let Progress { answered, due, rate, eta_seconds } = output.progress;
        [
            percent(&output.progress),
            count(answered),
            due.map_or_else(|| "–".to_owned(), count),
            format!("{}/s", short(rate)),
            eta_seconds.map_or_else(|| "–".to_owned(), seconds),
        ]
    };
    section(
        "outputs",
        "Outputs",
        &html! {
            thead {
                tr {
                    th scope="col" { "output" }
                    @for name in ["done", "answered", "of", "rate", "left"] { th.n scope="col" { (name) } }
                    th scope="col" { "event time" }
                    th scope="col" { "ends at" }
                }
            }
            tbody {
                @for output in outputs {
                    tr {
                        th scope="row" { code { (output.output_id.as_str()) } }
                        @for cell in cells(output) { td.n { (cell) } }
                        @for time in [&output.event_time_utc, &output.end_utc] {
                            td.t { @if let Some(time) = time { (moment(time)) } @else { "–" } }
                        }
                    }
                }
            }
        },
    )
}

fn waiting(deferred: &[DeferredReady]) -> Markup {
    if deferred.is_empty() {
        return Markup::default();
    }
    section(
        "waiting",
        "READYs that wait",
        &html! {
            thead { tr { th scope="col" { "READY" } th scope="col" { "because of" } th scope="col" { "since" } } }
            tbody {
                @for ready in deferred {
                    tr {
                        th scope="row" { code { (ready.message_id.as_str()) } }
                        td { (ready.reason) }
                        td.t { (moment(&ready.since_utc)) }
                    }
                }
            }
        },
    )
}

fn parts(report: &Report) -> Markup {
    section(
        "parts",
        "Parts",
        &html! {
            thead { tr { th scope="col" { "part" } th scope="col" { "state" } th scope="col" { "its answer" } } }
            tbody {
                @for part in &report.parts {
                    tr {
                        th scope="row" { (part.part) }
                        @if part.ready { td.good { "ready" } } @else { td.bad { "not ready" } }
                        td.wide { (part.detail) }
                    }
                }
            }
        },
    )
}

fn verdicts(verdicts: &[VerdictCount]) -> Markup {
    if verdicts.is_empty() {
        return Markup::default();
    }
    section(
        "verdicts",
        "READYs of this process",
        &html! {
            thead { tr { th scope="col" { "verdict" } th scope="col" { "reason" } th.n scope="col" { "times" } } }
            tbody {
                @for verdict in verdicts {
                    tr {
                        th scope="row" { (verdict.status) }
                        td { (verdict.reason) }
                        td.n { (count(verdict.count)) }
                    }
                }
            }
        },
    )
}

/// A table under a heading; where it is too wide it scrolls, and the page does not.
fn section(id: &str, title: &str, table: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            div.scroll tabindex="0" role="region" aria-labelledby=(id) { table { (table) } }
        }
        "\n"
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! All of the page but the charts: verdict and figures, timeline, outputs, checks, identities.

use maud::{Markup, html};

use super::charted::elapsed;
use super::text::{count, moment, short, span};
use crate::evidence::{End, Start, Status, Summary, Told};
use crate::model::{Micros, Reason, TopicPlace, Verdict};

/// How a run came out, as a word and a colour's class.
#[must_use]
pub fn outcome(status: Status, end: End, reason: Option<Reason>) -> (&'static str, &'static str) {
    match (status, end) {
        (Status::Streamed, End::Capped) => ("streamed to its cap", "good"),
        (Status::Streamed, _) => ("streamed", "good"),
        (_, End::Stopped) => ("stopped", "warn"),
        // It goes on, elsewhere.
        _ if reason == Some(Reason::CheckpointLeaseLost) => ("taken over", "warn"),
        _ if reason.is_some_and(Reason::defers) => ("waiting", "warn"),
        _ => ("failed", "bad"),
    }
}

pub(super) fn head(told: &Told, title: &str) -> Markup {
    let summary = told.summary.as_ref();
    let (word, class) =
        summary.map_or(("without an end", "warn"), |summary| outcome(summary.status, summary.end, summary.reason));
    html! {
        header {
            p.eyebrow { "Run report" }
            h1 { (title) }
            p.lead {
                span class={ "pill " (class) } { (word) }
                " scenario " (told.start.run.scenario_id.as_str())
                " · started " (moment(&told.start.started.to_string())) " UTC"
            }
            @if let Some(summary) = summary {
                @if let Some(refusal) = &summary.refusal { p.refusal { (refusal) } }
                (figures(&figures_of(summary)))
                @if let Some(bottleneck) = &summary.bottleneck { p.bound { (bottleneck.to_string()) } }
            }
        }
        "\n"
    }
}

/// A number that stands large on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it counts.
    pub label: &'static str,
    /// The number.
    pub value: String,
    /// What helps to read it.
    pub note: String,
}

impl Figure {
    /// A figure.
    pub fn new(label: &'static str, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label, value: value.into(), note: note.into() }
    }
}

/// Figures side by side.
#[must_use]
pub fn figures(all: &[Figure]) -> Markup {
    html! {
        dl.figures {
            @for figure in all {
                div { dt { (figure.label) } dd { (figure.value) small { (figure.note) } } }
            }
        }
    }
}

/// The figures of a run that has ended.
#[must_use]
pub fn figures_of(summary: &Summary) -> Vec<Figure> {
    let totals = &summary.totals;
    // Rates are divided by it.
    let time = (elapsed(summary).as_micros() as f64).max(1.0);
    let within = |us: u64| format!("99 in 100 within {}", span(us as f64));
    let mut all = vec![
        Figure::new("Events answered", count(totals.answered), format!("in {}", span(time))),
        Figure::new(
            "Rate",
            format!("{}/s", short(totals.answered as f64 / (time / 1e6))),
            format!("{} in flight", summary.delivery.in_flight),
        ),
        Figure::new("Latency", span(summary.latency.p50_us as f64), within(summary.latency.p99_us)),
        Figure::new("Admitted", count(totals.admitted), format!("{} duplicates", count(totals.duplicates))),
        Figure::new("Retries", count(totals.retries), format!("of {} attempts", count(summary.pushes.attempts))),
    ];
    if totals.quarantined > 0 || summary.failures > 0 {
        let failures = format!("{} without a decision", count(summary.failures));
        all.push(Figure::new("Quarantined", count(totals.quarantined), failures));
    }
    if summary.lag.max_us > 0 {
        all.push(Figure::new("Lag", span(summary.lag.p50_us as f64), within(summary.lag.p99_us)));
    }
    all
}

/// One thing that happened.
struct Entry {
    at: Option<Micros>,
    /// A colour's class.
    class: &'static str,
    what: &'static str,
    detail: String,
}

/// What happened when: facts, deferrals, and the start and end of this attempt.
pub(super) fn timeline(told: &Told) -> Markup {
    html! {
        section aria-labelledby="timeline" {
            h2 id="timeline" { "Timeline" }
            ol.timeline {
                @for entry in entries(told) {
                    li class=(entry.class) {
                        time { @if let Some(at) = entry.at { (moment(&at.to_string())) } }
                        div { b { (entry.what) } span { (entry.detail) } }
                    }
                }
            }
        }
        "\n"
    }
}

fn entries(told: &Told) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut add = |at, class, what, detail| entries.push(Entry { at, class, what, detail });
    let at = |text: &str| Micros::parse(text.as_bytes());
    for fact in &told.facts {
        let (class, what) = match fact.event_family.as_str() {
            "RUN_READY_SEEN" => ("", "READY seen"),
            "RUN_STARTED" => ("", "Started"),
            "RUN_CANCELLED" => ("bad", "Cancelled"),
            "RUN_ENDED" if fact.text("end") == "capped" => ("good", "Ended at its cap"),
            "RUN_ENDED" if fact.text("end") == "stopped" => ("warn", "Stopped"),
            "RUN_ENDED" if fact.text("status") == Status::Streamed.as_str() => ("good", "Streamed to its end"),
            _ => ("bad", "Ended with a failure"),
        };
        add(at(&fact.ts_utc), class, what, detail(&fact.details));
    }
    for stretch in told.deferral.iter().flat_map(|deferral| &deferral.stretches) {
        let detail = format!("{} · until {}", stretch.reasons.join("; "), moment(&stretch.to_ts_utc));
        add(at(&stretch.from_ts_utc), "warn", "Put off", detail);
    }
    let resumed: u64 = told.start.outputs.iter().map(|output| output.resumed_at).sum();
    if resumed > 0 {
        add(Some(told.start.started), "", "Resumed", format!("{} rows had been delivered before", count(resumed)));
    }
    // Equal times keep the order in which they were recorded.
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// The parts of a fact's details that say something to a person.
fn detail(details: &serde_json::Value) -> String {
    let number = |value: &serde_json::Value| value.as_u64().map(count);
    let mut words = Vec::new();
    if let Some(reason) = details["reason"].as_str() {
        words.push(reason.to_owned());
    }
    if let Some(emitted) = number(&details["emitted"]) {
        words.push(format!("{emitted} events delivered"));
    }
    if let Some(rows) = number(&details["resumed_rows"]) {
        words.push(format!("{rows} rows delivered before"));
    }
    if let Some(since) = details["deferred"]["first_ts_utc"].as_str() {
        words.push(format!("put off since {}", moment(since)));
    }
    for (limit, what) in [("max_events", "events"), ("max_events_per_output", "events an output")] {
        if let Some(n) = number(&details["limits"][limit]) {
            words.push(format!("cap of {n} {what}"));
        }
    }
    words.join(" · ")
}

pub(super) fn outputs(summary: &Summary) -> Markup {
    html! {
        section aria-labelledby="outputs" {
            h2 id="outputs" { "Outputs" }
            div.scroll tabindex="0" role="region" aria-labelledby="outputs" {
                table {
                    thead {
                        tr {
                            th scope="col" { "output" }
                            @for name in ["rows", "before", "attempted", "admitted", "duplicate", "quarantined", "retried"] {
                                th.n scope="col" { (name) }
                            }
                            th scope="col" { "first event" }
                            th scope="col" { "last event" }
                        }
                    }
                    tbody {
                        @for output in &summary.outputs {
                            @let (counts, digest) = (&output.counts, output.event_id_digest.as_str());
                            tr {
                                th scope="row" {
                                    code { (output.start.output_id.as_str()) }
                                    small title=(digest) { "digest " (&digest[..16]) "…" }
                                }
                                @for n in [
                                    output.start.rows,
                                    output.start.resumed_at + counts.answered_earlier,
                                    counts.attempts,
                                    counts.admitted,
                                    counts.duplicates,
                                    counts.quarantined,
                                    counts.retries,
                                ] {
                                    td.n { (count(n)) }
                                }
                                @for time in [&output.first_ts_utc, &output.last_ts_utc] {
                                    td.t { @if let Some(time) = time { (moment(time)) } }
                                }
                            }
                        }
                    }
                }
            }
            p.note {
                "Digest over all event ids in order (equal for two runs that delivered the same): "
                code { (summary.event_id_digest.as_str()) }
            }
        }
        "\n"
    }
}

pub(super) fn checks(start: &Start) -> Markup {
    let refused = start.checks.iter().filter(|check| !check.ok()).count();
    let waived = start.checks.iter().filter(|check| check.verdict == Verdict::Waived).count();
    let mark = |verdict: &Verdict| match verdict {
        Verdict::Passed => ("good", "✓", "passed"),
        Verdict::Waived => ("warn", "~", "waived"),
        Verdict::Refused(_) => ("bad", "✕", "refused"),
    };
    html! {
        section aria-labelledby="checks" {
            h2 id="checks" { "Checks before the first event" }
            p.note {
                (start.checks.len() - refused - waived) " passed, " (waived) " waived by policy, " (refused) " refused."
            }
            ul.checks {
                @for check in &start.checks {
                    @let (class, mark, word) = mark(&check.verdict);
                    li class=(class) {
                        i role="img" aria-label=(word) { (mark) }
                        b { (check.name) }
                        span { (check.detail) }
                    }
                }
            }
        }
        "\n"
    }
}

/// What it is called everywhere, and how it was delivered.
pub(super) fn about(start: &Start, summary: Option<&Summary>) -> Markup {
    let (run, delivery, ready) = (&start.run, &start.delivery, &start.ready);
    let place = ready.as_ref().map_or_else(String::new, |ready| match (&ready.partition, &ready.offset) {
        (Some(shard @ TopicPlace::Text(_)), Some(number)) => {
            format!("{}, shard {shard}, sequence number {number}", ready.topic)
        }
        (Some(partition), Some(offset)) => format!("{}, partition {partition}, offset {offset}", ready.topic),
        _ => ready.topic.clone(),
    });
    let id = |id: Option<String>| id.unwrap_or_else(|| "none".to_owned());
    let mode =
        format!("{}, {} in flight, at most {} events ahead", delivery.mode, delivery.in_flight, count(delivery.window));
    let speed = match (delivery.speedup, delivery.rate) {
        (0.0, None) => "as fast as it goes".to_owned(),
        (0.0, Some(rate)) => format!("{} events/s", short(rate)),
        (speedup, None) => format!("{} × event time", short(speedup)),
        (speedup, Some(rate)) => format!("{} × event time, {} events/s at most", short(speedup), short(rate)),
    };
    let mut rows: Vec<(&str, String)> = vec![
        ("READY", id(run.message_id.as_ref().map(ToString::to_string))),
        ("read from", place),
        ("scenario run", run.scenario_run_id.to_string()),
        ("SR run", id(run.run_id.as_ref().map(ToString::to_string))),
        ("engine run", run.engine_run_id.to_string()),
        ("world", run.engine_run_root.clone()),
        ("stream views", run.stream_view_root.clone()),
        ("manifest fingerprint", run.world_key.manifest_fingerprint.to_string()),
        ("parameter hash", run.world_key.parameter_hash.to_string()),
        ("seed", run.world_key.seed.to_string()),
        ("pack", run.pack_key.to_string()),
        ("checkpoint scope", run.checkpoint_scope.to_string()),
        ("order", mode),
        ("pace", speed),
        ("producer", format!("{}, profile {}", start.producer.producer_id, start.producer.profile_id)),
        ("release", format!("{}, {}", start.producer.service_release_id, start.producer.environment)),
    ];
    if let Some(summary) = summary {
        rows.push(("ended", format!("{} UTC", moment(&summary.ended.to_string()))));
    }
    html! {
        section aria-labelledby="about" {
            h2 id="about" { "Run" }
            dl.about {
                @for (name, value) in rows { div { dt { (name) } dd { (value) } } }
            }
        }
        "\n"
    }
}

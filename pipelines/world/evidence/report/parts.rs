//! All of the page but the charts: verdict and figures, timeline, outputs, checks, identities.

use std::fmt::Write;

use super::elapsed;
use super::text::{Escaped, count, moment, short, span};
use crate::evidence::{End, Start, Status, Summary, Told};
use crate::model::{Micros, TopicPlace, Verdict};

/// How the run came out, as a word and a colour's class.
fn outcome(summary: Option<&Summary>) -> (&'static str, &'static str) {
    match summary.map(|summary| (summary.status, summary.end)) {
        None => ("without an end", "warn"),
        Some((Status::Streamed, End::Capped)) => ("streamed to its cap", "good"),
        Some((Status::Streamed, _)) => ("streamed", "good"),
        Some((_, End::Stopped)) => ("stopped", "warn"),
        Some(_) => ("failed", "bad"),
    }
}

pub(super) fn head(out: &mut String, told: &Told, title: &str) {
    let (word, class) = outcome(told.summary.as_ref());
    let run = &told.start.run;
    let _ = write!(
        out,
        "<header><p class=\"eyebrow\">Run report</p><h1>{}</h1>\
         <p class=\"lead\"><span class=\"pill {class}\">{word}</span> scenario {} · started {} UTC</p>",
        Escaped(title),
        Escaped(run.scenario_id.as_str()),
        moment(&told.start.started.to_string()),
    );
    if let Some(refusal) = told.summary.as_ref().and_then(|summary| summary.refusal.as_ref()) {
        let _ = write!(out, "<p class=\"refusal\">{}</p>", Escaped(refusal));
    }
    if let Some(summary) = &told.summary {
        figures(out, summary);
    }
    if let Some(bottleneck) = told.summary.as_ref().and_then(|summary| summary.bottleneck.as_ref()) {
        let _ = write!(out, "<p class=\"bound\">{}</p>", Escaped(&bottleneck.to_string()));
    }
    out.push_str("</header>\n");
}

fn figures(out: &mut String, summary: &Summary) {
    let totals = &summary.totals;
    let time = elapsed(summary);
    let mut all = vec![
        ("Events answered", count(totals.answered), format!("in {}", span(time))),
        (
            "Rate",
            format!("{}/s", short(totals.answered as f64 / (time / 1e6))),
            format!("{} in flight", summary.delivery.in_flight),
        ),
        (
            "Latency",
            span(summary.latency.p50_us as f64),
            format!("99 in 100 within {}", span(summary.latency.p99_us as f64)),
        ),
        ("Admitted", count(totals.admitted), format!("{} duplicates", count(totals.duplicates))),
        ("Retries", count(totals.retries), format!("of {} attempts", count(summary.pushes.attempts))),
    ];
    if totals.quarantined > 0 || summary.failures > 0 {
        all.push(("Quarantined", count(totals.quarantined), format!("{} without a decision", count(summary.failures))));
    }
    if summary.lag.max_us > 0 {
        all.push((
            "Lag",
            span(summary.lag.p50_us as f64),
            format!("99 in 100 within {}", span(summary.lag.p99_us as f64)),
        ));
    }
    out.push_str("<dl class=\"figures\">");
    for (label, value, note) in all {
        let _ = write!(out, "<div><dt>{label}</dt><dd>{}<small>{}</small></dd></div>", Escaped(&value), Escaped(&note));
    }
    out.push_str("</dl>");
}

/// What happened when: facts, deferrals, and the start and end of this attempt.
pub(super) fn timeline(out: &mut String, told: &Told) {
    let mut entries: Vec<(Option<Micros>, &str, &str, String)> = Vec::new();
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
        entries.push((at(&fact.ts_utc), class, what, detail(&fact.details)));
    }
    for stretch in told.deferral.iter().flat_map(|deferral| &deferral.stretches) {
        let detail = format!("{} · until {}", stretch.reasons.join("; "), moment(&stretch.to_ts_utc));
        entries.push((at(&stretch.from_ts_utc), "warn", "Put off", detail));
    }
    let resumed: u64 = told.start.outputs.iter().map(|output| output.resumed_at).sum();
    if resumed > 0 {
        let words = format!("{} rows had been delivered before", count(resumed));
        entries.push((Some(told.start.started), "", "Resumed", words));
    }
    // Equal times keep the order in which they were told.
    entries.sort_by_key(|(at, ..)| *at);
    out.push_str("<section aria-labelledby=\"timeline\"><h2 id=\"timeline\">Timeline</h2>\n<ol class=\"timeline\">");
    for (at, class, what, detail) in entries {
        let time = at.map(|at| moment(&at.to_string())).unwrap_or_default();
        let _ = write!(
            out,
            "<li class=\"{class}\"><time>{time}</time><div><b>{what}</b><span>{}</span></div></li>",
            Escaped(&detail)
        );
    }
    out.push_str("</ol></section>\n");
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

pub(super) fn outputs(out: &mut String, summary: &Summary) {
    out.push_str(
        "<section aria-labelledby=\"outputs\"><h2 id=\"outputs\">Outputs</h2>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"outputs\"><table><thead><tr>\
         <th scope=\"col\">output</th><th scope=\"col\" class=\"n\">rows</th><th scope=\"col\" class=\"n\">before</th>\
         <th scope=\"col\" class=\"n\">attempted</th><th scope=\"col\" class=\"n\">admitted</th>\
         <th scope=\"col\" class=\"n\">duplicate</th><th scope=\"col\" class=\"n\">quarantined</th>\
         <th scope=\"col\" class=\"n\">retried</th><th scope=\"col\">first event</th><th scope=\"col\">last event</th>\
         </tr></thead><tbody>",
    );
    for output in &summary.outputs {
        let counts = &output.counts;
        let digest = output.event_id_digest.as_str();
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code><small title=\"{digest}\">digest {}…</small></th>",
            Escaped(output.start.output_id.as_str()),
            &digest[..16]
        );
        for n in [
            output.start.rows,
            output.start.resumed_at + counts.answered_earlier,
            counts.attempts,
            counts.admitted,
            counts.duplicates,
            counts.quarantined,
            counts.retries,
        ] {
            let _ = write!(out, "<td class=\"n\">{}</td>", count(n));
        }
        for time in [&output.first_ts_utc, &output.last_ts_utc] {
            let _ = write!(out, "<td class=\"t\">{}</td>", time.as_deref().map(moment).unwrap_or_default());
        }
        out.push_str("</tr>");
    }
    let _ = write!(
        out,
        "</tbody></table></div>\n<p class=\"note\">Digest over all event ids in order \
         (equal for two runs that delivered the same): <code>{}</code></p></section>\n",
        summary.event_id_digest
    );
}

pub(super) fn checks(out: &mut String, start: &Start) {
    let refused = start.checks.iter().filter(|check| !check.ok()).count();
    let waived = start.checks.iter().filter(|check| check.verdict == Verdict::Waived).count();
    let _ = write!(
        out,
        "<section aria-labelledby=\"checks\"><h2 id=\"checks\">Checks before the first event</h2>\n\
         <p class=\"note\">{} passed, {waived} waived by policy, {refused} refused.</p>\n<ul class=\"checks\">",
        start.checks.len() - refused - waived
    );
    for check in &start.checks {
        let (class, mark, word) = match check.verdict {
            Verdict::Passed => ("good", "✓", "passed"),
            Verdict::Waived => ("warn", "~", "waived"),
            Verdict::Refused(_) => ("bad", "✕", "refused"),
        };
        let _ = write!(
            out,
            "<li class=\"{class}\"><i role=\"img\" aria-label=\"{word}\">{mark}</i><b>{}</b><span>{}</span></li>",
            Escaped(&check.name),
            Escaped(&check.detail)
        );
    }
    out.push_str("</ul></section>\n");
}

/// What it is called everywhere, and how it was delivered.
pub(super) fn about(out: &mut String, start: &Start, summary: Option<&Summary>) {
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
    out.push_str("<section aria-labelledby=\"about\"><h2 id=\"about\">Run</h2>\n<dl class=\"about\">");
    for (name, value) in rows {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(&value));
    }
    out.push_str("</dl></section>\n");
}

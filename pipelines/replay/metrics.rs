//! The metrics of a replay, read when they are asked for.
//!
//! ```text
//! Live (what became of events) ──┐
//! PushStats (attempts) ──────────┴──► families ──► Prometheus text
//! ```

use wsp::clock::Clock;
use wsp::deliver::{PushCounts, PushStats};
use wsp::telemetry::Family;

use super::keep::{Live, Totals};

wsp::metrics! {
    EVENTS: "wsp_replay_events_total", Counter, ["outcome"], "Events that are done with since the start: accepted by the receiver, dropped, or written to the dead letters.";
    ATTEMPTS: "wsp_replay_attempts_total", Counter, [], "Attempts to send an event.";
    RETRIES: "wsp_replay_retries_total", Counter, [], "Attempts beyond the first of an event.";
    FAILED: "wsp_replay_failed_attempts_total", Counter, ["cause"], "Attempts without a connection, whose connection was lost, without an answer in time, or answered 429 or 5xx.";
    UNANSWERED: "wsp_replay_unanswered_events", Gauge, [], "Events that are handed to delivery and not answered yet.";
    REQUESTS: "wsp_replay_open_requests", Gauge, [], "Requests that wait for their answer.";
    LAG: "wsp_replay_lag_seconds", Gauge, [], "How much later than due the last answered event was first sent.";
    EVENT_TIME: "wsp_replay_event_timestamp_seconds", Gauge, [], "The latest event time among answered events.";
    OUTAGE: "wsp_replay_outage_seconds", Gauge, [], "Since when the receiver takes nothing; 0 while it does.";
    BEFORE: "wsp_replay_earlier_events", Gauge, [], "Events that earlier starts had answered.";
    LATENCY: "wsp_replay_answer_latency_seconds", Histogram, [], "From an event's first attempt to its answer.";
}

/// The figures now; earlier starts had answered `before` events.
#[must_use]
pub fn families(live: &Live, stats: &PushStats, before: u64, clock: &impl Clock) -> Vec<Family> {
    let Totals { accepted, dropped, dead_letters, last, lag, .. } = live.totals();
    let (counts, on_the_way) = (stats.counts(), stats.on_the_way());
    let PushCounts { connect_failed, connection_lost, timed_out, throttled, server_errors, .. } = counts;
    let labelled = |metric, samples: &[(&str, u64)]| {
        Family::labelled(metric, samples.iter().map(|(label, count)| (vec![(*label).to_owned()], *count as f64)))
    };
    let outage = stats.gate_down_since().map_or(0.0, |since| clock.now().saturating_sub(since).as_secs_f64());
    let mut families = vec![
        labelled(&EVENTS, &[("accepted", accepted), ("dropped", dropped), ("dead_letter", dead_letters)]),
        Family::single(&ATTEMPTS, counts.attempts as f64),
        Family::single(&RETRIES, counts.retries as f64),
        labelled(
            &FAILED,
            &[
                ("no_connection", connect_failed),
                ("connection_lost", connection_lost),
                ("no_answer", timed_out),
                ("throttled", throttled),
                ("server_error", server_errors),
            ],
        ),
        Family::single(&UNANSWERED, on_the_way.unanswered as f64),
        Family::single(&REQUESTS, on_the_way.requests as f64),
        Family::single(&LAG, lag.as_secs_f64()),
        Family::single(&OUTAGE, outage),
        Family::single(&BEFORE, before as f64),
        Family::histogram(&LATENCY, live.latency()),
    ];
    // Before the first answer there is none.
    families.extend(last.map(|time| Family::single(&EVENT_TIME, time.0 as f64 / 1e6)));
    families
}

#[cfg(test)]
mod tests {
    use wsp::clock::SystemClock;
    use wsp::telemetry::{Kind, prometheus};

    use super::*;

    #[test]
    fn names_follow_the_rule_and_each_metric_is_there_from_the_start() {
        let units = ["events", "attempts", "retries", "requests", "seconds"];
        for metric in ALL {
            let counts_up = metric.kind == Kind::Counter;
            assert!(units.contains(&metric.unit()) && metric.name.ends_with("_total") == counts_up, "{}", metric.name);
            assert!(metric.name.starts_with("wsp_replay_") && metric.help.ends_with('.'), "{}", metric.name);
        }
        let text = prometheus::text(&families(&Live::default(), &PushStats::new(), 7, &SystemClock::new()));
        for metric in ALL {
            let first = metric.name == EVENT_TIME.name;
            assert_eq!(text.contains(&format!("# TYPE {} ", metric.name)), !first, "{}\n{text}", metric.name);
        }
        assert!(text.contains("wsp_replay_events_total{outcome=\"dead_letter\"} 0\n"), "{text}");
        assert!(text.contains("wsp_replay_earlier_events 7\n"), "{text}");
    }
}

//! Every metric, once: its name, its labels and its meaning. `wsp docs telemetry` makes the page `docs/telemetry.md` of this list.
//!
//! Names follow `wsp_[of what_]<unit>`, with `_total` at the end of a counter. The unit is the last word, in full and
//! without a prefix: what is counted (`events`, `rows`, `bytes`, …), `seconds` for time, or what is reported (`info`,
//! `epoch`, `ready`). A point in time is `timestamp_seconds`, since 1970.

wsp::metrics! {
    BUILD: "wsp_build_info", Gauge, ["version"], "Always 1; its label names the build.";
    STARTED: "wsp_start_timestamp_seconds", Gauge, [], "When the process started.";
    READY: "wsp_part_ready", Gauge, ["part"], "Whether a part answered when it was last asked, which `/metrics` does: 1 or 0. Parts: `control_topic`, `store`, `gate`, `lease`.";
    VERDICTS: "wsp_ready_verdicts_total", Counter, ["status", "reason"], "READY messages by verdict; the reason is empty where nothing was refused. One that waits counts once for each reason that keeps it, not at each look.";
    DEFERRED: "wsp_deferred_messages", Gauge, [], "READYs that this process has deferred and looks at again.";
    DEFERRAL_AGE: "wsp_deferral_age_seconds", Gauge, [], "How long the one of them has waited that has waited longest; 0 where none waits.";
    UNWRITTEN: "wsp_unwritten_verdicts", Gauge, [], "Ends of runs that the object store has not taken, kept on this machine until it does.";
    ACTIVE: "wsp_active_runs", Gauge, [], "Runs that are being streamed now: 0 or 1.";
    DUE: "wsp_due_events", Gauge, ["output"], "Events that the present run has to bring, from where it resumed and within the caps per output; with lanes, those of all lanes.";
    READ_BYTES: "wsp_read_bytes_total", Counter, [], "Bytes of stream views read to be streamed.";
    READ_ROWS: "wsp_read_rows_total", Counter, [], "Rows decoded.";
    MERGE: "wsp_merge_held_rows", Gauge, [], "Depth of the merge: rows that are decoded and not yet framed, because rows of other outputs come first.";
    FRAMED: "wsp_framed_events_total", Counter, [], "Events framed.";
    AHEAD: "wsp_framed_ahead_events", Gauge, [], "Events framed and not yet taken in for delivery: they wait for their time, for the rate or for the window.";
    UNANSWERED: "wsp_unanswered_events", Gauge, [], "Events taken in for delivery and not yet answered.";
    IN_FLIGHT: "wsp_in_flight_requests", Gauge, [], "Requests on their way to the gate.";
    ATTEMPTS: "wsp_attempts_total", Counter, ["outcome"], "Attempts by what came of them: answered, throttled (429), `server_error` (5xx), `connect_failed`, `connection_lost`, `timed_out`.";
    RETRIES: "wsp_retries_total", Counter, [], "Attempts beyond the first of an event.";
    DELAYED: "wsp_delayed_retries_total", Counter, [], "How often a retry found the budget of retries spent, and waited.";
    OPENINGS: "wsp_circuit_openings_total", Counter, [], "How often the gate was thought down, so that nothing was sent until it said it was up.";
    GATE_DOWN: "wsp_gate_down_seconds", Gauge, [], "How long the gate has taken no event since it was thought down; 0 while it is not.";
    AMBIGUOUS: "wsp_ambiguous_attempts_total", Counter, [], "Attempts without an answer that the gate may have admitted.";
    SENT_AGAIN: "wsp_resent_requests_total", Counter, [], "Requests sent once more within their attempt, because the kept connection had been closed when they went out.";
    FAILED: "wsp_failed_events_total", Counter, ["failure"], "Events that ended a run: rejected for good, or exhausted (tried as often as allowed).";
    ANSWERED: "wsp_answered_events_total", Counter, ["output", "decision"], "Events by the gate's decision.";
    LATENCY: "wsp_answer_latency_seconds", Histogram, [], "From an event's first attempt to its answer.";
    LAG: "wsp_schedule_lag_seconds", Histogram, [], "From when an event was due to its first attempt; zero without pacing.";
    HOT_KEY_EVENTS: "wsp_hot_key_events", Gauge, ["order_key"], "Events of the present run's most limiting order key that were answered while others of that key waited. By the column that has the key.";
    HOT_KEY_TIME: "wsp_hot_key_seconds", Gauge, ["order_key"], "How long such events took, one after the other, while a connection had nothing to send. Where it grows as fast as time passes, that key bounds the run.";
    EVENT_TIME: "wsp_event_time_timestamp_seconds", Gauge, ["output"], "Event time of the latest answered event of the present run.";
    EVENT_TIME_END: "wsp_event_time_end_timestamp_seconds", Gauge, ["output"], "Event time at which the present run's output ends.";
    SAVES: "wsp_saved_cursors_total", Counter, [], "Checkpoint cursors saved.";
    CHECKPOINT_AGE: "wsp_checkpoint_age_seconds", Gauge, [], "How long the oldest answered event of the present run has been waiting to be saved; 0 where all that is answered is saved.";
    EPOCH: "wsp_lease_epoch", Gauge, [], "Epoch of the hold on the present run's checkpoint, where the store counts them.";
}

#[cfg(test)]
mod tests {
    use wsp::telemetry::Kind;

    use super::*;

    const UNITS: &[&str] = &[
        "info", "seconds", "ready", "verdicts", "runs", "events", "bytes", "rows", "requests", "attempts", "retries",
        "cursors", "epoch", "messages", "openings",
    ];

    #[test]
    fn names_follow_the_rule() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("wsp_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(UNITS.contains(&metric.unit()), "{name} ends in {}", metric.unit());
            assert!(metric.kind != Kind::Histogram || metric.unit() == "seconds", "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}");
        }
    }

    #[test]
    fn names_are_used_once() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}

//! A run whose lanes workers share, as lines of text: the whole, then lane by lane.

use wsp_world::evidence::{LaneStatus, LanesStatus};

use super::table::{grouped, table};
use super::view::{Style, cut, left};

/// The lines, none longer than `width` characters.
pub(crate) fn lines(status: &LanesStatus, width: usize, style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&cut(&headline(status), width))];
    let mut rows = vec![["  lane", "state", "events", "rate", "event time", "worker"].map(str::to_owned).to_vec()];
    rows.extend(status.lanes.iter().map(row));
    lines.extend(table(&rows).lines().map(|line| cut(line, width)));
    lines
}

/// `8 lanes by order_key: 3 running, 5 streamed; 900 of 1,200 events  40/s  0:08 left`.
pub(crate) fn headline(status: &LanesStatus) -> String {
    let LanesStatus { count, by, round, answered, due, rate, eta_seconds, .. } = status;
    let attempt = if *round > 0 { format!(", attempt {}", round + 1) } else { String::new() };
    let (by, words) = (by.as_str(), status.words());
    let events = format!("{} of {} events", grouped(*answered), grouped(*due));
    let rate = grouped(rate.round() as u64);
    format!("{count} lanes by {by}{attempt}: {words}; {events}  {rate}/s  {} left", left(*eta_seconds))
}

fn row(lane: &LaneStatus) -> Vec<String> {
    // Seconds are enough for people.
    let time = lane.event_time_utc.as_deref().and_then(|time| time.get(..19)).unwrap_or("-").replace('T', " ");
    let state = match lane.reason {
        Some(reason) => format!("{} {reason}", lane.state.as_str()),
        None => lane.state.as_str().to_owned(),
    };
    let changed = match lane.takeovers.len() {
        0 => String::new(),
        1 => " (taken over once)".to_owned(),
        n => format!(" (taken over {n} times)"),
    };
    vec![
        format!("  {}", lane.index),
        state,
        grouped(lane.answered),
        format!("{}/s", grouped(lane.rate.round() as u64)),
        time,
        lane.worker.clone().unwrap_or_else(|| "-".to_owned()) + &changed,
    ]
}

#[cfg(test)]
mod tests {
    use wsp_world::evidence::{LaneState, Takeover};
    use wsp_world::model::{LaneKey, Micros, Reason};

    use super::*;

    fn lane(index: u32, state: LaneState) -> LaneStatus {
        LaneStatus {
            index,
            state,
            worker: Some("pod-1 pid 1 00ff".to_owned()),
            epoch: Some(2),
            since_utc: None,
            noted_utc: None,
            answered: 1_234,
            rate: 20.4,
            event_time_utc: Some("2026-01-01T05:12:33.250000Z".to_owned()),
            reason: None,
            ended_utc: None,
            takeovers: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_told_as_a_whole_and_by_lane() {
        let takeover = Takeover {
            from_worker: "pod-0".to_owned(),
            left: false,
            last_saved: None,
            to_worker: "pod-1".to_owned(),
            held: Micros(0),
            first_event: None,
        };
        let status = LanesStatus {
            message_id: None,
            platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
            started_utc: String::new(),
            count: 3,
            by: LaneKey::OrderKey,
            round: 1,
            answered: 3_702,
            due: 10_000,
            rate: 20.4,
            eta_seconds: Some(61.0),
            lanes: vec![
                LaneStatus { takeovers: vec![takeover], ..lane(0, LaneState::Running) },
                LaneStatus { worker: None, event_time_utc: None, rate: 0.0, ..lane(1, LaneState::Waiting) },
                LaneStatus { reason: Some(Reason::IgPushRejected), ..lane(2, LaneState::Failed) },
            ],
        };
        let told = lines(&status, 160, Style { color: false });
        assert_eq!(
            told[0],
            "3 lanes by order_key, attempt 2: 1 running, 1 waiting, 1 failed; 3,702 of 10,000 events  20/s  1:01 left"
        );
        for (line, words) in [
            (2, &["0", "running", "1,234", "20/s", "2026-01-01 05:12:33", "pod-1 pid 1 00ff (taken over once)"][..]),
            (3, &["1", "waiting", "0/s", "-"]),
            (4, &["2", "failed IG_PUSH_REJECTED"]),
        ] {
            assert!(words.iter().all(|word| told[line].contains(word)), "{words:?} in {}", told[line]);
        }
        assert!(lines(&status, 30, Style { color: false }).iter().all(|line| line.chars().count() <= 30));
    }
}

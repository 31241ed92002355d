use std::num::NonZeroU32;
use std::time::Duration;

use super::super::start::testing;
use super::super::tally::Tally;
use super::*;
use crate::model::{Decision, Delivered, Hex64, LaneKey, Position};

fn lanes() -> Lanes {
    Lanes { count: NonZeroU32::new(2).unwrap(), by: LaneKey::OrderKey }
}

/// The whole run: two outputs of 50 rows.
fn start() -> Start {
    let mut start = testing::start();
    start.limits = crate::evidence::Limits::default();
    start.outputs.iter_mut().for_each(|output| output.resumed_at = 0);
    start
}

/// An end of a lane that was answered so many events of each output, from `second` on.
fn end(index: u32, answered: [u64; 2], second: i64, refusal: Option<Refusal>) -> LaneEnd {
    let lane = lanes().lanes().nth(index as usize).unwrap();
    let mut tally = Tally::new(2).unwrap();
    for (rank, answered) in (0..).zip(answered) {
        for row in 0..answered {
            let delivered = Delivered {
                position: Position { rank, file: 0, row, seq: row },
                ts: Micros((second + row.cast_signed()) * 1_000_000),
                event_id: [row as u8; 32],
                decision: if row == 0 { Decision::Duplicate } else { Decision::Admit },
                attempts: 2,
                ambiguous: false,
                latency: Duration::from_millis(u64::from(index) + 1),
                lag: Duration::ZERO,
            };
            tally.count(&delivered, Duration::from_millis(70 * row));
        }
    }
    let start = Start { started: Micros(second * 1_000_000), ..start() };
    let status = if refusal.is_none() { Status::Streamed } else { Status::Failed };
    let how = if refusal.is_none() { End::Complete } else { End::Failed };
    let ended = Micros((second + 9) * 1_000_000);
    let counts = PushCounts { attempts: 2 * answered.iter().sum::<u64>(), ..PushCounts::default() };
    let summary = Summary::new(start, &tally, counts, status, how, refusal.as_ref(), ended);
    let verdict = Verdict {
        message_id: Hex64::sha256("message"),
        run_id: "0".repeat(32).parse().unwrap(),
        status,
        reason: refusal.map(|refusal| refusal.reason),
        emitted: summary.emitted,
        engine_run_root: None,
        scenario_id: None,
        waits_for: Vec::new(),
        ending: None,
        ts: ended,
    };
    let held_by = super::super::lane_note::tests::note("a", ended);
    LaneEnd { lane, verdict, summary: Some(Box::new(summary)), note: Some(held_by) }
}

#[test]
fn lanes_add_up_to_the_run() {
    let ends = [end(0, [30, 10], 0, None), end(1, [20, 40], 5, None)];
    let run = Summary::of_lanes(start(), lanes(), &ends);
    assert_eq!((run.status, run.end, run.emitted, run.totals.answered), (Status::Streamed, End::Complete, 100, 100));
    assert_eq!((run.totals.duplicates, run.totals.retries, run.pushes.attempts), (4, 100, 200));
    assert_eq!(run.outputs[0].counts.answered, 50);
    assert_eq!(run.outputs[0].first_ts_utc.as_deref(), Some("1970-01-01T00:00:00.000000Z"));
    assert_eq!(run.outputs[1].last_ts_utc.as_deref(), Some("1970-01-01T00:00:44.000000Z"));
    assert_eq!((run.ended, run.latency.max_us / 1000), (Micros(14_000_000), 2));
    // The second lane began five seconds later, in wall time and in event time.
    let wall = &run.series.wall;
    assert_eq!(wall.admitted.iter().sum::<u64>(), 96);
    assert_eq!(wall.duplicates[0], 2);
    assert_eq!(wall.duplicates[(5_000_000 / wall.bucket_us) as usize], 2);
    let event_time = &run.series.event_time;
    assert_eq!(event_time.outputs.iter().map(|counts| counts.iter().sum()).collect::<Vec<u64>>(), [50, 50]);
    assert_eq!(event_time.outputs[0][..6], [1, 1, 1, 1, 1, 2]);
    let told = run.lanes.unwrap();
    assert_eq!((told.lanes(), told.ends.len(), told.ends[1].answered), (Some(lanes()), 2, 60));
}

#[test]
fn a_row_that_no_lane_brought_is_found_unless_an_earlier_start_did() {
    let (whole, mut short) = (end(0, [30, 10], 0, None), end(1, [20, 39], 0, None));
    let run = Summary::of_lanes(start(), lanes(), &[whole.clone(), short.clone()]);
    assert_eq!((run.status, run.reason), (Status::Failed, Some(Reason::InternalError)));
    assert!(run.refusal.unwrap().contains("49 of 50 rows"));
    // The lane's last start began behind some rows of that output.
    short.summary.as_mut().unwrap().outputs[1].start.resumed_at = 3;
    let run = Summary::of_lanes(start(), lanes(), &[whole, short]);
    assert_eq!((run.status, run.emitted, run.totals.answered_earlier), (Status::Streamed, 100, 1));
    assert!(run.lanes.unwrap().ends[1].resumed);
    // More than there are rows is wrong whatever resumed.
    let run = Summary::of_lanes(start(), lanes(), &[end(0, [31, 10], 0, None), end(1, [20, 40], 0, None)]);
    assert_eq!(run.reason, Some(Reason::InternalError));
}

#[test]
fn one_lane_that_fails_fails_the_run() {
    let refusal = Refusal::new(Reason::IgPushRejected, "422");
    let mut bare = end(1, [0, 0], 0, Some(refusal.clone()));
    bare.summary = None;
    for failed in [end(1, [20, 3], 0, Some(refusal)), bare] {
        let run = Summary::of_lanes(start(), lanes(), &[end(0, [30, 10], 0, None), failed]);
        assert_eq!((run.status, run.end, run.reason), (Status::Failed, End::Failed, Some(Reason::IgPushRejected)));
        assert!(run.refusal.unwrap().starts_with("lane-1-of-2-by-order_key: IG_PUSH_REJECTED"));
        assert_eq!(
            run.lanes.unwrap().ends.iter().map(|end| end.status).collect::<Vec<_>>(),
            [Status::Streamed, Status::Failed]
        );
    }
}

#[test]
fn lanes_that_had_nothing_to_bring_leave_empty_series() {
    let mut start = start();
    start.outputs.iter_mut().for_each(|output| output.rows = 0);
    let run = Summary::of_lanes(start, lanes(), &[end(0, [0, 0], 0, None), end(1, [0, 0], 3, None)]);
    assert_eq!((run.status, run.emitted, run.series.event_time.from_ts_utc), (Status::Streamed, 0, None));
    assert_eq!(run.series.event_time.outputs.len(), 2);
}

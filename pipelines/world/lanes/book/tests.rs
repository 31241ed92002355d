use std::num::NonZeroU32;

use wsp::store::{Fault, MemoryStore};

use super::super::tasks::LaneAnchor;
use super::*;
use crate::evidence::{lane_tests, testing};
use crate::model::{LaneKey, Micros};
use crate::ready::{Parsed, message};

const GOLDEN: &[u8] = include_bytes!("../../../../tests/golden/ready/message.json");

pub(in crate::lanes) fn tasks(round: u32) -> TaskSet {
    let Ok(Parsed::Ready(ready)) = message::parse(GOLDEN, "fp.bus.control.v1") else { panic!("no READY") };
    TaskSet {
        schema: TASKS_SCHEMA.to_owned(),
        round,
        lanes: Lanes { count: NonZeroU32::new(3).unwrap(), by: LaneKey::OrderKey },
        facts_digest: Hex64::sha256("facts"),
        anchor: Some(LaneAnchor { utc: Micros(7), ts: Micros(-5) }),
        ready: *ready,
        start: testing::start(),
    }
}

fn book(store: &MemoryStore) -> LaneBook {
    let home = "platform_20260101T000000Z".parse().unwrap();
    LaneBook::new(Arc::new(store.clone()), &home, tasks(0).message_id()).unwrap()
}

fn verdict(status: Status) -> Verdict {
    Verdict {
        message_id: tasks(0).message_id().clone(),
        run_id: "0".repeat(32).parse().unwrap(),
        status,
        reason: (status == Status::Failed).then_some(Reason::IgPushRejected),
        emitted: 0,
        engine_run_root: None,
        scenario_id: None,
        waits_for: Vec::new(),
        ending: None,
        ts: Micros(9),
    }
}

fn note(reached: Option<Micros>) -> LaneNote {
    LaneNote { reached_ts_utc: reached.map(|at| at.to_string()), ..lane_tests::note("host", Micros(2)) }
}

/// A lane's end without a summary.
pub(in crate::lanes) fn end(index: usize, status: Status) -> LaneEnd {
    LaneEnd { lane: tasks(0).lanes.lanes().nth(index).unwrap(), verdict: verdict(status), summary: None, note: None }
}

fn run_end(ends: &[LaneEnd]) -> RunEnd {
    let summary = Summary::of_lanes(testing::start(), tasks(0).lanes, ends);
    RunEnd { verdict: verdict(summary.status), summary: Box::new(summary) }
}

#[tokio::test]
async fn tasks_read_back_as_they_were_made_and_are_made_once() {
    let store = MemoryStore::new("runs");
    let book = book(&store);
    assert!(matches!(book.current().await.unwrap(), Current::Vacant { round: 0, before: None }));
    let ours = tasks(0);
    assert_eq!(book.make(&ours).await.unwrap(), ours);
    // A worker that comes at the same moment has another clock; the first one's tasks count for both.
    let theirs = TaskSet { anchor: None, ..tasks(0) };
    assert_eq!(book.make(&theirs).await.unwrap(), ours);
    let Current::Open(found) = book.current().await.unwrap() else { panic!("not open") };
    assert_eq!((*found).clone(), ours);
    assert_eq!(found.encode().unwrap(), ours.encode().unwrap());
    let names: Vec<_> = store.contents().into_keys().collect();
    let folder = "fraud-platform/platform_20260101T000000Z/wsp/lanes";
    assert_eq!(names, [format!("{folder}/{}/0/tasks.json", ours.message_id())]);
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_all_tasks_or_none() {
    let whole = MemoryStore::new("runs");
    book(&whole).make(&tasks(0)).await.unwrap();
    for call in 0..whole.calls() {
        for fault in [Fault::Before, Fault::After, Fault::Torn] {
            let store = MemoryStore::new("runs");
            store.crash_at(call, fault);
            book(&store).make(&tasks(0)).await.unwrap_err();
            store.heal();
            let again = TaskSet { facts_digest: Hex64::sha256("facts"), anchor: None, ..tasks(0) };
            let made = book(&store).make(&again).await.unwrap();
            assert!(made == tasks(0) || made == again, "call {call}, {fault:?}");
            assert_eq!(store.contents().len(), 1, "call {call}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn tasks_for_other_lanes_facts_or_views_are_foreign() {
    let own = tasks(0);
    assert_eq!(tasks(0).fit(&own), Ok(()));
    let mut lanes = tasks(0);
    lanes.lanes.by = LaneKey::EventId;
    let mut views = tasks(0);
    views.start.outputs[1].content = Hex64::sha256("changed");
    let mut scope = tasks(0);
    scope.start.run.checkpoint_scope = Hex64::sha256("another attempt");
    let facts = TaskSet { facts_digest: Hex64::sha256("other"), ..tasks(0) };
    for (other, word) in [(lanes, "lanes 3 by event_id"), (views, "the views"), (scope, "scope"), (facts, "facts")] {
        let refusal = other.fit(&own).unwrap_err();
        assert_eq!(refusal.reason, Reason::LaneTasksForeign);
        assert!(refusal.detail.contains(word), "{refusal}");
    }
    // Another clock, profile or place on the topic makes no difference.
    let mut later = TaskSet { anchor: None, ..tasks(0) };
    later.start.started = Micros(99);
    assert_eq!(later.fit(&own), Ok(()));
}

#[tokio::test]
async fn lanes_are_taken_left_and_ended_once() {
    let store = MemoryStore::new("runs");
    let book = book(&store);
    let round = book.round(&book.make(&tasks(0)).await.unwrap()).unwrap();
    assert_eq!(round.look().await.unwrap(), Look::default());
    let lanes: Vec<_> = tasks(0).lanes.lanes().collect();
    for lane in &lanes {
        round.note(*lane, &note(None)).await.unwrap();
    }
    round.note(lanes[0], &note(Some(Micros(5)))).await.unwrap();
    assert_eq!(round.noted(lanes[0]).await.unwrap().unwrap().reached(), Some(Micros(5)));
    assert_eq!(round.left(lanes[1]).await.unwrap(), None);
    round.leave(lanes[1], &note(Some(Micros(8)))).await.unwrap();
    assert_eq!(round.noted(lanes[1]).await.unwrap(), None);
    assert_eq!(round.left(lanes[1]).await.unwrap(), Some(note(Some(Micros(8)))), "its last word stays");
    assert!(round.end(&end(2, Status::Streamed)).await.unwrap());
    assert!(!round.end(&end(2, Status::Failed)).await.unwrap(), "a lane ends once");
    let look = round.look().await.unwrap();
    assert_eq!((look.taken.clone(), look.ended.clone(), look.running()), ([0, 2].into(), [2].into(), 1));
    assert!(round.has_ended(lanes[2]).await.unwrap() && !round.has_ended(lanes[1]).await.unwrap());
    assert_eq!(round.ends().await.unwrap(), [end(2, Status::Streamed)]);
}

#[tokio::test]
async fn one_worker_decides_and_a_failed_round_is_followed_by_the_next() {
    let store = MemoryStore::new("runs");
    let book = book(&store);
    let round = book.round(&book.make(&tasks(0)).await.unwrap()).unwrap();
    let ends = [end(0, Status::Streamed), end(1, Status::Failed), end(2, Status::Streamed)];
    for end in &ends {
        round.end(end).await.unwrap();
    }
    let ours = run_end(&ends);
    assert_eq!(round.decide(ours.clone()).await.unwrap(), (ours.clone(), true));
    let later = RunEnd { verdict: Verdict { ts: Micros(10), ..ours.verdict.clone() }, ..ours.clone() };
    assert_eq!(round.decide(later).await.unwrap(), (ours.clone(), false));
    assert!(round.look().await.unwrap().decided);

    let Current::Vacant { round: 1, before: Some(before) } = book.current().await.unwrap() else { panic!("no round") };
    assert_eq!(*before, (tasks(0), ours.clone()));
    assert_eq!(book.newest().await.unwrap(), Some(tasks(0)));
    let next = book.round(&book.make(&tasks(1)).await.unwrap()).unwrap();
    assert_eq!(book.newest().await.unwrap(), Some(tasks(1)));
    // What was streamed is so before anybody can take a lane of this round.
    assert_eq!(next.look().await.unwrap().ended, [0, 2].into());
    next.end(&end(1, Status::Streamed)).await.unwrap();
    let whole = RunEnd { verdict: verdict(Status::Streamed), ..ours };
    next.decide(whole.clone()).await.unwrap();
    let Current::Ended(ended) = book.current().await.unwrap() else { panic!("not ended") };
    assert_eq!(*ended, whole);
}

#[test]
fn the_time_left_of_a_paced_run_counts_from_its_anchor() {
    let mut paced = tasks(0);
    paced.start.outputs[0].view_last_ts_utc = Some(Micros(999_999_995).to_string());
    // Event time -5 µs is due at 7 µs; 1,000 s of it pass at 600 to one.
    paced.start.outputs[1].view_last_ts_utc = None;
    let seconds = |tasks: &TaskSet, now| tasks.paced_left(Micros(now)).map(|left| left.as_millis());
    assert_eq!(seconds(&paced, 7), Some(1_666));
    assert_eq!(seconds(&paced, 9_000_000), Some(0), "it is late");
    paced.start.delivery.speedup = 0.0;
    assert_eq!(seconds(&paced, 7), None);
    assert_eq!(seconds(&TaskSet { anchor: None, ..tasks(0) }, 7), None);
}

use proptest::prelude::*;

use super::*;

const EARLIER: Duration = Duration::from_millis(99_999);
const NOW: Duration = Duration::from_secs(100);

/// A message without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note;

impl Message for Note {
    fn is_same(&self, _: &Self) -> bool {
        true
    }
}

fn note() -> Note {
    Note
}

fn taken(hold: &mut Hold<Note, i32, i64>) -> u64 {
    let offer = hold.offer().unwrap();
    assert!(offer.claim.take());
    offer.id
}

#[test]
fn a_verdict_moves_the_offset_past_it_and_what_was_passed_over() {
    let mut hold = Hold::<Note, i32, i64>::default();
    hold.assign(0);
    assert!(!hold.arrived(0, 7, None) && hold.arrived(0, 8, Some(note())) && !hold.arrived(0, 9, None));
    assert_eq!(hold.settled(), [(0, 7)]);
    let id = taken(&mut hold);
    assert!(hold.settle(id, Settlement::Verdict, NOW));
    assert_eq!(hold.settled(), [(0, 9)]);
    assert_eq!(hold.settled(), []);
}

#[test]
fn a_deferred_message_waits_out_its_pause_and_holds_up_no_other() {
    let mut hold = Hold::<Note, i32, i64>::default();
    for offset in 0..2 {
        hold.arrived(0, offset, Some(note()));
    }
    let (first, second) = (taken(&mut hold), taken(&mut hold));
    assert!(!hold.settle(first, Settlement::Deferred, NOW));
    assert!(hold.settle(second, Settlement::Verdict, NOW));
    assert_eq!(hold.settled(), [], "the deferred one comes again after a restart");
    hold.wake(EARLIER);
    assert!(!hold.waits());
    hold.wake(NOW);
    assert_eq!(taken(&mut hold), first);
    hold.settle(first, Settlement::Verdict, NOW);
    assert_eq!(hold.settled(), [(0, 1)]);
}

#[test]
fn what_is_due_next_is_what_is_due_first() {
    let mut hold = Hold::<Note, i32, i64>::default();
    for offset in 0..3 {
        hold.arrived(0, offset, Some(note()));
    }
    let ids = [taken(&mut hold), taken(&mut hold), taken(&mut hold)];
    assert_eq!(hold.next_due(), None);
    for (id, seconds) in ids.into_iter().zip([30, 10, 20]) {
        hold.settle(id, Settlement::Deferred, NOW + Duration::from_secs(seconds));
    }
    assert_eq!(hold.next_due(), Some(NOW + Duration::from_secs(10)));
}

#[test]
fn the_verdict_on_a_revoked_partition_commits_nothing() {
    let mut hold = Hold::<Note, i32, i64>::default();
    hold.arrived(3, 0, Some(note()));
    let id = taken(&mut hold);
    hold.revoke(&3);
    assert!(!hold.settle(id, Settlement::Verdict, NOW));
    assert_eq!(hold.settled(), []);
    assert_eq!(hold.len(), 0);
}

#[test]
fn an_offer_not_yet_taken_is_withdrawn_with_its_partition() {
    let mut hold = Hold::<Note, i32, i64>::default();
    hold.arrived(0, 0, Some(note()));
    hold.arrived(0, 1, Some(note()));
    let offer = hold.offer().unwrap();
    hold.revoke(&0);
    assert!(!offer.claim.take());
    assert_eq!((hold.len(), hold.waits()), (0, false));
}

#[test]
fn a_message_that_returns_while_its_run_goes_on_is_not_given_out_twice() {
    let mut hold = Hold::<Note, i32, i64>::default();
    hold.arrived(0, 4, Some(note()));
    let id = taken(&mut hold);
    hold.revoke(&0);
    hold.assign(0);
    assert!(!hold.arrived(0, 4, Some(note())));
    assert!(!hold.waits());
    assert_eq!(hold.settled(), []);
    assert!(hold.settle(id, Settlement::Verdict, NOW), "its verdict counts again");
    assert_eq!(hold.settled(), [(0, 4)]);
}

#[test]
fn a_rewound_partition_begins_anew() {
    let mut hold = Hold::<Note, i32, i64>::default();
    hold.arrived(0, 10, None);
    assert!(hold.arrived(0, 2, Some(note())));
    let id = taken(&mut hold);
    assert!(hold.settle(id, Settlement::Verdict, NOW));
    assert_eq!(hold.settled(), [(0, 2)]);
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(i32),
    Pass(i32),
    Take,
    Settle(usize, bool),
    Rebalance(i32),
    Wake,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2).prop_map(Step::Arrive),
        1 => (0..2).prop_map(Step::Pass),
        3 => Just(Step::Take),
        3 => (0..64_usize, any::<bool>()).prop_map(|(which, verdict)| Step::Settle(which, verdict)),
        1 => (0..2).prop_map(Step::Rebalance),
        1 => Just(Step::Wake),
    ]
}

proptest! {
    /// A broker that gives messages from the committed offset on, and a taker that settles in any order: an offset is
    /// never committed past a message that had no verdict, and in the end every message has had one.
    #[test]
    fn no_message_is_lost_whatever_is_settled_and_revoked(steps in prop::collection::vec(step(), 1..120)) {
        const LOG: i64 = 12;
        let note = note();
        let mut hold = Hold::<Note, i32, i64>::default();
        let mut committed = [0_i64; 2];
        let mut position = [0_i64; 2];
        let mut decided = [[false; LOG as usize]; 2];
        let mut out: Vec<(u64, usize, usize)> = Vec::new();
        let finish = (0..400).map(|at| match at % 5 {
            0 => Step::Arrive(0),
            1 => Step::Arrive(1),
            2 => Step::Wake,
            3 => Step::Take,
            _ => Step::Settle(0, true),
        });
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Arrive(partition) | Step::Pass(partition) => {
                    let at = partition as usize;
                    let offset = position[at];
                    if offset < LOG {
                        position[at] += 1;
                        // A message is passed over or not each time it is read.
                        if offset % 4 == 3 {
                            decided[at][offset as usize] = true;
                            hold.arrived(partition, offset, None);
                        } else {
                            hold.arrived(partition, offset, Some(note));
                        }
                    }
                }
                Step::Take => {
                    if let Some(offer) = hold.offer() {
                        prop_assert!(offer.claim.take());
                        out.push((offer.id, offer.partition as usize, offer.offset as usize));
                    }
                }
                Step::Settle(which, verdict) if !out.is_empty() => {
                    let (id, partition, offset) = out.swap_remove(which % out.len());
                    let settlement = if verdict { Settlement::Verdict } else { Settlement::Deferred };
                    decided[partition][offset] |= verdict;
                    hold.settle(id, settlement, NOW);
                }
                Step::Settle(..) => {}
                Step::Rebalance(partition) => {
                    hold.revoke(&partition);
                    hold.assign(partition);
                    position[partition as usize] = committed[partition as usize];
                }
                Step::Wake => hold.wake(NOW),
            }
            for (partition, offset) in hold.settled() {
                let at = partition as usize;
                committed[at] = offset + 1;
                prop_assert!(decided[at][..committed[at] as usize].iter().all(|decided| *decided));
            }
        }
        prop_assert!(decided.iter().flatten().all(|decided| *decided));
        prop_assert_eq!(committed, [LOG; 2]);
    }
}

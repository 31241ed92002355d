//! What the poller decides, without a broker.

use super::super::super::letter::{Letter, TOPIC};
use super::*;
use crate::clock::SystemClock;

const HOUR: Duration = Duration::from_hours(1);

fn poller() -> Poller<Letter, SystemClock> {
    let options = KafkaOptions::new("127.0.0.1:1", TOPIC, "wsp");
    let consumer = options.client_config().unwrap().create_with_context(Watch::default()).unwrap();
    let (offers, _) = mpsc::channel(1);
    Poller {
        options,
        clock: SystemClock::new(),
        consumer: Arc::new(consumer),
        offers,
        met: Met::default(),
        desk: mpsc::unbounded_channel(),
        state: State::default(),
    }
}

#[test]
fn reading_rests_at_the_bound_and_while_one_waits_to_be_taken() {
    for bound in [0, 1, 2] {
        let mut state = State::<Letter>::default();
        for held in 0..bound.max(1) {
            assert!(!state.is_full(bound), "{held} of {bound}");
            state.hold.arrived(0, i64::try_from(held).unwrap(), Some(Letter('a')));
            assert!(state.is_full(bound), "it waits");
            state.hold.offer().unwrap();
        }
        assert!(state.is_full(bound));
    }
}

#[test]
fn once_reads_each_partition_to_the_end_that_it_had_at_the_start() {
    let mut state = State::<Letter> { ends: Some(BTreeMap::from([(0, 3), (1, 0)])), ..State::default() };
    assert!(state.is_wanted(0, 1) && state.at_end.is_empty());
    assert!(state.is_wanted(0, 2) && state.at_end.contains(&0), "the last one that was there");
    assert!(!state.is_wanted(0, 3) && !state.is_wanted(1, 0));
    assert_eq!(state.at_end, BTreeSet::from([0, 1]));
    let mut state = State::<Letter>::default();
    assert!(state.is_wanted(0, 7) && state.at_end.is_empty(), "without an end all of them count");
}

#[test]
fn stored_offsets_are_committed_once_each_of_them_is() {
    let stored = BTreeMap::from([(0, 5), (1, 7)]);
    let committed = |offsets: [Offset; 2]| list(TOPIC, (0..).zip(offsets));
    for (offsets, is_covered) in [
        ([Offset::Offset(5), Offset::Offset(7)], true),
        ([Offset::Offset(6), Offset::Offset(9)], true),
        ([Offset::Offset(5), Offset::Offset(6)], false),
        ([Offset::Offset(4), Offset::Offset(7)], false),
        ([Offset::Invalid, Offset::Offset(7)], false),
    ] {
        assert_eq!(covers(&committed(offsets), &stored), is_covered, "{offsets:?}");
    }
    assert!(covers(&list(TOPIC, [(2, Offset::Offset(0))].into_iter()), &stored), "another partition");
}

#[test]
fn a_partition_that_is_read_again_forgets_that_reading_was_refused() {
    let mut poller = poller();
    poller.hear(Event::Assigned(vec![0])).unwrap();
    poller.hear(Event::Failed(Trouble::Rights, "not authorized".to_owned())).unwrap();
    assert!(poller.state.outage.lost(poller.clock.now() + HOUR, HOUR / 2).is_some());
    poller.take(Some(Err(KafkaError::PartitionEOF(0))));
    assert_eq!(poller.state.outage.lost(poller.clock.now() + HOUR, HOUR / 2), None);
    assert!(poller.state.at_end.contains(&0));
}

use super::super::api::Record;
use super::super::double::{sequence, shard_id};
use super::*;

const NOW: Duration = Duration::from_secs(100);
const PAUSE: Duration = Duration::from_secs(1);
const CATCH_UP: Duration = Duration::from_millis(250);

fn listed(number: usize, parents: &[usize], end: Option<u64>) -> Listed {
    Listed {
        id: shard_id(number),
        parents: parents.iter().map(|parent| shard_id(*parent)).collect(),
        start: sequence(number as u64),
        end: end.map(sequence),
    }
}

fn shards(list: &[Listed], kept: &[ShardPosition]) -> Shards {
    let mut shards = Shards::default();
    shards.listed(list.to_vec(), &kept_by_shard(kept));
    shards
}

fn kept_by_shard(kept: &[ShardPosition]) -> BTreeMap<ShardId, ShardPosition> {
    kept.iter().map(|kept| (kept.shard_id.clone(), kept.clone())).collect()
}

fn kept(shard: usize, number: u64, drained: bool) -> ShardPosition {
    ShardPosition { shard_id: shard_id(shard), sequence_number: sequence(number), drained }
}

/// The shards that may be read, in any order.
fn readable(shards: &Shards) -> Vec<ShardId> {
    shards.known.values().filter(|shard| shards.may_be_read(shard)).map(|shard| shard.listed.id.clone()).collect()
}

fn batch(numbers: &[u64], next: bool, caught_up: bool) -> Batch {
    let record = |number: &u64| Record { sequence: sequence(*number), key: None, data: bytes::Bytes::new() };
    Batch { records: numbers.iter().map(record).collect(), next: next.then(|| "i".to_owned()), caught_up }
}

fn read(shards: &mut Shards, shard: usize, batch: &Batch) -> bool {
    shards.read(&shard_id(shard), batch, NOW, PAUSE, CATCH_UP)
}

#[test]
fn a_child_is_read_when_all_its_parents_are_read_to_their_ends() {
    let split = [listed(0, &[], Some(50)), listed(1, &[], Some(60)), listed(2, &[0, 1], None)];
    let mut shards = shards(&split, &[]);
    assert_eq!(readable(&shards), [shard_id(0), shard_id(1)]);
    assert!(!read(&mut shards, 0, &batch(&[40], true, true)), "more may be left in a closed shard");
    assert!(read(&mut shards, 0, &batch(&[], false, true)));
    assert_eq!(readable(&shards), [shard_id(1)]);
    assert!(read(&mut shards, 1, &batch(&[], false, true)));
    assert_eq!(readable(&shards), [shard_id(2)]);
}

#[test]
fn a_parent_that_is_not_listed_or_was_drained_before_holds_up_nobody() {
    assert_eq!(readable(&shards(&[listed(3, &[1, 2], None)], &[])), [shard_id(3)]);
    let list = [listed(1, &[], Some(9)), listed(3, &[1], None)];
    assert_eq!(readable(&shards(&list, &[kept(1, 8, true)])), [shard_id(3)]);
    assert_eq!(readable(&shards(&list, &[kept(1, 8, false)])), [shard_id(1)]);
}

#[test]
fn a_server_that_never_ends_a_closed_shard_does_not_hold_up_its_children() {
    let mut shards = shards(&[listed(0, &[], Some(50)), listed(1, &[0], None)], &[]);
    assert!(read(&mut shards, 0, &batch(&[], true, true)), "closed, and nothing is left");
    assert_eq!(readable(&shards), [shard_id(0), shard_id(1)]);
    assert!(!read(&mut shards, 0, &batch(&[51], true, true)), "it is read on, and its children too");
    assert_eq!(readable(&shards), [shard_id(0), shard_id(1)]);
}

#[test]
fn reading_begins_after_what_is_kept_of_this_stream() {
    let start = |kept: &[ShardPosition]| {
        let shards = shards(&[listed(7, &[], None)], kept);
        shards.next(NOW, false)
    };
    let iterator = |start| Some(Next::Iterator(shard_id(7), start));
    assert_eq!(start(&[]), iterator(Start::TrimHorizon));
    assert_eq!(start(&[kept(7, 9, false)]), iterator(Start::After(sequence(9))));
    assert_eq!(start(&[kept(7, 6, true)]), iterator(Start::TrimHorizon), "of an earlier stream of this name");
}

#[test]
fn a_shard_with_more_is_read_sooner_than_one_at_its_end_and_none_more_than_five_times_a_second() {
    let mut shards = shards(&[listed(0, &[], None), listed(1, &[], None)], &[]);
    read(&mut shards, 0, &batch(&[3], true, true));
    read(&mut shards, 1, &batch(&[4], true, false));
    assert_eq!(shards.next(NOW, false), None);
    assert_eq!(shards.next_due(false), Some(NOW + CATCH_UP));
    assert_eq!(shards.next(NOW + CATCH_UP, false), Some(Next::Read(shard_id(1), "i".to_owned())));
    assert!(Duration::from_secs(1) / 5 <= CATCH_UP);
}

#[test]
fn a_throttled_shard_waits_longer_each_time_and_the_others_go_on() {
    let mut shards = shards(&[listed(0, &[], None), listed(1, &[], None)], &[]);
    let waits: Vec<_> = (0..7)
        .map(|_| {
            shards.put_off(&shard_id(0), NOW);
            shards.known[&shard_id(0)].due.saturating_sub(NOW)
        })
        .collect();
    assert_eq!(
        waits.iter().map(Duration::as_millis).collect::<Vec<_>>(),
        [500, 1000, 2000, 4000, 8000, 10_000, 10_000]
    );
    assert!(matches!(shards.next(NOW, false), Some(Next::Iterator(shard, _)) if shard == shard_id(1)));
    read(&mut shards, 0, &batch(&[], true, true));
    shards.put_off(&shard_id(0), NOW);
    assert_eq!(shards.known[&shard_id(0)].due, NOW + backoff(1), "an answer ends the row");
}

#[test]
fn an_expired_iterator_is_renewed_after_the_last_record_at_once_and_then_with_pauses() {
    let mut shards = shards(&[listed(0, &[], None)], &[]);
    read(&mut shards, 0, &batch(&[5], true, false));
    shards.renew(&shard_id(0), NOW);
    let renewed = Some(Next::Iterator(shard_id(0), Start::After(sequence(5))));
    assert_eq!(shards.next(NOW + CATCH_UP, false), renewed);
    shards.iterator(&shard_id(0), "j".to_owned());
    shards.renew(&shard_id(0), NOW + CATCH_UP);
    assert_eq!(shards.next(NOW + CATCH_UP, false), None, "the new one expired too");
    assert_eq!(shards.next(NOW + CATCH_UP + backoff(1), false), renewed);
}

#[test]
fn once_reads_each_shard_to_its_end_and_closed_ones_to_the_last_record() {
    let mut shards = shards(&[listed(0, &[], Some(50)), listed(1, &[0], None)], &[]);
    assert!(!shards.all_read());
    read(&mut shards, 0, &batch(&[5], true, true));
    assert!(!shards.all_read() && shards.next_due(true).is_some(), "it may have been closed after this");
    read(&mut shards, 0, &batch(&[], true, true));
    assert!(!shards.all_read(), "the child is not read yet");
    read(&mut shards, 1, &batch(&[6], true, true));
    assert!(shards.all_read());
    assert_eq!(shards.next_due(true), None);
}

#[test]
fn a_position_that_is_none_of_the_shards_is_dropped_once() {
    let mut shards = shards(&[listed(0, &[], None)], &[kept(0, 4, false)]);
    assert!(shards.rewind(&shard_id(0)));
    assert_eq!(shards.next(NOW, false), Some(Next::Iterator(shard_id(0), Start::TrimHorizon)));
    assert!(!shards.rewind(&shard_id(0)));
    assert!(shards.rewind(&shard_id(9)), "a shard that is no longer listed refuses nothing");
}

#[test]
fn a_shard_of_a_stream_made_anew_between_two_looks_is_another_shard() {
    let mut shards = shards(&[listed(0, &[], Some(50))], &[]);
    read(&mut shards, 0, &batch(&[40], false, true));
    assert!(readable(&shards).is_empty(), "drained");
    let list = vec![Listed { start: sequence(60), ..listed(0, &[], None) }];
    shards.listed(list, &kept_by_shard(&[kept(0, 40, true)]));
    assert_eq!(shards.next(NOW, false), Some(Next::Iterator(shard_id(0), Start::TrimHorizon)));
}

#[test]
fn a_drained_parent_lets_nobody_go_while_its_own_parent_is_not_read() {
    let list = [listed(0, &[], Some(50)), listed(1, &[0], Some(60)), listed(2, &[1], None)];
    let mut shards = shards(&list, &[kept(1, 60, true)]);
    assert_eq!(readable(&shards), [shard_id(0)]);
    read(&mut shards, 0, &batch(&[], false, true));
    assert_eq!(readable(&shards), [shard_id(2)]);
}

#[test]
fn shards_that_name_each_other_as_parents_end_in_no_loop() {
    let list = [listed(0, &[1], Some(50)), listed(1, &[0], Some(60)), listed(2, &[1], None)];
    assert!(readable(&shards(&list, &[])).is_empty());
    let drained = [kept(0, 50, true), kept(1, 60, true)];
    assert_eq!(readable(&shards(&list, &drained)), [shard_id(2)]);
}

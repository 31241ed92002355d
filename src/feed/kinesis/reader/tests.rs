//! The reader against a stream, step by step: every call, every fault, every crash is a step of the test.

mod any_steps;

use super::super::super::letter::{Letter, TOPIC};
use super::super::double::{Double, sequence, shard_id};
use super::*;

fn options() -> Arc<KinesisOptions> {
    Arc::new(KinesisOptions { max_held: 4, ..KinesisOptions::new("control", TOPIC) })
}

/// A consumer, its stream, and what it keeps.
struct Bench {
    stream: Double,
    options: Arc<KinesisOptions>,
    reader: Reader<Letter>,
    now: Duration,
    kept: BTreeMap<ShardId, ShardPosition>,
}

impl Bench {
    fn new(options: Arc<KinesisOptions>) -> Self {
        let reader = Reader::new(Arc::clone(&options), Vec::new(), Met::default());
        Self { stream: Double::default(), options, reader, now: Duration::from_secs(1), kept: BTreeMap::new() }
    }

    fn of(shards: usize) -> Self {
        let bench = Self::new(options());
        bench.stream.create(shards);
        bench
    }

    /// Lets time pass until there is a call to make, and makes it. `false` where there is none to make.
    fn step(&mut self) -> Result<bool, FeedError> {
        if self.reader.request(self.now).is_none() {
            let Some(due) = self.reader.next_due() else { return Ok(false) };
            self.now = due.max(self.now);
            self.reader.wake(self.now);
        }
        let Some(request) = self.reader.request(self.now) else { return Ok(false) };
        let answer = match request {
            Request::List => Answer::List(self.stream.list_now()),
            Request::Iterator(shard, start) => {
                let answer = self.stream.iterator_now(&shard, &start);
                Answer::Iterator(shard, answer)
            }
            Request::Read(shard, iterator) => Answer::Read(shard, self.stream.read_now(&iterator)),
        };
        self.reader.answered(answer, self.now).map(|()| true)
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step().unwrap();
        }
    }

    fn take(&mut self) -> Option<(u64, ShardId, SequenceNumber)> {
        let (offer, _) = self.reader.offer()?;
        Some((offer.id, offer.partition, offer.offset))
    }

    /// Takes what comes within some steps, and settles it.
    fn settle_all(&mut self) -> Vec<SequenceNumber> {
        let mut taken = Vec::new();
        for _ in 0..60 {
            self.step().unwrap();
            while let Some((id, _, sequence)) = self.take() {
                self.reader.settle(id, Settlement::Verdict, self.now);
                taken.push(sequence);
            }
        }
        taken
    }

    fn save(&mut self) {
        for position in self.reader.unsaved() {
            self.kept.insert(position.shard_id.clone(), position);
        }
    }

    fn restart(&mut self) {
        let kept = self.kept.values().cloned().collect();
        self.reader = Reader::new(Arc::clone(&self.options), kept, Met::default());
    }

    fn error(&mut self) -> FeedError {
        (0..200).find_map(|_| self.step().err()).expect("the feed ends")
    }
}

#[test]
fn a_restart_goes_on_after_the_last_settled_record_of_each_shard() {
    let mut bench = Bench::of(2);
    for shard in [0, 0, 1] {
        bench.stream.put(shard, b"a");
    }
    assert_eq!(bench.settle_all().len(), 3);
    bench.save();
    let new = bench.stream.put(0, b"b");
    bench.restart();
    assert_eq!(bench.settle_all(), [new]);
}

#[test]
fn a_drained_shard_is_not_read_again_after_a_restart() {
    let mut bench = Bench::of(1);
    bench.stream.put(0, b"a");
    bench.stream.split(0);
    bench.settle_all();
    bench.save();
    assert!(bench.kept[&shard_id(0)].drained);
    bench.restart();
    let before = bench.stream.calls("iterator");
    bench.settle_all();
    assert_eq!(bench.stream.calls("iterator") - before, 2, "one for each child");
}

#[test]
fn an_empty_closed_shard_is_kept_as_drained_by_its_end() {
    let mut bench = Bench::of(1);
    bench.stream.split(0);
    bench.settle_all();
    bench.save();
    assert_eq!(bench.kept[&shard_id(0)].sequence_number, sequence(2));
    assert!(bench.kept[&shard_id(0)].drained);
}

#[test]
fn a_shard_with_a_deferred_message_is_not_drained() {
    let mut bench = Bench::of(1);
    bench.stream.put(0, b"a");
    bench.stream.split(0);
    bench.steps(3);
    let (id, ..) = bench.take().unwrap();
    bench.reader.settle(id, Settlement::Deferred, bench.now);
    bench.steps(4);
    bench.save();
    assert!(!bench.kept.contains_key(&shard_id(0)), "{:?}", bench.kept);
    assert_eq!(bench.settle_all(), [sequence(2)], "it comes again after its pause");
    bench.save();
    assert!(bench.kept[&shard_id(0)].drained);
}

#[test]
fn throttling_expiry_and_trouble_of_the_service_lose_nothing_and_end_nothing() {
    let trouble = || {
        [
            Fault::Throttled("slow down".into()),
            Fault::Expired("too old".into()),
            Fault::Passing("500".into()),
            Fault::Position("the iterator is not ours".into()),
        ]
    };
    let mut bench = Bench::of(1);
    let mut expected = Vec::new();
    let mut taken = Vec::new();
    for round in 0..6 {
        expected.push(bench.stream.put(0, b"a"));
        if round > 0 {
            bench.stream.fail(trouble());
            bench.stream.expire();
        }
        taken.extend(bench.settle_all());
    }
    assert_eq!(taken, expected);
}

#[test]
fn throttled_calls_are_not_repeated_at_once() {
    let mut bench = Bench::of(1);
    bench.steps(3);
    let calls = |bench: &Bench| bench.stream.calls("read") + bench.stream.calls("list");
    let (began, before) = (bench.now, calls(&bench));
    bench.stream.fail(vec![Fault::Throttled("slow down".into()); 1000]);
    while bench.now < began + Duration::from_mins(1) {
        bench.step().unwrap();
    }
    let calls = calls(&bench) - before;
    assert!((6..=20).contains(&calls), "{calls} calls in a minute of throttling");
}

#[test]
fn a_stream_that_is_not_there_yet_is_waited_for() {
    let mut bench = Bench::new(options());
    bench.steps(20);
    assert!(bench.now > Duration::from_mins(1), "it is not asked for all the time");
    bench.stream.create(1);
    let put = bench.stream.put(0, b"a");
    assert_eq!(bench.settle_all(), [put]);
}

#[test]
fn once_does_not_wait_for_a_stream() {
    let mut bench = Bench::new(Arc::new(KinesisOptions { once: true, ..(*options()).clone() }));
    let error = bench.step().unwrap_err();
    assert!(matches!(error, FeedError::Unreachable { .. }));
    assert!(error.to_string().contains("no such stream") && error.to_string().contains("control"), "{error}");
}

#[test]
fn once_gives_up_on_a_service_that_stays_away() {
    let mut bench = Bench::of(1);
    bench.options = Arc::new(KinesisOptions { once: true, ..(*options()).clone() });
    bench.restart();
    bench.stream.fail(vec![Fault::Passing("connection refused".into()); 1000]);
    let error = bench.error();
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!((30..60).contains(&bench.now.as_secs()), "{:?}", bench.now);
}

#[test]
fn what_was_never_allowed_ends_the_feed_at_once() {
    for (before, fault) in [(0, "AccessDeniedException"), (1, "AccessDeniedException"), (2, "KMSDisabledException")] {
        let mut bench = Bench::of(1);
        bench.steps(before);
        bench.stream.fail([Fault::Refused(fault.into())]);
        let error = bench.step().unwrap_err();
        assert!(matches!(error, FeedError::Unreachable { .. }));
        assert!(error.to_string().contains(fault) && error.to_string().contains("GetRecords"), "{error}");
    }
}

#[test]
fn what_is_refused_later_is_borne_for_a_while_and_then_ends_the_feed() {
    let mut bench = Bench::of(1);
    bench.settle_all();
    let began = bench.now;
    bench.stream.fail(vec![Fault::Refused("AccessDeniedException".into()); 1000]);
    let error = bench.error();
    assert!(error.to_string().contains("lost: AccessDeniedException"), "{error}");
    let borne = bench.now.saturating_sub(began);
    assert!(borne > Duration::from_mins(2) && borne < Duration::from_mins(3), "{borne:?}");
}

#[test]
fn a_refusal_of_reading_is_not_forgotten_because_listing_works() {
    let mut bench = Bench::of(1);
    bench.settle_all();
    let refused = || Fault::Refused("KMSDisabledException".into());
    let (mut lists, mut lost) = (0, None);
    while lost.is_none() && bench.now < Duration::from_mins(10) {
        bench.now = bench.reader.next_due().unwrap().max(bench.now);
        lost = if let Some(Request::Read(shard, _)) = bench.reader.request(bench.now) {
            bench.reader.answered(Answer::Read(shard, Err(refused())), bench.now).err()
        } else {
            lists += 1;
            bench.step().err()
        };
    }
    assert!(lost.expect("the feed ends").to_string().contains("KMSDisabledException"));
    assert!(lists > 3, "listing worked all the time");
}

#[test]
fn a_refusal_that_passes_is_forgotten() {
    let mut bench = Bench::of(1);
    bench.settle_all();
    for _ in 0..3 {
        bench.stream.fail(vec![Fault::Refused("AccessDeniedException".into()); 6]);
        let put = bench.stream.put(0, b"a");
        assert_eq!(bench.settle_all(), [put]);
        bench.now += Duration::from_mins(3);
    }
}

#[test]
fn a_stream_that_is_deleted_ends_the_feed_after_a_while() {
    let mut bench = Bench::of(1);
    bench.settle_all();
    bench.stream.delete();
    let error = bench.error();
    assert!(error.to_string().contains("the stream is gone"), "{error}");
}

#[test]
fn a_stream_that_is_made_anew_is_read_from_its_oldest_record() {
    let mut bench = Bench::of(1);
    bench.stream.put(0, b"a");
    bench.settle_all();
    bench.save();
    bench.stream.delete();
    bench.steps(3);
    bench.stream.create(1);
    let put = bench.stream.put(0, b"b");
    assert_eq!(bench.settle_all(), std::slice::from_ref(&put));
    bench.save();
    assert_eq!(bench.kept[&shard_id(0)].sequence_number, put);
    // And where that happened while nobody was looking.
    bench.stream.delete();
    bench.stream.create(1);
    let put = bench.stream.put(0, b"c");
    bench.restart();
    assert_eq!(bench.settle_all(), [put]);
}

#[test]
fn a_kept_number_that_is_trimmed_begins_at_the_oldest_record() {
    let mut bench = Bench::of(1);
    bench.stream.put(0, b"a");
    bench.settle_all();
    bench.save();
    bench.stream.put(0, b"b");
    bench.stream.trim(0);
    let put = bench.stream.put(0, b"c");
    bench.restart();
    assert_eq!(bench.settle_all(), [put]);
}

fn with(change: impl FnOnce(&mut KinesisOptions)) -> Bench {
    let mut options = (*options()).clone();
    change(&mut options);
    let bench = Bench::new(Arc::new(options));
    bench.stream.create(1);
    bench
}

#[test]
fn the_first_failure_waits_for_the_shortest_pause() {
    let mut bench = Bench::of(1);
    bench.stream.fail([Fault::Passing("500".into())]);
    bench.steps(1);
    assert_eq!(bench.reader.next_due(), Some(bench.now + backoff(1)));
}

#[test]
fn the_next_call_and_a_deferred_message_are_due_whichever_comes_first() {
    let read = options().read_interval;
    for (pause, due) in [(read / 10, read / 10), (read * 9, read)] {
        let mut bench = with(|options| options.defer_pause = pause);
        bench.stream.put(0, b"a");
        bench.steps(3);
        let (id, ..) = bench.take().unwrap();
        bench.reader.settle(id, Settlement::Deferred, bench.now);
        assert_eq!(bench.reader.next_due(), Some(bench.now + due));
    }
}

#[test]
fn at_its_bound_the_reader_asks_for_no_records() {
    for bound in [0, 1, 2] {
        let mut bench = with(|options| options.max_held = bound);
        (0..bound.max(1)).for_each(|_| drop(bench.stream.put(0, b"a")));
        bench.steps(3);
        let out: Vec<_> = std::iter::from_fn(|| bench.take()).collect();
        assert_eq!(out.len(), bound.max(1));
        assert_eq!(bench.reader.next_due(), bench.reader.list_due, "listing goes on");
        bench.reader.settle(out[0].0, Settlement::Verdict, bench.now);
        assert_eq!(bench.reader.next_due(), Some(bench.now + bench.options.read_interval));
    }
}

#[test]
fn the_children_of_a_shard_that_ended_are_looked_for_at_once_and_with_once_not() {
    for once in [false, true] {
        let mut bench = with(|options| options.once = once);
        bench.steps(1);
        bench.stream.split(0);
        bench.steps(2);
        assert_eq!(bench.reader.request(bench.now), (!once).then_some(Request::List));
        assert_eq!(bench.reader.all_given(), once);
    }
}

#[test]
fn a_read_that_fails_is_followed_by_what_mends_it() {
    let mut bench = Bench::of(1);
    let put = bench.stream.put(0, b"a");
    bench.steps(3);
    assert!(bench.take().is_some());
    bench.now += bench.options.read_interval;
    let failed = |bench: &mut Bench, fault: Fault| {
        assert!(matches!(bench.reader.request(bench.now), Some(Request::Read(..))));
        bench.reader.answered(Answer::Read(shard_id(0), Err(fault)), bench.now).unwrap();
        bench.reader.request(bench.now)
    };
    let renewed = failed(&mut bench, Fault::Position("not of this iterator".into()));
    assert_eq!(renewed, Some(Request::Iterator(shard_id(0), Start::After(put))));
    bench.steps(1);
    assert_eq!(failed(&mut bench, Fault::Missing("no such shard".into())), Some(Request::List));
}

#[test]
fn a_shard_whose_oldest_record_is_refused_is_asked_for_again_after_a_pause() {
    let mut bench = Bench::of(1);
    bench.steps(2);
    let refused = Answer::Iterator(shard_id(0), Err(Fault::Position("not of this shard".into())));
    bench.reader.answered(refused, bench.now).unwrap();
    assert_eq!(bench.reader.request(bench.now), None);
    assert_eq!(bench.reader.next_due(), Some(bench.now + backoff(1)));
}

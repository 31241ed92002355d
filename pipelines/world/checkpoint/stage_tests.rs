//! The stage on tokio's paused time: when it saves, what it holds back, how it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use wsp::clock::{Clock, SystemClock};
use wsp::credit::Credit;

use super::*;
use crate::model::{Decision, Delivered, Event, Hex64, Micros, OutputId, Position, Reason};

mod bound;
mod stop;

type Item = Result<Delivered, Refusal>;

fn answer(rank: u16, seq: u64) -> Delivered {
    // Files of 10 rows.
    Delivered {
        position: Position { rank, file: (seq / 10) as u32, row: seq % 10, seq },
        ts: Micros(seq.cast_signed()),
        event_id: [0; 32],
        decision: Decision::Admit,
        attempts: 1,
        ambiguous: false,
        latency: Duration::ZERO,
        lag: Duration::ZERO,
    }
}

fn output(name: &str) -> OutputFiles {
    let files = (0..3).map(|file| FileRows::of_rows(&format!("{name}/{file}"), 10)).collect();
    OutputFiles { output_id: name.parse().unwrap(), files }
}

fn options() -> CheckpointOptions<SystemClock> {
    CheckpointOptions::new(SystemClock::new())
}

fn layout() -> RunLayout {
    RunLayout::new(vec![output("a"), output("b")])
}

async fn scope(store: &MemoryCheckpoints) -> Box<dyn CheckpointScope<RowCursors>> {
    store.open(&Hex64::sha256("scope")).await.unwrap()
}

/// The last row saved of each of the two outputs, counted over its files.
async fn saved(store: &MemoryCheckpoints) -> (Option<u64>, Option<u64>) {
    let outputs = ["a".parse().unwrap(), "b".parse().unwrap()];
    let cursors = store.peek(&Hex64::sha256("scope"), &outputs).await.unwrap().cursors;
    let row = |output: &OutputId| {
        let cursor = cursors.iter().find(|cursor| cursor.output_id == *output)?;
        let file: u64 = cursor.last_file.split_once('/').unwrap().1.parse().unwrap();
        Some(file * 10 + cursor.last_row_index)
    };
    (row(&outputs[0]), row(&outputs[1]))
}

/// A stream that is fed by hand.
fn fed() -> (mpsc::UnboundedSender<Item>, impl Stream<Item = Item>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// A scope whose saves take a second.
struct Slow(Box<dyn CheckpointScope<RowCursors>>);

impl Slow {
    fn boxed(scope: Box<dyn CheckpointScope<RowCursors>>) -> Box<dyn CheckpointScope<RowCursors>> {
        Box::new(Self(scope))
    }
}

impl CheckpointScope<RowCursors> for Slow {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        self.0.load(outputs)
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.save(kept).await
        }
        .boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        self.0.views()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.keep_views(views)
    }
}

/// How many events may be sent before more is saved.
fn left(credit: &Credit) -> usize {
    std::iter::repeat_with(|| credit.try_spend()).take_while(|spent| *spent).count()
}

#[tokio::test(start_paused = true)]
async fn saves_every_so_many_events_over_all_outputs() {
    let store = MemoryCheckpoints::new();
    let items: Vec<Item> = (0..8).flat_map(|seq| [Ok(answer(0, seq)), Ok(answer(1, seq))]).collect();
    let mut stream = stream::iter(items).checkpoint(scope(&store).await, layout(), options().flush_every(5));
    let mut passed = Vec::new();
    for _ in 0..15 {
        let position = stream.next().await.unwrap().unwrap().position;
        passed.push((position.seq, position.rank));
    }
    assert!(passed.is_sorted() && passed.len() == 15);
    assert_eq!(store.history().len(), 2, "the third is due, and made with the next look at the stream");
    assert_eq!(saved(&store).await, (Some(4), Some(4)));
    assert_eq!(stream.count().await, 1);
    assert_eq!(saved(&store).await, (Some(7), Some(7)));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_event_is_never_passed() {
    let store = MemoryCheckpoints::new();
    let credit = Credit::new(1);
    let items: Vec<Item> = [0, 1, 3, 4, 5].map(|seq| Ok(answer(0, seq))).into();
    let options = options().flush_every(1).settle(credit.clone());
    assert_eq!(stream::iter(items).checkpoint(scope(&store).await, layout(), options).count().await, 5);
    assert_eq!(saved(&store).await, (Some(1), None));
    let kept = store.peek(&Hex64::sha256("scope"), &["a".parse().unwrap()]).await.unwrap();
    let place = Place { file: "a/0".to_owned(), row: 1 };
    let files = vec![AnsweredRows { file: "a/0".to_owned(), rows: vec![(3, 5)] }];
    assert_eq!(kept.beyond, [Beyond { output_id: "a".parse().unwrap(), cursor: Some(place), files }]);
    assert_eq!(left(&credit), 1 + 5, "all five are durable");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_start_left_stays_kept_until_it_is_passed() {
    let (store, outputs) = (MemoryCheckpoints::new(), vec![output("a"), output("b")]);
    // Of `a` rows 0 and 2 to 12 were answered, of `b` the row 29 alone.
    let first: Vec<Item> =
        [0].into_iter().chain(2..=12).map(|seq| Ok(answer(0, seq))).chain([Ok(answer(1, 29))]).collect();
    stream::iter(first).checkpoint(scope(&store).await, layout(), options()).count().await;
    let ids: Vec<OutputId> = outputs.iter().map(|output| output.output_id.clone()).collect();
    let load = async || store.peek(&Hex64::sha256("scope"), &ids).await.unwrap();
    let rows = |kept: &Kept| -> Vec<(String, Vec<(u64, u64)>)> {
        kept.beyond.iter().flat_map(|beyond| &beyond.files).map(|file| (file.file.clone(), file.rows.clone())).collect()
    };
    let at = |file: &str, rows: &[(u64, u64)]| (file.to_owned(), rows.to_vec());
    let kept = load().await;
    assert_eq!(rows(&kept), [at("a/0", &[(2, 9)]), at("a/1", &[(0, 2)]), at("b/2", &[(9, 9)])]);

    // The next start resumes at row 1 of `a`, and gets an answer to row 14 before it is gone.
    let earlier = Earlier::new(&outputs, &kept).unwrap();
    assert_eq!(earlier.from(), [Resume { file: 0, row: 1 }, Resume { file: 0, row: 0 }]);
    let counted_from_row_1 =
        |row: u64| Delivered { position: Position { seq: row - 1, ..answer(0, row).position }, ..answer(0, row) };
    let second: [Item; 1] = [Ok(counted_from_row_1(14))];
    let layout = layout().earlier(earlier);
    stream::iter(second).checkpoint(scope(&store).await, layout, options()).count().await;
    let kept = load().await;
    assert_eq!(rows(&kept), [at("a/0", &[(2, 9)]), at("a/1", &[(0, 2), (4, 4)]), at("b/2", &[(9, 9)])]);
    assert_eq!(kept.beyond[0].cursor, Some(Place { file: "a/0".to_owned(), row: 0 }), "as the start found it");
}

#[tokio::test(start_paused = true)]
async fn a_save_begins_before_the_credit_would_run_out() {
    let store = MemoryCheckpoints::new();
    let credit = Credit::new(10 + 1);
    let (sender, items) = fed();
    let slow = Slow::boxed(scope(&store).await);
    let options = options().flush_every(10).max_interval(Duration::from_hours(1)).settle(credit.clone());
    let mut stream = Box::pin(items.checkpoint(slow, layout(), options));
    let mut waited = Vec::new();
    // An event every quarter of a second: four of them while a save is on its way.
    for seq in 0..30 {
        for rank in 0..2 {
            while !credit.try_spend() {
                waited.push(seq);
                let _ = tokio::time::timeout(Duration::from_millis(250), stream.next()).await;
            }
            sender.send(Ok(answer(rank, seq))).unwrap();
            stream.next().await.unwrap().unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(250), stream.next()).await;
        }
    }
    let only_first = !waited.is_empty() && waited.iter().all(|seq| *seq < 15);
    assert!(only_first, "only until it knew how long saves take: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_for_another_attempt_put_no_save_off() {
    let store = MemoryCheckpoints::new();
    let credit = Credit::new(10 + 1);
    let (sender, items) = fed();
    let options = options().flush_every(10).max_interval(Duration::from_hours(1)).settle(credit.clone());
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, layout(), options));
    // Three events wait; eight others have spent the rest, and are not the ten that a save is for. So it is behind a save.
    for first in [3, 11, 19] {
        assert!(left(&credit) > 0);
        for seq in first..first + 8 {
            sender.send(Ok(answer(0, seq))).unwrap();
            stream.next().await.unwrap().unwrap();
        }
        assert!(futures::poll!(stream.next()).is_pending());
        assert!(credit.left() > 0, "what they left was worth a save");
    }
}

/// A scope that notes in which order it is used.
struct Noted(Box<dyn CheckpointScope<RowCursors>>, Arc<Mutex<Vec<&'static str>>>);

impl CheckpointScope<RowCursors> for Noted {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        self.0.load(outputs)
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        self.1.lock().unwrap().push("save");
        self.0.save(kept)
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        self.0.views()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.keep_views(views)
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), Refusal>> {
        self.1.lock().unwrap().push("finish");
        self.0.finish()
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_finished_once_behind_its_last_save() {
    for (items, expected) in [(0, vec!["finish"]), (3, vec!["save", "finish"])] {
        let (store, used) = (MemoryCheckpoints::new(), Arc::default());
        let noted: Box<dyn CheckpointScope<RowCursors>> = Box::new(Noted(scope(&store).await, Arc::clone(&used)));
        let answers = (0..items).map(|seq| Ok(answer(0, seq)));
        assert_eq!(stream::iter(answers).checkpoint(noted, layout(), options()).count().await as u64, items);
        assert_eq!(*used.lock().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn saves_within_a_second_though_nothing_comes() {
    let store = MemoryCheckpoints::new();
    let (sender, items) = fed();
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, layout(), options()));
    sender.send(Ok(answer(0, 0))).unwrap();
    stream.next().await.unwrap().unwrap();
    for (millis, expected) in [(998, None), (3, Some(0))] {
        assert!(tokio::time::timeout(Duration::from_millis(millis), stream.next()).await.is_err());
        assert_eq!(saved(&store).await.0, expected);
    }
    assert!(tokio::time::timeout(Duration::from_secs(10), stream.next()).await.is_err());
    assert_eq!(store.history().len(), 1, "without progress nothing is saved");
}

#[tokio::test(start_paused = true)]
async fn items_pass_during_a_save_and_go_into_the_next_one() {
    let store = MemoryCheckpoints::new();
    let credit = Credit::new(1);
    let (sender, items) = fed();
    let slow = Slow::boxed(scope(&store).await);
    let mut stream = Box::pin(items.checkpoint(slow, layout(), options().flush_every(1).settle(credit.clone())));
    let clock = SystemClock::new();
    for seq in 0..9 {
        sender.send(Ok(answer(0, seq))).unwrap();
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(clock.now(), Duration::ZERO, "nobody waited for a save");
    assert_eq!(left(&credit), 1, "what is not durable is not settled");
    drop(sender);
    assert!(stream.next().await.is_none());
    let rows: Vec<_> = store.history().iter().map(|save| save.cursors[0].last_row_index).collect();
    assert_eq!(rows, [0, 8], "one save for all that came meanwhile");
    assert_eq!(clock.now(), Duration::from_secs(2), "the end was held back for the last save");
    assert_eq!(left(&credit), 9);
}

#[tokio::test(start_paused = true)]
async fn ends_of_files_and_outputs_are_saved_and_named() {
    let store = MemoryCheckpoints::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let layout = layout().on_saved(move |saved| {
        listener.lock().unwrap().push((saved.cursor.last_file, saved.cursor.last_row_index, saved.reason));
    });
    let mut items: Vec<Item> = (0..30).map(|seq| Ok(answer(0, seq))).collect();
    items.push(Ok(answer(1, 0)));
    let options = options().flush_every(1000);
    stream::iter(items).checkpoint(scope(&store).await, layout, options).for_each(|_| async {}).await;
    let expected = [
        ("a/0", 9, SaveReason::FileComplete),
        ("a/1", 9, SaveReason::FileComplete),
        ("a/2", 9, SaveReason::OutputComplete),
        ("b/0", 0, SaveReason::Stop),
    ];
    assert_eq!(*told.lock().unwrap(), expected.map(|(file, row, reason)| (file.to_owned(), row, reason)));
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_after_what_was_answered_is_saved() {
    let store = MemoryCheckpoints::new();
    let (sender, items) = fed();
    sender.send(Ok(answer(0, 0))).unwrap();
    sender.send(Err(Refusal::new(Reason::IgPushRejected, "413"))).unwrap();
    sender.send(Ok(answer(0, 1))).unwrap();
    let slow = Slow::boxed(scope(&store).await);
    let items: Vec<Item> = items.checkpoint(slow, layout(), options()).collect().await;
    assert_eq!(items.len(), 2, "an error is the end");
    assert_eq!(items[1].as_ref().unwrap_err().reason, Reason::IgPushRejected);
    assert_eq!(saved(&store).await, (Some(0), None));
}

#[tokio::test(start_paused = true)]
async fn a_failed_save_ends_the_stream() {
    let store = MemoryCheckpoints::new();
    store.fail_next(1);
    let (sender, items) = fed();
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, layout(), options().flush_every(1)));
    sender.send(Ok(answer(0, 0))).unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap_err().reason, Reason::CheckpointSaveFailed);
    assert!(stream.next().await.is_none());
    drop(stream);
    assert!(store.open(&Hex64::sha256("scope")).await.is_ok(), "the scope is let go of");
}

#[tokio::test(start_paused = true)]
async fn the_first_error_stays_when_the_last_save_fails_too() {
    let store = MemoryCheckpoints::new();
    store.fail_next(1);
    let items: [Item; 2] = [Ok(answer(0, 0)), Err(Refusal::new(Reason::IgPushRetryExhausted, "503"))];
    let items: Vec<Item> = stream::iter(items).checkpoint(scope(&store).await, layout(), options()).collect().await;
    let refusal = items[1].as_ref().unwrap_err();
    assert_eq!(refusal.reason, Reason::IgPushRetryExhausted);
    assert_eq!(refusal.detail, "503 (and then CHECKPOINT_SAVE_FAILED: injected fault)");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_of_the_run_is_a_fault() {
    let store = MemoryCheckpoints::new();
    let mut beyond = answer(0, 29);
    beyond.position.row = 10;
    for (stray, place) in [(answer(2, 0), "file 0 of output 2"), (answer(0, 30), "file 3 of a"), (beyond, "a/2")] {
        let items: Vec<Item> =
            stream::iter([Ok(stray)]).checkpoint(scope(&store).await, layout(), options()).collect().await;
        let refusal = items[0].as_ref().unwrap_err();
        assert_eq!(refusal.reason, Reason::InternalError);
        assert_eq!(refusal.place.file.as_deref(), Some(place), "{refusal}");
    }
}

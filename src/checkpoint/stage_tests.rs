//! The stage on tokio's paused time: when it saves, what it holds back, how it ends.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::credit::Credit;
use crate::model::{Decision, Delivered, Micros, Position, Reason};

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
    let files = (0..3).map(|file| FileRows { name: format!("{name}/{file}"), rows: 10 }).collect();
    OutputFiles { output_id: name.parse().unwrap(), files }
}

fn options() -> CheckpointOptions<SystemClock> {
    CheckpointOptions::new(SystemClock::new(), vec![output("a"), output("b")])
}

async fn scope(store: &MemoryCheckpoints) -> Box<dyn CheckpointScope> {
    store.open(&Hex64::sha256("scope")).await.unwrap()
}

/// The last row saved of each of the two outputs, counted over its files.
async fn saved(store: &MemoryCheckpoints) -> (Option<u64>, Option<u64>) {
    let outputs = ["a".parse().unwrap(), "b".parse().unwrap()];
    let cursors = store.peek(&Hex64::sha256("scope"), &outputs).await.unwrap();
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
struct Slow(Box<dyn CheckpointScope>);

impl CheckpointScope for Slow {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        self.0.load(outputs)
    }

    fn save<'a>(&'a mut self, cursors: &'a [Cursor]) -> BoxFuture<'a, Result<(), Refusal>> {
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.save(cursors).await
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn saves_every_so_many_events_over_all_outputs() {
    let store = MemoryCheckpoints::new();
    let items: Vec<Item> = (0..8).flat_map(|seq| [Ok(answer(0, seq)), Ok(answer(1, seq))]).collect();
    let mut stream = stream::iter(items).checkpoint(scope(&store).await, options().flush_every(5));
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
    assert_eq!(stream::iter(items).checkpoint(scope(&store).await, options).count().await, 5);
    assert_eq!(saved(&store).await, (Some(1), None));
    assert!(credit.covers(3) && !credit.covers(4), "two events are durable");
}

#[tokio::test(start_paused = true)]
async fn saves_within_a_second_though_nothing_comes() {
    let store = MemoryCheckpoints::new();
    let (sender, items) = fed();
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, options()));
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
    let slow = Box::new(Slow(scope(&store).await));
    let mut stream = Box::pin(items.checkpoint(slow, options().flush_every(1).settle(credit.clone())));
    let clock = SystemClock::new();
    for seq in 0..9 {
        sender.send(Ok(answer(0, seq))).unwrap();
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(clock.now(), Duration::ZERO, "nobody waited for a save");
    assert!(credit.covers(1) && !credit.covers(2), "what is not durable is not settled");
    drop(sender);
    assert!(stream.next().await.is_none());
    let rows: Vec<_> = store.history().iter().map(|save| save[0].last_row_index).collect();
    assert_eq!(rows, [0, 8], "one save for all that came meanwhile");
    assert_eq!(clock.now(), Duration::from_secs(2), "the end was held back for the last save");
    assert!(credit.covers(10) && !credit.covers(11));
}

#[tokio::test(start_paused = true)]
async fn ends_of_files_and_outputs_are_saved_and_named() {
    let store = MemoryCheckpoints::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let options = options().flush_every(1000).on_saved(move |saved| {
        listener.lock().unwrap().push((saved.cursor.last_file, saved.cursor.last_row_index, saved.reason));
    });
    let mut items: Vec<Item> = (0..30).map(|seq| Ok(answer(0, seq))).collect();
    items.push(Ok(answer(1, 0)));
    stream::iter(items).checkpoint(scope(&store).await, options).for_each(|_| async {}).await;
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
    let slow = Box::new(Slow(scope(&store).await));
    let items: Vec<Item> = items.checkpoint(slow, options()).collect().await;
    assert_eq!(items.len(), 2, "an error is the end");
    assert_eq!(items[1].as_ref().unwrap_err().reason, Reason::IgPushRejected);
    assert_eq!(saved(&store).await, (Some(0), None));
}

#[tokio::test(start_paused = true)]
async fn a_failed_save_ends_the_stream() {
    let store = MemoryCheckpoints::new();
    store.fail_next(1);
    let (sender, items) = fed();
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, options().flush_every(1)));
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
    let items: Vec<Item> = stream::iter(items).checkpoint(scope(&store).await, options()).collect().await;
    let refusal = items[1].as_ref().unwrap_err();
    assert_eq!(refusal.reason, Reason::IgPushRetryExhausted);
    assert_eq!(refusal.detail, "503 (and then CHECKPOINT_SAVE_FAILED: injected fault)");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_of_the_run_is_a_fault() {
    let store = MemoryCheckpoints::new();
    for stray in [answer(2, 0), answer(0, 30)] {
        let items: Vec<Item> = stream::iter([Ok(stray)]).checkpoint(scope(&store).await, options()).collect().await;
        assert_eq!(items[0].as_ref().unwrap_err().reason, Reason::InternalError);
    }
}

/// Sends 60 events of two outputs as far as `credit` goes, at most 8 at a time, and answers them in the order of `picks`.
fn answers(picks: Vec<Index>, credit: Credit, sent: Arc<AtomicU64>) -> impl Stream<Item = Item> {
    stream::unfold((picks.into_iter(), Vec::new()), move |(mut picks, mut waiting)| {
        let (credit, sent) = (credit.clone(), sent.clone());
        async move {
            let pick = picks.next()?;
            while waiting.len() < 8 && sent.load(Relaxed) < 60 {
                let n = sent.load(Relaxed);
                if waiting.is_empty() {
                    credit.spend(n + 1).await;
                } else if !credit.covers(n + 1) {
                    break;
                }
                waiting.push(answer((n % 2) as u16, n / 2));
                sent.fetch_add(1, Relaxed);
            }
            let answered = waiting.remove(pick.index(waiting.len()));
            Some((Ok(answered), (picks, waiting)))
        }
    })
}

proptest! {
    /// The process is gone at any answer, whatever order the answers came in.
    #[test]
    fn a_crash_loses_nothing_and_repeats_little(
        picks in proptest::collection::vec(any::<Index>(), 60),
        limit in 1_u64..30,
        flush_every in 1_u64..20,
        crash in 0_usize..60,
        slow: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (store, sent, mut answered) = (MemoryCheckpoints::new(), Arc::default(), BTreeSet::new());
        let rows = runtime.block_on(async {
            let credit = Credit::new(limit);
            let options = options().flush_every(flush_every).settle(credit.clone());
            let scope = scope(&store).await;
            let scope = if slow { Box::new(Slow(scope)) } else { scope };
            let stream = answers(picks, credit, Arc::clone(&sent)).checkpoint(scope, options);
            let mut stream = Box::pin(stream);
            for _ in 0..crash {
                let position = stream.next().await.unwrap().unwrap().position;
                answered.insert((position.rank, position.seq));
            }
            saved(&store).await
        });
        let durable = [rows.0, rows.1].map(|row| row.map_or(0, |row| row + 1));
        for (rank, rows) in (0..).zip(durable) {
            prop_assert!((0..rows).all(|seq| answered.contains(&(rank, seq))), "passed an unanswered event");
        }
        let repeated = sent.load(Relaxed) - durable.iter().sum::<u64>();
        prop_assert!(repeated <= limit, "{repeated} events would be sent again");
    }
}

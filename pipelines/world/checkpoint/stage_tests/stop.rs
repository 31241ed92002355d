//! What waits to be saved, as others see it; and an end that a stop does not leave time for.

use wsp::stop::Stop;

use super::*;

/// A scope whose saves never come back from the database.
struct Hanging(Box<dyn CheckpointScope<RowCursors>>);

impl CheckpointScope<RowCursors> for Hanging {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        self.0.load(outputs)
    }

    fn save<'a>(&'a mut self, _: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        std::future::pending().boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        self.0.views()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.0.keep_views(views)
    }
}

/// Lets `seconds` pass while the stream is looked at.
async fn pass(stream: &mut (impl Stream<Item = Item> + Unpin), seconds: u64) {
    let waited = tokio::time::timeout(Duration::from_secs(seconds), stream.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

/// Idle, waiting for an event's time or for the gate: however long, there is nothing that a save could keep.
#[tokio::test(start_paused = true)]
async fn nothing_ages_while_there_is_nothing_to_save() {
    let (store, unsaved, clock) = (MemoryCheckpoints::new(), Unsaved::new(), SystemClock::new());
    let (sender, items) = fed();
    let mut stream = Box::pin(items.checkpoint(scope(&store).await, layout(), options().unsaved(unsaved.clone())));
    let age = || unsaved.age(clock.now());
    pass(&mut stream, 600).await;
    assert_eq!(age(), Duration::ZERO, "before the first answer");
    sender.send(Ok(answer(0, 0))).unwrap();
    stream.next().await.unwrap().unwrap();
    tokio::time::advance(Duration::from_millis(900)).await;
    assert_eq!(age(), Duration::from_millis(900), "answered, and not saved yet");
    pass(&mut stream, 600).await;
    assert_eq!((age(), store.history().len()), (Duration::ZERO, 1));
    // The event at the head of the line is not answered: what is answered behind it is saved, and moves no cursor.
    for seq in 2..9 {
        sender.send(Ok(answer(0, seq))).unwrap();
        stream.next().await.unwrap().unwrap();
        pass(&mut stream, 60).await;
        assert_eq!(age(), Duration::ZERO, "event {seq}");
    }
    assert_eq!(saved(&store).await.0, Some(0));
}

#[tokio::test(start_paused = true)]
async fn what_a_save_does_not_keep_ages() {
    let (store, unsaved, clock) = (MemoryCheckpoints::new(), Unsaved::new(), SystemClock::new());
    let (sender, items) = fed();
    let hanging: Box<dyn CheckpointScope<RowCursors>> = Box::new(Hanging(scope(&store).await));
    let mut stream = Box::pin(items.checkpoint(hanging, layout(), options().flush_every(1).unsaved(unsaved.clone())));
    sender.send(Ok(answer(0, 0))).unwrap();
    stream.next().await.unwrap().unwrap();
    pass(&mut stream, 100).await;
    // Answers that come later are younger.
    sender.send(Ok(answer(0, 1))).unwrap();
    stream.next().await.unwrap().unwrap();
    pass(&mut stream, 200).await;
    assert_eq!(unsaved.age(clock.now()), Duration::from_mins(5));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_so_long_for_the_last_save_and_no_longer() {
    let stopped = || Refusal::new(Reason::RunStopped, "1 event was handed over");
    for (end, reason) in [(Some(stopped()), Reason::RunStopped), (None, Reason::CheckpointSaveFailed)] {
        let (store, stop, clock) = (MemoryCheckpoints::new(), Stop::new(), SystemClock::new());
        let (sender, items) = fed();
        let hanging: Box<dyn CheckpointScope<RowCursors>> = Box::new(Hanging(scope(&store).await));
        let mut stream = Box::pin(items.checkpoint(hanging, layout(), options().flush_every(1).stop(stop.clone())));
        sender.send(Ok(answer(0, 0))).unwrap();
        stream.next().await.unwrap().unwrap();
        if let Some(refusal) = end {
            sender.send(Err(refusal)).unwrap();
        }
        drop(sender);
        pass(&mut stream, 1_000).await;
        assert!(stream.next().now_or_never().is_none(), "without a stop the database is waited for");
        stop.request();
        let given_up = clock.now() + LAST_SAVE;
        let refusal = stream.next().await.unwrap().unwrap_err();
        assert_eq!((clock.now(), refusal.reason), (given_up, reason), "{refusal}");
        assert!(refusal.detail.contains("sent again"), "{refusal}");
        assert!(stream.next().await.is_none());
        drop(stream);
        assert!(store.open(&Hex64::sha256("scope")).await.is_ok(), "the scope is let go of");
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_that_takes_its_time_is_waited_for_after_a_stop() {
    let (store, stop) = (MemoryCheckpoints::new(), Stop::new());
    let (sender, items) = fed();
    let slow = Slow::boxed(scope(&store).await);
    let mut stream = Box::pin(items.checkpoint(slow, layout(), options().stop(stop.clone())));
    sender.send(Ok(answer(0, 0))).unwrap();
    sender.send(Err(Refusal::new(Reason::RunStopped, "told to"))).unwrap();
    stop.request();
    stream.next().await.unwrap().unwrap();
    let refusal = stream.next().await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, refusal.detail.as_str()), (Reason::RunStopped, "told to"));
    assert_eq!(saved(&store).await.0, Some(0));
}

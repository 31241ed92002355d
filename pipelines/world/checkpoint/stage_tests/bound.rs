//! What is sent and not kept stays within the bound: while saves wait, and in whatever instant the process is gone.

use super::*;

/// A scope that is torn by a crash between its two steps: cursors first, then what is beyond them, a second later.
struct Torn {
    scope: Box<dyn CheckpointScope<RowCursors>>,
    beyond: Vec<Beyond>,
}

impl CheckpointScope<RowCursors> for Torn {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        self.scope.load(outputs)
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        self.scope.views()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.scope.keep_views(views)
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async {
            let cursors = Kept { cursors: kept.cursors.clone(), beyond: self.beyond.clone() };
            self.scope.save(&cursors).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.beyond.clone_from(&kept.beyond);
            self.scope.save(kept).await
        }
        .boxed()
    }
}

/// Rows that the simulated run has: all, or a lane's.
fn is_of_run(row: u64, lane: bool) -> bool {
    !lane || row % 3 != 2
}

/// The events of two outputs from `from` on, one row of each after the other.
fn events(from: &[Resume], lane: bool) -> impl Stream<Item = Result<Event, Refusal>> + use<> {
    let firsts: Vec<u64> = from.iter().map(|at| u64::from(at.file) * 10 + at.row).collect();
    let mut seqs = [0, 0];
    let mut events = Vec::new();
    for (row, rank) in (0..30).flat_map(|row| [(row, 0_u16), (row, 1)]) {
        let output = usize::from(rank);
        if row >= firsts[output] && is_of_run(row, lane) {
            let position = Position { rank, file: (row / 10) as u32, row: row % 10, seq: seqs[output] };
            seqs[output] += 1;
            let body = Vec::new().into();
            let ts = Micros(row.cast_signed());
            events.push(Ok(Event { position, ts, order_key: 0, event_id: [0; 32], body, due: None }));
        }
    }
    stream::iter(events)
}

/// Events that were sent and answered, by rank and row over the files.
type Answered = Arc<Mutex<Vec<(u16, u64)>>>;

/// Sends `events` as far as `credit` goes, at most 8 at a time, and answers them as `pick` picks of those. What is sent is
/// noted in `sent`, answered or not.
fn pushed<S, P>(events: S, pick: P, credit: Credit, sent: Answered) -> impl Stream<Item = Item>
where
    S: Stream<Item = Result<Event, Refusal>> + Unpin,
    P: FnMut(usize) -> usize,
{
    stream::unfold((events, pick, Vec::new()), move |(mut events, mut pick, mut waiting)| {
        let (credit, sent) = (credit.clone(), sent.clone());
        async move {
            while waiting.len() < 8 {
                if waiting.is_empty() {
                    credit.spend().await;
                } else if !credit.try_spend() {
                    break;
                }
                let Some(event) = events.next().await else { break };
                let position = event.unwrap().position;
                sent.lock().unwrap().push((position.rank, u64::from(position.file) * 10 + position.row));
                waiting.push(position);
            }
            if waiting.is_empty() {
                return None;
            }
            let position = waiting.remove(pick(waiting.len()));
            let row = u64::from(position.file) * 10 + position.row;
            Some((Ok(Delivered { position, ..answer(position.rank, row) }), (events, pick, waiting)))
        }
    })
}

/// A scope in a database that can be away: a save waits for it, for a minute at most.
struct Remote {
    scope: Box<dyn CheckpointScope<RowCursors>>,
    away: watch::Receiver<bool>,
}

impl CheckpointScope<RowCursors> for Remote {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Kept, Refusal>> {
        self.scope.load(outputs)
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<Views>, Refusal>> {
        self.scope.views()
    }

    fn keep_views<'a>(&'a mut self, views: &'a Views) -> BoxFuture<'a, Result<(), Refusal>> {
        self.scope.keep_views(views)
    }

    fn save<'a>(&'a mut self, kept: &'a Kept) -> BoxFuture<'a, Result<(), Refusal>> {
        async {
            let back = async { drop(self.away.wait_for(|away| !away).await) };
            if tokio::time::timeout(Duration::from_mins(1), back).await.is_err() {
                return Err(Refusal::new(Reason::CheckpointSaveFailed, "away for a minute"));
            }
            self.scope.save(kept).await
        }
        .boxed()
    }
}

/// The last item that comes within `time`.
async fn last_within(time: Duration, answers: &mut (impl Stream<Item = Item> + Unpin)) -> Option<Item> {
    let mut last = None;
    let all = async {
        while let Some(item) = answers.next().await {
            last = Some(item);
        }
    };
    let _ = tokio::time::timeout(time, all).await;
    last
}

#[tokio::test(start_paused = true)]
async fn while_saves_wait_sending_stops_at_the_bound_and_goes_on_after() {
    for returns in [true, false] {
        let (store, sent, clock) = (MemoryCheckpoints::new(), Answered::default(), SystemClock::new());
        let (switch, away) = watch::channel(false);
        let credit = Credit::new(10 + 8);
        let answers = pushed(Box::pin(events(&[Resume::default(); 2], false)), |_| 0, credit.clone(), sent.clone());
        let scope: Box<dyn CheckpointScope<RowCursors>> = Box::new(Remote { scope: scope(&store).await, away });
        let mut answers = Box::pin(answers.checkpoint(scope, layout(), options().flush_every(10).settle(credit)));
        for _ in 0..25 {
            answers.next().await.unwrap().unwrap();
        }
        switch.send(true).unwrap();
        assert!(last_within(Duration::from_secs(50), &mut answers).await.unwrap().is_ok());
        let ids = ["a".parse().unwrap(), "b".parse().unwrap()];
        let kept = async || rows_of(&store.peek(&Hex64::sha256("scope"), &ids).await.unwrap(), false).len();
        let sent_now = || sent.lock().unwrap().len();
        let (durable, stuck) = (kept().await, sent_now());
        assert!(stuck < 60 && stuck - durable == 18, "{stuck} sent, {durable} kept");
        if returns {
            switch.send(false).unwrap();
            assert!(last_within(Duration::from_hours(1), &mut answers).await.unwrap().is_ok());
            assert_eq!((sent_now(), saved(&store).await), (60, (Some(29), Some(29))));
        } else {
            let last = last_within(Duration::from_hours(1), &mut answers).await.unwrap();
            assert_eq!(last.unwrap_err().reason, Reason::CheckpointSaveFailed);
            assert_eq!((sent_now(), kept().await), (stuck, durable), "nothing more was sent");
            assert!(clock.now() < Duration::from_secs(70), "it waits a minute, not for ever");
        }
    }
}

/// Rows of the simulated run that are kept as answered.
fn rows_of(kept: &Kept, lane: bool) -> BTreeSet<(u16, u64)> {
    let mut rows = BTreeSet::new();
    let over_files = |file: &str, row: u64| file.split_once('/').unwrap().1.parse::<u64>().unwrap() * 10 + row;
    for (rank, name) in (0..).zip(["a", "b"]) {
        let cursor = kept.cursors.iter().find(|cursor| cursor.output_id.as_str() == name);
        let covered = cursor.map_or(0, |cursor| over_files(&cursor.last_file, cursor.last_row_index) + 1);
        rows.extend((0..covered).map(|row| (rank, row)));
        let beyond = kept.beyond.iter().filter(|beyond| beyond.output_id.as_str() == name);
        for file in beyond.flat_map(|beyond| &beyond.files) {
            let runs = file.rows.iter().flat_map(|(first, last)| *first..=*last);
            rows.extend(runs.map(|row| (rank, over_files(&file.file, row))));
        }
    }
    rows.retain(|(_, row)| is_of_run(*row, lane));
    rows
}

proptest! {
    /// The process is gone at any answer, again and again, whatever order the answers came in and whatever save was on
    /// its way; the last start comes to the end.
    #[test]
    fn crashes_lose_nothing_and_repeat_little(
        picks in proptest::collection::vec(any::<Index>(), 60),
        limit in 1_u64..30,
        flush_every in 1_u64..20,
        crashes in proptest::collection::vec(0_usize..40, 0..5),
        scope_kind in 0..3,
        lane: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outputs = vec![output("a"), output("b")];
        let ids: Vec<OutputId> = outputs.iter().map(|output| output.output_id.clone()).collect();
        let all: BTreeSet<_> = (0..30).flat_map(|row| [(0, row), (1, row)]).filter(|(_, row)| is_of_run(*row, lane)).collect();
        let store = MemoryCheckpoints::new();
        let mut ever_sent = BTreeSet::new();
        for crash in crashes.into_iter().chain([usize::MAX]) {
            let sent = Answered::default();
            let (before, rejoined, after) = runtime.block_on(async {
                let credit = Credit::new(limit);
                let mut held = scope(&store).await;
                let kept = held.load(&ids).await.unwrap();
                let before = rows_of(&kept, lane);
                let earlier = Earlier::new(&outputs, &kept).unwrap();
                let held: Box<dyn CheckpointScope<RowCursors>> = match scope_kind {
                    0 => held,
                    1 => Box::new(Slow(held)),
                    _ => Box::new(Torn { scope: held, beyond: kept.beyond }),
                };
                let (rest, apart) = events(&earlier.from(), lane).set_apart(earlier.clone());
                let layout = layout().earlier(earlier);
                let options = options().flush_every(flush_every).settle(credit.clone());
                let mut picks = picks.iter().cycle();
                let pick = |waiting| picks.next().map_or(0, |pick| pick.index(waiting));
                let answers = pushed(rest, pick, credit, sent.clone()).rejoin(apart);
                let answers = answers.checkpoint(held, layout, options).take(crash);
                let rejoined = answers.map(|item| item.unwrap().decision).collect::<Vec<_>>().await;
                (before, rejoined, rows_of(&store.peek(&Hex64::sha256("scope"), &ids).await.unwrap(), lane))
            });
            let sent = sent.lock().unwrap().clone();
            prop_assert!(sent.iter().all(|event| !before.contains(event)), "what is kept is not sent");
            prop_assert!(rejoined.iter().filter(|decision| **decision != Decision::Earlier).count() <= sent.len());
            ever_sent.extend(sent.iter().copied());
            prop_assert!(after.is_superset(&before), "nothing that was kept is forgotten");
            prop_assert!(after.is_subset(&ever_sent), "what is kept was sent");
            let repeated = sent.iter().filter(|event| !after.contains(*event)).count() as u64;
            prop_assert!(repeated <= limit, "{repeated} events would be sent again");
            if crash == usize::MAX {
                prop_assert_eq!(&after, &all);
                let kept = runtime.block_on(store.peek(&Hex64::sha256("scope"), &ids)).unwrap();
                prop_assert!(Earlier::new(&outputs, &kept).unwrap().is_empty(), "the cursors stand at the end");
            }
        }
    }
}

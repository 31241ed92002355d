use std::collections::VecDeque;

use futures::StreamExt;
use proptest::prelude::*;

use super::*;

/// What a source says, in turn: nothing yet, a batch, or a failure.
#[derive(Debug, Clone)]
enum Word {
    Wait,
    Batch { file: u32, first_row: u64, times: Vec<i64> },
    Fail,
}

struct Script {
    rank: u16,
    words: VecDeque<Word>,
    seq: u64,
}

/// Rows of one file of a source.
#[derive(Debug)]
struct Rows {
    rank: u16,
    file: u32,
    first_row: u64,
    /// How many rows of the source came before.
    first_seq: u64,
    times: Vec<Micros>,
}

impl Batch for Rows {
    type Key = (u16, u32, u64);

    fn times(&self) -> &[Micros] {
        &self.times
    }

    fn key(&self, row: usize) -> Self::Key {
        (self.rank, self.file, self.first_row + row as u64)
    }
}

/// The failure of the source of this rank.
#[derive(Debug, PartialEq)]
struct Failed(u16);

impl Stream for Script {
    type Item = Result<Rows, Failed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rank = self.rank;
        match self.words.pop_front() {
            Some(Word::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Word::Batch { file, first_row, times }) => {
                let first_seq = self.seq;
                self.seq += times.len() as u64;
                let times = times.into_iter().map(Micros).collect();
                Poll::Ready(Some(Ok(Rows { rank, file, first_row, first_seq, times })))
            }
            Some(Word::Fail) => Poll::Ready(Some(Err(Failed(rank)))),
            None => Poll::Ready(None),
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

type Key = (i64, u16, u32, u64);

fn keys_of(slices: &[Slice<Rows>]) -> Vec<Key> {
    slices
        .iter()
        .flat_map(|slice| {
            (slice.from..slice.to).map(|i| {
                let (rank, file, row) = slice.batch.key(i);
                (slice.batch.times()[i].0, rank, file, row)
            })
        })
        .collect()
}

/// All rows that come out, and the failure that ended them.
fn drain(
    scripts: Vec<VecDeque<Word>>,
    chunk_rows: usize,
    check: impl Fn(&[Slice<Rows>]),
) -> (Vec<Key>, Vec<u64>, Option<Failed>) {
    let count = scripts.len();
    let sources =
        scripts.into_iter().enumerate().map(|(rank, words)| Script { rank: rank as u16, words, seq: 0 }).collect();
    let mut merged = merge(sources).chunk_rows(chunk_rows);
    let (mut keys, mut next_seq) = (Vec::new(), vec![0; count]);
    let end = block_on(async {
        while let Some(item) = merged.next().await {
            match item {
                Ok(slices) => {
                    check(&slices);
                    for Slice { batch, from, to } in &slices {
                        let next = &mut next_seq[usize::from(batch.rank)];
                        assert_eq!(batch.first_seq + *from as u64, *next, "rows of a source come without a gap");
                        *next += (to - from) as u64;
                    }
                    keys.extend(keys_of(&slices));
                }
                Err(failed) => {
                    assert!(merged.next().await.is_none(), "nothing follows a failure");
                    return Some(failed);
                }
            }
        }
        assert!(merged.next().await.is_none(), "the end stays the end");
        None
    });
    (keys, next_seq, end)
}

/// One source: batches over a few files with times that rarely move, waits strewn in.
fn script() -> impl Strategy<Value = Vec<Word>> {
    let step = prop_oneof![6 => Just(0_i64), 3 => 1_i64..3, 1 => 3_i64..40];
    let piece = (proptest::collection::vec(step, 0..12), any::<bool>(), 0_usize..3);
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| {
        let (mut words, mut ts, mut file, mut row) = (Vec::new(), 0, 0, 0);
        for (steps, new_file, waits) in pieces {
            words.extend(std::iter::repeat_n(Word::Wait, waits));
            if new_file {
                (file, row) = (file + 1, 0);
            }
            let times: Vec<i64> = steps
                .into_iter()
                .map(|step| {
                    ts += step;
                    ts
                })
                .collect();
            let rows = times.len() as u64;
            words.push(Word::Batch { file, first_row: row, times });
            row += rows;
        }
        words
    })
}

/// The same rows by a plain sort; behind a failure only what precedes the source's missing rows.
fn expected(scripts: &[Vec<Word>]) -> (Vec<Key>, Option<Failed>) {
    let mut all = Vec::new();
    let mut cuts: Vec<(Option<Key>, u16)> = Vec::new();
    for (rank, words) in scripts.iter().enumerate() {
        let rank = rank as u16;
        let mut last = None;
        for word in words {
            match word {
                Word::Wait => {}
                Word::Batch { file, first_row, times } => {
                    for (i, ts) in times.iter().enumerate() {
                        let key = (*ts, rank, *file, first_row + i as u64);
                        last = Some(key);
                        all.push(key);
                    }
                }
                Word::Fail => {
                    cuts.push((last, rank));
                    break;
                }
            }
        }
    }
    all.sort_unstable();
    match cuts.into_iter().min() {
        None => (all, None),
        Some((cut, rank)) => {
            all.retain(|key| Some(*key) <= cut);
            (all, Some(Failed(rank)))
        }
    }
}

proptest! {
    #[test]
    fn the_merge_is_a_sort_by_the_full_key(
        scripts in proptest::collection::vec(script(), 0..6),
        chunk_rows in 1_usize..20,
    ) {
        let (expected, _) = expected(&scripts);
        let (keys, _, end) = drain(scripts.into_iter().map(VecDeque::from).collect(), chunk_rows, |slices| {
            let rows: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
            assert!((1..=chunk_rows).contains(&rows));
            assert!(slices.iter().all(|slice| slice.from < slice.to));
        });
        prop_assert_eq!(keys, expected);
        prop_assert_eq!(end, None);
    }

    #[test]
    fn behind_a_failure_nothing_gets_out(
        scripts in proptest::collection::vec((script(), proptest::option::of(0_usize..20)), 1..6),
        chunk_rows in 1_usize..20,
    ) {
        let scripts: Vec<Vec<Word>> = scripts
            .into_iter()
            .map(|(mut words, fail)| {
                if let Some(at) = fail {
                    words.insert(at.min(words.len()), Word::Fail);
                }
                words
            })
            .collect();
        let expected = expected(&scripts);
        let (keys, _, end) = drain(scripts.into_iter().map(VecDeque::from).collect(), chunk_rows, |_| {});
        prop_assert_eq!((keys, end), expected);
    }

    #[test]
    fn readiness_changes_nothing(
        scripts in proptest::collection::vec(script(), 1..6),
        waits in proptest::collection::vec(0_usize..4, 40),
    ) {
        let mut waits = waits.into_iter().cycle();
        let other = scripts
            .iter()
            .map(|words| {
                let mut out = VecDeque::new();
                for word in words.iter().filter(|word| !matches!(word, Word::Wait)) {
                    out.extend(std::iter::repeat_n(Word::Wait, waits.next().unwrap_or(0)));
                    out.push_back(word.clone());
                }
                out
            })
            .collect();
        let first = drain(scripts.into_iter().map(VecDeque::from).collect(), 8, |_| {});
        prop_assert_eq!(first, drain(other, 8, |_| {}));
    }

    #[test]
    fn take_rows_cuts_exactly(
        scripts in proptest::collection::vec(script(), 1..4),
        rows in 0_u64..60,
        chunk_rows in 1_usize..20,
    ) {
        let (mut expected, _) = expected(&scripts);
        let sources = scripts
            .into_iter()
            .enumerate()
            .map(|(rank, words)| Script { rank: rank as u16, words: words.into(), seq: 0 })
            .collect();
        let taken = merge(sources).chunk_rows(chunk_rows).take_rows(rows);
        let chunks: Vec<_> = block_on(taken.collect());
        let chunks: Vec<Vec<Slice<Rows>>> = chunks.into_iter().map(Result::unwrap).collect();
        prop_assert!(chunks.iter().flatten().all(|slice| slice.from < slice.to));
        expected.truncate(rows as usize);
        prop_assert_eq!(chunks.iter().flat_map(|slices| keys_of(slices)).collect::<Vec<_>>(), expected);
    }
}

fn words(batches: &[&[i64]]) -> VecDeque<Word> {
    let mut row = 0;
    batches
        .iter()
        .map(|times| {
            let word = Word::Batch { file: 0, first_row: row, times: times.to_vec() };
            row += times.len() as u64;
            word
        })
        .collect()
}

#[test]
fn slices_are_as_long_as_the_others_allow() {
    let sources = vec![words(&[&[1, 2, 5, 5, 9]]), words(&[&[5, 5, 8]])]
        .into_iter()
        .enumerate()
        .map(|(rank, words)| Script { rank: rank as u16, words, seq: 0 })
        .collect();
    let chunks: Vec<_> = block_on(merge(sources).collect());
    let [Ok(slices)] = chunks.as_slice() else { panic!("one chunk, not {}", chunks.len()) };
    let ranges: Vec<_> = slices.iter().map(|slice| (slice.batch.rank, slice.from, slice.to)).collect();
    assert_eq!(ranges, [(0, 0, 4), (1, 0, 3), (0, 4, 5)]);
}

/// What is decided goes out at once, it does not wait for a full chunk.
#[test]
fn a_starved_merge_hands_over_what_it_has() {
    let mut waiting = words(&[&[1]]);
    waiting.push_back(Word::Wait);
    waiting.extend(words(&[&[7]]));
    let sources =
        vec![Script { rank: 0, words: waiting, seq: 0 }, Script { rank: 1, words: words(&[&[2, 3]]), seq: 0 }];
    let mut merged = merge(sources);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Some(Ok(first))) = merged.poll_next_unpin(&mut cx) else { panic!("decided rows are there") };
    assert_eq!(keys_of(&first), [(1, 0, 0, 0)]);
    let Poll::Ready(Some(Ok(rest))) = merged.poll_next_unpin(&mut cx) else { panic!("the source was ready again") };
    assert_eq!(keys_of(&rest).len(), 3);
    assert!(matches!(merged.poll_next_unpin(&mut cx), Poll::Ready(None)));
}

/// All that is empty is asked in one poll, so that slow reads overlap.
#[test]
fn exhausted_sources_are_polled_together() {
    let sources: Vec<_> = (0..3)
        .map(|rank| Script { rank, words: std::iter::once(Word::Wait).chain(words(&[&[1]])).collect(), seq: 0 })
        .collect();
    let mut merged = merge(sources);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(merged.poll_next_unpin(&mut cx).is_pending());
    let Poll::Ready(Some(Ok(slices))) = merged.poll_next_unpin(&mut cx) else { panic!("one wait for all three") };
    assert_eq!(slices.len(), 3);
}

#[test]
fn a_cap_reached_hides_a_later_failure() {
    let mut failing = words(&[&[1, 2]]);
    failing.push_back(Word::Fail);
    let taken = merge(vec![Script { rank: 0, words: failing, seq: 0 }]).take_rows(2);
    let chunks: Vec<_> = block_on(taken.collect());
    assert!(matches!(chunks.as_slice(), [Ok(slices)] if slices[0].to == 2));
}

#[test]
fn a_chunk_is_as_large_as_it_may_be() {
    for (most, expected) in [(0, vec![1; 7]), (1, vec![1; 7]), (3, vec![3, 3, 1]), (7, vec![7]), (100, vec![7])] {
        let script = |times: &[i64]| VecDeque::from([Word::Batch { file: 0, first_row: 0, times: times.to_vec() }]);
        let sizes = std::cell::RefCell::new(Vec::new());
        let check = |slices: &[Slice<Rows>]| {
            sizes.borrow_mut().push(slices.iter().map(|slice| slice.to - slice.from).sum::<usize>());
        };
        let (keys, _, end) = drain(vec![script(&[0, 2, 4, 6]), script(&[1, 3, 5])], most, check);
        assert_eq!((keys.len(), end, sizes.into_inner()), (7, None, expected), "{most}");
    }
}

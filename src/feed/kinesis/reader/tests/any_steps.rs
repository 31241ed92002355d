//! Any steps of a stream, its service and its consumer, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put { shard: prop::sample::Index, is_letter: bool },
    Split(prop::sample::Index),
    Merge(prop::sample::Index),
    Call,
    Take,
    Settle { which: usize, verdict: bool },
    Fault(u8),
    Expire,
    Save,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (index(), any::<bool>()).prop_map(|(shard, is_letter)| Step::Put { shard, is_letter }),
        1 => index().prop_map(Step::Split),
        1 => index().prop_map(Step::Merge),
        8 => Just(Step::Call),
        4 => Just(Step::Take),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, verdict)| Step::Settle { which, verdict }),
        1 => (0_u8..3).prop_map(Step::Fault),
        1 => Just(Step::Expire),
        2 => Just(Step::Save),
        1 => Just(Step::Crash),
    ]
}

/// What a message has gone through.
#[derive(Debug)]
struct Message {
    shard: usize,
    sequence: SequenceNumber,
    is_letter: bool,
    decided: bool,
}

proptest! {
    /// Whatever is resharded, throttled, expired, deferred and crashed: nothing is kept as settled that was not decided,
    /// a parent's messages come before its children's, and in the end every letter has had a verdict.
    #[test]
    fn no_message_is_lost_or_overtaken(steps in prop::collection::vec(step(), 1..150)) {
        let mut bench = Bench::of(2);
        let mut messages: Vec<Message> = Vec::new();
        let mut out: Vec<(u64, SequenceNumber)> = Vec::new();
        // First offers since the last start, in their order.
        let mut offered: Vec<SequenceNumber> = Vec::new();
        let finish = (0..1500).map(|at| match at % 5 {
            0 | 1 => Step::Call,
            2 => Step::Take,
            3 => Step::Settle { which: 0, verdict: true },
            _ => Step::Save,
        });
        let body = steps.len();
        for (at, step) in steps.into_iter().chain(finish).enumerate() {
            if at == body {
                bench.stream.mend();
            }
            match step {
                Step::Put { shard, is_letter } => {
                    let open = bench.stream.open_shards();
                    let shard = open[shard.index(open.len())];
                    let text: &[u8] = if is_letter { b"a" } else { b"{" };
                    let sequence = bench.stream.put(shard, text);
                    messages.push(Message { shard, sequence, is_letter, decided: false });
                }
                Step::Split(shard) => {
                    let open = bench.stream.open_shards();
                    bench.stream.split(open[shard.index(open.len())]);
                }
                Step::Merge(shard) => {
                    let open = bench.stream.open_shards();
                    let at = shard.index(open.len());
                    if open.len() > 1 {
                        bench.stream.merge(open[at], open[(at + 1) % open.len()]);
                    }
                }
                Step::Call => { bench.step().unwrap(); }
                Step::Take => {
                    if let Some((id, _, sequence)) = bench.take() {
                        let message = messages.iter().find(|message| message.sequence == sequence).unwrap();
                        prop_assert!(message.is_letter);
                        if !offered.contains(&sequence) {
                            // Whatever came to this shard or to one that it came from is known already.
                            let lineage = bench.stream.lineage(message.shard);
                            let earlier = messages.iter().filter(|other| {
                                other.is_letter && lineage.contains(&other.shard) && other.sequence < sequence
                            });
                            for other in earlier {
                                prop_assert!(other.decided || offered.contains(&other.sequence), "overtaken: {other:?}");
                            }
                            offered.push(sequence.clone());
                        }
                        out.push((id, sequence));
                    }
                }
                Step::Settle { which, verdict } => {
                    if !out.is_empty() {
                        let (id, sequence) = out.swap_remove(which % out.len());
                        let settlement = if verdict { Settlement::Verdict } else { Settlement::Deferred };
                        messages.iter_mut().find(|message| message.sequence == sequence).unwrap().decided |= verdict;
                        bench.reader.settle(id, settlement, bench.now);
                    }
                }
                Step::Fault(which) => bench.stream.fail([match which {
                    0 => Fault::Throttled("slow down".into()),
                    1 => Fault::Passing("500".into()),
                    _ => Fault::Expired("too old".into()),
                }]),
                Step::Expire => bench.stream.expire(),
                Step::Save => {
                    bench.save();
                    for position in bench.kept.values() {
                        let of_shard = messages.iter().filter(|message| {
                            message.is_letter
                                && shard_id(message.shard) == position.shard_id
                                && (position.drained || message.sequence <= position.sequence_number)
                        });
                        for message in of_shard {
                            prop_assert!(message.decided, "kept as settled: {message:?}, {position:?}");
                        }
                    }
                }
                Step::Crash => {
                    out.clear();
                    offered.clear();
                    bench.restart();
                }
            }
        }
        let undecided: Vec<_> = messages.iter().filter(|message| message.is_letter && !message.decided).collect();
        prop_assert!(undecided.is_empty(), "{undecided:?}");
        for message in &messages {
            let kept = bench.kept.get(&shard_id(message.shard));
            prop_assert!(kept.is_some_and(|kept| kept.sequence_number >= message.sequence), "{message:?}: {kept:?}");
        }
    }
}

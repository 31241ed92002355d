//! The local store on a disk that loses its power, under processes that die amid any operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_executor::block_on;
use proptest::prelude::*;

use super::{Key, LocalStore, ObjectStore, StoreError};
use crate::disk::{Fate, MemoryDisk, Operation};
use crate::random::Random;

const OBJECTS: [&str; 3] = ["runs/one/verdict.json", "runs/one/summary.json", "runs/two/verdict.json"];
const LOGS: [&str; 2] = ["runs/one/log.jsonl", "log.jsonl"];

/// What a process asks of the store.
#[derive(Debug, Clone)]
enum Step {
    PutNew(usize),
    Put(usize),
    Append(usize),
    /// Adds the line of this number, unless it is there.
    AppendOnce(usize, u64),
}

/// What is promised of the objects.
#[derive(Debug, Default)]
struct Promised {
    objects: BTreeMap<&'static str, Object>,
    /// Lines that a log has, each at least once.
    lines: BTreeMap<&'static str, Vec<String>>,
    /// Lines that were asked for once each, and that a log has once, if at all.
    once: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Debug, Default)]
struct Object {
    promised: Option<Vec<u8>>,
    /// What writes that did not come to their end may have left.
    possible: Vec<Vec<u8>>,
}

/// A body that is longer than a disk writes as a whole.
fn body(number: usize) -> Vec<u8> {
    format!("{number:<1500}\n").into_bytes()
}

fn line(number: u64) -> String {
    format!("line {number:<700}.")
}

fn store(disk: &MemoryDisk, operations: u64) -> LocalStore {
    let left = AtomicU64::new(operations);
    let host = move |_: &Operation<'_>| {
        let lives = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if lives.is_ok_and(|left| left > 1) { Fate::Happens } else { Fate::FailsHalfway }
    };
    LocalStore::on(Arc::new(disk.seen_by(Arc::new(host))), "/data/store")
}

impl Promised {
    fn take_step(&mut self, store: &LocalStore, number: usize, step: &Step) -> Result<(), StoreError> {
        let key = |name: &str| name.parse::<Key>().unwrap();
        match *step {
            Step::PutNew(object) => {
                let Object { promised, possible } = self.objects.entry(OBJECTS[object]).or_default();
                possible.push(body(number));
                let key = key(OBJECTS[object]);
                let made = block_on(store.put_new(&key, body(number).into()))?;
                let found = if made { body(number) } else { block_on(store.get(&key, 10_000))?.unwrap().to_vec() };
                assert!(!made || promised.is_none(), "it was there");
                assert!(promised.as_ref().is_none_or(|promised| *promised == found) || possible.contains(&found));
                (*promised, *possible) = (Some(found), Vec::new());
            }
            Step::Put(object) => {
                let Object { promised, possible } = self.objects.entry(OBJECTS[object]).or_default();
                possible.push(body(number));
                block_on(store.put(&key(OBJECTS[object]), body(number).into()))?;
                (*promised, *possible) = (Some(body(number)), Vec::new());
            }
            Step::Append(log) => {
                let line = line(1_000 + number as u64);
                block_on(store.append(&key(LOGS[log]), (line.clone() + "\n").into()))?;
                self.lines.entry(LOGS[log]).or_default().push(line);
            }
            Step::AppendOnce(log, number) => {
                let line = line(number);
                self.once.entry(LOGS[log]).or_default().push(line.clone());
                let (lines, wanted) = (Bytes::from(line.clone() + "\n"), line.clone());
                let held = Arc::new(move |content: &[u8]| count(content, &wanted) > 0);
                block_on(store.append_unless(&key(LOGS[log]), lines, held))?;
                self.lines.entry(LOGS[log]).or_default().push(line);
            }
        }
        Ok(())
    }

    fn check(&self, disk: &MemoryDisk) {
        let store = store(disk, u64::MAX);
        let read = |name: &str| block_on(store.get(&name.parse().unwrap(), 1 << 20)).unwrap();
        for (name, Object { promised, possible }) in &self.objects {
            let found = read(name).map(|bytes| bytes.to_vec());
            assert!(
                found == *promised || found.as_ref().is_some_and(|found| possible.contains(found)),
                "{name} is {:?}",
                found.map(|found| String::from_utf8_lossy(&found).trim_end().to_owned())
            );
        }
        for (name, lines) in &self.lines {
            let content = read(name).unwrap_or_default();
            assert!(lines.iter().all(|line| count(&content, line) > 0), "{name} lacks a line");
        }
        for (name, lines) in &self.once {
            let content = read(name).unwrap_or_default();
            assert!(lines.iter().all(|line| count(&content, line) < 2), "{name} has a line twice");
        }
        let listed = block_on(store.list(&"runs/one".parse().unwrap())).unwrap();
        assert!(listed.iter().all(|(key, _)| !key.name().contains("tmp")), "{listed:?}");
    }
}

/// How often a log has a line, whole.
fn count(content: &[u8], line: &str) -> usize {
    content.split(|byte| *byte == b'\n').filter(|found| *found == line.as_bytes()).count()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..3).prop_map(Step::PutNew),
        (0_usize..3).prop_map(Step::Put),
        (0_usize..2).prop_map(Step::Append),
        (0_usize..2, 0_u64..3).prop_map(|(log, number)| Step::AppendOnce(log, number)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What was acknowledged is there and whole, and nothing is seen by half.
    #[test]
    fn what_was_acknowledged_outlasts_any_death_and_any_power_loss(
        steps in proptest::collection::vec(step(), 1..10),
        deaths in proptest::collection::vec((0_u64..80, proptest::option::weighted(0.7, any::<u64>())), 0..4),
    ) {
        let disk = MemoryDisk::new();
        let mut promised = Promised::default();
        let mut steps = steps.iter().enumerate();
        for (operations, power) in deaths.into_iter().chain([(u64::MAX, Some(0))]) {
            let store = store(&disk, operations);
            for (number, step) in steps.by_ref() {
                let taken = promised.take_step(&store, number, step);
                promised.check(&disk);
                if taken.is_err() {
                    assert_ne!(operations, u64::MAX, "{taken:?}");
                    break;
                }
            }
            if let Some(seed) = power {
                let mut random = Random::of(&[seed]);
                disk.lose_power(&mut |bound| random.below(bound));
            }
            promised.check(&disk);
        }
    }
}

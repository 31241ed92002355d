//! A test double of a stream: shards, records, resharding, and the faults of a service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, ready};

use super::super::{SequenceNumber, ShardId};
use super::api::{Api, Batch, Fault, Listed, Record, Start};

/// Records of one read.
const LIMIT: usize = 3;

#[derive(Debug, Default)]
struct Shard {
    parents: Vec<usize>,
    records: Vec<(u64, Bytes)>,
    start: u64,
    end: Option<u64>,
    /// Records up to this one are trimmed.
    trimmed: u64,
}

#[derive(Debug, Default)]
struct State {
    there: bool,
    shards: Vec<Shard>,
    next: u64,
    /// Iterators given out before this one have expired.
    expired: u64,
    iterators: u64,
    /// What the next calls get in place of an answer.
    faults: Vec<Fault>,
    /// Calls of each kind.
    calls: BTreeMap<&'static str, usize>,
}

/// The stream. Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::feed) struct Double(Arc<Mutex<State>>);

/// A sequence number of the length that the service's have.
pub(super) fn sequence(number: u64) -> SequenceNumber {
    format!("495{number:053}").parse().unwrap()
}

pub(super) fn shard_id(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

fn index(shard: &ShardId) -> usize {
    shard.as_str().trim_start_matches("shardId-").parse().unwrap()
}

impl Double {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes the stream, with this many shards; again, with others of the same names, where there was one.
    pub(in crate::feed) fn create(&self, shards: usize) {
        let mut state = self.state();
        state.there = true;
        state.shards.clear();
        for _ in 0..shards {
            state.add(Vec::new());
        }
    }

    pub(in crate::feed) fn exists(&self) -> bool {
        self.state().there
    }

    pub(super) fn delete(&self) {
        self.state().there = false;
    }

    /// Puts a record into an open shard.
    pub(in crate::feed) fn put(&self, shard: usize, data: &[u8]) -> SequenceNumber {
        let mut state = self.state();
        assert!(state.shards[shard].end.is_none(), "shard {shard} is closed");
        let number = state.number();
        state.shards[shard].records.push((number, Bytes::copy_from_slice(data)));
        sequence(number)
    }

    pub(super) fn open_shards(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.shards.len()).filter(|shard| state.shards[*shard].end.is_none()).collect()
    }

    /// A shard and all that it came from.
    pub(super) fn lineage(&self, shard: usize) -> Vec<usize> {
        let (state, mut lineage, mut at) = (self.state(), vec![shard], 0);
        while let Some(shard) = lineage.get(at) {
            lineage.extend(state.shards[*shard].parents.clone());
            at += 1;
        }
        lineage
    }

    pub(super) fn split(&self, shard: usize) -> [usize; 2] {
        let mut state = self.state();
        state.close(shard);
        [state.add(vec![shard]), state.add(vec![shard])]
    }

    pub(super) fn merge(&self, one: usize, other: usize) -> usize {
        let mut state = self.state();
        state.close(one);
        state.close(other);
        state.add(vec![one, other])
    }

    /// Every iterator that was given out is of no use any more.
    pub(super) fn expire(&self) {
        let mut state = self.state();
        state.expired = state.iterators;
    }

    /// The next calls fail like this, the last one first.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// All calls from now on succeed.
    pub(super) fn mend(&self) {
        self.state().faults.clear();
    }

    /// Drops the records that a shard holds.
    pub(super) fn trim(&self, shard: usize) {
        let mut state = self.state();
        let shard = &mut state.shards[shard];
        shard.trimmed = shard.records.last().map_or(shard.trimmed, |(number, _)| *number);
        shard.records.clear();
    }

    pub(super) fn calls(&self, kind: &'static str) -> usize {
        self.state().calls.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn list_now(&self) -> Result<Vec<Listed>, Fault> {
        let mut state = self.state();
        state.called("list")?;
        let listed = |(number, shard): (usize, &Shard)| Listed {
            id: shard_id(number),
            parents: shard.parents.iter().map(|parent| shard_id(*parent)).collect(),
            start: sequence(shard.start),
            end: shard.end.map(sequence),
        };
        Ok(state.shards.iter().enumerate().map(listed).collect())
    }

    pub(super) fn iterator_now(&self, shard: &ShardId, start: &Start) -> Result<String, Fault> {
        let mut state = self.state();
        state.called("iterator")?;
        let number = index(shard);
        let Some(known) = state.shards.get(number) else { return Err(Fault::Missing("no such shard".into())) };
        let after = match start {
            Start::TrimHorizon => 0,
            Start::After(after) => {
                let after = after.as_str()[3..].parse::<u64>().unwrap();
                if after < known.start || after < known.trimmed {
                    return Err(Fault::Position("it is not of this shard".into()));
                }
                after
            }
        };
        Ok(state.iterator(number, after))
    }

    pub(super) fn read_now(&self, iterator: &str) -> Result<Batch, Fault> {
        let mut state = self.state();
        state.called("read")?;
        let parts: Vec<u64> = iterator.split('/').map(|part| part.parse().unwrap()).collect();
        let [made, shard, after] = parts[..] else { panic!("{iterator}") };
        if made <= state.expired {
            return Err(Fault::Expired("the iterator is too old".into()));
        }
        let shard = shard as usize;
        let Some(known) = state.shards.get(shard) else { return Err(Fault::Missing("no such shard".into())) };
        let mut left = known.records.iter().filter(|(number, _)| *number > after);
        let records: Vec<_> = left.by_ref().take(LIMIT).cloned().collect();
        let (more, closed) = (left.next().is_some(), known.end.is_some());
        let last = records.last().map_or(after, |(number, _)| *number);
        // As the service does: an iterator as long as there are records, then none for a closed shard.
        let next = if closed && records.is_empty() { None } else { Some(state.iterator(shard, last)) };
        let record =
            |(number, data): (u64, Bytes)| Record { sequence: sequence(number), key: Some("key".to_owned()), data };
        Ok(Batch { records: records.into_iter().map(record).collect(), next, caught_up: !more })
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, parents: Vec<usize>) -> usize {
        let start = self.number();
        self.shards.push(Shard { parents, start, ..Shard::default() });
        self.shards.len() - 1
    }

    fn close(&mut self, shard: usize) {
        assert!(self.shards[shard].end.is_none(), "shard {shard} is closed");
        self.shards[shard].end = Some(self.number());
    }

    fn iterator(&mut self, shard: usize, after: u64) -> String {
        self.iterators += 1;
        format!("{}/{shard}/{after}", self.iterators)
    }

    fn called(&mut self, kind: &'static str) -> Result<(), Fault> {
        *self.calls.entry(kind).or_default() += 1;
        if let Some(fault) = self.faults.pop() {
            return Err(fault);
        }
        if self.there { Ok(()) } else { Err(Fault::Missing("no such stream".into())) }
    }
}

impl Api for Double {
    fn list(&self) -> BoxFuture<'static, Result<Vec<Listed>, Fault>> {
        ready(self.list_now()).boxed()
    }

    fn iterator(&self, shard: ShardId, start: Start) -> BoxFuture<'static, Result<String, Fault>> {
        ready(self.iterator_now(&shard, &start)).boxed()
    }

    fn read(&self, iterator: String) -> BoxFuture<'static, Result<Batch, Fault>> {
        ready(self.read_now(&iterator)).boxed()
    }
}

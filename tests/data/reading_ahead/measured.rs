//! A store in memory that measures: how many bytes of rows it gave out that are still held, and how many were asked for.
//! It can be told to fail and to take its time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader, RowGroupMetaData};
use wsp::store::{Key, MemoryStore, ObjectStore, StoreError, Version};

#[derive(Debug)]
pub(crate) struct Measured {
    objects: MemoryStore,
    held: Arc<Held>,
    log: Mutex<Log>,
    /// Where each object's rows end.
    ends: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Held {
    now: AtomicU64,
    most: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    reads: u64,
    failed: u64,
    bytes: BTreeMap<String, u64>,
    failing: Option<Range<u64>>,
    delays: Vec<u64>,
}

/// Where the rows of a Parquet file end and what its footer is made of begins.
fn end_of_rows(file: &Bytes) -> u64 {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file).unwrap();
    let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    columns.map(ColumnChunkMetaData::byte_range).map(|(start, length)| start + length).max().unwrap_or(0)
}

/// Bytes given out; counted as long as a slice of them is held.
struct Lent {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Measured {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: MemoryStore::new("memory"),
            held: Arc::default(),
            log: Mutex::default(),
            ends: Mutex::default(),
        })
    }

    /// Bytes of rows given out and not yet let go.
    pub(crate) fn held(&self) -> u64 {
        self.held.now.load(Ordering::Relaxed)
    }

    /// The most there ever were since [`Measured::forget`].
    pub(crate) fn most_held(&self) -> u64 {
        self.held.most.load(Ordering::Relaxed)
    }

    /// Bytes of an object's rows read since [`Measured::forget`].
    pub(crate) fn bytes_of(&self, key: &str) -> u64 {
        self.log.lock().unwrap().bytes.get(key).copied().unwrap_or_default()
    }

    /// How many reads failed.
    pub(crate) fn failed(&self) -> u64 {
        self.log.lock().unwrap().failed
    }

    /// Counts anew.
    pub(crate) fn forget(&self) {
        *self.log.lock().unwrap() = Log::default();
        self.held.most.store(self.held(), Ordering::Relaxed);
    }

    /// Lets the reads of these numbers fail, counted from now.
    pub(crate) fn fail_reads(&self, reads: Range<u64>) {
        let mut log = self.log.lock().unwrap();
        log.failing = Some(log.reads + reads.start..log.reads + reads.end);
    }

    /// Answers come after so many milliseconds, in turns.
    pub(crate) fn delay(&self, millis: &[u64]) {
        self.log.lock().unwrap().delays = millis.to_vec();
    }
}

impl wsp::store::Layer for Measured {
    fn inner(&self) -> &dyn ObjectStore {
        &self.objects
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        async move {
            let (delay, fails) = {
                let mut log = self.log.lock().unwrap();
                let read = log.reads;
                log.reads += 1;
                let end = self.ends.lock().unwrap()[key.as_str()];
                let rows = ranges.iter().filter(|range| range.end <= end);
                let bytes: u64 = rows.map(|range| range.end - range.start).sum();
                *log.bytes.entry(key.to_string()).or_default() += bytes;
                let fails = log.failing.as_ref().is_some_and(|failing| failing.contains(&read));
                log.failed += u64::from(fails);
                let delay = log.delays.get(read as usize % log.delays.len().max(1)).copied();
                (delay, fails)
            };
            if let Some(delay) = delay {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            if fails {
                return Err(StoreError::Io { object: self.full_name(key), message: "out of order".to_owned() });
            }
            let read = self.objects.get_ranges(key, version, ranges).await?;
            let end = self.ends.lock().unwrap()[key.as_str()];
            Ok(read
                .into_iter()
                .zip(ranges)
                .map(|(bytes, range)| {
                    if range.end > end {
                        return bytes;
                    }
                    let size = bytes.len() as u64;
                    let now = self.held.now.fetch_add(size, Ordering::Relaxed) + size;
                    self.held.most.fetch_max(now, Ordering::Relaxed);
                    Bytes::from_owner(Lent { bytes, held: self.held.clone() })
                })
                .collect())
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.ends.lock().unwrap().insert(key.to_string(), end_of_rows(&body));
        self.objects.put(key, body)
    }
}

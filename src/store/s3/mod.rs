//! Objects in a bucket of AWS S3 or of a compatible server.
//!
//! ```text
//! S3Store ──► one thread of its own ──► read · write ──► Call: attempts, patience ──► one request ──► S3
//! ```
//!
//! A version is an `ETag`. Conditional writes (`put_new`, `append`) need a server that
//! enforces `If-None-Match: *` and `If-Match` on PUT: AWS, `MinIO` and `SeaweedFS` do.

mod bucket;
mod call;
mod client;
mod failure;
mod io_thread;
mod read;
mod spans;
mod turns;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::s3_root::Location;
use super::{Holds, Key, ObjectMeta, ObjectStore, S3Options, S3RootError, StoreError, Version};
use crate::io_thread::IoThread;
use bucket::Bucket;

/// A bucket's prefix as an object store. Clones share it.
#[derive(Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    thread: Arc<OnceLock<Result<IoThread, String>>>,
}

impl S3Store {
    /// The store below `root`, `s3://bucket` or `s3://bucket/prefix`. Nothing is asked of the network before
    /// the store is used; [`ObjectStore::check`] does so on purpose.
    ///
    /// # Errors
    ///
    /// If `root` is not an address.
    pub fn open(root: &str, options: S3Options) -> Result<Self, S3RootError> {
        let location = Location::parse(root)?;
        Ok(Self { bucket: Arc::new(Bucket::new(location, options)), thread: Arc::default() })
    }

    /// The requests that byte ranges of one object take: neighbours share one, large ranges are cut.
    #[must_use]
    pub fn requests(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let spans = spans::spans(ranges, spans::GAP, spans::PIECE);
        spans.iter().flat_map(|span| spans::pieces(span, spans::PIECE)).collect()
    }

    /// Runs `work` on the store's thread, which its first use starts.
    fn run<'a, T, F>(&'a self, work: impl FnOnce(Arc<Bucket>) -> F + Send + 'a) -> BoxFuture<'a, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        async move {
            let failed = |message| StoreError::Io { object: self.root().to_owned(), message };
            let thread = self.thread.get_or_init(|| IoThread::start("s3").map_err(|error| error.to_string()));
            let thread = thread.as_ref().map_err(|error| failed(format!("has no thread: {error}")))?;
            let done = thread.run(work(self.bucket.clone())).done().await;
            done.unwrap_or_else(|| Err(failed("the request was broken off".to_owned())))
        }
        .boxed()
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("root", &self.root()).finish_non_exhaustive()
    }
}

impl ObjectStore for S3Store {
    fn root(&self) -> &str {
        &self.bucket.location.root
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(|bucket| async move { bucket.check().await })
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        let key = key.clone();
        self.run(|bucket| async move { bucket.head(&key).await })
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let key = key.clone();
        self.run(move |bucket| async move { Ok(bucket.get(&key, limit).await?.map(|(bytes, _)| bytes)) })
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        let (key, version, ranges) = (key.clone(), version.clone(), ranges.to_vec());
        self.run(|bucket| async move { bucket.get_ranges(&key, &version, &ranges).await })
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        let prefix = prefix.clone();
        self.run(|bucket| async move { bucket.list(&prefix).await })
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let prefix = prefix.cloned();
        self.run(|bucket| async move { bucket.folders(prefix.as_ref()).await })
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        let key = key.clone();
        self.run(|bucket| async move { bucket.put_new(&key, &body).await })
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = key.clone();
        self.run(|bucket| async move { bucket.put(&key, &body).await })
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = key.clone();
        self.run(|bucket| async move { bucket.append(&key, &lines, None).await.map(|_| ()) })
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        let key = key.clone();
        self.run(|bucket| async move { bucket.append(&key, &lines, Some(held)).await })
    }
}

//! A store that counts the bytes it returns.
//!
//! ```text
//! reader ──► CountedStore ──► any ObjectStore
//!                 └─ bytes ─► Counter
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::layer::Layer;
use super::{Key, ObjectStore, StoreError, Version};
use crate::telemetry::Counter;

/// Another store, with what is read from it counted.
#[derive(Debug)]
pub struct CountedStore {
    store: Arc<dyn ObjectStore>,
    read: Counter,
}

impl CountedStore {
    /// Counts the bytes read from `store` into `read`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, read: Counter) -> Self {
        Self { store, read }
    }
}

impl Layer for CountedStore {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.store
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let get = self.store.get(key, limit);
        async move {
            let object = get.await?;
            self.read.add(object.as_ref().map_or(0, Bytes::len) as u64);
            Ok(object)
        }
        .boxed()
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        let get = self.store.get_ranges(key, version, ranges);
        async move {
            let chunks = get.await?;
            self.read.add(chunks.iter().map(|chunk| chunk.len() as u64).sum());
            Ok(chunks)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key, MemoryStore, ObjectStore};
    use super::{Arc, Bytes, CountedStore, Counter};

    #[tokio::test]
    async fn what_is_read_is_counted_and_nothing_else() {
        let read = Counter::new();
        let store = CountedStore::new(Arc::new(MemoryStore::new("root")), read.clone());
        let key: Key = "a/b".parse().unwrap();
        store.put(&key, Bytes::from_static(b"0123456789")).await.unwrap();
        let meta = store.head(&key).await.unwrap().unwrap();
        assert_eq!(read.get(), 0);
        store.get(&key, 100).await.unwrap();
        let ranges = [0..3, 5..9];
        store.get_ranges(&key, &meta.version, &ranges).await.unwrap();
        assert_eq!(read.get(), 17);
        assert!(store.get(&key, 1).await.is_err());
        assert_eq!((store.root(), read.get()), ("root", 17));
    }
}

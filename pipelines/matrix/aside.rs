//! A store in front of the real one, for runs that must leave nothing behind.
//!
//! ```text
//! write ──► memory          read ──► memory, else the real store; what is hidden is not there
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use wsp::store::{Holds, Key, MemoryStore, ObjectMeta, ObjectStore, StoreError, Version};

/// Largest object that is copied so that lines can be appended to it, in bytes.
const LIST_LIMIT: u64 = 64 << 20;

/// Reads the real store and keeps writes in memory.
#[derive(Debug)]
pub(super) struct Aside {
    below: Arc<dyn ObjectStore>,
    written: MemoryStore,
    hidden: Vec<String>,
}

impl Aside {
    /// Nothing written yet.
    pub(super) fn new(below: Arc<dyn ObjectStore>) -> Self {
        let written = MemoryStore::new(below.root());
        Self { below, written, hidden: Vec::new() }
    }

    /// Without what the real store holds below `prefix`.
    pub(super) fn hiding(mut self, prefix: &Key) -> Self {
        self.hidden.push(format!("{prefix}/"));
        self
    }

    /// What was written, by key.
    pub(super) fn written(&self) -> MemoryStore {
        self.written.clone()
    }

    fn is_hidden(&self, key: &Key) -> bool {
        let key = format!("{key}/");
        self.hidden.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Copies the object that lines are to be appended to.
    async fn take_over(&self, key: &Key) -> Result<(), StoreError> {
        if self.written.head(key).await?.is_none()
            && !self.is_hidden(key)
            && let Some(standing) = self.below.get(key, LIST_LIMIT).await?
        {
            self.written.put(key, standing).await?;
        }
        Ok(())
    }
}

impl ObjectStore for Aside {
    fn root(&self) -> &str {
        self.below.root()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        async move {
            match self.written.head(key).await? {
                None if !self.is_hidden(key) => self.below.head(key).await,
                found => Ok(found),
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        async move {
            match self.written.get(key, limit).await? {
                None if !self.is_hidden(key) => self.below.get(key, limit).await,
                found => Ok(found),
            }
        }
        .boxed()
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        self.below.get_ranges(key, version, ranges)
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        async move {
            let mut found = self.written.list(prefix).await?;
            if !self.is_hidden(prefix) {
                found.extend(self.below.list(prefix).await?);
            }
            found.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
            found.dedup_by(|(one, _), (other, _)| one == other);
            Ok(found)
        }
        .boxed()
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        async move {
            let hidden = |name: &String| {
                let key = prefix.map_or_else(|| name.parse(), |prefix| prefix.join(name));
                key.is_ok_and(|key| self.is_hidden(&key))
            };
            let mut found = self.written.folders(prefix).await?;
            found.extend(self.below.folders(prefix).await?.into_iter().filter(|name| !hidden(name)));
            found.sort_unstable();
            found.dedup();
            Ok(found)
        }
        .boxed()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            if !self.is_hidden(key) && self.below.head(key).await?.is_some() {
                return Ok(false);
            }
            self.written.put_new(key, body).await
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.written.put(key, body)
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.take_over(key).await?;
            self.written.append(key, lines).await
        }
        .boxed()
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            self.take_over(key).await?;
            self.written.append_unless(key, lines, held).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_real_store_is_read_and_never_written() {
        let real = MemoryStore::new("root");
        let key = |text: &str| text.parse::<Key>().unwrap();
        real.put(&key("run/list.jsonl"), "{}\n".into()).await.unwrap();
        real.put(&key("run/records/a"), "a".into()).await.unwrap();
        let before = real.contents();
        let aside = Aside::new(Arc::new(real.clone())).hiding(&key("run/records"));
        aside.append(&key("run/list.jsonl"), "[]\n".into()).await.unwrap();
        assert!(!aside.put_new(&key("run/list.jsonl"), "x".into()).await.unwrap());
        assert!(aside.put_new(&key("run/records/a"), "b".into()).await.unwrap(), "what is hidden is not there");
        aside.put(&key("run/new"), "n".into()).await.unwrap();
        assert_eq!(aside.get(&key("run/list.jsonl"), 99).await.unwrap().unwrap(), "{}\n[]\n");
        assert_eq!(aside.list(&key("run/records")).await.unwrap().len(), 1);
        assert_eq!(aside.folders(None).await.unwrap(), ["run"]);
        assert_eq!(aside.folders(Some(&key("run"))).await.unwrap(), ["records"], "as far as it was written here");
        assert_eq!((aside.written().contents().len(), real.contents()), (3, before));
    }
}

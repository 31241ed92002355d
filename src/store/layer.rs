//! A store in front of another one, which handles everything that the layer does not override.
//!
//! ```text
//! caller ──► Layer: what it overrides   ──► inner store
//!              └────── everything else ────────▲
//! ```

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Holds, Key, ObjectMeta, ObjectStore, StoreError, Version};

/// A store in front of another. Its provided methods hand on to that one; a layer writes those that it changes. With it
/// comes [`ObjectStore`], so that a new operation of stores is handed on in one place.
pub trait Layer: fmt::Debug + Send + Sync {
    /// The store behind it.
    fn inner(&self) -> &dyn ObjectStore;

    /// As [`ObjectStore::get`].
    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        self.inner().get(key, limit)
    }

    /// As [`ObjectStore::get_ranges`].
    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        self.inner().get_ranges(key, version, ranges)
    }

    /// As [`ObjectStore::put`].
    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().put(key, body)
    }
}

impl<L: Layer> ObjectStore for L {
    fn root(&self) -> &str {
        self.inner().root()
    }

    fn full_name(&self, key: &Key) -> String {
        self.inner().full_name(key)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner().check()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        self.inner().head(key)
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Layer::get(self, key, limit)
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        Layer::get_ranges(self, key, version, ranges)
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        self.inner().list(prefix)
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.inner().folders(prefix)
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner().put_new(key, body)
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        Layer::put(self, key, body)
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().append(key, lines)
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner().append_unless(key, lines, held)
    }
}

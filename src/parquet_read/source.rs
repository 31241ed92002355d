//! One object as bytes: ranges of the version seen first, each whole, every failure an error that names the object.
//!
//! ```text
//! footer, batches ──ranges──► Source ──get_ranges──► ObjectStore
//! ```

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;

use super::error::{ReadError, ReadFault};
use crate::caught::caught;
use crate::store::{Key, ObjectMeta, ObjectStore, StoreError};

/// How many characters of a decoder's message an error keeps.
const MESSAGE_CHARS: usize = 300;

/// A Parquet object in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetObject {
    /// Its name in the store.
    pub key: Key,
    /// Size and version when it was first seen; another version is refused from then on.
    pub meta: ObjectMeta,
}

/// An object's bytes.
#[derive(Debug, Clone)]
pub(super) struct Source {
    store: Arc<dyn ObjectStore>,
    object: ParquetObject,
}

impl Source {
    pub(super) fn new(store: Arc<dyn ObjectStore>, object: ParquetObject) -> Self {
        Self { store, object }
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.object.meta.size
    }

    /// Its full name.
    pub(super) fn name(&self) -> String {
        self.store.full_name(&self.object.key)
    }

    /// The bytes of `range`.
    pub(super) async fn range(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let ranges = [range];
        let chunks = self.ranges(&ranges).await?;
        chunks.into_iter().next().ok_or_else(|| self.unreadable("the store gave nothing"))
    }

    /// The bytes of `ranges`, in their order.
    pub(super) async fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        // A hostile footer may point anywhere; no request for bytes that can't be there leaves this house.
        if let Some(beyond) = ranges.iter().find(|range| range.start > range.end || range.end > self.size()) {
            let (from, to) = (beyond.start, beyond.end);
            return Err(self.unreadable(format!("points to bytes {from}..{to} of {}", self.size())));
        }
        let chunks = self
            .store
            .get_ranges(&self.object.key, &self.object.meta.version, ranges)
            .await
            .map_err(|error| self.failed(&error))?;
        let whole = chunks.len() == ranges.len()
            && chunks.iter().zip(ranges).all(|(chunk, range)| chunk.len() as u64 == range.end - range.start);
        if whole { Ok(chunks) } else { Err(self.unreadable("the store gave fewer bytes than asked for")) }
    }

    /// An error because the object is not the Parquet it should be.
    pub(super) fn unreadable(&self, detail: impl Display) -> ReadError {
        let detail: String = detail.to_string().chars().take(MESSAGE_CHARS).collect();
        ReadError::new(ReadFault::Unreadable, detail).object(self.name())
    }

    /// The same because of one column, which `path` names.
    pub(super) fn unreadable_column(&self, path: &str, detail: impl Display) -> ReadError {
        self.unreadable(detail).column(path.chars().take(MESSAGE_CHARS).collect::<String>())
    }

    /// Runs a step of the Parquet decoder; see [`Source::guard`].
    pub(super) fn decode<T>(&self, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ReadError> {
        self.guard(step)?.map_err(|error| self.unreadable(error))
    }

    /// Runs code of the Parquet library. Its asserts can be reached with broken files; such a panic is that file's fault
    /// and must not take the process along.
    pub(super) fn guard<T>(&self, step: impl FnOnce() -> T) -> Result<T, ReadError> {
        caught(step).map_err(|text| self.unreadable(format!("the decoder gave up: {text}")))
    }

    fn failed(&self, error: &StoreError) -> ReadError {
        let fault = match error {
            StoreError::Changed { .. } => ReadFault::Changed,
            StoreError::Outside { .. } => ReadFault::Outside,
            StoreError::TooLarge { .. } | StoreError::NotAnObject { .. } => ReadFault::Unreadable,
            StoreError::Io { .. } => ReadFault::Unavailable,
        };
        ReadError::new(fault, error.to_string()).object(self.name())
    }
}

//! One part as bytes: ranges of the version seen first, each whole, every failure a refusal that names the part.
//!
//! ```text
//! footer, batches ──ranges──► Source ──get_ranges──► ObjectStore
//! ```

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use wsp::caught::caught;
use wsp::store::{ObjectStore, StoreError};

use super::view_files::ViewFile;
use crate::model::{Reason, Refusal};

/// How many characters of a decoder's message a refusal keeps.
const MESSAGE_CHARS: usize = 300;

/// A part's bytes.
#[derive(Debug, Clone)]
pub(super) struct Source {
    store: Arc<dyn ObjectStore>,
    file: ViewFile,
}

impl Source {
    pub(super) fn new(store: Arc<dyn ObjectStore>, file: ViewFile) -> Self {
        Self { store, file }
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.file.meta.size
    }

    /// The part's full name, as cursors and refusals spell it.
    pub(super) fn name(&self) -> String {
        self.store.full_name(&self.file.key)
    }

    /// The bytes of `range`.
    pub(super) async fn range(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        let ranges = [range];
        let chunks = self.ranges(&ranges).await?;
        chunks.into_iter().next().ok_or_else(|| self.unreadable("the store gave nothing"))
    }

    /// The bytes of `ranges`, in their order.
    pub(super) async fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Refusal> {
        // A hostile footer may point anywhere; no request for bytes that can't be there leaves this house.
        if let Some(beyond) = ranges.iter().find(|range| range.start > range.end || range.end > self.size()) {
            let (from, to) = (beyond.start, beyond.end);
            return Err(self.unreadable(format!("points to bytes {from}..{to} of {}", self.size())));
        }
        let chunks = self
            .store
            .get_ranges(&self.file.key, &self.file.meta.version, ranges)
            .await
            .map_err(|error| self.failed(&error))?;
        let whole = chunks.len() == ranges.len()
            && chunks.iter().zip(ranges).all(|(chunk, range)| chunk.len() as u64 == range.end - range.start);
        if whole { Ok(chunks) } else { Err(self.unreadable("the store gave fewer bytes than asked for")) }
    }

    /// A refusal because the part is not the Parquet it should be.
    pub(super) fn unreadable(&self, detail: impl Display) -> Refusal {
        let detail: String = detail.to_string().chars().take(MESSAGE_CHARS).collect();
        Refusal::new(Reason::StreamViewUnreadable, detail).file(self.name())
    }

    /// The same because of one column, which `path` names.
    pub(super) fn unreadable_column(&self, path: &str, detail: impl Display) -> Refusal {
        self.unreadable(detail).field(path.chars().take(MESSAGE_CHARS).collect::<String>())
    }

    /// Runs a step of the Parquet decoder; see [`Source::guard`].
    pub(super) fn decode<T>(&self, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Refusal> {
        self.guard(step)?.map_err(|error| self.unreadable(error))
    }

    /// Runs code of the Parquet library. Its asserts can be reached with broken files; such a panic is that file's fault
    /// and must not take the process along.
    pub(super) fn guard<T>(&self, step: impl FnOnce() -> T) -> Result<T, Refusal> {
        caught(step).map_err(|text| self.unreadable(format!("the decoder gave up: {text}")))
    }

    fn failed(&self, error: &StoreError) -> Refusal {
        let reason = match error {
            StoreError::Changed { .. } => Reason::StreamViewChanged,
            StoreError::Outside { .. } => Reason::RefOutsideRoot,
            StoreError::TooLarge { .. } | StoreError::NotAnObject { .. } => Reason::StreamViewUnreadable,
            StoreError::Io { .. } => Reason::StoreUnavailable,
        };
        Refusal::new(reason, error.to_string()).file(self.name())
    }
}

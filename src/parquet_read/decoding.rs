//! A slice being decoded: what the decoder asks for is taken from what was fetched ahead, else from the store.
//!
//! ```text
//! Loaded ──► decoder ⇄ ranges: fetched ahead, or now ──► RecordBatch …
//! ```

use std::ops::Range;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::push_decoder::ParquetPushDecoder;

use super::error::{ReadError, RowsError};
use super::filter::{RowFilter, Sieve};
use super::loading::Loaded;
use super::texts::{NO_UTF8, is_utf8};

/// A slice being decoded.
pub(super) struct Open<E> {
    pub(super) loaded: Loaded,
    decoder: ParquetPushDecoder,
    /// What its filter has seen, where it has one.
    pub(super) sieve: Option<Sieve<E>>,
    /// The decoder has not checked each text by itself.
    checks_texts: bool,
}

impl<E: Send + 'static> Open<E> {
    /// Its first `limit` rows, or those that `filter` picks and `sieve` sees.
    pub(super) fn new(
        loaded: Loaded,
        limit: u64,
        filter: Option<&RowFilter<E>>,
        sieve: Option<Sieve<E>>,
    ) -> Result<Self, ReadError> {
        let decoder = loaded.part.decoder(&loaded.slice, limit, filter.zip(sieve.clone()))?;
        Ok(Self { loaded, decoder, sieve, checks_texts: false })
    }

    /// The next rows, or `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, RowsError<E>> {
        loop {
            let part = self.loaded.part.clone();
            let source = &part.source;
            let step = match source.decode(|| self.decoder.try_decode()) {
                Ok(step) => step,
                Err(error) => return Err(self.blamed(error).await.into()),
            };
            match step {
                DecodeResult::NeedsData(ranges) => {
                    // No row behind a refused one is needed.
                    if let Some(refused) = self.sieve.as_ref().and_then(|sieve| sieve.lock().refused()) {
                        return Err(refused);
                    }
                    let chunks = self.loaded.bytes_of(&ranges).await?;
                    let given: Vec<_> = ranges.iter().zip(&chunks).collect();
                    if part.vet(&self.loaded.slice, &given)? {
                        self.checks_texts = true;
                        if let Some(sieve) = &self.sieve {
                            sieve.lock().checks_texts = true;
                        }
                    }
                    source.decode(|| self.decoder.push_ranges(ranges, chunks))?;
                }
                DecodeResult::Data(rows) => {
                    if self.checks_texts && !rows.columns().iter().all(is_utf8) {
                        return Err(source.unreadable(NO_UTF8).into());
                    }
                    return Ok(Some(rows));
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }

    /// The error with the row group and, if one column can't be decoded by itself, its name.
    async fn blamed(&mut self, error: ReadError) -> ReadError {
        let Self { loaded, .. } = self;
        let part = loaded.part.clone();
        let detail = format!("row group {}, {}", loaded.slice.group, error.detail);
        let error = ReadError { detail, ..error };
        let slice = loaded.slice.clone();
        for (name, decoder) in part.decoders_apart(&slice) {
            let Ok(decoder) = decoder else { return error.column(name) };
            match loaded.decodes(decoder).await {
                Ok(true) => {}
                Ok(false) => return error.column(name),
                Err(_) => break,
            }
        }
        error
    }
}

impl Loaded {
    /// The bytes of these ranges: those that are held, and those of the store. All of them are held from now on.
    async fn bytes_of(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        let Self { part, bytes, .. } = self;
        let missing: Vec<_> = ranges.iter().filter(|range| bytes.get(range).is_none()).cloned().collect();
        let fetched = if missing.is_empty() { Vec::new() } else { part.source.ranges(&missing).await? };
        bytes.add(missing, fetched);
        Ok(ranges.iter().filter_map(|range| bytes.get(range)).collect())
    }

    /// Whether all that `decoder` is asked for can be decoded.
    async fn decodes(&mut self, mut decoder: ParquetPushDecoder) -> Result<bool, ReadError> {
        loop {
            match self.part.source.decode(|| decoder.try_decode()) {
                Ok(DecodeResult::NeedsData(ranges)) => {
                    let chunks = self.bytes_of(&ranges).await?;
                    if self.part.source.decode(|| decoder.push_ranges(ranges, chunks)).is_err() {
                        return Ok(false);
                    }
                }
                Ok(DecodeResult::Data(_)) => {}
                Ok(DecodeResult::Finished) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }
}

//! A slice being decoded: what the decoder asks for is taken from what was fetched ahead, else from the store.
//!
//! ```text
//! Loaded ──► decoder ⇄ ranges: fetched ahead, or now ──► RecordBatch …
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::push_decoder::ParquetPushDecoder;

use super::filter::{RowFilter, Sieve};
use super::loading::Loaded;
use crate::model::Refusal;

/// A slice being decoded.
pub(super) struct Open {
    pub(super) loaded: Loaded,
    decoder: ParquetPushDecoder,
    /// What its filter has seen, where it has one.
    pub(super) sieve: Option<Sieve>,
    /// The decoder has not checked each text by itself.
    checks_texts: bool,
}

impl Open {
    /// Its first `limit` rows, or those that `filter` picks and `sieve` sees.
    pub(super) fn new(
        loaded: Loaded,
        limit: u64,
        filter: Option<&RowFilter>,
        sieve: Option<Sieve>,
    ) -> Result<Self, Refusal> {
        let decoder = loaded.part.decoder(&loaded.slice, limit, filter.zip(sieve.clone()))?;
        Ok(Self { loaded, decoder, sieve, checks_texts: false })
    }

    /// The next rows, or `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Refusal> {
        loop {
            let part = self.loaded.part.clone();
            let source = &part.source;
            let step = match source.decode(|| self.decoder.try_decode()) {
                Ok(step) => step,
                Err(refusal) => return Err(self.blamed(refusal).await),
            };
            match step {
                DecodeResult::NeedsData(ranges) => {
                    // No row behind a refused one is needed.
                    if let Some(refusal) = self.sieve.as_ref().and_then(|sieve| sieve.lock().refusal()) {
                        return Err(refusal);
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
                        return Err(source.unreadable("a text column holds bytes that are not UTF-8"));
                    }
                    return Ok(Some(rows));
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }

    /// The refusal with the row group and, if one column can't be decoded by itself, its name.
    async fn blamed(&mut self, refusal: Refusal) -> Refusal {
        let Self { loaded, .. } = self;
        let part = loaded.part.clone();
        let detail = format!("row group {}, {}", loaded.slice.group, refusal.detail);
        let refusal = Refusal { detail, ..refusal };
        let slice = loaded.slice.clone();
        for (name, decoder) in part.decoders_apart(&slice) {
            let Ok(decoder) = decoder else { return refusal.field(name) };
            match loaded.decodes(decoder).await {
                Ok(true) => {}
                Ok(false) => return refusal.field(name),
                Err(_) => break,
            }
        }
        refusal
    }
}

impl Loaded {
    /// The bytes of these ranges: those that are held, and those of the store. All of them are held from now on.
    async fn bytes_of(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Refusal> {
        let Self { part, bytes, .. } = self;
        let missing: Vec<_> = ranges.iter().filter(|range| bytes.get(range).is_none()).cloned().collect();
        let fetched = if missing.is_empty() { Vec::new() } else { part.source.ranges(&missing).await? };
        bytes.add(missing, fetched);
        Ok(ranges.iter().filter_map(|range| bytes.get(range)).collect())
    }

    /// Whether all that `decoder` is asked for can be decoded.
    async fn decodes(&mut self, mut decoder: ParquetPushDecoder) -> Result<bool, Refusal> {
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

/// Whether every text in `array` is UTF-8, which the decoder does not check of each by itself where texts run together.
pub(super) fn is_utf8(array: &Arc<dyn Array>) -> bool {
    fn all<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> bool {
        values.all(|text| text.is_none_or(|text| std::str::from_utf8(text.as_bytes()).is_ok()))
    }
    match array.data_type() {
        DataType::Utf8 => all(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => all(array.as_string::<i64>().iter()),
        DataType::Utf8View => all(array.as_string_view().iter()),
        DataType::List(_) => is_utf8(array.as_list::<i32>().values()),
        DataType::LargeList(_) => is_utf8(array.as_list::<i64>().values()),
        DataType::ListView(_) => is_utf8(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => is_utf8(array.as_list_view::<i64>().values()),
        DataType::FixedSizeList(..) => is_utf8(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().all(is_utf8),
        DataType::Map(..) => array.as_map().entries().columns().iter().all(is_utf8),
        DataType::Dictionary(..) => is_utf8(array.as_any_dictionary().values()),
        _ => true,
    }
}

//! A column chunk's pages, found by their own headers: where they lie, which rows begin in them, and whether they add up to
//! what the footer says.
//!
//! ```text
//! chunk's bytes, piece by piece ──► Walk: page after page ──► Pages { locations, … }
//! ```
//!
//! An offset index says the same, and nothing holds it to what it says: one that is a row off makes the decoder give a row
//! another row's values. So it is not read, and what a cut relies on is found here.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use crate::parquet_types::thrift::Fault;
use bytes::{Buf, Bytes};
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length, SerializedPageReader};

use super::page::{self, Content, Data, Header, Rows, rows_v1, rows_v2};

/// Bytes looked at for a header where nothing is known of it. Several small pages may lie in them.
pub const HEAD_BYTES: u64 = 16 * 1024;
/// A longer header is no header. Statistics of long texts may stand in it.
const MAX_HEAD_BYTES: u64 = 16 << 20;

const INT96_BYTES: usize = 12;
/// The Julian day of 1970-01-01.
const EPOCH_DAY: i64 = 2_440_588;
/// So many days from it on and back, and any nanoseconds beside them, 64 bits hold in microseconds: 291,000 years.
const MAX_DAYS: i64 = 106_600_000;

/// The pages of one column of a row group.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// Where the data pages lie that hold anything, in order.
    pub locations: Vec<PageLocation>,
    /// Whether each of them begins with a row, and what stands before the first is the dictionary or nothing.
    pub can_be_cut: bool,
    /// See [`Data::runs_texts_together`].
    pub runs_texts_together: bool,
}

/// Goes from page to page.
#[derive(Debug)]
pub struct Walk<'a> {
    column: &'a ColumnChunkMetaData,
    chunk: Range<u64>,
    /// The row group's rows.
    rows: u64,
    /// Where the next page begins in the file.
    at: u64,
    page: usize,
    /// Values and rows of the pages so far.
    values: u64,
    begun: u64,
    has_dictionary: bool,
    pages: Pages,
}

impl<'a> Walk<'a> {
    /// Over the chunk of `column`, whose row group has so many rows.
    pub fn new(column: &'a ColumnChunkMetaData, rows: u64) -> Self {
        let (start, length) = column.byte_range();
        let pages = Pages { can_be_cut: true, ..Pages::default() };
        let chunk = start..start.saturating_add(length);
        Self { column, chunk, rows, at: start, page: 0, values: 0, begun: 0, has_dictionary: false, pages }
    }

    /// The bytes still to come.
    pub fn left(&self) -> Range<u64> {
        self.at..self.chunk.end
    }

    /// Takes in the page that `bytes` begin with, the chunk's next ones. `Some` if it needs as many of them as it says.
    ///
    /// # Errors
    ///
    /// What is wrong with the page.
    pub fn step(&mut self, bytes: &Bytes) -> Result<Option<u64>, String> {
        let left = self.chunk.end - self.at;
        let held = bytes.len() as u64;
        let header = match Header::read(bytes) {
            Ok(header) => header,
            Err(Fault::Short) if held < left && held < MAX_HEAD_BYTES => {
                return Ok(Some((2 * held).max(HEAD_BYTES).min(left)));
            }
            Err(_) => return Err(self.at_page("no page header")),
        };
        let whole = header.page_bytes();
        if whole > left {
            return Err(self.at_page(format!("takes {whole} bytes, {left} are left of its column")));
        }
        let needed = self.bytes_to_see(&header);
        if needed > whole {
            return Err(self.at_page("more levels than bytes"));
        }
        if needed > held {
            return Ok(Some(needed));
        }
        if self.is_int96() && !matches!(header.content, Content::Other) {
            self.check_times(bytes.slice(..whole as usize)).map_err(|what| self.at_page(what))?;
        }
        match header.content {
            Content::Dictionary if self.has_dictionary || !self.pages.locations.is_empty() => {
                return Err(self.at_page("a dictionary behind other pages"));
            }
            Content::Dictionary => self.has_dictionary = true,
            Content::Data(data) | Content::DataV2(data) => self.take(&header, &data, bytes)?,
            Content::Other => self.pages.can_be_cut = false,
        }
        self.at += whole;
        self.page += 1;
        Ok(None)
    }

    /// What was found, once no bytes are left.
    ///
    /// # Errors
    ///
    /// The pages do not add up to what the footer says.
    pub fn finish(self) -> Result<Pages, String> {
        let claimed = u64::try_from(self.column.num_values()).unwrap_or(0);
        if self.values != claimed {
            return Err(format!("its pages hold {} values, the footer says {claimed}", self.values));
        }
        if self.begun != self.rows {
            return Err(format!("its pages hold {} rows, its row group has {}", self.begun, self.rows));
        }
        Ok(self.pages)
    }

    /// How many of a page's first bytes have to be looked at.
    fn bytes_to_see(&self, header: &Header) -> u64 {
        let (head, is_nested) = (header.length as u64, self.max_level() > 0);
        match header.content {
            Content::Dictionary | Content::Data(_) | Content::DataV2(_) if self.is_int96() => header.page_bytes(),
            Content::Data(_) if is_nested => header.page_bytes(),
            Content::DataV2(data) if is_nested => head.saturating_add(data.level_bytes),
            _ => head,
        }
    }

    fn take(&mut self, header: &Header, data: &Data, bytes: &Bytes) -> Result<(), String> {
        let column = self.column.column_descr();
        if !data.has_readable_levels(column.max_def_level() > 0, self.max_level() > 0) {
            return Err(self.at_page("levels in an encoding that was given up"));
        }
        let is_v2 = matches!(header.content, Content::DataV2(_));
        let rows = self.rows_of(header, data, bytes)?;
        if is_v2 && rows.count != data.rows {
            return Err(self.at_page(format!("says {} rows and holds {}", data.rows, rows.count)));
        }
        if data.values > 0 && !rows.begins {
            // Readers take a page of version 2 for one that begins with a row, so that this one's row would become two.
            if is_v2 || self.values == 0 {
                return Err(self.at_page("begins within a row"));
            }
            self.pages.can_be_cut = false;
        }
        self.pages.runs_texts_together |= data.runs_texts_together();
        if data.values > 0 {
            self.locate(header);
        }
        self.values = self.values.saturating_add(data.values);
        self.begun = self.begun.saturating_add(rows.count);
        Ok(())
    }

    fn locate(&mut self, header: &Header) {
        let is_first = self.pages.locations.is_empty();
        // The decoder takes all that stands before the first page for the dictionary.
        self.pages.can_be_cut &= !is_first || self.page == usize::from(self.has_dictionary);
        let place = (i64::try_from(self.at), i32::try_from(header.page_bytes()), i64::try_from(self.begun));
        let (Ok(offset), Ok(compressed_page_size), Ok(first_row_index)) = place else {
            self.pages.can_be_cut = false;
            return;
        };
        self.pages.locations.push(PageLocation { offset, compressed_page_size, first_row_index });
    }

    fn rows_of(&self, header: &Header, data: &Data, bytes: &Bytes) -> Result<Rows, String> {
        let max_level = self.max_level();
        if max_level == 0 {
            return Ok(Rows { count: data.values, begins: true });
        }
        let rows = if let Content::DataV2(_) = header.content {
            rows_v2(data, &bytes[header.length..][..data.level_bytes as usize], max_level)
        } else {
            let page = bytes.slice(..header.page_bytes() as usize);
            let page = self.decompressed(page).map_err(|error| self.at_page(error))?;
            rows_v1(data, page.buffer(), max_level)
        };
        rows.map_err(|_| self.at_page("repetition levels that can't be read"))
    }

    /// Whether all times of a page of INT96 can be told in microseconds. The decoder's wrap around.
    fn check_times(&self, page: Bytes) -> Result<(), String> {
        let page = self.decompressed(page).map_err(|error| error.to_string())?;
        let column = self.column.column_descr();
        let (times, count) = match &page {
            Page::DictionaryPage { buf, num_values, .. } => (Some(&buf[..]), *num_values),
            Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. } => {
                (page::values_v1(buf, column.max_rep_level() > 0, column.max_def_level() > 0), *num_values)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding: Encoding::PLAIN,
                rep_levels_byte_len: repetitions,
                def_levels_byte_len: definitions,
                ..
            } => (buf.get(*repetitions as usize + *definitions as usize..), *num_values),
            // Their values are in the dictionary.
            _ => return Ok(()),
        };
        let times = times.ok_or("levels that can't be read")?.chunks_exact(INT96_BYTES).take(count as usize);
        match times.map(int96_day).find(|day| (day - EPOCH_DAY).abs() > MAX_DAYS) {
            None => Ok(()),
            Some(day) => Err(format!("an INT96 time on Julian day {day}, which microseconds can't hold")),
        }
    }

    /// The page at hand.
    fn decompressed(&self, page: Bytes) -> Result<Page, ParquetError> {
        let too_large = |_| ParquetError::General("a page beyond what offsets can say".to_owned());
        let location = PageLocation {
            offset: i64::try_from(self.at).map_err(too_large)?,
            compressed_page_size: i32::try_from(page.len()).map_err(too_large)?,
            first_row_index: 0,
        };
        let reader = Arc::new(OnePage { at: self.at, bytes: page });
        let mut reader = SerializedPageReader::new(reader, self.column, self.rows as usize, Some(vec![location]))?;
        if self.at != self.chunk.start {
            // It infers a dictionary before its first page.
            reader.skip_next_page()?;
        }
        reader.get_next_page()?.ok_or_else(|| ParquetError::General("no page".to_owned()))
    }

    fn is_int96(&self) -> bool {
        self.column.column_type() == PhysicalType::INT96
    }

    fn max_level(&self) -> u16 {
        u16::try_from(self.column.column_descr().max_rep_level()).unwrap_or(0)
    }

    fn at_page(&self, what: impl Display) -> String {
        format!("page {} at byte {}: {what}", self.page, self.at)
    }
}

/// The pages of `column`, whose chunk `bytes` are.
///
/// # Errors
///
/// What is wrong with them.
pub fn pages_of(column: &ColumnChunkMetaData, rows: u64, bytes: &Bytes) -> Result<Pages, String> {
    let mut walk = Walk::new(column, rows);
    let start = walk.at;
    if bytes.len() as u64 != walk.chunk.end - start {
        return Err(format!("{} bytes, the footer says {}", bytes.len(), walk.chunk.end - start));
    }
    while !walk.left().is_empty() {
        let rest = bytes.slice((walk.at - start) as usize..);
        if walk.step(&rest)?.is_some() {
            return Err(walk.at_page("goes on behind its column's bytes"));
        }
    }
    walk.finish()
}

fn int96_day(time: &[u8]) -> i64 {
    let day = time[8..].iter().rev().fold(0_u32, |day, byte| day << 8 | u32::from(*byte));
    i64::from(day.cast_signed())
}

/// A page's bytes as the library reads them.
struct OnePage {
    at: u64,
    bytes: Bytes,
}

impl Length for OnePage {
    fn len(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

impl ChunkReader for OnePage {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.get_bytes(start, self.bytes.len())?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start != self.at || length > self.bytes.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not this page's")));
        }
        Ok(self.bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests;

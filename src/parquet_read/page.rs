//! One page of a column chunk: what its header says, and how many rows begin in it.
//!
//! ```text
//! bytes ──► Header ──repetition levels, where the column has any──► Rows { count, whether the first begins here }
//! ```

use crate::parquet_types::thrift::{Fault, Kind, Reader, varint};

/// A page's header, as far as its place and its rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its own length, in bytes.
    pub length: usize,
    /// What follows it, in bytes, as stored.
    pub body: u64,
    /// What the page holds.
    pub content: Content,
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The values that data pages point to.
    Dictionary,
    /// Values, with their levels among the compressed bytes.
    Data(Data),
    /// Values, with their levels ahead of the compressed bytes.
    DataV2(Data),
    /// Nothing that readers need.
    Other,
}

/// What a data page's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Data {
    /// Values, nulls included.
    pub values: u64,
    /// Rows; only version 2 says so.
    pub rows: u64,
    /// How the values are encoded.
    pub encoding: i64,
    /// How definition and repetition levels are encoded; version 2 has but one way.
    pub levels: (i64, i64),
    /// Bytes that the repetition levels take; only version 2 says so.
    pub level_bytes: u64,
}

const LEVELS_RLE: i64 = 3;
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;

impl Data {
    /// Whether its levels are encoded in the one way that is in use. The other one, given up in 2013, is read by some with
    /// the highest bit first, as it is specified, and by others with the lowest.
    pub fn has_readable_levels(&self, has_definitions: bool, has_repetitions: bool) -> bool {
        (!has_definitions || self.levels.0 == LEVELS_RLE) && (!has_repetitions || self.levels.1 == LEVELS_RLE)
    }

    /// Whether the texts stand one behind the other without a mark between them. The decoder checks their bytes as one
    /// text then, in which a character may be cut in two.
    pub fn runs_texts_together(&self) -> bool {
        matches!(self.encoding, DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY)
    }
}

impl Header {
    /// Reads the header that `bytes` begin with.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let (mut kind, mut body) = (None, None);
        let (mut data, mut data_v2, mut dictionary) = (None, None, false);
        let mut last = 0;
        while let Some((id, field)) = reader.field(last)? {
            match (id, field) {
                (1, Kind::Int) => kind = Some(reader.int()?),
                (3, Kind::Int) => body = Some(count(reader.int()?)?),
                (5, Kind::Struct) => data = Some(Self::data(&mut reader)?),
                (7, Kind::Struct) => {
                    dictionary = true;
                    reader.skip(field)?;
                }
                (8, Kind::Struct) => data_v2 = Some(Self::data_v2(&mut reader)?),
                _ => reader.skip(field)?,
            }
            last = id;
        }
        let content = match kind.ok_or(Fault::Malformed)? {
            0 => Content::Data(data.ok_or(Fault::Malformed)?),
            1 => Content::Other,
            2 if dictionary => Content::Dictionary,
            3 => Content::DataV2(data_v2.ok_or(Fault::Malformed)?),
            _ => return Err(Fault::Malformed),
        };
        Ok(Self { length: reader.at(), body: body.ok_or(Fault::Malformed)?, content })
    }

    /// Its length and its body's.
    pub fn page_bytes(&self) -> u64 {
        (self.length as u64).saturating_add(self.body)
    }

    fn data(reader: &mut Reader<'_>) -> Result<Data, Fault> {
        let (mut data, mut last) = (Data::default(), 0);
        while let Some((id, field)) = reader.field(last)? {
            match (id, field) {
                (1, Kind::Int) => data.values = count(reader.int()?)?,
                (2, Kind::Int) => data.encoding = reader.int()?,
                (3, Kind::Int) => data.levels.0 = reader.int()?,
                (4, Kind::Int) => data.levels.1 = reader.int()?,
                _ => reader.skip(field)?,
            }
            last = id;
        }
        Ok(data)
    }

    fn data_v2(reader: &mut Reader<'_>) -> Result<Data, Fault> {
        let (mut data, mut last) = (Data { levels: (LEVELS_RLE, LEVELS_RLE), ..Data::default() }, 0);
        while let Some((id, field)) = reader.field(last)? {
            match (id, field) {
                (1, Kind::Int) => data.values = count(reader.int()?)?,
                (3, Kind::Int) => data.rows = count(reader.int()?)?,
                (4, Kind::Int) => data.encoding = reader.int()?,
                (6, Kind::Int) => data.level_bytes = count(reader.int()?)?,
                _ => reader.skip(field)?,
            }
            last = id;
        }
        Ok(data)
    }
}

/// A count or a length: 32 bits, and not less than nothing.
fn count(number: i64) -> Result<u64, Fault> {
    i32::try_from(number).ok().and_then(|number| u64::try_from(number).ok()).ok_or(Fault::Malformed)
}

/// The rows of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// How many begin in it.
    pub count: u64,
    /// Whether its first value begins a row, or goes on with the last one of the page before.
    pub begins: bool,
}

/// The rows of a version 1 page of a column of such repetition levels; `body` is decompressed.
pub fn rows_v1(data: &Data, body: &[u8], max_level: u16) -> Result<Rows, Fault> {
    let (length, levels) = body.split_at_checked(4).ok_or(Fault::Short)?;
    count_hybrid(levels.get(..little_endian(length)).ok_or(Fault::Short)?, data.values, max_level)
}

/// The values of a version 1 page behind its levels; `body` is decompressed.
pub fn values_v1(body: &[u8], has_repetitions: bool, has_definitions: bool) -> Option<&[u8]> {
    let mut rest = body;
    for _ in 0..usize::from(has_repetitions) + usize::from(has_definitions) {
        let (length, levels) = rest.split_at_checked(4)?;
        rest = levels.get(little_endian(length)..)?;
    }
    Some(rest)
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The rows of a version 2 page of a column of such repetition levels; `levels` are the page's first bytes, as many as
/// its header says.
pub fn rows_v2(data: &Data, levels: &[u8], max_level: u16) -> Result<Rows, Fault> {
    count_hybrid(levels, data.values, max_level)
}

fn bits(max_level: u16) -> usize {
    (u16::BITS - max_level.leading_zeros()) as usize
}

/// Zeros among the first `values` levels of runs and packed groups, lowest bits first.
fn count_hybrid(mut levels: &[u8], values: u64, max_level: u16) -> Result<Rows, Fault> {
    let width = bits(max_level);
    let (mut left, mut rows) = (values, Rows { count: 0, begins: false });
    while left > 0 {
        let (head, length) = varint(levels)?;
        levels = &levels[length..];
        let first = left == values;
        let (taken, zeros, first_is_zero) = if head & 1 == 0 {
            let taken = (head >> 1).min(left);
            let (level, rest) = levels.split_at_checked(width.div_ceil(8)).ok_or(Fault::Short)?;
            levels = rest;
            let is_zero = level.iter().all(|byte| *byte == 0);
            (taken, if is_zero { taken } else { 0 }, is_zero)
        } else {
            let groups = usize::try_from(head >> 1).map_err(|_| Fault::Malformed)?;
            let length = groups.checked_mul(width).ok_or(Fault::Malformed)?;
            // The last group may be cut short behind the last value.
            let packed = &levels[..length.min(levels.len())];
            levels = &levels[packed.len()..];
            let present = (packed.len() * 8 / width) as u64;
            let taken = (groups as u64).saturating_mul(8).min(left);
            if present < taken {
                return Err(Fault::Short);
            }
            let level = |i: u64| {
                let from = i as usize * width;
                (from..from + width).any(|bit| packed[bit / 8] >> (bit % 8) & 1 == 1)
            };
            (taken, (0..taken).filter(|i| !level(*i)).count() as u64, taken > 0 && !level(0))
        };
        if taken == 0 {
            return Err(Fault::Malformed);
        }
        rows.count += zeros;
        rows.begins |= first && first_is_zero;
        left -= taken;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of levels as a writer puts them: `(level, count)` a run, a slice of levels a packed group of eight.
    enum Piece<'a> {
        Run(u8, u8),
        Packed(&'a [u8]),
    }

    fn hybrid(pieces: &[Piece<'_>], width: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Run(level, count) => out.extend([count << 1, *level]),
                Piece::Packed(levels) => {
                    out.push((levels.len() as u8).div_ceil(8) << 1 | 1);
                    let mut packed = vec![0_u8; levels.len().div_ceil(8) * width];
                    for (i, level) in levels.iter().enumerate() {
                        for bit in 0..width {
                            let at = i * width + bit;
                            packed[at / 8] |= (level >> bit & 1) << (at % 8);
                        }
                    }
                    out.extend(packed);
                }
            }
        }
        out
    }

    fn of(values: u64) -> Data {
        Data { values, levels: (LEVELS_RLE, LEVELS_RLE), ..Data::default() }
    }

    #[test]
    fn rows_begin_at_level_zero() {
        let levels = hybrid(&[Piece::Packed(&[0, 1, 1, 0, 1, 0, 0, 0]), Piece::Run(1, 5), Piece::Run(0, 3)], 1);
        assert_eq!(rows_v2(&of(16), &levels, 1), Ok(Rows { count: 8, begins: true }));
        assert_eq!(rows_v2(&of(14), &levels, 1), Ok(Rows { count: 6, begins: true }));
        assert_eq!(rows_v2(&of(3), &levels, 1), Ok(Rows { count: 1, begins: true }));
        assert_eq!(rows_v2(&of(17), &levels, 1), Err(Fault::Short));
        assert_eq!(rows_v2(&of(0), &[], 1), Ok(Rows { count: 0, begins: false }));
        assert_eq!(rows_v2(&of(1), &hybrid(&[Piece::Packed(&[0])], 1), 1), Ok(Rows { count: 1, begins: true }));
        let levels = hybrid(&[Piece::Run(2, 2), Piece::Packed(&[0, 3, 3, 0, 1])], 2);
        assert_eq!(rows_v2(&of(7), &levels, 3), Ok(Rows { count: 2, begins: false }));
        let mut body = (levels.len() as u32).to_le_bytes().to_vec();
        body.extend(&levels);
        body.extend([0xff; 3]);
        assert_eq!(rows_v1(&of(7), &body, 3), Ok(Rows { count: 2, begins: false }));
        assert_eq!(rows_v1(&of(7), &body[..6], 3), Err(Fault::Short));
        assert_eq!(rows_v2(&of(9), &[0x00, 0x00], 3), Err(Fault::Malformed), "a run of nothing");
    }

    #[test]
    fn values_stand_behind_the_levels_that_there_are() {
        let repetitions = [2, 0, 0, 0, 7, 7].as_slice();
        let definitions = [&[0x04, 0x01, 0, 0][..], &[9; 0x104]].concat();
        let values = [1, 2, 3].as_slice();
        let page = |levels: &[&[u8]]| [&levels.concat()[..], values].concat();
        assert_eq!(values_v1(values, false, false), Some(values));
        assert_eq!(values_v1(&page(&[repetitions]), true, false), Some(values));
        assert_eq!(values_v1(&page(&[&definitions]), false, true), Some(values));
        assert_eq!(values_v1(&page(&[repetitions, &definitions]), true, true), Some(values));
        assert_eq!(values_v1(&definitions[..20], false, true), None, "cut short");
    }

    #[test]
    fn levels_may_be_wider_than_a_byte() {
        // A run of three of level 0x100, then one of level 0.
        let levels = [3 << 1, 0x00, 0x01, 1 << 1, 0x00, 0x00];
        assert_eq!(rows_v2(&of(4), &levels, 0x100), Ok(Rows { count: 1, begins: false }));
        // A run of more values than are left.
        assert_eq!(rows_v2(&of(2), &[0x3f << 1, 0], 1), Ok(Rows { count: 2, begins: true }));
    }

    #[test]
    fn a_header_says_what_the_page_holds() {
        // Type 0, 8 bytes, 6 compressed, crc, {5 values, PLAIN, RLE, RLE, statistics {1: "a"}}.
        let bytes = [
            0x15, 0x00, 0x15, 0x10, 0x15, 0x0c, 0x15, 0x07, 0x1c, 0x15, 0x0a, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x1c,
            0x18, 0x01, b'a', 0x00, 0x00, 0x00,
        ];
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header, Header { length: bytes.len(), body: 6, content: Content::Data(of(5)) });
        assert_eq!(header.page_bytes(), bytes.len() as u64 + 6);
        for cut in 0..bytes.len() {
            assert_eq!(Header::read(&bytes[..cut]), Err(Fault::Short));
        }
        let mut negative = bytes;
        negative[5] = 0x0b;
        assert_eq!(Header::read(&negative), Err(Fault::Malformed));
        let mut other = bytes;
        other[1] = 0x04;
        assert_eq!(Header::read(&other), Err(Fault::Malformed), "a dictionary page without its header");
    }
}

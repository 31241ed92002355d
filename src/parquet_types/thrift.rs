//! Thrift's compact protocol, as far as Parquet's page headers and footers need it.
//!
//! ```text
//! bytes ──► Reader: fields of a struct, one by one; what is not wanted is skipped
//! ```
//!
//! The Parquet library reads both too, but it says neither where a page lies nor whether a column is encrypted.

/// Structures nested deeper than this are refused: hostile bytes must not exhaust the stack.
const MAX_DEPTH: usize = 32;

/// Why a structure could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It goes on behind the bytes at hand.
    Short,
    /// It is no such structure.
    Malformed,
}

/// What a field or an element holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A boolean; a field's value is in its header.
    Bool,
    /// One byte.
    Byte,
    /// 16, 32 or 64 bits, all of them written alike.
    Int,
    /// Eight bytes.
    Double,
    /// A length and as many bytes.
    Binary,
    /// A list or a set.
    List,
    /// Pairs.
    Map,
    /// Fields up to a stop.
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Self, Fault> {
        Ok(match code {
            1 | 2 => Self::Bool,
            3 => Self::Byte,
            4..=6 => Self::Int,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return Err(Fault::Malformed),
        })
    }
}

/// Reads a structure from its first byte on.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Number and kind of the next field; `None` at the struct's end. `last` is the number of the field before it, 0 at first.
    pub fn field(&mut self, last: i16) -> Result<Option<(i16, Kind)>, Fault> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        let id = match head >> 4 {
            0 => i16::try_from(self.int()?).map_err(|_| Fault::Malformed)?,
            step => last.checked_add(i16::from(step)).ok_or(Fault::Malformed)?,
        };
        Ok(Some((id, Kind::of(head & 0x0f)?)))
    }

    /// A whole number.
    pub fn int(&mut self) -> Result<i64, Fault> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A length and as many bytes.
    pub fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Malformed)?;
        self.take(length)
    }

    /// How many elements a list has, and of what kind they are.
    pub fn list(&mut self) -> Result<(u64, Kind), Fault> {
        let head = self.byte()?;
        if head == 0 {
            // Some writers give an empty list's elements no kind.
            return Ok((0, Kind::Byte));
        }
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Ok((length, Kind::of(head & 0x0f)?))
    }

    /// Skips a field's value.
    pub fn skip(&mut self, kind: Kind) -> Result<(), Fault> {
        self.skip_value(kind, true, MAX_DEPTH)
    }

    fn skip_value(&mut self, kind: Kind, is_field: bool, depth: usize) -> Result<(), Fault> {
        let deeper = depth.checked_sub(1).ok_or(Fault::Malformed)?;
        match kind {
            Kind::Bool if is_field => {}
            Kind::Bool | Kind::Byte => drop(self.byte()?),
            Kind::Int => drop(self.varint()?),
            Kind::Double => drop(self.take(8)?),
            Kind::Binary => drop(self.binary()?),
            // Each element takes a byte at least, so a length that lies ends where the bytes do.
            Kind::List => {
                let (length, kind) = self.list()?;
                (0..length).try_for_each(|_| self.skip_value(kind, false, deeper))?;
            }
            Kind::Map => {
                let length = self.varint()?;
                if length > 0 {
                    let kinds = self.byte()?;
                    let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0f)?);
                    (0..length).try_for_each(|_| {
                        self.skip_value(key, false, deeper)?;
                        self.skip_value(value, false, deeper)
                    })?;
                }
            }
            Kind::Struct => {
                let mut last = 0;
                while let Some((id, kind)) = self.field(last)? {
                    self.skip_value(kind, true, deeper)?;
                    last = id;
                }
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(Fault::Short)?;
        self.at += length;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let (value, length) = varint(&self.bytes[self.at..])?;
        self.at += length;
        Ok(value)
    }
}

/// A number of seven bits a byte, the lowest first, and how many bytes it takes.
pub fn varint(bytes: &[u8]) -> Result<(u64, usize), Fault> {
    let mut value = 0_u64;
    for i in 0..10 {
        let byte = *bytes.get(i).ok_or(Fault::Short)?;
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return Err(Fault::Malformed);
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_the_others_skipped() {
        // 1: i32 -3, 2: {1: true, 2: [1, 2], 3: {"a": 1.0}}, 20: "ab"
        let bytes = [
            0x15, 0x05, 0x1c, 0x11, 0x19, 0x25, 0x02, 0x04, 0x1b, 0x01, 0x87, 0x01, b'a', 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
            0x00, 0x08, 0x28, 0x02, b'a', b'b', 0x00, 0xff,
        ];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.field(0), Ok(Some((1, Kind::Int))));
        assert_eq!(reader.int(), Ok(-3));
        assert_eq!(reader.field(1), Ok(Some((2, Kind::Struct))));
        reader.skip(Kind::Struct).unwrap();
        assert_eq!(reader.field(2), Ok(Some((20, Kind::Binary))));
        assert_eq!(reader.binary(), Ok(&b"ab"[..]));
        assert_eq!(reader.field(20), Ok(None));
        assert_eq!(reader.at(), bytes.len() - 1);
        for cut in 2..bytes.len() - 6 {
            let mut reader = Reader::new(&bytes[2..cut]);
            let whole = reader.field(1).and_then(|_| reader.skip(Kind::Struct));
            assert_eq!(whole, if cut < 22 { Err(Fault::Short) } else { Ok(()) }, "{cut} bytes");
        }
    }

    #[test]
    fn numbers_have_64_bits() {
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok((u64::MAX, 10)));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Err(Fault::Malformed));
        assert_eq!(varint(&[0x80; 11]), Err(Fault::Malformed));
        assert_eq!(varint(&[0x80]), Err(Fault::Short));
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(reader.int(), Ok(i64::MIN));
    }

    #[test]
    fn depth_and_kinds_are_bounded() {
        let deep = [0x1c; 100];
        assert_eq!(Reader::new(&deep).skip(Kind::Struct), Err(Fault::Malformed));
        assert_eq!(Reader::new(&[0x1d]).field(0), Err(Fault::Malformed));
        // A list of 2^40 booleans in three bytes.
        let long = [0xf1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 1, 1];
        assert_eq!(Reader::new(&long).skip(Kind::List), Err(Fault::Short));
    }
}

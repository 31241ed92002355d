//! Where a footer lies in a file, and what it says to the decoder: the part of opening a Parquet file that needs no source of bytes.
//!
//! ```text
//! last bytes ──footer_range──► the footer's bytes ──metadata──► ArrowReaderMetadata, with the types that columns are read as
//! ```

use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};

use super::raw_footer::{self, Objection};
use super::{Unreadable, restated, typed_columns};

/// What every Parquet file ends with, behind its footer and the footer's length of four bytes.
const MAGIC: &[u8] = b"PAR1";
/// What it ends with where the footer is encrypted.
const ENCRYPTED_MAGIC: &[u8] = b"PARE";
/// A larger footer is refused. Large data sets need about a tenth of it.
const MAX_FOOTER_BYTES: u64 = 128 * 1024 * 1024;

/// What stands behind a footer: its length and the file's mark.
pub const END_BYTES: u64 = 8;

/// Where the footer of a file of `size` bytes lies, whose last [`END_BYTES`] are `end`.
///
/// # Errors
///
/// What is wrong with the file's end.
pub fn footer_range(end: &[u8], size: u64) -> Result<Range<u64>, String> {
    let parts = end.split_first_chunk::<4>().zip(size.checked_sub(END_BYTES));
    let Some(((length, mark), footer_end)) = parts else { return Err(format!("{size} bytes are no Parquet file")) };
    match mark {
        MAGIC => {}
        ENCRYPTED_MAGIC => return Err("its footer is encrypted, and no keys are known here".to_owned()),
        _ => return Err("it does not end like a Parquet file".to_owned()),
    }
    let length = u64::from(u32::from_le_bytes(*length));
    if length > MAX_FOOTER_BYTES {
        return Err(format!("its footer is larger than {MAX_FOOTER_BYTES} bytes"));
    }
    let start = footer_end.checked_sub(length);
    let start = start.ok_or_else(|| format!("its footer has {length} bytes, the file {size}"))?;
    Ok(start..footer_end)
}

/// Why a footer is of no use. `E` is what a caller's own check says.
#[derive(Debug)]
pub enum FooterFault<E> {
    /// It is not shown to the library.
    Objection(Objection),
    /// The library can't read it.
    Library(ParquetError),
    /// A column has no type to be read as.
    Column(Unreadable),
    /// The caller's check.
    Check(E),
}

/// What the decoder starts from, by the bytes of a footer; `check` sees what they say before the library builds on it. The library may
/// panic on bytes that were made to hurt it: see [`caught`](crate::caught::caught).
///
/// # Errors
///
/// What is wrong with the footer.
pub fn metadata<E>(
    bytes: &[u8],
    check: impl FnOnce(&ParquetMetaData) -> Result<(), E>,
) -> Result<ArrowReaderMetadata, FooterFault<E>> {
    if let Some(objection) = raw_footer::objection(bytes) {
        return Err(FooterFault::Objection(objection));
    }
    let stored = ParquetMetaDataReader::decode_metadata(bytes).map_err(FooterFault::Library)?;
    check(&stored).map_err(FooterFault::Check)?;
    let schema = stored.file_metadata().schema_descr_ptr();
    let metadata = match restated(&schema).map_err(FooterFault::Library)? {
        None => stored,
        Some(restated) => {
            let options = ParquetMetaDataOptions::new().with_schema(restated);
            ParquetMetaDataReader::decode_metadata_with_options(bytes, Some(&options)).map_err(FooterFault::Library)?
        }
    };
    typed_columns(&Arc::new(metadata)).map_err(FooterFault::Column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(length: u32, mark: &[u8], size: u64) -> Result<Range<u64>, String> {
        footer_range(&[&length.to_le_bytes()[..], mark].concat(), size)
    }

    #[test]
    fn a_footer_lies_before_its_length() {
        assert_eq!(range(92, b"PAR1", 1_000), Ok(900..992));
        assert_eq!(range(992, b"PAR1", 1_000), Ok(0..992));
        assert_eq!(range(0, b"PAR1", 8), Ok(0..0));
        for (length, mark, size, words) in [
            (993, &b"PAR1"[..], 1_000, "its footer has 993 bytes, the file 1000"),
            (u32::MAX, b"PAR1", u64::MAX, "larger than 134217728 bytes"),
            (92, b"PARE", 1_000, "its footer is encrypted"),
            (92, b"PAR2", 1_000, "it does not end like a Parquet file"),
            (92, b"PAR1", 7, "7 bytes are no Parquet file"),
            (92, b"", 1_000, "it does not end like a Parquet file"),
        ] {
            assert!(range(length, mark, size).unwrap_err().contains(words), "{words}");
        }
        assert!(footer_range(b"PAR", 3).unwrap_err().contains("3 bytes are no Parquet file"));
    }
}

//! `--compress`: bodies packed with gzip or zstd.
//!
//! ```text
//! body ──Packer, used again and again──► packed body · content-encoding
//! ```

use std::fmt;
use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// A gzip header (RFC 1952, 2.3): deflate, no name, no time, any system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// How bodies are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Packing {
    /// The value of `Content-Encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What a packed body was. Also used for what this program packed itself, so it never fails on that.
    pub(super) fn unpacked(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match self {
            Self::Gzip => io::copy(&mut flate2::read::MultiGzDecoder::new(body), &mut plain)?,
            Self::Zstd => io::copy(&mut zstd::Decoder::new(body)?, &mut plain)?,
        };
        Ok(plain)
    }
}

/// Packs bodies. The tables of a compressor are made once.
pub(super) enum Packer {
    Gzip(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    pub(super) fn new(packing: Packing) -> io::Result<Self> {
        Ok(match packing {
            // The fastest level: a replay sends much, and its CPU is what bounds it.
            Packing::Gzip => Self::Gzip(Compress::new(Compression::fast(), false)),
            Packing::Zstd => Self::Zstd(zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// A body, packed: the same bytes for the same body.
    pub(super) fn packed(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(compressor) => compressor.compress(body),
            Self::Gzip(deflate) => gzip(deflate, body),
        }
    }
}

fn gzip(deflate: &mut Compress, body: &[u8]) -> io::Result<Vec<u8>> {
    deflate.reset();
    let mut out = Vec::with_capacity(body.len() / 2 + 64);
    out.extend_from_slice(&GZIP_HEADER);
    loop {
        let read = deflate.total_in() as usize;
        match deflate.compress_vec(&body[read..], &mut out, FlushCompress::Finish)? {
            Status::StreamEnd => break,
            // It writes into what room there is.
            Status::Ok | Status::BufError => out.reserve(body.len() / 2 + 64),
        }
    }
    let mut crc = Crc::new();
    crc.update(body);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..5)) {
            for packing in [Packing::Gzip, Packing::Zstd] {
                let mut packer = Packer::new(packing).unwrap();
                for body in &bodies {
                    let packed = packer.packed(body).unwrap();
                    prop_assert_eq!(&packing.unpacked(&packed).unwrap(), body);
                    prop_assert_eq!(packer.packed(body).unwrap(), packed, "the same bytes again");
                }
            }
        }
    }

    #[test]
    fn a_body_gets_smaller() {
        let body = br#"{"customer_id":"c-1","total":12.50}"#.repeat(1000);
        for packing in [Packing::Gzip, Packing::Zstd] {
            let packed = Packer::new(packing).unwrap().packed(&body).unwrap();
            assert!(packed.len() < body.len() / 20, "{}: {}", packing.name(), packed.len());
            assert_eq!(packing.unpacked(&packed).unwrap(), body);
        }
    }
}

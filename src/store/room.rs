//! Buffers for bytes that are read together and dropped together, such as the columns of a row group.
//!
//! ```text
//! Room::new(length) ──filled──► freeze ──► Bytes ──last clone dropped──► back to the system
//! ```

use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
#[cfg(feature = "mapped")]
use memmap2::MmapMut;

/// With the feature `mapped`, from so many bytes on a room is a mapping of its own, which the system has back as soon as it is let go of. An
/// allocator would keep it for a while, and small things settle in it: a run's memory then grows for as long as it lasts.
#[cfg(any(feature = "mapped", test))]
const MAPPED_FROM: usize = 128 * 1024;

/// Zeroes, to be written over.
#[derive(Debug)]
pub(super) enum Room {
    Heap(Vec<u8>),
    #[cfg(feature = "mapped")]
    Mapped(MmapMut),
}

impl Room {
    /// So many bytes.
    ///
    /// # Errors
    ///
    /// The system has no memory left, or no more mappings for this process.
    #[cfg_attr(
        not(feature = "mapped"),
        allow(clippy::unnecessary_wraps, reason = "memory that is mapped can be refused")
    )]
    pub(super) fn new(length: usize) -> io::Result<Self> {
        #[cfg(feature = "mapped")]
        if length >= MAPPED_FROM {
            return MmapMut::map_anon(length).map(Self::Mapped);
        }
        Ok(Self::Heap(vec![0; length]))
    }

    /// What was written, to be shared.
    pub(super) fn freeze(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.into(),
            #[cfg(feature = "mapped")]
            Self::Mapped(bytes) => Bytes::from_owner(bytes),
        }
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            #[cfg(feature = "mapped")]
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            #[cfg(feature = "mapped")]
            Self::Mapped(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shared() {
        for length in [0, 1, MAPPED_FROM - 1, MAPPED_FROM, 3 * MAPPED_FROM + 1] {
            let mut room = Room::new(length).unwrap();
            assert_eq!(room.len(), length);
            for (i, byte) in room.iter_mut().enumerate() {
                *byte = i as u8;
            }
            let bytes = room.freeze();
            assert_eq!(bytes.len(), length);
            assert!(bytes.iter().enumerate().all(|(i, byte)| *byte == i as u8));
            let (from, to) = (length / 3, length / 2);
            let (part, whole) = (bytes.slice(from..to), bytes.to_vec());
            drop(bytes);
            assert_eq!(part, whole[from..to]);
        }
    }
}

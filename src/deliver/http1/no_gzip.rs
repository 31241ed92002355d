//! What stands for unpacking in a build without the feature `gzip`: a body that a middle box compressed stays as it came.

use bytes::Bytes;

/// None is unpacked.
#[inline]
pub(super) fn unpacked(_: &Bytes) -> Option<(Bytes, bool)> {
    None
}

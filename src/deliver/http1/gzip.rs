//! Unpacking a body that some middle box compressed although nobody asked for it.
//!
//! ```text
//! body ──begins with 1f 8b?──► inflate, at most BODY_LIMIT bytes ──► body, and whether the stream came to its end
//! ```
//!
//! The first two bytes tell, not `Content-Encoding`: no JSON begins with them, boxes that compress label their work in
//! several ways (`gzip`, `x-gzip`, a transfer coding), and boxes that unpack may leave the label behind.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::bad::BODY_LIMIT;

/// What every gzip stream begins with (RFC 1952, 2.3.1).
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The content of a body that is compressed, cut at [`BODY_LIMIT`], and whether it is all that was compressed: a stream
/// that ends early or fails its checksum was cut short or damaged on its way. `None` for a body that is not compressed.
#[inline]
pub(super) fn unpacked(body: &Bytes) -> Option<(Bytes, bool)> {
    if body.starts_with(&MAGIC) { Some(unpack(body)) } else { None }
}

#[cold]
fn unpack(body: &[u8]) -> (Bytes, bool) {
    let mut content = Vec::new();
    // One byte beyond the limit is read, so that the checksum of content that just fits is seen.
    let mut stream = MultiGzDecoder::new(body).take(BODY_LIMIT as u64 + 1);
    let end: io::Result<usize> = stream.read_to_end(&mut content);
    content.truncate(BODY_LIMIT);
    (content.into(), end.is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(body: impl Into<Bytes>) -> Option<(Bytes, bool)> {
        unpacked(&body.into())
    }

    #[test]
    fn only_what_is_compressed_is_unpacked() {
        for plain in ["", "\x1f", "{}", "\u{8b}\x1f", "{\"a\":\"\x1f\u{8b}\"}"] {
            assert_eq!(read(plain), None, "{plain:?}");
        }
        assert_eq!(read(packed(b"{}")), Some(("{}".into(), true)));
        assert_eq!(read(packed(b"")), Some(("".into(), true)));
        // Several streams in a row are one (RFC 1952, 2.2).
        assert_eq!(read([packed(b"{\"a\""), packed(b":1}")].concat()), Some(("{\"a\":1}".into(), true)));
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_is_not_whole() {
        let stream = packed(b"{\"decision\":\"ADMIT\"}");
        for cut in 2..stream.len() {
            let (content, whole) = read(stream[..cut].to_vec()).unwrap();
            assert!(!whole && b"{\"decision\":\"ADMIT\"}".starts_with(&content[..]), "{cut}");
        }
        let mut damaged = stream.clone();
        damaged[stream.len() - 8] ^= 1;
        assert!(!read(damaged).unwrap().1, "another checksum");
        assert!(!read([&stream[..], b"x"].concat()).unwrap().1, "something behind it");
    }

    #[test]
    fn a_bomb_is_cut_at_the_bound() {
        let (content, _) = read(packed(&vec![b' '; 64 << 20])).unwrap();
        assert_eq!(content.len(), BODY_LIMIT);
        let (content, whole) = read(packed(&vec![b' '; BODY_LIMIT])).unwrap();
        assert_eq!((content.len(), whole), (BODY_LIMIT, true));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(content in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(read(packed(&content)), Some((content.into(), true)));
        }

        #[test]
        fn any_bytes_behind_the_magic_are_read_without_a_panic(rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let (content, _) = read([&MAGIC[..], &rest].concat()).unwrap();
            prop_assert!(content.len() <= BODY_LIMIT);
        }
    }
}

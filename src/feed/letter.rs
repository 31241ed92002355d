//! A message for tests: one letter.

#[cfg(all(feature = "kafka", feature = "kinesis"))]
use super::Incoming;
use super::{Decode, Decoded, Message, Raw};

/// The topic of tests.
pub(super) const TOPIC: &str = "letters.v1";

/// A small letter. A capital one is for others, and anything else can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Letter(pub(super) char);

impl Message for Letter {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Decode for Letter {
    const MAX_BYTES: usize = 1024;

    fn decode(raw: &Raw<'_>) -> Decoded<Self> {
        match raw.payload.trim_ascii_end() {
            [letter @ b'a'..=b'z'] if raw.payload.len() <= Self::MAX_BYTES => {
                Decoded::Message(Self(char::from(*letter)))
            }
            [b'A'..=b'Z'] => Decoded::Other,
            _ => Decoded::Invalid,
        }
    }
}

/// The letter of a message that was given out.
#[cfg(all(feature = "kafka", feature = "kinesis"))]
pub(super) fn letter(incoming: &Incoming<Letter>) -> char {
    incoming.message.0
}

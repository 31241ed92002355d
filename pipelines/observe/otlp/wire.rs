//! The wire format of protocol buffers, as far as OTLP needs it: written by hand, because ten short messages are less
//! than what a code generator brings along.

/// A message as bytes. Fields stand in the order they are added; those with their default value may be left out.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

impl Wire {
    /// The message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// An integer, a switch or a word of an enumeration.
    pub(super) fn varint(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.number(value);
        self
    }

    /// An unsigned integer of fixed width.
    pub(super) fn fixed(mut self, field: u64, value: u64) -> Self {
        self.key(field, FIXED64);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A double.
    pub(super) fn double(self, field: u64, value: f64) -> Self {
        self.fixed(field, value.to_bits())
    }

    /// A text.
    pub(super) fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// Bytes.
    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, BYTES);
        self.number(value.len() as u64);
        self.bytes.extend(value);
        self
    }

    /// A message.
    #[allow(clippy::needless_pass_by_value, reason = "a message goes into one other, and is gone")]
    pub(super) fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, &value.bytes)
    }

    /// Messages, each a field of its own.
    pub(super) fn messages(self, field: u64, values: impl IntoIterator<Item = Self>) -> Self {
        values.into_iter().fold(self, |wire, value| wire.message(field, value))
    }

    /// Numbers of fixed width, packed.
    pub(super) fn packed(self, field: u64, values: impl IntoIterator<Item = u64>) -> Self {
        let packed: Vec<u8> = values.into_iter().flat_map(u64::to_le_bytes).collect();
        self.bytes(field, &packed)
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.number(field << 3 | kind);
    }

    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_format_are_met() {
        // Those of the format's own documentation: 150 in field 1, "testing" in field 2, a message in field 3.
        assert_eq!(Wire::default().varint(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Wire::default().text(2, "testing").into_bytes(), b"\x12\x07testing");
        let inner = Wire::default().varint(1, 150);
        assert_eq!(Wire::default().message(3, inner).into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Wire::default().double(4, 1.0).into_bytes(), [0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(Wire::default().packed(6, [1, 0]).into_bytes().len(), 18);
    }
}

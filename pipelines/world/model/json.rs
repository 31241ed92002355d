//! Writes JSON that other programs compare byte for byte.
//!
//! ```text
//! Value ──keys sorted──► compact (evidence, digests) · spaced (cursors, session log)
//! ```
//!
//! Both forms sort keys and escape everything but printable ASCII, as the platform's other components do.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// Sorted keys, no spaces, ASCII: the form of evidence and of hashed texts (contract, sections 4 and 8).
#[must_use]
pub fn compact(value: &Value) -> String {
    write(value, Ascii { item: b",", key: b":" })
}

/// Sorted keys, `", "` and `": "`, ASCII: the form of cursors and of the session log.
#[must_use]
pub fn spaced(value: &Value) -> String {
    write(value, Ascii { item: b", ", key: b": " })
}

fn write(value: &Value, format: Ascii) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    let mut out = Vec::with_capacity(512);
    // A `Value` has string keys and finite numbers, and a vector takes every byte: nothing here fails.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, format));
    String::from_utf8(out).unwrap_or_default()
}

struct Ascii {
    item: &'static [u8],
    key: &'static [u8],
}

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| !matches!(c, ' '..='~')) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item) }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth_and_text_is_ascii() {
        let value = json!({"b": [1, {"z": null, "a": "ü😀\n\u{7f}\"\\"}], "a": 1.5, "ä": {}});
        assert_eq!(compact(&value), r#"{"a":1.5,"b":[1,{"a":"\u00fc\ud83d\ude00\n\u007f\"\\","z":null}],"\u00e4":{}}"#);
        assert_eq!(
            spaced(&value),
            r#"{"a": 1.5, "b": [1, {"a": "\u00fc\ud83d\ude00\n\u007f\"\\", "z": null}], "\u00e4": {}}"#
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(key in ".*", text in "\\PC*|.*", number: u64) {
            let value = json!({"k": {key: text}, "n": number});
            for written in [compact(&value), spaced(&value)] {
                prop_assert!(written.bytes().all(|b| (b' '..=b'~').contains(&b)));
                prop_assert_eq!(&serde_json::from_str::<Value>(&written).unwrap(), &value);
            }
        }
    }
}

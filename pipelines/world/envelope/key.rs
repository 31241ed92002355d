//! Primary and order keys: their text in the event id's preimage, and the hash that keeps events of
//! one order key in order.

use arrow_schema::DataType;
use wsp::cells::{Column, Found, text};
use wsp::random;

/// Whether a column of this type can be part of a key (contract, section 5: integers, strings, booleans).
pub(super) fn can_be_key(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => can_be_key(value),
        other => other.is_integer(),
    }
}

/// A key's value in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyValue<'a> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Text(&'a str),
    /// An integer of a JSON payload that 64 bits can't hold, as it stands there.
    Digits(&'a str),
    /// What can't be part of a key.
    Other,
}

impl KeyValue<'_> {
    /// Appends the text that the preimage has for it; `false` where it has none.
    pub(super) fn write(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Null | Self::Other => return false,
            Self::Bool(true) => out.extend_from_slice(b"True"),
            Self::Bool(false) => out.extend_from_slice(b"False"),
            Self::Signed(value) => text::signed(value, out),
            Self::Unsigned(value) => text::unsigned(value, out),
            Self::Text(text) | Self::Digits(text) => out.extend_from_slice(text.as_bytes()),
        }
        true
    }

    /// A hash of the value within the column that `seed` stands for. Equal numbers have one hash,
    /// however wide and signed they were stored.
    pub(super) fn hash(self, seed: u64) -> u64 {
        match self {
            Self::Null | Self::Other => mix(seed, 0),
            Self::Bool(value) => mix(seed, 1 + u64::from(value)),
            // Two's complement folds negatives onto large unsigned numbers; a shared hash only
            // keeps two keys in one line, which harms nobody.
            Self::Signed(value) => mix(seed, value as u64),
            Self::Unsigned(value) => mix(seed, value),
            Self::Text(text) | Self::Digits(text) => hash_bytes(seed, text.as_bytes()),
        }
    }
}

/// The value of row `row` of a column as a key.
pub(super) fn of_cell(column: &Column, row: usize) -> KeyValue<'_> {
    if column.is_null(row) {
        return KeyValue::Null;
    }
    match column {
        Column::Bool(array) => KeyValue::Bool(array.value(row)),
        Column::I8(array) => KeyValue::Signed(array.value(row).into()),
        Column::I16(array) => KeyValue::Signed(array.value(row).into()),
        Column::I32(array) => KeyValue::Signed(array.value(row).into()),
        Column::I64(array) => KeyValue::Signed(array.value(row)),
        Column::U8(array) => KeyValue::Unsigned(array.value(row).into()),
        Column::U16(array) => KeyValue::Unsigned(array.value(row).into()),
        Column::U32(array) => KeyValue::Unsigned(array.value(row).into()),
        Column::U64(array) => KeyValue::Unsigned(array.value(row)),
        Column::Text(array) => KeyValue::Text(array.value(row)),
        Column::LargeText(array) => KeyValue::Text(array.value(row)),
        Column::TextView(array) => KeyValue::Text(array.value(row)),
        Column::Dictionary(_, keys, values) => of_cell(values, keys[row]),
        _ => KeyValue::Other,
    }
}
/// A member of a JSON object as a key.
pub(super) fn of_member<'a>(found: &'a Found<'_>) -> KeyValue<'a> {
    match found {
        Found::Null => KeyValue::Null,
        Found::Bool(value) => KeyValue::Bool(*value),
        // `-0` is the integer 0, and is spelt so in an id.
        Found::Integer(digits) => digits
            .parse()
            .map(KeyValue::Unsigned)
            .or_else(|_| digits.parse().map(KeyValue::Signed))
            .unwrap_or(KeyValue::Digits(digits)),
        Found::Text(text) => KeyValue::Text(text),
        Found::Other(_) => KeyValue::Other,
    }
}

/// What stands for a column's name in [`KeyValue::hash`].
pub(super) fn seed(column: &str) -> u64 {
    hash_bytes(0, column.as_bytes())
}

/// The order key of an event that has no other.
pub(super) fn of_event_id(event_id: &[u8; 32]) -> u64 {
    hash_bytes(0, event_id)
}

fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(seed, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// One round of splitmix64 over both; the same on every machine and in every process.
fn mix(state: u64, word: u64) -> u64 {
    random::mix((state ^ word).wrapping_add(random::GAMMA))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{ArrayRef, DictionaryArray, Int8Array, Int64Array, StringArray, StringViewArray, UInt64Array};

    use super::*;

    #[test]
    fn equal_values_have_one_hash_whatever_their_type() {
        let hash = |array: ArrayRef| of_cell(&Column::bind(&array).unwrap(), 0).hash(seed("flow_id"));
        let seven = hash(Arc::new(Int8Array::from(vec![7])));
        assert_eq!(seven, hash(Arc::new(UInt64Array::from(vec![7]))));
        assert_ne!(seven, hash(Arc::new(Int64Array::from(vec![8]))));
        let text = hash(Arc::new(StringArray::from(vec!["GB-longer than a word"])));
        assert_eq!(text, hash(Arc::new(StringViewArray::from(vec!["GB-longer than a word"]))));
        assert_eq!(text, hash(Arc::new(["GB-longer than a word"].into_iter().collect::<DictionaryArray<Int8Type>>())));
        assert_ne!(KeyValue::Unsigned(7).hash(seed("flow_id")), KeyValue::Unsigned(7).hash(seed("merchant_id")));
    }

    #[test]
    fn hashes_stay_what_they_are() {
        // Lanes by order key are made of them: another hash would move events between the lanes of a run under way.
        let flow = seed("flow_id");
        let hashes = [
            KeyValue::Unsigned(7).hash(flow),
            KeyValue::Signed(-1).hash(flow),
            KeyValue::Text("GB-longer than a word").hash(flow),
            of_event_id(&[0; 32]),
        ];
        assert_eq!(
            hashes,
            [0x1af5_3431_7097_76bf, 0x6c85_b47e_9d06_ca2d, 0x0476_34fa_cc7a_80cf, 0xde25_42b2_9cb7_455b]
        );
    }

    #[test]
    fn texts_are_those_of_the_contract() {
        let text = |value: KeyValue<'_>| {
            let mut out = Vec::new();
            value.write(&mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(text(KeyValue::Unsigned(u64::MAX)).unwrap(), "18446744073709551615");
        assert_eq!(text(KeyValue::Signed(i64::MIN)).unwrap(), "-9223372036854775808");
        assert_eq!(text(KeyValue::Bool(true)).unwrap(), "True");
        assert_eq!(text(KeyValue::Text("a|b")).unwrap(), "a|b");
        assert_eq!(text(KeyValue::Null), None);
    }

    #[test]
    fn members_of_an_object_are_keys_as_columns_are() {
        assert_eq!(of_member(&Found::Integer("18446744073709551615")), KeyValue::Unsigned(u64::MAX));
        assert_eq!(of_member(&Found::Integer("-0")), KeyValue::Signed(0));
        assert_eq!(of_member(&Found::Integer("-7")), KeyValue::Signed(-7));
        assert_eq!(of_member(&Found::Integer("99999999999999999999999")), KeyValue::Digits("99999999999999999999999"));
        assert_eq!(of_member(&Found::Text("a\"b".into())), KeyValue::Text("a\"b"));
        assert_eq!((of_member(&Found::Bool(true)), of_member(&Found::Null)), (KeyValue::Bool(true), KeyValue::Null));
        assert_eq!(of_member(&Found::Other("1.0")), KeyValue::Other);
    }
}

//! Positions in a sharded stream (Kinesis): shards, sequence numbers, and how far a shard is settled.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no [`ShardId`] or [`SequenceNumber`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}")]
pub struct ShardError {
    kind: &'static str,
    text: String,
}

impl ShardError {
    fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(80).collect() }
    }
}

/// A shard's name: 1 to 128 of `a-z A-Z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardId(String);

impl ShardId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ShardId {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(ShardError::new("shard id", text))
    }
}

impl TryFrom<String> for ShardId {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl From<ShardId> for String {
    fn from(shard: ShardId) -> Self {
        shard.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record's place in its shard: a decimal number of up to 129 digits, more than any integer type holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(String);

impl SequenceNumber {
    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SequenceNumber {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let canonical = text == "0" || !text.starts_with('0');
        if (1..=129).contains(&text.len()) && canonical && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        Err(ShardError::new("sequence number", text))
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl From<SequenceNumber> for String {
    fn from(number: SequenceNumber) -> Self {
        number.0
    }
}

/// As numbers: without leading zeros, more digits are more.
impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a shard is settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardPosition {
    /// The shard.
    pub shard_id: ShardId,
    /// The last record that is settled with all before it.
    pub sequence_number: SequenceNumber,
    /// The shard is closed, and that record was its last.
    pub drained: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers_are_checked() {
        assert!("shardId-000000000000".parse::<ShardId>().is_ok());
        for bad in ["", "a/b", "a b", &"x".repeat(129)] {
            assert!(bad.parse::<ShardId>().is_err(), "{bad:?}");
        }
        assert!("49590338271490256608559692538361571095921575989136588898".parse::<SequenceNumber>().is_ok());
        for bad in ["", "-1", "01", "1.0", "TRIM_HORIZON", &"1".repeat(130)] {
            assert!(bad.parse::<SequenceNumber>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_shows_a_bounded_text() {
        let error = "?".repeat(10_000).parse::<ShardId>().unwrap_err();
        assert!(error.to_string().len() < 120, "{error}");
    }

    proptest! {
        #[test]
        fn numbers_are_ordered_as_numbers(one in any::<u128>(), other in any::<u128>()) {
            let parsed = |number: u128| number.to_string().parse::<SequenceNumber>().unwrap();
            prop_assert_eq!(parsed(one).cmp(&parsed(other)), one.cmp(&other));
        }
    }
}

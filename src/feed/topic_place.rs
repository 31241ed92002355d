//! Partition and offset of a message, as records of it name them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One coordinate of a message in a log: a number (Kafka), or a text. Kinesis' shard ids are names, and its
/// sequence numbers have more digits than any integer type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TopicPlace {
    /// A partition's number, or an offset in it.
    Number(i64),
    /// A shard's id, or a sequence number in it.
    Text(String),
}

impl fmt::Display for TopicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<i64> for TopicPlace {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for TopicPlace {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

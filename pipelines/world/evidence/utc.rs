//! Times in evidence that is read back: the canonical text, for serde's `with`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

use crate::model::Micros;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) fn serialize<S: Serializer>(at: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Micros, D::Error> {
    let text = String::deserialize(deserializer)?;
    Micros::parse(text.as_bytes()).ok_or_else(|| Error::custom(format!("{text:?} is not a time")))
}

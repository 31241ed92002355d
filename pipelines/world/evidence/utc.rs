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

/// The same, or null.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Error, Micros, Serializer};

    #[allow(clippy::ref_option, reason = "serde hands over a reference")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Micros>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        Micros::parse(text.as_bytes()).map(Some).ok_or_else(|| Error::custom(format!("{text:?} is not a time")))
    }
}

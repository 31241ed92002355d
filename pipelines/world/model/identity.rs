//! The identities that READY, facts, Oracle and IG name a run by.
//!
//! Each is parsed once, on input, into a type that can't hold anything else; from there on no
//! identity becomes a path, a key or an event field unchecked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A text that is not the identity it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdentityError {
    text: String,
    expected: &'static str,
}

impl IdentityError {
    fn new(text: &str, expected: &'static str) -> Self {
        // Hostile input is quoted in errors; a bounded piece is enough to recognise it.
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identity as it stands on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdentityError::new(text, $expected))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identity!(
    /// 64 lower-case hex digits: a sha256, as `manifest_fingerprint`, `message_id`, `oracle_pack_id`.
    Hex64,
    "64 lower-case hex digits",
    |text| is_lower_hex(text, 64)
);

impl Hex64 {
    /// The sha256 of `bytes`.
    #[must_use]
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self::of_digest(Sha256::digest(bytes).into())
    }

    /// A digest in hex.
    #[must_use]
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(const_hex::encode(digest).into())
    }
}

identity!(
    /// 32 lower-case hex digits: a `run_id` (SR's or the engine's) or a `scenario_run_id`.
    Hex32,
    "32 lower-case hex digits",
    |text| is_lower_hex(text, 32)
);

identity!(
    /// A platform run, `platform_YYYYMMDDTHHMMSSZ`.
    PlatformRunId,
    "a platform run id (platform_YYYYMMDDTHHMMSSZ)",
    is_platform_run_id
);

identity!(
    /// The name of an engine output, as `s3_event_stream_with_fraud_6B`. It names folders, so it
    /// holds letters, digits, `_`, `-` and `.` alone (1 to 128 of them, not starting with a dot).
    OutputId,
    "an output id (letters, digits, '_', '-', '.')",
    |text| {
        (1..=128).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    }
);

identity!(
    /// The scenario a world was made for, as `baseline_v1`: 1 to 256 printable characters.
    ScenarioId,
    "a scenario id (1 to 256 printable characters)",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_platform_run_id(text: &str) -> bool {
    let Some(stamp) = text.strip_prefix("platform_") else { return false };
    let stamp = stamp.as_bytes();
    stamp.len() == 16
        && stamp.iter().enumerate().all(|(i, b)| match i {
            8 => *b == b'T',
            15 => *b == b'Z',
            _ => b.is_ascii_digit(),
        })
}

/// What makes one sealed world that world (contract, section 3, "identity chain").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldKey {
    /// The engine's digest over all that the world was made from.
    pub manifest_fingerprint: Hex64,
    /// The engine's digest over its parameters.
    pub parameter_hash: Hex64,
    /// The scenario.
    pub scenario_id: ScenarioId,
    /// The engine's seed, any unsigned 64-bit number.
    pub seed: u64,
}

/// One part of a [`WorldKey`] under the name that documents and rows give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The key or column.
    pub name: &'static str,
    /// The value as text; of the seed its decimal digits.
    pub text: Box<str>,
    /// The value where it is a number.
    pub number: Option<u64>,
}

/// The names of the pins, in the order of [`WorldKey::pins`].
pub const PIN_NAMES: [&str; 4] = ["manifest_fingerprint", "parameter_hash", "scenario_id", "seed"];

impl WorldKey {
    /// Its parts, each under its name.
    #[must_use]
    pub fn pins(&self) -> [Pin; 4] {
        let [fingerprint, parameters, scenario, seed] = PIN_NAMES;
        let text = |name, text: &str| Pin { name, text: text.into(), number: None };
        [
            text(fingerprint, self.manifest_fingerprint.as_str()),
            text(parameters, self.parameter_hash.as_str()),
            text(scenario, self.scenario_id.as_str()),
            Pin { number: Some(self.seed), ..text(seed, &self.seed.to_string()) },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_lower_case_and_exact() {
        assert!("0a".repeat(32).parse::<Hex64>().is_ok());
        assert!("0A".repeat(32).parse::<Hex64>().is_err());
        assert!("0a".repeat(31).parse::<Hex64>().is_err());
        assert!("../".repeat(11).parse::<Hex32>().is_err());
    }

    #[test]
    fn a_digest_is_a_hex64() {
        let digest = Hex64::sha256("abc");
        assert_eq!(digest.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.as_str().parse(), Ok(digest));
    }

    #[test]
    fn platform_run_ids_are_anchored() {
        assert!("platform_20260101T000000Z".parse::<PlatformRunId>().is_ok());
        for bad in
            ["platform_20260101T000000Z\n", "xplatform_20260101T000000Z", "platform_20260101t000000Z", "platform_", ""]
        {
            assert!(bad.parse::<PlatformRunId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn output_ids_cannot_climb() {
        for bad in ["..", ".", "a/b", "", "a\\b", "a b"] {
            assert!(bad.parse::<OutputId>().is_err(), "{bad:?}");
        }
        assert!("s3_event_stream_with_fraud_6B".parse::<OutputId>().is_ok());
    }

    #[test]
    fn errors_quote_a_bounded_piece() {
        let error = "x".repeat(1 << 20).parse::<Hex64>().unwrap_err().to_string();
        assert!(error.len() < 200);
    }
}

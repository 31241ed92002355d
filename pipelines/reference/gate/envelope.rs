//! Reads what IG needs of a request body: the closed envelope and what identifies the event.
//!
//! ```text
//! body ──► Envelope::read ──► Envelope (well formed or not) ──► ledger
//!                        └──► Unreadable (400, 500)
//! ```

use std::borrow::Cow;

use wsp::json::{Fault, Lexer, Scalar};
use wsp_world::model::Micros;

use super::scan;

/// Why a readable event goes to quarantine (the golden receipts' reason codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A key of the envelope is unknown or has the wrong form.
    EnvelopeInvalid,
    /// `run_id`, a pin, is missing.
    PinsMissing,
    /// The payload is missing, is no object, or its order key is no integer.
    SchemaFail,
    /// The event type is none of the outputs that IG has a policy for.
    SchemaPolicyMissing,
    /// The id is known with another payload.
    PayloadHashMismatch,
}

impl Flaw {
    /// The reason code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Flaw::EnvelopeInvalid => "ENVELOPE_INVALID",
            Flaw::PinsMissing => "PINS_MISSING",
            Flaw::SchemaFail => "SCHEMA_FAIL",
            Flaw::SchemaPolicyMissing => "SCHEMA_POLICY_MISSING",
            Flaw::PayloadHashMismatch => "PAYLOAD_HASH_MISMATCH",
        }
    }
}

/// A body without a usable receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Not JSON: 400.
    NotJson(Fault),
    /// JSON without a usable identity. IG's own receipt would break its schema, so it answers 500 (golden cases).
    NoIdentity,
}

/// What IG needs of one event.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// 64 hex digits, as bytes.
    pub event_id: [u8; 32],
    /// The output.
    pub event_type: Cow<'a, str>,
    /// Event time, as it stands in the envelope.
    pub ts_utc: Cow<'a, str>,
    /// The platform run.
    pub platform_run_id: Cow<'a, str>,
    /// Hash of the payload's value (not of its text).
    pub payload_hash: u64,
    /// `flow_id` of the payload, where it is an integer of 64 bits (signed ones in two's complement).
    pub flow_id: Option<u64>,
    /// `merchant_id` of the payload, likewise.
    pub merchant_id: Option<u64>,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

/// The keys of the envelope (contract, section 5) and whether the schema demands them.
const KEYS: [(&str, bool); 15] = [
    ("event_id", true),
    ("event_type", true),
    ("schema_version", true),
    ("ts_utc", true),
    ("manifest_fingerprint", true),
    ("parameter_hash", true),
    ("seed", true),
    ("scenario_id", true),
    ("run_id", true),
    ("platform_run_id", true),
    ("scenario_run_id", true),
    ("producer", true),
    ("payload", true),
    ("trace_id", false),
    ("span_id", false),
];

const PAYLOAD: usize = 12;
const SEED: usize = 6;

impl<'a> Envelope<'a> {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or has no usable identity.
    pub fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        let mut lexer = Lexer::of_bytes(body, scan::MAX_DEPTH).map_err(Unreadable::NotJson)?;
        if lexer.peek() != b'{' {
            scan::value(&mut lexer).map_err(Unreadable::NotJson)?;
            return Err(Unreadable::NoIdentity);
        }
        let mut texts: [Option<Cow<'a, str>>; KEYS.len()] = Default::default();
        let mut present = [false; KEYS.len()];
        let mut invalid = false;
        let mut payload = Payload::default();
        // Senders write the keys in the contract's order, so the next one is nearly always the right guess.
        let mut next = 0;
        lexer
            .object(|lexer, key| {
                let key = key.unescaped()?;
                let known = if KEYS.get(next).is_some_and(|(name, _)| *name == key) {
                    Some(next)
                } else {
                    KEYS.iter().position(|(name, _)| *name == key)
                };
                let Some(index) = known else {
                    invalid = true;
                    return scan::value(lexer).map(drop);
                };
                next = index + 1;
                present[index] = true;
                match index {
                    PAYLOAD => payload.read(lexer),
                    SEED => {
                        let number = lexer.peek().is_ascii_digit();
                        let integer = number && matches!(lexer.scalar()?, Scalar::Integer(_));
                        invalid |= !integer;
                        if number { Ok(()) } else { scan::value(lexer).map(drop) }
                    }
                    _ if lexer.peek() == b'"' => {
                        texts[index] = Some(lexer.string()?.unescaped()?);
                        Ok(())
                    }
                    _ => {
                        texts[index] = None;
                        invalid = true;
                        scan::value(lexer).map(drop)
                    }
                }
            })
            .and_then(|()| lexer.end())
            .map_err(Unreadable::NotJson)?;
        judge(texts, &present, invalid, &payload)
    }

    /// The value that orders this event at IG, by its class's column; 0 where it has none.
    #[must_use]
    pub fn order_value(&self, column: &str) -> u64 {
        if column == "merchant_id" { self.merchant_id } else { self.flow_id }.unwrap_or_default()
    }
}

fn judge<'a>(
    mut texts: [Option<Cow<'a, str>>; KEYS.len()],
    present: &[bool; KEYS.len()],
    mut invalid: bool,
    payload: &Payload,
) -> Result<Envelope<'a>, Unreadable> {
    let [id, event_type, version, ts, fingerprint, parameters, _, scenario, run, platform, scenario_run, producer, ..] =
        &mut texts;
    let event_id = id.as_deref().and_then(hex32).ok_or(Unreadable::NoIdentity)?;
    let event_type = event_type.take().filter(|text| !text.is_empty()).ok_or(Unreadable::NoIdentity)?;
    let ts_utc = ts.take().ok_or(Unreadable::NoIdentity)?;
    let platform_run_id = platform.take().filter(|text| is_platform_run(text)).ok_or(Unreadable::NoIdentity)?;
    if fingerprint.as_deref().is_none_or(|text| hex32(text).is_none()) {
        return Err(Unreadable::NoIdentity);
    }
    if scenario_run.as_deref().is_none_or(|text| !is_hex(text, 32)) {
        return Err(Unreadable::NoIdentity);
    }
    if run.as_deref().is_some_and(|text| !is_hex(text, 32)) {
        return Err(Unreadable::NoIdentity);
    }
    invalid |= version.as_deref() != Some("v1")
        || parameters.as_deref().is_none_or(|text| hex32(text).is_none())
        || scenario.as_deref().is_none_or(str::is_empty)
        || producer.as_deref().is_none_or(str::is_empty)
        || !is_canonical_time(&ts_utc)
        || KEYS
            .iter()
            .zip(present)
            .any(|((name, required), present)| *required && !present && !matches!(*name, "run_id" | "payload"));
    let flaw = if run.is_none() {
        Some(Flaw::PinsMissing)
    } else if !present[PAYLOAD] || !payload.object || payload.bad_key {
        Some(Flaw::SchemaFail)
    } else if invalid {
        Some(Flaw::EnvelopeInvalid)
    } else {
        None
    };
    Ok(Envelope {
        event_id,
        event_type,
        ts_utc,
        platform_run_id,
        payload_hash: payload.hash,
        flow_id: payload.flow_id,
        merchant_id: payload.merchant_id,
        flaw,
    })
}

#[derive(Debug, Default)]
struct Payload {
    object: bool,
    hash: u64,
    flow_id: Option<u64>,
    merchant_id: Option<u64>,
    /// An order key is there and is neither an integer nor null.
    bad_key: bool,
}

impl Payload {
    fn read(&mut self, lexer: &mut Lexer<'_>) -> Result<(), Fault> {
        *self = Self::default();
        if lexer.peek() != b'{' {
            return scan::value(lexer).map(drop);
        }
        self.object = true;
        let mut sum = 0_u64;
        lexer.object(|lexer, key| {
            let key = key.unescaped()?;
            let value = match &*key {
                "flow_id" | "merchant_id" => {
                    let (number, hash, bad) = match lexer.peek() {
                        b'-' | b'0'..=b'9' => {
                            let (scalar, hash) = scan::scalar(lexer)?;
                            (integer(scalar), hash, false)
                        }
                        b'n' => (None, scan::value(lexer)?, false),
                        _ => (None, scan::value(lexer)?, true),
                    };
                    self.bad_key |= bad;
                    *(if key == "flow_id" { &mut self.flow_id } else { &mut self.merchant_id }) = number;
                    hash
                }
                _ => scan::value(lexer)?,
            };
            sum = sum.wrapping_add(scan::fold(scan::hash(1, key.as_bytes()), value));
            Ok(())
        })?;
        self.hash = scan::fold(2, sum);
        Ok(())
    }
}

/// An id as 64 bits. No world has a longer key (which IG accepts) or a float.
fn integer(scalar: Scalar<'_>) -> Option<u64> {
    let Scalar::Integer(text) = scalar else { return None };
    text.parse().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

/// RFC 3339 with exactly six fractional digits and `Z`.
fn is_canonical_time(text: &str) -> bool {
    Micros::parse(text.as_bytes()).is_some_and(|ts| ts.write() == text.as_bytes())
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_platform_run(text: &str) -> bool {
    text.parse::<wsp_world::model::PlatformRunId>().is_ok()
}

/// 64 lower-case hex digits as bytes.
pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    is_hex(text, 64).then(|| const_hex::decode_to_array(text).ok()).flatten()
}

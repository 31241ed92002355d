//! Reads a JSON text once and hashes its value: no tree, no copy, no allocation without escapes.
//!
//! ```text
//! bytes ──Lexer──► value ──► u64, the same for every spelling of one value
//! ```
//!
//! Two texts hash alike when IG's parser reads the same value from both (contract, section 6): key
//! order, spacing and escapes don't matter; an integer and a float never meet, nor do `0.0` and
//! `-0.0`; floats are compared as doubles, integers as digits of any length.

use wsp::json::{Fault, Lexer, Scalar};

/// Nesting beyond this is refused, so that a hostile body can't exhaust the stack: a payload of 64 levels in its envelope.
pub(super) const MAX_DEPTH: u32 = 66;

/// Reads any value and hashes it.
pub(super) fn value(lexer: &mut Lexer<'_>) -> Result<u64, Fault> {
    match lexer.peek() {
        b'{' => {
            let mut sum = 0_u64;
            // A sum doesn't see the order of the members.
            lexer.object(|lexer, key| {
                let key = hash(KEY, key.unescaped()?.as_bytes());
                sum = sum.wrapping_add(fold(key, value(lexer)?));
                Ok(())
            })?;
            Ok(fold(OBJECT, sum))
        }
        b'[' => {
            let mut state = ARRAY;
            lexer.array(|lexer| {
                state = fold(state, value(lexer)?);
                Ok(())
            })?;
            Ok(state)
        }
        b'"' => Ok(hash(STRING, lexer.string()?.unescaped()?.as_bytes())),
        _ => Ok(scalar(lexer)?.1),
    }
}

/// Reads a number, `true`, `false` or `null`, with its hash.
pub(super) fn scalar<'a>(lexer: &mut Lexer<'a>) -> Result<(Scalar<'a>, u64), Fault> {
    let scalar = lexer.scalar()?;
    let hash = match scalar {
        Scalar::Bool(true) => fold(WORD, 1),
        Scalar::Bool(false) => fold(WORD, 2),
        Scalar::Null => fold(WORD, 3),
        Scalar::Integer("-0") => hash(INTEGER, b"0"),
        Scalar::Integer(digits) => hash(INTEGER, digits.as_bytes()),
        Scalar::Float(number) => {
            let float: f64 = number.parse().map_err(|_| lexer.fault("a number that can't be read"))?;
            fold(FLOAT, float.to_bits())
        }
    };
    Ok((scalar, hash))
}

// One start value a kind, so that "1", 1, 1.0 and [1] differ. Odd numbers without a pattern.
const KEY: u64 = 0x9e37_79b9_7f4a_7c15;
const STRING: u64 = 0xbf58_476d_1ce4_e5b9;
const INTEGER: u64 = 0x94d0_49bb_1331_11eb;
const FLOAT: u64 = 0xd6e8_feb8_6659_fd93;
const WORD: u64 = 0xa076_1d64_78bd_642f;
const OBJECT: u64 = 0xe703_7ed1_a0b4_28db;
const ARRAY: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Mixes two numbers by folding their 128-bit product.
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ KEY) * u128::from(b ^ STRING);
    (product as u64) ^ ((product >> 64) as u64) ^ b.rotate_left(29)
}

/// Hashes bytes, eight at a time. Good against accident, not against an adversary.
pub(super) fn hash(start: u64, bytes: &[u8]) -> u64 {
    let mut state = start ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = fold(state, u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    fold(state, u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn hashed(text: &str) -> Result<u64, Fault> {
        let mut lexer = Lexer::new(text, MAX_DEPTH);
        let hash = value(&mut lexer)?;
        lexer.end().map(|()| hash)
    }

    #[test]
    fn spelling_does_not_matter_and_values_do() {
        let one = hashed(r#"{"a":1,"b":["é",null,{"c":0.1}],"d":{}}"#).unwrap();
        let two = hashed("{ \"d\" : {}, \"b\":[\"\\u00e9\", null,{\"c\": 1.0e-1}] , \"\\u0061\":1 }").unwrap();
        assert_eq!(one, two);
        for other in [
            r#"{"a":1.0,"b":["é",null,{"c":0.1}],"d":{}}"#,
            r#"{"a":1,"b":[null,"é",{"c":0.1}],"d":{}}"#,
            r#"{"a":1,"b":["é",null,{"c":0.1}],"d":[]}"#,
            r#"{"b":1,"a":["é",null,{"c":0.1}],"d":{}}"#,
            r#"{"a":"1","b":["é",null,{"c":0.1}],"d":{}}"#,
        ] {
            assert_ne!(hashed(other).unwrap(), one, "{other}");
        }
        assert_eq!(hashed("\"\\ud83d\\ude00\""), hashed("\"😀\""));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in ["", "{", "[1,]", "NaN", "\"\\ud800\"", "{\"\\udc00\":1}", "1 2", &deep] {
            assert!(hashed(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(hashed(&format!("{}{}", "[".repeat(66), "]".repeat(66))).is_ok());
        assert_ne!(hashed("1e999").unwrap(), hashed("-1e999").unwrap(), "infinite, as IG reads them");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_compact_and_reversed_are_one(value in json()) {
            fn reversed(value: &Value) -> Value {
                match value {
                    Value::Object(members) => members.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect(),
                    Value::Array(items) => items.iter().map(reversed).collect(),
                    other => other.clone(),
                }
            }
            let compact = hashed(&value.to_string());
            prop_assert!(compact.is_ok());
            prop_assert_eq!(hashed(&serde_json::to_string_pretty(&value).unwrap()), compact);
            prop_assert_eq!(hashed(&reversed(&value).to_string()), compact);
        }

        #[test]
        fn different_values_hash_differently(one in json(), two in json()) {
            let same = serde_json::to_string(&one).unwrap() == serde_json::to_string(&two).unwrap();
            prop_assume!(!same && one != two);
            prop_assert_ne!(hashed(&one.to_string()), hashed(&two.to_string()));
        }
    }
}

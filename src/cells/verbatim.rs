//! A payload that arrives as JSON text: checked to be one object, scanned for the keys, sent unchanged.
//!
//! ```text
//! bytes ──scan──► the object's text, the values of the wanted keys
//! ```
//!
//! No value is built and no number converted: a parser would lose digits that IG has to see.

use std::borrow::Cow;

use crate::json::{Fault, Lexer, Scalar};

/// Deeper nesting is refused.
const MAX_DEPTH: u32 = 64;
/// A float without exponent and of at most so many bytes is less than the largest double.
const MAX_PLAIN_FLOAT: usize = 308;
/// A longer integer can't be part of a key.
const MAX_KEY_DIGITS: usize = 64;

/// A wanted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without point and exponent, as its digits stand there.
    Integer(&'a str),
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// Any other value, as it stands there: a float, an object, an array.
    Other(&'a str),
}

/// Reads `bytes` as one JSON object. Gives its text, without white space around it, and fills `found`
/// with the top-level values of the keys in `wanted`, `None` for those that are not there.
///
/// # Errors
///
/// What is wrong, and where.
pub fn object<'a>(bytes: &'a [u8], wanted: &[String], found: &mut Vec<Option<Found<'a>>>) -> Result<&'a str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("no UTF-8: {error}"))?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    found.clear();
    found.resize(wanted.len(), None);
    members(text, wanted, found).map_err(|fault| format!("no JSON object: {fault}"))?;
    Ok(text)
}

fn members<'a>(text: &'a str, wanted: &[String], found: &mut [Option<Found<'a>>]) -> Result<(), Fault> {
    let mut lexer = Lexer::new(text, MAX_DEPTH);
    lexer.object(|lexer, key| {
        let key = key.unescaped()?;
        let Some(place) = wanted.iter().position(|name| *name == key) else { return check(lexer) };
        // JSON readers differ in which duplicate they take, and the event's identity depends on the value.
        if found[place].replace(value(lexer)?).is_some() {
            return Err(lexer.fault("a key whose value is read stands twice"));
        }
        Ok(())
    })?;
    lexer.end()
}

/// Checks a value that is not wanted.
fn check(lexer: &mut Lexer<'_>) -> Result<(), Fault> {
    match lexer.peek() {
        b'{' => lexer.object(|lexer, key| {
            key.check()?;
            check(lexer)
        }),
        b'[' => lexer.array(check),
        b'"' => lexer.string()?.check(),
        _ => scalar(lexer).map(drop),
    }
}

/// Reads a wanted value.
fn value<'a>(lexer: &mut Lexer<'a>) -> Result<Found<'a>, Fault> {
    let first = lexer.peek();
    let from = lexer.at();
    if first == b'"' {
        return lexer.string()?.unescaped().map(Found::Text);
    }
    if matches!(first, b'{' | b'[') {
        check(lexer)?;
        return Ok(Found::Other(lexer.read_since(from)));
    }
    Ok(match scalar(lexer)? {
        Scalar::Null => Found::Null,
        Scalar::Bool(value) => Found::Bool(value),
        Scalar::Integer(digits) if digits.len() <= MAX_KEY_DIGITS => Found::Integer(digits),
        Scalar::Integer(number) | Scalar::Float(number) => Found::Other(number),
    })
}

/// Reads a number or word. `1e999` is JSON, but readers of doubles, such as IG, take it for infinity. Integers of any length are
/// exact.
fn scalar<'a>(lexer: &mut Lexer<'a>) -> Result<Scalar<'a>, Fault> {
    let scalar = lexer.scalar()?;
    if let Scalar::Float(number) = scalar {
        let may_overflow = number.len() > MAX_PLAIN_FLOAT || number.contains(['e', 'E']);
        if may_overflow && number.parse().is_ok_and(f64::is_infinite) {
            return Err(lexer.fault("a number beyond the doubles"));
        }
    }
    Ok(scalar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Result<&str, String> {
        object(text.as_bytes(), &[], &mut Vec::new())
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "null",
            "[1]",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":NaN}",
            "{\"a\":-Infinity}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":+1}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\u12\u{e9}\"}",
            "{\"a\":[1 2]}",
            "{\"a\":tru}",
            "\u{feff}{}",
            "{\"a\":1e309}",
            "{\"a\":[-1E999]}",
        ] {
            assert!(scan(text).is_err(), "{text:?}");
        }
        assert!(object(b"{\"a\":\"\xff\"}", &[], &mut Vec::new()).is_err());
        assert!(scan(&format!("{{\"a\":{}.5}}", "9".repeat(309))).is_err());
    }

    #[test]
    fn digits_are_kept_and_space_around_is_not() {
        let text = "{\"a\": 123456789012345678901234567890.000000000000000000001, \"b\": [1e308, 1e-999]}";
        assert_eq!(scan(&format!(" \n{text}\t")), Ok(text));
        let integer = format!("{{\"a\":{}}}", "9".repeat(400));
        assert_eq!(scan(&integer), Ok(integer.as_str()));
    }

    #[test]
    fn space_may_stand_between_any_two_tokens() {
        let tokens = [
            "{", "\"a\"", ":", "{", "\"b\"", ":", "[", "1", ",", "{", "}", ",", "[", "]", "]", "}", ",", "\"c\"", ":",
            "null", "}",
        ];
        for space in ["", " ", "\n\t \r"] {
            let text = tokens.join(space);
            assert_eq!(scan(&text), Ok(text.as_str()));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(scan(&nested(63)).is_ok());
        assert!(scan(&nested(64)).is_err());
        assert!(scan(&nested(1_000_000)).is_err());
        let nested = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(scan(&nested(64)).is_ok());
        assert!(scan(&nested(65)).is_err());
    }

    #[test]
    fn keys_are_found_at_the_top_alone() {
        let wanted: Vec<String> =
            ["id", "name", "gone", "big", "flag", "off"].iter().map(ToString::to_string).collect();
        let mut found = Vec::new();
        let text = r#"{"x":{"id":1},"i\u0064":18446744073709551615,"name":"a\"b","big":-0,"flag":true,"off":false}"#;
        object(text.as_bytes(), &wanted, &mut found).unwrap();
        let expected = [
            Some(Found::Integer("18446744073709551615")),
            Some(Found::Text("a\"b".into())),
            None,
            Some(Found::Integer("-0")),
            Some(Found::Bool(true)),
            Some(Found::Bool(false)),
        ];
        assert_eq!(found, expected);
        assert!(object(br#"{"id":1,"id":2}"#, &wanted, &mut found).is_err());
        object(br#"{"id":1.0,"name":99999999999999999999999}"#, &wanted, &mut found).unwrap();
        assert_eq!(
            found,
            [Some(Found::Other("1.0")), Some(Found::Integer("99999999999999999999999")), None, None, None, None]
        );
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::vec((".{0,6}", inner), 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_parser(value in json(), spoil in proptest::option::of((any::<prop::sample::Index>(), any::<u8>()))) {
            let mut bytes = serde_json::to_vec(&value).unwrap();
            if let Some((at, byte)) = spoil {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let parsed = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok()
                && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).is_ok();
            let scanned = object(&bytes, &[], &mut Vec::new()).is_ok();
            prop_assert_eq!(scanned, parsed, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

//! A payload that arrives as JSON text: checked to be one object, scanned for the keys, sent unchanged.
//!
//! ```text
//! bytes ──scan──► the object's text, the values of the wanted keys
//! ```
//!
//! No value is built and no number converted: a parser would lose digits that IG has to see.

use std::borrow::Cow;

use super::text::is_special;

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
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0 };
    scanner.top(wanted, found).map_err(|what| format!("no JSON object: {what} at byte {}", scanner.at))?;
    Ok(text)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

type Scan<T> = Result<T, &'static str>;

impl<'a> Scanner<'a> {
    fn top(&mut self, wanted: &[String], found: &mut [Option<Found<'a>>]) -> Scan<()> {
        self.expect(b'{')?;
        self.members(1, |scanner, key| {
            let key = unescaped(key)?;
            let place = wanted.iter().position(|name| *name == key);
            let from = scanner.at;
            scanner.value(1)?;
            if let Some(place) = place {
                let value = value_of(&scanner.text[from..scanner.at])?;
                // Readers differ in which of two they take, and the event's identity hangs on it.
                if found[place].replace(value).is_some() {
                    return Err("a key whose value is read stands twice");
                }
            }
            Ok(())
        })?;
        if self.at == self.bytes.len() { Ok(()) } else { Err("text after the object") }
    }

    /// The rest of an object whose `{` was read; `member` reads the value of the key it is given.
    fn members(&mut self, depth: u32, mut member: impl FnMut(&mut Self, &'a str) -> Scan<()>) -> Scan<()> {
        if depth > MAX_DEPTH {
            return Err("nested more than 64 deep");
        }
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            member(self, key)?;
            self.space();
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn value(&mut self, depth: u32) -> Scan<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                self.at += 1;
                self.members(depth + 1, |scanner, _| scanner.value(depth + 1))
            }
            Some(b'[') => {
                self.at += 1;
                self.items(depth + 1)
            }
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number(),
        }
    }

    fn items(&mut self, depth: u32) -> Scan<()> {
        if depth > MAX_DEPTH {
            return Err("nested more than 64 deep");
        }
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    /// A string; what stands between its quotes.
    fn string(&mut self) -> Scan<&'a str> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|byte| is_special(*byte)).ok_or("a string without an end")?;
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.text[from..self.at - 1]);
                }
                b'\\' => self.escape()?,
                _ => return Err("a control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Scan<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xdc00..=0xdfff => Err("half a surrogate pair"),
                0xd800..=0xdbff => {
                    self.expect(b'\\').map_err(|_| "half a surrogate pair")?;
                    match self.unit() {
                        Ok(0xdc00..=0xdfff) => Ok(()),
                        _ => Err("half a surrogate pair"),
                    }
                }
                _ => Ok(()),
            },
            _ => Err("an unknown escape"),
        }
    }

    /// `uXXXX`.
    fn unit(&mut self) -> Scan<u16> {
        self.expect(b'u')?;
        let digits = self.text.get(self.at..self.at + 4).ok_or("a short escape")?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("an escape that is not hex");
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).map_err(|_| "an escape that is not hex")
    }

    fn number(&mut self) -> Scan<()> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            self.at = from;
            return Err("no value");
        }
        let point = self.take(b'.');
        if point && self.digits() == 0 {
            return Err("a number that ends in its point");
        }
        let exponent = self.take(b'e') || self.take(b'E');
        if exponent {
            let _sign = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err("a number without its exponent");
            }
        }
        // `1e999` is JSON, and infinity to who reads doubles, as IG does. Integers are read whole, at any length.
        let may_overflow = exponent || (point && self.at - from > MAX_PLAIN_FLOAT);
        if may_overflow && self.text[from..self.at].parse().is_ok_and(f64::is_infinite) {
            return Err("a number beyond the doubles");
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn word(&mut self, word: &str) -> Scan<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err("no value");
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.take(byte) {
            return Ok(());
        }
        Err(match byte {
            b'{' => "'{' was expected",
            b'}' => "',' or '}' was expected",
            b']' => "',' or ']' was expected",
            b':' => "':' was expected",
            b'"' => "a string was expected",
            _ => "an unknown escape",
        })
    }
}

/// The text of a string between its quotes, checked already.
fn unescaped(inside: &str) -> Scan<Cow<'_, str>> {
    if !inside.contains('\\') {
        return Ok(Cow::Borrowed(inside));
    }
    serde_json::from_str(&format!("\"{inside}\"")).map(Cow::Owned).map_err(|_| "an escape that can't be read")
}

/// A value's text as what a key may be made of.
fn value_of(text: &str) -> Scan<Found<'_>> {
    Ok(match text {
        "null" => Found::Null,
        "true" => Found::Bool(true),
        "false" => Found::Bool(false),
        _ => match text.as_bytes().first() {
            Some(b'"') => Found::Text(unescaped(&text[1..text.len() - 1])?),
            Some(b'-' | b'0'..=b'9') if text.len() <= MAX_KEY_DIGITS && !text.contains(['.', 'e', 'E']) => {
                Found::Integer(text)
            }
            _ => Found::Other(text),
        },
    })
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

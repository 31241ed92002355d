//! Reads a JSON text once and hashes its value: no tree, no copy, no allocation without escapes.
//!
//! ```text
//! bytes ──► Scanner ──value──► u64, the same for every spelling of one value
//! ```
//!
//! Two texts hash alike when IG's parser reads the same value from both (contract, section 6): key
//! order, spacing and escapes don't matter; an integer and a float never meet, nor do `0.0` and
//! `-0.0`; floats are compared as doubles, integers as digits of any length.

use std::borrow::Cow;

/// Nesting beyond this is refused, so that a hostile body can't exhaust the stack.
const MAX_DEPTH: u32 = 64;

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct NotJson {
    what: &'static str,
    at: usize,
}

impl NotJson {
    /// A value is followed by something else.
    pub(super) fn trailing() -> Self {
        Self { what: "more than one value", at: 0 }
    }
}

/// A number or word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// The digits of an integer, `-0` as `0`.
    Integer(&'a [u8]),
    /// Any other value, as its hash.
    Other,
}

/// A position in a JSON text that is valid UTF-8.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, NotJson> {
        let text =
            std::str::from_utf8(body).map_err(|error| NotJson { what: "invalid UTF-8", at: error.valid_up_to() })?;
        Ok(Self { text, at: 0 })
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, NotJson> {
        Err(NotJson { what, at: self.at })
    }

    /// The next byte that is not white space, left where it is; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        while let Some(b) = self.bytes().get(self.at) {
            if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                return *b;
            }
            self.at += 1;
        }
        0
    }

    /// Whether only white space is left.
    pub(super) fn at_end(&mut self) -> bool {
        self.peek();
        self.at == self.text.len()
    }

    /// Walks over an object; `member` gets each key with the scanner standing at its value, which it has to read.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        if self.peek() != b'{' {
            return self.fail("an object expected");
        }
        self.at += 1;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            if self.peek() != b':' {
                return self.fail("':' expected");
            }
            self.at += 1;
            member(self, &key)?;
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail("',' or '}' expected"),
            }
        }
    }

    /// Reads a string; borrowed where it holds no escape.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        if self.peek() != b'"' {
            return self.fail("a string expected");
        }
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        match self.bytes().get(self.at) {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            Some(_) => self.fail("a control character in a string"),
            None => self.fail("an unfinished string"),
        }
    }

    /// Skips to the next quote, backslash or control character, eight bytes at a time: strings are most of a body.
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        // The high bit of each byte that is below `n`; only the lowest bit set is sure, which is the one that is used.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & (ONES * 0x80);
        let bytes = self.bytes();
        while let Some(Ok(chunk)) = bytes.get(self.at..self.at + 8).map(<[u8; 8]>::try_from) {
            let word = u64::from_le_bytes(chunk);
            let special = below(word ^ (ONES * u64::from(b'"')), 1)
                | below(word ^ (ONES * u64::from(b'\\')), 1)
                | below(word, 0x20);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while !matches!(bytes.get(self.at), None | Some(b'"' | b'\\' | 0..0x20)) {
            self.at += 1;
        }
    }

    /// The rest of a string that holds escapes, from its first one on.
    fn escaped(&mut self, start: usize) -> Result<String, NotJson> {
        let mut out = self.text[start..self.at].to_owned();
        loop {
            let plain = self.at;
            self.skip_plain();
            out.push_str(&self.text[plain..self.at]);
            match self.bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.at += 1,
                Some(_) => return self.fail("a control character in a string"),
                None => return self.fail("an unfinished string"),
            }
            let escape = self.bytes().get(self.at).copied();
            self.at += 1;
            out.push(match escape {
                Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'u') => self.unicode_escape()?,
                _ => return self.fail("an unknown escape"),
            });
        }
    }

    fn unicode_escape(&mut self) -> Result<char, NotJson> {
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) && self.bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("half a surrogate pair"),
        }
    }

    fn hex4(&mut self) -> Result<u32, NotJson> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.bytes().get(self.at).and_then(|b| char::from(*b).to_digit(16)) else {
                return self.fail("four hex digits expected");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Reads any value and hashes it.
    pub(super) fn value(&mut self) -> Result<u64, NotJson> {
        self.nested(0)
    }

    fn nested(&mut self, depth: u32) -> Result<u64, NotJson> {
        if depth > MAX_DEPTH {
            return self.fail("too deep");
        }
        match self.peek() {
            b'{' => {
                let mut sum = 0_u64;
                // A sum doesn't see the order of the members.
                self.object(|scanner, key| {
                    let key = hash(KEY, key.as_bytes());
                    sum = sum.wrapping_add(fold(key, scanner.nested(depth + 1)?));
                    Ok(())
                })?;
                Ok(fold(OBJECT, sum))
            }
            b'[' => self.array(depth),
            b'"' => Ok(hash(STRING, self.string()?.as_bytes())),
            _ => Ok(self.scalar()?.1),
        }
    }

    fn array(&mut self, depth: u32) -> Result<u64, NotJson> {
        self.at += 1;
        let mut state = ARRAY;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(state);
        }
        loop {
            state = fold(state, self.nested(depth + 1)?);
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(state);
                }
                _ => return self.fail("',' or ']' expected"),
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`, with its hash.
    pub(super) fn scalar(&mut self) -> Result<(Scalar<'a>, u64), NotJson> {
        let first = self.peek();
        for (word, mark) in [("true", 1), ("false", 2), ("null", 3)] {
            if first == word.as_bytes()[0] && self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok((Scalar::Other, fold(WORD, mark)));
            }
        }
        let start = self.at;
        if first == b'-' {
            self.at += 1;
        }
        match self.digits() {
            0 => return self.fail("a value expected"),
            n if n > 1 && self.bytes()[self.at - n] == b'0' => return self.fail("a leading zero"),
            _ => {}
        }
        let integer = self.at;
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.fail("a digit expected");
            }
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes().get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.fail("a digit expected");
            }
        }
        let text = &self.text[start..self.at];
        if self.at == integer {
            let digits = if text == "-0" { b"0" } else { text.as_bytes() };
            return Ok((Scalar::Integer(digits), hash(INTEGER, digits)));
        }
        match text.parse::<f64>() {
            Ok(float) => Ok((Scalar::Other, fold(FLOAT, float.to_bits()))),
            Err(_) => self.fail("a number expected"),
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.bytes().get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }
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

    fn hashed(text: &str) -> Result<u64, NotJson> {
        let mut scanner = Scanner::new(text.as_bytes())?;
        let hash = scanner.value()?;
        if scanner.at_end() { Ok(hash) } else { scanner.fail("more") }
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
        for bad in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "tru",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\n\"",
            "1 2",
            &deep,
        ] {
            assert!(hashed(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
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

        #[test]
        fn accepts_what_serde_accepts(text in "[\\[\\]{}\",:0-9eE.+\\-tfn\\\\u ]{0,12}") {
            let serde = serde_json::from_str::<Value>(&text);
            // A number past the largest double is infinite here and an error there.
            let overflow = serde.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(overflow || serde.is_ok() == hashed(&text).is_ok(), "{text}");
        }
    }
}

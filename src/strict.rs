//! Strict reading of JSON from outside: bounded in size and depth, no duplicate keys, every error with its path.
//!
//! ```text
//! bytes ──size──► UTF-8, syntax ──depth, duplicate keys──► T (closed where T says `deny_unknown_fields`)
//! ```
//!
//! `serde_json` alone lets the last of two equal keys win in open objects, and accepts an array for a
//! struct; either way two readers of one message could see different things.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::json::{Fault, Lexer, Token};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes at most.
    pub bytes: usize,
    /// Objects and arrays within each other at most; the outermost counts as 1.
    pub depth: usize,
}

impl Limits {
    /// At most `bytes` bytes, and 32 levels.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self { bytes, depth: 32 }
    }
}

/// Why a text is not the JSON it has to be. Paths are bounded and look like `payload.locators[2].path`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// Larger than the limit.
    #[error("{size} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// What was allowed.
        limit: usize,
    },
    /// Not JSON, or JSON followed by something else.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Objects and arrays nested deeper than the limit.
    #[error("nested deeper than {limit} levels at {path}")]
    TooDeep {
        /// Where.
        path: String,
        /// What was allowed.
        limit: usize,
    },
    /// An object that holds a key twice.
    #[error("the key {path} stands twice")]
    DuplicateKey {
        /// The key, with its path.
        path: String,
    },
    /// JSON, but of another shape: an unknown or missing key, a wrong type or a bad identity.
    #[error("at {path}: {message}")]
    Shape {
        /// Where.
        path: String,
        /// What is wrong there.
        message: String,
    },
}

/// Reads `bytes` as one JSON object that is a `T`. Integers are exact to 64 bits.
///
/// # Errors
///
/// [`StrictError`], at the first fault.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, StrictError> {
    if bytes.len() > limits.bytes {
        return Err(StrictError::TooLarge { size: bytes.len(), limit: limits.bytes });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| StrictError::Syntax(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| StrictError::Syntax(error.to_string()))?;
    Walk::new(text).to(text.len(), limits.depth)?;
    serde_json::from_str::<Object<T>>(text).map(|object| object.0).map_err(|error| shape(text, &error))
}

/// For `#[serde(deserialize_with)]`: a struct that has to be a JSON object, not an array of its fields.
///
/// # Errors
///
/// Those of `T`, and anything that is not an object.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// As [`object`], where `null` and absence (with `#[serde(default)]`) are `None`.
///
/// # Errors
///
/// As [`object`].
pub fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// As [`object`], for an array of them.
///
/// # Errors
///
/// As [`object`].
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(deserializer)?.into_iter().map(|object| object.0).collect())
}

/// At most `max` characters of `text`, marked where it was cut: hostile input is quoted in errors, never whole.
#[must_use]
pub fn excerpt(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapOnly<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapOnly<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(MapOnly(PhantomData)).map(Object)
    }
}

fn shape(text: &str, error: &serde_json::Error) -> StrictError {
    let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let offset = (line_start + error.column().saturating_sub(1)).min(text.len());
    let mut walk = Walk::new(text);
    // The text was walked to its end before, so this can't find a fault; the depth is no longer of interest.
    let _ = walk.to(offset, usize::MAX);
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    // The reader's message repeats unknown keys as they are, and they may hold what a terminal would obey.
    let message = excerpt(message, 400).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    StrictError::Shape { path: walk.path(), message }
}

/// One open object or array.
enum Level<'a> {
    Object { keys: HashSet<Cow<'a, str>>, key: Option<Cow<'a, str>> },
    Array { index: usize },
}

/// A walk over a text that is known to be JSON, keeping the path to where it stands.
struct Walk<'a> {
    lexer: Lexer<'a>,
    levels: Vec<Level<'a>>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        // `to` counts the levels itself, because only it knows the path for the error.
        Self { lexer: Lexer::new(text, 0), levels: Vec::new() }
    }

    /// Goes on to byte `end`, or to the first fault.
    fn to(&mut self, end: usize, depth: usize) -> Result<(), StrictError> {
        let syntax = |fault: Fault| StrictError::Syntax(fault.to_string());
        loop {
            self.lexer.peek();
            if self.lexer.at() >= end {
                return Ok(());
            }
            match self.lexer.token().map_err(syntax)? {
                Some(Token::Mark(open @ (b'{' | b'['))) => {
                    if self.levels.len() == depth {
                        return Err(StrictError::TooDeep { path: self.path(), limit: depth });
                    }
                    self.levels.push(if open == b'{' {
                        Level::Object { keys: HashSet::new(), key: None }
                    } else {
                        Level::Array { index: 0 }
                    });
                }
                Some(Token::Mark(b'}' | b']')) => drop(self.levels.pop()),
                Some(Token::Mark(b',')) => match self.levels.last_mut() {
                    Some(Level::Object { key, .. }) => *key = None,
                    Some(Level::Array { index }) => *index += 1,
                    None => {}
                },
                Some(Token::Text(text)) => {
                    if let Some(Level::Object { keys, key: key @ None }) = self.levels.last_mut() {
                        let name = text.unescaped().map_err(syntax)?;
                        *key = Some(name.clone());
                        if !keys.insert(name) {
                            return Err(StrictError::DuplicateKey { path: self.path() });
                        }
                    }
                }
                Some(Token::Mark(_) | Token::Scalar(_)) => {}
                None => return Ok(()),
            }
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            match level {
                Level::Object { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.extend(excerpt(key, 64).escape_debug());
                }
                Level::Object { key: None, .. } => {}
                Level::Array { index } => path.extend(["[", &index.to_string(), "]"]),
            }
        }
        if path.is_empty() { "the top".to_owned() } else { excerpt(&path, 200).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        seed: u64,
        #[serde(default, deserialize_with = "optional_object")]
        inner: Option<Inner>,
        #[serde(default, deserialize_with = "objects")]
        list: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        name: String,
    }

    fn read(text: &str) -> Result<Outer, String> {
        parse(text.as_bytes(), Limits { bytes: 1000, depth: 3 }).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_well_formed_is_read_exactly() {
        let outer =
            read(r#" {"seed":18446744073709551615,"inner":{"name":"n","more":1},"list":[{"name":"m"}]} "#).unwrap();
        assert_eq!(outer.seed, u64::MAX);
        assert_eq!(outer.inner.unwrap().name, "n");
        assert_eq!(outer.list[0].name, "m");
    }

    #[test]
    fn every_fault_names_its_place() {
        for (text, expected) in [
            (r#"{"seed":1,"x":2}"#, "at x: unknown field `x`, expected one of `seed`, `inner`, `list`"),
            (r#"{"seed":1,"\u001b[2J\u007f":2}"#, "unknown field ` [2J `"),
            (r#"{"seed":1.0}"#, "at seed: invalid type: floating point `1.0`, expected u64"),
            (r#"{"seed":1,"inner":["n"]}"#, "at inner"),
            (r#"{"seed":1,"list":[{"name":"a"},{"name":7}]}"#, "at list[1].name: invalid type: integer `7`"),
            (r#"{"seed":1,"list":[["a"]]}"#, "at list: invalid type: sequence"),
            (r#"{"inner":null}"#, "missing field `seed`"),
            ("[1,null,[]]", "at the top: invalid type: sequence, expected a JSON object"),
            (r#"{"seed":1,"inner":{"name":"a","x":1,"\u0078":2}}"#, "the key inner.x stands twice"),
            (r#"{"seed":1,"seed":1}"#, "the key seed stands twice"),
            (r#"{"seed":1,"inner":{"name":"a","x":[[1]]}}"#, "nested deeper than 3 levels at inner.x[0]"),
            (r#"{"seed":1}x"#, "not JSON: trailing characters"),
            (r#"{"seed":01}"#, "not JSON"),
            ("", "not JSON"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse::<Outer>(b"{\"seed\":1,\"\xff\":1}", Limits::bytes(100)).is_err());
        assert!(matches!(
            parse::<Outer>(&[b' '; 11], Limits::bytes(10)),
            Err(StrictError::TooLarge { size: 11, limit: 10 })
        ));
    }

    #[test]
    fn a_fault_on_a_later_line_is_placed_too() {
        let error = read("{\n \"seed\": 1,\n \"inner\": {\n  \"name\": false\n }\n}").unwrap_err();
        assert!(error.starts_with("at inner.name: invalid type: boolean `false`"), "{error}");
    }

    #[test]
    fn errors_quote_no_more_than_a_piece() {
        let long = "k".repeat(800);
        assert!(read(&format!("{{\"{long}\":1}}")).unwrap_err().len() < 600);
        assert!(read(&format!("{{\"{long}\":1,\"{long}\":1}}")).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    #[derive(Deserialize)]
    struct Open {
        v: Value,
    }

    proptest! {
        #[test]
        fn any_object_without_a_duplicate_is_read_as_it_is(value in any_json()) {
            let text = json!({ "v": value }).to_string();
            let open: Open = parse(text.as_bytes(), Limits::bytes(1 << 20)).unwrap();
            prop_assert_eq!(open.v, value);
        }

        #[test]
        fn a_key_given_twice_at_any_level_is_refused(value in any_json(), key in any::<String>(), wraps in 0_usize..5) {
            let key = json!(key);
            let mut text = format!("{{{key}:{value},{key}:1}}");
            for wrap in 0..wraps {
                text = if wrap % 2 == 0 { format!("[0,{text}]") } else { format!("{{\"w\":{text}}}") };
            }
            let error = parse::<Open>(format!("{{\"v\":{text}}}").as_bytes(), Limits::bytes(1 << 20));
            let duplicate = matches!(error, Err(StrictError::DuplicateKey { .. }));
            prop_assert!(duplicate);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse::<Outer>(&bytes, Limits::bytes(50));
        }

        #[test]
        fn any_mutation_is_read_without_a_panic(at in 0_usize..80, byte in any::<u8>()) {
            let mut bytes = br#"{"seed":1,"inner":{"name":"a\u00e9\"\\"},"list":[{"name":"b"},{"name":"c"}]}"#.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse::<Outer>(&bytes, Limits::bytes(200));
        }
    }
}

//! What an answer's JSON says about an event: the decision, and which event it names.
//!
//! ```text
//! body ──one pass──► Said { decision, names } ──► judge: the decision, and whether the answer is ours
//! ```
//!
//! Only an object decides. A derived `Deserialize` would also accept an array of the fields in order, so that
//! `["ADMIT"]` passed for a decision.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::Decision;

/// What an answer says about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// The decision. None if the answer has none or several, or if its receipt has another one.
    pub(super) decision: Option<Decision>,
    names: Names,
}

/// The event that an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Names {
    #[default]
    Nobody,
    Event([u8; 32]),
    /// Something that is not an event id, or several events.
    Other,
}

impl Said {
    /// Reads a body. One that is not a JSON object says nothing.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let members = Object { receipt: false }.deserialize(&mut reader);
        // Whatever follows the object makes the body unreadable.
        let Ok(Members { decision, receipt, names }) = members.and_then(|members| reader.end().map(|()| members))
        else {
            return Self::default();
        };
        let decision = match (decision, receipt) {
            (Word::Is(one), Word::Is(other)) if one != other => None,
            (Word::Is(decision), _) => Some(decision),
            _ => None,
        };
        Self { decision, names }
    }

    /// Whether the answer can be about the event with this id: it names that one, or none.
    pub(super) fn is_about(&self, event_id: &[u8; 32]) -> bool {
        match &self.names {
            Names::Nobody => true,
            Names::Event(named) => named == event_id,
            Names::Other => false,
        }
    }
}

impl Names {
    /// What `self` and `other`, from two places of one answer, name together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, Self::Nobody) | (Self::Nobody, one) => one,
            (one, other) if one == other => one,
            _ => Self::Other,
        }
    }

    fn of(value: &Scalar<'_>) -> Self {
        match value {
            Scalar::Null => Self::Nobody,
            Scalar::Text(text) if text.is_empty() => Self::Nobody,
            Scalar::Text(text) => event_id(text.as_bytes()).map_or(Self::Other, Self::Event),
            Scalar::Other => Self::Other,
        }
    }
}

/// An event id from its 64 hex digits.
fn event_id(text: &[u8]) -> Option<[u8; 32]> {
    (text.len() == 64).then(|| const_hex::decode_to_array(text).ok()).flatten()
}

/// What stands as a decision somewhere.
#[derive(Debug, Clone, Copy, Default)]
enum Word {
    #[default]
    Missing,
    Is(Decision),
    /// Not one of the three words, or the key stands there twice.
    Other,
}

impl Word {
    fn of(value: &Scalar<'_>) -> Self {
        let text = match value {
            Scalar::Null => return Self::Missing,
            Scalar::Text(text) => text,
            Scalar::Other => return Self::Other,
        };
        let known = [Decision::Admit, Decision::Duplicate, Decision::Quarantine];
        known.into_iter().find(|decision| decision.as_str() == text).map_or(Self::Other, Self::Is)
    }

    /// The word after another occurrence of its key.
    fn and(self, other: Self) -> Self {
        if let Self::Missing = self { other } else { Self::Other }
    }
}

/// The members of an answer that count.
#[derive(Debug, Default)]
struct Members {
    decision: Word,
    /// The receipt's decision.
    receipt: Word,
    /// What answer and receipt name.
    names: Names,
}

enum Key {
    Decision,
    EventId,
    Receipt,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Key, E> {
                Ok(match name {
                    b"decision" => Key::Decision,
                    b"event_id" => Key::EventId,
                    b"receipt" => Key::Receipt,
                    _ => Key::Other,
                })
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
                self.visit_bytes(name.as_bytes())
            }
        }

        // As bytes: half a surrogate pair in some other key is no reason not to see the decision.
        deserializer.deserialize_bytes(Name)
    }
}

/// Ways to read a value that is not what was hoped for: past it, to nothing.
macro_rules! anything_else {
    ($value:ty, $nothing:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }

        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($nothing)
        }

        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($nothing)
        }

        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($nothing)
        }

        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($nothing)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<$value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
}

/// Reads an answer, or the receipt in it.
struct Object {
    receipt: bool,
}

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Members;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Members;

    anything_else!(Members, Members::default());

    fn visit_unit<E>(self) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Members, E> {
        Ok(Members::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Decision => members.decision = members.decision.and(Word::of(&map.next_value()?)),
                Key::EventId => members.names = members.names.and(Names::of(&map.next_value()?)),
                Key::Receipt if !self.receipt => {
                    let receipt = map.next_value_seed(Object { receipt: true })?;
                    members.receipt = members.receipt.and(receipt.decision);
                    members.names = members.names.and(receipt.names);
                }
                Key::Receipt | Key::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(members)
    }
}

/// A value that should be a text.
enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Other,
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            anything_else!(Scalar<'de>, Scalar::Other);

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const OURS: [u8; 32] = [0xab; 32];

    fn ours() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn an_object_decides_once_and_in_its_own_words() {
        use Decision::{Admit, Duplicate, Quarantine};
        for (body, decision) in [
            (r#"{"decision":"ADMIT"}"#, Some(Admit)),
            (r#" {"receipt":{"decision":"DUPLICATE"},"decision":"DUPLICATE"} "#, Some(Duplicate)),
            (r#"{"\u0064ecision":"QUARANT\u0049NE","x":[{"decision":1}]}"#, Some(Quarantine)),
            (r#"{"decision":"ADMIT","receipt":["QUARANTINE"]}"#, Some(Admit)),
            (r#"{"decision":"ADMIT","receipt":null}"#, Some(Admit)),
            (r#"{"decision":"ADMIT","receipt":{"receipt":{"decision":"QUARANTINE"}}}"#, Some(Admit)),
            (r#"{"decision":"ADMIT","receipt":{"decision":"accepted"}}"#, Some(Admit)),
            (r#"{"decision":"ADMIT","a":"\ud800","\ud800":1,"receipt":{"\ud800":"\ud800"}}"#, Some(Admit)),
            // Not in an object of its own.
            (r#"["ADMIT"]"#, None),
            (r#"[{"decision":"ADMIT"}]"#, None),
            (r#""ADMIT""#, None),
            (r#"{"receipt":{"decision":"ADMIT"}}"#, None),
            (r#"{"answer":{"decision":"ADMIT"}}"#, None),
            (r#"{"receipt":["ADMIT"]}"#, None),
            // Not one of the words.
            (r#"{"decision":"admit"}"#, None),
            (r#"{"decision":"ADMIT "}"#, None),
            (r#"{"decision":["ADMIT"]}"#, None),
            (r#"{"decision":{"decision":"ADMIT"}}"#, None),
            (r#"{"decision":null}"#, None),
            (r#"{"decision":1}"#, None),
            // Not one decision.
            (r#"{"decision":"ADMIT","decision":"ADMIT"}"#, None),
            (r#"{"decision":"QUARANTINE","decision":"ADMIT"}"#, None),
            (r#"{"decision":"ADMIT","receipt":{"decision":"QUARANTINE"}}"#, None),
            // Not JSON, or more than one.
            ("", None),
            (r#"{"decision":"ADMIT""#, None),
            (r#"{"decision":"ADMIT"}{"decision":"ADMIT"}"#, None),
            (r#"{"decision":"ADMIT"} x"#, None),
            (r#"{"decision":"ADMIT","x":NaN}"#, None),
        ] {
            assert_eq!(Said::read(body.as_bytes()).decision, decision, "{body}");
        }
    }

    #[test]
    fn an_answer_that_names_an_event_is_about_that_one() {
        let (ours, other) = (ours(), "cd".repeat(32));
        for (body, is_about) in [
            (json!({"decision": "ADMIT"}), true),
            (json!({"receipt": {"event_id": ours}}), true),
            (json!({"receipt": {"event_id": ours.to_uppercase()}, "event_id": ours}), true),
            (json!({"receipt": {"event_id": null}, "event_id": ""}), true),
            (json!({"receipt": "none", "event_id": ours}), true),
            (json!({"receipt": {"pins": {"event_id": other}}}), true),
            (json!({"receipt": {"event_id": other}}), false),
            (json!({"event_id": other, "error": "X"}), false),
            (json!({"receipt": {"event_id": ours}, "event_id": other}), false),
            (json!({"receipt": {"event_id": other}, "event_id": ours}), false),
            (json!({"event_id": &ours[1..]}), false),
            (json!({"event_id": format!("{ours}0")}), false),
            (json!({"event_id": 7}), false),
            (json!({"event_id": [ours]}), false),
            (json!({"event_id": {"event_id": ours}}), false),
        ] {
            assert_eq!(Said::read(body.to_string().as_bytes()).is_about(&OURS), is_about, "{body}");
        }
        let twice = format!(r#"{{"event_id":"{ours}","event_id":"{other}","decision":"ADMIT"}}"#);
        assert!(!Said::read(twice.as_bytes()).is_about(&OURS));
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop::sample::select(vec!["ADMIT", "DUPLICATE", "QUARANTINE", "x", ""]);
        let leaf = prop_oneof![
            text.prop_map(Value::from),
            Just(Value::from(ours())),
            Just(Value::Null),
            any::<i8>().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let key = prop::sample::select(vec!["decision", "event_id", "receipt", "x"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// What a plain reader of JSON would find there.
        #[test]
        fn it_reads_what_stands_there(body in value()) {
            let said = Said::read(body.to_string().as_bytes());
            let words = ["ADMIT", "DUPLICATE", "QUARANTINE"];
            let word = |value: &Value| value.as_str().filter(|word| words.contains(word)).map(str::to_owned);
            let object = body.as_object();
            let top = object.and_then(|object| word(object.get("decision")?));
            let inner = object.and_then(|object| word(object.get("receipt")?.as_object()?.get("decision")?));
            let expected = top.filter(|top| inner.is_none_or(|inner| inner == *top));
            prop_assert_eq!(said.decision.map(|decision| decision.as_str().to_owned()), expected);
            let ids = [body.get("event_id"), body.get("receipt").and_then(|receipt| receipt.get("event_id"))];
            let foreign = ids.into_iter().flatten().any(|id| !id.is_null() && id != "" && *id != ours());
            prop_assert_eq!(said.is_about(&OURS), !foreign);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Said::read(&body);
        }
    }
}

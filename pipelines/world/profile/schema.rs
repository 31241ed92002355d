//! The profile as a JSON Schema, so that editors complete and check it: `docs/profile.schema.json`, by `wsp docs schema`.
//!
//! ```text
//! settings::ALL ──► a block's settings and blocks ──► { "properties": … }, draft 2020-12
//! ```
//!
//! The reader takes texts, a schema sees YAML's types. So a setting takes its YAML type, or a text that reads as its value,
//! or a whole reference `${NAME}` or `${NAME:-default}`, or nothing. What a text in quotes is in numbers stays unbounded here; the
//! reader bounds it. Keywords are those that draft 7 has too, as editors know these best.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::outline::{Child, children};
use super::settings::{CLOSED_BLOCKS, Setting};

/// The schema.
#[must_use]
pub fn document() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Profile of the World Streamer Producer",
        "description": "Made by `wsp docs schema`. What belongs to other components of the platform is left alone.",
        "$defs": {"text": {"anyOf": [
            {"type": "string", "pattern": format!("^(?:{PLAIN}|{})$", reference(PLAIN))},
            {"type": ["number", "boolean", "null"]},
        ]}},
    });
    let mut profile = block("");
    profile["type"] = json!("object");
    // Only a name has no other source than the profile.
    let is_name = |child: &Child| matches!(child, Child::Setting(Setting { kind: Kind::Name, .. }));
    profile["required"] = children("").into_iter().filter(|(_, child)| is_name(child)).map(|(key, _)| key).collect();
    if let (Value::Object(root), Value::Object(profile)) = (&mut root, profile) {
        root.extend(profile);
    }
    root
}

/// A block: settings, blocks, and other keys unless the block is WSP's alone. Nothing counts as an empty block.
fn block(path: &str) -> Value {
    let properties: Map<String, Value> = children(path)
        .into_iter()
        .map(|(key, child)| {
            let schema = match child {
                Child::Setting(setting) => of_setting(&setting),
                Child::Block(path) => block(path),
            };
            (key.to_owned(), schema)
        })
        .collect();
    let mut block = json!({"type": ["object", "null"], "properties": properties});
    if CLOSED_BLOCKS.contains(&path) {
        block["additionalProperties"] = json!(false);
    }
    block
}

fn of_setting(setting: &Setting) -> Value {
    let mut schema = json!({"description": setting.help()});
    if !setting.default.is_empty() {
        schema["default"] = default(setting);
    }
    schema["anyOf"] = forms(setting);
    schema
}

/// The default in YAML's type.
fn default(setting: &Setting) -> Value {
    let text = setting.default;
    match setting.kind {
        Kind::Whole | Kind::Real => number(text),
        Kind::Switch => json!(text == "true"),
        _ => json!(text),
    }
}

/// A number of the table. What is no number can't stand there: a test reads all of them.
fn number(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| json!(text.parse::<f64>().unwrap_or_default()), |number| json!(number))
}

/// Any text without the beginning of a reference.
const PLAIN: &str = r"(?:[^$]|\$+[^${])*\$*";
/// The name of a variable in a reference.
const NAME: &str = "[A-Za-z0-9_]+";
/// A number's text.
const WHOLE: &str = r"\+?[0-9]+";
const REAL: &str = r"[+\-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?";
/// An address: no user, no query, no fragment, nothing to encode.
const HTTP_URL: &str = r"[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#\\@$]+(?:/(?:[^\s?#\\$]|\$+[^\s?#\\${])*\$*)?";
const LISTEN: &str = r"off|[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.%]+\]:[0-9]+";
const SWITCH: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];

/// A whole reference, with a default of this form where it has one.
fn reference(default: &str) -> String {
    format!(r"\s*\$\{{{NAME}(?::-(?:{default}))?\}}\s*")
}

/// A text of this form, with blanks around it, or blanks alone, which count as nothing, or a reference.
fn text(form: &str) -> Value {
    let blank = format!(r"\s*(?:{form})?\s*");
    json!({"type": "string", "pattern": format!("^(?:{blank}|{})$", reference(&blank))})
}

/// The YAML values that a setting takes.
fn forms(setting: &Setting) -> Value {
    let nothing = || json!({"type": "null"});
    let any = || json!({"$ref": "#/$defs/text"});
    match setting.kind {
        Kind::Text | Kind::Secret | Kind::Brokers => json!([any()]),
        Kind::Name => json!([{"type": ["number", "boolean"]}, filled()]),
        Kind::Whole => json!([bounded("integer", setting), text(WHOLE), nothing()]),
        Kind::Real => json!([bounded("number", setting), text(REAL), nothing()]),
        Kind::Switch => {
            json!([{"type": "boolean"}, {"enum": [0, 1]}, text(&one_of(&SWITCH.map(any_case))), nothing()])
        }
        Kind::Words(words) => json!([{"enum": words}, text(&one_of(words)), nothing()]),
        Kind::HttpUrl => json!([text(HTTP_URL), nothing()]),
        Kind::Listen => json!([text(LISTEN), nothing()]),
        Kind::List | Kind::GivenList => {
            json!([{"type": "array", "items": {"anyOf": [{"type": ["number", "boolean"]}, filled()]}}, any()])
        }
        Kind::ListOf(words) => {
            let word = one_of(words);
            let item = json!({"type": "string", "pattern": format!("^{}$", reference(&word))});
            let listed = format!(r"(?:{word})(?:\s*,[\s,]*(?:{word}))*");
            let list = text(&format!(r"[\s,]*(?:{listed})?[\s,]*"));
            json!([{"type": "array", "items": {"anyOf": [{"enum": words}, item]}}, list, nothing()])
        }
    }
}

/// A text that is not blank.
fn filled() -> Value {
    json!({"type": "string", "allOf": [{"pattern": r"\S"}, {"$ref": "#/$defs/text"}]})
}

fn bounded(kind: &str, setting: &Setting) -> Value {
    let mut schema = json!({"type": kind});
    if let Some((low, high)) = setting.bounds {
        schema["minimum"] = number(low);
        schema["maximum"] = number(high);
    }
    schema
}

fn one_of(words: &[impl AsRef<str>]) -> String {
    words.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("|")
}

/// A pattern of a word in small and capital letters.
fn any_case(word: &str) -> String {
    let letter =
        |c: char| if c.is_ascii_alphabetic() { format!("[{}{c}]", c.to_ascii_uppercase()) } else { c.to_string() };
    word.chars().map(letter).collect()
}

/// The validator of the tests.
#[cfg(test)]
#[path = "../../../tests/kit/schema.rs"]
mod validator;

/// What is wrong with a profile by the schema.
#[cfg(test)]
pub(super) fn fault(profile: &Value) -> Option<String> {
    static SCHEMA: std::sync::LazyLock<Value> = std::sync::LazyLock::new(document);
    validator::check(&SCHEMA, &SCHEMA, profile, "").err()
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;

//! The file of `wsp replay --config` as a JSON Schema: `docs/replay.schema.json`, by `wsp docs replay-schema`.
//!
//! ```text
//! flags of `wsp replay` (clap) ──► a key each ──► { "properties": … }, draft 2020-12
//! ```
//!
//! Flags, their help, types and defaults are read from the command line's own definition, so a flag and its key can't differ. No key
//! is required: the command line may give what the file leaves out.

use std::any::TypeId;
use std::time::Duration;

use clap::{Arg, ArgAction, CommandFactory};
use serde_json::{Map, Value, json};
use wsp::time::Micros;

use super::args::Cli;
use super::replay_config::{ALIASES, NO_KEY};

/// The schema.
pub(crate) fn document() -> Value {
    let mut properties = Map::new();
    for flag in flags() {
        let name = flag.get_long().unwrap_or_default();
        let schema = of_flag(&flag);
        properties
            .extend(ALIASES.iter().filter(|(_, of)| *of == name).map(|(key, _)| ((*key).to_owned(), schema.clone())));
        properties.insert(name.to_owned(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "File of wsp replay --config",
        "description": "Made by `wsp docs replay-schema`. Each key is a flag of `wsp replay`; flags on the command line take precedence.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The flags that have a key.
fn flags() -> Vec<Arg> {
    let cli = Cli::command();
    let replay = cli.find_subcommand("replay").map(|replay| replay.get_arguments().cloned().collect::<Vec<_>>());
    let mut flags = replay.unwrap_or_default();
    flags.retain(|flag| flag.get_long().is_some_and(|name| !NO_KEY.contains(&name)));
    flags
}

fn of_flag(flag: &Arg) -> Value {
    let mut schema = json!({"description": description(flag)});
    if let [default] = flag.get_default_values() {
        schema["default"] = default_value(flag, &default.to_string_lossy());
    }
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        schema["type"] = json!("boolean");
        return schema;
    }
    let one = of_value(flag);
    if !matches!(flag.get_action(), ArgAction::Append) && flag.get_value_delimiter().is_none() {
        if let (Value::Object(schema), Value::Object(one)) = (&mut schema, one) {
            schema.extend(one);
        }
        return schema;
    }
    let mut forms = vec![one.clone(), json!({"type": "array", "items": one})];
    if is_pair(flag) {
        let scalar = json!({"type": ["string", "number", "boolean"]});
        let each = if flag.get_long() == Some("input") { json!({"anyOf": [scalar, own_input()]}) } else { scalar };
        forms.push(json!({"type": "object", "additionalProperties": each}));
    }
    schema["anyOf"] = forms.into();
    schema
}

/// An input with columns and a format of its own, as [`super::replay_config`] reads it.
fn own_input() -> Value {
    let one = json!({"type": ["string", "number"]});
    let names = json!({"anyOf": [one, {"type": "array", "items": one}]});
    json!({
        "type": "object",
        "properties": {
            "files": {"type": "string"}, "time": names, "key": names, "id": names, "format": {"type": "string"},
            "csv-types": {"type": ["string", "array", "object"]},
        },
        "required": ["files"],
        "additionalProperties": false,
    })
}

fn description(flag: &Arg) -> String {
    let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn default_value(flag: &Arg, text: &str) -> Value {
    let number = || text.parse::<u64>().ok().map(Value::from).or_else(|| text.parse::<f64>().ok().map(Value::from));
    match kind(flag) {
        Kind::Integer | Kind::Number => number().unwrap_or_else(|| json!(text)),
        Kind::Switch => json!(text == "true"),
        _ => json!(text),
    }
}

/// What a flag's value is, as far as the command line checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Integer,
    Number,
    Character,
    Duration,
    Time,
    Share,
    Statuses,
    Text,
}

fn kind(flag: &Arg) -> Kind {
    let parsed = flag.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|one| parsed == *one);
    // Both are read by a parser of their own into a type that others share.
    match value_name(flag) {
        "SHARE" => return Kind::Share,
        "STATUSES" => return Kind::Statuses,
        _ => {}
    }
    if is(&[TypeId::of::<bool>()]) {
        Kind::Switch
    } else if is(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]) {
        Kind::Integer
    } else if is(&[TypeId::of::<f64>()]) {
        Kind::Number
    } else if is(&[TypeId::of::<char>()]) {
        Kind::Character
    } else if is(&[TypeId::of::<Duration>()]) {
        Kind::Duration
    } else if is(&[TypeId::of::<Micros>()]) {
        Kind::Time
    } else {
        Kind::Text
    }
}

fn of_value(flag: &Arg) -> Value {
    let words: Vec<String> = flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !words.is_empty() {
        return json!({"enum": words});
    }
    match kind(flag) {
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Integer => json!({"type": "integer", "minimum": 0}),
        Kind::Number => json!({"type": "number"}),
        Kind::Character => json!({"type": "string", "pattern": "^.$"}),
        Kind::Duration => {
            json!({"type": ["string", "number"], "pattern": "^[0-9.]+(ms|s|m|h|d)?$", "exclusiveMinimum": 0})
        }
        Kind::Time => json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"}),
        Kind::Share => json!({
            "type": ["string", "number"], "pattern": "^[0-9.]+%?$", "exclusiveMinimum": 0, "maximum": 1,
        }),
        Kind::Statuses => {
            let one = "([2-5][0-9]{2}(-[2-5][0-9]{2})?|[2-5]xx)";
            json!({
                "type": ["string", "integer"], "pattern": format!("^{one}( *, *{one})*$"), "minimum": 200, "maximum": 599,
            })
        }
        Kind::Text => json!({"type": ["string", "number"]}),
    }
}

/// Whether a value is a name and what belongs to it, which a file may write as a key and its value.
fn is_pair(flag: &Arg) -> bool {
    value_name(flag).contains(['=', ':'])
}

fn value_name(flag: &Arg) -> &str {
    flag.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

#[cfg(test)]
#[path = "../../../tests/kit/schema.rs"]
mod validator;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;
    use clap::error::ErrorKind;

    use super::super::replay_config::expanded;
    use super::*;

    /// Whether the program takes these lines of a file, as far as the command line tells.
    fn takes(lines: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("replay.yaml");
        std::fs::write(&file, lines).unwrap();
        let args = ["wsp", "replay", "--config"].map(OsString::from).into_iter().chain([file.into_os_string()]);
        let args = expanded(args).map_err(|failure| failure.message)?;
        match Cli::try_parse_from(args) {
            Ok(_) => Ok(()),
            // What goes together with what is checked after each value alone.
            Err(error) if matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict) => {
                Ok(())
            }
            Err(error) => Err(format!("{:?}: {error}", error.kind())),
        }
    }

    fn allows(schema: &Value, lines: &str) -> Result<(), String> {
        let value: Value = serde_saphyr::from_str(lines).unwrap();
        validator::check(schema, schema, &value, "")
    }

    #[test]
    fn each_flag_has_its_key_and_both_take_the_same_values() {
        let (schema, flags) = (document(), flags());
        assert!(flags.len() > 40, "{}", flags.len());
        for flag in &flags {
            let name = flag.get_long().unwrap();
            let (words, kind) = (flag.get_possible_values(), kind(flag));
            let mut values = vec![
                "7",
                "0.5",
                "x",
                "30s",
                "10%",
                "'2026-01-31T00:00:00Z'",
                "404",
                "404,5xx",
                "true",
                "'127.0.0.1:9465'",
                "'items[].status'",
                "'result=ok'",
            ];
            let word = words.first().map(|word| word.get_name().to_owned());
            values.extend(word.as_deref());
            let mut taken = 0;
            for value in values {
                let line = format!("{name}: {value}\n");
                let (allowed, parsed) = (allows(&schema, &line), takes(&line));
                // A text is read further where it is used, and a digit is a character that YAML takes for a number.
                let judged_later = kind == Kind::Text && words.is_empty() || kind == Kind::Character;
                assert!(
                    parsed.is_ok() || allowed.is_err() || judged_later,
                    "{line}: only the schema allows it: {parsed:?}"
                );
                assert!(
                    allowed.is_ok() || parsed.is_err() || judged_later,
                    "{line}: the schema refuses it: {allowed:?}"
                );
                taken += u32::from(parsed.is_ok() && allowed.is_ok());
            }
            assert!(taken > 0, "{name} takes none of the values");
        }
    }

    #[test]
    fn lists_and_pairs_may_be_written_as_yaml_has_them() {
        let schema = document();
        let lines = "inputs: {orders: 'orders/*.csv', clicks: clicks.jsonl}\ntime: [created_at, ts]\nkey: customer_id\n\
                     headers: {X-Source: replay, X-Shard: 7}\ncsv-types: {total: number}\nto: http://127.0.0.1:1\nspeedup: 60\n";
        assert_eq!((allows(&schema, lines), takes(lines)), (Ok(()), Ok(())));
        for lines in ["inputs: [a.csv, 'b=c.csv']\n", "input: a.csv\n", "header: 'X: y'\n"] {
            assert_eq!((allows(&schema, lines), takes(lines)), (Ok(()), Ok(())), "{lines}");
        }
        let own = "inputs: {a: a.csv, o: {files: o.csv, time: [t, u], key: k, csv-types: {x: number}}}\nto: http://a\n";
        assert_eq!((allows(&schema, own), takes(own)), (Ok(()), Ok(())));
        for lines in ["inputs: {o: {time: t}}\n", "inputs: {o: {files: a, keys: t}}\n"] {
            assert!(allows(&schema, lines).is_err(), "{lines}");
        }
        for lines in ["speedups: 1\n", "config: a\n", "headers: {a: {b: c}}\n", "time: {a: b}\n", "fresh: 1\n"] {
            assert!(allows(&schema, lines).is_err(), "{lines}");
        }
    }
}

//! As much of JSON Schema (2020-12) as the schemas in `docs/schema` use; a keyword beyond that is an error, so that
//! nothing goes unchecked. Patterns are read without Unicode's classes: `\s` is ASCII's.

use regex::bytes::RegexBuilder;
use serde_json::Value;

/// The first thing in `value` that `schema` (with its `$defs` in `root`) does not allow.
pub(crate) fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |what: String| Err(format!("{at}: {what}"));
    let Value::Object(keywords) = schema else { return fail(format!("{schema} is no schema")) };
    for (keyword, asked) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let pointer = asked.as_str().and_then(|text| text.strip_prefix('#')).ok_or("a foreign $ref")?;
                check(root, root.pointer(pointer).ok_or_else(|| format!("{at}: no {pointer}"))?, value, at)?;
            }
            "const" if value != asked => return fail(format!("{value} is not {asked}")),
            "enum" if !items(asked).contains(value) => return fail(format!("{value} is none of {asked}")),
            "type" => {
                let named = [asked.clone()];
                let kinds = asked.as_array().map_or(named.as_slice(), Vec::as_slice);
                if !kinds.iter().any(|kind| is(value, kind.as_str().unwrap_or_default())) {
                    return fail(format!("{value} is no {asked}"));
                }
            }
            "minimum" if value.as_f64() < asked.as_f64() && value.is_number() => {
                return fail(format!("{value} < {asked}"));
            }
            "maximum" if value.as_f64() > asked.as_f64() && value.is_number() => {
                return fail(format!("{value} > {asked}"));
            }
            "pattern" if value.as_str().is_some_and(|text| !matches(asked, text)) => {
                return fail(format!("{value} does not match {asked}"));
            }
            "exclusiveMinimum" if value.as_f64() <= asked.as_f64() && value.is_number() => {
                return fail(format!("{value} <= {asked}"));
            }
            "minLength" if value.as_str().is_some_and(|text| (text.len() as u64) < asked.as_u64().unwrap_or(0)) => {
                return fail("too short".to_owned());
            }
            "maxItems" if items(value).len() as u64 > asked.as_u64().unwrap_or(0) => {
                return fail("too long".to_owned());
            }
            // Met, or not to be met.
            "const" | "enum" | "minimum" | "maximum" | "exclusiveMinimum" | "minLength" | "maxItems" | "$schema"
            | "$id" | "$defs" | "title" | "description" | "pattern" | "default" => {}
            "allOf" => items(asked).iter().try_for_each(|one| check(root, one, value, at))?,
            "anyOf" => {
                let tried: Vec<_> = items(asked).iter().map(|one| check(root, one, value, at)).collect();
                if let Some(Err(last)) = tried.last()
                    && tried.iter().all(Result::is_err)
                {
                    return fail(format!("none of anyOf: {last}"));
                }
            }
            "items" => {
                for (i, item) in items(value).iter().enumerate() {
                    check(root, asked, item, &format!("{at}/{i}"))?;
                }
            }
            "required" => {
                let absent = items(asked).iter().filter_map(Value::as_str).find(|key| value.get(key).is_none());
                if let Some(key) = absent {
                    return fail(format!("{key} is missing"));
                }
            }
            "properties" => {
                for (key, schema) in asked.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(key) {
                        check(root, schema, value, &format!("{at}/{key}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = |key: &str| schema["properties"].get(key).is_some();
                for (key, more) in value.as_object().into_iter().flatten().filter(|(key, _)| !known(key)) {
                    match asked {
                        Value::Bool(false) => return fail(format!("{key} is one key too many")),
                        asked => check(root, asked, more, &format!("{at}/{key}"))?,
                    }
                }
            }
            other => return Err(format!("{at}: the keyword {other} is not checked here")),
        }
    }
    Ok(())
}

/// Whether a text has the pattern in it; a pattern that can't be read is in none.
fn matches(pattern: &Value, text: &str) -> bool {
    let pattern = RegexBuilder::new(pattern.as_str().unwrap_or_default()).unicode(false).build();
    pattern.is_ok_and(|pattern| pattern.is_match(text.as_bytes()))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

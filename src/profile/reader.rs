//! Reads settings from a profile's tree and the environment, and collects everything that is wrong.
//!
//! ```text
//! YAML text ──parse──► tree ──${NAME:-default}──► tree ──Reader::get(SETTING)──► typed value, or a problem
//! ```

use std::fmt::{Display, Write};
use std::str::FromStr;

use serde_json::Value;

use super::ConfigError;
use super::settings::{ALL, CLOSED_BLOCKS, Precedence, Setting};

/// Where environment variables come from: the process, or a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A profile under reading. Problems are gathered, so that one message names them all.
pub(super) struct Reader<'a> {
    tree: Value,
    env: Environment<'a>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Parses `text` and fills in `${NAME}` and `${NAME:-default}` scalars.
    pub(super) fn new(text: &str, env: Environment<'a>) -> Result<Self, ConfigError> {
        // An error that quotes the lines around it would show the secrets that stand there.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut tree: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| ConfigError::new(format!("not readable as YAML: {error}")))?;
        if !tree.is_object() {
            return Err(ConfigError::new("not a YAML mapping with `profile_id`, `policy` and `wiring`"));
        }
        interpolate(&mut tree, env);
        let mut reader = Self { tree, env, problems: Vec::new() };
        reader.check_closed_blocks();
        Ok(reader)
    }

    /// Notes something wrong.
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Ends the reading: an error if anything was wrong.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    /// The text of a scalar setting, without its default.
    pub(super) fn given(&mut self, setting: &Setting) -> Option<String> {
        let from_env = setting.env.iter().find_map(|name| (self.env)(name).filter(|text| !text.trim().is_empty()));
        let from_profile = match self.at(setting.path) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Bool(_) | Value::Number(_)) => self.at(setting.path).map(Value::to_string),
            Some(Value::Array(_) | Value::Object(_)) => {
                self.problem(format!("{}: a single value is expected, not a list or block", setting.path));
                None
            }
        };
        match setting.precedence {
            Precedence::Environment => from_env.or(from_profile),
            Precedence::Profile => from_profile.or(from_env),
        }
    }

    /// A scalar, or its default.
    pub(super) fn text(&mut self, setting: &Setting) -> Option<String> {
        self.given(setting).or_else(|| (!setting.default.is_empty()).then(|| setting.default.to_owned()))
    }

    /// A typed scalar, or its default; a text that doesn't parse is a problem.
    pub(super) fn get<T: FromStr>(&mut self, setting: &Setting) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(setting)?;
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{}: {text:?}: {error}", setting.name()));
                None
            }
        }
    }

    /// A typed scalar whose text may hold a secret: the problem says what is wrong, never what stands there.
    pub(super) fn unquoted<T: FromStr>(&mut self, setting: &Setting) -> Option<T>
    where
        T::Err: Display,
    {
        match self.text(setting)?.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{}: {error}", setting.name()));
                None
            }
        }
    }

    /// A number within the setting's bounds, or its default.
    pub(super) fn number<T>(&mut self, setting: &Setting) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
        T::Err: Display,
    {
        let value: T = self.get(setting)?;
        let Some((low, high)) = setting.bounds else { return Some(value) };
        if low.parse().is_ok_and(|low| value >= low) && high.parse().is_ok_and(|high| value <= high) {
            return Some(value);
        }
        self.problem(format!("{}: {value} is outside {low} to {high}", setting.name()));
        None
    }

    /// A switch: `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`.
    pub(super) fn switch(&mut self, setting: &Setting) -> Option<bool> {
        let text = self.text(setting)?;
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                self.problem(format!("{}: {text:?} is neither true nor false", setting.name()));
                None
            }
        }
    }

    /// A required text; where it is missing, `code` and the setting's name are noted.
    pub(super) fn required(&mut self, setting: &Setting, code: &str) -> String {
        self.text(setting).unwrap_or_else(|| {
            let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
            self.problem(format!("{code}{} is missing", setting.name()));
            String::new()
        })
    }

    /// A list: a YAML sequence of texts, or a comma list. `None` where it isn't given at all.
    pub(super) fn list(&mut self, setting: &Setting) -> Option<Vec<String>> {
        let from_env = setting.env.iter().find_map(|name| (self.env)(name).filter(|text| !text.trim().is_empty()));
        if let Some(text) = from_env {
            return Some(comma_list(&text));
        }
        let listed: Option<Vec<String>> = match self.at(setting.path) {
            None | Some(Value::Null) => return None,
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(Value::String(text)) => Some(comma_list(text)),
            Some(_) => None,
        };
        if listed.is_none() {
            self.problem(format!("{}: a list of texts is expected", setting.path));
        }
        listed
    }

    /// A comma list from the environment, where the empty text is an answer too. `None` where it isn't set at all.
    pub(super) fn given_list(&self, setting: &Setting) -> Option<Vec<String>> {
        setting.env.iter().find_map(|name| (self.env)(name)).map(|text| comma_list(&text))
    }

    fn at(&self, path: &str) -> Option<&Value> {
        if path.is_empty() {
            return None;
        }
        path.split('.').try_fold(&self.tree, |value, key| value.get(key))
    }

    fn check_closed_blocks(&mut self) {
        for block in CLOSED_BLOCKS {
            let known: Vec<&str> = ALL.iter().filter_map(|s| s.path.strip_prefix(block)?.strip_prefix('.')).collect();
            let Some(Value::Object(entries)) = self.at(block) else { continue };
            let mut unknown = Vec::new();
            for key in entries.keys().filter(|key| !known.contains(&key.as_str())) {
                let mut text = format!("{block}.{key} is not a setting");
                if let Some(nearest) = nearest(key, &known) {
                    let _ = write!(text, "; did you mean `{nearest}`?");
                }
                unknown.push(text);
            }
            self.problems.extend(unknown);
        }
    }
}

fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known.iter().copied().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)))
}

/// Replaces scalars that are wholly `${NAME}` or `${NAME:-default}`; an unset name without default becomes null.
fn interpolate(value: &mut Value, env: Environment<'_>) {
    match value {
        Value::String(text) => {
            let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return };
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return;
            }
            let set = env(name).filter(|text| !text.is_empty());
            *value = set.or_else(|| default.map(str::to_owned)).map_or(Value::Null, Value::String);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| interpolate(item, env)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| interpolate(entry, env)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{FLUSH_EVERY, IG_INGEST_URL, STREAM_SPEEDUP, TRAFFIC_OUTPUT_IDS};
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn scalars_come_from_the_environment_after_parsing() {
        let env = |name: &str| (name == "SPEED").then(|| "600".to_owned());
        let text = "policy:\n  stream_speedup: ${SPEED:-2}\nwiring:\n  ig_ingest_url: ${URL:-http://127.0.0.1:1}\n  wsp_checkpoint:\n    flush_every: ${N}\n";
        let mut reader = Reader::new(text, &env).unwrap();
        assert_eq!(reader.get::<f64>(&STREAM_SPEEDUP), Some(600.0));
        assert_eq!(reader.text(&IG_INGEST_URL).as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(reader.get::<u64>(&FLUSH_EVERY), Some(100), "an unset name counts as absent");
        reader.finish().unwrap();
    }

    #[test]
    fn precedence_is_each_settings_own() {
        let env = |name: &str| match name {
            "WSP_CHECKPOINT_FLUSH_EVERY" => Some("7".to_owned()),
            "IG_INGEST_URL" => Some("http://env".to_owned()),
            _ => None,
        };
        let mut reader =
            Reader::new("wiring: {ig_ingest_url: 'http://profile', wsp_checkpoint: {flush_every: 9}}", &env).unwrap();
        assert_eq!(reader.get::<u64>(&FLUSH_EVERY), Some(7));
        assert_eq!(reader.text(&IG_INGEST_URL).as_deref(), Some("http://profile"));
    }

    #[test]
    fn a_typo_in_our_blocks_names_the_nearest_key_and_others_are_left_alone() {
        let text = "wiring:\n  wsp_retry: {max_atempts: 3}\n  event_bus: {whatever: 1}\nother: [1]\n";
        let error = Reader::new(text, &none).unwrap().finish().unwrap_err().to_string();
        assert!(
            error.contains("wiring.wsp_retry.max_atempts is not a setting; did you mean `max_attempts`?"),
            "{error}"
        );
        assert!(!error.contains("event_bus"));
    }

    #[test]
    fn all_problems_come_at_once() {
        let mut reader =
            Reader::new("wiring: {wsp_checkpoint: {flush_every: 0}}\npolicy: {stream_speedup: fast}", &none).unwrap();
        reader.number::<u64>(&FLUSH_EVERY);
        reader.get::<f64>(&STREAM_SPEEDUP);
        reader.required(&IG_INGEST_URL, "");
        assert_eq!(reader.finish().unwrap_err().problems.len(), 3);
    }

    #[test]
    fn lists_are_sequences_or_comma_lists() {
        let mut reader = Reader::new("policy: {traffic_output_ids: [a, b]}", &none).unwrap();
        assert_eq!(reader.list(&TRAFFIC_OUTPUT_IDS), Some(vec!["a".to_owned(), "b".to_owned()]));
        let env = |name: &str| (name == "WSP_TRAFFIC_OUTPUT_IDS").then(|| "x, y,".to_owned());
        let mut reader = Reader::new("policy: {traffic_output_ids: [a, b]}", &env).unwrap();
        assert_eq!(reader.list(&TRAFFIC_OUTPUT_IDS), Some(vec!["x".to_owned(), "y".to_owned()]));
    }
}

//! Reads settings from a profile's tree and the environment, and collects everything that is wrong.
//!
//! ```text
//! YAML text ──parse──► tree of texts ──Reader::get(SETTING)──${NAME:-default}──► typed value, or a problem
//! ```

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::str::FromStr;

use super::ConfigError;
use super::settings::{ALL, CLOSED_BLOCKS, Precedence, Setting};
use super::yaml::{self, Entry, Node};

/// Where environment variables come from: the process, or a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A profile under reading. Problems are gathered, so that one message names them all.
pub(super) struct Reader<'a> {
    tree: Node,
    pub(super) env: Environment<'a>,
    problems: Vec<String>,
    /// The settings that were asked for, by path and variables.
    asked: RefCell<BTreeSet<(&'static str, &'static [&'static str])>>,
}

impl<'a> Reader<'a> {
    /// Parses `text`. References to the environment are resolved as settings are read.
    pub(super) fn new(text: &str, env: Environment<'a>) -> Result<Self, ConfigError> {
        let tree = yaml::parse(text).map_err(|error| ConfigError::new(format!("not readable as YAML: {error}")))?;
        if !matches!(tree, Node::Map(_)) {
            return Err(ConfigError::new("not a YAML mapping with `profile_id`, `policy` and `wiring`"));
        }
        let mut reader = Self { tree, env, problems: Vec::new(), asked: RefCell::default() };
        reader.check_blocks();
        reader.check_closed_blocks();
        Ok(reader)
    }

    /// Notes something wrong.
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Ends the reading: an error if anything was wrong.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        // A setting that is asked for twice is wrong once.
        let mut seen = BTreeSet::new();
        self.problems.retain(|problem| seen.insert(problem.clone()));
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    /// The text of a scalar setting, without its default.
    pub(super) fn given(&mut self, setting: &Setting) -> Option<String> {
        let from_env = self.by_environment(setting);
        let from_profile = self.by_profile(setting);
        match setting.precedence {
            Precedence::Environment => from_env.or(from_profile),
            Precedence::Profile => from_profile.or(from_env),
        }
    }

    /// The text that the environment has for a setting. One of blanks counts as absent.
    pub(super) fn by_environment(&self, setting: &Setting) -> Option<String> {
        self.note_asked(setting);
        setting.env.iter().find_map(|name| (self.env)(name).filter(|text| !text.trim().is_empty()))
    }

    /// The text that the profile has for a scalar setting. One of blanks counts as absent.
    pub(super) fn by_profile(&mut self, setting: &Setting) -> Option<String> {
        let read = match self.at(setting.path)? {
            Node::Null => Ok(None),
            Node::Text(text) => interpolated(text, self.env),
            Node::List(_) | Node::Map(_) => Err("a single value is expected, not a list or block".to_owned()),
            Node::Tagged => Err(TAGGED.to_owned()),
        };
        match read {
            Ok(text) => text.filter(|text| !text.trim().is_empty()),
            Err(why) => {
                self.problem(format!("{}: {why}", setting.path));
                None
            }
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
                self.problem(format!("{}: {}: {error}", setting.name(), quoted(&text)));
                None
            }
        }
    }

    /// A typed scalar whose text may hold a secret: the problem says what is wrong, never what stands there.
    pub(super) fn unquoted<T: FromStr>(&mut self, setting: &Setting) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(setting)?;
        self.parsed(setting, text.parse())
    }

    /// What became of a text of `setting`; a problem where it is an error.
    pub(super) fn parsed<T>(&mut self, setting: &Setting, parsed: Result<T, impl Display>) -> Option<T> {
        parsed.map_err(|error| self.problem(format!("{}: {error}", setting.name()))).ok()
    }

    /// One of a closed list of words, or its default.
    pub(super) fn word<T: Copy>(&mut self, setting: &Setting, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(setting)?;
        let found = words.iter().find(|(word, _)| *word == text.trim());
        if found.is_none() {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.problem(format!("{}: {} is not one of {}", setting.name(), quoted(&text), known.join(", ")));
        }
        found.map(|(_, value)| *value)
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
                self.problem(format!("{}: {} is neither true nor false", setting.name(), quoted(&text)));
                None
            }
        }
    }

    /// A required text; where it is missing, `code` and the setting's name are noted.
    pub(super) fn required(&mut self, setting: &Setting, code: &str) -> String {
        self.text(setting).unwrap_or_else(|| {
            self.missing(setting, code);
            String::new()
        })
    }

    /// Notes that a setting is missing, unless it is there and could not be read.
    pub(super) fn missing(&mut self, setting: &Setting, code: &str) {
        let unread = format!("{}: ", setting.path);
        if !setting.path.is_empty() && self.problems.iter().any(|problem| problem.starts_with(&unread)) {
            return;
        }
        let code = if code.is_empty() { String::new() } else { format!("{code}: ") };
        let null = match self.at(setting.path) {
            Some(Node::Null) => " (an unquoted `null`, `~` or nothing is no value)",
            _ => "",
        };
        self.problem(format!("{code}{} is missing{null}", setting.name()));
    }

    /// A list: a YAML sequence of texts, or a comma list. `None` where it isn't given at all.
    pub(super) fn list(&mut self, setting: &Setting) -> Option<Vec<String>> {
        if let Some(text) = self.by_environment(setting) {
            return Some(comma_list(&text));
        }
        let expected = || "a list of texts is expected".to_owned();
        let item = |item: &Node| match item {
            Node::Text(text) => {
                interpolated(text, self.env)?.filter(|text| !text.trim().is_empty()).ok_or_else(expected)
            }
            _ => Err(expected()),
        };
        let texts = match self.at(setting.path)? {
            Node::Null => return None,
            Node::Text(_) => return self.by_profile(setting).map(|text| comma_list(&text)),
            Node::List(items) => items.iter().map(item).collect(),
            Node::Map(_) | Node::Tagged => Err(expected()),
        };
        texts.map_err(|why| self.problem(format!("{}: {why}", setting.path))).ok()
    }

    /// A comma list from the environment, where the empty text is an answer too. `None` where it isn't set at all.
    pub(super) fn given_list(&self, setting: &Setting) -> Option<Vec<String>> {
        self.note_asked(setting);
        setting.env.iter().find_map(|name| (self.env)(name)).map(|text| comma_list(&text))
    }

    fn note_asked(&self, setting: &Setting) {
        self.asked.borrow_mut().insert((setting.path, setting.env));
    }

    /// Whether the setting was asked for: what this profile has no use for never is.
    pub(super) fn was_asked(&self, setting: &Setting) -> bool {
        self.asked.borrow().contains(&(setting.path, setting.env))
    }

    /// The profile's value of a setting with its line.
    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        match path.rsplit_once('.') {
            Some((block, key)) => self.at(block)?.entry(key),
            None => self.tree.entry(path),
        }
    }

    fn at(&self, path: &str) -> Option<&Node> {
        if path.is_empty() {
            return None;
        }
        path.split('.').try_fold(&self.tree, |node, key| node.get(key))
    }

    /// What stands where a block of ours should be has to be a block: everything in it would count as absent else.
    fn check_blocks(&mut self) {
        let mut blocks: Vec<&str> = ALL.iter().flat_map(|setting| above(setting.path)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        for block in blocks {
            if !matches!(self.at(block), None | Some(Node::Null | Node::Map(_))) {
                self.problem(format!("{block}: a block of settings is expected"));
            }
        }
    }

    fn check_closed_blocks(&mut self) {
        for block in CLOSED_BLOCKS {
            let known: Vec<&str> = ALL.iter().filter_map(|s| s.path.strip_prefix(block)?.strip_prefix('.')).collect();
            let Some(Node::Map(entries)) = self.at(block) else { continue };
            let mut unknown = Vec::new();
            for key in entries.iter().map(|entry| &entry.key).filter(|key| !known.contains(&key.as_str())) {
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

const TAGGED: &str = "it begins with `!`, which YAML takes for a tag; put the value in quotes";

/// The blocks that a setting stands in, from the outermost.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(at, _)| &path[..at])
}

/// A value for a message. What holds an `@` may be an address with a password.
pub(super) fn quoted(text: &str) -> String {
    if text.contains('@') { "the value (not shown, as it holds an `@`)".to_owned() } else { format!("{text:?}") }
}

fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known.iter().copied().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)))
}

/// What a text of the profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording<'t> {
    /// The value itself.
    Literal(&'t str),
    /// `${NAME}` or `${NAME:-default}`.
    Reference { name: &'t str, default: Option<&'t str> },
}

/// A text of the profile: from the environment where it is wholly `${NAME}` or `${NAME:-default}`, else as it is.
/// `None` for an unset name without default.
///
/// # Errors
///
/// As [`wording`].
fn interpolated(text: &str, env: Environment<'_>) -> Result<Option<String>, String> {
    Ok(match wording(text)? {
        Wording::Literal(text) => Some(text.to_owned()),
        Wording::Reference { name, default } => {
            env(name).filter(|text| !text.is_empty()).or_else(|| default.map(str::to_owned))
        }
    })
}

/// Whether a text is a value or a reference to the environment.
///
/// # Errors
///
/// Where a reference stands within a longer text, or is none that is read: sent as it stands it would be wrong.
pub(super) fn wording(text: &str) -> Result<Wording<'_>, String> {
    let Some(at) = text.find("${") else { return Ok(Wording::Literal(text)) };
    let whole = text
        .trim()
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .map(|inner| inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default))));
    match whole {
        Some((name, default)) if is_name(name) && !default.is_some_and(|text| text.contains("${")) => {
            Ok(Wording::Reference { name, default })
        }
        _ => {
            let reference =
                text[at..].split_inclusive('}').next().filter(|text| text.ends_with('}') && text.len() < 80);
            let reference = reference.unwrap_or("${");
            Err(format!(
                "it holds the reference `{reference}`, and a text is read from the environment only where it is wholly \
                 `${{NAME}}` or `${{NAME:-default}}`; put the whole value into one variable"
            ))
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::settings::{FLUSH_EVERY, IG_INGEST_URL, POLICY_REV, STREAM_SPEEDUP, TRAFFIC_OUTPUT_IDS};
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
        assert_eq!(reader.get::<u64>(&FLUSH_EVERY), Some(1), "an unset name counts as absent");
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
        reader.required(&POLICY_REV, "");
        assert_eq!(reader.finish().unwrap_err().problems.len(), 3);
    }

    #[test]
    fn a_text_is_what_stands_in_the_file_or_the_variable() {
        let env = |name: &str| (name == "TOKEN").then(|| "${OTHER}".to_owned());
        for (literal, text) in [
            ("00123456", Some("00123456")),
            ("1e10", Some("1e10")),
            ("yes", Some("yes")),
            ("${TOKEN}", Some("${OTHER}")),
            ("${UNSET:-1.10}", Some("1.10")),
            ("'${UNSET:-}'", None),
            ("${UNSET}", None),
            ("' '", None),
            ("null", None),
            ("'null'", Some("null")),
        ] {
            let profile = format!("policy:\n  policy_rev: {literal}\n  traffic_output_ids:\n  - {literal}\n");
            let mut reader = Reader::new(&profile, &env).unwrap();
            assert_eq!(reader.given(&POLICY_REV).as_deref(), text, "{literal}");
            let listed = reader.list(&TRAFFIC_OUTPUT_IDS);
            assert_eq!(listed.and_then(|mut items| items.pop()).as_deref(), text, "{literal} in a list");
        }
    }

    #[test]
    fn a_reference_that_is_not_read_is_refused_by_key_and_name_and_nothing_more() {
        for (text, reference) in [
            ("http://${IG_HOST}:8080", "`${IG_HOST}`"),
            ("hunter2 ${TOKEN} hunter2", "`${TOKEN}`"),
            ("${A}${B}", "`${A}`"),
            ("${A:-x}${B}", "`${A:-x}`"),
            ("${A:-${B}}", "`${A:-${B}`"),
            ("${A-x}", "`${A-x}`"),
            ("${A:?hunter}", "`${A:?hunter}`"),
            ("${ A }", "`${ A }`"),
            ("${}", "`${}`"),
            ("hunter2${A", "`${`"),
        ] {
            for (profile, key) in [
                (json!({"wiring": {"ig_ingest_url": text}}), "wiring.ig_ingest_url"),
                (json!({"policy": {"traffic_output_ids": ["a", text]}}), "policy.traffic_output_ids"),
            ] {
                let profile = profile.to_string();
                let mut reader = Reader::new(&profile, &|_| Some("set".to_owned())).unwrap();
                reader.by_profile(&IG_INGEST_URL);
                let _ = reader.list(&Setting { env: &[], ..TRAFFIC_OUTPUT_IDS });
                let error = reader.finish().unwrap_err().to_string();
                assert!(error.starts_with(key) && error.contains(reference), "{text}: {error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
        let others = "event_bus: {root: 's3://${BUCKET}/x'}\nwiring: {event_bus: '${A}/x'}";
        Reader::new(others, &none).unwrap().finish().unwrap();
    }

    #[test]
    fn a_block_that_is_none_is_no_empty_block() {
        for (text, block) in [
            ("wiring: ${WIRING}", "wiring"),
            ("policy: [a]", "policy"),
            ("wiring: {wsp_retry: 5}", "wiring.wsp_retry"),
            ("wiring: {security: !x {}}", "wiring.security"),
        ] {
            let error = Reader::new(text, &none).unwrap().finish().unwrap_err().to_string();
            assert_eq!(error, format!("{block}: a block of settings is expected"));
        }
        Reader::new("policy:\nwiring: {security: ~}", &none).unwrap().finish().unwrap();
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

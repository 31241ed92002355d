//! Which settings are in force, with which value, and where each comes from (`wsp validate --explain`).
//!
//! ```text
//! Reader (what was asked for) ──► profile line · ${NAME} · variable · default ──► Explained, secrets hidden
//! ```

use std::fmt;
use std::path::Path;

use wsp::deliver::DeliveryMode;

use super::kind::Kind;
use super::reader::{Environment, Reader, Wording, wording};
use super::settings::{self as s, ALL, Precedence, Setting};
use super::strict::is_local;
use super::yaml::Node;
use super::{Profile, folder_of, outputs, read};
use crate::model::HttpUrl;
use crate::ready::BootstrapServers;

/// A setting in force.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Which one.
    pub setting: Setting,
    /// Its value.
    pub value: Shown,
    /// Where it comes from.
    pub source: Source,
    /// The other place that gives it too, and that it wins over.
    pub over: Option<Source>,
}

/// A value as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The value.
    Text(String),
    /// There is one, which is a secret, or may hold one.
    Hidden,
    /// There is none.
    Nothing,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of the profile.
    Profile {
        /// Its number, from 1.
        line: usize,
    },
    /// A variable that the profile refers to.
    Reference {
        /// The line of the reference.
        line: usize,
        /// The variable.
        variable: String,
    },
    /// The default within a reference whose variable is not set.
    ReferenceDefault {
        /// The line of the reference.
        line: usize,
        /// The variable that is not set.
        variable: String,
    },
    /// A variable that the setting has by itself.
    Environment {
        /// The variable.
        variable: &'static str,
    },
    /// The default.
    Default,
    /// What follows from other settings.
    Derived,
    /// Nothing gives it.
    Unset,
}

impl Source {
    /// Its name for machines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Profile { .. } => "profile",
            Self::Reference { .. } => "reference",
            Self::ReferenceDefault { .. } => "reference_default",
            Self::Environment { .. } => "environment",
            Self::Default => "default",
            Self::Derived => "derived",
            Self::Unset => "unset",
        }
    }

    /// The profile's line, where it is one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Profile { line } | Self::Reference { line, .. } | Self::ReferenceDefault { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// The variable, where there is one.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Reference { variable, .. } | Self::ReferenceDefault { variable, .. } => Some(variable),
            Self::Environment { variable } => Some(variable),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile { line } => write!(f, "profile, line {line}"),
            Self::Reference { line, variable } => write!(f, "environment: {variable}, by the profile's line {line}"),
            Self::ReferenceDefault { line, variable } => {
                write!(f, "profile, line {line}: {variable} is not set, so its default")
            }
            Self::Environment { variable } => write!(f, "environment: {variable}"),
            Self::Default => f.write_str("default"),
            Self::Derived => f.write_str("follows from other settings"),
            Self::Unset => f.write_str("not set"),
        }
    }
}

/// The settings in force of the profile at `path`, in the order of the table: those that it has a use for. `profile` is what
/// it was read into, if it could be; some defaults follow from that. A file that can't be read has none, and
/// [`Profile::load`] says why.
#[must_use]
pub fn explain(path: &Path, env: Environment<'_>, profile: Option<&Profile>) -> Vec<Explained> {
    let text = outputs::read_bounded(path).unwrap_or_default();
    explain_text(&text, folder_of(path), env, profile)
}

fn explain_text(text: &str, folder: &Path, env: Environment<'_>, profile: Option<&Profile>) -> Vec<Explained> {
    let Ok(mut reader) = Reader::new(text, env) else { return Vec::new() };
    let local = reader.text(&s::PROFILE_ID).is_none_or(|id| is_local(&id));
    // What is wrong is the loader's to say; here it matters which settings are asked for.
    let _ = read(&mut reader, folder, |_| Vec::new());
    let given: Vec<_> = ALL
        .iter()
        .filter(|setting| reader.was_asked(setting))
        .map(|setting| (setting, of_setting(&reader, setting)))
        .collect();
    let secrets: Vec<String> = given
        .iter()
        .filter(|(setting, _)| setting.kind == Kind::Secret)
        .flat_map(|(_, given)| given.iter().map(|(text, _)| text.trim().to_owned()))
        // A shorter one stands in other texts by chance.
        .filter(|secret| secret.len() >= 6)
        .collect();
    let explained = |(setting, given): (&Setting, Vec<Given>)| {
        let mut given = given.into_iter();
        let (value, source) = match given.next() {
            Some((text, source)) => (shown(setting, &text, &secrets), source),
            None => not_given(setting, profile, local),
        };
        // A reference to the setting's own variable is not another place.
        let over = given.next().map(|(_, over)| over).filter(|over| over.variable() != source.variable());
        Explained { setting: *setting, value, source, over }
    };
    given.into_iter().map(explained).collect()
}

/// A text and where it is from.
type Given = (String, Source);

/// What gives the setting: first what is in force, then what it wins over.
fn of_setting(reader: &Reader<'_>, setting: &Setting) -> Vec<Given> {
    let (by_profile, by_environment) = (by_profile(reader, setting), by_environment(reader, setting));
    let ranked = match setting.precedence {
        Precedence::Environment => [by_environment, by_profile],
        Precedence::Profile => [by_profile, by_environment],
    };
    ranked.into_iter().flatten().collect()
}

fn by_environment(reader: &Reader<'_>, setting: &Setting) -> Option<Given> {
    let counts = |text: &String| setting.kind == Kind::GivenList || !text.trim().is_empty();
    let found = setting.env.iter().find_map(|variable| Some((*variable, (reader.env)(variable).filter(counts)?)));
    found.map(|(variable, text)| (text, Source::Environment { variable }))
}

fn by_profile(reader: &Reader<'_>, setting: &Setting) -> Option<Given> {
    if setting.path.is_empty() {
        return None;
    }
    let entry = reader.entry(setting.path)?;
    let line = entry.line;
    let (text, source) = match &entry.value {
        Node::Null => return None,
        Node::Text(text) => resolved(text, line, reader.env),
        Node::List(items) => {
            let item = |item: &Node| match item {
                Node::Text(text) => resolved(text, line, reader.env).0,
                _ => "?".to_owned(),
            };
            (items.iter().map(item).collect::<Vec<_>>().join(", "), Source::Profile { line })
        }
        // No value, which the loader says.
        Node::Map(_) | Node::Tagged => ("?".to_owned(), Source::Profile { line }),
    };
    let is_list = matches!(entry.value, Node::List(_));
    (is_list || !text.trim().is_empty()).then_some((text, source))
}

/// A text of the profile, a reference put for what it refers to. One that can't be read stays as it is.
fn resolved(text: &str, line: usize, env: Environment<'_>) -> Given {
    match wording(text) {
        Ok(Wording::Reference { name, default }) => match env(name).filter(|text| !text.is_empty()) {
            Some(text) => (text, Source::Reference { line, variable: name.to_owned() }),
            None => {
                (default.unwrap_or_default().to_owned(), Source::ReferenceDefault { line, variable: name.to_owned() })
            }
        },
        _ => (text.to_owned(), Source::Profile { line }),
    }
}

/// What holds where nothing gives the setting.
fn not_given(setting: &Setting, profile: Option<&Profile>, local: bool) -> (Shown, Source) {
    if let Some(text) = profile.and_then(|profile| derived(setting, profile)) {
        return (Shown::Text(text), Source::Derived);
    }
    let default = setting.default_in(local).or_else(|| setting.default_in_words());
    default.map_or((Shown::Nothing, Source::Unset), |text| (Shown::Text(text.to_owned()), Source::Default))
}

/// A default that follows from the profile.
fn derived(setting: &Setting, profile: &Profile) -> Option<String> {
    let Profile { policy, store, delivery, .. } = profile;
    let mode = match delivery.mode {
        DeliveryMode::Strict => "strict",
        DeliveryMode::Keyed(_) => "keyed",
        DeliveryMode::Free(_) => "free",
    };
    let values = [
        (s::REQUIRE_SEAL, policy.require_seal.to_string()),
        (s::TRAFFIC_OUTPUT_IDS, policy.traffic_output_ids.join(", ")),
        (s::CONTEXT_OUTPUT_IDS, policy.context_output_ids.join(", ")),
        (s::STORE_ROOT, store.root.clone()),
        (s::DELIVERY_MODE, mode.to_owned()),
        (s::CIRCUIT_FAILURES, delivery.circuit.failures.to_string()),
    ];
    let (_, value) = values.into_iter().find(|(other, _)| other.path == setting.path)?;
    (!value.is_empty() && value != setting.default).then_some(value)
}

/// A value as it may be shown. What can't be read may be a secret in the wrong place.
fn shown(setting: &Setting, text: &str, secrets: &[String]) -> Shown {
    let text = text.trim();
    let readable = match setting.kind {
        Kind::Secret => false,
        Kind::HttpUrl => text.parse::<HttpUrl>().is_ok(),
        Kind::Brokers => text.parse::<BootstrapServers>().is_ok(),
        _ => true,
    };
    // What holds an `@` may be an address with a password.
    if readable && !text.contains('@') && !secrets.iter().any(|secret| text.contains(secret)) {
        Shown::Text(text.replace(char::is_control, " "))
    } else {
        Shown::Hidden
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

//! A commented profile for given parts (`wsp init`).
//!
//! ```text
//! Parts ──► the settings that matter, with values ┐
//! settings::ALL ──► all others, commented out     ┴──► text, read as a profile before it is handed out
//! ```
//!
//! Secrets and what differs from one deployment to the next are references to the environment; [`Draft::needs`] lists the
//! variables.

use std::fmt::Write;
use std::path::Path;

use super::kind::Kind;
use super::outline::{Child, children};
use super::outputs::{FRAUD_TRAFFIC, default_context};
use super::settings::{self as s, Setting};
use super::{ConfigError, Profile};

/// Columns of a comment.
const WIDTH: usize = 100;
/// Where the profile's first line expects the schema.
pub const SCHEMA_FILE: &str = "wsp-profile.schema.json";

/// What a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// One machine.
    Local,
    /// Remote parts alone: a strict profile.
    DevMin,
}

/// Where READYs come from, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftBus {
    /// Files below a folder.
    File(Option<String>),
    /// Kafka, by its brokers.
    Kafka(Option<String>),
    /// A Kinesis stream.
    Kinesis(Option<String>),
}

/// Where checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftCheckpoints {
    /// In files.
    File,
    /// In Postgres.
    Postgres,
}

/// The parts that a profile is made for.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Local or strict.
    pub deployment: Deployment,
    /// The engine run root of the world, where every run is to stream this one.
    pub world: Option<String>,
    /// IG's address.
    pub gate: Option<String>,
    /// Where READYs come from.
    pub control_bus: DraftBus,
    /// Where checkpoints are kept.
    pub checkpoints: DraftCheckpoints,
    /// `wiring.wsp_folder`.
    pub folder: Option<String>,
    /// The engine's catalogue of outputs.
    pub catalogue: String,
    /// Who may produce.
    pub allowlist: String,
}

/// A profile's text and what it needs.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The text.
    pub text: String,
    /// The variables that have to be set for it.
    pub needs: Vec<Need>,
}

/// A variable that has to be set.
#[derive(Debug, Clone)]
pub struct Need {
    /// Its name.
    pub variable: &'static str,
    /// The setting that it gives.
    pub setting: Setting,
    /// A value of the right form: the one known from the parts, or a made-up one.
    pub example: String,
    /// Whether the value is known from the parts.
    pub known: bool,
}

impl Parts {
    /// The profile.
    ///
    /// # Errors
    ///
    /// What WSP would refuse about these parts: it reads the profile, with every needed variable set.
    pub fn draft(&self) -> Result<Draft, ConfigError> {
        let needs = self.needs();
        let draft = Draft { text: self.text(&needs), needs };
        let env = |name: &str| draft.needs.iter().find(|need| need.variable == name).map(|need| need.example.clone());
        Profile::parse(&draft.text, Path::new("."), &env)?;
        Ok(draft)
    }

    fn is_local(&self) -> bool {
        self.deployment == Deployment::Local
    }

    /// The settings that matter, with their values as YAML.
    fn values(&self) -> Vec<(Setting, String)> {
        let local = self.is_local();
        let id = if local { "local" } else { "dev_min" };
        let list = |ids: &[String]| format!("[{}]", ids.join(", "));
        let of_machine = |local_value: &str, strict: &str| (if local { local_value } else { strict }).to_owned();
        let mut values = vec![
            (s::PROFILE_ID, id.to_owned()),
            (s::POLICY_REV, format!("{id}-v0")),
            (s::REQUIRE_GATE_PASS, "true".to_owned()),
            (s::REQUIRE_SEAL, "true".to_owned()),
            (s::STREAM_SPEEDUP, s::STREAM_SPEEDUP.default.to_owned()),
            (s::STOP_ON_NONRETRYABLE, "true".to_owned()),
            (s::TRAFFIC_OUTPUT_IDS, list(&[FRAUD_TRAFFIC.to_owned()])),
            (s::CONTEXT_OUTPUT_IDS, list(&default_context(FRAUD_TRAFFIC))),
            (s::STORE_ROOT, of_machine("${PLATFORM_STORE_ROOT:-runs}", "${PLATFORM_STORE_ROOT}")),
            (s::CONTROL_BUS_TOPIC, format!("${{CONTROL_BUS_TOPIC:-{}}}", s::CONTROL_BUS_TOPIC.default)),
            (s::CATALOGUE_PATH, yaml(&self.catalogue)),
            (s::PRODUCER_ID, s::PRODUCER_ID.default.to_owned()),
            (s::PRODUCER_ALLOWLIST_REF, yaml(&self.allowlist)),
            (s::AUTH_TOKEN, "${IG_API_KEY}".to_owned()),
            (s::FLUSH_EVERY, of_machine("1000", "100")),
            (s::IN_FLIGHT, of_machine("64", "1")),
        ];
        let gate = of_machine("${IG_INGEST_URL:-http://127.0.0.1:8081}", "${IG_INGEST_URL}");
        values.push((s::IG_INGEST_URL, self.gate.as_deref().map_or(gate, yaml)));
        values.extend(self.folder.as_deref().map(|folder| (s::FOLDER, yaml(folder))));
        values.extend(self.world.as_deref().map(|world| (s::ORACLE_ENGINE_RUN_ROOT, yaml(world))));
        values.extend((!local).then(|| (s::STORE_KIND, "s3".to_owned())));
        values.extend(self.bus());
        values.extend(match self.checkpoints {
            DraftCheckpoints::File => [
                (s::CHECKPOINT_BACKEND, "file".to_owned()),
                (s::CHECKPOINT_ROOT, s::CHECKPOINT_ROOT.default.to_owned()),
            ],
            DraftCheckpoints::Postgres => [
                (s::CHECKPOINT_BACKEND, "postgres".to_owned()),
                (s::CHECKPOINT_DSN, "${WSP_CHECKPOINT_DSN}".to_owned()),
            ],
        });
        values
    }

    fn bus(&self) -> Vec<(Setting, String)> {
        let kind = |word: &str| (s::CONTROL_BUS_KIND, word.to_owned());
        match &self.control_bus {
            DraftBus::File(folder) => {
                let folder = folder.as_deref().unwrap_or(s::CONTROL_BUS_ROOT.default);
                vec![kind("file"), (s::CONTROL_BUS_ROOT, yaml(folder))]
            }
            DraftBus::Kafka(_) => vec![kind("kafka")],
            DraftBus::Kinesis(stream) => {
                let stream = stream.as_deref().map_or_else(|| "${CONTROL_BUS_STREAM}".to_owned(), yaml);
                vec![kind("kinesis"), (s::CONTROL_BUS_STREAM, stream)]
            }
        }
    }

    /// The variables that have to be set.
    fn needs(&self) -> Vec<Need> {
        let strict = !self.is_local();
        let mut needs = Vec::new();
        let mut need = |setting: Setting, variable, known: Option<&str>, made_up: &str| {
            needs.push(Need {
                variable,
                setting,
                example: known.unwrap_or(made_up).to_owned(),
                known: known.is_some(),
            });
        };
        if strict {
            need(s::PLATFORM_RUN_ID, "PLATFORM_RUN_ID", None, "platform_20260101T000000Z");
            need(s::REQUIRED_PACKS, "WSP_READY_REQUIRED_PACKS", None, "");
            need(s::STORE_ROOT, "PLATFORM_STORE_ROOT", None, "s3://bucket/prefix");
        }
        match &self.control_bus {
            DraftBus::Kafka(servers) => {
                need(s::KAFKA_SERVERS, "KAFKA_BOOTSTRAP_SERVERS", servers.as_deref(), "kafka.example:9092");
                need(s::KAFKA_USERNAME, "KAFKA_SASL_USERNAME", None, "user");
                need(s::KAFKA_PASSWORD, "KAFKA_SASL_PASSWORD", None, "password");
            }
            DraftBus::Kinesis(None) => need(s::CONTROL_BUS_STREAM, "CONTROL_BUS_STREAM", None, "stream"),
            DraftBus::Kinesis(Some(_)) | DraftBus::File(_) => {}
        }
        if strict && self.gate.is_none() {
            need(s::IG_INGEST_URL, "IG_INGEST_URL", None, "https://ig.example");
        }
        need(s::AUTH_TOKEN, "IG_API_KEY", None, "key");
        if self.checkpoints == DraftCheckpoints::Postgres {
            let dsn = "postgresql://wsp@db.example/wsp?sslmode=verify-full";
            need(s::CHECKPOINT_DSN, "WSP_CHECKPOINT_DSN", None, dsn);
        }
        needs
    }

    fn text(&self, needs: &[Need]) -> String {
        let mut out = format!(
            "# yaml-language-server: $schema={SCHEMA_FILE}\n\
             # `wsp docs schema > {SCHEMA_FILE}` beside this file lets editors complete and check it.\n\
             # A setting that is commented out shows its default; a bare value, or `${{NAME:-default}}`, gives it another one.\n\
             # `wsp validate --explain` prints what is in force and where it comes from.\n#\n\
             # From the environment it needs:\n"
        );
        for need in needs {
            let value = if need.known { format!("={}", need.example) } else { String::new() };
            comment(&mut out, "#   ", &format!("{}{value}: {}", need.variable, need.setting.about));
        }
        let by_aws = !self.is_local() || matches!(self.control_bus, DraftBus::Kinesis(_));
        if by_aws || self.world.as_deref().is_some_and(|world| world.starts_with("s3://")) {
            comment(&mut out, "#   ", "AWS_*: credentials and region, as the AWS SDK reads them.");
        }
        Writer { values: self.values(), local: self.is_local() }.block(&mut out, "", 0);
        out
    }
}

/// Writes blocks, each setting with its help above it.
struct Writer {
    values: Vec<(Setting, String)>,
    local: bool,
}

impl Writer {
    fn block(&self, out: &mut String, path: &str, depth: usize) {
        let indent = "  ".repeat(depth);
        let children = children(path);
        for (key, child) in &children {
            let Child::Setting(setting) = child else { continue };
            if depth == 0 {
                out.push('\n');
            }
            comment(out, &format!("{indent}# "), &setting.help());
            // Writing to a String can't fail.
            let _ = match self.values.iter().find(|(other, _)| other.path == setting.path) {
                Some((_, value)) => writeln!(out, "{indent}{key}: {value}"),
                None => match self.default(setting) {
                    Some(default) => writeln!(out, "{indent}# {key}: {default}"),
                    None => writeln!(out, "{indent}# {key}:"),
                },
            };
        }
        for (key, child) in &children {
            let Child::Block(block) = child else { continue };
            let within = |path: &str| path.strip_prefix(*block).is_some_and(|rest| rest.starts_with('.'));
            let used = self.values.iter().any(|(setting, _)| within(setting.path));
            let _ = writeln!(out, "\n{indent}{}{key}:", if used { "" } else { "# " });
            self.block(out, block, depth + 1);
        }
    }

    fn default(&self, setting: &Setting) -> Option<String> {
        let text = setting.default_in(self.local)?;
        Some(if setting.kind == Kind::Text { yaml(text) } else { text.to_owned() })
    }
}

/// A comment, wrapped between words; each line begins with `prefix`.
fn comment(out: &mut String, prefix: &str, text: &str) {
    let mut line = prefix.to_owned();
    for word in text.split_whitespace() {
        if line.len() > prefix.len() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                // Writing to a String can't fail.
                let _ = writeln!(out, "{line}");
                prefix.clone_into(&mut line);
            } else {
                line.push(' ');
            }
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

/// A text as YAML: bare where it can't be taken for anything else.
fn yaml(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
    let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let plain = whole.chars().all(bare) && whole.starts_with(|c: char| c.is_ascii_alphanumeric() || "./".contains(c));
    if plain && !text.ends_with(':') && !text.eq_ignore_ascii_case("null") {
        text.to_owned()
    } else {
        // A JSON text is a YAML text, whatever it holds.
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;

//! Strict profiles: every source and target is remote, nothing that protects a run is switched off, and nothing goes out in
//! clear that an operator has not named.
//!
//! A path of this machine in a strict profile is a mistake that would stream from, or leave evidence in, the wrong
//! place; it is refused before anything is read (C2). Each block asks these rules about its parsed values, never about
//! a text: `HTTP://` and a blank before it are http all the same.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::proxies;
use super::reader::{Reader, quoted};
use super::settings::{ALLOW_PLAINTEXT, Setting};
use crate::model::HttpUrl;

/// A connection that may be encrypted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// To the Ingestion Gate: events and the API key.
    Ig,
    /// To the S3 server: world, facts and evidence.
    ObjectStore,
    /// To the Kafka brokers: READYs and the login.
    Kafka,
    /// To Kinesis: READYs.
    Kinesis,
    /// To the checkpoint database: cursors and the login.
    Postgres,
}

impl Link {
    pub(super) const ALL: [Self; 5] = [Self::Ig, Self::ObjectStore, Self::Kafka, Self::Kinesis, Self::Postgres];

    /// Its name in `allow_plaintext`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ig => "ig",
            Self::ObjectStore => "object_store",
            Self::Kafka => "kafka",
            Self::Kinesis => "kinesis",
            Self::Postgres => "postgres",
        }
    }
}

impl Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|link| link.name() == text);
        found.ok_or_else(|| format!("{} is not one of {}", quoted(text), known()))
    }
}

/// Whether a profile is a local one; every other is strict.
pub(super) fn is_local(profile_id: &str) -> bool {
    profile_id.starts_with("local")
}

/// What holds for the profile under reading.
pub(super) struct Rules {
    profile_id: String,
    /// What may go out in clear.
    pub(super) allow_plaintext: Vec<Link>,
}

impl Rules {
    /// The rules of a profile with this id.
    pub(super) fn read(r: &mut Reader<'_>, profile_id: &str) -> Self {
        let mut allow_plaintext = Vec::new();
        for text in r.list(&ALLOW_PLAINTEXT).unwrap_or_default() {
            allow_plaintext.extend(r.parsed::<Link>(&ALLOW_PLAINTEXT, text.parse()));
        }
        allow_plaintext.sort_unstable();
        allow_plaintext.dedup();
        Self { profile_id: profile_id.to_owned(), allow_plaintext }
    }

    /// Whether the profile is a local one. One without a name is refused for that alone.
    pub(super) fn local(&self) -> bool {
        self.profile_id.is_empty() || is_local(&self.profile_id)
    }

    /// Notes a problem that only strict profiles have.
    pub(super) fn refuse(&self, r: &mut Reader<'_>, problem: impl Display) {
        if !self.local() {
            r.problem(format!("{problem} (profile {} is strict)", self.profile_id));
        }
    }

    /// A root has to lie in an object store.
    pub(super) fn remote(&self, r: &mut Reader<'_>, setting: &Setting, root: &str) {
        if !is_remote(root) {
            self.refuse(r, format_args!("{}: {} is not an s3:// address", setting.path, quoted(root)));
        }
    }

    /// A connection that is not encrypted, or to a server that is not verified, needs the operator's leave.
    pub(super) fn in_clear(&self, r: &mut Reader<'_>, setting: &Setting, link: Link, why: &str) {
        if !self.allow_plaintext.contains(&link) {
            let name = setting.name();
            let allow = ALLOW_PLAINTEXT.path;
            self.refuse(r, format_args!("{name}: {why}; where the network is trusted, add `{link}` to {allow}"));
        }
    }

    /// Plain http needs the operator's leave, unless it stays on this machine; no address may be meant for a proxy.
    pub(super) fn http(&self, r: &mut Reader<'_>, setting: &Setting, link: Link, url: &HttpUrl) {
        proxies::refuse(r, setting, url);
        if url.is_plain() && !url.is_loopback() {
            self.in_clear(r, setting, link, "plain http goes out in clear; use https");
        }
    }
}

/// Whether a root lies in an object store. `file://` doesn't.
#[must_use]
pub fn is_remote(root: &str) -> bool {
    root.starts_with("s3://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_begin_with_local_is_strict() {
        for id in ["local", "local_parity", "localhost"] {
            assert!(is_local(id), "{id}");
        }
        for id in ["dev_min", "dev", "prod", "production", "staging", "Local", "LOCAL", " local", "my_local", "x"] {
            assert!(!is_local(id), "{id:?}");
        }
    }

    #[test]
    fn only_object_stores_are_remote() {
        for root in ["runs", "/data", "file:///data", "S3://x", "./s3://x"] {
            assert!(!is_remote(root), "{root}");
        }
        assert!(is_remote("s3://bucket/prefix"));
    }

    #[test]
    fn a_link_is_its_name() {
        for link in Link::ALL {
            assert_eq!(link.name().parse(), Ok(link));
            assert_eq!(serde_json::to_value(link).unwrap(), link.name());
        }
        assert!("all".parse::<Link>().is_err() && "KAFKA".parse::<Link>().is_err());
    }
}

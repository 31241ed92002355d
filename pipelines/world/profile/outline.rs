//! How settings lie in blocks, and their meaning in words: what the schema, `wsp init` and `wsp validate --explain` ask the
//! table of settings.

use std::fmt::Write;

use super::settings::{ALL, IG_INGEST_URL, ORACLE_ROOT, Precedence, Setting};
use crate::model::digits::grouped;

impl Setting {
    /// Its meaning with its bounds and variables.
    #[must_use]
    pub fn help(&self) -> String {
        let mut help = self.about.to_owned();
        // Writing to a String can't fail.
        if let Some((low, high)) = self.bounds {
            let _ = write!(help, " {} to {}.", grouped(low), grouped(high));
        }
        let variables: Vec<_> = self.env.iter().map(|name| format!("`{name}`")).collect();
        if !variables.is_empty() {
            let wins = self.precedence == Precedence::Environment;
            let when = if wins { "wins over the profile" } else { "counts where the profile has no value" };
            let _ = write!(help, " {} {when}.", variables.join(" or "));
        }
        help
    }

    /// The default that holds in a local or in a strict profile; `None` where there is none, or none that is a fixed text.
    #[must_use]
    pub fn default_in(&self, local: bool) -> Option<&'static str> {
        // These two name this machine.
        let only_local = [IG_INGEST_URL, ORACLE_ROOT].iter().any(|other| other.path == self.path);
        (!self.default.is_empty() && (local || !only_local)).then_some(self.default)
    }

    /// What the table says about a default that depends on other things.
    #[must_use]
    pub fn default_in_words(&self) -> Option<&'static str> {
        let (_, words) = self.about.split_once("Default: ")?;
        Some(words.split_once(". ").map_or(words.trim_end_matches('.'), |(words, _)| words))
    }
}

/// What lies directly in a block.
#[derive(Debug, Clone)]
pub(super) enum Child {
    /// A setting.
    Setting(Setting),
    /// A block, by its path.
    Block(&'static str),
}

/// The keys of a block with what lies there, each at the place of its first setting in the table. The profile itself is
/// the block without a path.
pub(super) fn children(block: &str) -> Vec<(&'static str, Child)> {
    let mut found: Vec<(&'static str, Child)> = Vec::new();
    for setting in ALL.iter().filter(|setting| !setting.path.is_empty()) {
        let Some(rest) = below(setting.path, block) else { continue };
        let Some((name, _)) = rest.split_once('.') else {
            found.push((rest, Child::Setting(*setting)));
            continue;
        };
        if found.iter().all(|(other, _)| *other != name) {
            let path = &setting.path[..setting.path.len() - rest.len() + name.len()];
            found.push((name, Child::Block(path)));
        }
    }
    found
}

fn below(path: &'static str, block: &str) -> Option<&'static str> {
    if block.is_empty() { Some(path) } else { path.strip_prefix(block)?.strip_prefix('.') }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::settings as s;
    use super::super::strict::Link;
    use super::*;

    #[test]
    fn each_setting_lies_in_one_block() {
        fn paths(block: &str) -> Vec<String> {
            let join = |name: &str| if block.is_empty() { name.to_owned() } else { format!("{block}.{name}") };
            let of = |(name, child)| match child {
                Child::Setting(setting) => {
                    assert_eq!(setting.path, join(name));
                    vec![setting.path.to_owned()]
                }
                Child::Block(path) => {
                    assert_eq!(path, join(name));
                    paths(path)
                }
            };
            children(block).into_iter().flat_map(of).collect()
        }
        let (mut found, mut listed) = (paths(""), Vec::new());
        listed.extend(ALL.iter().map(|setting| setting.path.to_owned()).filter(|path| !path.is_empty()));
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn the_kind_of_a_line_is_given_or_follows_from_its_bounds() {
        let kinds = [s::POLICY_REV, s::FLUSH_EVERY, s::STREAM_SPEEDUP, s::ADAPTIVE].map(|setting| setting.kind);
        assert_eq!(kinds, [Kind::Text, Kind::Whole, Kind::Real, Kind::Switch]);
        let Kind::ListOf(links) = s::ALLOW_PLAINTEXT.kind else { panic!("no list") };
        assert_eq!(links, Link::ALL.map(Link::name));
    }

    #[test]
    fn a_default_is_a_text_or_told_in_words() {
        assert_eq!(s::STREAM_SPEEDUP.default_in(false), Some("1.0"));
        assert_eq!(
            (s::ORACLE_ROOT.default_in(true), s::ORACLE_ROOT.default_in(false)),
            (Some("runs/local_full_run-5"), None)
        );
        assert_eq!(s::POLICY_REV.default_in(true), None);
        assert_eq!(s::REQUIRE_SEAL.default_in_words(), Some("true except in local profiles"));
        assert_eq!(s::STORE_REGION.default_in_words(), Some("what AWS's own files say"));
        assert_eq!(s::POLICY_REV.default_in_words(), None);
        let help = s::CHECKPOINT_LEASE.help();
        assert!(
            help.ends_with("waits that long. 1 to 600. `WSP_CHECKPOINT_LEASE_SECONDS` wins over the profile."),
            "{help}"
        );
    }
}

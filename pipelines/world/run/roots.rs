//! Resolves a run's references (contract, section 3, "Roots").
//!
//! ```text
//! profile, else READY ──reference──► resolve ──► a root as it is spelled, or REF_OUTSIDE_ROOT
//! ```
//!
//! The spelling is kept: it is part of the stream-view id and of every cursor.

use std::path::{Component, Path};

use crate::model::{Reason, Refusal};

/// Where a reference was read from: what an operator wrote is taken at its word, what a message says is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The profile or the environment.
    Profile,
    /// READY or the facts.
    Message,
}

/// The roots that a profile configures, against which a message's references are checked.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// `wiring.oracle_root`.
    pub oracle: Option<String>,
    /// All roots that a message may point into, `oracle` among them.
    pub allowed: Vec<String>,
}

impl Roots {
    /// Resolves a reference to a folder: `scheme://…`, an absolute path, or a relative path that `exists` is
    /// taken as it is; any other is joined to the Oracle root.
    ///
    /// # Errors
    ///
    /// `REF_OUTSIDE_ROOT` for an empty reference, one with `..`, and an absolute one in a message that lies
    /// in none of the configured roots (where there are any).
    pub fn resolve(&self, reference: &str, origin: Origin, exists: &dyn Fn(&Path) -> bool) -> Result<String, Refusal> {
        let outside =
            |why: &str| Refusal::new(Reason::RefOutsideRoot, why).file(reference.chars().take(200).collect::<String>());
        let trimmed = reference.trim_end_matches('/');
        if trimmed.is_empty() || reference.chars().any(char::is_control) {
            return Err(outside("it names no folder"));
        }
        if origin == Origin::Message && climbs(trimmed) {
            return Err(outside("it holds `..`"));
        }
        let absolute = trimmed.contains("://") || Path::new(trimmed).is_absolute();
        if absolute {
            let inside = self.allowed.is_empty() || self.allowed.iter().any(|root| lies_in(trimmed, root));
            return match origin {
                Origin::Message if !inside => Err(outside("it lies in none of the roots that the profile configures")),
                _ => Ok(trimmed.to_owned()),
            };
        }
        match &self.oracle {
            Some(root) if !exists(Path::new(trimmed)) => Ok(format!("{}/{trimmed}", root.trim_end_matches('/'))),
            _ => Ok(trimmed.to_owned()),
        }
    }
}

fn climbs(reference: &str) -> bool {
    reference.split(['/', '\\']).any(|segment| segment == "..")
}

fn lies_in(reference: &str, root: &str) -> bool {
    let parts = |text: &str| {
        // A relative root counts from the working directory; a URI is compared as it is.
        let path = if text.contains("://") { None } else { std::path::absolute(text).ok() };
        let path = path.unwrap_or_else(|| Path::new(text).to_owned());
        path.components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| part.as_os_str().to_owned())
            .collect::<Vec<_>>()
    };
    parts(reference).starts_with(&parts(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(oracle: &str) -> Roots {
        Roots { oracle: Some(oracle.to_owned()), allowed: vec![oracle.to_owned()] }
    }

    #[test]
    fn references_resolve_as_the_contract_says() {
        let there = |path: &Path| path == Path::new("world");
        let resolve = |reference| roots("/data/oracle").resolve(reference, Origin::Message, &there);
        assert_eq!(resolve("world").unwrap(), "world", "a relative path that exists");
        assert_eq!(resolve("run-5/").unwrap(), "/data/oracle/run-5");
        assert_eq!(resolve("/data/oracle/run-5").unwrap(), "/data/oracle/run-5");
        assert_eq!(Roots::default().resolve("/anywhere", Origin::Message, &there).unwrap(), "/anywhere");
        assert_eq!(roots("/data/oracle").resolve("/else", Origin::Profile, &there).unwrap(), "/else");
    }

    #[test]
    fn a_message_cannot_point_out_of_the_roots() {
        for reference in
            ["../x", "world/../../x", "/etc", "/data/oracle2/x", "s3://other/x", "", "/", "a\0b", "/data/oracle/../x"]
        {
            let refused = roots("/data/oracle").resolve(reference, Origin::Message, &|_| true);
            assert_eq!(refused.unwrap_err().reason, Reason::RefOutsideRoot, "{reference:?}");
        }
    }

    #[test]
    fn a_root_is_a_folder_however_it_is_spelt() {
        let here = std::env::current_dir().unwrap();
        let allowed = |root: &str| Roots { oracle: None, allowed: vec![root.to_owned()] };
        let inside =
            |root: &str, reference: &str| allowed(root).resolve(reference, Origin::Message, &|_| false).is_ok();
        let absolute = |name: &str| here.join(name).display().to_string();
        // A relative root counts from the working directory.
        for root in ["runs", "./runs", "runs/", &absolute("runs")] {
            assert!(inside(root, &absolute("runs/world")) && inside(root, &absolute("runs")), "{root}");
            assert!(!inside(root, &absolute("runs2/world")) && !inside(root, &absolute("other")), "{root}");
        }
        // A bucket is a word of its own; a prefix of its name is another one.
        assert!(inside("s3://bucket/a", "s3://bucket/a/world"));
        assert!(!inside("s3://bucket/a", "s3://bucket/ab") && !inside("s3://bucket", "s3://bucket2/a"));
        // One of several roots is enough, and where none is configured any will do.
        let several = Roots { oracle: None, allowed: vec!["/a".to_owned(), "/b".to_owned()] };
        assert!(several.resolve("/b/x", Origin::Message, &|_| false).is_ok());
        assert!(Roots::default().resolve("s3://anywhere/x", Origin::Message, &|_| false).is_ok());
    }

    #[test]
    fn an_operator_may_point_anywhere_and_names_a_folder_all_the_same() {
        let resolve = |reference: &str| roots("/data/oracle").resolve(reference, Origin::Profile, &|_| false);
        for reference in ["/etc", "s3://other/x", "/data/oracle/../x"] {
            assert_eq!(resolve(reference).unwrap(), reference);
        }
        assert_eq!(resolve("../x/").unwrap(), "/data/oracle/../x");
        for reference in ["", "/", "///", "a\0b", "a\nb"] {
            assert_eq!(resolve(reference).unwrap_err().reason, Reason::RefOutsideRoot, "{reference:?}");
        }
    }
}

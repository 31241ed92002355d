//! The location of an S3 root: `s3://bucket/prefix`, parsed.

use super::Key;

/// A bucket and the prefix that all names of a store begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// As the profile spells it, without a slash at the end.
    pub(super) root: String,
    pub(super) bucket: String,
    /// Without slashes at its ends; empty where the root is the bucket.
    prefix: String,
}

/// A text or address that no S3 store can be opened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3RootError {
    /// Not `s3://bucket` or `s3://bucket/prefix`.
    #[error(
        "{0:?} is not an S3 root: it has to be s3://bucket or s3://bucket/prefix, with a bucket name of 3 to 63 of a-z, 0-9, '.', '-' and a prefix without empty, '.' or '..' segments"
    )]
    Root(String),
}

impl Location {
    pub(super) fn parse(root: &str) -> Result<Self, S3RootError> {
        let refused = || S3RootError::Root(without_credentials(root));
        let root = root.trim_end_matches('/');
        let rest = root.strip_prefix("s3://").ok_or_else(refused)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let named = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|c| is_edge(c) || matches!(c, b'.' | b'-'))
            && bucket.bytes().next().is_some_and(is_edge)
            && bucket.bytes().last().is_some_and(is_edge);
        if !named || !(prefix.is_empty() || prefix.parse::<Key>().is_ok()) {
            return Err(refused());
        }
        Ok(Self { root: root.to_owned(), bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The bucket's name for `key`.
    pub(super) fn name(&self, key: &Key) -> String {
        if self.prefix.is_empty() { key.to_string() } else { format!("{}/{key}", self.prefix) }
    }

    /// What every name of this store begins with.
    pub(super) fn names_begin_with(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }
}

/// A text for an error message, without what stands before an `@`: it may be a password.
fn without_credentials(text: &str) -> String {
    let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("***@{host}"));
    shown.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn a_root_is_a_bucket_and_a_prefix() {
        let at = Location::parse("s3://world.eu-1/engine/run=1/").unwrap();
        assert_eq!((at.root.as_str(), at.bucket.as_str()), ("s3://world.eu-1/engine/run=1", "world.eu-1"));
        assert_eq!(at.name(&key("a/b")), "engine/run=1/a/b");
        assert_eq!(at.names_begin_with(), "engine/run=1/");

        let bucket = Location::parse("s3://world").unwrap();
        assert_eq!(bucket.name(&key("a/b")), "a/b");
        assert_eq!(bucket.names_begin_with(), "");
    }

    #[test]
    fn what_is_not_an_s3_root_is_refused() {
        for bad in [
            "",
            "world/engine",
            "/world",
            "s3:/world",
            "S3://world",
            "s3://",
            "s3://ab",
            "s3://World",
            "s3://-world",
            "s3://world.",
            "s3://wor_ld",
            "s3://world//a",
            "s3://world/../a",
            "s3://world/a\\b",
            "file:///world",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_shows_no_credentials() {
        let error = Location::parse("s3://key:hunter2@world/a").unwrap_err().to_string();
        assert!(error.contains("***@world/a") && !error.contains("hunter2"), "{error}");
    }
}

//! Objects under a root: facts, the Oracle's files, and the evidence.
//!
//! ```text
//! run, oracle, evidence ──► ObjectStore ──► local (a folder) · memory (tests) · s3 (a bucket)
//! ```
//!
//! A store is opened on one root and addressed by [`Key`]s below it, so nothing that comes from a
//! message can reach beyond the roots that the profile names.

mod counted;
mod layer;
mod local;
#[cfg(test)]
mod local_tests;
mod memory;
mod open;
#[cfg_attr(not(any(feature = "s3", test)), expect(dead_code, reason = "only the S3 store waits"))]
mod patience;
#[cfg(test)]
mod power_tests;
mod room;
#[cfg(feature = "s3")]
mod s3;
mod s3_options;
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only the S3 store names objects by it"))]
mod s3_root;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use counted::CountedStore;
pub use layer::Layer;
pub use local::LocalStore;
pub use memory::{Fault, MemoryStore};
pub use open::{OpenError, StoreOptions, open_store};
pub use patience::Patience;
#[cfg(feature = "s3")]
pub use s3::S3Store;
pub use s3_options::{Backoff, S3Credentials, S3Options};
pub use s3_root::S3RootError;

/// A name below a store's root: segments joined by `/`, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This key with `segment` below it.
    ///
    /// # Errors
    ///
    /// If the result is not a key.
    pub fn join(&self, segment: &str) -> Result<Self, KeyError> {
        format!("{}/{segment}", self.0).parse()
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

/// A text that is not a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an object key: it has to be relative, without empty, '.' or '..' segments, without control characters and at most 1024 bytes long"
)]
pub struct KeyError(String);

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let valid = text.len() <= 1024
            && !text.chars().any(|c| c.is_control() || c == '\\')
            && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        if valid { Ok(Self(text.to_owned())) } else { Err(KeyError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which content an object has: equal versions mean equal bytes (an `ETag`; on disk time, size and inode).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// An object's size in bytes and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes.
    pub size: u64,
    /// Its content's version.
    pub version: Version,
}

/// What went wrong between us and the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Larger than the caller is ready to read.
    #[error("{object} has {size} bytes, more than the {limit} that are read here")]
    TooLarge {
        /// Full name.
        object: String,
        /// Its size in bytes.
        size: u64,
        /// What was allowed.
        limit: u64,
    },
    /// Not the version that was asked for.
    #[error("{object} changed since it was first looked at")]
    Changed {
        /// Full name.
        object: String,
    },
    /// The name resolves to something outside the root (a symbolic link, on disk).
    #[error("{object} leads out of its root")]
    Outside {
        /// Full name.
        object: String,
    },
    /// The name can't be an object's: a folder or a pipe has it, or it is longer than the store's names may be.
    /// Unlike what follows, this does not pass by waiting.
    #[error("{object}: {why}")]
    NotAnObject {
        /// Full name.
        object: String,
        /// What it is instead.
        why: String,
    },
    /// Everything else, as the store put it.
    #[error("{object}: {message}")]
    Io {
        /// Full name.
        object: String,
        /// The store's words.
        message: String,
    },
}

/// Says of an object's content whether some lines are in it already.
pub type Holds = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A folder or bucket prefix full of objects.
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// The root as the profile spells it, without a slash at the end.
    fn root(&self) -> &str;

    /// The full name of `key`: root, slash, key. It is what cursors and errors hold.
    fn full_name(&self, key: &Key) -> String {
        format!("{}/{key}", self.root())
    }

    /// Whether the store answers and lets us in, for readiness. One that needs nobody else always does.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Size and version, or `None` where there is no such object.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>>;

    /// The whole object, or `None` where there is none; refused beyond `limit` bytes.
    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Byte ranges of one version of an object, each whole.
    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>>;

    /// The objects right below `prefix` (not deeper), ascending by name, with their sizes in bytes.
    /// Empty where there is nothing.
    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>>;

    /// The names of the folders right below `prefix`, or below the root: each that an object lies in, at any depth; ascending.
    /// A folder on disk that holds nothing may be among them.
    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// Writes the object if there is none; says whether it did. Durable when it returns.
    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Writes the object, whatever was there. Durable when it returns.
    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds `lines` (whole lines, each with its newline) to the end of the object. Writers that append
    /// at once don't lose each other's lines; a half line left by a crash is closed first.
    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>>;

    /// As [`ObjectStore::append`], unless `held` says of the content that the lines are to follow that they are in it;
    /// says whether it wrote. Of any number of writers with the same lines one writes them. The content is read for
    /// it, so this is for objects of some megabytes.
    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_root() {
        for bad in ["", "/etc/passwd", "a//b", "a/../b", "..", "a/./b", "a/", "a\\b", "a\nb"] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
        let key: Key = "fraud-platform/platform_20260101T000000Z/sr".parse().unwrap();
        assert_eq!(key.join("x.json").unwrap().name(), "x.json");
        assert!(key.join("../x").is_err());
    }
}

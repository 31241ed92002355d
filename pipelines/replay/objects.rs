//! Objects of a bucket as files of an input: found once, and read in the version that was found.
//!
//! ```text
//! s3://bucket/prefix · s3://bucket/a/*.parquet ──list, HEAD──► Object { key, size, ETag } ──ranges of that version──► a file
//! ```
//!
//! An object is fetched whole into a file without a name before it is read: its readers need no network, and a row that is due
//! never waits for one.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::sync::Arc;

use futures::executor::block_on;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glob::{MatchOptions, Pattern};
use wsp::store::{Key, ObjectMeta, ObjectStore, StoreOptions, open_store};

/// What addresses of objects begin with.
pub(super) const SCHEME: &str = "s3://";

/// Bytes that are asked for at once.
const BLOCK: u64 = 32 << 20;
/// Objects whose versions are asked for at once.
const HEADS: usize = 16;
/// More objects than these are a prefix that is too short.
const MAX_OBJECTS: usize = 100_000;

/// An object, in one version.
#[derive(Clone)]
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    key: Key,
    meta: ObjectMeta,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("name", &self.name()).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.meta == other.meta
    }
}

impl Eq for Object {}

impl Object {
    /// Its address.
    pub(super) fn name(&self) -> String {
        self.store.full_name(&self.key)
    }

    /// Size and version.
    pub(super) fn identity(&self) -> (u64, String) {
        (self.meta.size, self.meta.version.0.clone())
    }

    /// Its first bytes, as many as there are up to `most`. It waits for the store.
    pub(super) fn beginning(&self, most: u64) -> io::Result<Vec<u8>> {
        self.block(0, self.meta.size.min(most))
    }

    fn block(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        if from == to {
            return Ok(Vec::new());
        }
        let range = from..to;
        let ranges = std::slice::from_ref(&range);
        let read = block_on(self.store.get_ranges(&self.key, &self.meta.version, ranges)).map_err(io::Error::other)?;
        let bytes = read.concat();
        if bytes.len() as u64 == to - from {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the store gave fewer bytes than were asked for"))
        }
    }

    /// All of it as a file, at its beginning. It waits for the store.
    pub(super) fn fetch(&self) -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        let mut from = 0;
        while from < self.meta.size {
            let to = (from + BLOCK).min(self.meta.size);
            file.write_all(&self.block(from, to)?)?;
            from = to;
        }
        file.rewind()?;
        Ok(file)
    }
}

/// The objects that an address means, in any order. It waits for the store.
///
/// # Errors
///
/// What is wrong with it, for a person.
pub(super) fn find(pattern: &str, options: &StoreOptions) -> Result<Vec<Object>, String> {
    let rest = pattern.strip_prefix(SCHEME).unwrap_or(pattern);
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let store = open_store(&format!("{SCHEME}{bucket}"), options).map_err(|error| error.to_string())?;
    find_in(&store, path)
}

fn find_in(store: &Arc<dyn ObjectStore>, path: &str) -> Result<Vec<Object>, String> {
    let path = path.trim_end_matches('/');
    let is_pattern = path.contains(['*', '?', '[']);
    let fixed: Vec<&str> = path.split('/').take_while(|part| !part.contains(['*', '?', '['])).collect();
    let prefix = fixed.join("/");
    if prefix.is_empty() {
        return Err("a whole bucket is no input; name a prefix, as in s3://bucket/prefix".to_owned());
    }
    let prefix = prefix.parse::<Key>().map_err(|error| error.to_string())?;
    let pattern = if is_pattern { Some(Pattern::new(path).map_err(|error| error.to_string())?) } else { None };
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    block_on(async {
        if pattern.is_none()
            && let Some(meta) = store.head(&prefix).await.map_err(|error| error.to_string())?
        {
            return Ok(vec![Object { store: store.clone(), key: prefix, meta }]);
        }
        let mut keys = Vec::new();
        let mut folders = vec![prefix];
        while let Some(folder) = folders.pop() {
            let found = store.list(&folder).await.map_err(|error| error.to_string())?;
            keys.extend(found.into_iter().map(|(key, _)| key).filter(|key| match &pattern {
                Some(pattern) => pattern.matches_with(key.as_str(), options),
                None => !key.name().starts_with(['.', '_']),
            }));
            if keys.len() > MAX_OBJECTS {
                return Err(format!("more than {MAX_OBJECTS} objects; name a longer prefix, or several inputs"));
            }
            for name in store.folders(Some(&folder)).await.map_err(|error| error.to_string())? {
                if pattern.is_some() || !name.starts_with(['.', '_']) {
                    folders.push(folder.join(&name).map_err(|error| error.to_string())?);
                }
            }
        }
        let object = |key: Key| {
            let store = store.clone();
            async move {
                let meta = store.head(&key).await.map_err(|error| error.to_string())?;
                let meta = meta.ok_or_else(|| format!("{} went away while it was looked at", store.full_name(&key)))?;
                Ok::<_, String>(Object { store, key, meta })
            }
        };
        stream::iter(keys).map(object).buffered(HEADS).try_collect().await
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use bytes::Bytes;
    use wsp::store::MemoryStore;

    use super::*;

    fn store(names: &[&str]) -> Arc<dyn ObjectStore> {
        let store = MemoryStore::new("s3://bucket");
        for name in names {
            block_on(store.put(&name.parse().unwrap(), Bytes::from(format!("of {name}")))).unwrap();
        }
        Arc::new(store)
    }

    fn names(store: &Arc<dyn ObjectStore>, path: &str) -> Result<Vec<String>, String> {
        let mut names: Vec<String> =
            find_in(store, path)?.iter().map(|object| object.name().replace("s3://bucket/", "")).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn a_prefix_is_all_below_it_and_a_pattern_is_what_it_matches() {
        let store = store(&["a/1.csv", "a/b/2.csv", "a/_SUCCESS", "a/.tmp/x.csv", "a/3.json", "ab/4.csv"]);
        assert_eq!(names(&store, "a").unwrap(), ["a/1.csv", "a/3.json", "a/b/2.csv"]);
        assert_eq!(names(&store, "a/").unwrap(), names(&store, "a").unwrap());
        assert_eq!(names(&store, "a/1.csv").unwrap(), ["a/1.csv"]);
        assert_eq!(names(&store, "a/*.csv").unwrap(), ["a/1.csv"]);
        assert_eq!(names(&store, "a/*/*.csv").unwrap(), ["a/.tmp/x.csv", "a/b/2.csv"]);
        assert_eq!(names(&store, "a/**/*.csv").unwrap(), ["a/.tmp/x.csv", "a/1.csv", "a/b/2.csv"]);
        assert!(names(&store, "none").unwrap().is_empty());
        for path in ["", "/", "*.csv"] {
            assert!(names(&store, path).unwrap_err().contains("name a prefix"), "{path}");
        }
    }

    #[test]
    fn an_object_is_read_in_the_version_that_was_found() {
        let store = store(&["a/1.csv", "a/2.csv"]);
        let objects = find_in(&store, "a/1.csv").unwrap();
        let text = |object: &Object| {
            let mut text = String::new();
            object.fetch().map_err(|error| error.to_string())?.read_to_string(&mut text).unwrap();
            Ok::<_, String>(text)
        };
        assert_eq!(text(&objects[0]).unwrap(), "of a/1.csv");
        assert_eq!((objects[0].beginning(2).unwrap(), objects[0].identity().0), (b"of".to_vec(), 10));
        block_on(store.put(&"a/1.csv".parse().unwrap(), Bytes::from_static(b"of another"))).unwrap();
        assert!(text(&objects[0]).unwrap_err().contains("changed"));
        let again = find_in(&store, "a/1.csv").unwrap();
        assert!(again[0] != objects[0] && text(&again[0]).unwrap() == "of another");
        block_on(store.put(&"a/1.csv".parse().unwrap(), Bytes::new())).unwrap();
        assert_eq!(text(&find_in(&store, "a/1.csv").unwrap()[0]).unwrap(), "");
    }
}

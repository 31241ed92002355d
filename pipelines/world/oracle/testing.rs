//! The golden world in memory, to be doctored by tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use wsp::store::{Holds, Key, ObjectMeta, ObjectStore, StoreError, Version};

use crate::model::{Hex64, WorldKey};

/// The golden world, opened as `world`; what a test changes is changed in memory alone.
#[derive(Debug, Clone)]
pub(super) struct Doctored {
    root: String,
    objects: BTreeMap<String, Bytes>,
    broken: bool,
}

/// The golden world's identity.
pub(super) fn world_key() -> WorldKey {
    WorldKey {
        manifest_fingerprint: "fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4".parse().unwrap(),
        parameter_hash: "7e8079fe017b0b37de2b2afd5e878f36dc99c5084d22eea8b703f012dbf99f97".parse().unwrap(),
        scenario_id: "baseline_v1".parse().unwrap(),
        seed: 42,
    }
}

/// Some other digest.
pub(super) fn hex64() -> Hex64 {
    "0".repeat(64).parse().unwrap()
}

impl Doctored {
    pub(super) fn new() -> Self {
        let mut objects = BTreeMap::new();
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/world");
        load(&folder, &folder, &mut objects);
        assert!(!objects.is_empty(), "the golden world is there");
        Self { root: "world".to_owned(), objects, broken: false }
    }

    /// The same objects under another spelling of the root.
    pub(super) fn opened_as(mut self, root: &str) -> Self {
        self.root = root.to_owned();
        self
    }

    pub(super) fn remove(&mut self, key: &str) {
        assert!(self.objects.remove(key).is_some(), "{key} was there");
    }

    pub(super) fn write(&mut self, key: &str, body: impl Into<String>) {
        self.objects.insert(key.to_owned(), Bytes::from(body.into()));
    }

    pub(super) fn copy(&mut self, from: &str, to: &str) {
        let body = self.objects[from].clone();
        self.objects.insert(to.to_owned(), body);
    }

    /// Sets one field of a JSON object.
    pub(super) fn set(&mut self, key: &str, pointer: &str, value: Value) {
        let mut json: Value = serde_json::from_slice(&self.objects[key]).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[field] = value;
        self.write(key, json.to_string());
    }

    /// Removes one field of a JSON object.
    pub(super) fn unset(&mut self, key: &str, pointer: &str) {
        let mut json: Value = serde_json::from_slice(&self.objects[key]).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert!(parent.remove(field).is_some(), "{pointer} was there");
        self.write(key, json.to_string());
    }

    /// Lets every call fail from now on.
    pub(super) fn break_down(&mut self) {
        self.broken = true;
    }

    fn find(&self, key: &Key) -> Result<Option<&Bytes>, StoreError> {
        if self.broken {
            return Err(StoreError::Io { object: self.full_name(key), message: "out of order".to_owned() });
        }
        Ok(self.objects.get(key.as_str()))
    }
}

fn load(root: &Path, folder: &Path, objects: &mut BTreeMap<String, Bytes>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            load(root, &path, objects);
        } else {
            let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            objects.insert(key, std::fs::read(&path).unwrap().into());
        }
    }
}

impl ObjectStore for Doctored {
    fn root(&self) -> &str {
        &self.root
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        let found = self.find(key).map(|found| {
            found.map(|body| ObjectMeta { size: body.len() as u64, version: Version(Hex64::sha256(body).to_string()) })
        });
        async move { found }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        async move {
            let Some(body) = self.find(key)? else { return Ok(None) };
            let size = body.len() as u64;
            if size > limit {
                return Err(StoreError::TooLarge { object: self.full_name(key), size, limit });
            }
            Ok(Some(body.clone()))
        }
        .boxed()
    }

    fn get_ranges<'a>(
        &'a self,
        _key: &'a Key,
        _version: &'a Version,
        _ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        unreachable!("the checks read whole objects")
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        async move {
            self.find(prefix)?;
            let folder = format!("{prefix}/");
            let right_below = |key: &&String| key.strip_prefix(&folder).is_some_and(|name| !name.contains('/'));
            let keys = self.objects.keys().filter(right_below);
            Ok(keys.map(|key| (key.parse().unwrap(), self.objects[key].len() as u64)).collect())
        }
        .boxed()
    }

    fn folders<'a>(&'a self, _prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        unreachable!("the checks know every folder")
    }

    fn put_new<'a>(&'a self, _key: &'a Key, _body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        unreachable!("the checks write nothing")
    }

    fn put<'a>(&'a self, _key: &'a Key, _body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("the checks write nothing")
    }

    fn append<'a>(&'a self, _key: &'a Key, _lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("the checks write nothing")
    }

    fn append_unless<'a>(
        &'a self,
        _key: &'a Key,
        _lines: Bytes,
        _held: Holds,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        unreachable!("the checks write nothing")
    }
}

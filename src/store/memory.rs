//! Objects in memory, with faults on request: the test double for tests and simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Holds, Key, ObjectMeta, ObjectStore, StoreError, Version};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Before,
    /// All was done, but the answer was lost.
    After,
    /// An append wrote half of its bytes; any other call did nothing.
    Torn,
}

/// A store in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    root: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, (u64, Bytes)>,
    writes: u64,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    down: bool,
}

impl MemoryStore {
    /// An empty store whose names start with `root`.
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self { root: root.trim_end_matches('/').into(), state: Arc::default() }
    }

    /// How many calls were made so far, failed ones too.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets the next `n` calls fail, each with nothing done.
    pub fn fail_next(&self, n: u64) {
        let mut state = self.state();
        let calls = state.calls;
        state.faults.extend((calls..calls + n).map(|call| (call, Fault::Before)));
    }

    /// Lets the `n`-th call from now (0 is the next one) fail with `fault` and every later one with
    /// nothing done, as if the caller had died, until [`MemoryStore::heal`].
    pub fn crash_at(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        let call = state.calls + n;
        state.faults.insert(call, fault);
        state.down = true;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.down = false;
    }

    /// Every object with its content, ascending by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Bytes> {
        self.state().objects.iter().map(|(key, (_, body))| (key.clone(), body.clone())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and runs it, unless or before it fails.
    fn call<T>(
        &self,
        key: &Key,
        work: impl FnOnce(&mut State, Option<Fault>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.call_on(self.full_name(key), work)
    }

    /// The same about the object of this full name.
    fn call_on<T>(
        &self,
        object: String,
        work: impl FnOnce(&mut State, Option<Fault>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |message: &str| Err(StoreError::Io { object, message: message.to_owned() });
        let mut state = self.state();
        let call = state.calls;
        state.calls += 1;
        let fault = match state.faults.get(&call) {
            Some(fault) => Some(*fault),
            None if state.down && state.faults.keys().any(|first| *first < call) => Some(Fault::Before),
            None => None,
        };
        if fault == Some(Fault::Before) {
            return failed("injected fault");
        }
        let done = work(&mut state, fault);
        if fault.is_none() { done } else { failed("injected fault, answer lost") }
    }

    fn failed(&self, key: &Key, message: impl Into<String>) -> StoreError {
        StoreError::Io { object: self.full_name(key), message: message.into() }
    }
}

impl State {
    fn write(&mut self, key: &Key, body: Bytes) {
        self.writes += 1;
        self.objects.insert(key.to_string(), (self.writes, body));
    }
}

impl ObjectStore for MemoryStore {
    fn root(&self) -> &str {
        &self.root
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        let found = self.call(key, |state, _| {
            let object = state.objects.get(key.as_str());
            Ok(object
                .map(|(version, body)| ObjectMeta { size: body.len() as u64, version: Version(version.to_string()) }))
        });
        async { found }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let found = self.call(key, |state, _| match state.objects.get(key.as_str()) {
            Some((_, body)) if body.len() as u64 > limit => {
                Err(StoreError::TooLarge { object: self.full_name(key), size: body.len() as u64, limit })
            }
            object => Ok(object.map(|(_, body)| body.clone())),
        });
        async { found }.boxed()
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        let found = self.call(key, |state, _| {
            let body = match state.objects.get(key.as_str()) {
                Some((current, body)) if current.to_string() == version.0 => body,
                _ => return Err(StoreError::Changed { object: self.full_name(key) }),
            };
            let part = |range: &Range<u64>| {
                let whole = range.start <= range.end && range.end <= body.len() as u64;
                whole
                    .then(|| body.slice(range.start as usize..range.end as usize))
                    .ok_or_else(|| self.failed(key, format!("range {range:?} of {} bytes", body.len())))
            };
            ranges.iter().map(part).collect()
        });
        async { found }.boxed()
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        let found = self.call(prefix, |state, _| {
            let names = state.objects.iter().filter_map(|(name, (_, body))| {
                let below = name.strip_prefix(prefix.as_str())?.strip_prefix('/')?;
                let right_below = !below.contains('/');
                right_below.then(|| Some((prefix.join(below).ok()?, body.len() as u64)))?
            });
            Ok(names.collect())
        });
        async { found }.boxed()
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let under = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let name = prefix.map_or_else(|| self.root.to_string(), |prefix| self.full_name(prefix));
        let found = self.call_on(name, |state, _| {
            let names = state.objects.keys().filter_map(|name| name.strip_prefix(under.as_str())?.split_once('/'));
            let names: BTreeSet<String> = names.map(|(folder, _)| folder.to_owned()).collect();
            Ok(names.into_iter().collect())
        });
        async { found }.boxed()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        let done = self.call(key, |state, fault| {
            let absent = !state.objects.contains_key(key.as_str());
            if absent && fault != Some(Fault::Torn) {
                state.write(key, body);
            }
            Ok(absent)
        });
        async move { done }.boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        let done = self.call(key, |state, fault| {
            if fault != Some(Fault::Torn) {
                state.write(key, body);
            }
            Ok(())
        });
        async { done }.boxed()
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        let never: Holds = Arc::new(|_| false);
        self.append_unless(key, lines, never).map(|done| done.map(|_| ())).boxed()
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        let done = self.call(key, |state, fault| {
            if state.objects.get(key.as_str()).is_some_and(|(_, body)| held(body)) {
                return Ok(false);
            }
            let mut body = state.objects.get(key.as_str()).map(|(_, body)| body.to_vec()).unwrap_or_default();
            if body.last().is_some_and(|last| *last != b'\n') {
                body.push(b'\n');
            }
            let kept = if fault == Some(Fault::Torn) { lines.len() / 2 } else { lines.len() };
            body.extend_from_slice(&lines[..kept]);
            state.write(key, body.into());
            Ok(true)
        });
        async { done }.boxed()
    }
}

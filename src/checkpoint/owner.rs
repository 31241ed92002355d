//! What an owner of a scope is called.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Host name and process id.
#[must_use]
pub fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("unknown host");
    format!("{host} pid {}", std::process::id())
}

/// A name that no opening had before: a random number stands behind the readable part.
#[must_use]
pub fn unique(owner: &str) -> String {
    format!("{owner} {:016x}", RandomState::new().build_hasher().finish())
}

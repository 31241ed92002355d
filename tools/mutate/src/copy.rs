//! A copy of the tree, with mutants in some of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The texts that differ from the tree's, by file.
pub type Texts = BTreeMap<String, String>;

/// Copies all files that git knows or would add, changed ones too, to `target`/checkout, and returns that folder. Files that
/// stay equal keep their times, so that a second build is short.
pub fn checkout(target: &Path, texts: &Texts) -> Result<PathBuf, String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if !listed.status.success() {
        return Err(String::from_utf8_lossy(&listed.stderr).into_owned());
    }
    fs::create_dir_all(target).map_err(|error| format!("{}: {error}", target.display()))?;
    let target = target.canonicalize().map_err(|error| format!("{}: {error}", target.display()))?;
    let checkout = target.join("checkout");
    let mut copied = BTreeSet::new();
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        // A file that was removed and is not yet committed is still listed.
        if Path::new(&name).is_file() && !name.starts_with("tools/") {
            copied.insert(checkout.join(&name));
            if !texts.contains_key(&name) {
                let content = fs::read(&name).map_err(|error| format!("{name}: {error}"))?;
                write(&checkout.join(&name), &content)?;
            }
        }
    }
    for (name, text) in texts {
        copied.insert(checkout.join(name));
        write(&checkout.join(name), text.as_bytes())?;
    }
    for folder in ["src", "pipelines", "tests", "benches", "examples"] {
        prune(&checkout.join(folder), &copied)?;
    }
    Ok(checkout)
}

/// Writes a file that has other content.
pub fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, content)).map_err(|error| format!("{}: {error}", path.display()))
}

/// Removes the files that an earlier tree had.
fn prune(folder: &Path, copied: &BTreeSet<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            prune(&path, copied)?;
        } else if !copied.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

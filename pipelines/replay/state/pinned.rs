//! What a replay is of: target, flags and files. A start compares what it finds with what an earlier one found.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::error::Error;
use super::super::input::{At, Format, Input, InputSpec, Source};
use super::FRESH;

/// The form of its text.
const VERSION: u32 = 1;
/// How much of a file's beginning and end its digest is of.
const ENDS: u64 = 64 << 10;
/// The longest footer of Parquet that is looked at as a whole.
const MAX_FOOTER: u64 = 64 << 20;

/// What a replay is of. Two starts with the same are one replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Pinned {
    version: u32,
    target: String,
    /// Flags that decide which events there are, and what they are like.
    flags: Vec<(String, String)>,
    inputs: Vec<PinnedInput>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PinnedInput {
    name: String,
    files: Vec<PinnedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PinnedFile {
    path: String,
    bytes: u64,
    /// Of its beginning and end; of Parquet of its footer, which has the place and size of all else; of an object its `ETag`.
    digest: String,
}

/// A flag and its value.
pub type Flag = (&'static str, String);

impl Pinned {
    /// Looks at all files.
    pub(in super::super) fn new(target: &str, flags: &[Flag], inputs: &[Arc<Input>]) -> Result<Self, Error> {
        let file = |source: &Source| {
            let (bytes, digest) = identity(&source.at, source.format == Format::Parquet)
                .map_err(|error| Error::file(&source.shown, error))?;
            Ok(PinnedFile { path: source.shown.clone(), bytes, digest })
        };
        let input = |input: &Arc<Input>| {
            let files = input.files.iter().map(file).collect::<Result<_, Error>>()?;
            Ok(PinnedInput { name: input.name.clone(), files })
        };
        let flags = flags.iter().map(|(flag, value)| ((*flag).to_owned(), value.clone())).collect();
        let inputs = inputs.iter().map(input).collect::<Result<_, Error>>()?;
        Ok(Self { version: VERSION, target: target.to_owned(), flags, inputs })
    }

    /// The name of its state, where it has none of its own: by target and inputs, whatever is in them.
    pub(in super::super) fn name(target: &str, specs: &[InputSpec]) -> String {
        let names = specs.iter().flat_map(|spec| [spec.name.as_str(), spec.pattern.as_str()]);
        let hashed = std::iter::once(target).chain(names).fold(Sha256::new(), |hasher, part| {
            hasher.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        let hash: [u8; 32] = hashed.finalize().into();
        format!("replay-{}", const_hex::encode(&hash[..6]))
    }

    /// As the text of [`Pinned::read`].
    pub(super) fn text(&self) -> String {
        // Texts, numbers and lists always have a form in JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let pinned: Self = serde_json::from_str(text).map_err(|error| format!("it is damaged: {error}; {FRESH}"))?;
        if pinned.version == VERSION { Ok(pinned) } else { Err(format!("it is of another version of wsp; {FRESH}")) }
    }

    /// Tells it from others.
    pub(super) fn digest(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.text()).into();
        const_hex::encode(digest)
    }

    /// The names of its inputs.
    pub(super) fn names(&self) -> Arc<[String]> {
        self.inputs.iter().map(|input| input.name.clone()).collect()
    }

    /// Whether `self`, which a start found, is what an `earlier` one found.
    pub(super) fn fits(&self, earlier: &Self, flags: &[Flag]) -> Result<(), Error> {
        if earlier.target != self.target {
            return Err(Error::flag(
                "--to",
                format!("the state is of {}; name another --state, or {FRESH}", earlier.target),
            ));
        }
        for (flag, value) in flags {
            let before = earlier.flags.iter().find(|(name, _)| name == flag).map_or("", |(_, value)| value);
            if before != value {
                let what =
                    format!("{value:?} now and {before:?} in the earlier start, which sent other events; {FRESH}");
                return Err(Error::flag(flag, what));
            }
        }
        for (i, input) in self.inputs.iter().enumerate() {
            let Some(before) = earlier.inputs.get(i).filter(|before| before.name == input.name) else {
                return Err(Error::input(
                    &input.name,
                    format!("the earlier start had other inputs, or another order; {FRESH}"),
                ));
            };
            for (file, before) in input.files.iter().zip(&before.files) {
                if file.path != before.path {
                    let what =
                        format!("{} is there now where {} was in the earlier start; {FRESH}", file.path, before.path);
                    return Err(Error::input(&input.name, what));
                }
                if file != before {
                    let sizes = format!("{} bytes then, {} now", before.bytes, file.bytes);
                    let what = format!("{} has changed since the earlier start ({sizes}); {FRESH}", file.path);
                    return Err(Error::input(&input.name, what));
                }
            }
            if input.files.len() != before.files.len() {
                let (now, then) = (input.files.len(), before.files.len());
                return Err(Error::input(
                    &input.name,
                    format!("{then} files in the earlier start, {now} now; {FRESH}"),
                ));
            }
        }
        if earlier.inputs.len() > self.inputs.len() {
            let missing = &earlier.inputs[self.inputs.len()].name;
            return Err(Error::input(missing, format!("the earlier start had this input, too; {FRESH}")));
        }
        Ok(())
    }
}

/// Size and digest of a file.
fn identity(at: &At, is_parquet: bool) -> io::Result<(u64, String)> {
    let path = match at {
        At::Stdin => return Ok((0, String::new())),
        At::File(path) => path,
        At::Object(object) => return Ok(object.identity()),
    };
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut part = |from: u64, length: u64| -> io::Result<Vec<u8>> {
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(length).read_to_end(&mut part)?;
        Ok(part)
    };
    let mut hasher = Sha256::new().chain_update(part(0, bytes.min(ENDS))?);
    // The length of the footer stands behind it. A file that is shorter is no Parquet, and is refused when it is read.
    let footer = if is_parquet { part(bytes.saturating_sub(8), 4)? } else { Vec::new() };
    let footer = footer.first_chunk().map_or(0, |length| u64::from(u32::from_le_bytes(*length)) + 8);
    let end = ENDS.max(footer.min(MAX_FOOTER)).min(bytes);
    hasher.update(part(bytes - end, end)?);
    let digest: [u8; 32] = hasher.finalize().into();
    Ok((bytes, const_hex::encode(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_named_by_target_and_inputs() {
        let name = |target: &str, pattern: &str| Pinned::name(target, &[InputSpec::plain(pattern)]);
        assert_eq!(name("a", "b"), name("a", "b"));
        assert_ne!(name("a", "b"), name("a", "c"));
        assert_ne!(name("a", "b"), name("c", "b"));
        assert!(name("a", "b").starts_with("replay-"));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let file = PinnedFile { path: "a b/\"x\"\0.jsonl".to_owned(), bytes: u64::MAX, digest: "00".to_owned() };
        let inputs = vec![PinnedInput { name: "ü".to_owned(), files: vec![file] }];
        let flags = vec![("--time".to_owned(), "t".to_owned())];
        let pinned = Pinned { version: VERSION, target: "http://a".to_owned(), flags, inputs };
        assert_eq!(Pinned::read(&pinned.text()).as_ref(), Ok(&pinned));
        assert!(!pinned.text().contains('\0'), "a database holds no NUL");
        let text = pinned.text().replace("\"version\": 1", "\"version\": 2");
        assert!(Pinned::read(&text).unwrap_err().contains("another version"));
    }
}

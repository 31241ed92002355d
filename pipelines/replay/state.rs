//! What a replay keeps between two starts: which inputs it is of, and how far they are answered.
//!
//! ```text
//! FOLDER/.lock          held as long as a process replays
//! FOLDER/inputs.json    target, flags and files, with their digests: written once, compared by each start
//! FOLDER/cursors.json   how far: replaced durably, again and again
//! ```

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wsp::disk::{Disk, DiskFile, Mode, files};
use wsp::time::Micros;

use super::answered::{AnsweredRows, Standing};
use super::chain::Start;
use super::error::Error;
use super::input::{At, Format, Input};

/// What a file of state may hold, in bytes.
const LIMIT: u64 = 256 << 20;
/// How much of a file's beginning and end its digest is of.
const ENDS: u64 = 64 << 10;
/// The longest footer of Parquet that is looked at as a whole.
const MAX_FOOTER: u64 = 64 << 20;
const FRESH: &str = "--fresh begins anew and sends all of it again";

/// What a replay is of. Two starts with the same are one replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
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
    pub(super) fn new(target: &str, flags: &[Flag], inputs: &[Arc<Input>]) -> Result<Self, Error> {
        let file = |source: &super::input::Source| {
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
        Ok(Self { version: 1, target: target.to_owned(), flags, inputs })
    }

    /// The folder of its state, where none is named: by target and inputs, whatever is in them.
    pub(super) fn folder(target: &str, specs: &[super::input::InputSpec]) -> PathBuf {
        let names = specs.iter().flat_map(|spec| [spec.name.as_str(), spec.pattern.as_str()]);
        let hashed = std::iter::once(target).chain(names).fold(Sha256::new(), |hasher, part| {
            hasher.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        let hash: [u8; 32] = hashed.finalize().into();
        Path::new(".wsp").join(format!("replay-{}", const_hex::encode(&hash[..6])))
    }

    /// Whether `self`, which a start found, is what an `earlier` one found.
    fn fits(&self, earlier: &Self, flags: &[Flag]) -> Result<(), Error> {
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

/// How far a replay is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// All of it was answered.
    pub(super) finished: bool,
    /// By input.
    pub(super) inputs: Vec<Standing>,
    /// How long the output is, where it is a file of lines.
    pub(super) written: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct SavedFile {
    version: u32,
    /// The digest of the `inputs.json` that it belongs to.
    of: String,
    finished: bool,
    inputs: Vec<SavedInput>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct SavedInput {
    name: String,
    file: usize,
    row: u64,
    time: Option<String>,
    answered: u64,
    beyond: AnsweredRows,
}

/// A folder of state, held by this process.
#[derive(Debug)]
pub(super) struct State {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The digest of `inputs.json`.
    of: String,
    names: Vec<String>,
    _lock: Box<dyn DiskFile>,
}

impl State {
    /// Takes a folder, made if need be, for a replay of `pinned`. Gives what an earlier start saved, unless `fresh`.
    ///
    /// # Errors
    ///
    /// If another process has it, if it is of something else, or can't be read or written.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        pinned: &Pinned,
        flags: &[Flag],
        fresh: bool,
    ) -> Result<(Self, Option<Saved>), Error> {
        let failed = |error: io::Error| Error::state(folder, error);
        files::create_folders(&*disk, folder).map_err(failed)?;
        let lock = disk.open(&folder.join(".lock"), Mode::Write).map_err(failed)?;
        if !lock.try_lock().map_err(failed)? {
            return Err(Error::state(
                folder,
                "another process replays with this state; wait for it, or name another --state",
            ));
        }
        let (inputs, cursors) = (folder.join("inputs.json"), folder.join("cursors.json"));
        let earlier = read::<Pinned>(&*disk, &inputs)?.filter(|_| !fresh);
        if let Some((earlier, _)) = &earlier {
            pinned.fits(earlier, flags)?;
        } else {
            // Cursors of something else must not be found beside what comes now, whatever happens in between.
            let removed = files::remove(&*disk, &cursors).and_then(|_| files::sync_entry(&*disk, &cursors));
            removed.map_err(|error| Error::state(&cursors, error))?;
            let text = serde_json::to_vec_pretty(pinned).map_err(|error| Error::Internal(error.to_string()))?;
            files::replace(&*disk, &inputs, &text).map_err(|error| Error::state(&inputs, error))?;
        }
        let of = match earlier {
            Some((_, digest)) => digest,
            None => read::<Pinned>(&*disk, &inputs)?.map(|(_, digest)| digest).unwrap_or_default(),
        };
        let names = pinned.inputs.iter().map(|input| input.name.clone()).collect();
        let state = Self { disk, folder: folder.to_owned(), of, names, _lock: lock };
        let saved = state.read(&cursors)?;
        Ok((state, saved))
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the sorted rows of an input are, and what tells them from those of another replay.
    pub(super) fn sorted(&self, rank: u16) -> (PathBuf, String) {
        (self.folder.join(format!("sorted-{rank}")), self.of.clone())
    }

    fn read(&self, path: &Path) -> Result<Option<Saved>, Error> {
        let Some((file, _)) = read::<SavedFile>(&*self.disk, path)? else { return Ok(None) };
        let damaged = |what: &str| Error::state(path, format!("{what}; {FRESH}"));
        if file.version != 1 || file.of != self.of {
            return Err(damaged("it is of another inputs.json, or of a later version"));
        }
        if file.inputs.iter().map(|input| &input.name).ne(&self.names) {
            return Err(damaged("its inputs are others than those of inputs.json"));
        }
        let inputs = file.inputs.into_iter().map(|input| {
            let after = input.time.map(|time| Micros::parse(time.as_bytes()).ok_or(())).transpose();
            let after = after.map_err(|()| damaged("a time in it can't be read"))?;
            if !input.beyond.is_sound() {
                return Err(damaged("its ranges of rows are out of order"));
            }
            let start = Start { file: input.file, row: input.row, after };
            Ok(Standing { start, answered: input.answered, beyond: input.beyond })
        });
        let inputs = inputs.collect::<Result<_, Error>>()?;
        Ok(Some(Saved { finished: file.finished, inputs, written: file.written }))
    }

    /// Replaces what is saved, durably. It waits for the disk.
    pub(super) fn save(&self, saved: &Saved) -> Result<(), Error> {
        let inputs = self.names.iter().zip(&saved.inputs).map(|(name, standing)| SavedInput {
            name: name.clone(),
            file: standing.start.file,
            row: standing.start.row,
            time: standing.start.after.map(|time| time.to_string()),
            answered: standing.answered,
            beyond: standing.beyond.clone(),
        });
        let Saved { finished, written, .. } = *saved;
        let file = SavedFile { version: 1, of: self.of.clone(), finished, inputs: inputs.collect(), written };
        let path = self.folder.join("cursors.json");
        let text = serde_json::to_vec(&file).map_err(|error| Error::Internal(error.to_string()))?;
        files::replace(&*self.disk, &path, &text).map_err(|error| Error::state(&path, error))
    }
}

/// A file of state and the digest of its bytes; `None` where there is none.
fn read<T: for<'a> Deserialize<'a>>(disk: &dyn Disk, path: &Path) -> Result<Option<(T, String)>, Error> {
    let file = match disk.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::state(path, error)),
    };
    let bytes = file.read_up_to(LIMIT).map_err(|error| Error::state(path, error))?;
    let value = serde_json::from_slice(&bytes);
    let value = value.map_err(|error| Error::state(path, format!("it is damaged: {error}; {FRESH}")))?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    Ok(Some((value, const_hex::encode(digest))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wsp::disk::RealDisk;

    use super::super::input::{InputSpec, resolve};
    use super::*;

    struct Case {
        dir: tempfile::TempDir,
        flags: Vec<Flag>,
        target: &'static str,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("in")).unwrap();
            let case = Self { dir, flags: vec![("--time", "t".to_owned())], target: "http://a" };
            case.write("a.jsonl", "1");
            case.write("b.jsonl", "2");
            case
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join("in").join(name), text).unwrap();
        }

        fn open(&self, fresh: bool) -> Result<(State, Option<Saved>), String> {
            let spec = InputSpec::named(&format!("in={}", self.dir.path().join("in").display())).unwrap();
            let inputs: Vec<_> = resolve(&[spec], None, &wsp::store::StoreOptions::default())
                .unwrap()
                .into_iter()
                .map(Arc::new)
                .collect();
            let pinned = Pinned::new(self.target, &self.flags, &inputs).unwrap();
            let folder = self.dir.path().join("state");
            State::open(Arc::new(RealDisk), &folder, &pinned, &self.flags, fresh).map_err(|error| error.to_string())
        }
    }

    fn saved(row: u64) -> Saved {
        let start = Start { file: 1, row, after: Some(Micros(7)) };
        let inputs = vec![Standing { start, answered: row, beyond: AnsweredRows::default() }];
        Saved { finished: false, inputs, written: Some(row) }
    }

    #[test]
    fn what_is_saved_is_there_for_the_next_start_alone() {
        let case = Case::new();
        let (state, nothing) = case.open(false).unwrap();
        assert_eq!(nothing, None);
        state.save(&saved(3)).unwrap();
        state.save(&saved(4)).unwrap();
        assert!(case.open(false).unwrap_err().contains("another process"));
        drop(state);
        assert_eq!(case.open(false).unwrap().1, Some(saved(4)));
        assert_eq!(case.open(true).unwrap().1, None);
        assert_eq!(case.open(false).unwrap().1, None, "a fresh start has dropped it for good");
    }

    #[test]
    fn what_has_changed_is_refused_by_name() {
        type Change = fn(&mut Case);
        let changes: [(&str, Change); 6] = [
            ("a.jsonl has changed since the earlier start (1 bytes then, 1 now)", |case| case.write("a.jsonl", "9")),
            ("a.jsonl has changed", |case| case.write("a.jsonl", "1\n")),
            ("2 files in the earlier start, 3 now", |case| case.write("c.jsonl", "")),
            ("aa.jsonl is there now where", |case| case.write("aa.jsonl", "")),
            ("--time: \"at\" now and \"t\" in the earlier start", |case| case.flags[0].1 = "at".to_owned()),
            ("--to: the state is of http://a", |case| case.target = "http://b"),
        ];
        for (words, change) in changes {
            let mut case = Case::new();
            drop(case.open(false).unwrap());
            change(&mut case);
            let error = case.open(false).unwrap_err();
            assert!(error.contains(words) && error.contains("--fresh"), "{words}: {error}");
            case.open(true).unwrap();
            case.open(false).unwrap();
        }
    }

    #[test]
    fn damaged_state_is_refused() {
        let case = Case::new();
        case.open(false).unwrap().0.save(&saved(3)).unwrap();
        let cursors = case.dir.path().join("state/cursors.json");
        let good = fs::read_to_string(&cursors).unwrap();
        for (from, to) in
            [("{", ""), ("\"of\":\"", "\"of\":\"0"), ("1970", "x"), ("\"in\"", "\"out\""), ("[]", "[[0,3,2]]")]
        {
            fs::write(&cursors, good.replacen(from, to, 1)).unwrap();
            let error = case.open(false).unwrap_err();
            assert!(error.contains("cursors.json") && error.contains("--fresh"), "{from}: {error}");
        }
    }

    #[test]
    fn the_usual_folder_is_named_by_target_and_inputs() {
        let folder = |target: &str, pattern: &str| Pinned::folder(target, &[InputSpec::plain(pattern)]);
        assert_eq!(folder("a", "b"), folder("a", "b"));
        assert_ne!(folder("a", "b"), folder("a", "c"));
        assert_ne!(folder("a", "b"), folder("c", "b"));
        assert!(folder("a", "b").starts_with(".wsp"));
    }
}

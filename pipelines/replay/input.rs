//! Which files are replayed: names and patterns become inputs, each a chain of files.
//!
//! ```text
//! orders=data/orders/*.parquet ──► Input { name, files in the order of their names, each with its format }
//! ```

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;
use glob::MatchOptions;
use wsp::store::StoreOptions;

use super::error::Error;
use super::files::{CsvType, csv_types};
use super::objects::{self, Object, SCHEME};

/// More inputs than this are a pattern that the shell has expanded.
const MAX_INPUTS: usize = 256;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// What the first line of a file of dead letters begins with.
pub(super) const LETTER_LEAD: &[u8] = b"{\"wsp_dead_letter\":";

/// The name for standard input.
const STDIN: &str = "-";

/// An input as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// What it is called: part of the ids of its events.
    pub name: String,
    /// A file, a folder, a pattern, or `-`.
    pub pattern: String,
    /// What holds for it in place of what holds for all.
    pub own: Own,
}

/// What an input has of its own, where it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The format of its files.
    pub format: Option<Format>,
    /// Columns of its event time.
    pub time: Option<Vec<String>>,
    /// Columns of its order key.
    pub key: Option<Vec<String>>,
    /// Columns of its ids.
    pub id: Option<Vec<String>>,
    /// Its types of CSV.
    pub types: Option<Vec<(String, CsvType)>>,
}

impl Own {
    /// Reads one of `time=a,b`, `key=…`, `id=…`, `csv-types=a=number,…` and `format=…`.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        let names = || Some(value.split(',').map(|name| name.trim().to_owned()).collect());
        match name.trim() {
            "time" => self.time = names(),
            "key" => self.key = names(),
            "id" => self.id = names(),
            "csv-types" => self.types = Some(csv_types(value.split(','))?),
            "format" => self.format = Some(value.trim().parse()?),
            other => return Err(format!("{other:?} is none of time, key, id, csv-types and format")),
        }
        Ok(())
    }
}

impl InputSpec {
    /// `NAME=PATTERN`, and behind it what the input has of its own: `NAME=PATTERN;time=a,b;key=c`.
    ///
    /// # Errors
    ///
    /// If a part is missing, or can't be read.
    pub fn named(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(';');
        let first = parts.next().unwrap_or_default();
        let Some((name, pattern)) =
            first.split_once('=').filter(|(name, pattern)| !name.is_empty() && !pattern.is_empty())
        else {
            let what = format!("{text:?} is not NAME=PATTERN, such as orders='orders/*.parquet'");
            return Err(Error::flag("--input", what));
        };
        let mut own = Own::default();
        for part in parts {
            own.add(part).map_err(|what| Error::flag("--input", format!("{name}: {what}")))?;
        }
        Ok(Self { name: name.to_owned(), pattern: pattern.to_owned(), own })
    }

    /// An input that is called what was given.
    #[must_use]
    pub fn plain(pattern: &str) -> Self {
        let name = if pattern == STDIN { "stdin" } else { pattern };
        Self { name: name.to_owned(), pattern: pattern.to_owned(), own: Own::default() }
    }
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Parquet.
    Parquet,
    /// A JSON object a line.
    JsonLines,
    /// Values between delimiters, with a heading.
    Csv,
    /// Values between tabs, with a heading.
    Tsv,
    /// Arrow IPC, as file or stream.
    Arrow,
    /// Events that an earlier replay wrote to `--dead-letter`.
    DeadLetter,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "parquet" => Self::Parquet,
            "jsonl" => Self::JsonLines,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "arrow" => Self::Arrow,
            "dead-letter" => Self::DeadLetter,
            _ => return Err(format!("{text:?} is none of parquet, jsonl, csv, tsv, arrow and dead-letter")),
        })
    }
}

impl Format {
    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let plain = [".gz", ".zst", ".zstd"].iter().find_map(|packed| name.strip_suffix(packed));
        let (_, extension) = plain.unwrap_or(&name).rsplit_once('.')?;
        Some(match extension {
            "parquet" | "parq" | "pq" => Self::Parquet,
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            _ => return None,
        })
    }

    /// Whether it is read from the front to the end only, so that it may be packed and come from a pipe.
    fn is_text(self) -> bool {
        matches!(self, Self::JsonLines | Self::Csv | Self::Tsv | Self::DeadLetter)
    }
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// Standard input, which is read once.
    Stdin,
    /// On disk.
    File(PathBuf),
    /// In a bucket.
    Object(Object),
}

impl At {
    /// Its path, if it is on disk.
    pub(super) fn path(&self) -> Option<&Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }

    /// The file, at its beginning; `None` for standard input. An object is fetched first.
    pub(super) fn open(&self) -> std::io::Result<Option<File>> {
        match self {
            Self::Stdin => Ok(None),
            Self::File(path) => File::open(path).map(Some),
            Self::Object(object) => object.fetch().map(Some),
        }
    }

    /// Its text from the beginning, unpacked.
    pub(super) fn text(&self) -> std::io::Result<Box<dyn BufRead + Send>> {
        match self.open()? {
            Some(file) => unpacked(file),
            None => unpacked(std::io::stdin()),
        }
    }

    /// The first bytes of its text, unpacked.
    fn beginning(&self, most: u64) -> std::io::Result<Vec<u8>> {
        let text: Box<dyn BufRead> = match self {
            Self::Object(object) => unpacked(std::io::Cursor::new(object.beginning(BUFFER as u64)?))?,
            other => other.text()?,
        };
        let mut bytes = Vec::new();
        let read = text.take(most).read_to_end(&mut bytes);
        // The beginning of a packed object may end in the middle of a block.
        if matches!(self, Self::Object(_)) && read.is_err() { Ok(bytes) } else { read.map(|_| bytes) }
    }
}

/// A file of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is.
    pub(super) at: At,
    /// What messages call it.
    pub(super) shown: String,
    /// What ids call it: its path below the folder that all files of the input have in common.
    pub(super) within: String,
    pub(super) format: Format,
}

/// An input: a chain of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What it is called.
    pub name: String,
    /// Its files, in the order in which they are read.
    pub(super) files: Vec<Source>,
    /// How often they are read. Files are counted through all rounds: the second round begins with file `files.len()`.
    pub(super) rounds: u32,
    /// How far a round's times are behind those of the round before, in microseconds.
    pub(super) period: i64,
}

impl Input {
    /// A file, counted through all rounds.
    pub(super) fn file(&self, file: u32) -> &Source {
        &self.files[file as usize % self.files.len()]
    }

    /// The round that a file is of, from 0.
    pub(super) fn round(&self, file: u32) -> u32 {
        file / self.files.len().max(1) as u32
    }

    /// How far the times of a file are moved: those of the first round are not.
    pub(super) fn shift(&self, file: u32) -> i64 {
        i64::from(self.round(file)) * self.period
    }

    /// Whether it can be read only once.
    pub(super) fn is_stdin(&self) -> bool {
        self.files.iter().any(|file| file.at == At::Stdin)
    }
}

/// Finds the files of all inputs; `format` is that of every file where it is given.
///
/// # Errors
///
/// If an input has no file, a name is taken twice, or a file's format can't be told.
pub(super) fn resolve(specs: &[InputSpec], format: Option<Format>, stores: &StoreOptions) -> Result<Vec<Input>, Error> {
    if specs.is_empty() {
        return Err(Error::flag(
            "--input",
            "nothing to replay: name files, a folder, a pattern, or - for standard input",
        ));
    }
    if specs.len() > MAX_INPUTS {
        let what = format!(
            "{} inputs; put the pattern in quotes, so that its files are one input that is read file by file",
            specs.len()
        );
        return Err(Error::flag("--input", what));
    }
    for (i, spec) in specs.iter().enumerate() {
        if specs[..i].iter().any(|other| other.name == spec.name) {
            return Err(Error::input(
                &spec.name,
                "two inputs have this name; give each its own by --input NAME=PATTERN",
            ));
        }
    }
    specs.iter().map(|spec| input(spec, format, stores)).collect()
}

fn input(spec: &InputSpec, format: Option<Format>, stores: &StoreOptions) -> Result<Input, Error> {
    let InputSpec { name, pattern, own } = spec;
    let format = own.format.or(format);
    if pattern == STDIN {
        let Some(format) = format else {
            return Err(Error::flag("--format", "standard input has no name to tell its format by; say jsonl or csv"));
        };
        if !format.is_text() {
            return Err(Error::flag("--format", "this format can't be read from standard input; name a file"));
        }
        let stdin = || "stdin".to_owned();
        let source = Source { at: At::Stdin, shown: stdin(), within: stdin(), format };
        return Ok(Input { name: name.clone(), files: vec![source], rounds: 1, period: 0 });
    }
    let mut found: Vec<(PathBuf, At)> = if pattern.starts_with(SCHEME) {
        let objects =
            objects::find(pattern, stores).map_err(|what| Error::input(name, format!("{pattern}: {what}")))?;
        objects.into_iter().map(|object| (PathBuf::from(object.name()), At::Object(object))).collect()
    } else {
        paths(name, pattern)?.into_iter().map(|path| (path.clone(), At::File(path))).collect()
    };
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.dedup_by(|(one, _), (other, _)| one == other);
    if found.is_empty() {
        return Err(Error::input(name, format!("no file is there for {pattern:?}")));
    }
    let paths: Vec<PathBuf> = found.iter().map(|(path, _)| path.clone()).collect();
    let common = common(&paths);
    let files = found.into_iter().map(|(path, at)| source(&path, at, &common, format)).collect::<Result<_, _>>()?;
    Ok(Input { name: name.clone(), files, rounds: 1, period: 0 })
}

/// The folder that all of these files are in, directly or below.
fn common(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_owned();
    while !paths.iter().all(|path| path.starts_with(&common)) && common.pop() {}
    common
}

fn source(path: &Path, at: At, common: &Path, format: Option<Format>) -> Result<Source, Error> {
    let shown = path.display().to_string();
    let within = path.strip_prefix(common).unwrap_or(path).display().to_string();
    let Some(mut format) = format.or_else(|| Format::of_name(path)) else {
        let what = "its format can't be told from its name; say it by --format, or leave the file out by a pattern";
        return Err(Error::file(&shown, what));
    };
    if format == Format::JsonLines {
        let first = at.beginning(LETTER_LEAD.len() as u64).map_err(|error| Error::file(&shown, error))?;
        if first == LETTER_LEAD {
            format = Format::DeadLetter;
        }
    }
    Ok(Source { at, shown, within, format })
}

/// The files that a pattern means, in any order.
fn paths(name: &str, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let path = Path::new(pattern);
    let mut found = Vec::new();
    match fs::metadata(path) {
        Ok(_) => add(name, path, &mut found)?,
        Err(_) if pattern.contains(['*', '?', '[']) => {
            let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
            let matches = glob::glob_with(pattern, options).map_err(|error| Error::input(name, error))?;
            for path in matches {
                add(name, &path.map_err(|error| Error::input(name, error))?, &mut found)?;
            }
        }
        Err(error) => return Err(Error::input(name, format!("{pattern}: {error}"))),
    }
    Ok(found)
}

/// Adds a file, or all files of a folder but those that are hidden or marked (`_SUCCESS`).
fn add(name: &str, path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |error| Error::input(name, format!("{}: {error}", path.display()));
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if kind.is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    if !kind.is_dir() {
        // To open a pipe may wait for its writer for ever, and it can't be read again after a crash.
        let what =
            format!("{}: no regular file; what comes out of a pipe is replayed from standard input, -", path.display());
        return Err(Error::input(name, what));
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            add(name, &entry.path(), found)?;
        }
    }
    Ok(())
}

/// A text, unpacked where it is packed with gzip or zstd: its first bytes say so.
fn unpacked(plain: impl Read + Send + 'static) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut plain = BufReader::with_capacity(BUFFER, plain);
    let first = plain.fill_buf()?;
    Ok(if first.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(plain)))
    } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(plain)?))
    } else {
        Box::new(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_the_name() {
        for (name, format) in [
            ("a.parquet", Some(Format::Parquet)),
            ("a.jsonl.gz", Some(Format::JsonLines)),
            ("A.NDJSON", Some(Format::JsonLines)),
            ("a.csv.zst", Some(Format::Csv)),
            ("a.tsv", Some(Format::Tsv)),
            ("a.feather", Some(Format::Arrow)),
            ("a.log", None),
            ("parquet", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn files_of_a_chain_are_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["b/2.csv", "b/1.csv", "c.csv", "a.csv", "_SUCCESS", ".hidden.csv"] {
            fs::write(dir.path().join(name), "t\n").unwrap();
        }
        let names = |pattern: &str| {
            let input = resolve(&[InputSpec::plain(pattern)], None, &StoreOptions::default()).unwrap().remove(0);
            let dir = format!("{}/", dir.path().display());
            input.files.iter().map(|file| file.shown.replace(&dir, "")).collect::<Vec<_>>()
        };
        let folder = dir.path().to_str().unwrap();
        let within = |pattern: &str| {
            let input = resolve(&[InputSpec::plain(pattern)], None, &StoreOptions::default()).unwrap().remove(0);
            input.files.into_iter().map(|file| file.within).collect::<Vec<_>>()
        };
        assert_eq!(within(folder), ["a.csv", "b/1.csv", "b/2.csv", "c.csv"]);
        assert_eq!(within(&format!("{folder}/b/*")), ["1.csv", "2.csv"]);
        assert_eq!(names(folder), ["a.csv", "b/1.csv", "b/2.csv", "c.csv"]);
        assert_eq!(names(&format!("{folder}/*.csv")), ["a.csv", "c.csv"]);
    }

    #[test]
    fn what_can_not_be_an_input_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("events.log"), "").unwrap();
        let stores = StoreOptions::default();
        let refused = |specs: &[InputSpec], format| resolve(specs, format, &stores).unwrap_err().to_string();
        assert!(refused(&[], None).contains("--input"));
        assert!(refused(&[InputSpec::plain(&at("none*"))], None).contains("none*"));
        assert!(refused(&[InputSpec::plain(&at("none"))], None).contains("No such file"));
        assert!(refused(&[InputSpec::plain(&at("events.log"))], None).contains("events.log: its format"));
        assert!(refused(&[InputSpec::plain("-")], None).contains("--format"));
        assert!(refused(&[InputSpec::plain("-")], Some(Format::Parquet)).contains("standard input"));
        let twice = [InputSpec::plain("-"), InputSpec::plain("-")];
        assert!(refused(&twice, Some(Format::Csv)).contains("two inputs"));
        let spec = InputSpec::named("o=a=b.csv;time=t,u;key=k;csv-types=x=number,*=bool;format=tsv").unwrap();
        assert_eq!((spec.name.as_str(), spec.pattern.as_str()), ("o", "a=b.csv"));
        let Own { format, time, key, id, types } = spec.own;
        assert_eq!((format, id), (Some(Format::Tsv), None));
        assert_eq!((time.unwrap(), key.unwrap()), (vec!["t".to_owned(), "u".to_owned()], vec!["k".to_owned()]));
        assert_eq!(types.unwrap(), [("x".to_owned(), CsvType::Number), ("*".to_owned(), CsvType::Bool)]);
        for text in ["orders", "=x", "orders=", "o=a;time", "o=a;tme=t", "o=a;format=xml", "o=a;csv-types=x=y"] {
            assert!(InputSpec::named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn packed_texts_are_told_by_their_first_bytes() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"one\n").unwrap();
        // Two members, as `cat a.gz b.gz` makes them.
        let mut packed = gzip.finish().unwrap();
        packed.extend(packed.clone());
        let zstd = zstd::encode_all(&b"one\none\n"[..], 1).unwrap();
        for (name, bytes) in [("plain", b"one\none\n".to_vec()), ("a.csv", packed), ("b.csv", zstd)] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let mut text = String::new();
            At::File(path).text().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\none\n", "{name}");
        }
    }
}

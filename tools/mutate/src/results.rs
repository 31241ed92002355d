//! What became of the mutants: a file a room, so that an interruption loses nothing.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::rooms::Room;
use crate::sites::Mutant;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This test failed.
    Caught(String),
    /// This test, or one beside it, did not end in time.
    Hung(String),
    /// All tests that reach it passed.
    Survived,
    /// No test reaches it.
    NotReached,
}

/// Verdicts by room and mutant.
pub struct Results {
    folder: PathBuf,
    known: BTreeMap<String, Verdict>,
}

impl Results {
    pub fn open(folder: &Path, rooms: &[&Room]) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut results = Self { folder: folder.to_owned(), known: BTreeMap::new() };
        for room in rooms {
            let text = fs::read_to_string(results.path(room.name)).unwrap_or_default();
            results.known.extend(text.lines().filter_map(parse));
        }
        Ok(results)
    }

    /// Whether a mutant is to be judged.
    pub fn wants(&self, mutant: &Mutant, again: bool) -> bool {
        match self.known.get(&mutant.key) {
            None => true,
            Some(Verdict::Survived | Verdict::NotReached) => again,
            Some(_) => false,
        }
    }

    pub fn add(&mut self, mutant: &Mutant, verdict: Verdict) -> Result<(), String> {
        let path = self.path(mutant.room);
        let file: std::io::Result<File> = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{}\t{verdict}", mutant.key));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        self.known.insert(mutant.key.clone(), verdict);
        Ok(())
    }

    /// A table by room and the list of what survived.
    pub fn report(&self, mutants: &[Mutant]) -> String {
        let mut rooms: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
        let mut survivors = String::new();
        for mutant in mutants {
            let counts = rooms.entry(mutant.room).or_default();
            let verdict = self.known.get(&mutant.key);
            counts[match verdict {
                Some(Verdict::Caught(_)) => 0,
                Some(Verdict::Hung(_)) => 1,
                Some(Verdict::Survived) => 2,
                Some(Verdict::NotReached) => 3,
                None => 4,
            }] += 1;
            if let Some(verdict @ (Verdict::Survived | Verdict::NotReached)) = verdict {
                let _ = writeln!(survivors, "- {verdict}: {mutant}");
            }
        }
        let mut text = String::from(
            "| room | mutants | caught | of these by a hang | survived | not reached | not judged | caught, % |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for (room, [failed, hung, survived, unreached, open]) in rooms {
            let (caught, judged) = (failed + hung, failed + hung + survived + unreached);
            let share = 100.0 * caught as f64 / judged.max(1) as f64;
            let _ = writeln!(
                text,
                "| {room} | {judged} | {caught} | {hung} | {survived} | {unreached} | {open} | {share:.1} |"
            );
        }
        text + "\n" + &survivors
    }

    fn path(&self, room: &str) -> PathBuf {
        self.folder.join(format!("{room}.tsv"))
    }
}

fn parse(line: &str) -> Option<(String, Verdict)> {
    let (key, verdict) = line.split_once('\t')?;
    let (word, by) = verdict.split_once(' ').unwrap_or((verdict, ""));
    let verdict = match word {
        "caught" => Verdict::Caught(by.to_owned()),
        "hung" => Verdict::Hung(by.to_owned()),
        "survived" => Verdict::Survived,
        "unreached" => Verdict::NotReached,
        _ => return None,
    };
    Some((key.to_owned(), verdict))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(by) => write!(f, "caught {by}"),
            Self::Hung(by) => write!(f, "hung {by}"),
            Self::Survived => f.write_str("survived"),
            Self::NotReached => f.write_str("unreached"),
        }
    }
}

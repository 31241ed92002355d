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

/// How many mutants of a room came to what.
#[derive(Debug, Default)]
struct Counts {
    caught: usize,
    hung: usize,
    /// Not caught, and of no consequence: `equal.tsv` says why.
    equal: usize,
    survived: usize,
    unreached: usize,
    open: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caught, hung, equal, survived, unreached, open } = self;
        let (caught, judged) = (caught + hung, caught + hung + equal + survived + unreached);
        let share = 100.0 * caught as f64 / (judged - equal).max(1) as f64;
        write!(f, "| {judged} | {caught} | {hung} | {equal} | {survived} | {unreached} | {open} | {share:.1} |")
    }
}

/// Why a mutant does what the program does, where somebody looked: lines of a key and a reason.
fn reason_of(key: &str) -> Option<&'static str> {
    let mut lines = include_str!("../equal.tsv").lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(known, _)| *known == key).map(|(_, reason)| reason)
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
            Some(Verdict::Survived | Verdict::NotReached) => again && reason_of(&mutant.key).is_none(),
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

    /// A table by room, and the list of what was not caught.
    pub fn report(&self, mutants: &[Mutant]) -> String {
        let mut rooms: BTreeMap<&str, Counts> = BTreeMap::new();
        let (mut survivors, mut equal) = (String::new(), String::new());
        for mutant in mutants {
            let counts = rooms.entry(mutant.room).or_default();
            match (self.known.get(&mutant.key), reason_of(&mutant.key)) {
                (None, _) => counts.open += 1,
                (Some(Verdict::Caught(_)), _) => counts.caught += 1,
                (Some(Verdict::Hung(_)), _) => counts.hung += 1,
                (Some(_), Some(reason)) => {
                    counts.equal += 1;
                    let _ = writeln!(equal, "- {mutant}: {reason}");
                }
                (Some(verdict), None) => {
                    *(if *verdict == Verdict::Survived { &mut counts.survived } else { &mut counts.unreached }) += 1;
                    let _ = writeln!(survivors, "- {verdict}: {mutant}");
                }
            }
        }
        let mut text = String::from(
            "| room | mutants | caught | of these by a hang | equal | survived | not reached | not judged | caught, % |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for (room, counts) in rooms {
            let _ = writeln!(text, "| {room} {counts}");
        }
        text + "\nNot caught:\n\n" + &survivors + "\nEqual:\n\n" + &equal
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

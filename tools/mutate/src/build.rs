//! Builds the tests with all mutants in them, without those that don't compile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::copy::{self, Texts};
use crate::process::{Program, folder};
use crate::rooms::Room;
use crate::sites::{self, Mutant, Place};

/// Builds after which what still does not compile is an error of this program.
const BUILDS: usize = 20;

/// What the names of the libraries' unit tests begin with.
pub const LIBRARY: &str = "lib-";
/// The name of the program under test, whose simulator counts as a test.
pub const SIMULATE: &str = "simulate";
/// The name of the tests that start servers.
pub const LIVE: &str = "live";

/// The programs to build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The program with its simulator, and no tests.
    Simulator,
    /// Tests and simulator.
    Tests,
    /// Those that start servers, too.
    LiveTests,
}

/// What was built.
pub struct Built {
    /// The libraries' tests first, then the simulator, then the other tests.
    pub programs: Vec<Program>,
    /// Those of the mutants that are in it.
    pub mutants: Vec<Mutant>,
}

/// Builds what is wanted of `rooms` with `mutants` in it.
pub fn build(target: &Path, rooms: &[&Room], wanted: Wanted, mut mutants: Vec<Mutant>) -> Result<Built, String> {
    let total = mutants.len();
    let target = folder(target)?;
    // What did not compile before is not tried again.
    let kept = target.join("dropped");
    let mut dropped: BTreeSet<String> =
        fs::read_to_string(&kept).unwrap_or_default().lines().map(str::to_owned).collect();
    for _ in 0..BUILDS {
        mutants.retain(|mutant| !dropped.contains(&mutant.key));
        let (texts, places) = texts(&mutants)?;
        let checkout = copy::checkout(&target, &texts)?;
        let (programs, errors) = cargo(&checkout, &target, rooms, wanted)?;
        if errors.is_empty() {
            eprintln!("{} of {total} mutants compile", mutants.len());
            return Ok(Built { programs, mutants });
        }
        let before = dropped.len();
        for error in &errors {
            dropped.extend(guilty(error, &mutants, &places).into_iter().map(|mutant| mutant.key.clone()));
        }
        eprintln!("{} mutants don't compile ({} errors)", dropped.len() - before, errors.len());
        if dropped.len() == before {
            let at = |error: &Error| format!("{}:{}: {}", error.file, error.lines.start(), error.message);
            return Err(format!("no mutant is at\n{}", errors.iter().map(at).collect::<Vec<_>>().join("\n")));
        }
        let lines: String = dropped.iter().map(|key| format!("{key}\n")).collect();
        copy::write(&kept, lines.as_bytes())?;
    }
    Err(format!("after {BUILDS} builds it does not compile"))
}

/// The changed files, and where the mutants are in them.
fn texts(mutants: &[Mutant]) -> Result<(Texts, Vec<Place>), String> {
    let mut texts = sites::switch(mutants.len())?;
    let mut places = Vec::new();
    let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    for file in files {
        let source = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let (text, of_file) = sites::with_mutants(&source, mutants.iter().filter(|mutant| mutant.file == file));
        texts.insert(file.to_owned(), text);
        places.extend(of_file);
    }
    Ok((texts, places))
}

/// An error of the compiler.
struct Error {
    file: String,
    lines: std::ops::RangeInclusive<usize>,
    /// Where it begins: a byte of the changed text.
    at: usize,
    message: String,
}

/// The mutants that have to go: the one whose own text holds the error, or all around it.
fn guilty<'a>(error: &Error, mutants: &'a [Mutant], places: &[Place]) -> Vec<&'a Mutant> {
    let of_file: Vec<&Mutant> = mutants.iter().filter(|mutant| mutant.file == error.file).collect();
    let inner =
        |mutant: &&&Mutant| places.iter().any(|place| place.number == mutant.number && place.range.contains(&error.at));
    let own: Vec<&Mutant> = of_file.iter().filter(inner).copied().collect();
    if own.is_empty() { of_file.into_iter().filter(|mutant| mutant.is_within(&error.lines)).collect() } else { own }
}

fn cargo(
    checkout: &Path,
    target: &Path,
    rooms: &[&Room],
    wanted: Wanted,
) -> Result<(Vec<Program>, Vec<Error>), String> {
    let mut command = Command::new("cargo");
    if wanted == Wanted::Simulator {
        // The simulator needs neither control bus nor S3, which take longest to build.
        command.args(["build", "--message-format=json", "--no-default-features", "--bin", "wsp"]);
    } else {
        command.args(["test", "--no-run", "--message-format=json", "--lib", "--bin", "wsp"]);
        let named = rooms.iter().flat_map(|room| room.tests);
        let mut tests: BTreeSet<&str> = named.filter_map(|test| test.split(' ').next()).collect();
        if wanted == Wanted::LiveTests {
            tests.insert(LIVE);
        }
        tests.iter().for_each(|test| _ = command.args(["--test", test]));
    }
    let output = command
        .current_dir(checkout)
        .env("CARGO_TARGET_DIR", target.join("build"))
        // Nobody looks at a backtrace.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let (mut programs, mut errors) = (Vec::new(), Vec::new());
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
        if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
            errors.extend(spans(&message["message"]));
        } else if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
            let (kind, tested) = (message["target"]["kind"][0].as_str(), message["profile"]["test"] == true);
            let name = match kind {
                Some("test") => name.to_owned(),
                Some("lib" | "rlib") => format!("{LIBRARY}{name}"),
                Some("bin") if !tested => SIMULATE.to_owned(),
                _ => continue,
            };
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            let folder = manifest.parent().unwrap_or(checkout).to_owned();
            programs.push(Program { name, path: path.into(), folder });
        }
    }
    programs.sort_by_key(|program| (!program.name.starts_with(LIBRARY), program.name != SIMULATE, program.name.clone()));
    if output.status.success() || !errors.is_empty() { Ok((programs, errors)) } else { Err("cargo failed".to_owned()) }
}

/// Where a message points to in files of the tree.
fn spans(message: &Value) -> Vec<Error> {
    let spans = message["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true);
    let error = |span: &Value| {
        let number = |name: &str| span[name].as_u64().map(|number| number as usize);
        Some(Error {
            file: span["file_name"].as_str()?.to_owned(),
            lines: number("line_start")?..=number("line_end")?,
            at: number("byte_start")?,
            message: message["message"].as_str()?.to_owned(),
        })
    };
    spans.filter_map(error).collect()
}

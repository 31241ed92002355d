//! Notes for each test which mutants it reaches and how long it takes, once for a build.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::build::{LIBRARY, LIVE, SIMULATE};
use crate::process::{End, Program, SWITCH, TRACE};
use crate::sites::Mutant;

/// The cases of the simulator that are one test here.
const SEEDS: &str = "20";

/// A test.
#[derive(Debug, Clone)]
pub struct Test {
    pub program: usize,
    pub name: String,
    pub took: Duration,
    pub reaches: BTreeSet<usize>,
}

/// The programs and their tests.
pub struct Recorded {
    pub programs: Vec<Program>,
    pub tests: Vec<Test>,
}

impl Test {
    /// What a program is called with to run these tests.
    pub fn args<'a>(program: &Program, names: &[&'a str]) -> Vec<&'a str> {
        if program.name == SIMULATE {
            return vec!["simulate", "--seeds", SEEDS];
        }
        let mut args = names.to_vec();
        args.extend(["--exact", "--test-threads=2"]);
        if program.name == LIVE {
            args.push("--ignored");
        }
        args
    }
}

/// Which tests are run.
#[derive(Debug, Default)]
pub struct Choice {
    /// The library's unit tests alone.
    pub lib_only: bool,
    /// Beginnings of `program test`: the integration tests of the rooms.
    pub rooms: Vec<&'static str>,
    /// Beginnings of the names of live tests.
    pub live: Vec<&'static str>,
    /// Parts of `program test`, one of which it has to hold; none for all tests.
    pub tests: Vec<String>,
}

impl Choice {
    fn wants(&self, program: &Program, test: &str) -> bool {
        let name = format!("{} {test}", program.name);
        let of_rooms = match program.name.as_str() {
            SIMULATE => true,
            library if library.starts_with(LIBRARY) => true,
            LIVE => self.live.iter().any(|prefix| test.starts_with(prefix)),
            _ => self.rooms.iter().any(|prefix| name.starts_with(prefix)),
        };
        of_rooms && (self.tests.is_empty() || self.tests.iter().any(|part| name.contains(part)))
    }
}

/// Runs each test alone, without a mutant.
pub fn record(
    target: &Path,
    programs: &[Program],
    mutants: &[Mutant],
    choice: &Choice,
    jobs: usize,
) -> Result<Recorded, String> {
    let mut recorded = Recorded { programs: programs.to_vec(), tests: Vec::new() };
    for (number, program) in programs.iter().enumerate() {
        if choice.lib_only && !program.name.starts_with(LIBRARY) {
            continue;
        }
        let kept = target.join("reach").join(&program.name);
        let stamp = stamp(programs, program, mutants, choice)?;
        let kept_text = fs::read_to_string(&kept).ok().filter(|_| choice.tests.is_empty());
        let known = kept_text.and_then(|text| text.strip_prefix(&stamp).map(str::to_owned));
        let text = if let Some(text) = known {
            text
        } else {
            let text = of_program(target, program, choice, jobs)?;
            if choice.tests.is_empty() {
                crate::copy::write(&kept, format!("{stamp}{text}").as_bytes())?;
            }
            text
        };
        recorded.tests.extend(text.lines().filter_map(|line| parse(number, line)));
    }
    Ok(recorded)
}

fn of_program(target: &Path, program: &Program, choice: &Choice, jobs: usize) -> Result<String, String> {
    let target = crate::process::folder(target)?;
    let tests = if program.name == SIMULATE { vec![SIMULATE.to_owned()] } else { program.tests()? };
    let tests: Vec<String> = tests.into_iter().filter(|test| choice.wants(program, test)).collect();
    eprintln!("{}: recording what {} tests reach", program.name, tests.len());
    // Servers are started by one test at a time.
    let jobs = if program.name == LIVE { 1 } else { jobs };
    let next = Mutex::new(tests.into_iter());
    let work = |job: usize| -> Result<String, String> {
        let (trace, mut text) = (target.join(format!("trace-{job}")), String::new());
        loop {
            let taken = next.lock().map_err(|_| "a recorder failed")?.next();
            let Some(test) = taken else { return Ok(text) };
            text.push_str(&of_test(&trace, program, &test)?);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..jobs).map(|job| scope.spawn(move || work(job))).collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| "a recorder failed".to_owned())?).collect()
    })
}

/// A line: the test, its milliseconds, what it reaches. Nothing where it fails without a mutant.
fn of_test(trace: &Path, program: &Program, test: &str) -> Result<String, String> {
    fs::write(trace, "").map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let env = [(SWITCH, "0"), (TRACE, trace.to_str().ok_or("a path that is no text")?)];
    let end = program.run(&Test::args(program, &[test]), &env, Duration::from_secs(600))?;
    let took = begun.elapsed();
    if !matches!(end, End::Passed) {
        eprintln!("{} {test} is left out: without a mutant it ends with {end:?}", program.name);
        return Ok(String::new());
    }
    let reached = fs::read_to_string(trace).map_err(|error| error.to_string())?;
    let reached: BTreeSet<&str> = reached.lines().collect();
    let reached: Vec<&str> = reached.into_iter().collect();
    Ok(format!("{test}\t{}\t{}\n", took.as_millis(), reached.join(" ")))
}

/// What the record of a program depends on: the mutants, the choice of tests, and the programs that its tests run.
fn stamp(programs: &[Program], program: &Program, mutants: &[Mutant], choice: &Choice) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    (&choice.rooms, &choice.live).hash(&mut hasher);
    mutants.iter().for_each(|mutant| mutant.key.hash(&mut hasher));
    for program in programs.iter().filter(|other| other.name == program.name || other.name == SIMULATE) {
        let meta = fs::metadata(&program.path).map_err(|error| format!("{}: {error}", program.path.display()))?;
        meta.len().hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn parse(program: usize, line: &str) -> Option<Test> {
    let mut fields = line.split('\t');
    let (name, millis, reached) = (fields.next()?, fields.next()?, fields.next()?);
    let reaches: BTreeSet<usize> = reached.split(' ').filter_map(|number| number.parse().ok()).collect();
    let took = Duration::from_millis(millis.parse().ok()?);
    (!reaches.is_empty()).then(|| Test { program, name: name.to_owned(), took, reaches })
}

//! Inverts single rules of the producer, one at a time, and reports which of the inversions no test notices.
//!
//! ```text
//! tree ──► rooms' files ──visit──► mutants, each behind a switch ──copy, one build──► test programs
//!                                                                                        │ record: which test reaches which mutant
//!                                                                                        ▼
//!                                    results/ROOM.tsv ◄──verdict── judge: the tests that reach it, WSP_MUTANT=n, a time limit
//! ```
//!
//! All mutants are in one build, so a mutant costs a run of the tests that reach it and no compilation.

mod build;
mod copy;
mod judge;
mod process;
mod record;
mod results;
mod rooms;
mod rules;
mod simulate;
mod sites;
mod visit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use judge::Judge;
use record::{Choice, Recorded};
use results::Results;
use rooms::{ROOMS, Room};
use sites::Mutant;

const USAGE: &str = "\
usage, from the root of the tree:
    cargo run --manifest-path tools/mutate/Cargo.toml -- [OPTIONS] ROOM...

ROOM         merge, envelope, pace, deliver, ig, checkpoint, ready, run, oracle, disk, store, or `rules`, `simulated`: the rules that are named in rules.rs;
             ROOM=N takes a sample of its own
--list       print the mutants and test none
--report     print what the result files hold and test none
--again      judge the survivors of the result files once more (for new tests), but for those listed in equal.tsv
--sample N   at most N mutants of a room, chosen by a hash of their text (default: 300; 0: all)
--only TEXT  only mutants of files whose path contains this
--simulate N print for each mutant the first of N simulated cases that breaks a promise, and run no test
--live       the live tests too, of the rooms that name some: they start servers
--skip TEXT  leaves files whose path contains this to a later call
--lib        only the libraries' unit tests
--tests TEXT only tests whose program and name hold this (several times: any of them)
--longest S  tests that take more seconds are left out (default: 12)
--jobs N     so many tests or mutants at a time (default: 1)
--out D      the folder of the result files (default: target/mutate/results)
--target D   the folder of the copy of the tree and of its build (default: target/mutate)
";

/// What is asked for.
struct Wanted {
    rooms: Vec<&'static Room>,
    list: bool,
    report: bool,
    again: bool,
    live: bool,
    choice: Choice,
    simulate: Option<usize>,
    sample: usize,
    /// Samples of rooms that have one of their own.
    samples: BTreeMap<&'static str, usize>,
    only: String,
    skip: Vec<String>,
    longest: Duration,
    jobs: usize,
    out: PathBuf,
    target: PathBuf,
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn wanted(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        rooms: Vec::new(),
        list: false,
        report: false,
        again: false,
        live: false,
        choice: Choice::default(),
        simulate: None,
        sample: 300,
        samples: BTreeMap::new(),
        only: String::new(),
        skip: Vec::new(),
        longest: Duration::from_secs(12),
        jobs: 1,
        out: PathBuf::from("target/mutate/results"),
        target: PathBuf::from("target/mutate"),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
        match arg.as_str() {
            "--list" => wanted.list = true,
            "--report" => wanted.report = true,
            "--again" => wanted.again = true,
            "--tests" => wanted.choice.tests.push(value()?),
            "--live" => wanted.live = true,
            "--lib" => wanted.choice.lib_only = true,
            "--simulate" => wanted.simulate = Some(number(value()?)?),
            "--sample" => wanted.sample = number(value()?)?,
            "--skip" => wanted.skip.push(value()?),
            "--only" => wanted.only = value()?,
            "--longest" => wanted.longest = Duration::from_secs(number(value()?)? as u64),
            "--jobs" => wanted.jobs = number(value()?)?.max(1),
            "--out" => wanted.out = value()?.into(),
            "--target" => wanted.target = value()?.into(),
            room => {
                let (name, sample) = room.split_once('=').map_or((room, None), |(name, sample)| (name, Some(sample)));
                let room = ROOMS.iter().find(|room| room.name == name);
                let room = room.ok_or_else(|| format!("{name} is neither an option nor a room"))?;
                wanted.rooms.push(room);
                if let Some(sample) = sample {
                    wanted.samples.insert(room.name, number(sample.to_owned())?);
                }
            }
        }
    }
    wanted.choice.rooms = wanted.rooms.iter().flat_map(|room| room.tests).copied().collect();
    if wanted.live {
        wanted.choice.live = wanted.rooms.iter().flat_map(|room| room.live).copied().collect();
    }
    if wanted.rooms.is_empty() { Err("no room is named".to_owned()) } else { Ok(wanted) }
}

fn run(wanted: &Wanted) -> Result<(), String> {
    let mut mutants = Vec::new();
    for room in &wanted.rooms {
        let of_room = sites::of_room(room)?;
        let total = of_room.len();
        let sampled = sites::sample(of_room, *wanted.samples.get(room.name).unwrap_or(&wanted.sample));
        eprintln!("{}: {} of {total} mutants", room.name, sampled.len());
        mutants.extend(sampled);
    }
    mutants.retain(|mutant| mutant.file.contains(&wanted.only));
    for (number, mutant) in mutants.iter_mut().enumerate() {
        mutant.number = number + 1;
    }
    if wanted.list {
        mutants.iter().for_each(|mutant| println!("{mutant}"));
        return Ok(());
    }
    let mut results = Results::open(&wanted.out, &wanted.rooms)?;
    if !wanted.report {
        let programs = match (wanted.simulate, wanted.live) {
            (Some(_), _) => build::Wanted::Simulator,
            (None, true) => build::Wanted::LiveTests,
            (None, false) => build::Wanted::Tests,
        };
        let built = build::build(&wanted.target, &wanted.rooms, programs, mutants)?;
        mutants = built.mutants;
        if let Some(seeds) = wanted.simulate {
            let program = built.programs.iter().find(|program| program.name == build::SIMULATE);
            return simulate::first_seeds(program.ok_or("the simulator was not built")?, &mutants, seeds, wanted.jobs);
        }
        let recorded = record::record(&wanted.target, &built.programs, &mutants, &wanted.choice, wanted.jobs)?;
        results = judge_all(wanted, &mutants, &recorded, results)?;
    }
    print!("{}", results.report(&mutants));
    Ok(())
}

/// Judges what has no result yet.
fn judge_all(wanted: &Wanted, mutants: &[Mutant], recorded: &Recorded, results: Results) -> Result<Results, String> {
    let is_skipped = |mutant: &Mutant| wanted.skip.iter().any(|text| mutant.file.contains(text));
    let mut todo: Vec<&Mutant> = sites::in_turns(mutants);
    todo.retain(|mutant| !is_skipped(mutant) && results.wants(mutant, wanted.again));
    let (total, next) = (todo.len(), Mutex::new(todo.into_iter().enumerate()));
    let (judge, results) = (Judge::new(recorded, wanted.longest), Mutex::new(results));
    let work = || -> Result<(), String> {
        loop {
            let taken = next.lock().map_err(|_| "a judge failed")?.next();
            let Some((number, mutant)) = taken else { return Ok(()) };
            let verdict = judge.of(mutant)?;
            eprintln!("{}/{total} {verdict} | {} {mutant}", number + 1, mutant.room);
            results.lock().map_err(|_| "a judge failed")?.add(mutant, verdict)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..wanted.jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a judge failed".to_owned())?)
    })?;
    results.into_inner().map_err(|_| "a judge failed".to_owned())
}

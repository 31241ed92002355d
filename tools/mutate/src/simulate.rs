//! Which simulated case notices a mutant first.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::process::{Program, SWITCH};
use crate::sites::Mutant;

/// So many cases are run twice and compared where none is broken.
const TWICE: &str = "40";

/// Prints for each mutant the first of `seeds` cases that breaks a promise, and which.
pub fn first_seeds(program: &Program, mutants: &[Mutant], seeds: usize, jobs: usize) -> Result<(), String> {
    let next = Mutex::new(mutants.iter());
    let work = || -> Result<(), String> {
        loop {
            let Some(mutant) = next.lock().map_err(|_| "a simulation failed")?.next() else { return Ok(()) };
            let broken = match first_seed(program, mutant, &["--seeds", &seeds.to_string()])? {
                Some(broken) => Some(broken),
                None => first_seed(program, mutant, &["--seeds", TWICE, "--twice"])?,
            };
            println!("{}: {}", mutant.key, broken.unwrap_or_else(|| format!("none of {seeds} seeds")));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a simulation failed".to_owned())?)
    })
}

fn first_seed(program: &Program, mutant: &Mutant, args: &[&str]) -> Result<Option<String>, String> {
    let mut child = Command::new(&program.path)
        .arg("simulate")
        .args(args)
        .env(SWITCH, mutant.number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.path.display()))?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let broken = lines.find(|line| line.starts_with("seed "));
    // It may have ended already.
    let _ = child.kill();
    child.wait().map_err(|error| error.to_string())?;
    Ok(broken)
}

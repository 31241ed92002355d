//! Runs the tests that reach a mutant with the mutant switched on, until one of them fails.

use std::sync::Mutex;
use std::time::Duration;

use crate::process::{End, SWITCH};
use crate::record::{Recorded, Test};
use crate::results::Verdict;
use crate::sites::Mutant;

/// A group of tests may take so many times what they take without a mutant, and this long besides.
const TIMES: u32 = 6;
const BESIDES: Duration = Duration::from_secs(10);
/// Groups take about so long, each more than the one before.
const FIRST_GROUP: Duration = Duration::from_millis(400);
const GROWS: u32 = 4;
/// So many of the tests that failed lately are tried first.
const LATELY: usize = 3;

pub struct Judge<'a> {
    recorded: &'a Recorded,
    /// Tests that take longer are left out.
    longest: Duration,
    /// Tests by number, the one that failed last at the end.
    lately: Mutex<Vec<usize>>,
}

impl<'a> Judge<'a> {
    pub fn new(recorded: &'a Recorded, longest: Duration) -> Self {
        Self { recorded, longest, lately: Mutex::default() }
    }

    pub fn of(&self, mutant: &Mutant) -> Result<Verdict, String> {
        let tests = &self.recorded.tests;
        let mut reach: Vec<usize> =
            (0..tests.len()).filter(|test| tests[*test].reaches.contains(&mutant.number)).collect();
        if reach.is_empty() {
            return Ok(Verdict::NotReached);
        }
        reach.retain(|test| tests[*test].took <= self.longest);
        for group in self.groups(reach) {
            let program = &self.recorded.programs[tests[group[0]].program];
            let names: Vec<&str> = group.iter().map(|test| tests[*test].name.as_str()).collect();
            let took: Duration = group.iter().map(|test| tests[*test].took).sum();
            let number = mutant.number.to_string();
            match program.run(&Test::args(program, &names), &[(SWITCH, &number)], took * TIMES + BESIDES)? {
                End::Passed => {}
                End::Failed(by) => {
                    self.failed(group.iter().copied().find(|test| tests[*test].name == by));
                    return Ok(Verdict::Caught(by));
                }
                End::Hung => return Ok(Verdict::Hung(names[0].to_owned())),
            }
        }
        Ok(Verdict::Survived)
    }

    /// Groups of tests of one program each: those that failed lately, then the rest by their time.
    fn groups(&self, mut reach: Vec<usize>) -> Vec<Vec<usize>> {
        let tests = &self.recorded.tests;
        reach.sort_by_key(|test| (tests[*test].program, tests[*test].took));
        let lately = self.lately.lock().map_or(Vec::new(), |lately| lately.clone());
        let first: Vec<usize> = lately.into_iter().rev().filter(|test| reach.contains(test)).take(LATELY).collect();
        let mut groups: Vec<Vec<usize>> = first.iter().map(|test| vec![*test]).collect();
        let (mut open, mut room) = (None, FIRST_GROUP);
        for test in reach.into_iter().filter(|test| !first.contains(test)) {
            let Test { program, took, .. } = tests[test];
            match open {
                Some((of, filled)) if of == program && filled + took <= room => {
                    groups.last_mut().map(|group| group.push(test));
                    open = Some((of, filled + took));
                }
                _ => {
                    room = if open.is_some_and(|(of, _)| of == program) { room * GROWS } else { FIRST_GROUP };
                    groups.push(vec![test]);
                    open = Some((program, took));
                }
            }
        }
        groups
    }

    fn failed(&self, test: Option<usize>) {
        if let (Some(test), Ok(mut lately)) = (test, self.lately.lock()) {
            lately.retain(|other| *other != test);
            lately.push(test);
        }
    }
}

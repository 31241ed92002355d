//! The fuzzers' committed inputs, run through what the fuzz targets run, and variations of them.
//!
//! ```text
//! fuzz/corpus/<target>/* ──► as they are ─────────┬──► the target's body (fuzz/src): a value or a refusal, no panic
//!                        └─► cut, flipped, spliced ┘
//! ```
//!
//! `fuzz/` searches for more; docs/development.md says how.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a find is a panic")]
#![allow(unreachable_pub, dead_code, reason = "it is the fuzz package's library")]

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

/// Variations of each input.
const VARIATIONS: usize = 40;

fn folder(name: &str) -> PathBuf {
    crate::kit::repository("fuzz").join(name)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A target's inputs, with their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target);
    names(&folder).into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let mut known: Vec<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(names(&folder("corpus")), known);
    let programs: Vec<_> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&folder("targets")), programs);
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
        assert!(!corpus(&name).is_empty(), "{name}");
    }
}

#[test]
fn every_committed_input_is_read_or_refused() {
    for (target, _) in fuzz::TARGETS {
        for (name, bytes) in corpus(target) {
            println!("{target}/{name}");
            fuzz::run(target, &bytes);
        }
    }
}

#[test]
fn so_are_variations_of_them() {
    let mut random = StdRng::seed_from_u64(1);
    for (target, _) in fuzz::TARGETS {
        let inputs = corpus(target);
        for (name, bytes) in &inputs {
            for variation in 0..VARIATIONS {
                let other = &inputs[random.random_range(0..inputs.len())].1;
                let varied = vary(bytes, other, &mut random);
                println!("{target}/{name}, variation {variation}: {:?}", String::from_utf8_lossy(&varied));
                fuzz::run(target, &varied);
            }
        }
    }
}

/// `bytes` with one to four changes: a byte or bit, a cut, a piece doubled or left out, a piece of `other`.
fn vary(bytes: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut varied = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=varied.len());
        let piece = random.random_range(0..=(varied.len() - at).min(32));
        match random.random_range(0..6) {
            0 => varied.truncate(at),
            1 => drop(varied.drain(at..at + piece)),
            2 => {
                let copy = varied[at..at + piece].to_vec();
                varied.splice(at..at, copy);
            }
            3 => {
                let from = random.random_range(0..=other.len());
                let to = (from + 32).min(other.len());
                varied.splice(at..at + piece, other[from..to].iter().copied());
            }
            4 if at < varied.len() => varied[at] = random.random(),
            _ if at < varied.len() => varied[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
    varied
}

//! The table: facts of the machine above it, a row a figure.

use std::fmt;
use std::io::Write;
use std::process::Command;

use crate::figures::{fact, median};
use crate::{Result, parts};

/// What came of a target's figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Yes,
    No,
    /// It was not measured as the target is worded, for the reason the row gives.
    Open,
}

impl From<bool> for Met {
    fn from(met: bool) -> Self {
        if met { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Open => "open",
        })
    }
}

/// One row.
pub(super) struct Row {
    /// The target's number in the issue.
    pub(super) target: u8,
    /// What is measured, with the bound.
    pub(super) what: String,
    /// The figure: median, and smallest to largest of the rounds.
    pub(super) figure: String,
    pub(super) met: Met,
    /// How it was measured.
    pub(super) how: String,
}

/// Figures of all rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread(pub(super) Vec<f64>);

impl Spread {
    pub(super) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    pub(super) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Each round's figure over that of another in the same round.
    pub(super) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect())
    }

    /// With so many digits behind the point, and a unit.
    pub(super) fn told(&self, digits: usize, unit: &str) -> String {
        let (median, min, max) = (self.median(), self.min(), self.max());
        format!("{median:.digits$}{unit} ({min:.digits$} to {max:.digits$})")
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// Prints the head of the table.
pub(super) fn head(settings: &str) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: f64 = fact("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("| fact | |\n|---|---|");
    println!("| processor | {}, {cores} cores |", fact("/proc/cpuinfo", "model name"));
    println!("| memory | {:.1} GiB |", memory / f64::from(1 << 20));
    println!("| kernel | Linux {} |", kernel.trim());
    println!("| compiler | {} |", said("rustc", &["--version"]));
    println!("| commit | {} |", said("git", &["-C", parts::ROOT, "describe", "--always", "--dirty", "--abbrev=12"]));
    println!("| load before the start | {} |", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    println!("| settings | {settings} |\n");
    println!("| target | what | median (smallest to largest) | met | how |\n|---|---|---|---|---|");
    Ok(std::io::stdout().flush()?)
}

/// Prints a row at once, so that a long measurement that is broken off leaves what it had.
pub(super) fn row(row: &Row) -> Result<()> {
    let Row { target, what, figure, met, how } = row;
    println!("| {target} | {what} | {figure} | {met} | {how} |");
    Ok(std::io::stdout().flush()?)
}

/// The first line that a program prints; nothing where it can't be run.
pub(super) fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

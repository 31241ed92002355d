//! The figures of the rounds, and their medians.

use std::fmt;

use crate::Result;
use crate::process::Cost;

/// What one process took in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Events a second; none for a server, which waits for its client.
    pub(crate) rate: Option<f64>,
    /// Microseconds of CPU an event.
    pub(crate) cpu: f64,
    /// MiB.
    pub(crate) peak: f64,
}

impl Sample {
    pub(crate) fn of(cost: &Cost, events: u64) -> Self {
        let events = events as f64;
        Self {
            rate: Some(events / cost.wall.as_secs_f64()),
            cpu: cost.cpu.as_secs_f64() * 1e6 / events,
            peak: cost.peak as f64 / 1024.0,
        }
    }

    /// Of a client that says itself how long it sent: seconds of wall and of CPU.
    pub(crate) fn told(output: &str, cost: &Cost, events: u64) -> Result<Self> {
        let (wall, cpu) = output.trim().split_once(' ').ok_or("a client told nothing")?;
        let (wall, cpu): (f64, f64) = (wall.parse()?, cpu.parse()?);
        let events = events as f64;
        Ok(Self { rate: Some(events / wall), cpu: cpu * 1e6 / events, peak: cost.peak as f64 / 1024.0 })
    }

    pub(crate) fn without_rate(self) -> Self {
        Self { rate: None, ..self }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate.map_or_else(String::new, |rate| format!("{rate:.0}/s"));
        write!(f, "{rate:>10}  {:5.2} us of CPU an event  {:6.1} MiB", self.cpu, self.peak)
    }
}

/// All rounds. Every round has the same names in the same order.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rounds: Vec<Vec<(&'static str, Sample)>>,
}

impl Figures {
    pub(crate) fn round(&mut self, row: Vec<(&'static str, Sample)>) {
        self.rounds.push(row);
    }

    fn column(&self, place: usize) -> impl Iterator<Item = Sample> {
        self.rounds.iter().map(move |row| row[place].1)
    }

    fn median_of(&self, place: usize) -> Sample {
        let of = |figure: fn(&Sample) -> f64| median(self.column(place).map(|sample| figure(&sample)).collect());
        let rate = self.column(place).next().and_then(|sample| sample.rate);
        Sample { rate: rate.map(|_| of(|s| s.rate.unwrap_or(0.0))), cpu: of(|s| s.cpu), peak: of(|s| s.peak) }
    }

    /// Rate and CPU of one column over another's, within each round.
    fn ratios(&self, of: usize, to: usize) -> (f64, f64) {
        let over = |figure: fn(&Sample) -> f64| {
            median(self.column(of).zip(self.column(to)).map(|(of, to)| figure(&of) / figure(&to)).collect())
        };
        (over(|s| s.rate.unwrap_or(f64::NAN)), over(|s| s.cpu))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(names) = self.rounds.first() else { return Ok(()) };
        writeln!(f, "medians")?;
        for (place, (name, _)) in names.iter().enumerate() {
            writeln!(f, "  {name:<14} {}", self.median_of(place))?;
        }
        let at = |wanted: &str| names.iter().position(|(name, _)| *name == wanted);
        for (of, to) in [
            ("wsp", "bare client"),
            ("wsp", "other wsp"),
            ("its gate", "other gate"),
            ("bare client", "bare pair"),
            ("gate of bare", "bare server"),
            ("its gate", "gate of bare"),
        ] {
            let (Some(left), Some(right)) = (at(of), at(to)) else { continue };
            let (rate, cpu) = self.ratios(left, right);
            write!(f, "{of} / {to}: ")?;
            if !rate.is_nan() {
                write!(f, "{rate:.2} of its rate, ")?;
            }
            writeln!(f, "{cpu:.2} of its CPU an event")?;
        }
        Ok(())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What it ran on.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fact("/proc/cpuinfo", "model name");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    format!("{cores} cores, {model}, load {load} before the start")
}

/// What a file of the system says behind `name` and a colon.
pub(crate) fn fact(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    value.trim_start_matches([' ', '\t', ':']).trim_end().to_owned()
}

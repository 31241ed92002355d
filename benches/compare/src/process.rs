//! A process that is measured from outside: its wall time, its CPU and its largest memory.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;

/// How often a running process's memory is looked at. The figure is a high-water mark, so little is missed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A child that runs.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    started: Instant,
    peak: mpsc::Receiver<u64>,
}

/// What a process took in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Largest resident memory, in KiB.
    pub(crate) peak: u64,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (told, peak) = mpsc::channel();
        let status = format!("/proc/{}/status", child.id());
        std::thread::spawn(move || {
            let mut largest = 0;
            while let Some(now) = high_water(&status) {
                largest = now.max(largest);
                std::thread::sleep(LOOK_EVERY);
            }
            let _ = told.send(largest);
        });
        Ok(Self { child, output, started, peak })
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    pub(crate) fn terminate(&self) -> Result<()> {
        let told = Command::new("kill").arg(self.child.id().to_string()).status()?;
        if told.success() { Ok(()) } else { Err("a process could not be told to end".into()) }
    }

    /// Waits for its end. Children are waited for one at a time, so what the system counts for all of them grows by
    /// this one's share.
    pub(crate) fn end(mut self) -> Result<(String, Cost)> {
        let mut output = String::new();
        self.output.read_to_string(&mut output)?;
        let before = cpu(Of::Children)?;
        let status = self.child.wait()?;
        let wall = self.started.elapsed();
        let cpu = cpu(Of::Children)?.saturating_sub(before);
        if !status.success() {
            return Err(format!("a process failed: {status}").into());
        }
        Ok((output, Cost { wall, cpu, peak: self.peak.recv()? }))
    }
}

/// Whose time is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    /// This process's.
    Own,
    /// That of its children that were waited for.
    Children,
}

/// User and system time, as `/proc/self/stat` has it: in hundredths of a second, whatever the kernel's own tick is.
pub(crate) fn cpu(of: Of) -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field, a name in brackets, may hold blanks; utime is the 14th field, cutime the 16th.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    let from = match of {
        Of::Own => 11,
        Of::Children => 13,
    };
    let ticks: u64 = fields.split_whitespace().skip(from).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// `VmHWM` in KiB; `None` once the process is gone.
fn high_water(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

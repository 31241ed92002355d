//! The targets of speed, measured on this machine, as a Markdown table: 1 to 9 are the program's, 11 to 19 are delivery's at real
//! latencies.
//!
//! ```text
//! Bench (program, settings, worlds made once) ──► one file a question ──► rows, printed as they come
//! ```

mod at_latency;
mod before_socket;
mod end_to_end;
mod flat;
mod from_s3;
mod kept;
mod one_in_flight;
mod over_tls;
mod paced;
mod peers;
mod start;
mod table;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use wsp_reference::world::WorldSpec;

use crate::stage::Stage;
use crate::{Result, parts};
pub(crate) use at_latency::EVENNESS;
use end_to_end::EndToEnd;
use table::Row;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Events over the four outputs, where a target doesn't say how many; a tenth and ten times as many where it does.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Rounds; five or more make a median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these targets, as 1,2,9.
    #[arg(long, value_delimiter = ',')]
    only: Vec<u8>,
    /// Hours of event time for the speed-up of 600: ten hours take a minute.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Seconds of the steady pace.
    #[arg(long, default_value_t = 60)]
    pace_seconds: u64,
    /// Everything smaller: 300,000 events, worlds of up to ten times that once, two hours of event time, one minute of pace.
    #[arg(long, conflicts_with_all = ["events", "hours"])]
    quick: bool,
    /// The program, where it shall not be built here.
    #[arg(long)]
    wsp: Option<PathBuf>,
    /// Where worlds, checkpoints and evidence lie, on a disk with some 5 GiB free. Default: a temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What all targets share.
pub(super) struct Bench {
    program: PathBuf,
    folder: PathBuf,
    options: Options,
    world: OnceCell<Stage>,
    end_to_end: OnceCell<EndToEnd>,
}

pub(crate) fn run(mut options: Options) -> Result<()> {
    if options.quick {
        (options.events, options.hours) = (300_000, 2.0);
    }
    let program = match &options.wsp {
        Some(wsp) => wsp.canonicalize()?,
        None => parts::build()?,
    };
    let temporary = tempfile::tempdir()?;
    let folder = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let bench =
        Bench { program, folder: folder.canonicalize()?, options, world: OnceCell::new(), end_to_end: OnceCell::new() };
    let Options { events, rounds, hours, pace_seconds, .. } = &bench.options;
    table::head(&format!("{events} events, {rounds} rounds, {hours} hours of event time, {pace_seconds} s of pace"))?;
    let targets: [(u8, fn(&Bench) -> Result<Vec<Row>>); 15] = [
        (1, end_to_end::ratios),
        (2, before_socket::rows),
        (3, end_to_end::per_core),
        (4, one_in_flight::rows),
        (5, paced::rows),
        (6, flat::rows),
        (8, from_s3::rows),
        (9, start::rows),
        (11, at_latency::constant),
        (12, at_latency::spread),
        (14, at_latency::displacement),
        (15, paced::bursts),
        (17, over_tls::rows),
        (18, kept::rows),
        (19, peers::rows),
    ];
    let only = &bench.options.only;
    for (target, rows) in targets {
        let wanted = |target: u8| only.is_empty() || only.contains(&target);
        // Memory and growth are figures of the same runs.
        if !wanted(target) && !(target == 6 && wanted(7)) {
            continue;
        }
        for row in rows(&bench)?.iter().filter(|row| wanted(row.target)) {
            table::row(row)?;
        }
    }
    Ok(())
}

impl Bench {
    /// The world that most targets are measured on.
    fn world(&self) -> Result<&Stage> {
        if self.world.get().is_none() {
            let made = self.stage("world", &WorldSpec::new(self.options.events))?;
            let _ = self.world.set(made);
        }
        Ok(self.world.get().ok_or("a world that was just made")?)
    }

    /// Another one.
    fn stage(&self, name: &str, spec: &WorldSpec) -> Result<Stage> {
        Stage::set(&self.folder.join(name), spec)
    }

    /// Target 1's rounds, which others need too; made once.
    fn end_to_end(&self) -> Result<&EndToEnd> {
        if self.end_to_end.get().is_none() {
            let made = EndToEnd::measure(self)?;
            let _ = self.end_to_end.set(made);
        }
        Ok(self.end_to_end.get().ok_or("rounds that were just made")?)
    }

    /// Tells on stderr how far it is.
    fn round(&self, what: &str, round: usize) {
        eprintln!("{what}: round {} of {}", round + 1, self.options.rounds);
    }

    fn program(&self) -> &Path {
        &self.program
    }
}

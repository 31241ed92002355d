//! The ways from rows to something, each timed alone on one thread: what a run does before the socket, and its partners.
//!
//! ```text
//! frame   Parquet ─► decode ─► merge ─► event_id, JSON        of a run's outputs
//! merge   Parquet ─► decode ─► merge                          of the traffic of several worlds
//! encode  decoded, merged rows ─► event_id, JSON              of a run's outputs
//! lines   decoded rows ─► arrow-json's line writer            of a run's outputs
//! ```
//!
//! Each prints `rows seconds`. The caller pins the process to one core.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use futures::executor::block_on_stream;
use wsp::clock::{Clock, SystemClock};
use wsp::frame::{Frame as _, FrameExt as _};
use wsp::merge::merge;
use wsp_world::model::{Refusal, RowBatch, RowSlice};
use wsp_world::oracle::{Scan, View};
use wsp_world::prepare::Prepared;

use crate::{Result, stage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    Frame,
    Merge,
    Encode,
    Lines,
}

/// Goes one way with the run of a profile, or of several, and prints what it took.
pub(crate) fn run(way: Way, profiles: &[PathBuf]) -> Result<()> {
    let runtime = stage::runtime()?;
    let clock = runtime.block_on(async { SystemClock::new() });
    let first = profiles.first().ok_or("no profile")?;
    let (rows, lasted) = match way {
        Way::Merge => {
            let views = traffic(profiles)?;
            let _context = runtime.enter();
            let started = clock.now();
            let sources = views.iter().map(|view| view.batches(Scan::new())).collect();
            let counts = block_on_stream(merge(sources)).map(|chunk| Ok(count(&chunk?)));
            (counts.sum::<std::result::Result<u64, Refusal>>()?, clock.now() - started)
        }
        Way::Frame => {
            let run = stage::prepared(first)?;
            let _context = runtime.enter();
            let started = clock.now();
            let sources = run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
            let counts = block_on_stream(merge(sources).frame(run.framer())).map(|chunk| Ok(chunk?.len() as u64));
            (counts.sum::<std::result::Result<u64, Refusal>>()?, clock.now() - started)
        }
        Way::Encode => {
            let run = stage::prepared(first)?;
            let _context = runtime.enter();
            let sources = run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
            let chunks: Vec<Vec<RowSlice>> =
                block_on_stream(merge(sources)).collect::<std::result::Result<_, Refusal>>()?;
            let mut framer = run.framer();
            let started = clock.now();
            let rows = chunks.iter().map(|chunk| black_box(framer.frame(chunk)).events.len() as u64).sum();
            (rows, clock.now() - started)
        }
        Way::Lines => {
            let run = stage::prepared(first)?;
            let _context = runtime.enter();
            let batches = decoded(&run)?;
            let started = clock.now();
            (lines(&batches)?, clock.now() - started)
        }
    };
    println!("{rows} {}", lasted.as_secs_f64());
    Ok(())
}

/// The traffic of several worlds, each taken for an output of its own.
fn traffic(profiles: &[PathBuf]) -> Result<Vec<View>> {
    let mut views = Vec::new();
    for profile in profiles {
        let last = stage::prepared(profile)?.outputs.pop().ok_or("a run without outputs")?;
        views.push(View { rank: u16::try_from(views.len())?, ..last.view });
    }
    Ok(views)
}

fn decoded(run: &Prepared) -> Result<Vec<Arc<RowBatch>>> {
    let mut all = Vec::new();
    for output in &run.outputs {
        for batch in block_on_stream(Box::pin(output.view.batches(Scan::new()))) {
            all.push(Arc::new(batch?));
        }
    }
    Ok(all)
}

fn lines(batches: &[Arc<RowBatch>]) -> Result<u64> {
    let mut rows = 0;
    for batch in batches {
        let mut writer = arrow_json::LineDelimitedWriter::new(Vec::with_capacity(1 << 22));
        writer.write(batch.rows())?;
        writer.finish()?;
        black_box(writer.into_inner());
        rows += batch.times().len() as u64;
    }
    Ok(rows)
}

fn count(slices: &[RowSlice]) -> u64 {
    slices.iter().map(|slice| (slice.to - slice.from) as u64).sum()
}

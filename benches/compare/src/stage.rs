//! A world, a fresh place to run it in as often as it is wanted, and what its run is made of.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::executor::block_on_stream;
use wsp::clock::{Clock, SystemClock};
use wsp::frame::FrameExt as _;
use wsp::merge::{SlicesExt, merge};
use wsp_reference::LocalRun;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, WorldSummary, generate};
use wsp_world::model::Event;
use wsp_world::oracle::Scan;
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, Ready, message};

use crate::Result;

pub(crate) const KEY: &str = "compare-key";
/// Where the outputs of a world lie.
const VIEWS: &str = "world/stream_view/ts_utc";

pub(crate) struct Stage {
    folder: PathBuf,
    world: WorldSummary,
    runs: Cell<u32>,
}

impl Stage {
    /// A world as `spec` has it, below `folder`.
    pub(crate) fn set(folder: &Path, spec: &WorldSpec) -> Result<Self> {
        let root = Self::root(folder)?;
        Self::spelt(folder, root.to_str().ok_or("a folder that is not UTF-8")?, spec)
    }

    /// The same, for a world that will be read from `root` in place of the folder.
    pub(crate) fn spelt(folder: &Path, root: &str, spec: &WorldSpec) -> Result<Self> {
        eprintln!("making a world of {} events, {} files an output", spec.events, spec.parts);
        let world = generate(&Self::root(folder)?, root, spec)?;
        Ok(Self { folder: folder.canonicalize()?, world, runs: Cell::new(0) })
    }

    /// Where the world's files lie.
    pub(crate) fn root(folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        Ok(folder.canonicalize()?.join("world"))
    }

    /// Where the files of one output lie.
    pub(crate) fn output_folder(&self, output: &str) -> PathBuf {
        self.folder.join(VIEWS).join(format!("output_id={output}"))
    }

    /// The files of one output.
    pub(crate) fn files(&self, output: &str) -> Result<Vec<PathBuf>> {
        let entries: Vec<_> = fs::read_dir(self.output_folder(output))?.collect::<std::io::Result<_>>()?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort();
        Ok(files)
    }

    /// The profile of a run that nobody has begun yet, towards the gate at `url`, changed by `change`; READY is there.
    pub(crate) fn run(&self, url: &str, change: impl Fn(&mut LocalRun<'_>)) -> Result<PathBuf> {
        let profile = self.unpublished(url, change)?;
        self.publish(&profile)?;
        Ok(profile)
    }

    /// The same without READY.
    pub(crate) fn unpublished(&self, url: &str, change: impl Fn(&mut LocalRun<'_>)) -> Result<PathBuf> {
        let nth = self.runs.replace(self.runs.get() + 1);
        let at = self.folder.join(format!("run-{nth}"));
        let mut run = LocalRun::new(&at, url, KEY);
        change(&mut run);
        Ok(run.profile()?)
    }

    /// READY of the run whose profile this is.
    pub(crate) fn publish(&self, profile: &Path) -> Result<()> {
        let at = SystemClock::new().utc();
        LocalRun::new(folder_of(profile)?, "", "").publish(&self.world, &"platform_20260101T000000Z".parse()?, at)?;
        Ok(())
    }

    /// Drops what a run has left, so that many rounds don't fill the disk.
    pub(crate) fn clear(&self, profile: &Path) -> Result<()> {
        Ok(fs::remove_dir_all(folder_of(profile)?)?)
    }
}

pub(crate) fn folder_of(profile: &Path) -> Result<&Path> {
    Ok(profile.parent().ok_or("a profile in no folder")?)
}

/// A profile and its READY.
pub(crate) fn asked(profile: &Path) -> Result<(Profile, Ready)> {
    let topic = folder_of(profile)?.join("control_bus").join(CONTROL_TOPIC);
    let file = fs::read_dir(topic)?.next().ok_or("no READY")??.path();
    let profile = Profile::load(profile, &|name| std::env::var(name).ok())?;
    match message::parse(&fs::read(file)?, CONTROL_TOPIC)? {
        Parsed::Ready(ready) => Ok((profile, *ready)),
        Parsed::Other { why, .. } => Err(why.to_string().into()),
    }
}

/// The run that they ask for.
pub(crate) fn prepared(profile: &Path) -> Result<Prepared> {
    let (profile, ready) = asked(profile)?;
    Ok(runtime()?.block_on(prepare::of_ready(&profile, &ready))?)
}

/// The first `limit` bodies of a profile's run, in canonical order, by the stages that make them for the run itself.
pub(crate) fn bodies(profile: &Path, limit: u64) -> Result<Vec<Bytes>> {
    let mut bodies = Vec::new();
    framed(profile, limit, |event| bodies.push(event.body))?;
    Ok(bodies)
}

/// The share of a run's events that its most frequent order key has.
pub(crate) fn hottest(profile: &Path) -> Result<f64> {
    let mut keys = HashMap::<u64, u64>::new();
    let mut events = 0.0;
    framed(profile, u64::MAX, |event| {
        *keys.entry(event.order_key).or_default() += 1;
        events += 1.0;
    })?;
    Ok(keys.into_values().max().unwrap_or(0) as f64 / events)
}

fn framed(profile: &Path, limit: u64, mut each: impl FnMut(Event)) -> Result<()> {
    let run = prepared(profile)?;
    let runtime = runtime()?;
    let outputs = run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
    let _context = runtime.enter();
    for chunk in block_on_stream(merge(outputs).take_rows(limit).frame(run.framer())) {
        chunk?.into_iter().for_each(&mut each);
    }
    Ok(())
}

pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

//! One world for all rounds, and a fresh place to run it in for each.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;

use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on_stream;
use wsp::clock::{Clock, SystemClock};
use wsp::envelope::FrameExt;
use wsp::merge::merge;
use wsp::model::CheckList;
use wsp::oracle::Scan;
use wsp::pipelines::prepare;
use wsp::profile::Profile;
use wsp::ready::{FileFeed, FileFeedOptions};
use wsp::reference::world::run_files::{CONTROL_TOPIC, RunFiles, publish_ready};
use wsp::reference::world::{CATALOGUE, GATE_MAP, WorldSpec, WorldSummary, generate};

use crate::Result;

pub(crate) const KEY: &str = "compare-key";

pub(crate) struct Stage {
    folder: PathBuf,
    world: WorldSummary,
    in_flight: usize,
    runs: Cell<u32>,
}

impl Stage {
    pub(crate) fn set(folder: &Path, events: u64, in_flight: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let root = folder.join("world");
        let world = generate(&root, root.to_str().ok_or("a folder that is not UTF-8")?, &WorldSpec::new(events))?;
        fs::write(folder.join("engine_outputs.catalogue.yaml"), CATALOGUE)?;
        fs::write(folder.join("engine_gates.map.yaml"), GATE_MAP)?;
        fs::write(folder.join("producers.txt"), "svc:world_stream_producer\n")?;
        Ok(Self { folder, world, in_flight, runs: Cell::new(0) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The profile of a run that nobody has begun yet, towards the gate at `url`.
    pub(crate) fn run(&self, url: &str) -> Result<PathBuf> {
        let nth = self.runs.replace(self.runs.get() + 1);
        let at = self.folder.join(format!("run-{nth}"));
        publish_ready(&RunFiles {
            world: &self.world,
            platform_run_id: &"platform_20260101T000000Z".parse()?,
            run_id: &"d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0".parse()?,
            object_store_root: &at.join("store"),
            control_root: &at.join("control_bus"),
            topic: CONTROL_TOPIC,
            published_at: runtime()?.block_on(async { SystemClock::new().utc() }),
        })?;
        let profile = format!(
            "profile_id: local_compare
policy:
  require_seal: true
  stream_speedup: 0
  traffic_output_ids: [s3_event_stream_with_fraud_6B]
wiring:
  object_store: {{root: '{at}/store'}}
  control_bus: {{kind: file, root: '{at}/control_bus'}}
  engine_catalogue_path: ../engine_outputs.catalogue.yaml
  ig_ingest_url: {url}
  wsp_checkpoint: {{backend: file, root: '{at}/checkpoints', flush_every: 1000}}
  wsp_producer: {{producer_id: 'svc:world_stream_producer', allowlist_ref: ../producers.txt}}
  wsp_delivery: {{in_flight: {in_flight}, window: 8192}}
  security: {{wsp_auth_token: {KEY}}}
",
            at = at.display(),
            in_flight = self.in_flight,
        );
        let path = at.join("profile.yaml");
        fs::write(&path, profile)?;
        Ok(path)
    }
}

/// All bodies of a profile's run, in canonical order, by the stages that make them for the run itself.
pub(crate) fn bodies(profile: &Path) -> Result<Vec<Bytes>> {
    let runtime = runtime()?;
    let run = runtime.block_on(async {
        let profile = Profile::load(profile, &|_| None)?;
        let wsp::profile::ControlBus::File { root } = &profile.control_bus;
        let options = FileFeedOptions {
            root: root.clone(),
            topic: CONTROL_TOPIC.to_owned(),
            once: true,
            poll_interval: std::time::Duration::from_secs(1),
        };
        let mut readies = pin!(FileFeed::new(options, SystemClock::new()).stream());
        let ready = readies.next().await.ok_or("no READY")??.ready;
        let store = prepare::open_own(&profile)?;
        let identity = prepare::identify(&*store, &ready).await?;
        let root = prepare::engine_root(&profile, &ready)?;
        let mut checks = CheckList::new();
        let run = prepare::prepare(&profile, &ready, identity, root, &mut checks).await;
        run.ok_or_else(|| prepare::first_refusal(&checks).into())
    });
    let run: prepare::Prepared = run.map_err(|error: Box<dyn std::error::Error>| error)?;
    let outputs = run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
    let _context = runtime.enter();
    let mut bodies = Vec::new();
    for chunk in block_on_stream(merge(outputs).frame(run.framer())) {
        bodies.extend(chunk?.into_iter().map(|event| event.body));
    }
    Ok(bodies)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

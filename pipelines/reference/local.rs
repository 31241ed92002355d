//! A run of a generated world with everything in one folder: profile, files that the profile refers to, and READY.
//!
//! ```text
//! LocalRun ──profile──► <folder>/profile.yaml, catalogue, gate map, allowlist
//!         └──publish──► <folder>/store (facts), <folder>/control_bus (READY)
//! ```
//!
//! Cursors are saved in `<folder>/checkpoints`, every 1,000 answers; evidence is written to `<folder>/store`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wsp_world::model::{Micros, PlatformRunId};

use super::world::run_files::{CONTROL_TOPIC, PublishedReady, RunFiles, publish_ready};
use super::world::{CATALOGUE, GATE_MAP, WorldSummary};

/// SR's run in every READY of it.
const SR_RUN: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";

/// A run for demos and benches. [`LocalRun::new`] gives one without pacing, 64 in flight.
#[derive(Debug, Clone)]
pub struct LocalRun<'a> {
    /// The folder, as an absolute path: `wsp run` may be started anywhere.
    pub folder: &'a Path,
    /// The profile is named `local_<name>`.
    pub name: &'a str,
    /// The gate's base URL.
    pub gate: &'a str,
    /// The gate's API key.
    pub api_key: &'a str,
    /// Event seconds per wall second; 0 is without pacing.
    pub speedup: f64,
    /// Requests in flight, 1 to 1,024.
    pub in_flight: u32,
    /// How far sending may run ahead of the oldest unanswered event, in events.
    pub window: u32,
    /// Attempts an event gets.
    pub max_attempts: u32,
    /// The context outputs, where they are not the usual three.
    pub context: Option<&'a [&'a str]>,
    /// Whether objects of `s3://` roots are requested as `endpoint/bucket/key`.
    pub path_style: bool,
    /// Lanes by order key that workers share, and how many of them one worker streams at a time.
    pub lanes: Option<(u32, u32)>,
}

impl<'a> LocalRun<'a> {
    /// A run in `folder` into the gate at `gate`, with this API key.
    #[must_use]
    pub fn new(folder: &'a Path, gate: &'a str, api_key: &'a str) -> Self {
        Self {
            folder,
            name: "bench",
            gate,
            api_key,
            speedup: 0.0,
            in_flight: 64,
            window: 8_192,
            max_attempts: 5,
            context: None,
            path_style: false,
            lanes: None,
        }
    }

    /// Writes the profile and the files it refers to; returns the profile's path.
    ///
    /// # Errors
    ///
    /// If a file can't be written.
    pub fn profile(&self) -> io::Result<PathBuf> {
        let Self { folder, name, gate, api_key, speedup, in_flight, window, max_attempts, context, path_style, lanes } =
            self;
        fs::create_dir_all(folder)?;
        fs::write(folder.join("engine_outputs.catalogue.yaml"), CATALOGUE)?;
        fs::write(folder.join("engine_gates.map.yaml"), GATE_MAP)?;
        fs::write(folder.join("producers.txt"), "svc:world_stream_producer\n")?;
        let context = context.map_or_else(String::new, |ids| format!("\n  context_output_ids: [{}]", ids.join(", ")));
        let lanes = lanes.map_or_else(String::new, |(count, of_worker)| {
            format!("\n  wsp_lanes: {{count: {count}, by: order_key, lanes_per_worker: {of_worker}}}")
        });
        let at = folder.display();
        let text = format!(
            "profile_id: local_{name}
policy:
  require_seal: true
  stream_speedup: {speedup}
  traffic_output_ids: [s3_event_stream_with_fraud_6B]{context}
wiring:
  object_store: {{root: '{at}/store', path_style: {path_style}}}
  control_bus: {{kind: file, root: '{at}/control_bus'}}
  engine_catalogue_path: engine_outputs.catalogue.yaml
  ig_ingest_url: {gate}
  wsp_checkpoint: {{backend: file, root: '{at}/checkpoints', flush_every: 1000}}
  wsp_producer: {{producer_id: 'svc:world_stream_producer', allowlist_ref: producers.txt}}
  wsp_delivery: {{in_flight: {in_flight}, window: {window}}}
  wsp_retry: {{max_attempts: {max_attempts}}}{lanes}
  security: {{wsp_auth_token: {api_key}}}
"
        );
        let path = folder.join("profile.yaml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes the facts of `world`'s run and its READY, published `at` some time.
    ///
    /// # Errors
    ///
    /// If a file can't be written.
    pub fn publish(&self, world: &WorldSummary, run: &PlatformRunId, at: Micros) -> io::Result<PublishedReady> {
        publish_ready(&RunFiles {
            world,
            platform_run_id: run,
            run_id: &SR_RUN.parse().map_err(io::Error::other)?,
            object_store_root: &self.folder.join("store"),
            control_root: &self.folder.join("control_bus"),
            topic: CONTROL_TOPIC,
            published_at: at,
        })
    }
}

//! Target 8: the same world from an S3 server on loopback and from the local disk, in turns.

use std::path::Path;

use wsp::store::{ObjectStore, S3Store};
use wsp_reference::world::WorldSpec;

use super::Bench;
use super::end_to_end::rate;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::parts::Streaming;
use crate::servers::s3::S3Server;
use crate::stage::{self, Stage};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let runtime = stage::runtime()?;
    let server = runtime.block_on(S3Server::any());
    let root = server.root("targets");
    let folder = bench.folder.join("for-s3");
    let remote = Stage::spelt(&folder, &format!("{root}/world"), &WorldSpec::new(bench.options.events))?;
    runtime.block_on(upload(&server.store(&root), &Stage::root(&folder)?))?;
    let env = server.environment().map(|(name, value)| (name, value.to_owned()));
    let local = bench.world()?;
    let [mut from_s3, mut from_disk, mut s3_peak, mut disk_peak] = [const { Spread(Vec::new()) }; 4];
    for round in 0..bench.options.rounds {
        bench.round("from S3", round);
        for side in 0..2 {
            if (side + round) % 2 == 0 {
                let run = Streaming { program: bench.program(), stage: &remote, env: &env, gate: &[] };
                let (sample, _) = run.run(|run| run.path_style = true)?;
                from_s3.0.push(rate(&sample)?);
                s3_peak.0.push(sample.peak);
            } else {
                let (sample, _) = Streaming::new(bench.program(), local).run(|_| ())?;
                from_disk.0.push(rate(&sample)?);
                disk_peak.0.push(sample.peak);
            }
        }
    }
    let share = from_s3.over(&from_disk);
    Ok(vec![Row {
        target: 8,
        what: "rate of a run whose Oracle is on S3, at least 0.8 of the local disk's".to_owned(),
        figure: share.told(2, ""),
        met: Met::from(share.median() >= 0.8),
        how: format!(
            "{}, VmHWM {}, from {}; {}, VmHWM {}, from the disk, as in target 1; facts, evidence and cursors on the disk in both",
            from_s3.told(0, "/s"),
            s3_peak.told(0, " MiB"),
            server_name(),
            from_disk.told(0, "/s"),
            disk_peak.told(0, " MiB"),
        ),
    }])
}

fn server_name() -> String {
    let given = std::env::var("WSP_LIVE_S3_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    given.unwrap_or_else(|| "SeaweedFS on the same cores".to_owned())
}

/// Lays the world into the store, below `world`.
async fn upload(store: &S3Store, root: &Path) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(root)?.to_str().ok_or("a name that is not UTF-8")?;
            store.put(&format!("world/{below}").parse()?, std::fs::read(&path)?.into()).await?;
        }
    }
    Ok(())
}

//! Target 2: what a run does before the socket, on one core, beside DataFusion and arrow-json.

use std::path::PathBuf;
use std::process::Command;

use wsp_reference::world::WorldSpec;

use super::Bench;
use super::table::{Met, Row, Spread};
use crate::stage::Stage;
use crate::{Result, parts};

/// Sorted files that are merged, and worlds they come from.
const FILES: u64 = 4;
const TRAFFIC: &str = "s3_event_stream_with_fraud_6B";

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let manifest = PathBuf::from(parts::ROOT).join("benches/datafusion/Cargo.toml");
    let folder = parts::target_folder().join("datafusion");
    let partner = folder.join("release/datafusion-partner");
    let (manifest, folder) = (manifest.display().to_string(), folder.display().to_string());
    parts::cargo(&["build", "--release", "--locked", "--manifest-path", &manifest, "--target-dir", &folder])?;

    // Files of one output whose times lie in each other, as a merge needs them: each from a world of another seed.
    let spec = |seed| WorldSpec { seed, ..WorldSpec::new(bench.options.events) };
    let worlds: Vec<Stage> =
        (1..=FILES).map(|seed| bench.stage(&format!("seed-{seed}"), &spec(seed))).collect::<Result<_>>()?;
    let files = worlds.iter().map(|world| world.files(TRAFFIC)).collect::<Result<Vec<_>>>()?.concat();
    let profile = |stage: &Stage| stage.run("http://127.0.0.1:1", |_| ());
    let profiles: Vec<PathBuf> = worlds.iter().map(profile).collect::<Result<_>>()?;
    let own = |way: &str, of: &[PathBuf]| {
        let mut command = pinned(&std::env::current_exe()?);
        command.args(["rows", way]).args(of);
        per_second(command)
    };
    let one = &profiles[..1];
    let [mut frame, mut merge, mut datafusion, mut encode, mut lines] = [const { Spread(Vec::new()) }; 5];
    for round in 0..bench.options.rounds {
        bench.round("before the socket", round);
        frame.0.push(own("frame", one)?);
        merge.0.push(own("merge", &profiles)?);
        let mut command = pinned(&partner);
        command.args(&files);
        datafusion.0.push(per_second(command)?);
        encode.0.push(own("encode", one)?);
        lines.0.push(own("lines", one)?);
    }
    let sent = bench.end_to_end()?.rate.median();
    let times: Spread = frame.0.iter().map(|rate| rate / sent).collect();
    let row = |what: &str, ratio: Spread, least: f64, how: String| Row {
        target: 2,
        what: format!("{what}, at least {least}"),
        figure: ratio.told(2, ""),
        met: Met::from(ratio.median() >= least),
        how,
    };
    Ok(vec![
        row(
            "Parquet to framed bodies on one core, times target 1's rate",
            times,
            12.0,
            format!(
                "{} (decode, merge, event_id, JSON; one thread, pinned) over target 1's {sent:.0}/s",
                frame.told(0, "/s")
            ),
        ),
        row(
            "decoding and merging over DataFusion's `SortPreservingMergeExec`",
            merge.over(&datafusion),
            1.5,
            format!(
                "the same four files of one output whose times lie in each other, all columns, one core each: {} and {} rows",
                merge.told(0, "/s"),
                datafusion.told(0, "/s")
            ),
        ),
        row(
            "framing over arrow-json's line writer",
            encode.over(&lines),
            1.0,
            format!(
                "the same decoded rows, one core each: {} envelopes with a hash each, {} lines of bare rows",
                encode.told(0, "/s"),
                lines.told(0, "/s")
            ),
        ),
    ])
}

/// A program that is kept on one core.
fn pinned(program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

/// Runs what prints `rows seconds`.
fn per_second(mut command: Command) -> Result<f64> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text.trim().split_once(' ').filter(|_| output.status.success());
    let (rows, seconds) = told.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(rows.parse::<f64>()? / seconds.parse::<f64>()?)
}

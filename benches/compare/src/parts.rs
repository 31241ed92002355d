//! The processes of a round, each started, measured and ended: gate, program, bare client, bare server, wrk.
//!
//! ```text
//! wsp run --once ─┐
//! bare hyper      ├─► wsp gate, a process and a ledger of its own each time
//! wrk             ┘
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use wsp_reference::LocalRun;

use crate::Result;
use crate::figures::Sample;
use crate::process::Running;
use crate::stage::{self, Stage};

/// What a gate says at its end if it only admitted.
const NOTHING_ELSE: &str = " 0 duplicates, 0 quarantined, 0 unauthorized, 0 unreadable";

/// The repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The program, built as it is shipped.
pub(crate) fn build() -> Result<PathBuf> {
    cargo(&["build", "--profile", "dist", "--locked", "--bin", "wsp"])?;
    Ok(target_folder().join("dist/wsp"))
}

/// Where cargo builds; a relative `CARGO_TARGET_DIR` counts from the repository.
pub(crate) fn target_folder() -> PathBuf {
    Path::new(ROOT).join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A certificate or key of the tests, for `localhost` and 127.0.0.1.
pub(crate) fn certificate(name: &str) -> PathBuf {
    Path::new(ROOT).join("src/deliver/http/testdata").join(name)
}

/// Runs cargo in the repository.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(args).current_dir(ROOT).status()?;
    if built.success() { Ok(()) } else { Err(format!("cargo {} failed", args.join(" ")).into()) }
}

/// One of this program's own parts.
pub(crate) fn own(part: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(part);
    Ok(command)
}

/// How a program is run.
#[derive(Clone, Copy)]
pub(crate) struct Streaming<'a> {
    pub(crate) program: &'a Path,
    pub(crate) stage: &'a Stage,
    pub(crate) env: &'a [(&'a str, String)],
    /// Further arguments of `wsp gate`, beside its address and key.
    pub(crate) gate: &'a [&'a str],
}

impl<'a> Streaming<'a> {
    pub(crate) fn new(program: &'a Path, stage: &'a Stage) -> Self {
        Self { program, stage, env: &[], gate: &[] }
    }

    /// `wsp run --once` into a new gate: the whole process, start and end included; and the gate.
    pub(crate) fn run(&self, change: impl Fn(&mut LocalRun<'_>)) -> Result<(Sample, Sample)> {
        let (sample, gate, events) = self.streamed(change)?;
        Ok((sample, served(gate, events)?))
    }

    /// The same, with the gate still running and the number of events that the verdict counts.
    pub(crate) fn streamed(&self, change: impl Fn(&mut LocalRun<'_>)) -> Result<(Sample, Running, u64)> {
        let (gate, url) = gate(self.program, self.gate)?;
        let profile = self.stage.run(&url, change)?;
        let mut command = Command::new(self.program);
        command.args(["--log", "error", "run", "--once", "--profile"]).arg(&profile);
        command.current_dir(stage::folder_of(&profile)?).envs(self.env.iter().map(|(name, value)| (name, value)));
        let (output, cost) = Running::start(command)?.end()?;
        let verdicts: serde_json::Value = serde_json::from_str(&output)?;
        let verdict = &verdicts[0];
        let (Some("STREAMED"), Some(events)) = (verdict["status"].as_str(), verdict["emitted"].as_u64()) else {
            return Err(format!("the run was not streamed: {output}").into());
        };
        self.stage.clear(&profile)?;
        Ok((Sample::of(&cost, events), gate, events))
    }
}

impl Streaming<'_> {
    /// All bodies of the run from the bare client, into a new gate. Its clock and CPU count from the first connection on.
    pub(crate) fn bare(&self, events: u64, connections: u32) -> Result<(Sample, Sample)> {
        let (gate, url) = gate(self.program, self.gate)?;
        let sample = client(&url, self.stage, events, connections)?;
        Ok((sample, served(gate, events)?))
    }
}

/// The bare client and a bare server: what the machine gives at all.
pub(crate) fn echo(stage: &Stage, events: u64, connections: u32) -> Result<(Sample, Sample)> {
    let mut server = Running::start(own("server")?)?;
    let url = server.line()?;
    let sample = client(&url, stage, events, connections)?;
    Ok((sample, served(server, events)?))
}

fn client(url: &str, stage: &Stage, events: u64, connections: u32) -> Result<Sample> {
    let profile = stage.run(url, |_| ())?;
    let mut command = own("client")?;
    command.arg(&profile).args([url, &connections.to_string()]);
    let (output, cost) = Running::start(command)?.end()?;
    stage.clear(&profile)?;
    Sample::told(&output, &cost, events)
}

/// Bodies of a run in a file, a line each, for [`wrk`].
pub(crate) fn bodies_file(stage: &Stage, folder: &Path) -> Result<PathBuf> {
    /// So many that their sizes are those of the run; all of them would not fit into wrk's Lua.
    const BODIES: u64 = 20_000;
    let profile = stage.run("http://127.0.0.1:1", |_| ())?;
    let mut text = Vec::new();
    for body in stage::bodies(&profile, BODIES)? {
        text.extend_from_slice(&body);
        text.push(b'\n');
    }
    stage.clear(&profile)?;
    std::fs::write(folder.join("bodies.lua"), include_str!("bodies.lua"))?;
    let file = folder.join("bodies.jsonl");
    std::fs::write(&file, text)?;
    Ok(file)
}

/// wrk with one thread and as many connections, for `seconds`, into a new gate: requests a second.
pub(crate) fn wrk(program: &Path, bodies: &Path, seconds: u64, connections: u32) -> Result<f64> {
    let (gate, url) = gate(program, &[])?;
    let mut command = Command::new("wrk");
    command.arg("-t1").arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
    command.arg("-s").arg(bodies.with_file_name("bodies.lua")).arg(url).arg("--").arg(bodies);
    let output = command.output().map_err(|error| format!("wrk (Debian's package wrk): {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = told.lines().find_map(|line| line.strip_prefix("told ")).ok_or_else(|| format!("wrk: {told}"))?;
    let numbers: Vec<f64> = numbers.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [requests, micros, failed] = numbers[..] else { return Err(format!("wrk: {told}").into()) };
    gate.terminate()?;
    let (served, _) = gate.end()?;
    if failed > 0.0 || !served.contains(NOTHING_ELSE) {
        return Err(format!("wrk was not answered as a run is: {failed} failed, {served}").into());
    }
    Ok(requests * 1e6 / micros)
}

/// A new `wsp gate`, told `more`, and its address.
pub(crate) fn gate(program: &Path, more: &[&str]) -> Result<(Running, String)> {
    let mut command = Command::new(program);
    command.args(["--log", "error", "gate", "--listen", "127.0.0.1:0", "--api-key", stage::KEY]).args(more);
    let mut gate = Running::start(command)?;
    let url = gate.line()?;
    Ok((gate, url))
}

/// Ends a server and says what it took.
pub(crate) fn served(server: Running, events: u64) -> Result<Sample> {
    server.terminate()?;
    let (_, cost) = server.end()?;
    Ok(Sample::of(&cost, events).without_rate())
}

/// Ends a gate that must have admitted so many events, each once, and refused nothing.
pub(crate) fn admitted(gate: Running, events: u64) -> Result<()> {
    gate.terminate()?;
    let (told, _) = gate.end()?;
    if told.contains(&format!(": {events} admitted,{NOTHING_ELSE}")) {
        return Ok(());
    }
    Err(format!("the gate should have admitted {events} events, each once: {}", told.trim()).into())
}

//! Other programs that send the lines of a file concurrently over HTTP: a stream processor and a load generator.
//!
//! ```text
//! go build, go install ──► target/peers ─┐
//! bodies of a run ──► a file per format ─┴─► Peer, a process per round ──► wsp gate
//! ```

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::figures::Sample;
use crate::parts::Streaming;
use crate::process::Running;
use crate::stage::{KEY, Stage};
use crate::{Result, parts, stage};

const VEGETA: &str = "v12.13.0";
/// What precedes the version of Benthos in its `go.mod`.
const BENTHOS: &str = "require github.com/redpanda-data/benthos/v4 ";
const PATH: &str = "/v1/ingest/push";
/// The address in vegeta's targets, which are written once. Each round maps it to the address of its gate.
const PLACEHOLDER: &str = "127.0.0.1:1";

/// An installed peer.
pub(crate) struct Peer {
    kind: Kind,
    version: &'static str,
    program: PathBuf,
}

#[derive(Clone, Copy)]
enum Kind {
    Benthos,
    Vegeta,
}

/// Every peer, installed if it is not in the cache yet. `None` if Go is not installed.
pub(crate) fn installed() -> Result<Option<[Peer; 2]>> {
    let go = Command::new("go").arg("version").output();
    if go.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    Ok(Some([benthos()?, vegeta()?]))
}

/// Builds the program in `peers/benthos`; Go's own cache decides what has to be built.
fn benthos() -> Result<Peer> {
    let version = include_str!("../peers/benthos/go.mod").lines().find_map(|line| line.strip_prefix(BENTHOS));
    let version = version.ok_or("peers/benthos/go.mod: no version of Benthos")?;
    let program = cache(&format!("benthos-{version}"))?.join("benthos");
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&program).arg(".");
    go.current_dir(manifest_folder().join("peers/benthos"));
    finish(go)?;
    Ok(Peer { kind: Kind::Benthos, version, program })
}

fn vegeta() -> Result<Peer> {
    let folder = cache(&format!("vegeta-{VEGETA}"))?;
    let program = folder.join("vegeta");
    if !program.exists() {
        let mut go = Command::new("go");
        go.arg("install").arg(format!("github.com/tsenart/vegeta/v12@{VEGETA}")).env("GOBIN", &folder);
        finish(go)?;
    }
    Ok(Peer { kind: Kind::Vegeta, version: VEGETA, program })
}

fn manifest_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of the cache, created if it does not exist.
fn cache(name: &str) -> Result<PathBuf> {
    let folder = manifest_folder().join("target/peers").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn finish(mut go: Command) -> Result<()> {
    if go.status()?.success() { Ok(()) } else { Err(format!("{go:?} failed").into()) }
}

/// Every body of a run once, in the formats that the peers read.
pub(crate) struct Bodies {
    /// A body per line.
    lines: PathBuf,
    /// A JSON object per line, as vegeta reads them.
    targets: PathBuf,
    events: u64,
}

impl Bodies {
    /// Writes the bodies of a run of `stage` to files in `folder`.
    pub(crate) fn write(stage: &Stage, folder: &Path) -> Result<Self> {
        let profile = stage.run(&format!("http://{PLACEHOLDER}"), |_| ())?;
        let bodies = stage::bodies(&profile, u64::MAX)?;
        stage.clear(&profile)?;
        Self::of(bodies, folder)
    }

    /// Writes these bodies to files in `folder`.
    pub(crate) fn of(bodies: impl IntoIterator<Item: AsRef<[u8]>>, folder: &Path) -> Result<Self> {
        let (lines, targets) = (folder.join("peers.jsonl"), folder.join("peers.targets"));
        let mut plain = BufWriter::new(File::create(&lines)?);
        let mut encoded = BufWriter::new(File::create(&targets)?);
        let mut events = 0;
        for body in bodies {
            plain.write_all(body.as_ref())?;
            plain.write_all(b"\n")?;
            let body = STANDARD.encode(body);
            writeln!(encoded, r#"{{"method":"POST","url":"http://{PLACEHOLDER}{PATH}","body":"{body}"}}"#)?;
            events += 1;
        }
        plain.flush()?;
        encoded.flush()?;
        Ok(Self { lines, targets, events })
    }

    /// The file with a body per line.
    pub(crate) fn lines(&self) -> &Path {
        &self.lines
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

impl Peer {
    /// The name with the version.
    pub(crate) fn name(&self) -> String {
        let name = match self.kind {
            Kind::Benthos => "Benthos",
            Kind::Vegeta => "vegeta",
        };
        format!("{name} {}", self.version)
    }

    /// How it is used.
    pub(crate) fn settings(&self) -> &'static str {
        match self.kind {
            Kind::Benthos => {
                "`file` input by lines, `http_client` output without retries, idle connections kept for all requests \
                 in flight instead of Go's two"
            }
            Kind::Vegeta => "`attack -rate=0`, JSON targets read lazily, results discarded",
        }
    }

    /// Sends every body once to a new gate with the faults of `of`: the whole process, from start to end.
    pub(crate) fn run(&self, of: &Streaming<'_>, bodies: &Bodies, in_flight: u32) -> Result<Sample> {
        let (gate, url) = parts::gate(of.program, of.gate)?;
        let (_, cost) = Running::start(self.command(bodies, &url, in_flight, false)?)?.end()?;
        parts::admitted(gate, bodies.events)?;
        Ok(Sample::of(&cost, bodies.events))
    }

    /// How it sends the bodies to `url`; with `retries`, it tries again what was not taken, if it can.
    pub(crate) fn command(&self, bodies: &Bodies, url: &str, in_flight: u32, retries: bool) -> Result<Command> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Benthos => {
                let config = bodies.lines.with_extension("json");
                fs::write(&config, benthos_config(&bodies.lines, url, in_flight, retries).to_string())?;
                command.arg("run").arg(config);
            }
            Kind::Vegeta => {
                let address = url.strip_prefix("http://").ok_or("a gate that is not at http://")?;
                command.args(["attack", "-format=json", "-lazy", "-rate=0"]);
                command.args(["-max-body=0", "-http2=false", "-dns-ttl=-1", "-output=/dev/null"]);
                // By default it serves metrics on a port of every interface.
                command.args(["-prometheus-addr=", "-header=Content-Type: application/json"]);
                command.arg(format!("-header=X-IG-Api-Key: {KEY}"));
                command.arg(format!("-workers={in_flight}")).arg(format!("-max-workers={in_flight}"));
                command.arg(format!("-connect-to={PLACEHOLDER}:{address}"));
                command.arg("-targets").arg(&bodies.targets);
            }
        }
        Ok(command)
    }
}

/// The configuration; Benthos reads YAML, and JSON is YAML. Without retries, an event that the gate refuses is missing in
/// the gate's count at the end. With them, a run whose events are refused for good would not end.
fn benthos_config(lines: &Path, url: &str, in_flight: u32, retries: bool) -> serde_json::Value {
    json!({
        // It would serve its API on a port of every interface.
        "http": {"enabled": false},
        "logger": {"level": "ERROR"},
        "input": {"file": {
            "paths": [lines.display().to_string()],
            "scanner": {"lines": {}},
            "auto_replay_nacks": retries,
        }},
        "output": {"http_client": {
            "url": format!("{url}{PATH}"),
            "verb": "POST",
            "headers": {"Content-Type": "application/json", "X-IG-Api-Key": KEY},
            "max_in_flight": in_flight,
            "retries": if retries { 3 } else { 0 },
        }},
    })
}

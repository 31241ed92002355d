//! `compare peers-replay`: `wsp replay` beside other programs that send the lines of a file, and beside `wsp run`, as Markdown tables.
//!
//! ```text
//! bodies of 1.2 kB, a line each ──► wsp replay · Benthos · vegeta · syslog-ng ──► intake (latency, faults, account)
//! Parquet of one world ──► wsp run · wsp replay ──► the same intake
//! ```
//!
//! Each figure is of a process of its own before an intake of its own. With faults, 2 % of requests are answered 503 and the
//! connections of 1 % are cut. The kill is a SIGKILL once half of the events have come; then the same command is started again.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wsp_reference::world::WorldSpec;

use crate::figures::{machine, median};
use crate::intake::{Account, Faults};
use crate::peers::{self, Bodies, Peer};
use crate::process::{Of, Running, cpu};
use crate::stage::{self, Stage};
use crate::{Result, parts};

/// Customers of the bodies.
const KEYS: u64 = 5_000;
/// How long nothing new may come before a program counts as done that does not end by itself.
const QUIET: Duration = Duration::from_secs(10);
/// The output that both `wsp run` and `wsp replay` send, and its order key.
const TRAFFIC: &str = "s3_event_stream_with_fraud_6B";
const TRAFFIC_KEY: &str = "flow_id";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events a side sends.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Rounds; five or more make a median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests in flight, which are connections.
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// The program, where it shall not be built here.
    #[arg(long)]
    wsp: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let wsp = match &options.wsp {
        Some(wsp) => wsp.canonicalize()?,
        None => parts::build()?,
    };
    let folder = tempfile::tempdir()?;
    println!("{}; {} events, {} in flight, {} rounds\n", machine(), options.events, options.in_flight, options.rounds);
    beside_peers(options, &wsp, folder.path())?;
    beside_run(options, &wsp, folder.path())
}

/// A program that sends the bodies.
enum Side {
    Wsp(PathBuf),
    Peer(Peer),
    SyslogNg(String),
}

/// What a side sends, and how.
struct Work<'a> {
    bodies: &'a Bodies,
    folder: &'a Path,
    in_flight: u32,
    events: u64,
}

fn sides(wsp: &Path) -> Result<Vec<Side>> {
    let mut sides = vec![Side::Wsp(wsp.to_owned())];
    match peers::installed()? {
        Some(peers) => sides.extend(peers.into_iter().map(Side::Peer)),
        None => eprintln!("no `go` on the PATH: Benthos and vegeta are left out"),
    }
    match syslog_ng_version() {
        Some(version) => sides.push(Side::SyslogNg(version)),
        None => eprintln!("no syslog-ng on the PATH (Debian's syslog-ng-core and syslog-ng-mod-http): it is left out"),
    }
    Ok(sides)
}

/// As its configuration names it, such as 3.38.
fn syslog_ng_version() -> Option<String> {
    let told = Command::new("syslog-ng").arg("--version").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let version = told.split(['(', ')']).nth(1)?;
    let mut numbers = version.split('.');
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

impl Side {
    fn name(&self) -> String {
        match self {
            Self::Wsp(_) => "wsp replay".to_owned(),
            Self::Peer(peer) => peer.name(),
            Self::SyslogNg(version) => format!("syslog-ng {version}, http()"),
        }
    }

    /// Whether the process ends once all is sent.
    fn ends(&self) -> bool {
        !matches!(self, Self::SyslogNg(_))
    }

    fn command(&self, work: &Work<'_>, url: &str) -> Result<Command> {
        let Work { bodies, folder, in_flight, .. } = work;
        match self {
            Self::Wsp(program) => {
                let mut command = Command::new(program);
                command.arg("replay").arg(bodies.lines()).args(["--time", "ts", "--key", "key", "--speedup", "0"]);
                command.args(["--in-flight", &in_flight.to_string(), "--to", &format!("{url}/v1/events")]);
                command.arg("--state").arg(folder.join("state"));
                Ok(command)
            }
            Self::Peer(peer) => peer.command(bodies, url, *in_flight, true),
            Self::SyslogNg(version) => {
                let config = folder.join("syslog-ng.conf");
                fs::write(&config, syslog_ng_config(version, bodies.lines(), url, *in_flight))?;
                let mut command = Command::new("syslog-ng");
                command.args(["--foreground", "--no-caps", "--cfgfile"]).arg(&config);
                for (flag, name) in [("--persist-file", "persist"), ("--pidfile", "pid"), ("--control", "control")] {
                    command.arg(flag).arg(folder.join(name));
                }
                Ok(command)
            }
        }
    }
}

/// Messages are the lines as they stand; what is not sent holds the file up.
fn syslog_ng_config(version: &str, lines: &Path, url: &str, in_flight: u32) -> String {
    format!(
        "@version: {version}\noptions {{ log-msg-size(65536); stats-freq(0); time-reopen(1); }};\n\
         source lines {{ file(\"{}\" flags(no-parse) follow-freq(0.1) log-fetch-limit(1000) log-iw-size(64000)); }};\n\
         destination intake {{ http(url(\"{url}/v1/events\") method(\"POST\") body(\"${{MESSAGE}}\") workers({in_flight})\n\
           headers(\"Content-Type: application/json\") log-fifo-size(100000) persist-name(\"intake\")); }};\n\
         log {{ source(lines); destination(intake); flags(flow-control); }};\n",
        lines.display()
    )
}

/// An intake, a process of its own.
struct Intake {
    process: Running,
    url: String,
}

impl Intake {
    fn start(faults: Faults) -> Result<Self> {
        let mut command = parts::own("intake")?;
        for (flag, value) in [("--latency", faults.latency), ("--busy", faults.busy), ("--cuts", faults.cuts)] {
            command.arg(flag).arg(value.to_string());
        }
        let mut process = Running::start(command)?;
        let url = process.line()?;
        Ok(Self { process, url })
    }

    fn account(&self) -> Result<Account> {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        stream.write_all(b"GET /account HTTP/1.1\r\nhost: intake\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("an intake without an answer")?;
        Account::read(body)
    }

    fn end(self) -> Result<()> {
        self.process.terminate()?;
        self.process.end().map(drop)
    }
}

fn spawn(side: &Side, work: &Work<'_>, url: &str) -> Result<Child> {
    let mut command = side.command(work, url)?;
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Waits until a side is done: it has ended, or all events have come, or nothing new has come for a while.
fn finish(side: &Side, mut child: Child, intake: &Intake, events: u64) -> Result<Duration> {
    let before = cpu(Of::Children)?;
    if side.ends() {
        child.wait()?;
    } else {
        let (mut most, mut since) = (0, Instant::now());
        while most < events && since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(20));
            let come = intake.account()?.events;
            if come > most {
                (most, since) = (come, Instant::now());
            }
        }
        Command::new("kill").arg(child.id().to_string()).status()?;
        child.wait()?;
    }
    Ok(cpu(Of::Children)?.saturating_sub(before))
}

/// Events a second, and microseconds of CPU an event, of a side that sends everything once.
fn clean(side: &Side, work: &Work<'_>, latency: u64) -> Result<(f64, f64)> {
    reset(work.folder)?;
    let intake = Intake::start(Faults { latency, busy: 0, cuts: 0 })?;
    let started = Instant::now();
    let child = spawn(side, work, &intake.url)?;
    let cost = finish(side, child, &intake, work.events)?;
    let wall = started.elapsed();
    let account = intake.account()?;
    intake.end()?;
    if account.events != work.events {
        return Err(format!("{}: {} of {} events came", side.name(), account.events, work.events).into());
    }
    Ok((work.events as f64 / wall.as_secs_f64(), cost.as_secs_f64() * 1e6 / work.events as f64))
}

/// What an intake with faults says, and what one says of a side that was killed half-way and started again.
fn troubled(side: &Side, work: &Work<'_>) -> Result<(Account, Account)> {
    reset(work.folder)?;
    let intake = Intake::start(Faults { latency: 0, busy: 20, cuts: 10 })?;
    let child = spawn(side, work, &intake.url)?;
    finish(side, child, &intake, work.events)?;
    let faulty = intake.account()?;
    intake.end()?;
    reset(work.folder)?;
    let intake = Intake::start(Faults { latency: 0, busy: 0, cuts: 0 })?;
    let mut child = spawn(side, work, &intake.url)?;
    while intake.account()?.events < work.events / 2 && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    let child = spawn(side, work, &intake.url)?;
    finish(side, child, &intake, work.events)?;
    let killed = intake.account()?;
    intake.end()?;
    Ok((faulty, killed))
}

/// Removes what an earlier process kept.
fn reset(folder: &Path) -> Result<()> {
    for name in ["state", "persist", "pid", "control"] {
        let path = folder.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn beside_peers(options: &Options, wsp: &Path, folder: &Path) -> Result<()> {
    let bodies = Bodies::of((0..options.events).map(line), folder)?;
    let work = Work { bodies: &bodies, folder, in_flight: options.in_flight, events: options.events };
    let sides = sides(wsp)?;
    let mut figures = vec![[const { Vec::new() }; 4]; sides.len()];
    for round in 0..options.rounds {
        eprintln!("peers-replay: round {} of {}", round + 1, options.rounds);
        // No side is always the first.
        for place in 0..sides.len() {
            let at = (place + round) % sides.len();
            for (latency, column) in [(0, 0), (10, 2)] {
                let (rate, cpu) = clean(&sides[at], &work, latency)?;
                figures[at][column].push(rate);
                figures[at][column + 1].push(cpu);
            }
        }
    }
    println!(
        "| program | events/s at 0 ms | CPU an event | events/s at 10 ms | CPU an event | order per key broken | lost | \
         repeated after SIGKILL | lost after SIGKILL |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (side, figures) in sides.iter().zip(figures) {
        let [rate, cpu, slow_rate, slow_cpu] = figures.map(median);
        let (faulty, killed) = troubled(side, &work)?;
        let lost = |account: &Account| options.events - account.events;
        println!(
            "| {} | {rate:.0} | {cpu:.1} µs | {slow_rate:.0} | {slow_cpu:.1} µs | {} | {} | {} | {} |",
            side.name(),
            faulty.out_of_order,
            lost(&faulty),
            killed.repeated,
            lost(&killed)
        );
    }
    Ok(())
}

/// A body of 1.2 kB: time, key and number are what WSP and the intake look for.
fn line(n: u64) -> Vec<u8> {
    let (micros, key) = (n * 1_000, n.wrapping_mul(2_654_435_761) % KEYS);
    let (second, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
    let time = format!("2026-01-{:02}T{hour:02}:{minute:02}:{:02}.{micros:06}Z", 1 + second / 86_400, second % 60);
    format!(r#"{{"ts":"{time}","key":"c{key}","seq":{n},"text":"{:x>1100}"}}"#, n).into_bytes()
}

/// One output of a world in Parquet by `wsp run` and by `wsp replay`, in order per key, before the same intake.
fn beside_run(options: &Options, wsp: &Path, folder: &Path) -> Result<()> {
    let stage = Stage::set(&folder.join("world"), &WorldSpec::new(options.events))?;
    let mut rates = [const { Vec::new() }; 2];
    let mut costs = [const { Vec::new() }; 2];
    for round in 0..options.rounds {
        eprintln!("wsp replay beside wsp run: round {} of {}", round + 1, options.rounds);
        for place in 0..2 {
            let at = (place + round) % 2;
            reset(folder)?;
            let intake = Intake::start(Faults { latency: 0, busy: 0, cuts: 0 })?;
            let started = Instant::now();
            let before = cpu(Of::Children)?;
            if at == 0 {
                let profile = stage.run(&intake.url, |run| {
                    run.in_flight = options.in_flight;
                    run.context = Some(&[]);
                })?;
                let mut command = Command::new(wsp);
                command.args(["--log", "error", "run", "--once", "--profile"]).arg(&profile);
                finished(command.current_dir(stage::folder_of(&profile)?))?;
                stage.clear(&profile)?;
            } else {
                let mut command = Command::new(wsp);
                command.args(["replay", "--time", "ts_utc", "--key", TRAFFIC_KEY, "--speedup", "0"]);
                command.args([
                    "--in-flight",
                    &options.in_flight.to_string(),
                    "--to",
                    &format!("{}/v1/events", intake.url),
                ]);
                command.arg("--state").arg(folder.join("state"));
                command.arg(stage.output_folder(TRAFFIC));
                finished(&mut command)?;
            }
            let (wall, cost) = (started.elapsed(), cpu(Of::Children)?.saturating_sub(before));
            let came = intake.account()?.events as f64;
            intake.end()?;
            rates[at].push(came / wall.as_secs_f64());
            costs[at].push(cost.as_secs_f64() * 1e6 / came);
        }
    }
    let ratio = median(rates[1].iter().zip(&rates[0]).map(|(replay, run)| replay / run).collect());
    println!("\n| the same world's Parquet | events/s | CPU an event |\n|---|---|---|");
    for (name, at) in [("wsp run", 0), ("wsp replay", 1)] {
        println!("| {name} | {:.0} | {:.1} µs |", median(rates[at].clone()), median(costs[at].clone()));
    }
    println!("\nwsp replay / wsp run: {ratio:.2} of its rate (at least 0.9 is wanted)");
    Ok(())
}

fn finished(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

//! When each event was sent: by WSP, seen at its gate port, and by a bare client with one request at a time.
//!
//! ```text
//! service (the program's own chain) ──► Noted<HttpGate> ──► gate in another process
//!                                          └── time of each first attempt, event time, when it was due
//! ```
//!
//! The times go to stdout, a line an event, and are judged by the process that asked.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{Attempt, Gate, GateConnection, HttpGate, Takes};
use wsp::stop::Stop;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_world::evidence::Status;
use wsp_world::model::{Event, Position};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{FileFeed, FileFeedOptions};
use wsp_world::service::Service;

use crate::stage::{self, folder_of};
use crate::{Result, parts};

/// One event: when it was sent, nanoseconds on the sender's clock, its event time, microseconds, how long after it was
/// due by event time it was sent, nanoseconds, below zero where it was early (0 where event time doesn't pace), and where its
/// row stands: rank, file, row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) ts: i64,
    pub(crate) lag: i64,
    pub(crate) row: (u16, u32, u64),
}

impl Sent {
    fn line(self) -> String {
        let (rank, file, row) = self.row;
        format!("{} {} {} {rank} {file} {row}\n", self.at, self.ts, self.lag)
    }

    /// The lines of a part's output.
    pub(crate) fn read(output: &str) -> Result<Vec<Self>> {
        let of = |line: &str| {
            let mut fields = line.split(' ');
            let mut next = || fields.next().ok_or("a line too short");
            let (at, ts, lag) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
            Ok(Self { at, ts, lag, row: (next()?.parse()?, next()?.parse()?, next()?.parse()?) })
        };
        output.lines().map(of).collect()
    }
}

/// A gate that notes what is sent to it.
struct Noted<G> {
    gate: G,
    clock: SystemClock,
    sent: Arc<Mutex<Vec<Sent>>>,
}

struct NotedConnection<H> {
    connection: H,
    clock: SystemClock,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl<G: Clone> Clone for Noted<G> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), clock: self.clock, sent: self.sent.clone() }
    }
}

impl<G: Gate<Connection: Takes<Event>>> Gate for Noted<G> {
    type Connection = NotedConnection<G::Connection>;

    fn connection(&self) -> Self::Connection {
        NotedConnection { connection: self.gate.connection(), clock: self.clock, sent: self.sent.clone() }
    }
}

impl<H: GateConnection> GateConnection for NotedConnection<H> {
    fn close(&mut self) {
        self.connection.close();
    }

    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        self.connection.rest()
    }
}

impl<H: Takes<Event>> Takes<Event> for NotedConnection<H> {
    fn push(&mut self, event: &Event) -> impl Future<Output = Attempt> + Send {
        let now = self.clock.now();
        let lag = event.due.map_or(0, |due| now.as_nanos() as i64 - due.as_nanos() as i64);
        let Position { rank, file, row, .. } = event.position;
        let sent = Sent { at: now.as_nanos() as u64, ts: event.ts.0, lag, row: (rank, file, row) };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        self.connection.push(event)
    }
}

/// Streams the run of `profile` as `wsp run` does, in this process, and prints what was sent when.
pub(crate) fn run(profile: &Path) -> Result<()> {
    let folder = folder_of(profile)?;
    let profile = Profile::load(profile, &|name| std::env::var(name).ok())?;
    let sent = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
    let taken = stage::runtime()?.block_on(async {
        // As the program has it.
        let clock = SystemClock::new().fine();
        let bus = folder.join("control_bus");
        let options = FileFeedOptions { once: true, ..FileFeedOptions::new(bus, CONTROL_TOPIC) };
        let mut readies = pin!(FileFeed::new(options, clock).stream());
        let incoming = readies.next().await.ok_or("no READY")??;
        let endpoint = profile.delivery.endpoint.clone();
        let gate = Noted { gate: HttpGate::new(endpoint, clock)?, clock, sent: sent.clone() };
        let settings = Settings::new(&profile, Caps::default());
        let service = Service::new(profile, settings, gate, clock, Stop::new())?.in_folder(folder);
        Ok::<_, Box<dyn std::error::Error>>(service.take(&incoming).await?)
    })?;
    if taken.verdict.status != Status::Streamed {
        return Err(format!("the run was not streamed: {:?}", taken.refusal).into());
    }
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    let text: String = sent.iter().map(|sent| sent.line()).collect();
    print!("{text}");
    Ok(())
}

/// Prints when the bare client sent each of the bodies of `profile`'s run, one at a time.
pub(crate) fn lone(profile: &Path, address: std::net::SocketAddr) -> Result<()> {
    let bodies = stage::bodies(profile, u64::MAX)?;
    let clock = stage::runtime()?.block_on(async { SystemClock::new() });
    let mut text = String::new();
    let note = || text.push_str(&Sent { at: clock.now().as_nanos() as u64, ..Sent::default() }.line());
    crate::bare::one_by_one(address, bodies, note)?;
    print!("{text}");
    Ok(())
}

/// Starts one of the two on a run of `stage` before a new gate, and reads what it prints.
pub(crate) fn measure(
    streaming: &parts::Streaming<'_>,
    part: &str,
    change: impl Fn(&mut wsp_reference::LocalRun<'_>),
) -> Result<Vec<Sent>> {
    let parts::Streaming { program, stage, env, gate } = *streaming;
    let (gate, url) = parts::gate(program, gate)?;
    let profile = stage.run(&url, change)?;
    let mut command = parts::own(part)?;
    command.arg(&profile);
    if part == "lone" {
        command.arg(url.trim_start_matches("http://"));
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let (output, _) = crate::process::Running::start(command)?.end()?;
    let sent = Sent::read(&output)?;
    parts::served(gate, sent.len() as u64)?;
    stage.clear(&profile)?;
    Ok(sent)
}

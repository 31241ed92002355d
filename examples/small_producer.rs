//! A producer of another trade: readings from two CSV files (`time,sensor,value`), replayed at 600 times their speed and at
//! most 500 a second, in order per sensor, into an intake that answers `201 Created`. A file's cursor is a line number.
//!
//! ```text
//! north.csv ─┐
//! south.csv ─┴─► merge ──► pace ──► throttle ──► push ──► checkpoint: north.cursor, south.cursor
//! ```
//!
//! `cargo run --example small_producer -- http://HOST/PATH FOLDER`

use std::{num::NonZeroUsize, path::Path, time::Duration};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use wsp::checkpoint::{CheckpointError, CheckpointExt, CheckpointOptions, CountFiles, Counts};
use wsp::clock::SystemClock;
use wsp::deliver::{
    Attempt, Cause, Decided, Delivery, DeliveryMode, Endpoint, HttpGate, Item, Judge, PushError, PushExt, PushOptions,
    Stray, Verdict,
};
use wsp::merge::{Batch, merge};
use wsp::pace::{PaceExt, Pacing, RateLimit, RatePlan, ThrottleExt, Timed};
use wsp::time::Micros;

const FILES: [&str; 2] = ["north.csv", "south.csv"];
type Any = Box<dyn std::error::Error>;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} line {1}: {2}")]
    Line(&'static str, u64, String),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

#[derive(Clone)]
struct Reading {
    file_line: (usize, u64),
    ts: Micros,
    sensor: u64,
    id: [u8; 32],
    body: Bytes,
}

impl Timed for Reading {
    fn ts(&self) -> Micros {
        self.ts
    }
    fn set_due(&mut self, _: Duration) {}
}

impl Item for Reading {
    fn id(&self) -> &[u8; 32] {
        &self.id
    }
    fn line(&self) -> u64 {
        self.sensor
    }
    fn body(&self) -> &Bytes {
        &self.body
    }
    fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }
}

/// A batch of one row.
impl Batch for Reading {
    type Key = (usize, u64);
    fn times(&self) -> &[Micros] {
        std::slice::from_ref(&self.ts)
    }
    fn key(&self, _: usize) -> (usize, u64) {
        self.file_line
    }
}

/// 201 is delivered, 409 was delivered before; a busy server is tried again.
struct Created;

impl Judge<Reading> for Created {
    type Delivered = (usize, u64);
    type Error = Error;

    fn judge(&self, _: &Reading, attempt: &Attempt) -> Result<Verdict, Stray> {
        let why = format!("{attempt:?}");
        let Attempt::Answered(answer) = attempt else { return Ok(Verdict::Retry { why, retry_after: None }) };
        Ok(match answer.status() {
            201 => Verdict::Decided(Decided::Accepted),
            409 => Verdict::Decided(Decided::Duplicate),
            429 | 500..=599 => Verdict::Retry { why, retry_after: answer.retry_after() },
            _ => Verdict::Rejected { why },
        })
    }

    fn delivered(&self, reading: &Reading, _: &Decided, _: Delivery) -> (usize, u64) {
        reading.file_line
    }

    fn failed(&self, reading: &Reading, _: Cause, why: &str) -> Error {
        Error::Line(FILES[reading.file_line.0], reading.file_line.1 + 1, why.to_owned())
    }
}

/// The readings of a file's text, from a line on.
fn readings(file: usize, from: u64, text: &str) -> impl Stream<Item = Result<Reading, Error>> + use<> {
    let lines: Vec<_> = text.lines().map(str::to_owned).zip(0..).skip(from as usize).collect();
    stream::iter(lines.into_iter().map(move |(text, line)| {
        let row = text.split_once(',').and_then(|(ts, rest)| {
            let (ts, (sensor, value)) = (Micros::parse(ts.as_bytes())?, rest.split_once(',')?);
            let body = format!(r#"{{"ts":"{ts}","sensor":{sensor},"value":{value}}}"#).into();
            let id = Sha256::digest(format!("{file}:{line}")).into();
            Some(Reading { file_line: (file, line), ts, sensor: sensor.parse().ok()?, id, body })
        });
        row.ok_or_else(|| Error::Line(FILES[file], line + 1, format!("no reading: {text}")))
    }))
}

/// Replays what is not delivered yet, and says how much that was.
pub async fn replay(url: &str, folder: &Path) -> Result<u64, Any> {
    let clock = SystemClock::new();
    let cursors = CountFiles::new(FILES.map(|file| folder.join(file).with_extension("cursor")));
    let from = cursors.load()?;
    let texts = FILES.map(|file| std::fs::read_to_string(folder.join(file)));
    let sources = texts.into_iter().zip(&from).enumerate().map(|(i, (text, from))| Ok(readings(i, *from, &text?)));
    let gate = HttpGate::new(Endpoint::post(&url.parse()?, http::HeaderMap::new())?, clock)?;
    let delivered = merge(sources.collect::<Result<Vec<_>, std::io::Error>>()?)
        .map_ok(|rows| stream::iter(rows.into_iter().map(|row| Ok((*row.batch).clone()))))
        .try_flatten()
        .pace(clock, Pacing::new(600.0)?)
        .throttle(clock, Some(RatePlan::steady(RateLimit::new(500.0, None, None)?)), None)
        .push(gate, Created, PushOptions::new(clock).mode(DeliveryMode::Keyed(NonZeroUsize::new(4).ok_or("0")?)))
        .checkpoint(cursors, Counts::from(from), CheckpointOptions::new(clock));
    Ok(delivered.try_fold(0, |sent, _| async move { Ok(sent + 1) }).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Any> {
    let arg = |n| std::env::args().nth(n).ok_or("usage: small_producer URL FOLDER");
    println!("{} readings delivered", replay(&arg(1)?, Path::new(&arg(2)?)).await?);
    Ok(())
}

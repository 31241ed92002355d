//! What a seed stands for: files of rows, how they are replayed, and everything that goes wrong on the way.
//!
//! ```text
//! seed ──► ReplayPlan { inputs (lines of files) · settings · gate · disk · blows }
//! ```

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use wsp::deliver::{Adaptive, DeliveryMode, RetryPolicy};
use wsp::pace::{Pacing, RateLimit, RatePlan};
use wsp::random::Random;
use wsp::time::Micros;
use wsp_replay::{Columns, InputSpec, Options, Own, Rules, StatePlace, Statuses, Target, Template};

use super::super::hub::Blow;
use super::super::plan::{GatePlan, below, blow, pick};

/// Event time of the first row.
const START: i64 = 1_767_225_600_000_000;
/// The status of an event that the gate refuses.
pub(super) const REFUSED: u16 = 422;
/// Where state and dead letters are on the simulated disk.
pub(super) const STATE: &str = "/data/state";
pub(super) const LETTERS: &str = "/data/letters.jsonl";

/// A case.
#[derive(Debug, Clone)]
pub(super) struct ReplayPlan {
    /// All rows in canonical order, by which they are numbered.
    pub(super) rows: Vec<Row>,
    /// By input: its files.
    files: Vec<u64>,
    /// The row behind which a line that is none stands; no event after it may be sent.
    pub(super) flaw: Option<usize>,
    pub(super) mode: DeliveryMode,
    pacing: Pacing,
    rate: Option<RatePlan>,
    retry: RetryPolicy,
    adaptive: Option<Adaptive>,
    outage: Duration,
    pub(super) save_every: u64,
    pub(super) limit: Option<u64>,
    /// Ids are a column's values; else they are hashes.
    pub(super) id_column: bool,
    pub(super) refusing: Refusing,
    pub(super) gate: GatePlan,
    /// Of ten thousand operations of the disk, so many fail; each takes so many milliseconds at most.
    pub(super) failing: u64,
    pub(super) disk_latency: u64,
    /// Another process is started beside one that is stalled.
    pub(super) rivals: bool,
    /// What befalls its processes, one after the other, each at one of its steps.
    pub(super) blows: Vec<(u64, Blow)>,
}

/// What becomes of events that the gate refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusing {
    /// The first one ends the replay.
    Ends,
    /// They are left out.
    Dropped,
    /// They are written to the file of dead letters.
    Letters,
}

/// A row, as the simulation knows it without asking the program's code.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) input: usize,
    pub(super) file: usize,
    /// In its file.
    pub(super) at: u64,
    pub(super) ts: i64,
    pub(super) key: u64,
    /// Of all rows, and so its line, too.
    pub(super) id: String,
    /// Its line, which is its body.
    pub(super) line: String,
}

impl ReplayPlan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::of(&[seed, 0x7265_706c_6179]);
        let r = &mut random;
        let (rows, files) = draw_rows(r);
        let flaw = (r.chance(1, 10) && !rows.is_empty()).then(|| r.below(rows.len() as u64) as usize);
        let n = NonZeroUsize::MIN.saturating_add(1 + r.below(15) as usize);
        let mode =
            *pick(r, &[DeliveryMode::Strict, DeliveryMode::Keyed(n), DeliveryMode::Keyed(n), DeliveryMode::Free(n)]);
        let speedup = *pick(r, &[0.0, 0.0, 1.0, 250.0]);
        let gap = r.chance(1, 4).then(|| Duration::from_millis(200));
        let pacing = Pacing::new(speedup).unwrap_or_else(|_| Pacing::off()).max_idle_gap(gap);
        let rate = r.chance(1, 4).then(|| RateLimit::new(20.0 + r.below(400) as f64, None, None).ok()).flatten();
        let millis = Duration::from_millis;
        let retry = RetryPolicy {
            max_attempts: 3 + r.below(30) as u32,
            base_delay: millis(1 + r.below(300)),
            max_delay: millis(50 + r.below(5_000)),
            max_retry_after: millis(500 + r.below(5_000)),
        };
        let adaptive =
            r.chance(1, 4).then(|| Adaptive { min: 1 + r.below(3) as u32, slow: millis(1 + below(r, &[20, 800])) });
        let refusing = *pick(r, &[Refusing::Ends, Refusing::Dropped, Refusing::Letters, Refusing::Letters]);
        let gate = GatePlan {
            statuses: [500, 502, 503, 408, 425],
            garbage: 0,
            ..GatePlan::draw(r, refusing == Refusing::Ends)
        };
        let rivals = r.chance(1, 2);
        let blows = (0..r.below(10)).map(|_| {
            let at = 1 + below(r, &[5, 20, 60, 300]);
            let blow = blow(r, rivals, None);
            (at, if blow == Blow::Crash && r.chance(1, 2) { Blow::PowerLoss } else { blow })
        });
        let blows = blows.collect();
        Self {
            flaw,
            mode,
            pacing,
            rate: rate.map(RatePlan::steady),
            retry,
            adaptive,
            outage: millis(2_000 + below(r, &[10_000, 300_000])),
            save_every: 1 + below(r, &[2, 20, 200]),
            limit: r.chance(1, 8).then(|| 1 + r.below(rows.len() as u64 + 5)),
            id_column: r.chance(1, 2),
            refusing,
            gate,
            failing: if r.chance(1, 3) { r.below(60) } else { 0 },
            disk_latency: *pick(r, &[1, 5, 40, 400]),
            rivals,
            blows,
            rows,
            files,
        }
    }

    /// Writes the files of all inputs to a folder of the machine.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        for (input, files) in self.files.iter().enumerate() {
            fs::create_dir(folder.join(format!("in{input}")))?;
            for file in 0..*files as usize {
                let text: String = self.lines(input, file).collect();
                fs::write(folder.join(format!("in{input}/{file}.jsonl")), text)?;
            }
        }
        Ok(())
    }

    fn lines(&self, input: usize, file: usize) -> impl Iterator<Item = String> {
        let rows = self.rows.iter().enumerate().filter(move |(_, row)| (row.input, row.file) == (input, file));
        rows.map(|(n, row)| {
            let flaw = if self.flaw == Some(n) { "nonsense\n" } else { "" };
            format!("{}\n{flaw}", row.line)
        })
    }

    /// Events from this number on must not be sent.
    pub(super) fn end(&self) -> usize {
        let sound = self.flaw.map_or(self.rows.len(), |flaw| flaw + 1);
        sound.min(self.limit.unwrap_or(u64::MAX) as usize)
    }

    /// Whether it ends with the flaw, however often it is started.
    pub(super) fn is_flawed(&self) -> bool {
        self.flaw.is_some_and(|flaw| self.limit.is_none_or(|limit| limit > flaw as u64 + 1))
    }

    /// The replay's settings over the files in `folder`.
    pub(super) fn options(&self, folder: &Path) -> Result<Options, wsp_replay::Error> {
        let text = |name: &str| vec![name.to_owned()];
        let inputs = (0..self.files.len()).map(|input| InputSpec {
            name: format!("in{input}"),
            pattern: folder.join(format!("in{input}")).display().to_string(),
            own: Own::default(),
        });
        let columns = Columns {
            time: text("t"),
            key: text("k"),
            id: if self.id_column { text("id") } else { Vec::new() },
            body: None,
        };
        let drop = if self.refusing == Refusing::Dropped { Statuses::one(REFUSED) } else { Statuses::default() };
        let letters = self.refusing == Refusing::Letters;
        let target = Target::new("http://127.0.0.1:1/events", "POST", &[], &[])?;
        Ok(Options {
            headers: vec![Template::new("X-Key: {k}")?],
            rules: Rules { drop, dead_letters: letters, ..Rules::default() },
            mode: self.mode,
            adaptive: self.adaptive,
            retry: self.retry,
            outage: self.outage,
            pacing: self.pacing,
            rate: self.rate.clone(),
            limit: self.limit,
            dead_letter: letters.then(|| LETTERS.into()),
            state: Some(StatePlace::Folder(STATE.into())),
            save_every: self.save_every,
            ..Options::new(inputs.collect(), columns, target)
        })
    }

    /// Events that a crash can make a next start send again, at most.
    pub(super) fn bound(&self) -> u64 {
        self.save_every + self.mode.in_flight() as u64
    }
}

/// The rows of one to three inputs in canonical order, and how many files each input has.
fn draw_rows(r: &mut Random) -> (Vec<Row>, Vec<u64>) {
    let inputs = 1 + r.below(3) as usize;
    let (size, keys) = (*pick(r, &[12, 40, 90]), *pick(r, &[1, 3, 12, 1_000]));
    let (ties, gap) = (r.below(9), *pick(r, &[1_000, 50_000, 400_000]));
    let files: Vec<u64> = (0..inputs).map(|_| 1 + r.below(3)).collect();
    let mut rows = Vec::new();
    for (input, files) in files.iter().enumerate() {
        let (mut ts, mut file, mut row) = (START + r.below(gap).cast_signed(), 0, 0);
        for seq in 0..=r.below(size) {
            if seq > 0 && !r.chance(ties, 10) {
                ts += r.below(gap).cast_signed();
            }
            // A file ends anywhere, and there may be ones without rows.
            while file + 1 < *files && r.chance(1, 20) {
                (file, row) = (file + 1, 0);
            }
            let (key, id) = (r.below(keys), format!("{input}-{seq}"));
            let line = format!("{{\"t\":\"{}\",\"k\":{key},\"id\":\"{id}\"}}", Micros(ts));
            rows.push(Row { input, file: file as usize, at: row, ts, key, id, line });
            row += 1;
        }
    }
    rows.sort_by_key(|row| (row.ts, row.input, row.file, row.at));
    (rows, files)
}

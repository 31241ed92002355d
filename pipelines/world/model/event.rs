//! The items of the chain: `RowBatch` → `RowSlice` (rows in canonical order) → `Event` → `Delivered`.
//!
//! ```text
//! oracle ──RowBatch──► merge ──Vec<RowSlice>──► envelope ──Vec<Event>──► pace, throttle ──Event──► push ──Delivered──► checkpoint
//! ```

use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use wsp::merge::Slice;
use wsp::parquet_read::Rows;
use wsp::time::Micros;

/// The largest body that IG takes, in bytes; a larger one is answered with 413 (contract, section 6).
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Where a row stands in its run. The order of positions is canonical only within one output;
/// over outputs it is (`ts`, `rank`, `file`, `row`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The output's place in the run's order (context before traffic, in the policy's order).
    pub rank: u16,
    /// Index into the output's own list of files.
    pub file: u32,
    /// 0-based row in that file.
    pub row: u64,
    /// How many rows of this output this run delivers before this one: 0, 1, 2, … without a gap,
    /// counted from where the run resumed. It lets a watermark see a hole without knowing the files.
    pub seq: u64,
}

/// Decoded rows of one file of one output, in file order.
#[derive(Debug)]
pub struct RowBatch {
    rank: u16,
    read: Rows,
}

impl RowBatch {
    /// Rows of the output at `rank` as they were read.
    #[must_use]
    pub fn of(rank: u16, read: Rows) -> Self {
        Self { rank, read }
    }

    /// `times` holds the event time of each row of `rows`; `first_row` and `first_seq` are the
    /// [`Position::row`] and [`Position::seq`] of the first one.
    ///
    /// # Panics
    ///
    /// If `times` and `rows` differ in length.
    #[must_use]
    pub fn new(rank: u16, file: u32, first_row: u64, first_seq: u64, times: Vec<Micros>, rows: RecordBatch) -> Self {
        Self::of(rank, Rows::new(file as usize, first_row, first_seq, times, rows))
    }

    /// The output these rows belong to.
    #[must_use]
    pub fn rank(&self) -> u16 {
        self.rank
    }

    /// The file, an index into the output's list.
    #[must_use]
    pub fn file(&self) -> u32 {
        self.read.part() as u32
    }

    /// The event times, one a row.
    #[must_use]
    pub fn times(&self) -> &[Micros] {
        self.read.times()
    }

    /// The columns.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        self.read.columns()
    }

    /// The position of row `i` of this batch.
    #[must_use]
    pub fn position(&self, i: usize) -> Position {
        Position { rank: self.rank, file: self.file(), row: self.read.row(i), seq: self.read.seq(i) }
    }
}

/// Consecutive rows of one batch that stand next to each other in canonical order.
pub type RowSlice = Slice<RowBatch>;

/// One event, framed and ready to be sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where its row stands.
    pub position: Position,
    /// Its event time.
    pub ts: Micros,
    /// Hash of (order column, value): events with equal keys must not overtake each other.
    pub order_key: u64,
    /// The event id before hex: sha256 over primary key and pins.
    pub event_id: [u8; 32],
    /// The request body. Every attempt sends exactly these bytes.
    pub body: Bytes,
    /// When the schedule wants it sent, on the run's clock ([`wsp::clock::Clock::now`]); `None` without pacing.
    pub due: Option<Duration>,
}

/// What is known of an event: IG's decision about it (contract, section 6), or that an earlier start saw one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Written to the event bus.
    Admit,
    /// Was there already, with the same payload.
    Duplicate,
    /// Refused into quarantine; only where policy lets the run go on.
    Quarantine,
    /// An earlier start of the run saw it answered; this one doesn't send it.
    Earlier,
}

impl Decision {
    /// The word on the wire, where it comes from there.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Admit => "ADMIT",
            Decision::Duplicate => "DUPLICATE",
            Decision::Quarantine => "QUARANTINE",
            Decision::Earlier => "EARLIER",
        }
    }
}

/// An event that IG has answered, now or to an earlier start.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Where its row stands.
    pub position: Position,
    /// Its event time.
    pub ts: Micros,
    /// The event id before hex.
    pub event_id: [u8; 32],
    /// The answer.
    pub decision: Decision,
    /// Attempts it took; 0 for [`Decision::Earlier`] alone.
    pub attempts: u32,
    /// Some attempt before the last ended without an answer, so it may have been admitted by that one.
    pub ambiguous: bool,
    /// From the first attempt's start to the answer.
    pub latency: Duration,
    /// How much later than due its first attempt started; zero without pacing.
    pub lag: Duration,
}

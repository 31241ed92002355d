//! Reads rows of the Oracle again for their event ids, and compares them with what the evidence of a run's starts says.
//!
//! ```text
//! claims: last start · earlier ones ──► those that count from the same rows ──► one reading ──► digest at each count
//!                                                                               └─► ids for the gate to be asked about
//! ```

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use sha2::{Digest, Sha256};
use wsp::ahead::AheadExt;
use wsp::frame::FrameExt as _;
use wsp::merge::merge;

use crate::evidence::{DigestKind, EarlierOutput, EarlierStart, OutputSummary, Summary, ToldDigest};
use crate::model::{CheckList, EventDigest, Hex64, Micros, Reason, Refusal};
use crate::oracle::{Resume, Scan, View};

use super::prepare::{Prepared, PreparedOutput};

/// What one start says of its events, an output each.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// When an earlier start began; none for the last one.
    started: Option<Micros>,
    outputs: Vec<ToldDigest>,
}

impl Claim {
    /// That of the last start.
    pub(super) fn of_summary(summary: &Summary) -> Self {
        Self { started: None, outputs: summary.outputs.iter().map(OutputSummary::told).collect() }
    }

    /// That of an earlier start of `outputs` outputs; none where it was cut off.
    pub(super) fn of_earlier(start: &EarlierStart, outputs: usize) -> Option<Self> {
        let told: Option<Vec<_>> = start.outputs.iter().map(EarlierOutput::told).collect();
        let outputs = told.filter(|told| told.len() == outputs)?;
        Some(Self { started: Some(start.started), outputs })
    }

    /// Where its digests begin and how they are made. Claims that are equal in this are made of one reading.
    fn base(&self) -> Vec<(u64, DigestKind)> {
        self.outputs.iter().map(|told| (told.from, told.kind)).collect()
    }

    fn name(&self, output: Option<&PreparedOutput>) -> String {
        let output = output.map(|output| format!(" {}", output.view.output_id)).unwrap_or_default();
        match self.started {
            Some(started) => format!("digest{output}, start of {started}"),
            None => format!("digest{output}"),
        }
    }
}

/// Which events the gate is to be asked about: so many over what the last start answered.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Rows before its first one, by rank.
    after: Vec<u64>,
    every: u64,
}

impl Sample {
    /// `count` events of those that the start answered.
    pub(super) fn of(summary: &Summary, count: u64) -> Self {
        let after = summary.outputs.iter().map(|output| output.start.resumed_at).collect();
        Self { after, every: (summary.totals.settled() / count.max(1)).max(1) }
    }
}

/// Reads the rows of all claims and notes in `list` whether the digests are right. Answers the sampled events with their
/// ranks, `None` where the rows of the last start could not be read.
pub(super) async fn check(
    run: &Prepared,
    own: Claim,
    earlier: Vec<Claim>,
    sample: Option<Sample>,
    list: &mut CheckList,
) -> Option<Vec<(usize, [u8; 32])>> {
    let own_base = own.base();
    let mut readings: BTreeMap<_, Vec<Claim>> = BTreeMap::new();
    for claim in earlier.into_iter().chain([own]) {
        readings.entry(claim.base()).or_default().push(claim);
    }
    let mut sampled = None;
    for (base, claims) in readings {
        let sample = sample.as_ref().filter(|_| base == own_base);
        match read(run, &base, &claims, sample).await {
            Err(refusal) => claims.iter().for_each(|claim| list.refuse(claim.name(None), refusal.clone())),
            Ok(read) => {
                for claim in &claims {
                    note(run, claim, &read.outputs, list);
                }
                if base == own_base {
                    sampled = Some(read.sampled);
                }
            }
        }
    }
    sampled
}

fn note(run: &Prepared, claim: &Claim, found: &[OutputRead], list: &mut CheckList) {
    for ((output, told), found) in run.outputs.iter().zip(&claim.outputs).zip(found) {
        let ToldDigest { from, events, digest, .. } = told;
        let name = claim.name(Some(output));
        list.note(name, found.compare(told), |()| format!("{events} event ids from row {from} on give {digest}"));
    }
}

/// What a reading came to.
struct Read {
    outputs: Vec<OutputRead>,
    sampled: Vec<(usize, [u8; 32])>,
}

/// The rows of one output, read up to the last event that a claim covers.
struct OutputRead {
    rows_before_files: Vec<u64>,
    digesting: Digesting,
    count: u64,
    /// At which counts a claim has a digest, and those digests as far as they are read.
    wanted: BTreeSet<u64>,
    digests: BTreeMap<u64, Hex64>,
}

enum Digesting {
    Chain(Sha256),
    Sum(EventDigest),
}

impl Digesting {
    fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Chain => Self::Chain(Sha256::new()),
            DigestKind::Sum => Self::Sum(EventDigest::default()),
        }
    }

    fn take(&mut self, event_id: &[u8; 32], row: u64) {
        match self {
            Self::Chain(hash) => hash.update(event_id),
            Self::Sum(sum) => *sum += EventDigest::of(event_id, row),
        }
    }

    fn told(&self) -> Hex64 {
        match self {
            Self::Chain(hash) => Hex64::of_digest(hash.clone().finalize().into()),
            Self::Sum(sum) => sum.to_hex(),
        }
    }
}

impl OutputRead {
    fn new(output: &PreparedOutput, kind: DigestKind, wanted: BTreeSet<u64>) -> Self {
        let rows_before_files = output.files().rows_before_files();
        let mut read =
            Self { rows_before_files, digesting: Digesting::new(kind), count: 0, wanted, digests: BTreeMap::new() };
        read.mark();
        read
    }

    fn last(&self) -> u64 {
        self.wanted.last().copied().unwrap_or(0)
    }

    fn is_done(&self) -> bool {
        self.count >= self.last()
    }

    fn take(&mut self, event_id: &[u8; 32], row: u64) {
        self.digesting.take(event_id, row);
        self.count += 1;
        self.mark();
    }

    fn mark(&mut self) {
        if self.wanted.contains(&self.count) {
            self.digests.insert(self.count, self.digesting.told());
        }
    }

    fn compare(&self, told: &ToldDigest) -> Result<(), Refusal> {
        let ToldDigest { from, events, digest, .. } = told;
        let mismatch = |detail: String| Err(Refusal::new(Reason::EvidenceMismatch, detail));
        match self.digests.get(events) {
            None => {
                mismatch(format!("it covers {events} events from row {from} on, the Oracle has {} there", self.count))
            }
            Some(found) if found == digest => Ok(()),
            Some(found) => mismatch(format!("the evidence has {digest}, the Oracle gives {found}")),
        }
    }
}

async fn read(
    run: &Prepared,
    base: &[(u64, DigestKind)],
    claims: &[Claim],
    sample: Option<&Sample>,
) -> Result<Read, Refusal> {
    let wanted = |rank: usize| claims.iter().map(|claim| claim.outputs[rank].events).collect();
    let outputs = run.outputs.iter().zip(base).enumerate();
    let mut outputs: Vec<_> =
        outputs.map(|(rank, (output, (_, kind)))| OutputRead::new(output, *kind, wanted(rank))).collect();
    let from: Vec<Resume> =
        run.outputs.iter().zip(base).map(|(output, (rows, _))| place(&output.view, *rows)).collect();
    let scan = Scan::new().limit(outputs.iter().map(OutputRead::last).max().unwrap_or(0));
    let mut events = merge(run.batches(scan, &from)).frame(run.framer()).ahead("wsp-verify", 8);
    let (mut seen, mut sampled) = (0_u64, Vec::new());
    while !outputs.iter().all(OutputRead::is_done) {
        let Some(chunk) = events.next().await.transpose()? else { break };
        for event in chunk {
            let rank = usize::from(event.position.rank);
            let Some(output) = outputs.get_mut(rank).filter(|output| !output.is_done()) else { continue };
            let row = output.rows_before_files[event.position.file as usize] + event.position.row;
            output.take(&event.event_id, row);
            let Some(Sample { after, every }) = sample else { continue };
            if row >= after[rank] {
                if seen.is_multiple_of(*every) {
                    sampled.push((rank, event.event_id));
                }
                seen += 1;
            }
        }
    }
    Ok(Read { outputs, sampled })
}

/// The place behind so many rows of a view.
fn place(view: &View, mut rows: u64) -> Resume {
    for (file, part) in view.parts.iter().enumerate() {
        if rows < part.rows {
            return Resume { file, row: rows, after: None };
        }
        rows -= part.rows;
    }
    Resume { file: view.parts.len(), row: 0, after: None }
}

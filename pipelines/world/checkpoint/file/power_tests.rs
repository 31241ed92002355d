//! Any saves on a disk that loses its power, under processes that die amid any operation.
//!
//! ```text
//! steps ──► Held on a MemoryDisk ──an operation is the last one──► killed, or power lost ──► opened anew ──► the rest
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use proptest::prelude::*;
use wsp::disk::{Disk, Fate, Host, MemoryDisk, Operation};
use wsp::random::Random;

use super::held::Held;
use super::place::Place;
use crate::checkpoint::{AnsweredRows, Beyond, Cursor, FileRows, Kept, OutputFiles, Views};
use crate::model::{Digested, EventDigest, Hex64, Micros, OutputId, Refusal};

const NOW: Micros = Micros(0);

/// What a producer does with its scope.
#[derive(Debug, Clone)]
enum Step {
    /// Saves what moved.
    Save(Moved),
    Publish,
    /// Publishes, and saves before the operation of this number.
    PublishAmid(u64, Moved),
    Load,
    /// Keeps other views than before.
    Views(u64),
    Finish,
    /// Lets the scope go and opens it anew.
    Reopen,
}

/// What was answered since the last save.
#[derive(Debug, Clone, Copy)]
struct Moved {
    /// Rows of each output, without a hole.
    by: [u64; 2],
    /// Rows of the first output beyond a hole.
    ahead: bool,
}

/// How a process ends.
#[derive(Debug, Clone)]
struct Death {
    /// Operations it lives for.
    after: u64,
    /// The power goes with it, and this decides what is left.
    power: Option<u64>,
}

/// A process: it dies before one of its operations, and may be interrupted before another one.
struct Process {
    left: AtomicU64,
    amid: Mutex<Option<(u64, Interruption)>>,
}

type Interruption = Box<dyn FnOnce() + Send>;

impl Process {
    fn new(left: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(left), amid: Mutex::default() })
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn interruption(&self) -> Option<Interruption> {
        let mut amid = self.amid.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, work) = amid.take()?;
        if left == 0 {
            return Some(work);
        }
        *amid = Some((left - 1, work));
        None
    }
}

impl Host for Process {
    fn fate(&self, _: &Operation<'_>) -> Fate {
        if let Some(work) = self.interruption() {
            work();
        }
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok_and(|left| left > 1) { Fate::Happens } else { Fate::Fails }
    }
}

/// The run: where it stands, and what is promised of what was saved.
struct Run {
    disk: MemoryDisk,
    outputs: [OutputId; 2],
    rows: [u64; 2],
    /// Rows of the first output that are answered beyond a hole.
    ahead: Option<(u64, u64)>,
    /// What a completed save or load has promised.
    promised: Kept,
    /// What a save that did not come to its end may have left.
    possible: Option<Kept>,
    views: (Option<Views>, Option<Views>),
}

impl Run {
    fn new() -> Self {
        let outputs = ["a", "b"].map(|name| name.parse().unwrap());
        Self {
            disk: MemoryDisk::new(),
            outputs,
            rows: [0; 2],
            ahead: None,
            promised: Kept::default(),
            possible: None,
            views: (None, None),
        }
    }

    fn place(&self, process: &Arc<Process>) -> Place {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.seen_by(process.clone()));
        Place::new(disk, Hex64::sha256("scope"), "/data/checkpoints/scope".into())
    }

    /// What the next save is given, and what is kept with it.
    fn advance(&mut self, Moved { by, ahead }: Moved) -> (Kept, Kept) {
        let moved: Vec<usize> = (0..2).filter(|i| by[*i] > 0).collect();
        if by[0] > 0 {
            // The hole is filled.
            self.rows[0] = self.ahead.take().map_or(self.rows[0], |(_, last)| last);
        }
        for i in &moved {
            self.rows[*i] += by[*i];
        }
        if ahead && self.ahead.is_none() {
            self.ahead = Some((self.rows[0] + 2, self.rows[0] + 3));
        }
        let beyond: Vec<Beyond> = self.ahead.into_iter().map(|rows| self.beyond(rows)).collect();
        let cursor = |i: usize| Cursor {
            output_id: self.outputs[i].clone(),
            last_file: "f".to_owned(),
            last_row_index: self.rows[i],
            last_ts_utc: None,
            last_event_id: Some(Hex64::sha256(format!("{i} {}", self.rows[i]))),
            digested: Some(Digested {
                from: i as u64,
                events: self.rows[i],
                digest: EventDigest::of(&[7; 32], self.rows[i]),
            }),
        };
        let given = Kept { cursors: moved.into_iter().map(cursor).collect(), beyond: beyond.clone() };
        let all = (0..2).filter(|i| self.rows[*i] > 0).map(cursor).collect();
        (given, Kept { cursors: all, beyond })
    }

    fn beyond(&self, rows: (u64, u64)) -> Beyond {
        let files = vec![AnsweredRows { file: "f".to_owned(), rows: vec![rows] }];
        Beyond { output_id: self.outputs[0].clone(), cursor: None, files }
    }

    fn save(&mut self, held: &Held, moved: Moved) -> Result<(), Refusal> {
        let (given, all) = self.advance(moved);
        self.possible = Some(all.clone());
        held.save(given, NOW)?;
        (self.promised, self.possible) = (all, None);
        Ok(())
    }

    /// Opens the scope and loads what is kept, which has to be what was promised, or what was being saved.
    fn open(&mut self, process: &Arc<Process>) -> Result<Held, Refusal> {
        let held = Held::take(self.place(process), NOW)?;
        self.load(&held)?;
        Ok(held)
    }

    fn keep_views(&mut self, held: &Held, rows: u64) -> Result<(), Refusal> {
        let (name, footer_sha256) = ("f".to_owned(), Hex64::sha256("footer"));
        let files = vec![FileRows { name, rows, bytes: 1, footer_sha256, e_tag: None }];
        let views = Views(vec![OutputFiles { output_id: self.outputs[0].clone(), files }]);
        self.views.1 = Some(views.clone());
        held.keep_views(&views)?;
        self.views = (Some(views), None);
        Ok(())
    }

    fn load(&mut self, held: &Held) -> Result<(), Refusal> {
        let views = held.views()?;
        assert!(views == self.views.0 || views.is_some() && views == self.views.1, "{views:?}, not {:?}", self.views);
        self.views = (views, None);
        let mut kept = held.load(&self.outputs, NOW)?;
        // A list whose rows are passed by the cursor says nothing.
        let passed = row(&kept, &self.outputs[0]);
        kept.beyond.retain(|beyond| beyond.files.iter().any(|file| file.rows.iter().any(|rows| rows.1 > passed)));
        assert!(
            kept == self.promised || Some(&kept) == self.possible.as_ref(),
            "{kept:?} was loaded; promised was {:?}, possible {:?}",
            self.promised,
            self.possible
        );
        (self.promised, self.possible) = (kept, None);
        self.go_back();
        Ok(())
    }

    /// Goes on from what is promised.
    fn go_back(&mut self) {
        self.rows = self.outputs.each_ref().map(|output| row(&self.promised, output));
        self.ahead = self.promised.beyond.first().map(|beyond| beyond.files[0].rows[0]);
    }

    fn take_step(&mut self, process: &Arc<Process>, held: &mut Option<Arc<Held>>, step: &Step) -> Result<(), Refusal> {
        let open = match held.take() {
            Some(open) => open,
            None => Arc::new(self.open(process)?),
        };
        match step {
            Step::Save(moved) => self.save(&open, *moved)?,
            Step::Publish => drop(open.publish(NOW)?),
            Step::PublishAmid(at, moved) => self.publish_amid(process, &open, *at, *moved)?,
            Step::Load => self.load(&open)?,
            Step::Views(rows) => self.keep_views(&open, *rows)?,
            Step::Finish => open.finish(NOW)?,
            Step::Reopen => return Ok(()),
        }
        *held = Some(open);
        Ok(())
    }

    /// Publishes what is saved, while another save comes before its operation number `at`.
    fn publish_amid(&mut self, process: &Arc<Process>, held: &Arc<Held>, at: u64, moved: Moved) -> Result<(), Refusal> {
        // The first save publishes too and would wait for this publication.
        self.save(held, Moved { by: [1, 0], ahead: false })?;
        let (given, all) = self.advance(moved);
        let saved = Arc::new(Mutex::new(None));
        let (told, by_whom) = (saved.clone(), held.clone());
        let work = move || *told.lock().unwrap() = Some(by_whom.save(given, NOW));
        *process.amid.lock().unwrap() = Some((at, Box::new(work)));
        let published = held.publish(NOW);
        let unused = process.amid.lock().unwrap().take();
        match saved.lock().unwrap().take() {
            Some(Ok(_)) => self.promised = all,
            Some(Err(_)) => self.possible = Some(all),
            None => {
                // It came to nothing.
                drop(unused);
                self.go_back();
            }
        }
        published.map(drop)
    }

    /// What a legacy producer finds: cursor files alone, whole, and none of them ahead of what was saved.
    fn check_files(&self) {
        let most = self.possible.as_ref().unwrap_or(&self.promised);
        for output in &self.outputs {
            let path = format!("/data/checkpoints/scope/output_id={output}/cursor.json");
            let Some(bytes) = self.disk.content(path.as_ref()) else { continue };
            let cursor: Cursor = serde_json::from_slice(&bytes).expect("a cursor file is whole");
            assert!(cursor.last_row_index <= row(most, output), "{cursor:?} is ahead of {most:?}");
        }
    }
}

fn row(kept: &Kept, output: &OutputId) -> u64 {
    let cursor = kept.cursors.iter().find(|cursor| cursor.output_id == *output);
    cursor.map_or(0, |cursor| cursor.last_row_index)
}

/// Takes the steps, with one death after the other; what a death leaves is opened by the next process.
fn live_through(steps: &[Step], deaths: &[Death]) {
    let mut run = Run::new();
    let mut steps = steps.iter();
    for death in deaths.iter().cloned().chain([Death { after: u64::MAX, power: Some(0) }]) {
        let process = Process::new(death.after);
        let mut held = None;
        for step in steps.by_ref() {
            let taken = run.take_step(&process, &mut held, step);
            run.check_files();
            if process.is_dead() {
                break;
            }
            taken.unwrap();
        }
        drop(held);
        if let Some(seed) = death.power {
            let mut random = Random::of(&[seed]);
            run.disk.lose_power(&mut |bound| random.below(bound));
        }
        run.check_files();
    }
    let process = Process::new(u64::MAX);
    run.open(&process).unwrap();
}

/// A cursor without the views that it counts in would be believed more than one with them.
#[test]
fn a_reset_that_is_cut_off_leaves_positions_with_their_views_or_none() {
    for operations in 1.. {
        let mut done = false;
        for power in [None, Some(1), Some(2), Some(3), Some(4), Some(5)] {
            let mut run = Run::new();
            let process = Process::new(u64::MAX);
            let held = run.open(&process).unwrap();
            run.keep_views(&held, 7).unwrap();
            run.save(&held, Moved { by: [2, 1], ahead: true }).unwrap();
            held.finish(NOW).unwrap();
            drop(held);
            done = Held::reset(run.place(&Process::new(operations)), &run.outputs, NOW).is_ok();
            if let Some(seed) = power {
                let mut random = Random::of(&[seed]);
                run.disk.lose_power(&mut |bound| random.below(bound));
            }
            let held = Held::take(run.place(&process), NOW).unwrap();
            let (kept, views) = (held.load(&run.outputs, NOW).unwrap(), held.views().unwrap());
            let whole = kept == Kept::default() || views == run.views.0;
            assert!(whole, "cut off at operation {operations}, power {power:?}: {kept:?}, {views:?}");
            assert!(!done || kept == Kept::default() && views.is_none(), "operation {operations}: {kept:?}, {views:?}");
        }
        if done {
            assert!(operations > 8, "each file and folder was one: {operations}");
            break;
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let moved = || ([0_u64..3, 0_u64..3], any::<bool>()).prop_map(|(by, ahead)| Moved { by, ahead });
    prop_oneof![
        4 => moved().prop_map(Step::Save),
        2 => Just(Step::Publish),
        2 => (0_u64..30, moved()).prop_map(|(at, moved)| Step::PublishAmid(at, moved)),
        1 => Just(Step::Load),
        1 => (1_u64..4).prop_map(Step::Views),
        2 => Just(Step::Finish),
        1 => Just(Step::Reopen),
    ]
}

fn death() -> impl Strategy<Value = Death> {
    let after = prop_oneof![0_u64..40, 0_u64..200];
    (after, proptest::option::weighted(0.7, any::<u64>())).prop_map(|(after, power)| Death { after, power })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_promised_is_there_whatever_dies_and_whatever_the_power_takes(
        steps in proptest::collection::vec(step(), 1..12),
        deaths in proptest::collection::vec(death(), 0..4),
    ) {
        live_through(&steps, &deaths);
    }
}

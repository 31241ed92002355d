//! The model of the database behind leased checkpoints: each request is one statement that happens whole or not at all,
//! now, later or never, whether or not its answer comes through.
//!
//! ```text
//! LeasedScope (the real one) ──request──► there ──► lease row, cursors ──► back ──► answer, or none
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use wsp_world::checkpoint::leased::{Acquired, Answer, Claim, Fault, Holder, Loaded, Saving, ScopeTable};
use wsp_world::checkpoint::{Beyond, Cursor, Kept, RowCursors};
use wsp_world::model::{Hex64, OutputId};

use super::hub::{Hub, ProcessId};
use super::judge::{Judge, Promise, broken};
use super::plan::StorePlan;

/// How long a process waits for one answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The database. Clones share it.
#[derive(Clone)]
pub(super) struct Database {
    hub: Hub,
    judge: Judge,
    plan: Arc<StorePlan>,
    scopes: Arc<Mutex<BTreeMap<Hex64, Scope>>>,
}

/// A scope's row of the lease table, its cursors, and the texts beside them.
#[derive(Debug, Default)]
struct Scope {
    owner: String,
    epoch: i64,
    seq: i64,
    expires: Duration,
    cursors: BTreeMap<OutputId, Cursor>,
    beside: Option<String>,
    views: Option<String>,
}

/// What of the text the judge wants to know.
#[derive(Deserialize)]
struct Text {
    outputs: Vec<Beyond>,
}

impl Scope {
    fn holder(&self) -> Holder {
        Holder { owner: self.owner.clone(), epoch: self.epoch, until: format!("{:?}", self.expires) }
    }

    fn is_held_by(&self, claim: &Claim) -> bool {
        self.owner == claim.owner && self.epoch == claim.epoch
    }
}

impl Database {
    pub(super) fn new(hub: Hub, judge: Judge, plan: StorePlan) -> Self {
        Self { hub, judge, plan: Arc::new(plan), scopes: Arc::default() }
    }

    /// The database as `process` reaches it.
    pub(super) fn reached_by(&self, process: ProcessId) -> Table {
        Table { database: self.clone(), process }
    }
}

/// What a process calls itself.
pub(super) fn owner(process: ProcessId) -> String {
    format!("p{process}")
}

/// The database as one process reaches it.
pub(super) struct Table {
    database: Database,
    process: ProcessId,
}

impl Table {
    /// Sends a statement about `scope`.
    async fn request<T: Send + 'static>(
        &self,
        name: &'static str,
        scope: &Hex64,
        statement: impl FnOnce(&mut Scope, Duration) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let Self { database, process } = self;
        let Database { hub, judge, plan, scopes } = database;
        let process = *process;
        if !hub.step(process) {
            return std::future::pending().await;
        }
        let (there, back, fails, done) = hub.draw(|r| {
            let millis = |r: &mut wsp::random::Random| Duration::from_millis(r.below(plan.latency + 1));
            (millis(r), millis(r), r.chance(plan.failing, 1_000), r.chance(plan.carried_out, 10))
        });
        let slot = hub.slot(process);
        slot.fill_after(TIMEOUT, || Err(Fault::Away("no answer in time".to_owned())));
        if fails {
            judge.count(|totals| totals.store_faults += 1);
        }
        // A request that fails may have got lost on the way there, or its answer on the way back.
        if !fails || done {
            let (slot, scope, hub, scopes) = (slot.clone(), scope.clone(), hub.clone(), scopes.clone());
            hub.clone().later(there, move || {
                let said = {
                    let mut scopes = scopes.lock().unwrap_or_else(PoisonError::into_inner);
                    statement(scopes.entry(scope).or_default(), hub.now())
                };
                hub.note(format_args!("database carries out p{process} {name}"));
                if !fails {
                    slot.fill_after(back, move || Ok(said));
                }
            });
        }
        if fails {
            slot.fill_after(there + back, || Err(Fault::Away("simulated".to_owned())));
        }
        let answer = slot.reply().await;
        if !hub.step(process) {
            return std::future::pending().await;
        }
        hub.note(format_args!("p{process} has of {name}: {}", if answer.is_ok() { "an answer" } else { "none" }));
        answer
    }

    /// Tells the judge until when the process may believe to hold the scope.
    fn note_hold<T>(&self, asked: Duration, lease: Duration, held: bool, answer: Result<T, Fault>) -> Result<T, Fault> {
        if held {
            self.database.judge.holds(self.process, asked + lease);
        }
        answer
    }
}

impl ScopeTable<RowCursors> for Table {
    async fn acquire(&self, scope: &Hex64, owner: &str, lease: Duration) -> Result<Acquired, Fault> {
        let (asked, owner) = (self.database.hub.now(), owner.to_owned());
        let answer = self
            .request("acquire", scope, move |row, now| {
                if row.owner != owner && row.expires > now {
                    return Acquired::Busy(row.holder());
                }
                if row.owner != owner {
                    (row.owner, row.epoch, row.seq) = (owner, row.epoch + 1, 0);
                }
                row.expires = now + lease;
                Acquired::Epoch(row.epoch)
            })
            .await;
        let held = matches!(answer, Ok(Acquired::Epoch(_)));
        self.note_hold(asked, lease, held, answer)
    }

    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<Answer, Fault> {
        let (asked, by) = (self.database.hub.now(), claim.clone());
        let answer = self
            .request("renew", &claim.scope, move |row, now| {
                if !row.is_held_by(&by) {
                    return Answer::Lost(Some(row.holder()));
                }
                row.expires = now + lease;
                Answer::Done
            })
            .await;
        let held = answer == Ok(Answer::Done);
        self.note_hold(asked, lease, held, answer)
    }

    async fn save(&self, claim: &Claim, saving: Saving<'_>, lease: Duration) -> Result<Answer, Fault> {
        let (asked, by) = (self.database.hub.now(), claim.clone());
        let (seq, cursors, beside) = (saving.seq, saving.row.cursors.clone(), saving.row.beside.clone());
        let (judge, process) = (self.database.judge.clone(), self.process);
        let answer = self
            .request("save", &claim.scope, move |row, now| {
                if !row.is_held_by(&by) {
                    return Answer::Lost(Some(row.holder()));
                }
                if seq < row.seq {
                    return Answer::Done;
                }
                (row.seq, row.expires) = (seq, now + lease);
                judge.saves(process, &cursors);
                judge.saves_beyond(process, &outputs(&judge, Some(&beside)));
                judge.keeps(process, now);
                // The table has the legacy producer's columns.
                let in_table = |cursor: Cursor| {
                    (cursor.output_id.clone(), Cursor { last_event_id: None, digested: None, ..cursor })
                };
                row.cursors.extend(cursors.into_iter().map(in_table));
                row.beside = Some(beside);
                Answer::Done
            })
            .await;
        if matches!(answer, Ok(Answer::Lost(_))) {
            self.database.judge.loses(self.process);
        }
        let held = answer == Ok(Answer::Done);
        self.note_hold(asked, lease, held, answer)
    }

    async fn keep_views(&self, claim: &Claim, views: &str, lease: Duration) -> Result<Answer, Fault> {
        let (asked, by, views) = (self.database.hub.now(), claim.clone(), views.to_owned());
        let (judge, process) = (self.database.judge.clone(), self.process);
        let answer = self
            .request("keep views", &claim.scope, move |row, now| {
                if !row.is_held_by(&by) {
                    return Answer::Lost(Some(row.holder()));
                }
                judge.keeps_views(process, &views);
                (row.expires, row.views) = (now + lease, Some(views));
                Answer::Done
            })
            .await;
        if matches!(answer, Ok(Answer::Lost(_))) {
            self.database.judge.loses(self.process);
        }
        let held = answer == Ok(Answer::Done);
        self.note_hold(asked, lease, held, answer)
    }

    async fn load_views(&self, scope: &Hex64) -> Result<Option<String>, Fault> {
        self.request("load views", scope, |row, _| row.views.clone()).await
    }

    async fn delete(&self, claim: &Claim, _: &[OutputId]) -> Result<(), Fault> {
        let by = claim.clone();
        self.request("delete", &claim.scope, move |row, _| {
            if row.is_held_by(&by) {
                row.cursors.clear();
                (row.beside, row.views) = (None, None);
            }
        })
        .await
    }

    async fn release(&self, claim: &Claim) -> Result<(), Fault> {
        let by = claim.clone();
        self.request("release", &claim.scope, move |row, now| {
            if row.is_held_by(&by) {
                (row.owner, row.expires) = (String::new(), now);
            }
        })
        .await
    }

    async fn load(&self, scope: &Hex64, _: &[OutputId]) -> Result<Loaded, Fault> {
        let (judge, process) = (self.database.judge.clone(), self.process);
        self.request("load", scope, move |row, now| {
            let cursors: Vec<Cursor> = row.cursors.values().cloned().collect();
            let beside = row.beside.clone();
            let kept = Kept { cursors: cursors.clone(), beyond: outputs(&judge, beside.as_deref()) };
            judge.loads(process, &kept, now);
            Loaded { cursors, beside }
        })
        .await
    }
}

/// Reads the text as anybody could.
fn outputs(judge: &Judge, text: Option<&str>) -> Vec<Beyond> {
    match text.map(serde_json::from_str::<Text>).transpose() {
        Ok(read) => read.map_or_else(Vec::new, |text| text.outputs),
        Err(error) => {
            judge.blame(broken(Promise::HonestPosition, format!("what is saved beyond the positions: {error}")));
            Vec::new()
        }
    }
}

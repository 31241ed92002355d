//! The lease's rules on a simulated database, on paused time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use wsp::clock::{Clock, SystemClock};

use super::*;
use crate::checkpoint::{CheckpointScope, Cursor, FileRows, Kept, LeaseState, OutputFiles, Views};
use crate::model::{OutputId, Reason, Refusal};

const LEASE: Duration = Duration::from_secs(15);

/// The tables as `sql` has them, for one scope, and the way to them.
#[derive(Default)]
struct Sim {
    owner: String,
    epoch: i64,
    save_seq: i64,
    expires: Duration,
    saved: Option<Cursor>,
    beside: Option<String>,
    views: Option<String>,
    saves: u32,
    /// Owners whose requests don't get through; the empty one stands for all.
    away: Vec<String>,
    /// So many answers get lost, with the statement carried out.
    lose_answers: u32,
    /// How long an answer is on its way.
    answers_after: Duration,
    /// No save gets through.
    saves_away: bool,
}

#[derive(Clone)]
struct SimTable {
    clock: SystemClock,
    sim: Arc<Mutex<Sim>>,
}

impl SimTable {
    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap()
    }

    async fn reached<T>(&self, owner: &str, statement: impl FnOnce(&mut Sim, Duration) -> T) -> Result<T, Fault> {
        let (answer, answers_after) = {
            let mut sim = self.sim();
            if sim.away.iter().any(|away| owner.starts_with(away)) {
                return Err(Fault::Away("away".into()));
            }
            let answer = statement(&mut sim, self.clock.now());
            let lost = sim.lose_answers > 0;
            sim.lose_answers = sim.lose_answers.saturating_sub(1);
            (if lost { Err(Fault::Away("lost".into())) } else { Ok(answer) }, sim.answers_after)
        };
        if !answers_after.is_zero() {
            tokio::time::sleep(answers_after).await;
        }
        answer
    }
}

impl Sim {
    fn holder(&self) -> Holder {
        Holder { owner: self.owner.clone(), epoch: self.epoch, until: format!("{:?}", self.expires) }
    }

    fn holds(&self, claim: &Claim) -> bool {
        self.owner == claim.owner && self.epoch == claim.epoch
    }
}

impl ScopeTable<RowCursors> for SimTable {
    async fn acquire(&self, _: &Hex64, owner: &str, lease: Duration) -> Result<Acquired, Fault> {
        self.reached(owner, |sim, now| {
            if sim.owner != owner && sim.expires > now {
                return Acquired::Busy(sim.holder());
            }
            if sim.owner != owner {
                (sim.owner, sim.epoch, sim.save_seq) = (owner.into(), sim.epoch + 1, 0);
            }
            sim.expires = now + lease;
            Acquired::Epoch(sim.epoch)
        })
        .await
    }

    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<Answer, Fault> {
        self.reached(&claim.owner, |sim, now| {
            if !sim.holds(claim) {
                return Answer::Lost(Some(sim.holder()));
            }
            sim.expires = now + lease;
            Answer::Done
        })
        .await
    }

    async fn save(&self, claim: &Claim, saving: Saving<'_>, lease: Duration) -> Result<Answer, Fault> {
        let Saving { seq, row: Row { cursors, beside } } = saving;
        if self.sim().saves_away {
            return Err(Fault::Away("away".into()));
        }
        self.reached(&claim.owner, |sim, now| {
            if !sim.holds(claim) {
                return Answer::Lost(Some(sim.holder()));
            }
            assert!(sim.save_seq <= seq);
            (sim.save_seq, sim.expires, sim.beside) = (seq, now + lease, Some(beside.to_owned()));
            sim.saved = cursors.first().cloned().or(sim.saved.take());
            sim.saves += 1;
            Answer::Done
        })
        .await
    }

    async fn delete(&self, claim: &Claim, _: &[OutputId]) -> Result<(), Fault> {
        self.reached(&claim.owner, |sim, _| sim.saved = sim.saved.take().filter(|_| !sim.holds(claim))).await
    }

    async fn release(&self, claim: &Claim) -> Result<(), Fault> {
        self.reached(&claim.owner, |sim, now| {
            if sim.holds(claim) {
                (sim.owner, sim.expires) = (String::new(), now);
            }
        })
        .await
    }

    async fn load(&self, _: &Hex64, _: &[OutputId]) -> Result<Loaded, Fault> {
        let loaded =
            |sim: &mut Sim, _| Loaded { cursors: sim.saved.iter().cloned().collect(), beside: sim.beside.clone() };
        self.reached("", loaded).await
    }

    async fn keep_views(&self, claim: &Claim, views: &str, lease: Duration) -> Result<Answer, Fault> {
        self.reached(&claim.owner, |sim, now| {
            if !sim.holds(claim) {
                return Answer::Lost(Some(sim.holder()));
            }
            (sim.expires, sim.views) = (now + lease, Some(views.to_owned()));
            Answer::Done
        })
        .await
    }

    async fn load_views(&self, _: &Hex64) -> Result<Option<String>, Fault> {
        self.reached("", |sim, _| sim.views.clone()).await
    }
}

struct World {
    table: SimTable,
    releases: Releases,
}

impl World {
    fn new() -> Self {
        Self { table: SimTable { clock: SystemClock::new(), sim: Arc::default() }, releases: Releases::new() }
    }

    async fn open(&self, owner: &str) -> Result<LeasedScope<SimTable, SystemClock>, Refusal> {
        let (table, scope) = (Arc::new(self.table.clone()), "0a".repeat(32).parse().unwrap());
        let times = Times { lease: LEASE, open_limit: Duration::from_secs(10), save_limit: Duration::from_mins(1) };
        let clock = self.table.clock;
        LeasedScope::open(table, &scope, owner.into(), clock, times, self.releases.clone()).await
    }

    fn state(&self, scope: &LeasedScope<SimTable, SystemClock>) -> LeaseState {
        scope.lease().state(self.table.clock.now())
    }
}

fn cursor(row: u64) -> Cursor {
    let output_id = "traffic".parse().unwrap();
    Cursor {
        output_id,
        last_file: "part-000000.parquet".into(),
        last_row_index: row,
        last_ts_utc: None,
        last_event_id: None,
        digested: None,
    }
}

fn views() -> Views {
    let files = vec![FileRows::of_rows("part-000000.parquet", 30)];
    Views(vec![OutputFiles { output_id: "traffic".parse().unwrap(), files }])
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn reason<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

#[tokio::test(start_paused = true)]
async fn one_holds_the_scope_as_long_as_it_renews() {
    let world = World::new();
    let first = world.open("first").await.unwrap();
    pass(1000).await;
    let refusal = world.open("second").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::CheckpointScopeBusy);
    assert!(refusal.detail.contains("held by first, epoch 1, until "), "{refusal}");
    assert_eq!(world.state(&first), LeaseState::Held);

    drop(first);
    world.releases.done().await;
    assert_eq!(world.open("second").await.unwrap().lease().epoch(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_is_followed_when_its_lease_has_run_out() {
    let world = World::new();
    let first = world.open("first").await.unwrap();
    world.table.sim().away.push("first".into());
    drop(first);
    world.releases.done().await;
    pass(14).await;
    assert_eq!(reason(world.open("second").await), Some(Reason::CheckpointScopeBusy));
    pass(1).await;
    assert!(world.open("second").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_away_for_too_long_saves_nothing_more() {
    let world = World::new();
    let mut first = world.open("first").await.unwrap();
    first.save(&Kept::at([cursor(10)])).await.unwrap();
    world.table.sim().away.push("first".into());
    pass(16).await;
    assert_eq!(world.state(&first), LeaseState::Lapsed, "it stops before anybody tells it to");
    let mut second = world.open("second").await.unwrap();
    second.save(&Kept::at([cursor(20)])).await.unwrap();

    world.table.sim().away.clear();
    let refusal = first.save(&Kept::at([cursor(11)])).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::CheckpointLeaseLost);
    assert!(refusal.detail.contains("now held by second, epoch 2"), "{refusal}");
    assert_eq!(reason(first.save(&Kept::at([cursor(12)])).await), Some(Reason::CheckpointLeaseLost));
    assert_eq!(world.state(&first), LeaseState::Lost(refusal.clone()));
    assert_eq!(world.table.sim().saved, Some(cursor(20)));

    drop(first);
    world.releases.done().await;
    pass(100).await;
    assert_eq!(world.state(&second), LeaseState::Held, "the loser sets nothing free that is another's");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_heard_of_without_a_save() {
    let world = World::new();
    let first = world.open("first").await.unwrap();
    let lost = tokio::spawn(first.lease().lost());
    world.table.sim().away.push("first".into());
    pass(16).await;
    let _second = world.open("second").await.unwrap();
    world.table.sim().away.clear();
    // The longest wait between two renewals after a failure.
    pass(2).await;
    assert_eq!(lost.await.unwrap().reason, Reason::CheckpointLeaseLost);
}

#[tokio::test(start_paused = true)]
async fn a_save_outlasts_an_outage_and_the_hold_comes_back() {
    let world = World::new();
    let mut scope = world.open("first").await.unwrap();
    world.table.sim().away.push(String::new());
    let table = world.table.clone();
    let back = tokio::spawn(async move {
        pass(30).await;
        let lapsed_at = table.clock.now();
        table.sim().away.clear();
        lapsed_at
    });
    let lease = scope.lease();
    scope.save(&Kept::at([cursor(10)])).await.unwrap();
    assert_eq!(lease.state(back.await.unwrap() + Duration::from_secs(14)), LeaseState::Held);
    let sim = world.table.sim();
    assert_eq!((sim.saved.clone(), sim.epoch), (Some(cursor(10)), 1));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_alone_brings_a_lapsed_hold_back() {
    let world = World::new();
    let scope = world.open("first").await.unwrap();
    world.table.sim().away.push(String::new());
    pass(20).await;
    assert_eq!(world.state(&scope), LeaseState::Lapsed);
    world.table.sim().away.clear();
    pass(2).await;
    assert_eq!(world.state(&scope), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn an_outage_has_a_limit() {
    let world = World::new();
    let mut scope = world.open("first").await.unwrap();
    world.table.sim().away.push(String::new());
    assert_eq!(reason(scope.save(&Kept::at([cursor(10)])).await), Some(Reason::CheckpointSaveFailed));
    let failed_at = world.table.clock.now().as_secs();
    assert!((58..=60).contains(&failed_at), "{failed_at}");
    // What is away is neither unreadable nor unwritable: nobody is to drop it for that.
    let away = Some(Reason::CheckpointUnavailable);
    assert_eq!(reason(scope.load(&["traffic".parse().unwrap()]).await), away);
    assert_eq!(reason(scope.views().await), away);
    assert_eq!(reason(scope.keep_views(&views()).await), away);
    assert_eq!(reason(world.open("second").await), away);
}

#[tokio::test(start_paused = true)]
async fn a_save_that_waits_ends_when_the_scope_is_lost() {
    let world = World::new();
    let mut first = world.open("first").await.unwrap();
    world.table.sim().saves_away = true;
    let table = world.table.clone();
    let losing = tokio::spawn(async move {
        pass(20).await;
        let mut sim = table.sim();
        (sim.owner, sim.epoch) = ("second".into(), 2);
    });
    let refusal = first.save(&Kept::at([cursor(10)])).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::CheckpointLeaseLost, "the renewal heard of it: {refusal}");
    assert!(world.table.clock.now() < Duration::from_mins(1), "before the save gave up");
    losing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lost_answers_change_nothing() {
    let world = World::new();
    world.table.sim().lose_answers = 2;
    let mut scope = world.open("first").await.unwrap();
    assert_eq!(scope.lease().epoch(), Some(1), "the same owner asking again is the same epoch");
    world.table.sim().lose_answers = 2;
    scope.save(&Kept::at([cursor(10)])).await.unwrap();
    let sim = world.table.sim();
    assert_eq!((sim.saves, sim.save_seq, sim.saved.clone()), (3, 1, Some(cursor(10))));
}

#[tokio::test(start_paused = true)]
async fn of_two_cursors_of_one_output_the_later_is_saved() {
    let world = World::new();
    let mut scope = world.open("first").await.unwrap();
    scope.save(&Kept::at([cursor(10), cursor(11)])).await.unwrap();
    let sim = world.table.sim();
    assert_eq!((sim.saves, sim.saved.clone()), (1, Some(cursor(11))));
}

/// The database counts the lease from the statement. An answer may be long on its way, so whoever counted from it would
/// believe to hold the scope when another has it.
#[tokio::test(start_paused = true)]
async fn a_hold_counts_from_the_question_and_not_from_the_answer() {
    const SLOW: Duration = Duration::from_secs(9);
    let world = World::new();
    world.table.sim().answers_after = SLOW;
    // Asked for at 0 s, heard of at 9 s.
    let scope = world.open("first").await.unwrap();
    let ends = |scope: &LeasedScope<SimTable, SystemClock>, second: u64| {
        let state = |at| scope.lease().state(at);
        (state(Duration::from_millis(second * 1000 - 1)), state(Duration::from_secs(second)))
    };
    let until = (LeaseState::Held, LeaseState::Lapsed);
    assert_eq!((world.table.clock.now(), ends(&scope, 15)), (SLOW, until.clone()), "acquired");
    // A renewal is asked for at 14 s, and heard of at 23 s.
    tokio::time::sleep(Duration::from_millis(14_500)).await;
    assert_eq!(ends(&scope, 14 + 15), until, "renewed");
    drop(scope);

    let world = World::new();
    let mut scope = world.open("first").await.unwrap();
    let started = world.table.clock.now();
    let ends = |scope: &LeasedScope<SimTable, SystemClock>, second: u64| {
        let state = |at| scope.lease().state(started + at);
        (state(Duration::from_millis(second * 1000 - 1)), state(Duration::from_secs(second)))
    };
    // Before the first renewal, at 5 s.
    pass(3).await;
    world.table.sim().answers_after = Duration::from_secs(1);
    scope.save(&Kept::at([cursor(10)])).await.unwrap();
    assert_eq!(ends(&scope, 3 + 15), until, "saved");
    scope.keep_views(&views()).await.unwrap();
    assert_eq!(ends(&scope, 4 + 15), until, "the views kept");
}

/// A save replaces the text beside the cursors of all outputs, though it brings those alone that moved.
#[tokio::test(start_paused = true)]
async fn a_cursor_that_does_not_move_keeps_its_event_id() {
    let world = World::new();
    let mut scope = world.open("first").await.unwrap();
    let with_id = Cursor { last_event_id: Some(Hex64::sha256("event")), ..cursor(10) };
    scope.save(&Kept::at([with_id.clone()])).await.unwrap();
    scope.save(&Kept::default()).await.unwrap();
    drop(scope);
    world.releases.done().await;
    // The statement's table has a column for it no more than the legacy producer's.
    world.table.sim().saved = Some(cursor(10));
    let mut next = world.open("second").await.unwrap();
    let outputs = ["traffic".parse().unwrap()];
    assert_eq!(next.load(&outputs).await.unwrap().cursors, std::slice::from_ref(&with_id));
    next.save(&Kept::default()).await.unwrap();
    world.table.sim().saved = Some(cursor(10));
    assert_eq!(next.load(&outputs).await.unwrap().cursors, [with_id], "the next start keeps it too");
    world.table.sim().saved = Some(cursor(11));
    assert_eq!(next.load(&outputs).await.unwrap().cursors, [cursor(11)], "the legacy producer moved it");
}

#[tokio::test(start_paused = true)]
async fn views_come_back_and_are_kept_by_the_holder_alone() {
    let world = World::new();
    let mut first = world.open("first").await.unwrap();
    assert_eq!(first.views().await.unwrap(), None);
    first.keep_views(&views()).await.unwrap();
    assert_eq!(first.views().await.unwrap(), Some(views()));
    world.table.sim().owner = "another".to_owned();
    let refusal = first.keep_views(&Views(Vec::new())).await.unwrap_err();
    assert_eq!((refusal.reason, world.state(&first)), (Reason::CheckpointLeaseLost, LeaseState::Lost(refusal)));
    assert_eq!(first.views().await.unwrap(), Some(views()));
}

/// Counting from a question that was not answered would end the hold too early, and with it a run.
#[tokio::test(start_paused = true)]
async fn a_hold_counts_from_the_question_that_was_answered() {
    let world = World::new();
    let lose = || world.table.sim().lose_answers = 3;
    lose();
    let mut scope = world.open("first").await.unwrap();
    let check = |scope: &LeasedScope<SimTable, SystemClock>, what: &str| {
        let now = world.table.clock.now();
        assert_eq!(scope.lease().state(now + Duration::from_millis(14_999)), LeaseState::Held, "{what}");
        assert_eq!(scope.lease().state(now + LEASE), LeaseState::Lapsed, "{what}");
    };
    check(&scope, "opened");
    lose();
    scope.save(&Kept::at([cursor(10)])).await.unwrap();
    check(&scope, "saved");
    lose();
    scope.keep_views(&views()).await.unwrap();
    check(&scope, "the views kept");
    assert!(world.table.clock.now() < Duration::from_secs(5), "before the first renewal");
}

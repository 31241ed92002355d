//! Two producers are given one READY at once: the one that holds the run's checkpoint streams, the other waits.
//!
//! ```text
//! first  ──streams── SIGSTOP ············ SIGCONT ── lease lost: stops, saves nothing
//! second ──busy─────────── takes over ──streams────────────────────────► STREAMED
//! watcher ── cursors, epoch and owner, every 50 ms: no step back ──► the table
//! ```

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_postgres::NoTls;
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Secret;

use crate::kit::live::{Running, nap};
use crate::outages::{until_streamed, until_verdict, verdicts};
use crate::parts::{Parts, Run, bound, events};

/// One look at the run's scope.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    at: Duration,
    epoch: i64,
    owner: String,
    /// Output, file and row, by output.
    cursors: Vec<(String, String, i32)>,
}

/// Looks at the scope every 50 ms until told to end.
struct Sampler {
    end: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    fn start(dsn: Secret, scope: String, clock: SystemClock) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(sample(&dsn, &scope, clock, &ended))
        });
        Self { end, thread }
    }

    fn end(self) -> Vec<Sample> {
        self.end.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

async fn sample(dsn: &Secret, scope: &str, clock: SystemClock, ended: &mpsc::Receiver<()>) -> Vec<Sample> {
    let (client, connection) = tokio_postgres::connect(dsn.expose(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let query = "SELECT epoch, owner, output_id, last_file, last_row_index
        FROM wsp_checkpoint JOIN wsp_checkpoint_lease ON scope_key = pack_key WHERE pack_key = $1 ORDER BY output_id";
    let mut samples: Vec<Sample> = Vec::new();
    while ended.try_recv().is_err() {
        let rows = client.query(query, &[&scope]).await.unwrap();
        if let Some(first) = rows.first() {
            let cursors = rows.iter().map(|row| (row.get(2), row.get(3), row.get(4))).collect();
            samples.push(Sample { at: clock.now(), epoch: first.get(0), owner: first.get(1), cursors });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    samples
}

/// No cursor and no epoch steps back, and an epoch has one owner.
fn assert_forward(samples: &[Sample]) {
    for pair in samples.windows(2) {
        let [before, now] = pair else { continue };
        assert!(now.epoch >= before.epoch, "{before:?} {now:?}");
        // A scope that was let go of keeps its epoch and has no owner.
        assert!(now.epoch > before.epoch || now.owner == before.owner || now.owner.is_empty(), "{before:?} {now:?}");
        for (output, file, row) in &before.cursors {
            let (_, later_file, later_row) = now.cursors.iter().find(|cursor| cursor.0 == *output).unwrap();
            assert!((later_file, later_row) >= (file, row), "{output} steps back: {before:?} {now:?}");
        }
    }
}

/// A producer of a consumer group of its own, so that both get the READY.
struct Producer {
    group: &'static str,
    wsp: Running,
}

impl Producer {
    fn start(parts: &Parts, run: &Run, group: &'static str) -> Self {
        let folder = parts.stage.path(group);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = parts.command(run, &[("WSP_READY_GROUP_ID", group), ("WSP_TARGET_EPS", "1000")]);
        Self { group, wsp: Running::spawn(&parts.stage, group, command.current_dir(folder)) }
    }

    /// The reasons of its verdicts so far, empty ones too.
    fn reasons(&self) -> Vec<String> {
        let verdicts = verdicts(&self.wsp);
        verdicts.iter().map(|verdict| verdict["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How often it believes to have saved.
    fn saves(&self, parts: &Parts, run: &Run) -> usize {
        let log = parts.stage.path(self.group).join("runs/fraud-platform").join(&run.id).join("session.jsonl");
        std::fs::read_to_string(log).unwrap_or_default().matches("\"checkpoint_saved\"").count()
    }

    fn ends(self) {
        self.wsp.signal("TERM");
        let ran = self.wsp.end();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
}

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn of_two_producers_one_streams_and_a_sleeper_steps_nobody_back() {
    let events = events().min(40_000);
    let parts = Parts::set(&WorldSpec { parts: 2, row_group_rows: 2_000, ..WorldSpec::new(events) }).await;
    let run = parts.run(1).await;
    parts.publish(&run, &run.ready);
    let clock = SystemClock::new();

    // Both at once. Whichever is first has the run, and the other is put off.
    let (first, second) = (Producer::start(&parts, &run, "first"), Producer::start(&parts, &run, "second"));
    while first.reasons().is_empty() && second.reasons().is_empty() {
        assert!(clock.now() < Duration::from_mins(2), "{}\n{}", first.wsp.err(), second.wsp.err());
        nap(Duration::from_millis(50));
    }
    let (mut owner, mut other) = if first.reasons().is_empty() { (first, second) } else { (second, first) };
    assert_eq!(other.reasons(), ["CHECKPOINT_SCOPE_BUSY"]);
    parts.until_admitted(&run, &mut owner.wsp, events / 10);
    let started = parts.evidence(&run).await.json("wsp/wsp_start.json");
    let (scope, bound) = (started["checkpoint_scope"].as_str().unwrap().to_owned(), bound(&started));
    let watcher = Sampler::start(parts.postgres.dsn("sslmode=disable"), scope.clone(), clock);
    let mut marks = Vec::new();
    let mut mark = |what: String| marks.push((clock.now(), what));

    parts.until_admitted(&run, &mut owner.wsp, events / 4);
    let (_, duplicates) = parts.counted(&run);
    assert_eq!(duplicates, 0, "one of them sends");
    owner.wsp.signal("STOP");
    let asleep = parts.until_still(&run);
    mark(format!("{} sleeps, {asleep} events in", owner.group));
    parts.until_admitted(&run, &mut other.wsp, asleep + events / 10);
    mark(format!("{} has taken over", other.group));
    let (saves, before) = (owner.saves(&parts, &run), parts.counted(&run));
    assert!(before.1 <= bound, "{} events came twice, {bound} may", before.1);
    owner.wsp.signal("CONT");
    while !owner.reasons().contains(&"CHECKPOINT_LEASE_LOST".to_owned()) {
        assert!(owner.wsp.is_running() && clock.now() < Duration::from_mins(5), "{}", owner.wsp.err());
        nap(Duration::from_millis(20));
    }
    mark(format!("{} is awake and knows", owner.group));
    assert!(parts.admitted(&run) < events, "the other was still streaming then");
    until_streamed(&mut other.wsp);
    mark(format!("{} is done", other.group));
    // The sleeper looks at its READY again, and finds that the run was streamed.
    until_verdict(&mut owner.wsp, "SKIPPED_DUPLICATE", 1);
    let samples = watcher.end();

    assert_forward(&samples);
    let epochs: Vec<i64> = samples.iter().map(|sample| sample.epoch).collect();
    assert_eq!((epochs.first(), epochs.last()), (Some(&1), Some(&2)), "one takeover");
    assert_eq!(owner.saves(&parts, &run), saves, "the sleeper saved nothing more");
    let report = parts.audit(&run);
    assert!(report.is_clean() && report.admitted == events, "{report:?}");
    let (_, duplicates) = parts.counted(&run);
    assert!(duplicates <= bound, "{duplicates} events came twice, {bound} may");
    assert_eq!(parts.kept_against_gate(&run, &scope).await, (0, 0), "the cursors stand at the last rows");
    let evidence = parts.evidence(&run).await;
    assert_eq!(evidence.record(run.message_id()).len(), 1, "one verdict");
    assert_eq!(evidence.facts(), ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"]);
    let summary = evidence.json("wsp/wsp_summary.json");
    assert_eq!((&summary["status"], &summary["end"]), (&"STREAMED".into(), &"complete".into()), "the last word");
    owner.ends();
    other.ends();

    print_table(&parts, &samples, &marks);
    println!(
        "{} looks, none a step back; {duplicates} events came twice ({} by the takeover, {} by the sleeper when it woke), \
         {bound} may",
        samples.len(),
        before.1,
        duplicates - before.1,
    );
}

/// One line a second, and one for each mark.
fn print_table(parts: &Parts, samples: &[Sample], marks: &[(Duration, String)]) {
    println!("{:>8}{:>7}{:>9}  owner", "seconds", "epoch", "saved");
    let line = |sample: &Sample, what: &str| {
        let owner = if sample.owner.is_empty() { "nobody" } else { &sample.owner };
        println!(
            "{:>8.1}{:>7}{:>9}  {owner}{what}",
            sample.at.as_secs_f64(),
            sample.epoch,
            parts.rows(&sample.cursors)
        );
    };
    let (mut marks, mut next) = (marks.iter().peekable(), Duration::ZERO);
    for sample in samples {
        if let Some((_, what)) = marks.next_if(|(at, _)| *at <= sample.at) {
            line(sample, &format!("   <- {what}"));
        } else if sample.at >= next {
            line(sample, "");
            next = sample.at + Duration::from_secs(1);
        }
    }
}

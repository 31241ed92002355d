//! `wsp replay` with its state in Postgres: resumed on another machine, held by one process, through crashes of both sides.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::replay::lines;
use crate::kit::live::nap;
use crate::kit::process::{Told, free_port};
use crate::servers::postgres::Postgres;

/// A machine: a folder with the input and the password of the database.
struct Machine {
    folder: TempDir,
    state: String,
}

impl Machine {
    fn new(server: &Postgres, events: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.jsonl"), lines(events)).unwrap();
        std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        let ca = server.root_certificate();
        let tls = format!("sslmode=verify-full&sslrootcert={}", ca.display());
        Self { folder, state: format!("postgres://wsp@localhost:{}/postgres?{tls}", server.port()) }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Events go to stdout, and the summary to a file.
    fn command(&self, more: &[&str]) -> Command {
        let program = std::env::var_os("WSP_LIVE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_wsp").into());
        let mut command = Command::new(program);
        command.args([
            "replay",
            "a.jsonl",
            "--time",
            "at",
            "--to",
            "-",
            "--summary",
            "summary.json",
            "--save-every",
            "20",
        ]);
        command.args(["--state", &self.state, "--state-password-file", "password"]);
        command.args(more).current_dir(self.path()).env_remove("WSP_LOG");
        command
    }

    fn replay(&self, more: &[&str]) -> Told {
        Told::of(self.command(more))
    }

    /// Started, with its events in a file.
    fn start(&self, more: &[&str]) -> Child {
        let out = File::create(self.path().join("out")).unwrap();
        self.command(more).stdout(out).stderr(Stdio::null()).spawn().unwrap()
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.path().join("out")).unwrap()
    }

    fn wait_for_lines(&self, lines: usize) {
        while self.out().lines().count() < lines {
            nap(Duration::from_millis(20));
        }
    }

    fn summary(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("summary.json")).unwrap()).unwrap()
    }
}

/// The numbers of events, in order; repeats are left out, and counted.
fn numbers(text: &str) -> (Vec<u64>, usize) {
    let (mut all, mut repeats) = (Vec::new(), 0);
    for line in text.lines() {
        // The last line of a process that was killed may be half a line.
        let Ok(body) = serde_json::from_str::<Value>(line) else { continue };
        let n = body["n"].as_u64().unwrap();
        if all.contains(&n) { repeats += 1 } else { all.push(n) }
    }
    (all, repeats)
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_replay_goes_on_on_another_machine_and_refuses_other_inputs() {
    let server = Postgres::start();
    let (one, other) = (Machine::new(&server, 40), Machine::new(&server, 40));
    let told = one.replay(&["--speedup", "0", "--limit", "10"]);
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 10), "{}", told.err);
    // The hold was let go of: nothing is waited for.
    let began = Instant::now();
    let told = other.replay(&["--speedup", "0", "--limit", "25"]);
    assert_eq!((told.code, &other.summary()["answered_before"]), (Some(0), &10.into()), "{}", told.err);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(numbers(&told.out), ((10..25).collect(), 0));
    let place = format!("postgres://localhost:{}/postgres replay-", server.port());
    assert!(other.summary()["state"].as_str().unwrap().starts_with(&place), "{}", other.summary());
    assert!(told.err.contains(&format!("state {place}")) && !told.err.contains("hunter2"), "{}", told.err);
    // Not a byte of the state is on either machine.
    assert!(!one.path().join(".wsp").exists() && !other.path().join(".wsp").exists());

    let good = std::fs::read(other.path().join("a.jsonl")).unwrap();
    std::fs::write(other.path().join("a.jsonl"), lines(41)).unwrap();
    let told = other.replay(&["--speedup", "0"]);
    assert!(told.code == Some(2) && told.out.is_empty(), "{}", told.err);
    assert!(told.err.contains("a.jsonl has changed since the earlier start"), "{}", told.err);
    std::fs::write(other.path().join("a.jsonl"), good).unwrap();
    let told = other.replay(&["--speedup", "0", "--key", "customer"]);
    assert!(
        told.code == Some(2) && told.err.contains("--key: \"customer\" now and \"\" in the earlier"),
        "{}",
        told.err
    );

    let told = one.replay(&["--speedup", "0"]);
    assert_eq!((told.code, numbers(&told.out)), (Some(0), ((25..40).collect(), 0)), "{}", told.err);
    let told = other.replay(&["--speedup", "0"]);
    assert!(
        told.code == Some(0) && told.out.is_empty() && told.err.contains("answered by earlier starts"),
        "{}",
        told.err
    );
    let told = other.replay(&["--speedup", "0", "--fresh"]);
    assert_eq!((told.code, numbers(&told.out)), (Some(0), ((0..40).collect(), 0)), "{}", told.err);
    // Another target is another replay, with a row of its own.
    let told = one.replay(&["--speedup", "0", "--to", "file:lines"]);
    assert_eq!((told.code, &one.summary()["answered_before"]), (Some(0), &0.into()), "{}", told.err);
    let (client, connection) = tokio_postgres::connect(server.dsn("").expose(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT count(*), max(owner), max(content) FROM wsp_replay_state", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, String>(1)), (2, String::new()), "set free");
    assert!(!row.get::<_, String>(2).contains("hunter2"));
}

#[tokio::test]
#[ignore = "starts a server"]
async fn one_process_at_a_time_replays_and_one_that_was_killed_is_waited_for() {
    const EVENTS: usize = 2000;
    let server = Postgres::start();
    let (one, other) = (Machine::new(&server, EVENTS), Machine::new(&server, EVENTS));
    let mut first = one.start(&["--rate", "25"]);
    one.wait_for_lines(60);
    let told = other.replay(&["--speedup", "0"]);
    assert!(told.code == Some(1) && told.out.is_empty(), "{}", told.err);
    let words = "another process replays with this state (scope replay-";
    let holder = format!("pid {}", first.id());
    assert!(told.err.contains(words) && told.err.contains(&holder), "{}", told.err);
    assert_eq!(first.try_wait().unwrap(), None, "the first one goes on");
    first.kill().unwrap();
    first.wait().unwrap();
    let told = other.replay(&["--speedup", "0"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let (all, repeats) = numbers(&(one.out() + &told.out));
    assert_eq!(all, (0..EVENTS as u64).collect::<Vec<_>>());
    assert!(repeats <= 20 + 1, "{repeats}");
}

#[tokio::test]
#[ignore = "starts a server"]
async fn an_outage_of_the_database_is_waited_out_and_loses_nothing() {
    const EVENTS: usize = 600;
    let server = Postgres::start();
    let machine = Machine::new(&server, EVENTS);
    let mut child = machine.start(&["--rate", "100"]);
    machine.wait_for_lines(100);
    server.crash();
    nap(Duration::from_secs(3));
    let sent = machine.out().lines().count();
    nap(Duration::from_secs(1));
    assert_eq!(machine.out().lines().count(), sent, "nothing is sent beyond the bound while nothing can be saved");
    server.up();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(numbers(&machine.out()), ((0..EVENTS as u64).collect(), 0));
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_database_that_does_not_let_it_in_ends_it_before_anything_is_sent() {
    let server = Postgres::start();
    let mut machine = Machine::new(&server, 10);
    let good = machine.state.clone();
    std::fs::write(machine.path().join("password"), "hunter3").unwrap();
    let told = machine.replay(&["--speedup", "0"]);
    assert!(told.code == Some(1) && told.err.contains("password authentication failed"), "{}", told.err);
    std::fs::write(machine.path().join("password"), "hunter2").unwrap();
    let foreign = server.foreign_certificate();
    let nowhere = format!("postgres://wsp@127.0.0.1:{}/postgres", free_port());
    for (state, words) in [
        (good.replace(&server.root_certificate().display().to_string(), foreign.to_str().unwrap()), "certificate"),
        (good.replace("/postgres?", "/nowhere?"), "database \"nowhere\" does not exist"),
        (nowhere, "the checkpoint database: "),
    ] {
        machine.state = state;
        let told = machine.replay(&["--speedup", "0"]);
        assert!(told.code == Some(1) && told.out.is_empty() && told.err.contains("--state: "), "{}", told.err);
        assert!(told.err.contains(words) && !told.err.contains("hunter"), "{words}: {}", told.err);
    }
    machine.state = good;
    let told = machine.replay(&["--speedup", "0"]);
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 10), "{}", told.err);
}

#[tokio::test]
#[ignore = "starts a server"]
async fn a_replay_whose_state_was_taken_over_ends_and_saves_nothing_more() {
    let server = Postgres::start();
    let machine = Machine::new(&server, 5000);
    let (out, err) = ["out", "err"].map(|name| File::create(machine.path().join(name)).unwrap()).into();
    let mut child = machine.command(&["--rate", "100"]).stdout(out).stderr(err).spawn().unwrap();
    machine.wait_for_lines(100);
    let (client, connection) = tokio_postgres::connect(server.dsn("").expose(), NoTls).await.unwrap();
    tokio::spawn(connection);
    // As by an operator who sets a state free whose holder is alive.
    let taken =
        "UPDATE wsp_replay_state SET owner = 'another', epoch = epoch + 1, expires_at = now() + interval '1 hour'
        RETURNING kept";
    let kept: String = client.query_one(taken, &[]).await.unwrap().get(0);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let told = std::fs::read_to_string(machine.path().join("err")).unwrap();
    assert!(told.contains("another process has taken over this state") && told.contains("another, epoch 2"), "{told}");
    let row = client.query_one("SELECT kept, owner FROM wsp_replay_state", &[]).await.unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, String>(1)), (kept, "another".to_owned()));
    assert_eq!(machine.summary()["ended"], "failed");
}

//! `wsp replay` as its users run it: rows of files into an intake, with retries, dead letters, stops and crashes.

mod auth;
mod crash;
mod datasets;
mod events;
mod flights;
mod hostile;
mod ordering;
mod pages;
mod refusals;
mod sinks;
mod watching;
mod written;

use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::kit::http::Request;
use crate::kit::process::Told;

/// A request as an intake took it.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) line: String,
    pub(crate) id: String,
    pub(crate) headers: std::collections::BTreeMap<String, String>,
    /// What of it is UTF-8.
    pub(crate) body: String,
    pub(crate) raw: Vec<u8>,
}

impl Taken {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// An intake that answers what `status` says of a request and how many came before it, and keeps those that it answers with 2xx.
pub(crate) struct Intake {
    port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Intake {
    pub(crate) fn new(status: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static) -> Self {
        Self::at(0, status)
    }

    /// On this port; 0 is a free one.
    pub(crate) fn at(port: u16, status: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static) -> Self {
        Self::start(port, false, move |nth, request| (status(nth, request), "\"because\"".to_owned()))
    }

    /// One that keeps all requests, whatever it answers.
    pub(crate) fn recording(status: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static) -> Self {
        Self::start(0, true, move |nth, request| (status(nth, request), String::new()))
    }

    /// One that answers with this status and this body.
    pub(crate) fn answering(answer: impl Fn(usize, &Request) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::start(0, false, answer)
    }

    fn start(
        port: u16,
        keeps_all: bool,
        answer: impl Fn(usize, &Request) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer, asked) = (taken.clone(), Arc::new(answer), Arc::new(Mutex::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept, answer, asked) = (stream.unwrap(), kept.clone(), answer.clone(), asked.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut writer = stream;
                    while let Some(request) = Request::read(&mut reader) {
                        let nth = {
                            let mut asked = asked.lock().unwrap();
                            *asked += 1;
                            *asked - 1
                        };
                        let (status, text) = answer(nth, &request);
                        if keeps_all || (200..300).contains(&status) {
                            let id = request.field("idempotency-key").unwrap_or_default().to_owned();
                            let (line, headers, raw) = (request.line, request.fields, request.body);
                            let body = String::from_utf8_lossy(&raw).into_owned();
                            kept.lock().unwrap().push(Taken { line, id, headers, body, raw });
                        }
                        let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                        if writer.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, taken }
    }

    /// One that takes all.
    pub(crate) fn willing() -> Self {
        Self::new(|_, _| 200)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    fn bodies(&self) -> Vec<String> {
        self.taken().into_iter().map(|taken| taken.body).collect()
    }
}

/// A folder with files to replay.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `wsp replay` in this folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = std::env::var("WSP_LIVE_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wsp").to_owned());
        let mut command = Command::new(program);
        command.arg("replay").args(args).current_dir(self.0.path()).env_remove("WSP_LOG");
        command
    }

    pub(crate) fn replay(&self, args: &[&str]) -> Told {
        Told::of(self.command(args))
    }
}

/// The second `n` of a day.
pub(crate) fn at(n: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", n / 3600, n / 60 % 60, n % 60)
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Lines of events, one a second, of three customers in turn.
fn lines(range: std::ops::Range<usize>) -> String {
    let line = |n| format!("{{\"at\":\"{}\",\"n\":{n},\"customer\":\"c{}\"}}\n", at(n), n % 3);
    range.map(line).collect()
}

#[test]
fn rows_of_several_inputs_arrive_in_order_of_time() {
    let folder = Folder::new(&[
        ("in/1.jsonl", &lines(0..3)),
        ("in/2.jsonl", &lines(6..8)),
        ("b.csv", &format!("at,big,name\n{},9007199254740993,\"a, \"\"b\"\"\"\n{},-0.10,\n", at(1), at(7))),
    ]);
    let intake = Intake::willing();
    let to = format!("{}/v1/events?tenant=7", intake.url());
    let told = folder.replay(&[
        "in",
        "--input",
        "b=b.csv",
        "--time",
        "at",
        "--csv-types",
        "big=number",
        "--to",
        &to,
        "--speedup",
        "0",
        "-H",
        "X-Source: replay",
    ]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let summary = told.json();
    assert_eq!((&summary["ended"], &summary["accepted"], &summary["answered"]), (&"done".into(), &7.into(), &7.into()));
    assert_eq!(summary["first_time"], "2026-01-01T00:00:00.000000Z");
    assert_eq!(summary["last_time"], "2026-01-01T00:00:07.000000Z");
    let bodies = intake.bodies();
    let ours = lines(0..8);
    let ours: Vec<&str> = ours.lines().collect();
    let csv = [
        r#"{"at":"2026-01-01T00:00:01Z","big":9007199254740993,"name":"a, \"b\""}"#,
        r#"{"at":"2026-01-01T00:00:07Z","big":-0.10,"name":null}"#,
    ];
    assert_eq!(bodies, [ours[0], ours[1], csv[0], ours[2], ours[6], ours[7], csv[1]]);
    let first = &intake.taken()[0];
    assert_eq!(first.line, "POST /v1/events?tenant=7 HTTP/1.1");
    assert_eq!(
        (first.headers["x-source"].as_str(), first.headers["content-type"].as_str()),
        ("replay", "application/json")
    );
    assert_eq!(first.id.len(), 64);
}

#[test]
fn ids_headers_and_bodies_are_of_the_columns_that_are_named() {
    let line = |n: usize| {
        format!(
            "{{\"at\":\"{}\",\"order\":{n},\"shop\":\"s/ü\",\"doc\":{{\"v\": {n}.50}},\"text\":\"a\\nb\"}}\n",
            at(n)
        )
    };
    let folder = Folder::new(&[("a.jsonl", &(line(1) + &line(2)))]);
    let run = |args: &[&str]| {
        let intake = Intake::willing();
        let url = intake.url();
        let all = [&["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--fresh"], args].concat();
        let told = folder.replay(&all);
        (told.code, told.err, intake.taken())
    };
    let (code, err, taken) = run(&["--id", "shop,order", "-H", "X-Order: o-{order}", "--method", "PUT"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!((taken[1].id.as_str(), taken[1].headers["x-order"].as_str()), ("s/%C3%BC:2", "o-2"));
    assert!(taken[1].line.starts_with("PUT / "));
    let (_, _, taken) = run(&["--body-column", "doc", "--id-header", "X-Event"]);
    assert_eq!((taken[0].body.as_str(), taken[0].headers["x-event"].len()), (r#"{"v": 1.50}"#, 64));
    let (_, _, taken) = run(&["--body-column", "text", "-H", "Content-Type: text/plain"]);
    assert_eq!((taken[0].body.as_str(), taken[0].headers["content-type"].as_str()), ("a\nb", "text/plain"));
    let (code, err, _) = run(&["-H", "X-Shop: {shop}"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("a.jsonl, row 1, column shop: a control character or one beyond ASCII"), "{err}");
}

#[test]
fn a_busy_intake_is_tried_again_and_a_refusal_ends_the_replay_where_it_goes_on_later() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..20))]);
    let busy = Intake::new(|nth, request| match nth {
        3 => 429,
        5 => 503,
        _ if request.body.windows(6).any(|bytes| bytes == b"\"n\":12") => 422,
        _ => 201,
    });
    let url = busy.url();
    let args = ["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--state", "state"];
    let told = folder.replay(&args);
    assert_eq!((told.code, busy.bodies().len()), (Some(1), 12), "{}", told.err);
    for words in ["a.jsonl, row 13, id ", "status 422: \"because\"", "--dead-letter"] {
        assert!(told.err.contains(words), "{}", told.err);
    }
    let summary = told.json();
    assert_eq!((&summary["ended"], &summary["retried"]), (&"failed".into(), &2.into()));
    // The same command goes on there; leaving the event out is said by a flag.
    let told = folder.replay(&[&args[..], &["--drop-on", "422"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let summary = told.json();
    assert_eq!((&summary["answered_before"], &summary["dropped"]), (&12.into(), &1.into()));
    let expected: Vec<String> =
        lines(0..20).lines().map(str::to_owned).filter(|line| !line.contains("\"n\":12,")).collect();
    assert_eq!(busy.bodies(), expected);
    let told = folder.replay(&[&args[..], &["--drop-on", "422"]].concat());
    assert_eq!((told.code, busy.bodies().len()), (Some(0), 19));
    assert!(told.err.contains("--fresh"), "{}", told.err);
}

#[test]
fn dead_letters_are_sent_again_as_they_were() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..30))]);
    let picky = Intake::new(|_, request| if request.body.ends_with(b"\"c1\"}") { 409 } else { 200 });
    let url = picky.url();
    let args = ["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--key", "customer", "-H", "X-N: {n}"];
    let told = folder.replay(&[&args[..], &["--dead-letter", "dead.jsonl"]].concat());
    assert_eq!((told.code, &told.json()["dead_letters"]), (Some(0), &10.into()), "{}", told.err);
    let letters = std::fs::read_to_string(folder.path("dead.jsonl")).unwrap();
    let letter: Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    let fields = ["input", "file", "row", "status", "answer"].map(|name| letter[name].to_string());
    assert_eq!(fields, ["\"a.jsonl\"", "\"a.jsonl\"", "2", "409", "\"\\\"because\\\"\""]);
    let willing = Intake::willing();
    let told = folder.replay(&["dead.jsonl", "--to", &willing.url(), "--speedup", "0"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let taken = willing.taken();
    assert_eq!(taken.len(), 10);
    for (i, taken) in taken.iter().enumerate() {
        assert_eq!(taken.json()["n"], 1 + 3 * i);
        assert_eq!(taken.headers["x-n"], (1 + 3 * i).to_string());
    }
    // They have the ids that the events had.
    let all = Intake::willing();
    folder.replay(&["a.jsonl", "--time", "at", "--to", &all.url(), "--speedup", "0", "--state", "other"]);
    let id = |n: usize| all.taken()[n].id.clone();
    assert_eq!(
        taken.iter().map(|taken| taken.id.clone()).collect::<Vec<_>>(),
        (0..10).map(|i| id(1 + 3 * i)).collect::<Vec<_>>()
    );
    let told = folder.replay(&["dead.jsonl", "--to", &all.url(), "--dead-letter", "dead.jsonl"]);
    assert_eq!(told.code, Some(2));
}

#[test]
fn events_of_a_key_stay_in_order_and_never_meet() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..300))]);
    let busy = Intake::new(|nth, _| if nth % 7 == 3 { 503 } else { 200 });
    let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &busy.url(), "--speedup", "0", "--key", "customer"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let taken = busy.taken();
    assert_eq!(taken.len(), 300);
    for customer in ["c0", "c1", "c2"] {
        let of: Vec<u64> = taken
            .iter()
            .map(Taken::json)
            .filter(|body| body["customer"] == customer)
            .map(|body| body["n"].as_u64().unwrap())
            .collect();
        assert!(of.len() == 100 && of.is_sorted(), "{customer}: {of:?}");
    }
}

#[test]
fn what_is_sent_is_cut_by_time_number_and_key() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..600))]);
    let sent = |args: &[&str]| {
        let intake = Intake::willing();
        let url = intake.url();
        let all =
            [&["a.jsonl", "--time", "at", "--key", "n", "--to", &url, "--speedup", "0", "--fresh"], args].concat();
        let told = folder.replay(&all);
        assert_eq!(told.code, Some(0), "{}", told.err);
        let mut sent: Vec<u64> = intake.taken().iter().map(|taken| taken.json()["n"].as_u64().unwrap()).collect();
        sent.sort_unstable();
        sent
    };
    assert_eq!(sent(&["--from", &at(598)]), [598, 599]);
    assert_eq!(sent(&["--until", "2026-01-01T00:00:02Z"]), [0, 1]);
    assert_eq!(sent(&["--limit", "3"]), [0, 1, 2]);
    let sample = sent(&["--sample", "10%"]);
    assert!((30..100).contains(&sample.len()), "{}", sample.len());
    assert_eq!(sample, sent(&["--sample", "0.1"]), "the same keys again");
    let larger = sent(&["--sample", "50%"]);
    assert!(sample.iter().all(|n| larger.contains(n)), "a larger sample has all of a smaller one");
}

#[test]
fn a_limit_counts_over_all_starts() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..10))]);
    let intake = Intake::willing();
    let url = intake.url();
    for (limit, sent) in [("4", 4), ("4", 4), ("7", 7), ("99", 10)] {
        let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--limit", limit]);
        assert_eq!((told.code, intake.taken().len()), (Some(0), sent), "--limit {limit}: {}", told.err);
    }
}

#[test]
fn a_fault_behind_the_limit_is_none() {
    let folder = Folder::new(&[("a.jsonl", &(lines(0..3) + "nonsense\n"))]);
    let intake = Intake::willing();
    let url = intake.url();
    for start in 0..2 {
        let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--limit", "3"]);
        assert_eq!((told.code, intake.taken().len()), (Some(0), 3), "start {start}: {}", told.err);
    }
}

#[test]
fn event_time_sets_the_pace() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..5))]);
    let intake = Intake::willing();
    let elapsed = |args: &[&str]| {
        let url = intake.url();
        let told = folder.replay(&[&["a.jsonl", "--time", "at", "--to", &url, "--fresh"], args].concat());
        told.json()["elapsed_seconds"].as_f64().unwrap()
    };
    let paced = elapsed(&["--speedup", "4"]);
    assert!((1.0..2.5).contains(&paced), "{paced}");
    let cut = elapsed(&["--speedup", "4", "--max-idle-gap", "400ms"]);
    assert!((0.4..0.95).contains(&cut), "{cut}");
    let rated = elapsed(&["--rate", "8"]);
    assert!((0.45..1.5).contains(&rated), "a rate alone needs no event time: {rated}");
}

#[test]
fn a_plan_says_what_would_be_sent_and_sends_nothing() {
    let folder = Folder::new(&[("a.jsonl", &(lines(0..10) + &lines(100..102)))]);
    let intake = Intake::willing();
    let url = intake.url();
    let args = ["a.jsonl", "--time", "at", "--to", &url, "--key", "customer", "--speedup", "2", "--plan"];
    let told = folder.replay(&[&args[..], &["--json"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.err);
    let plan = told.json();
    assert_eq!(
        (&plan["events"], &plan["inputs"][0]["events"], plan["span_seconds"].as_f64()),
        (&12.into(), &12.into(), Some(101.0))
    );
    assert_eq!(
        (plan["replay_seconds"].as_f64(), plan["longest_gaps"][0]["seconds"].as_f64()),
        (Some(50.5), Some(91.0))
    );
    assert_eq!(
        (&plan["hottest_keys"][0]["key"], &plan["hottest_keys"][0]["events_at_least"]),
        (&"c0".into(), &4.into())
    );
    let request = plan["first_requests"][0].as_str().unwrap();
    assert!(
        request.starts_with("POST / HTTP/1.1\nhost: 127.0.0.1") && request.ends_with("\"customer\":\"c0\"}"),
        "{request}"
    );
    let told = folder.replay(&args);
    assert!(told.out.contains("12 events over 1 min 41 s") && told.out.contains("--- request 3"), "{}", told.out);
    assert!(intake.taken().is_empty() && !folder.path(".wsp").exists());
}

#[test]
fn standard_input_is_an_input_without_a_second_chance() {
    let folder = Folder::new(&[]);
    let intake = Intake::willing();
    let mut command =
        folder.command(&["-", "--format", "jsonl", "--time", "at", "--to", &intake.url(), "--speedup", "0"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines(0..5).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), intake.taken().len()), (Some(0), 5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("begins anew"));
}

//! A replay that is killed over and over, before an intake of another make, checked by another reader.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Folder, at, path_text};
use crate::kit::live::nap;
use crate::kit::process::Told;
use crate::kit::repository;

fn script(name: &str) -> PathBuf {
    repository("tests/program/replay").join(name)
}

/// The intake of `receiver.py`, which lives until it is dropped.
pub(crate) struct Receiver {
    process: Child,
    pub(crate) url: String,
    pub(crate) log: PathBuf,
    /// The Python that reads the inputs for a check.
    pub(crate) python: PathBuf,
    /// How far the log was counted: bytes and lines.
    counted: Cell<(u64, usize)>,
}

impl Receiver {
    /// `None` where there is no Python.
    pub(crate) fn start(folder: &Folder, share: &str) -> Option<Self> {
        let log = folder.path("taken.jsonl");
        File::create(&log).unwrap();
        let mut command = Command::new("python3");
        command.arg(script("receiver.py")).arg(&log).args([share, "7"]).stdout(Stdio::piped());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED: no python3");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}/v1/events", port.trim());
        Some(Self { process, url, log, python: "python3".into(), counted: Cell::default() })
    }

    /// Requests that it took so far.
    fn taken(&self) -> usize {
        let (from, lines) = self.counted.get();
        let (mut log, mut more) = (File::open(&self.log).unwrap(), Vec::new());
        log.seek(SeekFrom::Start(from)).unwrap();
        log.read_to_end(&mut more).unwrap();
        let lines = lines + String::from_utf8_lossy(&more).matches('\n').count();
        self.counted.set((from + more.len() as u64, lines));
        lines
    }

    /// What another reader of the inputs says of what came.
    pub(crate) fn check(&self, folder: &Folder, spec: &Value) -> Value {
        let mut command = Command::new(&self.python);
        command.arg(script("check.py")).arg(&self.log).arg(spec.to_string()).current_dir(folder.0.path());
        let told = Told::of(command);
        assert_eq!(told.code, Some(0), "{}", told.err);
        told.json()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts `wsp replay` and kills it once the receiver has taken so many requests; says whether it was killed before its end.
pub(crate) fn kill_at(folder: &Folder, receiver: &Receiver, args: &[&str], taken: usize) -> bool {
    let mut command = folder.command(args);
    let log = || File::options().create(true).append(true).open(folder.path("stderr")).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(log()).spawn().unwrap();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let told = std::fs::read_to_string(folder.path("stderr")).unwrap();
            assert_eq!(status.code(), Some(0), "{told}");
            return false;
        }
        if receiver.taken() >= taken {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        nap(Duration::from_millis(5));
    }
}

/// Orders in three files, one of them with awkward cells, and clicks in a packed one; their times meet and their keys are the
/// same.
fn inputs() -> Folder {
    let folder = Folder::new(&[]);
    let row = |n: usize| {
        let note = if n.is_multiple_of(11) { "\"a, \"\"b\"\"\nü\"" } else { "" };
        format!("{},{n},{},{n}.{:02},{note}\n", at(n), n * 7 % 97, n % 100)
    };
    for file in 0..3 {
        let rows: String = (file * 700..(file + 1) * 700).map(row).collect();
        folder.write(&format!("orders/{file}.csv"), &format!("created_at,order_id,customer_id,total,note\n{rows}"));
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for n in 0..1500 {
        let (id, customer) = (9_007_199_254_740_993_u64 + n, n * 5 % 97);
        let line =
            format!(" {{\"created_at\": \"{}\", \"click\":{id}, \"customer_id\": {customer}}}\n", at(n as usize));
        packed.write_all(line.as_bytes()).unwrap();
    }
    std::fs::write(folder.path("clicks.jsonl.gz"), packed.finish().unwrap()).unwrap();
    folder
}

#[test]
fn killed_five_times_it_loses_nothing_keeps_order_and_repeats_little() {
    let folder = inputs();
    let Some(receiver) = Receiver::start(&folder, "0.05") else { return };
    let args = [
        "orders/*.csv",
        "--input",
        "clicks=clicks.jsonl.gz",
        "--time",
        "created_at",
        "--key",
        "customer_id",
        "--csv-types",
        "order_id=number,total=number,customer_id=number",
        "--to",
        &receiver.url,
        "--rate",
        "2500",
        "--in-flight",
        "16",
        "--save-every",
        "50",
    ];
    for kill in 0..5 {
        assert!(kill_at(&folder, &receiver, &args, 350 + kill * 600), "it was killed before its end");
    }
    assert!(!kill_at(&folder, &receiver, &args, usize::MAX));
    let orders: Vec<_> = (0..3).map(|file| format!("orders/{file}.csv")).collect();
    let spec = json!({
        "inputs": [
            {"name": "orders/*.csv", "files": orders, "format": "csv", "time": "created_at"},
            {"name": "clicks", "files": ["clicks.jsonl.gz"], "format": "jsonl", "time": "created_at"},
        ],
        "key": ["customer_id"], "numbers": ["order_id", "total", "customer_id"], "repeats": 5 * (50 + 16),
    });
    let found = receiver.check(&folder, &spec);
    assert_eq!((&found["events"], &found["keys"]), (&3600.into(), &97.into()));
}

#[test]
fn a_stop_ends_it_well_and_the_next_start_repeats_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = inputs();
    let Some(receiver) = Receiver::start(&folder, "0.05") else { return };
    let args = [
        "clicks.jsonl.gz",
        "--time",
        "created_at",
        "--key",
        "customer_id",
        "--to",
        &receiver.url,
        "--rate",
        "1000",
        "--state",
        "state",
    ];
    let mut child = folder.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while receiver.taken() < 300 {
        nap(Duration::from_millis(5));
    }
    let stopped = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(3), None));
    let told = folder.replay(&args);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.json()["answered_before"].as_u64().unwrap() >= 300, "{}", told.out);
    let input =
        json!({"name": "clicks.jsonl.gz", "files": ["clicks.jsonl.gz"], "format": "jsonl", "time": "created_at"});
    let found = receiver.check(&folder, &json!({"inputs": [input], "key": ["customer_id"], "repeats": 0}));
    assert_eq!(found["events"], 1500);
    assert!(!path_text(&receiver.log).is_empty());
}

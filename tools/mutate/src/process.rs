//! Runs a test program and ends it as soon as one of its tests fails, or when its time is up.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The variable that switches a mutant on.
pub const SWITCH: &str = "WSP_MUTANT";
/// The variable that names the file to which the reached mutants are written.
pub const TRACE: &str = "WSP_MUTANT_TRACE";
/// A mutant that collects without end must not take the machine's memory (KiB of addresses).
const ADDRESSES: u32 = 6 << 20;

/// How a program ended.
#[derive(Debug)]
pub enum End {
    Passed,
    /// The test that failed, or how the program ended.
    Failed(String),
    Hung,
}

/// A program and where it runs.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub folder: PathBuf,
}

impl Program {
    pub fn run(&self, args: &[&str], env: &[(&str, &str)], limit: Duration) -> Result<End, String> {
        let mut child = self.spawn(args, env)?;
        let (lines, printed) = channel();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let (begun, mut open) = (Instant::now(), true);
        let end = loop {
            let wait = Duration::from_millis(20);
            match if open { printed.recv_timeout(wait) } else { Err(RecvTimeoutError::Timeout) } {
                Ok(line) => match failed(&line) {
                    Some(test) => break End::Failed(test.to_owned()),
                    None => continue,
                },
                Err(RecvTimeoutError::Disconnected) => open = false,
                Err(RecvTimeoutError::Timeout) if !open => std::thread::sleep(wait),
                Err(RecvTimeoutError::Timeout) => {}
            }
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => break End::Passed,
                // What it printed last names the test.
                Some(status) => match printed.try_iter().find_map(|line| failed(&line).map(str::to_owned)) {
                    Some(test) => break End::Failed(test),
                    None => break End::Failed(format!("{} ended with {status}", self.name)),
                },
                None if begun.elapsed() > limit => break End::Hung,
                None => {}
            }
        };
        end_group(&mut child)?;
        Ok(end)
    }

    /// The tests of the program.
    pub fn tests(&self) -> Result<Vec<String>, String> {
        let output = Command::new(&self.path).args(["--list", "--format", "terse"]).current_dir(&self.folder).output();
        let output = output.map_err(|error| format!("{}: {error}", self.path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    fn spawn(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Child, String> {
        Command::new("sh")
            .args(["-c", &format!("ulimit -v {ADDRESSES}; exec \"$0\" \"$@\"")])
            .arg(&self.path)
            .args(args)
            .current_dir(&self.folder)
            // A failure of a mutant must not be kept as a regression.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // What a test starts ends with it.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// The name of a test that failed, from a line that the test harness prints.
fn failed(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.strip_suffix(" - should panic").unwrap_or(name))
}

fn end_group(child: &mut Child) -> Result<(), String> {
    let group = format!("-{}", child.id());
    // The group may have ended already.
    let ended = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    ended.map_err(|error| format!("kill: {error}"))?;
    child.wait().map(drop).map_err(|error| error.to_string())
}

/// The folder of a build, made where there is none.
pub fn folder(path: &Path) -> Result<PathBuf, String> {
    let made = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    made.map_err(|error| format!("{}: {error}", path.display()))
}

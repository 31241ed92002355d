//! Processes that a test starts, and what the system tells of them.

use std::borrow::BorrowMut;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

/// What a program printed, and how it exited.
#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Told {
    /// Runs a program to its end.
    pub fn of(mut command: impl BorrowMut<Command>) -> Self {
        let output = command.borrow_mut().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The one JSON value on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

/// A figure of `/proc/PID/status`: KiB of memory (`VmHWM`, `VmRSS`) or a count (`Threads`); `None` where the process is gone.
pub fn status(process: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The most memory that a process has had resident, in MiB; 0 where it is gone.
pub fn peak_mib(process: u32) -> u64 {
    status(process, "VmHWM").map_or(0, |kib| kib / 1024)
}

/// A number of the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A port on which nobody listens. A server gets it a while later, so it is none that the system gives away by itself in the
/// meantime: Linux does that from 32,768 on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    // Test programs that run side by side begin in different places.
    let first = std::process::id().wrapping_mul(641) as u16;
    loop {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = PORTS.start + place;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

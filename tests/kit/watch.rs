//! A `wsp run` that is asked how it stands while it runs.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::Stage;
use super::live::Running;

pub const RUN_ARGS: &[&str] = &["run", "--profile", "profile.yaml"];

/// `wsp run` on a free port, and the address it tells.
pub fn start(stage: &Stage, args: &[&str]) -> (Running, String) {
    let mut command = stage.wsp(args);
    command.env("WSP_TELEMETRY_LISTEN", "127.0.0.1:0");
    let mut running = Running::spawn(stage, "run", &mut command);
    let address = address(&mut running);
    (running, address)
}

/// Where a `wsp run` says that it listens.
pub fn address(running: &mut Running) -> String {
    let err = running.err_file();
    let mut address = None;
    running.until("it listens", || {
        let log = std::fs::read_to_string(&err).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.into_iter().find(|line| line["message"] == "telemetry is served");
        address = line.and_then(|line| line["address"].as_str().map(str::to_owned));
        address.is_some()
    });
    address.unwrap()
}

/// One request on a connection of its own, in a version of HTTP without chunks: status and body.
pub fn ask(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The figure of one line of `/metrics`.
pub fn figure(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

//! The S3 server that the live tests start, and what it wants around it.

#![allow(dead_code, reason = "the live tests use more of it")]

#[path = "../../../tests/live/servers/s3.rs"]
pub(crate) mod s3;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback has ports").port()
}

/// Where the scripts are that fetch the servers.
pub(crate) fn scripts() -> PathBuf {
    Path::new(crate::parts::ROOT).join("tests/live")
}

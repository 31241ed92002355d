//! The servers, each a process of its own that ends with its handle.

pub(crate) mod kafka;
pub(crate) mod kinesis;
pub(crate) mod postgres;
pub(crate) mod s3;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the scripts are that fetch the servers.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live")
}

//! The servers, each a process of its own that ends with its handle.

pub(crate) mod kafka;
pub(crate) mod kinesis;
pub(crate) mod postgres;
pub(crate) mod s3;

use std::path::PathBuf;

pub(crate) use crate::kit::process::free_port;

/// Where the scripts are that fetch the servers.
pub(crate) fn scripts() -> PathBuf {
    crate::kit::repository("tests/live")
}

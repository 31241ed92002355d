<<<<<<< HEAD
//! The servers, each a process of its own that ends with its handle.

<<<<<<< HEAD
pub(crate) mod s3;
=======
pub(crate) mod kafka;
>>>>>>> room-g

use std::net::TcpListener;

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
=======
//! Servers that live as long as the test that started them.

pub(crate) mod postgres;
>>>>>>> room-h

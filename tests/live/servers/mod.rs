//! Servers that live as long as the test that started them.

pub(crate) mod postgres;
